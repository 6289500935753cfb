"""The command line: one module a kind of command, `base` what they share."""

from usage_pipeline.cli import focus, loading, reading, recovering, report, serving
from usage_pipeline.cli.base import Outside, main

__all__ = ["Outside", "focus", "loading", "main", "reading", "recovering", "report", "serving"]
