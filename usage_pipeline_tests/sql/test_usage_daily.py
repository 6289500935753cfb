"""usage_daily: which number stands for a day, how it came about, and which days it covers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from usage_pipeline.contract.schema import Aggregation, Role
from usage_pipeline_tests.sql.lake import (
    AGENT_NODES,
    AGENTS,
    AVERAGE,
    CUMULATIVE,
    DISTINCT,
    INSTANCES,
    LAST,
    MAX,
    MINUTES,
    MINUTES_SO_FAR,
    NODES,
    RUNS,
    SUM,
    UNITS,
    USERS,
    USERS_30_DAYS,
    Row,
    days,
    small,
    when,
)

VALUES = "SELECT usage_date, value, derivation, days_covered FROM usage_daily ORDER BY usage_date"
COVERS = "SELECT usage_date, covers_from, covers_to FROM usage_daily ORDER BY usage_date"


def daily(home: Path, rows: Iterable[Row]) -> list[tuple[Any, ...]]:
    return small(home, rows).rows(VALUES)


def covers(home: Path, rows: Iterable[Row]) -> list[tuple[Any, ...]]:
    return small(home, rows).rows(COVERS)


def test_a_delta_is_reported_as_it_stands(tmp_path: Path) -> None:
    lake = small(tmp_path, [RUNS.day("2024-02-29", 7), RUNS.day("2024-03-01", 9, final=False)])
    assert lake.rows(VALUES) == [("2024-02-29", 7, "reported", 1), ("2024-03-01", 9, "reported", 1)]
    assert lake.rows(COVERS) == [
        ("2024-02-29", "2024-02-29 00:00", "2024-03-01 00:00"),
        ("2024-03-01", "2024-03-01 00:00", "2024-03-02 00:00"),
    ]
    assert lake.rows("SELECT is_final FROM usage_daily ORDER BY usage_date") == [(True,), (False,)]


def test_a_delta_of_two_days_says_so(tmp_path: Path) -> None:
    assert daily(tmp_path, [RUNS.period("2024-03-01", "2024-03-03", 8)]) == [("2024-03-02", 8, "reported", 2)]


def test_a_negative_correction_stands(tmp_path: Path) -> None:
    assert daily(tmp_path, [RUNS.day("2024-03-01", 9), RUNS.day("2024-03-02", "-2.5")]) == [
        ("2024-03-01", 9, "reported", 1),
        ("2024-03-02", Decimal("-2.5"), "reported", 1),
    ]


@pytest.mark.parametrize(("aggregation", "value"), [(SUM, 6 + 9 + 4), (MAX, 9), (DISTINCT, 4), (AVERAGE, 4), (LAST, 4)])
def test_several_periods_of_a_day_become_one(tmp_path: Path, aggregation: Aggregation, value: int) -> None:
    """Hours with 6, 9 and 4: sums add, the highest peak stands, and of all others the last."""
    hourly = replace(RUNS, aggregation=aggregation)
    hours = {"2024-03-01 21:00": 6, "2024-03-01 22:00": 9, "2024-03-01 23:00": 4}
    ends = [*hours, "2024-03-02"][1:]
    rows = [hourly.period(start, end, told) for (start, told), end in zip(hours.items(), ends, strict=True)]
    ((day, told, _derivation, covered),) = daily(tmp_path, rows)
    # The last hour ends at midnight, and belongs to the day before.
    assert (day, told, covered) == ("2024-03-01", value, 1)


def test_a_running_total_is_told_apart_by_day_and_begins_anew_in_the_middle_of_one(tmp_path: Path) -> None:
    """The period ends at 08:00 on 5 March. 5 March has what the old one still brought and what the new one did."""
    rows = [
        *UNITS.readings(
            "2024-02-05 08:00", {"2024-03-03 12:00": 100, "2024-03-04 12:00": 130, "2024-03-05 07:00": 145}
        ),
        *UNITS.readings("2024-03-05 08:00", {"2024-03-05 12:00": 7, "2024-03-06 12:00": 20}),
    ]
    lake = small(tmp_path, rows)
    assert lake.rows(VALUES) == [
        # Nothing was read since the period's start: 25 days of February 2024 and 3 of March.
        ("2024-03-03", 100, "difference", 28),
        ("2024-03-04", 30, "difference", 1),
        ("2024-03-05", 15 + 7, "difference", 1),
        ("2024-03-06", 13, "difference", 1),
    ]
    assert lake.rows(COVERS) == [
        ("2024-03-03", "2024-02-05 08:00", "2024-03-03 12:00"),
        ("2024-03-04", "2024-03-03 12:00", "2024-03-04 12:00"),
        ("2024-03-05", "2024-03-04 12:00", "2024-03-05 12:00"),
        ("2024-03-06", "2024-03-05 12:00", "2024-03-06 12:00"),
    ]
    # What is told by day is what the meters showed: 145 and 20.
    assert lake.one("SELECT sum(value) FROM usage_daily") == 145 + 20


def test_two_parts_of_a_day_of_reset_cover_the_longer(tmp_path: Path) -> None:
    """3 and 4 March were missed: the old period's part of 5 March covers three days, the new one's one."""
    rows = [
        *UNITS.readings("2024-02-05 08:00", {"2024-03-02 12:00": 80, "2024-03-05 07:00": 95}),
        *UNITS.readings("2024-03-05 08:00", {"2024-03-05 12:00": 7}),
    ]
    assert daily(tmp_path, rows)[1:] == [("2024-03-05", 15 + 7, "difference", 3)]


def test_a_missed_day_is_covered_by_the_next(tmp_path: Path) -> None:
    rows = UNITS.readings("2024-03-05 08:00", {"2024-03-05 12:00": 5, "2024-03-06 12:00": 20, "2024-03-08 12:00": 50})
    lake = small(tmp_path, rows)
    assert lake.rows(VALUES) == [
        ("2024-03-05", 5, "difference", 1),
        ("2024-03-06", 15, "difference", 1),
        ("2024-03-08", 30, "difference", 2),
    ]
    assert lake.rows(COVERS)[2] == ("2024-03-08", "2024-03-06 12:00", "2024-03-08 12:00")


@pytest.mark.parametrize(("year", "missed"), [(2023, 2), (2024, 3), (2028, 3)])
def test_leap_days_are_counted_among_the_missed(tmp_path: Path, year: int, missed: int) -> None:
    """From 27 February to 1 March: two days, or three with a 29 February."""
    rows = UNITS.readings(f"{year}-02-27", {f"{year}-02-27 12:00": 1, f"{year}-03-01 12:00": 4})
    assert daily(tmp_path, rows)[1] == (f"{year}-03-01", 3, "difference", missed)


def test_a_day_missed_at_the_start_of_a_period_is_covered_from_its_start(tmp_path: Path) -> None:
    rows = [UNITS.reading("2024-04-05 08:00", "2024-04-07 12:00", 9)]
    lake = small(tmp_path, rows)
    assert lake.rows(VALUES) == [("2024-04-07", 9, "difference", 3)]
    assert lake.rows(COVERS) == [("2024-04-07", "2024-04-05 08:00", "2024-04-07 12:00")]


def test_what_was_missed_before_a_reset_is_not_invented(tmp_path: Path) -> None:
    """Nobody knows what came between the last reading of the old period, 90, and its end."""
    rows = [
        *UNITS.readings("2024-03-05 08:00", {"2024-04-02 12:00": 80, "2024-04-03 12:00": 90}),
        UNITS.reading("2024-04-05 08:00", "2024-04-07 12:00", 9),
    ]
    assert daily(tmp_path, rows)[1:] == [("2024-04-03", 10, "difference", 1), ("2024-04-07", 9, "difference", 3)]


def test_of_several_readings_of_a_day_the_last_counts_and_midnight_is_of_the_day_before(tmp_path: Path) -> None:
    rows = UNITS.readings(
        "2024-03-10",
        {
            "2024-03-10 15:00": 8,
            "2024-03-10 09:00": 5,
            "2024-03-11 00:00": "10.5",
            "2024-03-11 01:00": "10.75",
            "2024-03-11 18:00": 11,
        },
    )
    lake = small(tmp_path, rows)
    assert lake.rows(VALUES) == [
        ("2024-03-10", Decimal("10.5"), "difference", 1),
        ("2024-03-11", Decimal("0.5"), "difference", 1),
    ]
    assert lake.rows(COVERS) == [
        ("2024-03-10", "2024-03-10 00:00", "2024-03-11 00:00"),
        ("2024-03-11", "2024-03-11 00:00", "2024-03-11 18:00"),
    ]


def test_a_total_that_falls_is_shown_as_restated(tmp_path: Path) -> None:
    rows = UNITS.readings("2024-03-10", {"2024-03-10 12:00": 10, "2024-03-11 12:00": 8, "2024-03-12 12:00": 15})
    told = daily(tmp_path, rows)
    assert told == [
        ("2024-03-10", 10, "difference", 1),
        ("2024-03-11", -2, "restated", 1),
        ("2024-03-12", 7, "difference", 1),
    ]
    assert sum(row[1] for row in told) == 15


def test_a_day_of_reset_is_restated_if_either_part_fell(tmp_path: Path) -> None:
    """The old period fell by 5, the new one brought 7: +2 together, and yet something was taken back."""
    rows = [
        *UNITS.readings("2024-02-05 08:00", {"2024-03-04 12:00": 100, "2024-03-05 07:00": 95}),
        *UNITS.readings("2024-03-05 08:00", {"2024-03-05 12:00": 7}),
    ]
    assert daily(tmp_path, rows)[1] == ("2024-03-05", 2, "restated", 1)


def test_a_running_total_beside_its_own_daily_amounts_is_left_out(tmp_path: Path) -> None:
    rows = [
        *[MINUTES.day(day, 5) for day in days("2024-03-01", "2024-03-03")],
        *MINUTES_SO_FAR.readings("2024-03-01", {"2024-03-02": 5, "2024-03-03": 10, "2024-03-04": 15}),
    ]
    assert daily(tmp_path, rows) == [(day, 5, "reported", 1) for day in days("2024-03-01", "2024-03-03")]


def test_a_running_total_stays_where_daily_amounts_are_of_others(tmp_path: Path) -> None:
    """Beta tells only the total; of acme the daily amounts are by project, the running total is the account's."""
    beta = replace(MINUTES_SO_FAR, account="beta")
    rows = [
        MINUTES.day("2024-03-01", 5),
        beta.reading("2024-03-01", "2024-03-02", 6),
        replace(MINUTES, account="gamma", dimensions={"project": "p"}).day("2024-03-01", 7),
        replace(MINUTES_SO_FAR, account="gamma").reading("2024-03-01", "2024-03-02", 8),
    ]
    found = small(tmp_path, rows).rows("SELECT account, breakdown, value, derivation FROM usage_daily ORDER BY ALL")
    assert found == [
        ("acme", "", 5, "reported"),
        ("beta", "", 6, "difference"),
        ("gamma", "", 8, "difference"),
        ("gamma", "project", 7, "reported"),
    ]


def test_distinct_counts_of_the_month_so_far_are_never_differenced(tmp_path: Path) -> None:
    """29 February 2024 is the 29th day of its period."""
    rows = USERS.readings("2024-02-01", {"2024-02-29": 38, "2024-03-01": 40}) + USERS.readings(
        "2024-03-01", {"2024-03-02": 12}
    )
    lake = small(tmp_path, rows)
    assert lake.rows(VALUES) == [
        ("2024-02-28", 38, "last_reading", 28),
        ("2024-02-29", 40, "last_reading", 29),
        ("2024-03-01", 12, "last_reading", 1),
    ]
    assert lake.rows(COVERS)[1] == ("2024-02-29", "2024-02-01 00:00", "2024-03-01 00:00")


def test_a_trailing_window_covers_its_length(tmp_path: Path) -> None:
    """20 days of February 2024 and 10 of March."""
    lake = small(tmp_path, [USERS_30_DAYS.period("2024-02-10", "2024-03-11", 77)])
    assert lake.rows(VALUES) == [("2024-03-10", 77, "last_reading", 30)]
    assert lake.rows(COVERS) == [("2024-03-10", "2024-02-10 00:00", "2024-03-11 00:00")]


@pytest.mark.parametrize("series", [AGENTS, replace(AGENTS, aggregation=AVERAGE), replace(AGENTS, aggregation=LAST)])
def test_peaks_and_other_numbers_of_a_period_so_far_stand_as_read(tmp_path: Path, series: Any) -> None:
    rows = series.readings(
        "2024-03-05 08:00", {"2024-03-05 12:00": 4, "2024-03-07 09:00": 6, "2024-03-07 12:00": 9, "2024-03-08 12:00": 9}
    )
    assert daily(tmp_path, rows) == [
        ("2024-03-05", 4, "last_reading", 1),
        ("2024-03-07", 9, "last_reading", 3),
        ("2024-03-08", 9, "last_reading", 4),
    ]


def test_of_the_levels_of_a_day_the_last_stands(tmp_path: Path) -> None:
    rows = [
        INSTANCES.level("2024-03-01 06:00", 30),
        INSTANCES.level("2024-03-01 18:00", 26),
        INSTANCES.level("2024-03-01 12:00", 31),
        # A level at midnight is seen on the day that begins: it has no period that could end.
        INSTANCES.level("2024-03-02 00:00", 40),
    ]
    lake = small(tmp_path, rows)
    assert lake.rows(VALUES) == [("2024-03-01", 26, "last_reading", 1), ("2024-03-02", 40, "last_reading", 1)]
    assert lake.rows(COVERS)[0] == ("2024-03-01", "2024-03-01 18:00", "2024-03-01 18:00")


def test_daily_distinct_counts_and_levels_are_reported(tmp_path: Path) -> None:
    rows = [NODES.day("2024-03-01", 11), AGENT_NODES.day("2024-03-01", 10)]
    found = small(tmp_path, rows).rows("SELECT metric, value, derivation, days_covered FROM usage_daily ORDER BY ALL")
    assert found == [("nodes", 11, "reported", 1), ("nodes_with_agent", 10, "reported", 1)]


def test_all_digits_are_kept(tmp_path: Path) -> None:
    """29 digits before the point and 9 behind it are all that the type holds."""
    widest = Decimal("12345678901234567890123456789.123456789")
    wider = Decimal("12345678901234567890123456789.123456790")
    rows = [
        RUNS.day("2024-03-01", widest),
        *UNITS.readings("2024-03-01", {"2024-03-01 12:00": widest, "2024-03-02 12:00": wider}),
    ]
    found = small(tmp_path, rows).rows("SELECT metric, usage_date, value FROM usage_daily ORDER BY ALL")
    assert found == [
        ("cloud_units", "2024-03-01", widest),
        ("cloud_units", "2024-03-02", Decimal("0.000000001")),
        ("task_runs_by_node", "2024-03-01", widest),
    ]


def test_a_difference_is_as_final_as_its_reading(tmp_path: Path) -> None:
    rows = [
        UNITS.reading("2024-03-01", "2024-03-01 12:00", 1),
        UNITS.reading("2024-03-01", "2024-03-02 12:00", 2, final=False),
    ]
    assert small(tmp_path, rows).rows("SELECT is_final, observed_at FROM usage_daily ORDER BY usage_date") == [
        (True, "2024-03-01 12:00"),
        (False, "2024-03-02 12:00"),
    ]


def test_projections_and_allowances_are_no_usage(tmp_path: Path) -> None:
    rows = [
        UNITS.reading("2024-03-05 08:00", "2024-03-05 12:00", 5),
        replace(UNITS, role=Role.PROJECTED).ahead("2024-03-05 08:00", "2024-04-05 08:00", 900, "2024-03-05 12:00"),
        replace(UNITS, role=Role.ENTITLED).ahead("2024-03-05 08:00", "2024-04-05 08:00", 1000, "2024-03-05 12:00"),
    ]
    assert daily(tmp_path, rows) == [("2024-03-05", 5, "difference", 1)]


def test_accounts_units_and_parts_are_differenced_apart(tmp_path: Path) -> None:
    part = replace(UNITS, dimensions={"account_group": "a", "test": "1"})
    steps = {10: UNITS, 20: replace(UNITS, account="beta"), 3: replace(UNITS, unit="Credits"), 4: part}
    rows = [
        row
        for step, series in steps.items()
        for row in series.readings("2024-03-01", {"2024-03-01 12:00": step, "2024-03-02 12:00": 3 * step})
    ]
    found = small(tmp_path, rows).rows(
        "SELECT account, unit, breakdown, value FROM usage_daily WHERE usage_date = DATE '2024-03-02' ORDER BY ALL"
    )
    assert found == [
        ("acme", "Cloud Units", "", 20),
        ("acme", "Cloud Units", "account_group+test", 8),
        ("acme", "Credits", "", 6),
        ("beta", "Cloud Units", "", 40),
    ]


def test_dimensions_are_columns_and_labels_as_told_on_the_day(tmp_path: Path) -> None:
    old = replace(UNITS, dimensions={"account_group": "a", "test": "1"}, labels={"test_name": "shop"})
    new = replace(old, labels={"test_name": "store"})
    rows = [old.reading("2024-03-01", "2024-03-01 12:00", 1), new.reading("2024-03-01", "2024-03-02 12:00", 3)]
    found = small(tmp_path, rows).rows(
        "SELECT account_group, test, project, map_extract(labels, 'test_name')[1], value FROM usage_daily "
        "ORDER BY usage_date"
    )
    assert found == [("a", "1", None, "shop", 1), ("a", "1", None, "store", 2)]


def test_usage_has_dimensions_as_columns_too(tmp_path: Path) -> None:
    part = replace(MINUTES, dimensions={"environment": "e", "project": "p"})
    found = small(tmp_path, [part.day("2024-03-01", 1), MINUTES.day("2024-03-01", 2)]).rows(
        "SELECT project, environment, datacenter, value FROM usage ORDER BY value"
    )
    assert found == [("p", "e", None, 1), (None, None, None, 2)]


def test_a_meter_of_which_the_vendor_tells_no_sum_is_none(tmp_path: Path) -> None:
    """The same readings as a distinct count: nothing is differenced, whatever the unit."""
    rows = replace(UNITS, aggregation=DISTINCT, temporality=CUMULATIVE).readings(
        "2024-03-01", {"2024-03-01 12:00": 5, "2024-03-02 12:00": 3}
    )
    assert daily(tmp_path, rows) == [("2024-03-01", 5, "last_reading", 1), ("2024-03-02", 3, "last_reading", 2)]


def test_days_before_the_first_daily_amount_are_read_off_the_running_total(tmp_path: Path) -> None:
    """Daily amounts were switched on for 3 March: 5, 12 - 5, and then 4 as told, not 17 - 12."""
    shown = {"2024-03-02": 5, "2024-03-03": 12, "2024-03-04": 17}
    rows = [*MINUTES_SO_FAR.readings("2024-03-01", shown), MINUTES.day("2024-03-03", 4)]
    found = small(tmp_path, rows).rows("SELECT usage_date, value, derivation FROM usage_daily ORDER BY ALL")
    assert found == [
        ("2024-03-01", 5, "difference"),
        ("2024-03-02", 7, "difference"),
        ("2024-03-03", 4, "reported"),
    ]


def test_a_running_total_of_the_past_may_change_though_later_days_are_told(tmp_path: Path) -> None:
    """A meter's reading stays what it was; a past day's total, told afterwards, may be told again."""
    told = [MINUTES_SO_FAR.period("2024-03-01", end, 5, final=False) for end in ("2024-03-02", "2024-03-03")]
    later = [row | {"observed_at": when("2024-03-10 06:00")} for row in told]
    assert small(tmp_path / "told", later).rows("SELECT is_final FROM usage_daily") == [(False,), (False,)]
    read = [MINUTES_SO_FAR.reading("2024-03-01", end, 5, final=False) for end in ("2024-03-02", "2024-03-03")]
    found = small(tmp_path / "read", read).rows("SELECT is_final FROM usage_daily ORDER BY usage_date")
    assert found == [(True,), (False,)]
