"""What the report's queries answer, worked out by hand."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from usage_pipeline.contract.schema import State
from usage_pipeline.contract.vendor import History
from usage_pipeline_tests.report.november import TODAY, asked, november
from usage_pipeline_tests.sql.lake import (
    AGENT_NODES,
    AGENTS,
    DELTA,
    EVENTS,
    INSTANCES,
    LAST,
    MAX,
    NODES,
    STREAMS,
    UNITS,
    USERS,
    USERS_30_DAYS,
    Row,
    Series,
    changed,
    configured,
    covered,
    small,
)

Change = tuple[str, int, Any, Any, Any]


def change(home: Path, usage: list[Row], today: date = TODAY, coverage: list[Row] | None = None) -> Change:
    """Status, days, both values and the percent of the only metric."""
    (row,) = asked(small(home, usage, coverage=coverage or []), today).changes
    return row["status"], row["days"], row["value_now"], row["value_before"], row["percent"]


def test_a_month_so_far_is_held_against_as_many_days_of_the_month_before(tmp_path: Path) -> None:
    # 20 x 12 = 240 beside 20 x 10 = 200; neither the rest of October nor today's part counts.
    usage = [
        *EVENTS.each("2026-10-01", "2026-10-20", 10),
        *EVENTS.each("2026-10-21", "2026-10-31", 1_000),
        *EVENTS.each("2026-11-01", "2026-11-20", 12),
        EVENTS.day("2026-11-21", 5_000, final=False),
    ]
    assert change(tmp_path, usage) == ("compared", 20, 240, 200, Decimal("20.0"))


def test_a_late_source_is_compared_up_to_its_newest_day(tmp_path: Path) -> None:
    usage = [*EVENTS.each("2026-10-01", "2026-10-31", 10), *EVENTS.each("2026-11-01", "2026-11-17", 11)]
    assert change(tmp_path, usage) == ("compared", 17, 187, 170, Decimal("10.0"))


@pytest.mark.parametrize("missing", ["2026-10-07", "2026-11-07"])
def test_a_missing_day_leaves_nothing_to_compare(tmp_path: Path, missing: str) -> None:
    usage = [row for row in EVENTS.each("2026-10-01", "2026-11-20", 10) if str(row["usage_date"]) != missing]
    assert change(tmp_path, usage)[0] == "unknown"


def test_a_longer_month_is_compared_by_the_days_that_both_have(tmp_path: Path) -> None:
    # March to the 31st beside February of 28 days: 28 x 3 = 84 beside 28 x 2 = 56.
    usage = [*EVENTS.each("2026-02-01", "2026-02-28", 2), *EVENTS.each("2026-03-01", "2026-03-31", 3)]
    assert change(tmp_path, usage, date(2026, 4, 1)) == ("compared", 28, 84, 56, Decimal("50.0"))


def test_on_the_first_the_month_that_is_over_is_compared(tmp_path: Path) -> None:
    # 30 days of November beside the first 30 of October: 90 beside 60.
    usage = [*EVENTS.each("2026-10-01", "2026-10-31", 2), *EVENTS.each("2026-11-01", "2026-11-30", 3)]
    assert change(tmp_path, usage, date(2026, 12, 1)) == ("compared", 30, 90, 60, Decimal("50.0"))


def test_counts_are_compared_by_their_highest_day(tmp_path: Path) -> None:
    usage = [*NODES.each("2026-10-01", "2026-11-20", 100), NODES.day("2026-11-21", 900)]
    usage = [row | {"value": Decimal(125)} if str(row["usage_date"]) == "2026-11-09" else row for row in usage]
    assert change(tmp_path, usage) == ("compared", 20, 125, 100, Decimal("25.0"))


def test_levels_are_compared_on_the_same_day(tmp_path: Path) -> None:
    usage = [STREAMS.level("2026-10-20 12:00", 80), STREAMS.level("2026-11-20 12:00", 60)]
    assert change(tmp_path, usage) == ("compared", 20, 60, 80, Decimal("-25.0"))


def test_rolling_counts_are_compared_on_the_same_day(tmp_path: Path) -> None:
    usage = [
        USERS_30_DAYS.period("2026-09-21", "2026-10-21", 50),
        USERS_30_DAYS.period("2026-10-22", "2026-11-21", 55),
    ]
    assert change(tmp_path, usage) == ("compared", 20, 55, 50, Decimal("10.0"))


def test_a_count_to_date_is_compared_with_the_same_day_of_the_period_before(tmp_path: Path) -> None:
    usage = USERS.readings("2026-10-01", {"2026-10-20": 70, "2026-10-21": 80, "2026-11-01": 120}) + USERS.readings(
        "2026-11-01", {"2026-11-20": 90, "2026-11-21": 100}
    )
    # The reading at midnight of the 21st is of the 20th: day 20 of both.
    assert change(tmp_path, usage) == ("compared", 20, 100, 80, Decimal("25.0"))


def test_a_peak_to_date_is_compared_by_its_own_billing_period(tmp_path: Path) -> None:
    # From the 5th, 08:00: the 20th is day 16.
    usage = AGENTS.readings("2026-10-05 08:00", {"2026-10-20 12:00": 40, "2026-11-04 12:00": 90}) + AGENTS.readings(
        "2026-11-05 08:00", {"2026-11-20 12:00": 50, "2026-11-21 05:00": 60}
    )
    assert change(tmp_path, usage) == ("compared", 16, 50, 40, Decimal("25.0"))


def test_a_running_total_that_reaches_back_over_the_first_is_not_compared(tmp_path: Path) -> None:
    # No reading from 29 October to 2 November: the row of 3 November holds days of both months.
    told = {f"2026-10-{day:02} 12:00": day for day in range(6, 29)}
    told |= {"2026-11-03 12:00": 40, "2026-11-04 12:00": 41}
    assert change(tmp_path, UNITS.readings("2026-10-05 08:00", told))[0] == "unknown"


def test_a_rise_from_nothing_has_no_percent(tmp_path: Path) -> None:
    usage = [*EVENTS.each("2026-10-01", "2026-10-31", 0), *EVENTS.each("2026-11-01", "2026-11-20", 1)]
    assert change(tmp_path, usage) == ("compared", 20, 20, 0, None)


def test_new_and_vanished_are_said_only_where_the_source_was_heard(tmp_path: Path) -> None:
    heard = covered(EVENTS, "2026-10-01", "2026-11-20")
    new = EVENTS.each("2026-11-01", "2026-11-20", 1)
    gone = EVENTS.each("2026-10-01", "2026-10-31", 1)
    assert change(tmp_path / "new", new, coverage=heard)[0] == "new"
    assert change(tmp_path / "gone", gone, coverage=heard)[0] == "vanished"
    assert change(tmp_path / "first month", new, coverage=heard[31:])[0] == "unknown"
    assert change(tmp_path / "silent since", gone, coverage=heard[:31])[0] == "unknown"


def test_parts_stand_for_a_total_only_where_none_is_told(tmp_path: Path) -> None:
    parts = [
        Series(
            EVENTS.vendor, "namespace_usage", EVENTS.metric, EVENTS.unit, EVENTS.aggregation, EVENTS.temporality,
            dimensions={"namespace": name},
        ).day("2026-11-20", 4)
        for name in "ab"
    ]  # fmt: skip
    (summed,) = asked(small(tmp_path / "parts", parts)).daily
    assert (summed["value"], summed["breakdown"]) == (8, "namespace")
    (total,) = asked(small(tmp_path / "both", [*parts, EVENTS.day("2026-11-20", 9)])).daily
    assert (total["value"], total["breakdown"]) == (9, "")


def test_parts_of_a_distinct_count_or_a_peak_are_never_added(tmp_path: Path) -> None:
    users = Series("launchdarkly", "total_mau", "total_mau", "Contexts", MAX, DELTA, dimensions={"project": "a"})
    assert asked(small(tmp_path, [users.day("2026-11-20", 4)])).daily == []


def test_a_day_that_failed_in_part_has_no_total(tmp_path: Path) -> None:
    levels = [INSTANCES.level("2026-11-19 12:00", 3), INSTANCES.level("2026-11-20 12:00", 5)]
    failed = covered(INSTANCES, "2026-11-20", state=State.FAILED, reason="datacenter dc2: not there")
    assert [(row["usage_date"].day, row["value"]) for row in asked(small(tmp_path, levels, coverage=failed)).daily] == [
        (19, 3)
    ]


def test_two_months_are_drawn(tmp_path: Path) -> None:
    # 62 days through today: 21 September is the first.
    drawn = asked(small(tmp_path, EVENTS.each("2026-09-01", "2026-11-20", 1))).daily
    assert [str(drawn[0]["usage_date"]), str(drawn[-1]["usage_date"])] == ["2026-09-21", "2026-11-20"]
    assert len(drawn) == 61


def test_every_day_since_the_start_has_a_state(tmp_path: Path) -> None:
    known = [*covered(EVENTS, "2026-11-18"), *covered(INSTANCES, "2026-11-21")]
    lake = small(
        tmp_path,
        coverage=known,
        accounts=[
            configured("aveva", "tenant_usage", "2026-11-17"),
            configured("consul", "operator_usage", "2026-11-19", History.SNAPSHOT),
            configured("puppet", "usage", "2026-12-01"),
        ],
    )
    assert [(row["vendor"], row["usage_date"].day, row["state"]) for row in asked(lake).coverage] == [
        ("aveva", 17, "not_asked"),
        ("aveva", 18, "complete"),
        ("aveva", 19, "not_asked"),
        ("aveva", 20, "not_asked"),
        ("consul", 19, "not_available"),
        ("consul", 20, "not_available"),
        ("consul", 21, "complete"),
    ]


def test_the_calendar_goes_back_91_days(tmp_path: Path) -> None:
    days = asked(small(tmp_path, accounts=[configured("aveva", "tenant_usage", "2020-01-01")])).coverage
    # Today is not asked yet, and no gap: 90 days before it.
    assert (len(days), str(days[0]["usage_date"])) == (90, "2026-08-23")


def test_restatements_of_a_metric_are_told_by_the_largest(tmp_path: Path) -> None:
    lake = small(
        tmp_path,
        [AGENT_NODES.day("2026-11-20", 1)],
        restatements=[
            changed(EVENTS.day("2026-11-02", 900), 1_200, "2026-11-10"),
            changed(EVENTS.day("2026-11-05", 1_100), 1_200, "2026-11-10"),
            changed(EVENTS.day("2026-09-05", 1_100), 1_900, "2026-10-21"),
            changed(NODES.day("2026-11-05", 7), None, "2026-11-10"),
        ],
    )
    told = [
        (row["metric"], row["kind"], row["changes"], row["first_day"].day, row["last_day"].day, row["largest_day"].day,
         row["old_value"], row["new_value"])
        for row in asked(lake).restatements
    ]  # fmt: skip
    assert told == [
        ("ingress_events", "changed", 2, 2, 5, 2, 900, 1_200),
        ("nodes", "withdrawn", 1, 5, 5, 5, 7, None),
    ]


def test_each_entitlement_is_told_once_the_used_up_first(tmp_path: Path) -> None:
    told = [(row["metric"], row["consumed"], row["entitled"]) for row in asked(november(tmp_path)).utilization]
    assert told == [("nodes", 312, 300), ("service_connections", 20_000, 25_000)]


def test_an_empty_warehouse_answers_nothing(tmp_path: Path) -> None:
    empty = asked(small(tmp_path))
    assert [empty.utilization, empty.daily, empty.changes, empty.restatements, empty.coverage] == [[]] * 5


def test_a_level_told_daily_is_no_amount(tmp_path: Path) -> None:
    assert AGENT_NODES.aggregation is LAST
    usage = AGENT_NODES.each("2026-10-01", "2026-11-20", 5)
    assert change(tmp_path, usage) == ("compared", 20, 5, 5, Decimal("0.0"))
