"""usage_total: sums where summing is allowed, and otherwise says why not."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from usage_pipeline.contract.schema import Role, State
from usage_pipeline_tests.sql.lake import (
    AGENT_NODES,
    AGENTS,
    EVENTS,
    INSTANCES,
    MINUTES,
    MINUTES_SO_FAR,
    NODES,
    ROLLING,
    RUNS,
    UNITS,
    USERS,
    USERS_30_DAYS,
    Series,
    Small,
    covered,
    days,
    small,
)

FEBRUARY = "DATE '2024-02-01', DATE '2024-02-29'"
ACCOUNT, ENDPOINT, BREAKDOWN = "of_account", "of_endpoint", "of_breakdown"
RUNS_TOTAL = "SELECT usage_total('puppet', 'task_runs_by_node', {})"


def of_days(first: str, last: str) -> str:
    return f"DATE '{first}', DATE '{last}'"


def runs(home: Path, first: str = "2024-02-01", last: str = "2024-02-29") -> Small:
    """Two runs a day."""
    return small(home, RUNS.each(first, last, 2), coverage=covered(RUNS, first, last))


def test_the_sum_of_a_leap_february(tmp_path: Path) -> None:
    lake = runs(tmp_path)
    assert lake.one(RUNS_TOTAL.format(FEBRUARY)) == 58
    assert lake.one(RUNS_TOTAL.format(of_days("2024-02-28", "2024-02-28"))) == 2


def test_days_without_usage_count_as_known(tmp_path: Path) -> None:
    """An answer that told nothing of 3 March is an answer."""
    rows = [RUNS.day("2024-03-01", 5), RUNS.day("2024-03-02", "-1.5")]
    coverage = [*covered(RUNS, "2024-03-01", "2024-03-02"), *covered(RUNS, "2024-03-03", state=State.EMPTY)]
    lake = small(tmp_path, rows, coverage=coverage)
    assert lake.one(RUNS_TOTAL.format(of_days("2024-03-01", "2024-03-03"))) == Decimal("3.5")


def test_provisional_days_count(tmp_path: Path) -> None:
    coverage = [*covered(RUNS, "2024-03-01"), *covered(RUNS, "2024-03-02", state=State.PROVISIONAL)]
    lake = small(tmp_path, [RUNS.day("2024-03-01", 5), RUNS.day("2024-03-02", 6, final=False)], coverage=coverage)
    assert lake.one(RUNS_TOTAL.format(of_days("2024-03-01", "2024-03-02"))) == 11


def test_all_digits_are_in_the_sum(tmp_path: Path) -> None:
    rows = [
        RUNS.day("2024-03-01", "12345678901234567890123456789.123456789"),
        RUNS.day("2024-03-02", "0.000000001"),
    ]
    lake = small(tmp_path, rows, coverage=covered(RUNS, "2024-03-01", "2024-03-02"))
    assert lake.one(RUNS_TOTAL.format(of_days("2024-03-01", "2024-03-02"))) == Decimal(
        "12345678901234567890123456789.123456790"
    )


@pytest.mark.parametrize(
    ("missing", "state"), [("2024-02-29", None), ("2024-02-29", State.FAILED), ("2024-02-01", State.NOT_AVAILABLE)]
)
def test_days_that_are_not_known_are_named(tmp_path: Path, missing: str, state: State | None) -> None:
    there = [day for day in days("2024-02-01", "2024-02-29") if day != missing]
    coverage = [row for day in there for row in covered(RUNS, day)]
    if state:
        coverage += covered(RUNS, missing, state=state, reason="busy")
    lake = small(tmp_path, [RUNS.day(day, 2) for day in there], coverage=coverage)
    assert missing in lake.refusal(RUNS_TOTAL.format(FEBRUARY))
    assert lake.one(RUNS_TOTAL.format(of_days("2024-02-02", "2024-02-28"))) == 54


def test_an_unknown_metric_is_told_the_known(tmp_path: Path) -> None:
    said = runs(tmp_path).refusal(f"SELECT usage_total('puppet', 'task_runs', {FEBRUARY})")
    assert "task_runs_by_node" in said
    assert "task_runs" in said


def test_an_unknown_vendor_is_refused(tmp_path: Path) -> None:
    assert "pupet" in runs(tmp_path).refusal(f"SELECT usage_total('pupet', 'nodes', {FEBRUARY})")


def test_no_metric_is_summed_as_an_unknown_endpoint_or_account(tmp_path: Path) -> None:
    """A misspelt filter is no usage of zero."""
    lake = runs(tmp_path)
    for argument, value in ((ACCOUNT, "acne"), (ENDPOINT, "usages"), (BREAKDOWN, "project")):
        assert "task_runs_by_node" in lake.refusal(RUNS_TOTAL.format(f"{FEBRUARY}, {argument} := '{value}'"))


@pytest.mark.parametrize("series", [NODES, USERS, USERS_30_DAYS])
def test_distinct_counts_do_not_add(tmp_path: Path, series: Series) -> None:
    """A node of every day is one node, not 29."""
    rows = [series.period("2024-02-01", "2024-02-02", 7), series.period("2024-02-01", "2024-02-03", 8)]
    lake = small(tmp_path, rows, coverage=covered(series, "2024-02-01", "2024-02-29"))
    said = lake.refusal(f"SELECT usage_total('{series.vendor}', '{series.metric}', {FEBRUARY})")
    assert "distinct" in said
    assert "usage_monthly" in said


@pytest.mark.parametrize("series", [AGENTS, INSTANCES, AGENT_NODES])
def test_peaks_and_levels_do_not_add(tmp_path: Path, series: Series) -> None:
    lake = small(tmp_path, [series.level("2024-02-01 12:00", 7)], coverage=covered(series, "2024-02-01", "2024-02-29"))
    said = lake.refusal(f"SELECT usage_total('{series.vendor}', '{series.metric}', {FEBRUARY})")
    assert "usage_monthly" in said or "usage_daily" in said


def events(home: Path, *, total: bool) -> Small:
    """6 and 4 events a day in two namespaces, told by two endpoints; the tenant's total too, or not."""
    rows = EVENTS.each("2024-02-01", "2024-02-29", 10) if total else []
    for endpoint in ("namespace_usage", "community_usage"):
        for name, value in (("a", 6), ("b", 4)):
            part = replace(EVENTS, endpoint=endpoint, dimensions={"namespace": name})
            rows += part.each("2024-02-01", "2024-02-29", value)
    endpoints = ("tenant_usage", "namespace_usage", "community_usage")
    coverage = [
        row for slug in endpoints for row in covered(replace(EVENTS, endpoint=slug), "2024-02-01", "2024-02-29")
    ]
    return small(home, rows, coverage=coverage)


def test_the_total_is_preferred_to_its_parts(tmp_path: Path) -> None:
    assert events(tmp_path, total=True).one(f"SELECT usage_total('aveva', 'ingress_events', {FEBRUARY})") == 290


def test_of_several_endpoints_one_must_be_chosen(tmp_path: Path) -> None:
    lake = events(tmp_path, total=False)
    said = lake.refusal(f"SELECT usage_total('aveva', 'ingress_events', {FEBRUARY})")
    assert "namespace_usage" in said
    assert "community_usage" in said
    for slug in ("community_usage", "namespace_usage"):
        assert lake.one(f"SELECT usage_total('aveva', 'ingress_events', {FEBRUARY}, {ENDPOINT} := '{slug}')") == 290


def minutes(home: Path) -> Small:
    """A total of 5 a day, split 2 and 3 by project, and the running total of the same minutes."""
    rows = MINUTES.each("2024-02-01", "2024-02-29", 5)
    for project, value in (("a", 2), ("b", 3)):
        rows += replace(MINUTES, dimensions={"project": project}).each("2024-02-01", "2024-02-29", value)
    rows += MINUTES_SO_FAR.readings("2024-02-01", {"2024-02-02": 5, "2024-02-03": 10, "2024-03-01": 145})
    rows.append(replace(MINUTES_SO_FAR, role=Role.PROJECTED).ahead("2024-02-01", "2024-03-01", 999, "2024-02-20"))
    return small(home, rows, coverage=covered(MINUTES, "2024-02-01", "2024-02-29"))


def test_totals_and_parts_are_never_mixed(tmp_path: Path) -> None:
    lake = minutes(tmp_path)
    call = f"usage_total('launchdarkly', 'service_connections', {FEBRUARY}"
    assert lake.one(f"SELECT {call})") == 145
    assert lake.one(f"SELECT {call}, {BREAKDOWN} := '')") == 145
    assert lake.one(f"SELECT {call}, {BREAKDOWN} := 'project')") == 145


def test_a_trailing_sum_is_no_amount_of_its_day(tmp_path: Path) -> None:
    """5 a day in March and April; the sum of the trailing 30 days, 150, is told beside them from 30 March on."""
    trailing = replace(MINUTES, temporality=ROLLING)
    spans = zip(days("2024-03-01", "2024-04-01"), days("2024-03-31", "2024-05-01"), strict=True)
    rows = MINUTES.each("2024-03-01", "2024-04-30", 5) + [trailing.period(start, end, 150) for start, end in spans]
    lake = small(tmp_path, rows, coverage=covered(MINUTES, "2024-03-01", "2024-04-30"))
    both = of_days("2024-03-01", "2024-04-30")
    assert lake.one(f"SELECT usage_total('launchdarkly', 'service_connections', {both})") == 61 * 5


def test_an_account_that_tells_parts_only_is_not_left_out(tmp_path: Path) -> None:
    """Acme tells its total, 5 a day, beta 2 and 3 by project: together 10 a day."""
    rows = MINUTES.each("2024-02-01", "2024-02-29", 5)
    beta = [replace(MINUTES, account="beta", dimensions={"project": name}) for name in ("a", "b")]
    for part, value in zip(beta, (2, 3), strict=True):
        rows += part.each("2024-02-01", "2024-02-29", value)
    coverage = [row for series in (MINUTES, beta[0]) for row in covered(series, "2024-02-01", "2024-02-29")]
    lake = small(tmp_path, rows, coverage=coverage)
    assert lake.one(f"SELECT usage_total('launchdarkly', 'service_connections', {FEBRUARY})") == 290


def test_a_total_that_is_no_longer_told_is_not_zero(tmp_path: Path) -> None:
    """January has a total of 5 a day, February only its parts, 2 and 3."""
    rows = MINUTES.each("2024-01-01", "2024-01-31", 5)
    for name, value in (("a", 2), ("b", 3)):
        rows += replace(MINUTES, dimensions={"project": name}).each("2024-02-01", "2024-02-29", value)
    lake = small(tmp_path, rows, coverage=covered(MINUTES, "2024-01-01", "2024-02-29"))
    assert lake.one(f"SELECT usage_total('launchdarkly', 'service_connections', {FEBRUARY})") == 145


def test_of_several_units_one_must_be_chosen(tmp_path: Path) -> None:
    other = replace(RUNS, unit="Thousand Runs")
    lake = small(
        tmp_path,
        [*RUNS.each("2024-02-01", "2024-02-29", 2), other.day("2024-02-01", 1)],
        coverage=covered(RUNS, "2024-02-01", "2024-02-29"),
    )
    said = lake.refusal(RUNS_TOTAL.format(FEBRUARY))
    assert "Thousand Runs" in said


def test_accounts_add_up_or_are_chosen(tmp_path: Path) -> None:
    beta = replace(RUNS, account="beta")
    lake = small(
        tmp_path,
        [*RUNS.each("2024-02-01", "2024-02-29", 2), *beta.each("2024-02-01", "2024-02-29", 3)],
        coverage=[row for series in (RUNS, beta) for row in covered(series, "2024-02-01", "2024-02-29")],
    )
    assert lake.one(RUNS_TOTAL.format(FEBRUARY)) == 145
    assert lake.one(RUNS_TOTAL.format(f"{FEBRUARY}, {ACCOUNT} := 'beta'")) == 87


def test_a_day_that_one_of_two_accounts_lacks_is_named(tmp_path: Path) -> None:
    beta = replace(RUNS, account="beta")
    lake = small(
        tmp_path,
        [*RUNS.each("2024-02-01", "2024-02-29", 2), *beta.each("2024-02-01", "2024-02-28", 3)],
        coverage=[*covered(RUNS, "2024-02-01", "2024-02-29"), *covered(beta, "2024-02-01", "2024-02-28")],
    )
    assert "2024-02-29" in lake.refusal(RUNS_TOTAL.format(FEBRUARY))
    assert lake.one(RUNS_TOTAL.format(f"{FEBRUARY}, {ACCOUNT} := 'acme'")) == 58


def units(home: Path) -> Small:
    """Read daily at noon; 7 and 8 March were missed, their units are in the row of the 9th."""
    shown = {"2024-03-05 12:00": 5, "2024-03-06 12:00": 20, "2024-03-09 12:00": 50, "2024-03-10 12:00": 60}
    coverage = [
        *covered(UNITS, "2024-03-05", "2024-03-06"),
        *covered(UNITS, "2024-03-07", "2024-03-08", State.NOT_AVAILABLE, "not captured"),
        *covered(UNITS, "2024-03-09", "2024-03-10"),
    ]
    return small(home, UNITS.readings("2024-03-05 08:00", shown), coverage=coverage)


def test_missed_days_within_the_range_are_in_the_row_that_covers_them(tmp_path: Path) -> None:
    lake = units(tmp_path)
    assert lake.one(f"SELECT usage_total('thousandeyes', 'cloud_units', {of_days('2024-03-05', '2024-03-10')})") == 60
    assert lake.one(f"SELECT usage_total('thousandeyes', 'cloud_units', {of_days('2024-03-07', '2024-03-09')})") == 30


def test_a_row_that_covers_days_before_the_range_is_refused(tmp_path: Path) -> None:
    said = units(tmp_path).refusal(
        f"SELECT usage_total('thousandeyes', 'cloud_units', {of_days('2024-03-08', '2024-03-10')})"
    )
    assert "2024-03-09" in said


def test_a_range_that_ends_on_a_missed_day_is_refused(tmp_path: Path) -> None:
    """What came on 7 March is known only together with what came until the 9th."""
    said = units(tmp_path).refusal(
        f"SELECT usage_total('thousandeyes', 'cloud_units', {of_days('2024-03-05', '2024-03-07')})"
    )
    assert "2024-03-07" in said


def test_a_range_that_ends_before_it_begins_is_refused(tmp_path: Path) -> None:
    assert runs(tmp_path).refusal(RUNS_TOTAL.format(of_days("2024-02-29", "2024-02-01")))


def test_an_empty_lake_has_no_total(tmp_path: Path) -> None:
    assert small(tmp_path, everything=True).refusal(RUNS_TOTAL.format(FEBRUARY))
