"""Normalising: which day a row is of, what makes a series, when a value is final, and which outlook stands."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.arrow import VALUE
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.schema import USAGE, Aggregation, Role, Temporality
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Block, Endpoint, History, Metric, Normalised
from usage_pipeline.stages import normalise
from usage_pipeline.stages.rows import Rows, outlook
from usage_pipeline_tests.conftest import NOW

MIDNIGHT = datetime(2026, 3, 18, tzinfo=UTC)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
UNITS = Metric("units", "Units", "Units used.", Role.CONSUMED, Aggregation.SUM, Temporality.DELTA)
READING = replace(UNITS, temporality=Temporality.INSTANT, aggregation=Aggregation.LAST)
AHEAD = replace(UNITS, role=Role.PROJECTED, temporality=Temporality.CUMULATIVE)
INCLUDED = replace(AHEAD, role=Role.ENTITLED)
ANSWER = Answer(Request("/"), "https://vendor.example/", 200, {}, b"{}", NOW)
LANDING = Landing("vendor", "main", "usage", Days(date(2026, 3, 17), date(2026, 3, 18)), (ANSWER,), NOW)


def endpoint(
    *metrics: Metric, settles: timedelta = timedelta(0), dimensions: Iterable[Any] = (), labels: Iterable[Any] = ()
) -> Endpoint:
    return Endpoint(
        slug="usage",
        title="Usage",
        history=History.WINDOW,
        documentation="https://vendor.example/docs",
        metrics=metrics,
        requests=lambda _account, _days: (),
        normalise=lambda _landing: Normalised(),
        settles=settles,
        dimensions=tuple(dimensions),
        labels=tuple(labels),
    )


def block(metric: Metric = UNITS, values: tuple[Any, ...] = (1,), **kinds: Any) -> Block:
    """Rows without dimensions, of the day before MIDNIGHT, unless said otherwise."""
    given: dict[str, Any] = {
        "answer": ANSWER,
        "series": np.zeros(len(values), np.int64),
        "dimensions": pd.DataFrame(),
        "labels": pd.DataFrame(),
        "start": MIDNIGHT - DAY,
        "end": MIDNIGHT,
        "observed_at": NOW,
    } | kinds
    return Block(metric=metric, values=pa.array(map(Decimal, values), VALUE), **given)


def table(*blocks: Block, landing: Landing = LANDING, settles: timedelta = timedelta(0)) -> pa.Table:
    """The rows of an endpoint that declares what the blocks have."""
    asked = endpoint(
        *{block.metric.key: block.metric for block in blocks}.values(),
        settles=settles,
        dimensions={name for block in blocks for name in block.dimensions},
        labels={name for block in blocks for name in block.labels},
    )
    return normalise.usage(asked, landing, Normalised(blocks))


def rows(*blocks: Block, **kinds: Any) -> list[dict[str, Any]]:
    return list(table(*blocks, **kinds).to_pylist(maps_as_pydicts="strict"))


def split(*dimensions: dict[str, str], labels: list[dict[str, Any]] | None = None, metric: Metric = UNITS) -> Block:
    """One row for each set of dimensions."""
    return block(
        metric,
        tuple(range(len(dimensions))),
        series=np.arange(len(dimensions)),
        dimensions=pd.DataFrame(list(dimensions)),
        labels=pd.DataFrame(labels or []),
    )


# Rows


def test_a_row_says_who_what_and_where_it_comes_from() -> None:
    (row,) = rows(block(values=(Decimal("1.5"),)))
    series_id = row.pop("series_id")
    assert re.fullmatch("[0-9a-f]{32}", series_id)
    assert row == {
        "vendor": "vendor",
        "month": "2026-03",
        "account": "main",
        "endpoint": "usage",
        "usage_date": date(2026, 3, 17),
        "metric": "units",
        "role": "consumed",
        "aggregation": "sum",
        "temporality": "delta",
        "unit": "Units",
        "value": Decimal("1.5"),
        "breakdown": "",
        "dimensions": {},
        "labels": {},
        "period_start": MIDNIGHT - DAY,
        "period_end": MIDNIGHT,
        "observed_at": NOW,
        "is_final": True,
        "fetched_at": NOW,
        "response_id": ANSWER.response_id,
    }


def test_rows_have_the_schema_and_nothing_is_null() -> None:
    found = table(split({"test": "t1"}, {"test": "t2"}), block(AHEAD))
    assert found.schema.equals(normalise.SCHEMA)
    assert found.column_names == USAGE.names
    assert all(column.null_count == 0 for column in found.columns)


def test_nothing_told_is_an_empty_table() -> None:
    found = table()
    assert found.num_rows == 0
    assert found.schema.equals(normalise.SCHEMA)
    assert table(block(values=())).num_rows == 0


def test_what_the_endpoint_does_not_declare_is_refused() -> None:
    with pytest.raises(PayloadError, match=r"units \(projected\) is not declared by usage"):
        normalise.usage(endpoint(UNITS), LANDING, Normalised((block(AHEAD),)))


@pytest.mark.parametrize(
    ("dimensions", "told"),
    [
        (["group"], "the dimension test of units is not declared by usage, which declares group"),
        (["group", "test"], "the label name, place of units is not declared by usage, which declares none"),
    ],
)
def test_what_no_view_would_show_is_refused(dimensions: list[str], told: str) -> None:
    found = split({"test": "t1", "group": "g"}, labels=[{"name": "One", "place": "Oslo"}])
    with pytest.raises(PayloadError, match=told):
        normalise.usage(endpoint(UNITS, dimensions=dimensions), LANDING, Normalised((found,)))


def test_what_is_declared_need_not_be_told() -> None:
    asked = endpoint(UNITS, dimensions=("group", "test"), labels=("name",))
    (row,) = normalise.usage(asked, LANDING, Normalised((split({"test": "t1"}),))).to_pylist()
    assert row["breakdown"] == "test"


# Maps


def test_dimensions_and_labels_are_maps_without_what_is_missing() -> None:
    found = rows(
        split(
            {"test": "t1", "group": "g"},
            {"test": "t2", "group": ""},
            labels=[{"name": "One", "place": None}, {"name": None, "place": ""}],
        )
    )
    assert [row["dimensions"] for row in found] == [{"group": "g", "test": "t1"}, {"group": "", "test": "t2"}]
    assert [row["labels"] for row in found] == [{"name": "One"}, {"place": ""}]
    assert {row["breakdown"] for row in found} == {"group+test"}


@given(
    st.lists(
        st.fixed_dictionaries({"a": st.text(), "b": st.text()}),
        min_size=1,
        max_size=8,
        unique_by=lambda cell: (cell["a"], cell["b"]),
    )
)
def test_any_text_survives(cells: list[dict[str, str]]) -> None:
    assert [row["dimensions"] for row in rows(split(*cells))] == cells


def test_rows_of_one_series_share_its_map() -> None:
    found = rows(
        block(
            values=(1, 2, 3),
            series=np.array([1, 0, 1]),
            dimensions=pd.DataFrame({"test": ["t0", "t1"]}),
            labels=pd.DataFrame({"name": ["Zero", None]}),
            start=np.array(["2026-03-15", "2026-03-15", "2026-03-16"], "datetime64[us]"),
            end=np.array(["2026-03-16", "2026-03-16", "2026-03-17"], "datetime64[us]"),
        )
    )
    assert [row["dimensions"] for row in found] == [{"test": "t1"}, {"test": "t0"}, {"test": "t1"}]
    assert [row["labels"] for row in found] == [{}, {"name": "Zero"}, {}]
    assert found[0]["series_id"] == found[2]["series_id"] != found[1]["series_id"]


def test_a_frame_without_columns_is_the_total() -> None:
    (one, two) = rows(
        block(
            values=(1, 2),
            series=np.arange(2),
            dimensions=pd.DataFrame(index=range(2)),
            end=np.array(["2026-03-18", "2026-03-19"], "datetime64[us]"),
        )
    )
    assert one["dimensions"] == two["dimensions"] == {}
    assert one["series_id"] == two["series_id"]


# Series


def ids(*blocks: Block, landing: Landing = LANDING) -> list[str]:
    return [row["series_id"] for row in rows(*blocks, landing=landing)]


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "other"},
        {"unit": "Others"},
        {"role": Role.ENTITLED},
        {"aggregation": Aggregation.MAX},
        {"temporality": Temporality.ROLLING},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_metric_is_another_series(changed: dict[str, Any]) -> None:
    assert ids(block()) != ids(block(replace(UNITS, **changed)))


@pytest.mark.parametrize("changed", ["vendor", "account", "endpoint"])
def test_another_source_is_another_series(changed: str) -> None:
    assert ids(block()) != ids(block(), landing=replace(LANDING, **{changed: "other"}))  # type: ignore[arg-type]


def test_texts_that_only_look_alike_are_other_series() -> None:
    tricky = [
        {},
        {"a": ""},
        {"a": "1"},
        {"a": "1", "b": "2"},
        {"a": "2", "b": "1"},
        {"b": "1", "c": "2"},
        {"a": "1;b=1:2"},
        {"a": "1;b=1:2;"},
        {"a": "1", "b": ""},
        {"a": "1;b=2", "b": "3"},
        {"a": "1", "b": "2;b=3"},
        {"a": "", "b": "1"},
        {"a=1:1;b": "2"},
        {"a+b": "12"},
        {"a": "12", "b": ""},
        {"ab": "12"},
        {"a": "e\u0301"},
        {"a": "é"},
        {"a": "1 "},
        {"A": "1"},
        {"a": "01"},
    ]
    found = [ids(split(dimensions) if dimensions else block())[0] for dimensions in tricky]
    assert len(set(found)) == len(tricky)


def test_texts_of_two_facts_do_not_run_together() -> None:
    one = ids(block(), landing=replace(LANDING, account="ab", endpoint="c"))
    assert one != ids(block(), landing=replace(LANDING, account="a", endpoint="bc"))


@given(st.tuples(*[st.text("ab=:;1", max_size=4)] * 4))
def test_two_series_have_one_id_only_if_they_are_one(cells: tuple[str, str, str, str]) -> None:
    one, two = ids(split({"a": cells[0], "b": cells[1]})), ids(split({"a": cells[2], "b": cells[3]}))
    assert (one == two) == (cells[:2] == cells[2:])


def test_what_does_not_identify_a_series_does_not_change_it() -> None:
    first = split({"a": "1", "b": "2"}, labels=[{"name": "Before"}])
    again = replace(
        split({"b": "2", "a": "1"}, labels=[{"name": "After"}]),
        answer=replace(ANSWER, body=b"[]", fetched_at=NOW + DAY),
        start=MIDNIGHT,
        end=MIDNIGHT + DAY,
        observed_at=NOW + DAY,
    )
    assert ids(first) == ids(again)
    assert ids(first) == ids(first)


# Keys


def test_a_key_told_twice_is_refused() -> None:
    with pytest.raises(PayloadError, match=r"units \(consumed\) \{'test': 't1'\} is told twice for 2026-03-17"):
        table(split({"test": "t1"}, {"test": "t2"}, {"test": "t1"}))
    with pytest.raises(PayloadError, match="told twice"):
        table(block(), block(values=(2,)))


def test_other_periods_and_roles_are_other_keys() -> None:
    later: dict[str, Any] = {"start": MIDNIGHT, "end": MIDNIGHT + DAY}
    whole: dict[str, Any] = {"start": MIDNIGHT - DAY, "end": MIDNIGHT + DAY}
    assert len(rows(block(), block(**later), block(**whole), block(AHEAD), block(READING))) == 5


def test_one_period_told_by_two_answers_of_a_landing_is_told_twice() -> None:
    with pytest.raises(PayloadError, match="told twice"):
        rows(block(), block(observed_at=MIDNIGHT))


# Days


@pytest.mark.parametrize(
    ("end", "day", "month"),
    [
        (MIDNIGHT, date(2026, 3, 17), "2026-03"),
        (MIDNIGHT + TICK, date(2026, 3, 18), "2026-03"),
        (MIDNIGHT - TICK, date(2026, 3, 17), "2026-03"),
        (datetime(2026, 4, 1, tzinfo=UTC), date(2026, 3, 31), "2026-03"),
        (datetime(2026, 4, 1, 0, 0, 0, 1, tzinfo=UTC), date(2026, 4, 1), "2026-04"),
        (datetime(2027, 1, 1, tzinfo=UTC), date(2026, 12, 31), "2026-12"),
        (datetime(2028, 3, 1, tzinfo=UTC), date(2028, 2, 29), "2028-02"),
    ],
)
def test_a_period_reports_on_the_day_of_its_last_instant(end: datetime, day: date, month: str) -> None:
    (row,) = rows(block(start=datetime(2026, 3, 1, tzinfo=UTC), end=end))
    assert (row["usage_date"], row["month"]) == (day, month)


@pytest.mark.parametrize(
    ("observed", "day"),
    [(MIDNIGHT - TICK, date(2026, 3, 17)), (MIDNIGHT, date(2026, 3, 18)), (MIDNIGHT + TICK, date(2026, 3, 18))],
)
def test_an_instant_reports_on_the_day_of_its_observation(observed: datetime, day: date) -> None:
    (row,) = rows(block(READING, start=observed, end=observed, observed_at=observed))
    assert row["usage_date"] == day
    assert row["period_start"] == row["period_end"] == row["observed_at"] == observed


def test_every_row_has_its_own_day_and_month() -> None:
    end = np.array(["2026-04-02", "2026-03-18", "2026-04-01"], "datetime64[us]")
    found = rows(block(values=(1, 2, 3), start=end - np.timedelta64(1, "D"), end=end))
    assert [(row["usage_date"].isoformat(), row["month"]) for row in found] == [
        ("2026-04-01", "2026-04"), ("2026-03-17", "2026-03"), ("2026-03-31", "2026-03"),
    ]  # fmt: skip


def test_a_time_of_another_zone_is_brought_to_utc() -> None:
    east = datetime.fromisoformat("2026-03-18T05:30:00.000007+05:30")
    (row,) = rows(block(READING, start=east, end=east, observed_at=east))
    assert row["observed_at"] == datetime(2026, 3, 18, 0, 0, 0, 7, tzinfo=UTC)


def test_a_period_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(PayloadError, match="a period of units ends before it starts"):
        table(block(start=MIDNIGHT, end=MIDNIGHT - TICK))


# Finality


@pytest.mark.parametrize(
    ("after", "final"), [(timedelta(0), False), (2 * DAY - TICK, False), (2 * DAY, True), (3 * DAY, True)]
)
def test_a_value_is_final_once_it_had_time_to_settle(after: timedelta, final: bool) -> None:
    (row,) = rows(block(answer=replace(ANSWER, fetched_at=MIDNIGHT + after)), settles=2 * DAY)
    assert row["is_final"] is final


def test_a_running_day_is_not_final() -> None:
    (row,) = rows(block(start=MIDNIGHT, end=MIDNIGHT + DAY))
    assert row["is_final"] is False


def test_an_instant_is_final() -> None:
    (row,) = rows(block(READING, start=NOW, end=NOW), settles=7 * DAY)
    assert row["is_final"] is True


def test_the_vendor_module_may_know_better() -> None:
    end = np.array(["2026-03-16", "2026-03-17"], "datetime64[us]")
    found = rows(
        block(values=(1, 2), end=end, start=end, is_final=np.array([True, False])), block(AHEAD, is_final=False)
    )
    assert [row["is_final"] for row in found] == [True, False, False]


# What lies ahead


MONTH: dict[str, Any] = {"start": datetime(2026, 3, 1, tzinfo=UTC), "end": datetime(2026, 4, 1, tzinfo=UTC)}


def told(at: datetime, *metrics: Metric, value: int = 1, dimensions: pd.DataFrame | None = None) -> pa.Table:
    """What a snapshot says at an instant: the reading, and metrics over the whole month."""
    split = {} if dimensions is None else {"dimensions": dimensions}
    reading = block(READING, (value,), start=at, end=at, observed_at=at)
    return table(reading, *(block(metric, (value,), observed_at=at, **MONTH, **split) for metric in metrics))


def newest_outlook(landings: Iterable[pa.Table]) -> pa.Table:
    rows = Rows()
    for landing in landings:
        rows.add([landing])
    return pa.concat_tables([normalise.SCHEMA.empty_table(), *rows.tables()])


def seen(found: pa.Table, role: str) -> list[tuple[datetime, int]]:
    return sorted((row["observed_at"], int(row["value"])) for row in found.to_pylist() if row["role"] == role)


def test_outlook_is_what_is_not_used_of_a_period_that_is_not_over() -> None:
    over: dict[str, Any] = {"start": MIDNIGHT - DAY, "end": MIDNIGHT, "observed_at": MIDNIGHT}
    found = table(
        block(UNITS, **MONTH),
        block(AHEAD, **MONTH),
        block(INCLUDED, **MONTH),
        block(AHEAD, **over),
        block(READING, start=NOW, end=NOW),
    )
    assert outlook(found).tolist() == [False, True, True, False, False]


def test_all_readings_stand_and_only_the_newest_outlook() -> None:
    early, late = MIDNIGHT, MIDNIGHT + DAY
    for order in ([(early, 1), (late, 2)], [(late, 2), (early, 1)]):
        found = newest_outlook([told(at, AHEAD, INCLUDED, value=value) for at, value in order])
        assert seen(found, "consumed") == [(early, 1), (late, 2)]
        assert seen(found, "projected") == [(late, 2)]
        assert seen(found, "entitled") == [(late, 2)]


def test_an_outlook_that_the_newest_observation_no_longer_tells_is_gone() -> None:
    found = newest_outlook([told(MIDNIGHT, AHEAD, INCLUDED), told(MIDNIGHT + DAY, AHEAD)])
    assert seen(found, "projected") == [(MIDNIGHT + DAY, 1)]
    assert seen(found, "entitled") == []


def test_outlooks_of_other_periods_do_not_compete() -> None:
    other = table(block(AHEAD, (5,), observed_at=MIDNIGHT, start=MONTH["end"], end=datetime(2026, 5, 1, tzinfo=UTC)))
    found = newest_outlook([other, told(NOW, AHEAD)])
    assert seen(found, "projected") == [(MIDNIGHT, 5), (NOW, 1)]


def test_answers_of_one_landing_are_one_observation() -> None:
    """Several requests are answered one after the other: the later does not push out the earlier."""
    second = timedelta(seconds=1)

    def landing(at: datetime) -> pa.Table:
        return table(
            block(AHEAD, observed_at=at, **MONTH, dimensions=pd.DataFrame({"group": ["g1"]})),
            block(AHEAD, observed_at=at + second, **MONTH, dimensions=pd.DataFrame({"group": ["g2"]})),
        )

    found = newest_outlook([landing(MIDNIGHT), landing(NOW), landing(MIDNIGHT - DAY)])
    assert seen(found, "projected") == [(NOW, 1), (NOW + second, 1)]


def test_nothing_has_no_outlook() -> None:
    assert newest_outlook([]).num_rows == 0
    assert newest_outlook([table(block())]).num_rows == 1


def test_rows_of_the_wanted_days_and_the_outlook_are_kept() -> None:
    end = np.array(["2026-03-16", "2026-03-17", "2026-03-18", "2026-03-19"], "datetime64[us]")
    found = table(
        block(values=(15, 16, 17, 18), start=end - np.timedelta64(1, "D"), end=end), block(AHEAD, (99,), **MONTH)
    )
    wanted = [Days(date(2026, 3, 15), date(2026, 3, 15)), Days(date(2026, 3, 17), date(2026, 3, 18))]
    assert [int(value) for value in normalise.within(found, wanted)["value"].to_pylist()] == [15, 17, 18, 99]
