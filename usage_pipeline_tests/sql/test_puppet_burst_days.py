"""puppet_burst_days: days with more nodes than the licence, and whether the licence allows them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from usage_pipeline_tests.sql.lake import NODES, allowed, small

BURSTS = "SELECT usage_date, nodes, entitled, over, burst_of_month, within_terms FROM puppet_burst_days ORDER BY ALL"


def test_four_days_a_month_up_to_double(tmp_path: Path) -> None:
    nodes = {
        "2024-02-29": 11,  # of February, the first
        "2024-03-01": 11,
        "2024-03-02": 10,  # as many as licensed: no burst
        "2024-03-05": 20,  # exactly double is allowed
        "2024-03-09": 21,  # more is not, on whichever day
        "2024-03-20": 12,
        "2024-03-21": 15,  # the fifth
        "2024-03-31": 11,  # the sixth
        "2024-04-01": 11,  # and again the first
    }
    lake = small(tmp_path, [NODES.day(day, count) for day, count in nodes.items()], entitlements=[allowed(NODES, 10)])
    assert lake.rows(BURSTS) == [
        ("2024-02-29", 11, 10, 1, 1, True),
        ("2024-03-01", 11, 10, 1, 1, True),
        ("2024-03-05", 20, 10, 10, 2, True),
        ("2024-03-09", 21, 10, 11, 3, False),
        ("2024-03-20", 12, 10, 2, 4, True),
        ("2024-03-21", 15, 10, 5, 5, False),
        ("2024-03-31", 11, 10, 1, 6, False),
        ("2024-04-01", 11, 10, 1, 1, True),
    ]
    assert lake.rows("SELECT DISTINCT month::VARCHAR FROM puppet_burst_days ORDER BY ALL")[1][0].startswith("2024-03")


def test_the_licence_is_that_of_the_day(tmp_path: Path) -> None:
    """14 nodes a day. The licence grows from 10 to 14 on the 16th, and ends with the 20th."""
    days = ("2024-03-15", "2024-03-16", "2024-03-20", "2024-03-21")
    licences = [
        allowed(NODES, 10, "2024-03-01", "2024-03-15"),
        allowed(NODES, 14, "2024-03-16", "2024-03-20"),
    ]
    lake = small(tmp_path, [NODES.day(day, 14) for day in days], entitlements=licences)
    assert lake.rows(BURSTS) == [("2024-03-15", 14, 10, 4, 1, True)]


def test_accounts_have_their_own_licence_and_count(tmp_path: Path) -> None:
    beta = replace(NODES, account="beta")
    rows = [
        NODES.day("2024-03-01", 11),
        NODES.day("2024-03-02", 11),
        beta.day("2024-03-02", 11),
        beta.day("2024-03-03", 31),
    ]
    lake = small(tmp_path, rows, entitlements=[allowed(NODES, 10), allowed(beta, 30)])
    assert lake.rows("SELECT account, usage_date, burst_of_month FROM puppet_burst_days ORDER BY ALL") == [
        ("acme", "2024-03-01", 1),
        ("acme", "2024-03-02", 2),
        ("beta", "2024-03-03", 1),
    ]


def test_a_day_that_may_still_change_says_so(tmp_path: Path) -> None:
    rows = [NODES.day("2024-03-01", 11), NODES.day("2024-03-02", 12, final=False)]
    lake = small(tmp_path, rows, entitlements=[allowed(NODES, 10)])
    assert lake.rows("SELECT usage_date, is_final FROM puppet_burst_days ORDER BY ALL") == [
        ("2024-03-01", True),
        ("2024-03-02", False),
    ]


def test_other_vendors_and_other_counts_have_no_bursts(tmp_path: Path) -> None:
    others = [
        replace(NODES, vendor="consul"),
        replace(NODES, metric="nodes_with_agent"),
        replace(NODES, dimensions={"agent": "a"}),
    ]
    lake = small(
        tmp_path,
        [series.day("2024-03-01", 11) for series in others],
        entitlements=[allowed(series, 10) for series in (*others[:2], NODES)],
    )
    assert lake.rows(BURSTS) == []


def test_without_a_licence_nothing_is_a_burst(tmp_path: Path) -> None:
    assert small(tmp_path, [NODES.day("2024-03-01", 11)]).rows(BURSTS) == []
