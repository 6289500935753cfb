"""Loading: what replaces what, what stays, and what coverage says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from usage_pipeline import stages
from usage_pipeline.contract.answer import Request
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.schema import BILLING_PERIODS, COVERAGE, INVENTORY, USAGE, State, Table
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Endpoint
from usage_pipeline_tests.stages.invented import ACCOUNT, SNAPSHOT, WINDOW, Bench, at, days_of, on

MARCH = on("2026-03-01", "2026-03-03")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, answer=lambda request: {str(day): day.day for day in days_of(request)})


def always(body: Any) -> Callable[[Request], Any]:
    return lambda _request: body


def rows(bench: Bench, table: Table = USAGE) -> list[dict[str, Any]]:
    found = bench.lake.find(table)
    assert found
    kept: list[dict[str, Any]] = found.to_pyarrow_table().to_pylist()
    return kept


def values(bench: Bench) -> dict[str, int]:
    return {str(row["usage_date"]): int(row["value"]) for row in rows(bench) if row["role"] == "consumed"}


def coverage(bench: Bench) -> dict[str, tuple[str, int, str]]:
    return {str(row["usage_date"]): (row["state"], row["rows"], row["reason"]) for row in rows(bench, COVERAGE)}


def test_a_second_load_replaces_its_days_and_no_others(bench: Bench) -> None:
    bench.pull(WINDOW, MARCH)
    bench.now += timedelta(hours=1)
    bench.answer = lambda request: {str(day): 50 for day in days_of(request)}
    bench.pull(WINDOW, on("2026-03-02"))
    assert values(bench) == {"2026-03-01": 1, "2026-03-02": 50, "2026-03-03": 3}


def test_an_empty_answer_withdraws_what_was_there(bench: Bench) -> None:
    bench.pull(WINDOW, MARCH)
    bench.now += timedelta(hours=1)
    bench.answer = lambda _request: {"2026-03-01": 1}
    states = bench.pull(WINDOW, MARCH)
    assert values(bench) == {"2026-03-01": 1}
    assert list(states.values()) == [State.COMPLETE, State.EMPTY, State.EMPTY]


def test_accounts_do_not_touch_each_other(bench: Bench) -> None:
    bench.pull(WINDOW, MARCH)
    other = replace(ACCOUNT, name="beta")
    bench.load(WINDOW, MARCH, account=other)
    assert len(rows(bench)) == 3


def test_what_may_still_change_is_provisional(bench: Bench) -> None:
    """It is 18 March, noon, and a day settles two days after its end: 15 March did, 16 March did not."""
    states = bench.pull(WINDOW, on("2026-03-15", "2026-03-18"))
    assert [states[date(2026, 3, day)] for day in (15, 16, 17, 18)] == [State.COMPLETE] + 3 * [State.PROVISIONAL]
    assert {str(row["usage_date"]): row["is_final"] for row in rows(bench)} == {
        "2026-03-15": True, "2026-03-16": False, "2026-03-17": False, "2026-03-18": False,
    }  # fmt: skip


def test_a_refused_answer_leaves_the_table_as_it_was_and_stays_in_raw(bench: Bench) -> None:
    bench.pull(WINDOW, MARCH)
    before = rows(bench)
    bench.now += timedelta(hours=1)
    bench.answer = lambda _request: {"2026-03-01": "many"}
    bench.pull(WINDOW, MARCH)
    assert rows(bench) == before
    assert len(list(bench.home.rglob("receipt.json"))) == 2
    assert {state for state, *_ in coverage(bench).values()} == {State.COMPLETE}
    assert "$[0].things: expected a number, found text" in coverage(bench)["2026-03-02"][2]


def test_a_replay_does_not_move_when_each_day_was_asked_for(bench: Bench) -> None:
    first = bench.now
    bench.pull(WINDOW, MARCH)
    bench.now += timedelta(hours=1)
    second = bench.now
    bench.pull(WINDOW, on("2026-03-02"))
    bench.now += timedelta(days=1)
    bench.load(WINDOW, MARCH)
    assert {row["usage_date"].day: row["attempted_at"] for row in rows(bench, COVERAGE)} == {
        1: first,
        2: second,
        3: first,
    }


def test_a_day_that_only_ever_failed_is_failed(bench: Bench) -> None:
    bench.answer = lambda _request: {"2026-03-01": None}
    bench.pull(WINDOW, MARCH)
    state, count, reason = coverage(bench)["2026-03-03"]
    assert (state, count) == (State.FAILED, 0)
    assert "found null" in reason
    assert rows(bench) == []


def test_a_failed_attempt_leaves_a_known_day_known(bench: Bench) -> None:
    bench.pull(WINDOW, MARCH)
    nothing = stages.replay.Told()
    stages.load.coverage(
        bench.lake, WINDOW, ACCOUNT, told=nothing, unavailable={}, now=bench.now,
        failed={date(2026, 3, 2): "busy", date(2026, 3, 9): "busy"},
    )  # fmt: skip
    assert coverage(bench)["2026-03-02"] == (State.COMPLETE, 1, "busy")
    assert coverage(bench)["2026-03-09"] == (State.FAILED, 0, "busy")


def test_readings_of_a_snapshot_stand_side_by_side(bench: Bench) -> None:
    for hour, used in ((9, 5), (15, 8)):
        bench.now = at("2026-03-18", hour)
        bench.answer = always({"used": used})
        bench.pull(SNAPSHOT, on("2026-03-18"))
    assert sorted((row["period_end"].hour, int(row["value"])) for row in rows(bench)) == [(9, 5), (15, 8)]


def test_days_of_a_snapshot_that_are_replayed_together_have_their_own_rows(bench: Bench) -> None:
    for day, body in (("2026-03-17", {"used": 17, "ahead": 170}), ("2026-03-18", {"used": 18})):
        bench.now = at(day)
        bench.answer = always(body)
        bench.land(SNAPSHOT, on(day))
    bench.load(SNAPSHOT, on("2026-03-17", "2026-03-18"))
    assert {day: number for day, (_state, number, _reason) in coverage(bench).items()} == {
        "2026-03-17": 2, "2026-03-18": 1,
    }  # fmt: skip


def test_a_reading_at_midnight_belongs_to_the_capture_of_its_day(bench: Bench) -> None:
    """The meter read at 00:00 reports on the day before; loading that day again must not lose it."""
    bench.answer = lambda _request: {"used": 1}
    for now in (at("2026-03-17", 12), at("2026-03-18", 0)):
        bench.now = now
        bench.pull(SNAPSHOT, on(str(now.date())))
    assert [str(row["usage_date"]) for row in rows(bench)] == ["2026-03-17", "2026-03-17"]
    bench.load(SNAPSHOT, on("2026-03-17"))
    assert len(rows(bench)) == 2
    bench.load(SNAPSHOT, on("2026-03-18"))
    assert len(rows(bench)) == 2


@pytest.mark.parametrize("order", [(16, 17, 18), (18, 17, 16), (17, 18, 16)])
def test_the_newest_projection_stands_in_any_order_of_loads(bench: Bench, order: tuple[int, ...]) -> None:
    for day in (16, 17, 18):
        bench.now = at(f"2026-03-{day}")
        bench.answer = always({"used": day, "ahead": 10 * day})
        bench.land(SNAPSHOT, on(f"2026-03-{day}"))
    for day in order:
        bench.load(SNAPSHOT, on(f"2026-03-{day}"))
    (projection,) = [row for row in rows(bench) if row["role"] == "projected"]
    assert (int(projection["value"]), str(projection["usage_date"])) == (180, "2026-03-31")
    assert values(bench) == {"2026-03-16": 16, "2026-03-17": 17, "2026-03-18": 18}


def test_a_projection_that_is_no_longer_made_stays_as_last_made(bench: Bench) -> None:
    bench.now = at("2026-03-17")
    bench.answer = lambda _request: {"used": 1, "ahead": 9}
    bench.pull(SNAPSHOT, on("2026-03-17"))
    bench.now = at("2026-03-18")
    bench.answer = lambda _request: {"used": 2}
    bench.pull(SNAPSHOT, on("2026-03-18"))
    assert [int(row["value"]) for row in rows(bench) if row["role"] == "projected"] == [9]


def test_a_missing_part_is_failed_and_named(bench: Bench) -> None:
    bench.answer = lambda _request: {"used": 0}
    states = bench.pull(SNAPSHOT, on("2026-03-18"))
    assert states == {date(2026, 3, 18): State.FAILED}
    assert coverage(bench)["2026-03-18"] == (State.FAILED, 1, "part x: absent from the answer")


def test_one_refused_reading_does_not_cost_the_day_s_others(bench: Bench) -> None:
    bench.now = at("2026-03-18", 9)
    bench.answer = lambda _request: {"used": 5}
    bench.pull(SNAPSHOT, on("2026-03-18"))
    bench.now = at("2026-03-18", 10)
    bench.answer = lambda _request: b"<html>"
    bench.pull(SNAPSHOT, on("2026-03-18"))
    assert values(bench) == {"2026-03-18": 5}
    state, _, reason = coverage(bench)["2026-03-18"]
    assert state == State.COMPLETE
    assert "not JSON" in reason


def test_billing_periods_are_kept_once(bench: Bench) -> None:
    for day in (17, 18):
        bench.now = at(f"2026-03-{day}")
        bench.answer = lambda _request: {"used": 1}
        bench.pull(SNAPSHOT, on(f"2026-03-{day}"))
    (period,) = rows(bench, BILLING_PERIODS)
    assert (str(period["period_start"].date()), str(period["period_end"].date())) == ("2026-03-01", "2026-04-01")
    assert period["fetched_at"] == at("2026-03-18")


def test_two_rows_with_one_key_are_refused(bench: Bench) -> None:
    body = json.dumps({"2026-03-01": 1}).encode()
    twice = replace(
        WINDOW,
        normalise=lambda landing: replace(WINDOW.normalise(landing), usage=WINDOW.normalise(landing).usage * 2),
    )
    bench.answer = lambda _request: body
    bench.land(WINDOW, on("2026-03-01"))
    told = stages.replay.tell(bench.store, twice, ACCOUNT, on("2026-03-01"))
    assert isinstance(told.refused[date(2026, 3, 1)], PayloadError)
    assert "told twice" in str(told.refused[date(2026, 3, 1)])


def test_what_the_vendor_says_beside_the_numbers_stands_in_coverage(bench: Bench) -> None:
    """The newest answer's word on a day stands, alone or after the reasons."""

    def noting(note: str) -> Endpoint:
        return replace(WINDOW, normalise=lambda landing: replace(WINDOW.normalise(landing), notes=(note, "late")))

    bench.pull(noting("data through 1 March"), MARCH)
    bench.now += timedelta(hours=1)
    bench.land(WINDOW, on("2026-03-02"))
    bench.load(noting("data through 2 March"), on("2026-03-02"), failed={date(2026, 3, 2): "busy"})
    assert coverage(bench) == {
        "2026-03-01": (State.COMPLETE, 1, "data through 1 March; late"),
        "2026-03-02": (State.COMPLETE, 1, "last attempt failed: busy; data through 2 March; late"),
        "2026-03-03": (State.COMPLETE, 1, "data through 1 March; late"),
    }


def test_an_older_answer_does_not_speak_of_days_that_a_newer_one_tells(bench: Bench) -> None:
    bench.land(WINDOW, MARCH)
    bench.now += timedelta(hours=1)
    bench.land(WINDOW, on("2026-03-02"))
    whole = lambda landing: replace(WINDOW.normalise(landing), notes=(str(landing.days),))  # noqa: E731
    bench.load(replace(WINDOW, normalise=whole), MARCH)
    assert [reason for *_, reason in coverage(bench).values()].count("2026-03-02") == 1
    assert coverage(bench)["2026-03-02"][2] == "2026-03-02"


def reach(bench: Bench, endpoint: Endpoint, days: Days) -> dict[str, datetime]:
    rows_told = stages.replay.tell(bench.store, endpoint, ACCOUNT, days).rows
    return {str(day): instant for day, instant in stages.load.through(endpoint, rows_told).items()}


def test_what_is_told_reaches_to_the_end_of_the_day_or_to_now(bench: Bench) -> None:
    assert reach(bench, WINDOW, MARCH) == {}
    bench.pull(WINDOW, on("2026-03-17", "2026-03-18"))
    assert reach(bench, WINDOW, on("2026-03-17", "2026-03-18")) == {
        "2026-03-17": at("2026-03-18", 0),
        "2026-03-18": at("2026-03-18", 12),
    }


def test_a_meter_reaches_to_its_last_reading_and_its_outlook_does_not_count(bench: Bench) -> None:
    bench.answer = always({"used": 10, "ahead": 30})
    bench.pull(SNAPSHOT, on("2026-03-18"))
    bench.now += timedelta(hours=3)
    bench.pull(SNAPSHOT, on("2026-03-18"))
    assert reach(bench, SNAPSHOT, on("2026-03-18")) == {"2026-03-18": at("2026-03-18", 15)}


def known(bench: Bench, days: Days, endpoint: Endpoint = WINDOW, name: str = ACCOUNT.name) -> list[str]:
    found = stages.load.known_for_good(bench.lake, endpoint, replace(ACCOUNT, name=name), days)
    return sorted(map(str, found))


def test_days_are_known_for_good_once_the_vendor_s_numbers_settled(bench: Bench) -> None:
    """They settle two days after the day's end. On the first and on the sixteenth nothing was used."""
    days = on("2026-02-28", "2026-03-18")
    assert known(bench, days) == []
    bench.answer = lambda request: {str(day): 5 for day in days_of(request) if day.day not in {1, 16}}
    for asked in (on("2026-03-01", "2026-03-02"), on("2026-03-15", "2026-03-17")):
        bench.pull(WINDOW, asked)
    assert known(bench, days) == ["2026-03-01", "2026-03-02", "2026-03-15"]
    assert known(bench, on("2026-03-02", "2026-03-14")) == ["2026-03-02"]
    assert known(bench, days, SNAPSHOT) == known(bench, days, name="other") == []


def test_a_day_that_cannot_be_had_is_known_for_good(bench: Bench) -> None:
    day = date(2026, 3, 17)
    nothing = stages.replay.tell(bench.store, SNAPSHOT, ACCOUNT, on("2026-03-17"))
    states = stages.load.coverage(
        bench.lake, SNAPSHOT, ACCOUNT, told=nothing, failed={}, unavailable={day: "gone"}, now=bench.now
    )
    assert states == {day: State.NOT_AVAILABLE}
    assert coverage(bench) == {"2026-03-17": ("not_available", 0, "gone")}
    assert known(bench, on("2026-03-17"), SNAPSHOT) == ["2026-03-17"]


def test_an_older_answer_does_not_date_a_billing_period_back(bench: Bench) -> None:
    bench.answer = always({"used": 10, "ahead": 30})
    for day in ("2026-03-18", "2026-03-17"):
        bench.now = at(day)
        bench.pull(SNAPSHOT, on(day))
    (period,) = rows(bench, BILLING_PERIODS)
    assert period["fetched_at"] == at("2026-03-18")


def test_an_inventory_remembers_when_a_thing_was_seen_first_and_last(bench: Bench) -> None:
    def told(colour: str) -> stages.replay.Told:
        frame = pd.DataFrame({"item": ["pen"], "attributes": [[("colour", colour)]], "response_id": ["answer"]})
        return stages.replay.Told(inventory=[frame.assign(fetched_at=bench.now)])

    for day, colour in (("2026-03-10", "red"), ("2026-03-18", "blue"), ("2026-03-14", "green")):
        bench.now = at(day)
        stages.load.companions(bench.lake, SNAPSHOT, ACCOUNT, told(colour))
    (item,) = rows(bench, INVENTORY)
    assert (item["first_seen"], item["last_seen"]) == (at("2026-03-10"), at("2026-03-18"))
    assert (item["fetched_at"], item["attributes"]) == (at("2026-03-18"), [("colour", "blue")])
