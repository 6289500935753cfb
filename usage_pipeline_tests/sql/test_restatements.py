"""restatements: what a vendor changed after the fact, collected by loads, and what a running total took back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from usage_pipeline.contract.answer import Landing, Request
from usage_pipeline.contract.schema import RESTATEMENTS
from usage_pipeline.contract.vendor import Normalised
from usage_pipeline_tests.sql.lake import INSTANT, LAST, RUNS, UNITS, changed, small
from usage_pipeline_tests.stages.invented import SNAPSHOT, WINDOW, Bench, at, days_of, on

MARCH = on("2026-03-01", "2026-03-03")
NOON = at("2026-03-18")
HOUR = timedelta(hours=1)

Told = tuple[str, int, int | None, bool, datetime, datetime]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """It is 18 March, noon. On each day as many things were used as its number says."""
    return Bench(tmp_path, answer=lambda request: {str(day): day.day for day in days_of(request)})


def restated(bench: Bench) -> list[Told]:
    """Day, old and new value, whether the old one was final, and when either was received."""
    found = bench.lake.find(RESTATEMENTS)
    rows = found.to_pyarrow_table().to_pylist() if found else []
    return sorted(
        (
            str(row["usage_date"]),
            int(row["old_value"]),
            None if row["new_value"] is None else int(row["new_value"]),
            row["was_final"],
            row["old_fetched_at"],
            row["new_fetched_at"],
        )
        for row in rows
    )


def say(bench: Bench, things: dict[str, int], after: timedelta = HOUR) -> None:
    """From some time later on, the vendor says this, of the days that it is asked for."""
    bench.now += after
    bench.answer = lambda request: {str(day): things[str(day)] for day in days_of(request) if str(day) in things}


def always(body: object) -> Callable[[Request], object]:
    return lambda _request: body


def test_a_first_answer_restates_nothing(bench: Bench) -> None:
    bench.pull(WINDOW, MARCH)
    assert restated(bench) == []


def test_a_changed_value_is_restated_and_an_unchanged_one_is_not(bench: Bench) -> None:
    bench.pull(WINDOW, MARCH)
    say(bench, {"2026-03-01": 1, "2026-03-02": 50, "2026-03-03": 3})
    bench.pull(WINDOW, MARCH)
    assert restated(bench) == [("2026-03-02", 2, 50, True, NOON, NOON + HOUR)]


def test_a_withdrawn_value_has_no_new_one(bench: Bench) -> None:
    bench.pull(WINDOW, MARCH)
    say(bench, {"2026-03-01": 1})
    bench.pull(WINDOW, MARCH)
    assert restated(bench) == [
        ("2026-03-02", 2, None, True, NOON, NOON + HOUR),
        ("2026-03-03", 3, None, True, NOON, NOON + HOUR),
    ]


def test_zero_is_no_withdrawal(bench: Bench) -> None:
    bench.pull(WINDOW, on("2026-03-01"))
    say(bench, {"2026-03-01": 0})
    bench.pull(WINDOW, on("2026-03-01"))
    assert restated(bench) == [("2026-03-01", 1, 0, True, NOON, NOON + HOUR)]


def test_days_that_were_not_asked_for_again_are_not_withdrawn(bench: Bench) -> None:
    bench.pull(WINDOW, MARCH)
    say(bench, {"2026-03-02": 2})
    bench.pull(WINDOW, on("2026-03-02"))
    assert restated(bench) == []


def test_a_day_that_may_still_change_was_not_final_and_one_that_is_not_over_is_not_restated(bench: Bench) -> None:
    """A day settles two days after its end. 18 March, today, has grown, as days do."""
    days = on("2026-03-17", "2026-03-18")
    bench.pull(WINDOW, days)
    say(bench, {"2026-03-17": 40, "2026-03-18": 60})
    bench.pull(WINDOW, days)
    assert restated(bench) == [("2026-03-17", 17, 40, False, NOON, NOON + HOUR)]


def test_loading_twice_restates_once(bench: Bench) -> None:
    bench.pull(WINDOW, MARCH)
    say(bench, {"2026-03-01": 1, "2026-03-02": 50})
    bench.pull(WINDOW, MARCH)
    before = restated(bench)
    assert len(before) == 2
    bench.now += HOUR
    bench.load(WINDOW, MARCH)
    assert restated(bench) == before


def test_every_change_is_kept_also_the_way_back(bench: Bench) -> None:
    bench.pull(WINDOW, on("2026-03-02"))
    for value in (50, 2):
        say(bench, {"2026-03-02": value})
        bench.pull(WINDOW, on("2026-03-02"))
    assert restated(bench) == [
        ("2026-03-02", 2, 50, True, NOON, NOON + HOUR),
        ("2026-03-02", 50, 2, True, NOON + HOUR, NOON + 2 * HOUR),
    ]


def test_days_loaded_out_of_order_are_restated_alike(bench: Bench) -> None:
    bench.pull(WINDOW, MARCH)
    say(bench, {"2026-03-01": 10, "2026-03-02": 20, "2026-03-03": 30})
    bench.land(WINDOW, MARCH)
    for day in ("2026-03-03", "2026-03-01", "2026-03-02"):
        bench.load(WINDOW, on(day))
    assert restated(bench) == [(f"2026-03-0{n}", n, 10 * n, True, NOON, NOON + HOUR) for n in (1, 2, 3)]


def test_an_older_answer_that_turns_up_later_restates_nothing(bench: Bench) -> None:
    """The newer answer stands in the table, and goes on to stand there."""
    say(bench, {"2026-03-02": 50})
    bench.pull(WINDOW, on("2026-03-02"))
    elsewhere = Bench(bench.home / "elsewhere", bench.now)
    say(elsewhere, {"2026-03-02": 2}, after=-HOUR)
    elsewhere.land(WINDOW, on("2026-03-02"))
    shutil.copytree(elsewhere.home / "raw", bench.home / "raw", dirs_exist_ok=True)
    bench.load(WINDOW, on("2026-03-02"))
    assert restated(bench) == []


def test_another_reading_of_the_same_answer_is_no_word_of_the_vendor_s(bench: Bench) -> None:
    """A mended module reads double from the answers that are kept."""
    bench.pull(WINDOW, on("2026-03-02"))

    def doubled(landing: Landing) -> Normalised:
        told = WINDOW.normalise(landing)
        return replace(told, usage=tuple(replace(block, values=_twice(block.values)) for block in told.usage))

    bench.load(replace(WINDOW, normalise=doubled), on("2026-03-02"))
    assert restated(bench) == []


def _twice(values: pa.Array) -> pa.Array:
    return pa.array([2 * value for value in values.to_pylist()], values.type)


def test_a_refused_answer_withdraws_nothing(bench: Bench) -> None:
    bench.pull(WINDOW, MARCH)
    bench.now += HOUR
    bench.answer = lambda _request: b"<html>"
    bench.pull(WINDOW, MARCH)
    assert restated(bench) == []


def test_a_snapshot_s_next_reading_restates_nothing(bench: Bench) -> None:
    for day, used in ((16, 9), (17, 7)):
        bench.now = at(f"2026-03-{day}")
        bench.answer = always({"used": used})
        bench.pull(SNAPSHOT, on(f"2026-03-{day}"))
    assert restated(bench) == []


def test_the_view_says_what_kind_and_how_much(tmp_path: Path) -> None:
    first, second, third = (RUNS.day(f"2024-02-2{n}", 10 * n) for n in (7, 8, 9))
    lake = small(
        tmp_path,
        [RUNS.day("2024-02-27", 75), RUNS.day("2024-02-28", "79.5")],
        restatements=[
            changed(first, 75, "2024-03-05 06:00"),
            changed(second, "79.5", "2024-03-05 06:00"),
            changed(third, None, "2024-03-05 06:00"),
        ],
    )
    assert lake.rows(
        "SELECT usage_date, kind, old_value, new_value, period_start, old_fetched_at, new_fetched_at, new_response_id "
        "FROM restatements ORDER BY usage_date"
    ) == [
        ("2024-02-27", "changed", 70, 75, "2024-02-27 00:00", "2024-02-28 06:00", "2024-03-05 06:00", "answer-new"),
        ("2024-02-28", "changed", 80, Decimal("79.5"), "2024-02-28 00:00", "2024-02-29 06:00", "2024-03-05 06:00",
         "answer-new"),
        ("2024-02-29", "withdrawn", 90, None, "2024-02-29 00:00", "2024-03-01 06:00", "2024-03-05 06:00", None),
    ]  # fmt: skip
    # 75 - 70, and 79.5 - 80.
    assert lake.rows("SELECT difference FROM restatements WHERE kind = 'changed' ORDER BY usage_date") == [
        (5,),
        (Decimal("-0.5"),),
    ]


def test_a_running_total_that_fell_is_a_restatement(tmp_path: Path) -> None:
    """10 on 10 March, 8 on the 11th: what fell is told on the day on which it was seen. A reset is no fall."""
    rows = [
        *UNITS.readings("2024-02-05 08:00", {"2024-03-04 12:00": 900}),
        *UNITS.readings("2024-03-05 08:00", {"2024-03-10 12:00": 10, "2024-03-11 12:00": 8, "2024-03-12 12:00": 15}),
    ]
    assert small(tmp_path, rows).rows(
        "SELECT usage_date, metric, kind, old_value, new_value, difference, period_start, old_fetched_at, "
        "new_fetched_at FROM restatements"
    ) == [("2024-03-11", "cloud_units", "fell", 10, 8, -2, "2024-03-05 08:00", "2024-03-10 12:00", "2024-03-11 12:00")]


def test_what_grows_or_is_no_running_total_does_not_fall(tmp_path: Path) -> None:
    levels = replace(UNITS, aggregation=LAST, temporality=INSTANT)
    rows = [levels.level("2024-03-10 12:00", 10), levels.level("2024-03-11 12:00", 8), RUNS.day("2024-03-11", -3)]
    assert small(tmp_path, rows).rows("SELECT kind FROM restatements") == []


def test_what_a_part_that_is_absent_held_was_not_withdrawn(bench: Bench) -> None:
    """The second answer lacks a part: 2 March is not there, and 3 March is another."""
    bench.pull(WINDOW, MARCH)
    say(bench, {"2026-03-01": 1, "2026-03-03": 30})

    def without_a_part(landing: Landing) -> Normalised:
        return replace(WINDOW.normalise(landing), missing={"part x": "absent from the answer"})

    bench.pull(replace(WINDOW, normalise=without_a_part), MARCH)
    assert restated(bench) == [("2026-03-03", 3, 30, True, NOON, NOON + HOUR)]
