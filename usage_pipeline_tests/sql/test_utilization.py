"""utilization: what was consumed of what the contract allows, and on which day it will be used up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from usage_pipeline.contract.schema import Role
from usage_pipeline_tests.sql.lake import (
    AGENTS,
    INSTANCES,
    LAST,
    MINUTES,
    MINUTES_SO_FAR,
    NODES,
    RUNS,
    STREAMS,
    UNITS,
    USERS,
    Number,
    Row,
    Small,
    allowed,
    billed,
    small,
)

START, END = "2024-03-05 08:00", "2024-04-05 08:00"
"""A billing period of 31 days."""
PERIOD = billed("thousandeyes", "usage", START, END)

SHARE = "SELECT consumed, entitled, ratio, remaining FROM utilization ORDER BY ALL"
OUTLOOK = "SELECT projected, projected_ratio, projected_by, exhausted_on FROM utilization ORDER BY ALL"


def units(shown: Mapping[str, Number], entitled: Number | None = None, projected: Number | None = None) -> list[Row]:
    """Readings of the meter in the billing period, and what the last answer says of the whole of it."""
    seen = max(shown)
    rows = UNITS.readings(START, shown)
    if entitled is not None:
        rows.append(replace(UNITS, role=Role.ENTITLED).ahead(START, END, entitled, seen))
    if projected is not None:
        rows.append(replace(UNITS, role=Role.PROJECTED).ahead(START, END, projected, seen))
    return rows


def billed_units(home: Path, rows: Iterable[Row]) -> Small:
    return small(home, rows, periods=PERIOD)


def test_what_the_vendor_allows_and_projects(tmp_path: Path) -> None:
    """Half of 840 after 10.5 days of 31; the vendor expects 1240, that is 820 more in the 20.5 days left."""
    lake = billed_units(tmp_path, units({"2024-03-10 12:00": 200, "2024-03-15 20:00": 420}, 840, 1240))
    ((*told,),) = lake.rows(
        "SELECT vendor, account, metric, unit, period_start, period_end, as_of, consumed, entitled, projected, ratio, "
        "projected_ratio, consumed_rule, entitled_by, projected_by, remaining FROM utilization"
    )
    assert told == [
        "thousandeyes", "acme", "cloud_units", "Cloud Units", START, END, "2024-03-15 20:00", 420, 840, 1240,
        Decimal("0.5000"), Decimal("1.4762"), "last reading", "vendor", "vendor", 420,
    ]  # fmt: skip


def test_the_day_of_exhaustion_where_past_and_projection_agree(tmp_path: Path) -> None:
    """40 a day so far and 40 a day to come: 580 are left, 14.5 days from 15 March, 20:00, that is 30 March, 08:00."""
    lake = billed_units(tmp_path, units({"2024-03-15 20:00": 420}, 1000, 420 + 820))
    assert lake.rows(OUTLOOK) == [(1240, Decimal("1.2400"), "vendor", "2024-03-30")]


def test_the_day_of_exhaustion_follows_the_vendor_s_projection(tmp_path: Path) -> None:
    """1445 - 420 = 1025 in 20.5 days, 50 a day from now: 580 are left, 11.6 days, 27 March, 10:24.

    At the pace so far it would be the 30th.
    """
    lake = billed_units(tmp_path, units({"2024-03-15 20:00": 420}, 1000, 1445))
    assert lake.rows(OUTLOOK)[0][3] == "2024-03-27"


def test_what_lasts_to_the_end_of_the_period_is_not_exhausted(tmp_path: Path) -> None:
    lake = billed_units(tmp_path, units({"2024-03-15 20:00": 420}, 1241, 1240))
    assert lake.rows(OUTLOOK) == [(1240, Decimal("0.9992"), "vendor", None)]


def test_without_a_projection_the_pace_so_far_goes_on(tmp_path: Path) -> None:
    """420 in 10.5 days are 40 a day, 1240 in 31. 1000 are reached after 25 days, on 30 March."""
    lake = billed_units(tmp_path, units({"2024-03-15 20:00": 420}, 1000))
    assert lake.rows(OUTLOOK) == [(1240, Decimal("1.2400"), "run rate", "2024-03-30")]


def test_what_is_used_up_was_so_on_the_day_of_the_first_reading_beyond(tmp_path: Path) -> None:
    lake = billed_units(
        tmp_path, units({"2024-03-10 12:00": 900, "2024-03-12 12:00": 1100, "2024-03-15 20:00": 1500}, 1000, 4000)
    )
    assert lake.rows(SHARE) == [(1500, 1000, Decimal("1.5000"), -500)]
    assert lake.rows(OUTLOOK) == [(4000, Decimal("4.0000"), "vendor", "2024-03-12")]


def test_of_nothing_allowed_there_is_no_share(tmp_path: Path) -> None:
    lake = billed_units(tmp_path, units({"2024-03-15 20:00": 420}, 0, 1240))
    assert lake.rows(SHARE) == [(420, 0, None, -420)]
    assert lake.rows("SELECT projected_ratio FROM utilization") == [(None,)]


def test_a_period_without_consumption_has_a_share_of_zero(tmp_path: Path) -> None:
    lake = billed_units(tmp_path, units({"2024-03-15 20:00": 0}, 1000))
    assert lake.rows(SHARE) == [(0, 1000, 0, 1000)]
    assert lake.rows("SELECT exhausted_on FROM utilization") == [(None,)]


def test_what_is_not_entitled_is_not_there(tmp_path: Path) -> None:
    assert billed_units(tmp_path, units({"2024-03-15 20:00": 420}, projected=1240)).rows(SHARE) == []


def test_each_billing_period_has_its_own_row(tmp_path: Path) -> None:
    """A projection and an allowance say nothing of the period before theirs."""
    earlier = "2024-02-05 08:00"
    rows = [
        UNITS.reading(earlier, "2024-03-05 07:00", 600),
        replace(UNITS, role=Role.ENTITLED).ahead(earlier, START, 800, "2024-03-05 07:00"),
        *units({"2024-03-15 20:00": 420}, 1000, 1240),
    ]
    lake = small(tmp_path, rows, periods=billed("thousandeyes", "usage", earlier, START, END))
    assert lake.rows("SELECT period_start, consumed, entitled FROM utilization ORDER BY period_start") == [
        (earlier, 600, 800),
        (START, 420, 1000),
    ]


def test_parts_and_other_accounts_are_not_added_to_the_total(tmp_path: Path) -> None:
    part = replace(UNITS, dimensions={"account_group": "a", "test": "1"})
    beta = replace(UNITS, account="beta")
    rows = [
        *units({"2024-03-15 20:00": 420}, 1000),
        part.reading(START, "2024-03-15 20:00", 420),
        replace(part, role=Role.PROJECTED).ahead(START, END, 5000, "2024-03-15 20:00"),
        beta.reading(START, "2024-03-15 20:00", 9),
        replace(beta, role=Role.ENTITLED).ahead(START, END, 10, "2024-03-15 20:00"),
    ]
    lake = small(tmp_path, rows, periods=[*PERIOD, *billed("thousandeyes", "usage", START, END, account="beta")])
    assert lake.rows("SELECT account, consumed, entitled, ratio FROM utilization ORDER BY account") == [
        ("acme", 420, 1000, Decimal("0.4200")),
        ("beta", 9, 10, Decimal("0.9000")),
    ]


def test_a_peak_is_not_extrapolated(tmp_path: Path) -> None:
    """9 agents at most in 10 days do not become 27 in 30."""
    rows = [
        *AGENTS.readings(START, {"2024-03-06 12:00": 4, "2024-03-15 20:00": 9}),
        replace(AGENTS, role=Role.ENTITLED).ahead(START, END, 12, "2024-03-15 20:00"),
    ]
    lake = billed_units(tmp_path, rows)
    assert lake.rows(SHARE) == [(9, 12, Decimal("0.7500"), 3)]
    assert lake.rows(OUTLOOK) == [(None, None, None, None)]


def test_a_level_beside_its_allowance(tmp_path: Path) -> None:
    """AVEVA's stated cycles ended before: the current one is derived. The newest levels count on either side."""
    entitled = replace(STREAMS, role=Role.ENTITLED)
    rows = [
        STREAMS.level("2024-03-10 12:00", 450),
        entitled.level("2024-03-10 12:00", 600),
        STREAMS.level("2024-03-11 12:00", 400),
        entitled.level("2024-03-11 12:00", 500),
    ]
    lake = small(tmp_path, rows, periods=billed("aveva", "billing_cycles", "2024-02-01", "2024-03-01"))
    assert lake.rows(
        "SELECT period_start, period_end, as_of, consumed, entitled, ratio, entitled_by FROM utilization"
    ) == [("2024-03-01 00:00", "2024-04-01 00:00", "2024-03-11 12:00", 400, 500, Decimal("0.8000"), "vendor")]
    assert lake.rows(OUTLOOK) == [(None, None, None, None)]


def test_an_allowance_without_consumption_is_shown(tmp_path: Path) -> None:
    accessed = replace(STREAMS, metric="streams_accessed", role=Role.ENTITLED)
    lake = small(tmp_path, [accessed.level("2024-03-10 12:00", 300)])
    assert lake.rows(SHARE) == [(None, 300, None, None)]


def test_a_licence_from_the_configuration(tmp_path: Path) -> None:
    """Puppet's busiest day had 80 of 100 nodes; without billing periods, months are those of the calendar."""
    rows = [NODES.day("2024-02-29", 70), NODES.day("2024-03-01", 80), NODES.day("2024-03-02", 60)]
    lake = small(tmp_path, rows, entitlements=[allowed(NODES, 100)])
    assert lake.rows(
        "SELECT period_start, period_end, unit, consumed, entitled, ratio, projected FROM utilization "
        "ORDER BY period_start"
    ) == [
        ("2024-02-01 00:00", "2024-03-01 00:00", "Nodes", 70, 100, Decimal("0.7000"), None),
        ("2024-03-01 00:00", "2024-04-01 00:00", "Nodes", 80, 100, Decimal("0.8000"), None),
    ]
    assert lake.rows("SELECT DISTINCT consumed_rule, entitled_by FROM utilization") == [
        ("highest day", "configuration")
    ]


def test_a_licence_that_changes_within_a_month_counts_as_it_is_at_its_end(tmp_path: Path) -> None:
    rows = [*NODES.each("2024-02-01", "2024-02-29", 90), *NODES.each("2024-03-01", "2024-03-31", 120)]
    licences = [allowed(NODES, 100, "2024-01-01", "2024-03-15"), allowed(NODES, 160, "2024-03-16")]
    lake = small(tmp_path, rows, entitlements=licences)
    assert lake.rows("SELECT period_start, entitled, ratio FROM utilization ORDER BY period_start") == [
        ("2024-02-01 00:00", 100, Decimal("0.9000")),
        ("2024-03-01 00:00", 160, Decimal("0.7500")),
    ]


def test_a_licence_has_no_months_before_it_begins_or_after_it_ends(tmp_path: Path) -> None:
    rows = NODES.each("2024-02-01", "2024-04-30", 90)
    lake = small(tmp_path, rows, entitlements=[allowed(NODES, 100, "2024-03-01", "2024-03-31")])
    assert lake.rows("SELECT period_start FROM utilization") == [("2024-03-01 00:00",)]


def test_a_quota_of_days_that_add_up_is_extrapolated(tmp_path: Path) -> None:
    """50 minutes on each of April's first 10 days: 1500 in its 30. 1010 are reached 10.2 days later, on the 21st."""
    lake = small(
        tmp_path, MINUTES.each("2024-04-01", "2024-04-10", 50), entitlements=[allowed(MINUTES, 1010, "2024-04-01")]
    )
    assert lake.rows("SELECT as_of, consumed, consumed_rule, entitled FROM utilization") == [
        ("2024-04-11 00:00", 500, "sum of days", 1010)
    ]
    assert lake.rows(OUTLOOK) == [(1500, Decimal("1.4851"), "run rate", "2024-04-21")]


def test_a_month_of_the_data_s_past_is_what_it_was(tmp_path: Path) -> None:
    """All 29 days of February 2024 are known: nothing is left to project."""
    lake = small(tmp_path, RUNS.each("2024-02-01", "2024-02-29", 10), entitlements=[allowed(RUNS, 300)])
    assert lake.rows(SHARE) == [(290, 300, Decimal("0.9667"), 10)]
    projected, _ratio, _by, exhausted = lake.rows(OUTLOOK)[0]
    assert projected in {None, 290}
    assert exhausted is None


def test_the_vendor_s_projection_of_daily_amounts(tmp_path: Path) -> None:
    """The amounts are daily, the projection is of their running total: they belong together."""
    rows = [
        *MINUTES.each("2024-04-01", "2024-04-10", 50),
        MINUTES_SO_FAR.reading("2024-04-01", "2024-04-11", 500),
        replace(MINUTES_SO_FAR, role=Role.PROJECTED).ahead("2024-04-01", "2024-05-01", 1600, "2024-04-11"),
    ]
    lake = small(tmp_path, rows, entitlements=[allowed(MINUTES, 2000)])
    assert lake.rows("SELECT consumed, entitled, projected, projected_by, exhausted_on FROM utilization") == [
        (500, 2000, 1600, "vendor", None)
    ]


def test_a_distinct_count_of_the_month_so_far(tmp_path: Path) -> None:
    """It grows ever slower: no pace, no projection."""
    rows = USERS.readings("2024-04-01", {"2024-04-06": 300, "2024-04-11": 400})
    lake = small(tmp_path, rows, entitlements=[allowed(USERS, 500)])
    assert lake.rows(SHARE) == [(400, 500, Decimal("0.8000"), 100)]
    assert lake.rows(OUTLOOK) == [(None, None, None, None)]


def two_datacenters(name: str = "datacenter", more: Mapping[str, str] | None = None) -> list[Any]:
    return [replace(INSTANCES, dimensions={name: each} | dict(more or {})) for each in ("dc1", "dc2")]


def test_levels_of_parts_add_up_where_no_total_is_told(tmp_path: Path) -> None:
    """The newest levels of either datacenter: 30 + 12."""
    first, second = two_datacenters()
    rows = [
        first.level("2024-03-10 12:00", 35),
        first.level("2024-03-11 12:00", 30),
        second.level("2024-03-11 12:00", 12),
    ]
    lake = small(tmp_path, rows, entitlements=[allowed(INSTANCES, 50)])
    assert lake.rows(SHARE) == [(42, 50, Decimal("0.8400"), 8)]


def test_of_two_breakdowns_of_one_thing_one_is_added(tmp_path: Path) -> None:
    finer = two_datacenters(more={"namespace": "default", "partition": "default"})
    rows = [
        series.level("2024-03-11 12:00", value)
        for series, value in zip([*two_datacenters(), *finer], (30, 12, 30, 12), strict=True)
    ]
    lake = small(tmp_path, rows, entitlements=[allowed(INSTANCES, 50)])
    assert lake.rows(SHARE) == [(42, 50, Decimal("0.8400"), 8)]


def test_distinct_counts_of_parts_do_not_add_up(tmp_path: Path) -> None:
    parts = [replace(NODES, dimensions={"agent": each}) for each in ("a", "b")]
    lake = small(tmp_path, [part.day("2024-03-01", 60) for part in parts], entitlements=[allowed(NODES, 100)])
    assert [row[0] for row in lake.rows(SHARE)] in ([], [None])


def test_units_are_not_mixed(tmp_path: Path) -> None:
    """A level in another unit is another row, if it is one: an allowance of 50 instances says nothing of nodes."""
    other = replace(STREAMS, unit="Thousand Streams", aggregation=LAST)
    rows = [
        STREAMS.level("2024-03-10 12:00", 400),
        replace(STREAMS, role=Role.ENTITLED).level("2024-03-10 12:00", 500),
        other.level("2024-03-10 12:00", 2),
    ]
    assert small(tmp_path, rows).rows("SELECT unit, consumed, entitled FROM utilization") == [("Streams", 400, 500)]


def test_wide_numbers(tmp_path: Path) -> None:
    """A third of a number with 20 digits, exact to the last in what remains."""
    lake = billed_units(
        tmp_path, units({"2024-03-15 20:00": "33333333333.333333333"}, "99999999999.999999999", "99999999999")
    )
    assert lake.rows(SHARE) == [
        (
            Decimal("33333333333.333333333"),
            Decimal("99999999999.999999999"),
            Decimal("0.3333"),
            Decimal("66666666666.666666666"),
        )
    ]
