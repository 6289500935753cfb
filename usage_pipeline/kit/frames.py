"""From records to blocks of the long format, column by column."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from usage_pipeline.contract.answer import Answer
from usage_pipeline.contract.arrow import VALUE
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.time import Days, midnight
from usage_pipeline.contract.vendor import Block, Metric
from usage_pipeline.kit.payload import Json, Records, is_number, name

Instants = np.ndarray[Any, np.dtype[np.datetime64]]
Positions = np.ndarray[Any, np.dtype[np.int64]]
ONE_DAY = np.timedelta64(1, "D")
ONE_MONTH = np.timedelta64(1, "M")


def decimals(values: list[Json], path: Callable[[int], str]) -> pa.Array:
    """Exact decimals; what is no number, or has more than 9 decimals or 29 digits before them, is refused."""
    kinds = set(map(type, values))
    if kinds <= {int}:
        with suppress(OverflowError):
            return pa.array(values, pa.int64()).cast(VALUE)
    if kinds <= {int, Decimal}:
        with suppress(OverflowError, ValueError):  # the search below names the culprit
            return pa.array(map(Decimal, values), VALUE)
    for index, value in enumerate(values):
        if not is_number(value):
            raise PayloadError(path(index), f"expected a number, found {name(value)}")
        try:
            pa.array([Decimal(value)], VALUE)
        except (OverflowError, ValueError):
            raise PayloadError(path(index), f"{str(value)[:60]} does not fit 29 digits and 9 decimals") from None
    return pa.array(map(Decimal, values), VALUE)


def texts(records: Records, key: str, *, required: bool) -> list[str | None]:
    """One field as text: ids may come as numbers or booleans. A null or absent field is refused where required."""
    column = records.column(key)
    if set(map(type, column)) <= {str}:
        return column

    def text(index: int, value: Json) -> str | None:
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int):
            return str(value)
        if value is None and not required:
            return None
        raise PayloadError(records.at(index, key), f"expected text or an id, found {name(value)}")

    return [text(index, value) for index, value in enumerate(column)]


def instant(value: Json, path: str) -> datetime:
    """An ISO 8601 time with its zone, in UTC; more than six decimals of a second are cut."""
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise PayloadError(path, f"expected an ISO 8601 time, found {str(value)[:60]!r}") from None
    if found.tzinfo is None:
        raise PayloadError(path, f"the time {value!r} has no zone")
    try:
        return found.astimezone(UTC)
    except OverflowError:
        raise PayloadError(path, f"the time {value!r} is out of range") from None


def day(value: Json, path: str) -> datetime:
    """A date written YYYY-MM-DD, as the first instant of that UTC day."""
    try:
        found = date.fromisoformat(value)
        if found.isoformat() == value:
            return midnight(found)
    except (TypeError, ValueError):
        pass
    raise PayloadError(path, f"expected a date YYYY-MM-DD, found {str(value)[:60]!r}")


def times(records: Records, key: str, read: Callable[[Json, str], datetime]) -> Instants:
    """One field of every record as UTC times, read by `instant` or `day`."""
    column = records.column(key)
    if set(map(type, column)) - {str}:
        index = next(i for i, value in enumerate(column) if not isinstance(value, str))
        raise PayloadError(records.at(index, key), f"expected a time, found {name(column[index])}")
    codes, told = pd.factorize(np.array(column, object))
    firsts = zip(told, _firsts(codes), strict=True)
    return utc64(read(value, records.at(int(index), key)) for value, index in firsts)[codes]


def _firsts(codes: Positions) -> Positions:
    """Where each code stands first, in order of appearance."""
    return np.flatnonzero(~pd.Series(codes).duplicated().to_numpy())


def utc64(instants: Iterable[datetime]) -> Instants:
    """Aware datetimes as an array of UTC microseconds."""
    return np.array([found.astimezone(UTC).replace(tzinfo=None) for found in instants], dtype="datetime64[us]")


def blocks(
    records: Records,
    measures: Mapping[str, Metric],
    *,
    start: Any,
    end: Any,
    observed_at: Any = None,
    dimensions: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    optional: Collection[str] = (),
    is_final: Any = None,
) -> Iterator[Block]:
    """One block a measure: wide records become long.

    `measures` maps fields to metrics, `dimensions` and `labels` map names of ours to fields. `start`, `end`,
    `observed_at` (default: the time of the answer) and `is_final` are one value for all records or an array, one a
    record. A field named in `optional` may be null or absent: that record then has no row for it.
    """
    split = {ours: texts(records, key, required=True) for ours, key in (dimensions or {}).items()}
    named = {ours: texts(records, key, required=False) for ours, key in (labels or {}).items()}
    series, split_series, named_series = _series(split, named, len(records.items))
    observed_at = records.answer.fetched_at if observed_at is None else observed_at
    for key, metric in measures.items():
        column = records.column(key)
        rows = np.arange(len(column))
        if key in optional:
            rows = np.flatnonzero([value is not None for value in column])
            column = [column[row] for row in rows]
        elif None in column:
            _refuse_absent(records, key)

        def path(index: int, key: str = key, rows: Positions = rows) -> str:
            return records.at(int(rows[index]), key)

        def at(value: Any, rows: Positions = rows) -> Any:
            return value[rows] if isinstance(value, np.ndarray) else value

        yield Block(
            metric=metric,
            answer=records.answer,
            values=decimals(column, path),
            series=series[rows],
            dimensions=split_series,
            labels=named_series,
            start=at(start),
            end=at(end),
            observed_at=at(observed_at),
            is_final=at(is_final),
        )


def _refuse_absent(records: Records, key: str) -> None:
    for index, item in enumerate(records.items):
        if key not in item:
            raise PayloadError(records.at(index, key), "expected a number, and it is missing")


Texts = dict[str, list[str | None]]
_LAST: list[tuple[Texts, Texts, tuple[Positions, pd.DataFrame, pd.DataFrame]]] = []


def _series(split: Texts, named: Texts, size: int) -> tuple[Positions, pd.DataFrame, pd.DataFrame]:
    """Which series each record is of, and the series' dimensions and labels: what is hashed later is few.

    Answers of one endpoint mostly list the same things day after day: the frames of the last answer serve again.
    """
    for last_split, last_named, found in tuple(_LAST):
        if len(found[0]) == size and last_split == split and last_named == named:
            return found
    series, firsts = _distinct([*split.values(), *named.values()], size)
    frames = [
        pd.DataFrame({ours: [column[row] for row in firsts] for ours, column in columns.items()})
        for columns in (split, named)
    ]
    _LAST[:] = [(split, named, (series, frames[0], frames[1]))]
    return series, frames[0], frames[1]


def _distinct(columns: list[list[str | None]], size: int) -> tuple[Positions, Positions]:
    """Which distinct row of the columns each record has, and the first record of each: what is hashed later is few."""
    codes: Positions = np.zeros(size, np.int64)
    for column in columns:
        found, _ = pd.factorize(np.array(column, object), use_na_sentinel=False)
        codes, _ = pd.factorize(codes * (int(found.max(initial=0)) + 1) + found)
    return codes, _firsts(codes)


def cells(
    items: Sequence[Mapping[str, Json]], label: str, columns: Mapping[str, int]
) -> tuple[Positions, Positions, list[Json]]:
    """The cells of a matrix whose lines are objects: column and line of each, and its value.

    `label` is the member that is no cell. A cell of a column that `columns` does not know is in column -1.
    """
    keys: list[str] = []
    codes: Positions = np.zeros(0, np.int64)
    found, values, at = [codes], [], None
    for item in items:
        told = list(item)
        if told != keys:  # lines mostly have the same keys in the same order
            keys, at = told, told.index(label) if label in item else None
            codes = np.fromiter((columns.get(key, -1) for key in keys if key != label), np.int64)
        line = list(item.values())
        if at is not None:
            del line[at]
        found.append(codes)
        values += line
    lines = np.repeat(np.arange(len(items)), [len(part) for part in found[1:]])
    return np.concatenate(found), lines, values


def within(days: Days, records: Records, key: str, start: Instants) -> None:
    """Refuse records of days that were not asked for: they would stand beside what other loads wrote."""
    first, end = utc64([days.start, days.end])
    outside = np.flatnonzero((start < first) | (start >= end))
    if outside.size:
        index = int(outside[0])
        found = records.items[index][key]
        raise PayloadError(records.at(index, key), f"{found} is outside {days}, which was asked for")


def billing_periods(answer: Answer, start: Instants, end: Instants) -> pd.DataFrame:
    """Billing periods as `Normalised` takes them: one row a period, its ends in UTC."""
    return pd.DataFrame(
        {
            "period_start": pd.DatetimeIndex(start, tz="UTC"),
            "period_end": pd.DatetimeIndex(end, tz="UTC"),
            "response_id": answer.response_id,
        }
    )
