"""The report: questions to the warehouse, drawn as charts, on one page that needs nothing else."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from usage_pipeline import warehouse
from usage_pipeline.report.page import page, write
from usage_pipeline.report.questions import Answers, answers
from usage_pipeline.vendors.registry import VENDORS

__all__ = ["Answers", "answers", "make", "page", "write"]


def make(home: Path, now: datetime, file: Path) -> int:
    """Write the report on the warehouse under `home`, as of `now` (UTC); its bytes."""
    with warehouse.reading(home) as session:
        found = answers(session, now.date())
    return write(page(found, now, {slug: vendor.title for slug, vendor in VENDORS.items()}), file)
