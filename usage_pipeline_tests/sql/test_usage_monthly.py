"""usage_monthly: calendar and billing months, each measure by the rule of its aggregation."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from usage_pipeline.contract.schema import Role
from usage_pipeline_tests.sql.lake import (
    AGENT_NODES,
    AGENTS,
    AVERAGE,
    DELTA,
    EVENTS,
    INSTANCES,
    MINUTES,
    MINUTES_SO_FAR,
    NODES,
    ROLLING,
    RUNS,
    STREAMS,
    UNITS,
    USERS,
    USERS_30_DAYS,
    Small,
    billed,
    days,
    small,
)

MONTHS = "SELECT period_start, period_end, value, rule, days_known, days_in_period, is_final FROM usage_monthly"


def calendar(lake: Small) -> list[tuple[Any, ...]]:
    return lake.rows(f"{MONTHS} WHERE calendar = 'calendar' ORDER BY period_start")


def billing(lake: Small) -> list[tuple[Any, ...]]:
    return lake.rows(
        "SELECT period_start, period_end, value, rule, is_stated FROM usage_monthly WHERE calendar = 'billing' "
        "ORDER BY period_start"
    )


@pytest.mark.parametrize(
    ("first", "last", "length"),
    [
        ("2023-02-01", "2023-02-28", 28),
        ("2024-02-01", "2024-02-29", 29),
        ("2028-02-01", "2028-02-29", 29),
        ("2024-04-01", "2024-04-30", 30),
        ("2024-12-01", "2024-12-31", 31),
    ],
)
def test_a_month_is_the_sum_of_all_of_its_days(tmp_path: Path, first: str, last: str, length: int) -> None:
    """Two runs a day in the month, a thousand on each of the days around it."""
    following = f"{int(first[:4]) + (first[5:7] == '12')}-{int(first[5:7]) % 12 + 1:02}-01"
    before = {"02": "01-31", "04": "03-31", "12": "11-30"}[first[5:7]]
    rows = [RUNS.day(f"{first[:4]}-{before}", 1000), *RUNS.each(first, last, 2), RUNS.day(following, 1000)]
    assert calendar(small(tmp_path, rows))[1] == (
        f"{first} 00:00", f"{following} 00:00", 2 * length, "sum of days", length, length, True,
    )  # fmt: skip


def test_a_month_with_unknown_days_is_not_final(tmp_path: Path) -> None:
    lake = small(tmp_path, [*RUNS.each("2024-03-01", "2024-03-30", 2), *RUNS.each("2024-04-01", "2024-04-02", 1)])
    assert calendar(lake) == [
        ("2024-03-01 00:00", "2024-04-01 00:00", 60, "sum of days", 30, 31, False),
        ("2024-04-01 00:00", "2024-05-01 00:00", 2, "sum of days", 2, 30, False),
    ]


def test_a_month_with_a_provisional_day_is_not_final(tmp_path: Path) -> None:
    rows = [*RUNS.each("2024-03-01", "2024-03-30", 2), RUNS.day("2024-03-31", 2, final=False)]
    assert calendar(small(tmp_path, rows)) == [
        ("2024-03-01 00:00", "2024-04-01 00:00", 62, "sum of days", 31, 31, False)
    ]


def test_corrections_and_all_digits_are_in_the_sum(tmp_path: Path) -> None:
    rows = [
        RUNS.day("2024-03-01", "12345678901234567890123456789.123456789"),
        RUNS.day("2024-03-02", "-12345678901234567890123456788.023456789"),
        RUNS.day("2024-03-03", "-0.000000001"),
    ]
    assert calendar(small(tmp_path, rows))[0][2] == Decimal("1.099999999")


def test_where_nothing_is_billed_there_are_calendar_months_only(tmp_path: Path) -> None:
    lake = small(tmp_path, RUNS.each("2024-03-01", "2024-03-02", 2))
    assert lake.rows("SELECT DISTINCT calendar, is_stated FROM usage_monthly") == [("calendar", None)]


def test_a_running_total_by_billing_and_by_calendar_month(tmp_path: Path) -> None:
    """The periods reset at 08:00 on the fifth, and the last reading of one is what it was billed for.

    February has 100 by the 28th; what came until 2 March, with 29 February in it, is told on 2 March.
    """
    rows = [
        *UNITS.readings(
            "2024-02-05 08:00",
            {"2024-02-28 12:00": 100, "2024-03-02 12:00": 130, "2024-03-04 12:00": 140, "2024-03-05 07:00": 145},
        ),
        *UNITS.readings("2024-03-05 08:00", {"2024-03-05 12:00": 7, "2024-03-31 12:00": 90, "2024-04-01 12:00": 95}),
    ]
    lake = small(
        tmp_path,
        rows,
        periods=billed("thousandeyes", "usage", "2024-02-05 08:00", "2024-03-05 08:00", "2024-04-05 08:00"),
    )
    assert billing(lake) == [
        ("2024-02-05 08:00", "2024-03-05 08:00", 145, "last reading", True),
        ("2024-03-05 08:00", "2024-04-05 08:00", 95, "last reading", True),
    ]
    assert [row[:4] for row in calendar(lake)] == [
        ("2024-02-01 00:00", "2024-03-01 00:00", 100, "sum of days"),
        # 30 until the 2nd, 10 until the 4th, 5 + 7 on the 5th, 83 until the 31st.
        ("2024-03-01 00:00", "2024-04-01 00:00", 30 + 10 + 5 + 7 + 83, "sum of days"),
        ("2024-04-01 00:00", "2024-05-01 00:00", 5, "sum of days"),
    ]
    # Of February, rows cover the 5th to the 28th.
    assert calendar(lake)[0][4:] == (24, 29, False)


def test_a_day_of_reset_is_known_once(tmp_path: Path) -> None:
    """5 March is known to the old period's last reading, and to the new one's first, two days later: 1 to 7 March."""
    rows = [
        *UNITS.readings("2024-02-05 08:00", {f"{day} 12:00": 1 for day in days("2024-03-01", "2024-03-04")}),
        UNITS.reading("2024-02-05 08:00", "2024-03-05 07:00", 1),
        UNITS.reading("2024-03-05 08:00", "2024-03-07 12:00", 1),
    ]
    assert small(tmp_path, rows).one("SELECT days_known FROM usage_monthly") == 7


def test_a_running_total_that_fell_is_billed_as_it_was_last_read(tmp_path: Path) -> None:
    rows = UNITS.readings("2024-03-05 08:00", {"2024-03-10 12:00": 50, "2024-03-11 12:00": 44, "2024-03-12 12:00": 46})
    lake = small(tmp_path, rows, periods=billed("thousandeyes", "usage", "2024-03-05 08:00", "2024-04-05 08:00"))
    assert billing(lake)[0][2:4] == (46, "last reading")
    assert calendar(lake)[0][2:4] == (50 - 6 + 2, "sum of days")


def test_an_open_billing_period_is_not_final(tmp_path: Path) -> None:
    """Read until 20 March; the period from 5 March to 5 April has 31 days."""
    rows = UNITS.readings("2024-03-05 08:00", {f"{day} 12:00": 1 for day in days("2024-03-05", "2024-03-20")})
    lake = small(tmp_path, rows, periods=billed("thousandeyes", "usage", "2024-03-05 08:00", "2024-04-05 08:00"))
    assert lake.rows("SELECT days_known, days_in_period, is_final FROM usage_monthly WHERE calendar = 'billing'") == [
        (16, 31, False)
    ]


def test_after_the_last_stated_period_months_are_derived(tmp_path: Path) -> None:
    """AVEVA lists elapsed cycles only: of the current one, nothing is stated."""
    rows = [*EVENTS.each("2024-02-01", "2024-02-29", 10), *EVENTS.each("2024-03-01", "2024-03-04", 3)]
    lake = small(tmp_path, rows, periods=billed("aveva", "billing_cycles", "2024-01-01", "2024-02-01", "2024-03-01"))
    assert billing(lake) == [
        ("2024-02-01 00:00", "2024-03-01 00:00", 290, "sum of days", True),
        ("2024-03-01 00:00", "2024-04-01 00:00", 12, "sum of days", False),
    ]


def test_derived_months_keep_to_the_day_of_the_last_stated_end(tmp_path: Path) -> None:
    """From 31 January a month leads to 29 February, and from there back to the 31st, not to the 29th of March."""
    rows = EVENTS.each("2024-01-15", "2024-04-02", 1)
    lake = small(tmp_path, rows, periods=billed("aveva", "billing_cycles", "2023-12-31", "2024-01-31"))
    assert billing(lake) == [
        ("2023-12-31 00:00", "2024-01-31 00:00", 16, "sum of days", True),  # 15 to 30 January
        ("2024-01-31 00:00", "2024-02-29 00:00", 29, "sum of days", False),  # 31 January, 28 days of February
        ("2024-02-29 00:00", "2024-03-31 00:00", 31, "sum of days", False),  # 29 February, 30 days of March
        ("2024-03-31 00:00", "2024-04-30 00:00", 3, "sum of days", False),  # 31 March, 1 and 2 April
    ]


def test_billing_months_are_those_of_the_account(tmp_path: Path) -> None:
    beta = replace(EVENTS, account="beta")
    lake = small(
        tmp_path,
        [EVENTS.day("2024-03-20", 1), beta.day("2024-03-20", 2)],
        periods=[
            *billed("aveva", "billing_cycles", "2024-03-01", "2024-04-01"),
            *billed("aveva", "billing_cycles", "2024-03-15", "2024-04-15", account="beta"),
        ],
    )
    assert lake.rows(
        "SELECT account, period_start, value FROM usage_monthly WHERE calendar = 'billing' ORDER BY account"
    ) == [("acme", "2024-03-01 00:00", 1), ("beta", "2024-03-15 00:00", 2)]


def test_a_month_s_distinct_count_is_its_last_reading(tmp_path: Path) -> None:
    """The count of 29 February is that of the whole of February 2024; March is known for 10 days."""
    rows = [
        *USERS.readings("2024-02-01", {"2024-02-29": 38, "2024-03-01": 40}),
        *USERS.readings("2024-03-01", {"2024-03-02": 12, "2024-03-11": 21}),
    ]
    found = calendar(small(tmp_path, rows))
    assert [row[:4] for row in found] == [
        ("2024-02-01 00:00", "2024-03-01 00:00", 40, "last reading"),
        ("2024-03-01 00:00", "2024-04-01 00:00", 21, "last reading"),
    ]
    # One reading tells of all days since the month began.
    assert [row[4:] for row in found] == [(29, 29, True), (10, 31, False)]


def test_a_month_of_daily_distinct_counts_is_its_highest_day(tmp_path: Path) -> None:
    rows = [NODES.day("2024-02-28", 9), NODES.day("2024-02-29", 14), NODES.day("2024-03-01", 11)]
    assert [row[2:4] for row in calendar(small(tmp_path, rows))] == [(14, "highest day"), (11, "highest day")]


def test_a_trailing_window_stands_as_it_was_last_told(tmp_path: Path) -> None:
    rows = [
        USERS_30_DAYS.period("2024-01-31", "2024-03-01", 70),
        USERS_30_DAYS.period("2024-02-01", "2024-03-02", 99),
        USERS_30_DAYS.period("2024-02-02", "2024-03-03", 68),
    ]
    assert [(row[0], *row[2:4]) for row in calendar(small(tmp_path, rows))] == [
        ("2024-02-01 00:00", 70, "last reading"),
        ("2024-03-01 00:00", 68, "last reading"),
    ]


def test_sums_of_a_trailing_window_are_not_added(tmp_path: Path) -> None:
    trailing = replace(MINUTES, temporality=ROLLING)
    rows = [trailing.period("2024-02-01", "2024-03-02", 150), trailing.period("2024-02-02", "2024-03-03", 140)]
    assert [row[2:4] for row in calendar(small(tmp_path, rows))] == [(140, "last reading")]


def test_a_distinct_count_of_the_calendar_month_is_none_of_the_billing_month(tmp_path: Path) -> None:
    """The billing period begins on the 5th, the count on the 1st: four days too many."""
    rows = USERS.readings("2024-03-01", {"2024-03-11": 21, "2024-04-01": 50})
    lake = small(tmp_path, rows, periods=billed("launchdarkly", "total_mau", "2024-03-05", "2024-04-05"))
    assert billing(lake) == []
    assert [row[2] for row in calendar(lake)] == [50]


def test_a_reading_on_the_day_of_a_reset_belongs_to_its_own_period(tmp_path: Path) -> None:
    """Daily amounts have no hour: the day on which a period begins at 08:00 is the new one's."""
    units = replace(UNITS, temporality=DELTA, endpoint="units_tests")
    rows = units.each("2024-03-04", "2024-03-06", 10)
    lake = small(
        tmp_path,
        rows,
        periods=billed("thousandeyes", "usage", "2024-02-05 08:00", "2024-03-05 08:00", "2024-04-05 08:00"),
    )
    assert [(row[0], row[2]) for row in billing(lake)] == [("2024-02-05 08:00", 10), ("2024-03-05 08:00", 20)]


def test_a_peak_of_a_billing_period_is_no_peak_of_a_calendar_month(tmp_path: Path) -> None:
    """Whether the 9 of 20 March were reached in March is known; those of 2 March may be of February."""
    rows = [
        *AGENTS.readings("2024-02-05 08:00", {"2024-02-20 12:00": 12, "2024-03-02 12:00": 12}),
        *AGENTS.readings("2024-03-05 08:00", {"2024-03-06 12:00": 4, "2024-03-20 12:00": 9}),
    ]
    lake = small(
        tmp_path,
        rows,
        periods=billed("thousandeyes", "usage", "2024-02-05 08:00", "2024-03-05 08:00", "2024-04-05 08:00"),
    )
    assert calendar(lake) == []
    assert [row[2:4] for row in billing(lake)] == [(12, "last reading"), (9, "last reading")]


def test_a_month_of_daily_peaks_is_the_highest(tmp_path: Path) -> None:
    peaks = replace(NODES, aggregation=AGENTS.aggregation)
    rows = [peaks.day("2024-03-01", 3), peaks.day("2024-03-02", 8), peaks.day("2024-03-03", 5)]
    assert calendar(small(tmp_path, rows))[0][2:4] == (8, "highest day")


def test_a_month_of_averages_is_their_average(tmp_path: Path) -> None:
    """(1 + 2 + 2) / 3, to nine decimals."""
    averages = replace(NODES, aggregation=AVERAGE)
    rows = [averages.day("2024-03-01", 1), averages.day("2024-03-02", 2), averages.day("2024-03-03", 2)]
    assert calendar(small(tmp_path, rows))[0][2:4] == (Decimal("1.666666667"), "average of days")


def test_of_averages_without_a_remainder_nothing_is_lost(tmp_path: Path) -> None:
    """A float holds 15 digits, the value has 20."""
    averages = replace(NODES, aggregation=AVERAGE)
    value = "12345678901.123456789"
    rows = [averages.day("2024-03-01", value), averages.day("2024-03-02", value)]
    assert calendar(small(tmp_path, rows))[0][2] == Decimal(value)


def test_a_month_of_levels_is_the_last(tmp_path: Path) -> None:
    rows = [
        INSTANCES.level("2024-03-01 12:00", 30),
        INSTANCES.level("2024-03-30 12:00", 28),
        INSTANCES.level("2024-03-31 06:00", 27),
        INSTANCES.level("2024-03-31 18:00", 25),
        INSTANCES.level("2024-04-01 00:00", 90),
        AGENT_NODES.day("2024-03-30", 7),
        AGENT_NODES.day("2024-03-31", 6),
    ]
    found = small(tmp_path, rows).rows(
        "SELECT metric, period_start, value, rule, days_known FROM usage_monthly ORDER BY ALL"
    )
    assert found == [
        ("billable_service_instances", "2024-03-01 00:00", 25, "last reading", 3),
        ("billable_service_instances", "2024-04-01 00:00", 90, "last reading", 1),
        ("nodes_with_agent", "2024-03-01 00:00", 6, "last reading", 2),
    ]


def test_levels_of_an_account_that_is_billed_in_periods_have_both_months(tmp_path: Path) -> None:
    rows = [STREAMS.level("2024-03-10 12:00", 400), STREAMS.level("2024-03-31 12:00", 420)]
    lake = small(tmp_path, rows, periods=billed("aveva", "billing_cycles", "2024-02-20", "2024-03-20"))
    assert billing(lake) == [
        ("2024-02-20 00:00", "2024-03-20 00:00", 400, "last reading", True),
        ("2024-03-20 00:00", "2024-04-20 00:00", 420, "last reading", False),
    ]
    assert [row[2] for row in calendar(lake)] == [420]


def test_a_running_total_beside_daily_amounts_has_no_month_of_its_own(tmp_path: Path) -> None:
    rows = [*MINUTES.each("2024-03-01", "2024-03-02", 5), MINUTES_SO_FAR.reading("2024-03-01", "2024-03-03", 10)]
    assert small(tmp_path, rows).rows("SELECT temporality, value FROM usage_monthly") == [("delta", 10)]


def test_neither_has_it_a_billing_month(tmp_path: Path) -> None:
    rows = [*MINUTES.each("2024-03-05", "2024-03-06", 5), MINUTES_SO_FAR.reading("2024-03-05", "2024-03-07", 10)]
    lake = small(tmp_path, rows, periods=billed("launchdarkly", "service_connections", "2024-03-05", "2024-04-05"))
    assert lake.rows("SELECT calendar, temporality, value FROM usage_monthly ORDER BY ALL") == [
        ("billing", "delta", 10),
        ("calendar", "delta", 10),
    ]


def test_parts_totals_accounts_and_outlooks_do_not_mix(tmp_path: Path) -> None:
    rows = [
        MINUTES.day("2024-03-01", 5),
        replace(MINUTES, dimensions={"project": "a"}).day("2024-03-01", 2),
        replace(MINUTES, dimensions={"project": "b"}).day("2024-03-01", 3),
        replace(MINUTES, account="beta").day("2024-03-01", 8),
        replace(MINUTES_SO_FAR, role=Role.PROJECTED).ahead("2024-03-01", "2024-04-01", 999, "2024-03-02"),
    ]
    found = small(tmp_path, rows).rows("SELECT account, breakdown, project, value FROM usage_monthly ORDER BY ALL")
    assert found == [
        ("acme", "", None, 5),
        ("acme", "project", "a", 2),
        ("acme", "project", "b", 3),
        ("beta", "", None, 8),
    ]


def test_a_month_has_the_newest_labels(tmp_path: Path) -> None:
    old = replace(MINUTES, dimensions={"project": "a"}, labels={"project_name": "shop"})
    new = replace(old, labels={"project_name": "store"})
    lake = small(tmp_path, [old.day("2024-02-29", 1), old.day("2024-03-01", 1), new.day("2024-03-02", 3)])
    assert lake.rows(
        "SELECT value, map_extract(labels, 'project_name')[1] FROM usage_monthly ORDER BY period_start DESC LIMIT 1"
    ) == [(4, "store")]
