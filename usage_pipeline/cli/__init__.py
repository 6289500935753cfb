"""The command line: one module a kind of command, `base` what they share."""

from usage_pipeline.cli import loading, reading, serving
from usage_pipeline.cli.base import Outside, main

__all__ = ["Outside", "loading", "main", "reading", "serving"]
