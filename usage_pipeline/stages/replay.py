"""Replay: which of the kept landings tell which days, and what they say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
from obstore.store import ObjectStore

from usage_pipeline.contract.errors import UsageError
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account, Endpoint, History
from usage_pipeline.stages import normalise, raw

if TYPE_CHECKING:
    from usage_pipeline.contract.answer import Landing


@dataclass(slots=True)
class Told:
    """What the raw answers say of some days.

    `fetched` has the days that are told, with the time of their newest answer; `refused` the days whose newest
    answer could not be read, told by an older one or not; `missing` the parts that an answer should have had; `notes`
    what the answers say of the days beside the numbers.
    """

    rows: pa.Table
    fetched: dict[date, datetime] = field(default_factory=dict)
    refused: dict[date, UsageError] = field(default_factory=dict)
    missing: dict[date, Mapping[str, str]] = field(default_factory=dict)
    notes: dict[date, tuple[str, ...]] = field(default_factory=dict)
    billing_periods: list[pd.DataFrame] = field(default_factory=list)
    inventory: list[pd.DataFrame] = field(default_factory=list)


def tell(store: ObjectStore, endpoint: Endpoint, account: Account, days: Days) -> Told:
    """Read what was kept for the days. A window's day is told by its newest landing, a snapshot's by all of them."""
    references = raw.find(store, account.vendor, account.name, endpoint.slug, days)
    if endpoint.history is History.SNAPSHOT:
        return _snapshots(store, endpoint, references)
    return _window(store, endpoint, references, days)


def _window(store: ObjectStore, endpoint: Endpoint, references: list[raw.Reference], days: Days) -> Told:
    told = Told(normalise.SCHEMA.empty_table())
    tables = []
    untold = set(days)
    for reference in reversed(references):
        covered = sorted(day for day in untold if day in reference.days)
        if not covered:
            continue
        try:
            landing, rows = _read(store, endpoint, reference, told, covered)
        except UsageError as error:
            told.refused |= {day: error for day in covered if day not in told.refused}
            continue
        untold -= set(covered)
        told.fetched |= dict.fromkeys(covered, landing.landed_at)
        tables.append(normalise.within(rows, Days.runs(covered)))
    told.rows = normalise.newest_outlook(tables)
    return told


def _snapshots(store: ObjectStore, endpoint: Endpoint, references: list[raw.Reference]) -> Told:
    told = Told(normalise.SCHEMA.empty_table())
    tables = []
    for reference in references:
        day = reference.days.first
        try:
            landing, rows = _read(store, endpoint, reference, told, [day])
        except UsageError as error:
            told.refused[day] = error
            continue
        told.refused.pop(day, None)
        told.fetched[day] = landing.landed_at
        tables.append(rows)
    told.rows = normalise.newest_outlook(tables)
    return told


def _read(
    store: ObjectStore, endpoint: Endpoint, reference: raw.Reference, told: Told, covered: Iterable[date]
) -> tuple[Landing, pa.Table]:
    landing = raw.read(store, reference)
    normalised = endpoint.normalise(landing)
    rows = normalise.usage(endpoint, landing, normalised)
    told.missing |= dict.fromkeys(covered, normalised.missing)
    told.notes |= dict.fromkeys(covered, normalised.notes)
    told.billing_periods += [frame.assign(fetched_at=landing.landed_at) for frame in normalised.billing_periods]
    told.inventory += [frame.assign(fetched_at=landing.landed_at) for frame in normalised.inventory]
    return landing, rows
