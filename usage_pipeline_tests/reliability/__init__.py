"""What is promised under faults, crashes, concurrency, and of recovery."""

from __future__ import annotations

import os

LONG = os.environ.get("USAGE_PIPELINE_LONG") == "1"
"""The long test: the same tests, with more examples."""

SEED = int(os.environ.get("USAGE_PIPELINE_SEED") or 6)
"""What chance starts from; printed, so that a failure can be repeated."""
