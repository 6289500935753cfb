"""The tally of the table, which the warehouse is held against."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from usage_pipeline import stages
from usage_pipeline_tests.stages.invented import SNAPSHOT, WINDOW, Bench, days_of, on


def test_rows_and_sums_are_told_by_vendor_and_month(tmp_path: Path) -> None:
    bench = Bench(tmp_path, answer=lambda request: {str(day): day.day for day in days_of(request)})
    assert stages.tally.usage(bench.lake) == ({}, None)
    bench.pull(WINDOW, on("2026-02-27", "2026-03-02"))
    first, committed = stages.tally.usage(bench.lake)
    # 27 + 28, and 1 + 2.
    assert first == {("invented", "2026-02"): (2, Decimal(55)), ("invented", "2026-03"): (2, Decimal(3))}
    # Another file of the same month: 10 used so far, and 30 ahead.
    bench.answer = lambda _request: {"used": 10, "ahead": 30}
    bench.pull(SNAPSHOT, on("2026-03-18"))
    told, later = stages.tally.usage(bench.lake)
    assert told == {("invented", "2026-02"): (2, Decimal(55)), ("invented", "2026-03"): (4, Decimal(43))}
    assert committed is not None
    assert later is not None
    assert timedelta() < later - committed < timedelta(minutes=10)
    assert timedelta() < datetime.now(UTC) - later < timedelta(minutes=10)
