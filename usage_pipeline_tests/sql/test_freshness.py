"""freshness: up to which day each configured endpoint is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from usage_pipeline.contract.schema import State
from usage_pipeline.contract.vendor import History
from usage_pipeline_tests.sql.lake import INSTANCES, RUNS, configured, covered, small

FRESH = (
    "SELECT account, history, complete_up_to, last_usage_date, last_fetched_at, last_attempted_at, last_state, "
    "last_reason FROM freshness ORDER BY account"
)
ACCOUNTS = [configured("puppet", "usage", "2024-02-28")]


def test_what_is_complete_and_what_came_last(tmp_path: Path) -> None:
    """Complete until 1 March; 2 March failed. Each day was tried at 06:00 of the day after."""
    coverage = [
        *covered(RUNS, "2024-02-28", "2024-02-29"),
        *covered(RUNS, "2024-03-01", state=State.EMPTY),
        *covered(RUNS, "2024-03-02", state=State.FAILED, reason="busy"),
    ]
    lake = small(tmp_path, RUNS.each("2024-02-28", "2024-02-29", 1), coverage=coverage, accounts=ACCOUNTS)
    assert lake.rows(FRESH) == [
        ("acme", "window", "2024-03-01", "2024-03-01", "2024-03-02 06:00", "2024-03-03 06:00", "failed", "busy")
    ]
    behind = "days_behind - ((now() AT TIME ZONE 'UTC')::DATE - 1 - DATE '2024-03-01')"
    assert lake.one(f"SELECT {behind} FROM freshness") == 0


def test_a_day_that_may_still_change_is_not_complete(tmp_path: Path) -> None:
    """As in the command `status`, whose column has the same name."""
    coverage = [*covered(RUNS, "2024-02-28", "2024-03-01"), *covered(RUNS, "2024-03-02", state=State.PROVISIONAL)]
    lake = small(tmp_path, coverage=coverage, accounts=ACCOUNTS)
    assert lake.rows("SELECT complete_up_to, last_usage_date FROM freshness") == [("2024-03-01", "2024-03-02")]


def test_a_gap_ends_what_is_complete(tmp_path: Path) -> None:
    coverage = [*covered(RUNS, "2024-02-28", "2024-03-02"), *covered(RUNS, "2024-03-04", "2024-03-10")]
    lake = small(tmp_path, coverage=coverage, accounts=ACCOUNTS)
    assert lake.one("SELECT complete_up_to FROM freshness") == "2024-03-02"


def test_nothing_is_complete_where_the_first_day_is_missing(tmp_path: Path) -> None:
    lake = small(tmp_path, coverage=covered(RUNS, "2024-03-01", "2024-03-02"), accounts=ACCOUNTS)
    assert lake.one("SELECT complete_up_to FROM freshness") is None


def test_what_was_never_asked_is_there_without_answers(tmp_path: Path) -> None:
    lake = small(tmp_path, accounts=ACCOUNTS)
    assert lake.rows(FRESH) == [("acme", "window", None, None, None, None, None, None)]


def test_every_account_has_its_row(tmp_path: Path) -> None:
    beta = replace(RUNS, account="beta")
    lake = small(
        tmp_path,
        [INSTANCES.level("2024-03-01 12:00", 5), beta.day("2024-03-03", 1)],
        coverage=[
            *covered(INSTANCES, "2024-03-01"),
            *covered(beta, "2024-03-01", "2024-03-02", State.EMPTY),
            *covered(beta, "2024-03-03"),
            *covered(beta, "2024-03-04", state=State.EMPTY),
        ],
        accounts=[
            configured("consul", "operator_usage", "2024-03-01", History.SNAPSHOT),
            configured("puppet", "usage", "2024-03-01", account="beta"),
            configured("puppet", "usage", "2024-03-01", account="gamma"),
        ],
    )
    assert lake.rows("SELECT vendor, account, complete_up_to, last_usage_date FROM freshness ORDER BY account") == [
        ("consul", "acme", "2024-03-01", "2024-03-01"),
        # What is known to be empty is known.
        ("puppet", "beta", "2024-03-04", "2024-03-04"),
        ("puppet", "gamma", None, None),
    ]
