"""Compaction puts a month in order and changes no row; publication knows what each file holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from usage_pipeline.contract.schema import USAGE, Role
from usage_pipeline.stages import compact
from usage_pipeline.stages.lake import Lake
from usage_pipeline.stages.publish import publish
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests.sql import lake as rows

LATER = date(2024, 6, 1)
BY_PROJECT = [
    rows.Series(
        "launchdarkly", "service_connections", "service_connections", "Minutes", rows.SUM, rows.DELTA,
        dimensions={"project": name}, labels={"project_name": f"The {name}"},
    )
    for name in ("web", "mobile", "shop")
]  # fmt: skip
HELD = "SELECT breakdown, min(first_seen), max(last_seen) FROM lake.held GROUP BY ALL ORDER BY 1"


def table_files(home: Path) -> list[str]:
    found = Lake(str(home)).find(USAGE)
    assert found
    return list(found.file_uris())


def scattered(home: Path) -> rows.Small:
    """A month in three files, whose series and days lie across each other."""
    made = rows.small(home, BY_PROJECT[0].each("2024-02-20", "2024-02-25", "1.5"))
    for series, first, last in (
        (rows.MINUTES, "2024-02-03", "2024-02-10"),
        (BY_PROJECT[1], "2024-02-01", "2024-02-09"),
    ):
        rows._write(Lake(str(home)), USAGE, series.each(first, last, 2))
    publish(Lake(str(home)), home, [VENDORS["launchdarkly"]])
    return made


def test_a_closed_month_becomes_one_file_in_order(tmp_path: Path) -> None:
    made = scattered(tmp_path)
    everything = "SELECT * FROM usage ORDER BY ALL"
    before = made.rows(everything)
    assert compact.compact(Lake(str(tmp_path)), LATER) == 2
    publish(Lake(str(tmp_path)), tmp_path, [VENDORS["launchdarkly"]])
    assert made.rows(everything) == before
    (file,) = table_files(tmp_path)
    told = pq.read_table(file, columns=list(compact.ORDER)).to_pylist()
    keys = [tuple(row[name] for name in compact.ORDER) for row in told]
    assert keys == sorted(keys)
    assert compact.compact(Lake(str(tmp_path)), LATER) == 0


def test_what_files_hold_follows_the_files(tmp_path: Path) -> None:
    made = scattered(tmp_path)
    said = [("", "2024-02-03", "2024-02-10"), ("project", "2024-02-01", "2024-02-25")]
    assert made.rows(HELD) == said
    compact.compact(Lake(str(tmp_path)), LATER)
    publish(Lake(str(tmp_path)), tmp_path, [VENDORS["launchdarkly"]])
    assert made.rows(HELD) == said
    assert made.one("SELECT count(DISTINCT file) FROM lake.held") == 1


PARTS = [series.each("2024-02-01", "2024-02-29", 2) for series in BY_PROJECT]
TOTALS = {
    "none": ([], "174"),
    "all month": (rows.MINUTES.each("2024-02-01", "2024-02-29", 10), "290"),
    # A total of some days stands before its parts, as it always did.
    "some days": (rows.MINUTES.each("2024-02-10", "2024-02-12", 10), "30"),
}


@pytest.mark.parametrize("case", TOTALS)
def test_parts_are_weighed_where_no_total_is_told(tmp_path: Path, case: str) -> None:
    totals, consumed = TOTALS[case]
    usage: list[dict[str, Any]] = [*totals, *(row for part in PARTS for row in part)]
    made = rows.small(tmp_path, usage, entitlements=[rows.allowed(rows.MINUTES, 1000)])
    assert str(made.one("SELECT CAST(CAST(consumed AS INTEGER) AS VARCHAR) FROM utilization")) == consumed


def test_parts_of_a_month_without_totals_are_weighed_beside_months_with_them(tmp_path: Path) -> None:
    usage = [*(row for part in PARTS for row in part), *rows.MINUTES.each("2024-03-01", "2024-03-31", 10)]
    made = rows.small(tmp_path, usage, entitlements=[rows.allowed(rows.MINUTES, 1000)])
    told = made.rows("SELECT CAST(consumed AS INTEGER) FROM utilization ORDER BY period_start")
    assert told == [(174,), (310,)]


def test_an_entitlement_that_the_vendor_tells_is_weighed(tmp_path: Path) -> None:
    entitled = rows.Series("aveva", "resource_usage", "streams", "Streams", rows.LAST, rows.INSTANT, Role.ENTITLED)
    made = rows.small(tmp_path, [rows.STREAMS.level("2024-02-29 12:00", 5), entitled.level("2024-02-29 12:00", 20)])
    assert made.rows("SELECT CAST(consumed AS INTEGER), CAST(entitled AS INTEGER) FROM utilization") == [(5, 20)]


@pytest.mark.parametrize("view", ["usage_daily", "usage_monthly"])
def test_conditions_on_the_series_reach_the_files(tmp_path: Path, view: str) -> None:
    """So that the totals of three years are not searched among 50 million parts."""
    made = scattered(tmp_path)
    asked = f"EXPLAIN (FORMAT json) SELECT value FROM {view} WHERE breakdown = '' AND metric = 'service_connections'"
    with made.session() as session:
        ((_kind, plan),) = session.execute(asked).fetchall()
    scans = [
        told for told in operators(json.loads(plan)) if told.get("extra_info", {}).get("Function") == "READ_PARQUET"
    ]
    # Of billing periods and the like no part is known: `usage` is what has many files.
    usage = [
        told["extra_info"].get("Filters", "") for told in scans if "role=" in str(told["extra_info"].get("Filters"))
    ]
    assert len(usage) >= 3
    assert all("breakdown=''" in str(filters) and "metric='service_connections'" in str(filters) for filters in usage)


def operators(plan: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for told in plan:
        yield told
        yield from operators(told.get("children", []))
