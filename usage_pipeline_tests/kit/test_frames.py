"""From records to blocks: exact numbers, times with their zone, and no row for what is absent."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer, Request
from usage_pipeline.contract.arrow import VALUE
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.schema import Aggregation, Role, Temporality
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Block, Metric
from usage_pipeline.kit.payload import Records
from usage_pipeline_tests.conftest import NOW

ANSWER = Answer(Request("/"), "https://vendor.example/", 200, {}, b"", NOW)
START = datetime(2026, 1, 5, tzinfo=UTC)


def records(*items: dict[str, Any]) -> Records:
    return Records(ANSWER, list(items), "$.items")


def metric(name: str) -> Metric:
    return Metric(name, "Units", "Units used.", Role.CONSUMED, Aggregation.SUM, Temporality.DELTA)


def blocks(found: Records, *measures: str, **kinds: Any) -> list[Block]:
    given = {"start": START, "end": START + timedelta(days=1)} | kinds
    return list(kit.frames.blocks(found, {key: metric(key) for key in measures}, **given))


def read(values: list[Any]) -> list[Decimal]:
    found = kit.frames.decimals(values, lambda index: f"$[{index}]")
    assert found.type == VALUE
    return list(found.to_pylist())


def series(block: Block) -> list[tuple[Any, Any]]:
    """The dimensions and labels of every row."""
    split, named = (
        frame.astype(object).where(frame.notna(), None).to_dict("records") or [{}]
        for frame in (block.dimensions, block.labels)
    )
    return [(split[at if len(split) > 1 else 0], named[at if len(named) > 1 else 0]) for at in block.series]


# Numbers


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0, 1, -1],
        [2**63 - 1, -(2**63)],
        [2**63, -(2**63) - 1],
        [10**29 - 1, 1 - 10**29],
        [1, Decimal("0.1"), Decimal("-0.000000001")],
        [Decimal("99999999999999999999999999999.999999999")],
        [2**63, Decimal("0.5")],
        [Decimal("1E+3"), Decimal("1.5E-8"), Decimal("1.50"), Decimal("0E-20")],
        [Decimal("1.1000000000000")],
    ],
)
def test_numbers_are_exact(values: list[Any]) -> None:
    assert read(values) == values


@given(st.lists(st.decimals(places=9, min_value=-(10**28), max_value=10**28) | st.integers(-(10**28), 10**28)))
def test_any_number_that_fits_is_exact(values: list[Any]) -> None:
    assert read(values) == values


@pytest.mark.parametrize(
    "value",
    [
        Decimal("0.0000000001"),
        Decimal("1.1234567891"),
        Decimal("99999999999999999999999999999.9999999999"),
        10**29,
        -(10**29),
        10**40,
        Decimal("1E+29"),
        Decimal("1E+400"),
        Decimal("1E-400"),
        Decimal("1E+999999999"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
    ],
)
@pytest.mark.parametrize("others", [[1, 2], [1, Decimal("0.5")]])
def test_a_number_that_does_not_fit_is_refused_with_its_path(value: Any, others: list[Any]) -> None:
    with pytest.raises(PayloadError, match="does not fit 29 digits and 9 decimals") as refused:
        read([*others, value, *others])
    assert refused.value.path == "$[2]"


@pytest.mark.parametrize(
    ("value", "called"),
    [(True, "a boolean"), (None, "null"), ("1", "text"), ([1], "an array"), ({}, "an object"), (1.5, "float")],
)
@pytest.mark.parametrize("others", [[1, 2], [1, Decimal("0.5")], [0, 2**63]])
def test_what_is_no_number_is_refused_with_its_path(value: Any, called: str, others: list[Any]) -> None:
    with pytest.raises(PayloadError, match=f"expected a number, found {called}") as refused:
        read([*others, value])
    assert refused.value.path == "$[2]"


# Times


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("2026-03-18T12:00:00Z", datetime(2026, 3, 18, 12, tzinfo=UTC)),
        ("2026-03-18T12:00:00+00:00", datetime(2026, 3, 18, 12, tzinfo=UTC)),
        ("2026-03-18T00:30:00+01:00", datetime(2026, 3, 17, 23, 30, tzinfo=UTC)),
        ("2026-03-17T19:00:00-05:30", datetime(2026, 3, 18, 0, 30, tzinfo=UTC)),
        ("2026-03-18 12:00:00.5Z", datetime(2026, 3, 18, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-03-18T12:00:00.1234567Z", datetime(2026, 3, 18, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-03-18T12:00:00.999999999Z", datetime(2026, 3, 18, 12, 0, 0, 999_999, tzinfo=UTC)),
        ("2028-02-29T23:59:59Z", datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_an_instant_is_read_in_utc(told: str, meant: datetime) -> None:
    found = kit.frames.instant(told, "$.at")
    assert found == meant
    assert found.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ("2026-03-18T12:00:00", "has no zone"),
        ("2026-03-18", "has no zone"),
        ("2026-02-29T12:00:00Z", "expected an ISO 8601 time"),
        ("2026-03-18T25:00:00Z", "expected an ISO 8601 time"),
        ("yesterday", "expected an ISO 8601 time"),
        ("", "expected an ISO 8601 time"),
        (1773835200, "expected an ISO 8601 time"),
        (None, "expected an ISO 8601 time"),
        ("0001-01-01T00:00:00+05:00", "out of range"),
    ],
)
def test_another_time_is_refused(told: Any, problem: str) -> None:
    with pytest.raises(PayloadError, match=problem) as refused:
        kit.frames.instant(told, "$.at")
    assert refused.value.path == "$.at"


@pytest.mark.parametrize("told", ["2026-01-05", "2028-02-29", "1970-01-01"])
def test_a_day_starts_at_midnight_utc(told: str) -> None:
    year, month, day = map(int, told.split("-"))
    assert kit.frames.day(told, "$.date") == datetime(year, month, day, tzinfo=UTC)


@pytest.mark.parametrize(
    "told",
    [
        "2022_04_30",
        "2026-1-5",
        "20260105",
        "2026-W02-1",
        "2026-02-29",
        "2026-13-01",
        "2026-01-05T00:00:00Z",
        " 2026-01-05",
        "2026-01-05\n",
        "05/01/2026",
        "",
        None,
        20260105,
        date(2026, 1, 5),
    ],
)
def test_another_date_is_refused(told: Any) -> None:
    with pytest.raises(PayloadError, match="expected a date YYYY-MM-DD") as refused:
        kit.frames.day(told, "$.date")
    assert refused.value.path == "$.date"


def test_times_of_records_keep_their_order() -> None:
    told = ["2026-01-06", "2026-01-05", "2026-01-06", "2026-01-04"]
    found = kit.frames.times(records(*({"d": day} for day in told)), "d", kit.frames.day)
    assert found.dtype == np.dtype("datetime64[us]")
    assert found.tolist() == [datetime.fromisoformat(day) for day in told]


def test_no_records_have_no_times() -> None:
    found = kit.frames.times(records(), "d", kit.frames.day)
    assert (found.dtype, found.size) == (np.dtype("datetime64[us]"), 0)


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        ([{"d": "2026-01-05"}, {"d": "2026-01-05"}, {"d": None}], "expected a time, found null"),
        ([{"d": "2026-01-05"}, {"d": "2026-01-05"}, {}], "expected a time, found null"),
        ([{"d": "2026-01-05"}, {"d": "2026-01-05"}, {"d": 20260105}], "expected a time, found a number"),
        ([{"d": "2026-01-05"}, {"d": "2026-01-05"}, {"d": "5 Jan"}, {"d": "5 Jan"}], "expected a date"),
    ],
)
def test_a_time_that_does_not_fit_is_refused_with_its_path(items: list[dict[str, Any]], problem: str) -> None:
    with pytest.raises(PayloadError, match=problem) as refused:
        kit.frames.times(records(*items), "d", kit.frames.day)
    assert refused.value.path == "$.items[2].d"


def test_each_distinct_time_is_read_once() -> None:
    asked: list[str] = []

    def reader(value: str, path: str) -> datetime:
        asked.append(path)
        return kit.frames.day(value, path)

    kit.frames.times(records(*({"d": f"2026-01-0{n % 3 + 1}"} for n in range(30))), "d", reader)
    assert asked == ["$.items[0].d", "$.items[1].d", "$.items[2].d"]


def test_instants_become_utc_microseconds() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    found = kit.frames.utc64(
        [datetime(2026, 1, 5, 5, 30, 0, 1, tzinfo=east), datetime(1969, 12, 31, 23, 59, tzinfo=UTC)]
    )
    assert found.astype(np.int64).tolist() == [1_767_571_200_000_001, -60_000_000]


# Days that were asked for


@pytest.mark.parametrize("told", ["2026-01-05", "2026-01-07"])
def test_days_that_were_asked_for_are_let_through(told: str) -> None:
    found = records({"d": told})
    kit.frames.within(
        Days(date(2026, 1, 5), date(2026, 1, 7)), found, "d", kit.frames.times(found, "d", kit.frames.day)
    )


@pytest.mark.parametrize("told", ["2026-01-04", "2026-01-08", "2025-01-06"])
def test_days_that_were_not_asked_for_are_refused(told: str) -> None:
    found = records({"d": "2026-01-06"}, {"d": told})
    start = kit.frames.times(found, "d", kit.frames.day)
    with pytest.raises(PayloadError, match=f"{told} is outside 2026-01-05 to 2026-01-07") as refused:
        kit.frames.within(Days(date(2026, 1, 5), date(2026, 1, 7)), found, "d", start)
    assert refused.value.path == "$.items[1].d"


# Blocks


def test_wide_records_become_one_block_a_measure() -> None:
    found = records({"a": 1, "b": Decimal("0.5")}, {"a": 2, "b": 3})
    first, second = blocks(found, "a", "b")
    assert (first.metric.name, first.values.to_pylist()) == ("a", [1, 2])
    assert (second.metric.name, second.values.to_pylist()) == ("b", [Decimal("0.5"), 3])
    assert first.answer is ANSWER
    assert (first.start, first.end, first.observed_at, first.is_final) == (START, START + timedelta(days=1), NOW, None)
    assert series(first) == [({}, {})] * 2


def test_an_optional_field_that_is_absent_or_null_gives_no_row() -> None:
    found = records({"a": 1, "b": 10}, {"a": 2, "b": None}, {"a": 3}, {"a": 4, "b": 0})
    start = kit.frames.utc64([START + timedelta(days=n) for n in range(4)])
    final = np.array([True, False, True, False])
    first, second = blocks(found, "a", "b", start=start, is_final=final, optional={"b"}, observed_at=START)
    assert first.values.to_pylist() == [1, 2, 3, 4]
    assert second.values.to_pylist() == [10, 0]
    assert second.start.tolist() == start[[0, 3]].tolist()
    assert second.is_final.tolist() == [True, False]
    assert second.observed_at == START


@pytest.mark.parametrize(("item", "problem"), [({"a": None}, "found null"), ({}, "and it is missing")])
def test_a_required_field_that_is_absent_or_null_is_refused(item: dict[str, Any], problem: str) -> None:
    with pytest.raises(PayloadError, match=f"expected a number, {problem}") as refused:
        blocks(records({"a": 1}, item), "a")
    assert refused.value.path == "$.items[1].a"


def test_the_path_of_an_optional_field_counts_all_records() -> None:
    with pytest.raises(PayloadError, match="expected a number, found text") as refused:
        blocks(records({}, {"a": 1}, {"a": None}, {"a": "2"}), "a", optional=["a"])
    assert refused.value.path == "$.items[3].a"


def test_every_row_has_its_own_dimensions_and_labels() -> None:
    items = [
        {"id": "t8", "group": 9, "name": "None of them"},
        {"a": 1, "id": "t1", "group": 7, "name": "One"},
        {"a": 2, "id": "t2", "group": 7, "name": None},
        {"a": 3, "id": "t1", "group": 7, "name": "Renamed"},
        {"a": 4, "id": "t1", "group": 8},
        {"a": 5, "id": "t1", "group": 7, "name": "One"},
    ]
    (block,) = blocks(
        records(*items), "a", dimensions={"test": "id", "in": "group"}, labels={"title": "name"}, optional={"a"}
    )
    assert series(block) == [
        ({"test": "t1", "in": "7"}, {"title": "One"}),
        ({"test": "t2", "in": "7"}, {"title": None}),
        ({"test": "t1", "in": "7"}, {"title": "Renamed"}),
        ({"test": "t1", "in": "8"}, {"title": None}),
        ({"test": "t1", "in": "7"}, {"title": "One"}),
    ]
    assert len(block.dimensions) == len(block.labels) == 5


@given(st.lists(st.tuples(*[st.sampled_from(["", "a", "b", "ab", "nan", "1"])] * 3), min_size=1, max_size=30))
def test_repeated_series_are_told_once_and_never_mixed(cells: list[tuple[str, str, str]]) -> None:
    items = [{"a": index, "x": x, "y": y, "z": z} for index, (x, y, z) in enumerate(cells)]
    (block,) = blocks(records(*items), "a", dimensions={"x": "x", "y": "y"}, labels={"z": "z"})
    assert series(block) == [({"x": x, "y": y}, {"z": z}) for x, y, z in cells]
    assert len(block.dimensions) == len(set(cells))


@pytest.mark.parametrize(
    ("told", "kept"), [("t", "t"), ("", ""), (7, "7"), (0, "0"), (True, "true"), (10**20, f"1{'0' * 20}")]
)
def test_ids_may_come_as_numbers_or_booleans(told: Any, kept: str) -> None:
    assert kit.frames.texts(records({"id": "other"}, {"id": told}), "id", required=True) == ["other", kept]


@pytest.mark.parametrize("told", [Decimal("1.5"), [], {}])
@pytest.mark.parametrize("required", [True, False])
def test_what_is_no_id_is_refused_with_its_path(told: Any, required: bool) -> None:
    with pytest.raises(PayloadError, match="expected text or an id") as refused:
        kit.frames.texts(records({"id": "t"}, {"id": told}), "id", required=required)
    assert refused.value.path == "$.items[1].id"


@pytest.mark.parametrize("item", [{"a": 2, "id": None}, {"a": 2}])
def test_a_series_without_its_id_is_refused_and_a_missing_label_is_not(item: dict[str, Any]) -> None:
    found = records({"a": 1, "id": "t"}, item)
    with pytest.raises(PayloadError, match="expected text or an id, found null") as refused:
        blocks(found, "a", dimensions={"test": "id"})
    assert refused.value.path == "$.items[1].id"
    (block,) = blocks(found, "a", labels={"title": "id"})
    assert series(block) == [({}, {"title": "t"}), ({}, {"title": None})]


def test_no_records_make_empty_blocks() -> None:
    (block,) = blocks(records(), "a", dimensions={"test": "id"}, labels={"title": "name"})
    assert (len(block.values), len(block.series)) == (0, 0)
    assert block.values.type == VALUE
