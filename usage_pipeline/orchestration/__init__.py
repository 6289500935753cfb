"""What Dagster sees: assets, partitions, jobs and schedules made from accounts.yaml. The only room that imports it."""

from usage_pipeline.orchestration.location import build, configured

__all__ = ["build", "configured"]
