"""coverage_gaps: runs of days of which nothing is known, and what can be done about them.

Days before the last gap are in 2024; what reaches up to yesterday is compared with the clock within the query.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from usage_pipeline.contract.schema import State
from usage_pipeline.contract.vendor import History
from usage_pipeline_tests.sql.lake import INSTANCES, RUNS, configured, covered, small

YESTERDAY = "((now() AT TIME ZONE 'UTC')::DATE - 1)"
PAST = (
    "SELECT first_day, last_day, days, state, reason, can_be_asked FROM coverage_gaps "
    "WHERE last_day < DATE '2025-01-01' ORDER BY ALL"
)


def test_gaps_between_what_is_known(tmp_path: Path) -> None:
    """February 2024 has a 29th, which is in the gap. What is empty or provisional is known."""
    coverage = [
        *covered(RUNS, "2024-02-27", "2024-02-28"),
        *covered(RUNS, "2024-03-02", "2024-03-03", State.EMPTY),
        *covered(RUNS, "2024-03-04", "2024-03-05", State.FAILED, "busy"),
        *covered(RUNS, "2024-03-06", state=State.FAILED, reason="refused"),
        *covered(RUNS, "2024-03-07", state=State.PROVISIONAL),
        *covered(RUNS, "2024-03-08", state=State.NOT_AVAILABLE, reason="not kept so long"),
        *covered(RUNS, "2024-03-10", "2024-03-12"),
    ]
    lake = small(tmp_path, coverage=coverage, accounts=[configured("puppet", "usage", "2024-02-26")])
    assert lake.rows(PAST) == [
        ("2024-02-26", "2024-02-26", 1, "not_asked", "", True),
        ("2024-02-29", "2024-03-01", 2, "not_asked", "", True),
        ("2024-03-04", "2024-03-05", 2, "failed", "busy", True),
        ("2024-03-06", "2024-03-06", 1, "failed", "refused", True),
        ("2024-03-08", "2024-03-08", 1, "not_available", "not kept so long", False),
        ("2024-03-09", "2024-03-09", 1, "not_asked", "", True),
    ]


def test_the_last_gap_reaches_to_yesterday(tmp_path: Path) -> None:
    lake = small(
        tmp_path,
        coverage=covered(RUNS, "2024-03-01", "2024-03-12"),
        accounts=[configured("puppet", "usage", "2024-03-01")],
    )
    assert lake.rows(
        f"SELECT first_day, last_day = {YESTERDAY}, days = {YESTERDAY} - DATE '2024-03-12', state FROM coverage_gaps"
    ) == [("2024-03-13", True, True, "not_asked")]


def test_today_is_no_gap(tmp_path: Path) -> None:
    """A start of interest that lies ahead leaves nothing to know."""
    assert small(tmp_path, accounts=[configured("puppet", "usage", "2999-01-01")]).rows(PAST) == []
    assert small(tmp_path).one("SELECT count(*) FROM coverage_gaps") == 0


def test_what_was_never_asked_at_all_is_one_gap(tmp_path: Path) -> None:
    lake = small(tmp_path, accounts=[configured("puppet", "usage", "2024-03-01")])
    assert lake.rows(f"SELECT vendor, account, endpoint, first_day, last_day = {YESTERDAY} FROM coverage_gaps") == [
        ("puppet", "acme", "usage", "2024-03-01", True)
    ]


def test_a_day_that_a_snapshot_missed_cannot_be_asked_for(tmp_path: Path) -> None:
    coverage = [
        *covered(INSTANCES, "2024-03-01"),
        *covered(INSTANCES, "2024-03-03", state=State.FAILED, reason="busy"),
        *covered(INSTANCES, "2024-03-04", state=State.NOT_AVAILABLE, reason="not captured"),
        *covered(INSTANCES, "2024-03-05"),
    ]
    accounts = [configured("consul", "operator_usage", "2024-03-01", History.SNAPSHOT)]
    lake = small(tmp_path, coverage=coverage, accounts=accounts)
    assert lake.rows(
        "SELECT first_day, last_day, can_be_asked FROM coverage_gaps WHERE first_day < DATE '2024-03-05' ORDER BY ALL"
    ) == [(day, day, False) for day in ("2024-03-02", "2024-03-03", "2024-03-04")]


def test_accounts_and_endpoints_have_their_own_gaps(tmp_path: Path) -> None:
    beta = replace(RUNS, account="beta")
    lake = small(
        tmp_path,
        coverage=[*covered(RUNS, "2024-03-01", "2024-03-05"), *covered(beta, "2024-03-05")],
        accounts=[
            configured("puppet", "usage", "2024-03-01"),
            configured("puppet", "usage", "2024-03-03", account="beta"),
        ],
    )
    assert lake.rows(
        "SELECT account, first_day, least(last_day, DATE '2024-12-31') FROM coverage_gaps ORDER BY ALL"
    ) == [
        ("acme", "2024-03-06", "2024-12-31"),
        ("beta", "2024-03-03", "2024-03-04"),
        ("beta", "2024-03-06", "2024-12-31"),
    ]


def test_days_before_the_start_of_interest_are_no_gap(tmp_path: Path) -> None:
    lake = small(
        tmp_path,
        coverage=[*covered(RUNS, "2024-02-01"), *covered(RUNS, "2024-03-01", "2024-03-02")],
        accounts=[configured("puppet", "usage", "2024-03-01")],
    )
    assert lake.rows("SELECT first_day FROM coverage_gaps") == [("2024-03-03",)]
