"""What Dagster loads: the accounts that the environment names, with the real clock."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

from usage_pipeline import orchestration, pipeline


def _now() -> datetime:
    return datetime.now(UTC)


defs = orchestration.build(orchestration.configured(os.environ), pipeline.place(os.environ, _now, time.sleep))
