"""Normalise: from landings to rows of the long format. A pure function of the raw answers.

The vendor module reads the answers into blocks; here the blocks get what every row has: who, the day, the series,
finality and the way back to the raw answer. What the endpoint does not declare is refused.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from usage_pipeline.contract.answer import Landing
from usage_pipeline.contract.arrow import INSTANT
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.schema import Temporality
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Block, Endpoint, Normalised
from usage_pipeline.stages.rows import PACKED, outlook

SCHEMA = PACKED
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Array = np.ndarray[Any, Any]
MOST_KNOWN = 50_000
"""Rows of a frame that is remembered from one answer to the next."""


def usage(endpoint: Endpoint, landing: Landing, normalised: Normalised) -> pa.Table:
    """The rows of one landing as one table. Raises PayloadError where two rows have one key."""
    return pa.concat_tables([SCHEMA.empty_table(), *parts(endpoint, landing, normalised)])


def parts(endpoint: Endpoint, landing: Landing, normalised: Normalised) -> Iterator[pa.Table]:
    """The rows of one landing, block by block. Raises PayloadError, at the end, where two rows have one key."""
    declared = {metric.key for metric in endpoint.metrics}
    keys = Keys()
    for block in normalised.usage:
        if block.metric.key not in declared:
            raise PayloadError("$", f"{block.metric.name} ({block.metric.role}) is not declared by {endpoint.slug}")
        _refuse_undeclared(endpoint, block)
        if len(block.values):
            rows = _rows(endpoint, landing, block)
            keys.add(rows)
            yield rows
    keys.refuse_duplicates()


def _refuse_undeclared(endpoint: Endpoint, block: Block) -> None:
    """The warehouse shows the declared dimensions and labels: another one would be in no view."""
    for kind, frame, declared in (
        ("dimension", block.dimensions, endpoint.dimensions),
        ("label", block.labels, endpoint.labels),
    ):
        if unknown := sorted({*frame.columns} - {*declared}):
            raise PayloadError(
                "$",
                f"the {kind} {', '.join(unknown)} of {block.metric.name} is not declared by {endpoint.slug}, which "
                f"declares {', '.join(declared) or 'none'}",
            )


@dataclass(slots=True)
class Keys:
    """What identifies the rows of one landing, in eight bytes a row.

    Within one landing `observed_at` makes no second row: instants and readings of a meter end where they were observed.
    """

    parts: list[tuple[pa.Table, Array, Array]] = field(default_factory=list)
    periods: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, rows: pa.Table) -> None:
        """Take in the rows of one block."""
        start, end = (np.asarray(rows[name].chunk(0).cast(pa.int64())) for name in ("period_start", "period_end"))
        (starts, first), (ends, last) = map(pd.factorize, (start, end))
        codes, pairs = pd.factorize(starts * len(last) + ends)
        told = zip(first[pairs // len(last)].tolist(), last[pairs % len(last)].tolist(), strict=True)
        known = np.array([self.periods.setdefault(period, len(self.periods)) for period in told], np.int32)
        series = rows["series_id"].chunk(0)
        self.parts.append((rows.slice(0, 1), np.asarray(series.indices), known[codes]))

    def refuse_duplicates(self) -> None:
        """One row a key: a second is an error, not a choice. Raises PayloadError."""
        if not self.parts:
            return
        ids = [first["series_id"].chunk(0).dictionary for first, _, _ in self.parts]
        series, _ = pd.factorize(np.concatenate([part.to_numpy(zero_copy_only=False) for part in ids]))
        offsets = np.cumsum([0, *map(len, ids)])
        keys = np.concatenate(
            [
                series[offset + codes] * len(self.periods) + periods
                for offset, (_, codes, periods) in zip(offsets[:-1], self.parts, strict=True)
            ]
        )
        if len(self.periods) * (int(series.max()) + 1) <= 2 * len(keys) and np.bincount(keys).max() == 1:
            return  # most are told on most days: counted faster than sorted
        ordered = np.sort(keys)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if not twice.size:
            return
        at = int(np.flatnonzero(keys == twice[0])[0])
        ends = np.cumsum([len(codes) for _, codes, _ in self.parts])
        part = int(np.searchsorted(ends, at, side="right"))
        first, codes, _ = self.parts[part]
        at -= int(ends[part]) - len(codes)
        row = first.to_pylist()[0]
        dimensions = first["dimensions"].chunk(0).dictionary[int(codes[at])].as_py()
        start, end = list(self.periods)[int(twice[0]) % len(self.periods)]
        period = " to ".join(str(EPOCH + timedelta(microseconds=tick)) for tick in (start, end))
        raise PayloadError("$", f"{row['metric']} ({row['role']}) {dict(dimensions)} is told twice for {period}")


def _rows(endpoint: Endpoint, landing: Landing, block: Block) -> pa.Table:
    size = len(block.values)
    start, end, observed = (_instants(value, size) for value in (block.start, block.end, block.observed_at))
    if (end < start).any():
        raise PayloadError("$", f"a period of {block.metric.name} ends before it starts")
    instant = block.metric.temporality is Temporality.INSTANT
    day = (observed if instant else end - np.timedelta64(1, "us")).astype("datetime64[D]")
    fetched = _instants(block.answer.fetched_at, size)
    final = block.is_final
    if final is None:
        final = np.ones(size, bool) if instant else end + np.timedelta64(endpoint.settles) <= fetched
    facts = {
        "vendor": landing.vendor,
        "account": landing.account,
        "endpoint": landing.endpoint,
        "metric": block.metric.name,
        "role": block.metric.role.value,
        "aggregation": block.metric.aggregation.value,
        "temporality": block.metric.temporality.value,
        "unit": block.metric.unit,
        "breakdown": "+".join(sorted(block.dimensions.columns)),
    }
    same = pa.array(np.zeros(size, np.int8))
    columns: dict[str, Any] = {
        name: pa.DictionaryArray.from_arrays(same, pa.array([text], pa.string()))
        for name, text in {**facts, "response_id": block.answer.response_id}.items()
    }
    columns |= {
        "month": _month(day),
        "usage_date": pa.array(day.astype("int32"), pa.int32()).cast(pa.date32()),
        "value": block.values,
        "dimensions": _per_series(_maps(block.dimensions), block),
        "labels": _per_series(_maps(block.labels), block),
        "period_start": pa.array(start, INSTANT),
        "period_end": pa.array(end, INSTANT),
        "observed_at": pa.array(observed, INSTANT),
        "is_final": pa.array(np.broadcast_to(np.asarray(final, bool), size)),
        "series_id": _per_series(_series_ids(block.dimensions, _named(facts)), block),
        "fetched_at": pa.array(fetched, INSTANT),
    }
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _instants(value: Any, size: int) -> Array:
    if isinstance(value, datetime):
        value = np.datetime64(int(value.timestamp()), "s") + np.timedelta64(value.microsecond, "us")
    instants: Array = np.broadcast_to(np.asarray(value, "datetime64[us]"), size)
    return instants


def _month(day: Array) -> pa.DictionaryArray:
    codes, months = pd.factorize(day.astype("datetime64[M]").astype(np.int64))
    names = pa.array(months.astype("datetime64[M]").astype(str), pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), names)


def _per_series(values: pa.Array, block: Block) -> pa.DictionaryArray:
    """Values known per series, for every row."""
    codes = np.zeros(len(block.values), np.int32) if len(values) == 1 else block.series.astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(codes), values)


class Recent:
    """What was made of the last few frames: the blocks of an answer share theirs, and so do answers day after day."""

    def __init__(self, make: Callable[..., pa.Array], most: int) -> None:
        self._make = make
        self._made: deque[tuple[pd.DataFrame, tuple[str, ...], pa.Array]] = deque(maxlen=most)

    def __call__(self, frame: pd.DataFrame, *facts: str) -> pa.Array:
        for known, same, made in tuple(self._made):
            if known is frame and same == facts:
                return made
        made = self._make(frame, *facts)
        if len(frame) <= MOST_KNOWN:
            self._made.append((frame, facts, made))
        return made


def _maps_of(frame: pd.DataFrame) -> pa.Array:
    """The rows of a frame of texts as maps; a missing text is a missing key."""
    names = sorted(frame.columns)
    texts = np.array([frame[name].to_numpy(object) for name in names], object).T.reshape(-1)
    rows = max(len(frame), 1)
    there = np.array([isinstance(text, str) for text in texts], bool)
    keys = np.tile(np.array(names, object), len(frame))
    offsets = np.concatenate([[0], there.reshape(rows, -1).sum(axis=1).cumsum()]).astype("int32")
    return pa.MapArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.array(keys[there], pa.string()), pa.array(texts[there], pa.string())
    )


def _ids_of(dimensions: pd.DataFrame, facts: str) -> pa.Array:
    """What identifies a series, hashed."""
    names = sorted(dimensions.columns)
    rows: Iterable[tuple[str, ...]] = (
        zip(*(dimensions[name].to_list() for name in names), strict=True) if names else [()]
    )
    return pa.array(
        hashlib.blake2b((facts + _named(dict(zip(names, row, strict=True)))).encode(), digest_size=16).hexdigest()
        for row in rows
    )


_maps, _series_ids = Recent(_maps_of, 4), Recent(_ids_of, 32)


def _named(texts: Mapping[str, str]) -> str:
    """Texts by name, in order. Lengths stand before texts, so that no two series read alike."""
    return "".join([f"{name}={len(texts[name])}:{texts[name]};" for name in sorted(texts)])


def within(rows: pa.Table, days: Iterable[Days], newer: Iterable[Days] = ()) -> pa.Table:
    """The rows that report on some days, and the outlook, but for the days that `newer` landings tell."""
    wanted = pa.array([day for span in days for day in span], pa.date32())
    inside = np.asarray(pc.is_in(rows["usage_date"], wanted).combine_chunks())
    ahead = outlook(rows)
    spans = list(newer)
    dates = pc.unique(rows["usage_date"].filter(pa.array(ahead))).to_pylist()
    past = pa.array([day for day in dates if any(day in span for span in spans)], pa.date32())
    ahead = ahead & ~np.asarray(pc.is_in(rows["usage_date"], past).combine_chunks())
    kept = inside | ahead
    return rows if kept.all() else rows.filter(pa.array(kept))
