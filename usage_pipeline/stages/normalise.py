"""Normalise: from landings to rows of the long format. A pure function of the raw answers.

The vendor module reads the answers into blocks; here the blocks get what every row has: who, the day, the series,
finality and the way back to the raw answer. What the endpoint does not declare is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from usage_pipeline.contract.answer import Landing
from usage_pipeline.contract.arrow import INSTANT, schema
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.schema import USAGE, Temporality
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Block, Endpoint, Normalised

SCHEMA = schema(USAGE)
Array = np.ndarray[Any, Any]


def usage(endpoint: Endpoint, landing: Landing, normalised: Normalised) -> pa.Table:
    """The rows of one landing, in the schema of `usage`. Raises PayloadError where two rows have one key."""
    declared = {metric.key for metric in endpoint.metrics}
    for block in normalised.usage:
        if block.metric.key not in declared:
            raise PayloadError("$", f"{block.metric.name} ({block.metric.role}) is not declared by {endpoint.slug}")
        _refuse_undeclared(endpoint, block)
    rows = pa.concat_tables(
        [SCHEMA.empty_table(), *(_rows(endpoint, landing, block) for block in normalised.usage if len(block.values))]
    )
    refuse_duplicates(rows)
    return rows


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


def refuse_duplicates(rows: pa.Table) -> None:
    """One row a key: a second is an error, not a choice.

    Within one landing `observed_at` makes no second row: instants and readings of a meter end where they were observed.
    """
    counted = rows.group_by(["series_id", "period_start", "period_end"]).aggregate([([], "count_all")])
    twice = counted.filter(pc.greater(counted["count_all"], 1))
    if twice.num_rows:
        key = twice.slice(0, 1).to_pylist()[0]
        row = rows.filter(pc.equal(rows["series_id"], key["series_id"])).slice(0, 1).to_pylist()[0]
        raise PayloadError(
            "$",
            f"{row['metric']} ({row['role']}) {dict(row['dimensions'])} is told twice for "
            f"{key['period_start']} to {key['period_end']}",
        )


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
    columns: dict[str, Any] = {name: pa.repeat(pa.scalar(text, pa.string()), size) for name, text in facts.items()}
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
        "series_id": _per_series(_series_ids(facts, block), block),
        "fetched_at": pa.array(fetched, INSTANT),
        "response_id": pa.repeat(pa.scalar(block.answer.response_id, pa.string()), size),
    }
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _instants(value: Any, size: int) -> Array:
    if isinstance(value, datetime):
        value = np.datetime64(int(value.timestamp()), "s") + np.timedelta64(value.microsecond, "us")
    instants: Array = np.broadcast_to(np.asarray(value, "datetime64[us]"), size)
    return instants


def _month(day: Array) -> pa.Array:
    months, codes = np.unique(day.astype("datetime64[M]"), return_inverse=True)
    return pa.array(months.astype(str), pa.string()).take(pa.array(codes))


def _per_series(values: pa.Array, block: Block) -> pa.Array:
    """Values known per series, for every row."""
    if len(values) == 1:
        return values.take(pa.array(np.zeros(len(block.values), np.int64)))
    return values.take(pa.array(block.series))


def _maps(frame: pd.DataFrame) -> pa.Array:
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


def _series_ids(facts: dict[str, str], block: Block) -> pa.Array:
    """What identifies a series, hashed. Lengths stand before texts, so that no two series read alike."""
    told = "".join(f"{name}={len(text)}:{text};" for name, text in sorted(facts.items()))
    names = sorted(block.dimensions.columns)
    rows: Iterable[tuple[str, ...]] = zip(*(block.dimensions[name] for name in names), strict=True) if names else [()]
    return pa.array(
        hashlib.blake2b(
            (told + "".join(f"{name}={len(text)}:{text};" for name, text in zip(names, row, strict=True))).encode(),
            digest_size=16,
        ).hexdigest()
        for row in rows
    )


def outlook(rows: pa.Table) -> Array:
    """Which rows report a period that was not over when observed: projections, and allowances for a whole period.

    Of those only the newest observation stands, whatever day it was made on.
    """
    ahead = pc.and_(pc.greater(rows["period_end"], rows["observed_at"]), pc.not_equal(rows["role"], "consumed"))
    found: Array = np.asarray(ahead.combine_chunks())
    return found


def newest_outlook(tables: Sequence[pa.Table]) -> pa.Table:
    """Several observations of one snapshot endpoint as one table: all readings, and the newest outlook."""
    rows = pa.concat_tables([SCHEMA.empty_table(), *tables])
    ahead = outlook(rows)
    if not ahead.any():
        return rows
    days = np.asarray(rows["usage_date"].combine_chunks().cast(pa.int32()))
    seen = np.asarray(rows["observed_at"].combine_chunks().cast(pa.int64()))
    # The answers of one landing arrive one after the other, and are one observation.
    landing = np.repeat(np.arange(len(tables)), [table.num_rows for table in tables])
    told = pd.Series(np.where(ahead, seen, np.iinfo(np.int64).min))
    told = told.groupby([days, landing]).transform("max")
    newest = told.groupby(days).transform("max")
    return rows.filter(pa.array(~ahead | (told == newest).to_numpy()))


def within(rows: pa.Table, days: Iterable[Days], newer: Iterable[Days] = ()) -> pa.Table:
    """The rows that report on some days, and the outlook, but for the days that `newer` landings tell."""
    wanted = pa.array([day for span in days for day in span], pa.date32())
    inside = np.asarray(pc.is_in(rows["usage_date"], wanted).combine_chunks())
    ahead = outlook(rows)
    spans = list(newer)
    dates = pc.unique(rows["usage_date"].filter(pa.array(ahead))).to_pylist()
    past = pa.array([day for day in dates if any(day in span for span in spans)], pa.date32())
    ahead = ahead & ~np.asarray(pc.is_in(rows["usage_date"], past).combine_chunks())
    return rows.filter(pa.array(inside | ahead))
