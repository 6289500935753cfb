"""Replay: which of the kept landings tell which days, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

import pandas as pd
from obstore.store import ObjectStore

from usage_pipeline.contract.errors import UsageError
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account, Endpoint, History
from usage_pipeline.stages import normalise, raw
from usage_pipeline.stages.rows import Rows

if TYPE_CHECKING:
    from usage_pipeline.contract.answer import Landing


@dataclass(slots=True)
class Told:
    """What the raw answers say of some days.

    `asked` says when each day's newest answer landed; `fetched` has the days that are told, with the time of the
    answer that tells them; `refused` the days whose newest answer could not be read, told by an older one or not;
    `missing` the parts that an answer should have had; `notes` what the answers say of the days beside the numbers;
    `captured` the rows of a snapshot's days, each with its own outlook, which newer days replace in `rows`.
    """

    rows: Rows = field(default_factory=Rows)
    asked: dict[date, datetime] = field(default_factory=dict)
    fetched: dict[date, datetime] = field(default_factory=dict)
    refused: dict[date, UsageError] = field(default_factory=dict)
    missing: dict[date, Mapping[str, str]] = field(default_factory=dict)
    notes: dict[date, tuple[str, ...]] = field(default_factory=dict)
    captured: dict[date, int] = field(default_factory=dict)
    billing_periods: list[pd.DataFrame] = field(default_factory=list)
    inventory: list[pd.DataFrame] = field(default_factory=list)


def tell(store: ObjectStore, endpoint: Endpoint, account: Account, days: Days) -> Told:
    """Read what was kept for the days. A window's day is told by its newest landing, a snapshot's by all of them."""
    return read(store, endpoint, raw.attempts(store, account.vendor, account.name, endpoint.slug), days)


def teller(store: ObjectStore, endpoint: Endpoint, account: Account, days: Days) -> Callable[[], Told]:
    """`tell`, to be asked again: the answers are looked for each time, and read where others have landed since."""

    @lru_cache(maxsize=1)
    def told(attempts: tuple[raw.Reference, ...]) -> Told:
        return read(store, endpoint, attempts, days)

    return lambda: told(tuple(raw.attempts(store, account.vendor, account.name, endpoint.slug)))


def read(store: ObjectStore, endpoint: Endpoint, attempts: Sequence[raw.Reference], days: Days) -> Told:
    """What all attempts until some instant, oldest first, say of the days."""
    landed = [attempt for attempt in attempts if not attempt.failed]
    references = [found for found in landed if found.days.first <= days.last and found.days.last >= days.first]
    if endpoint.history is History.SNAPSHOT:
        told = _snapshots(store, endpoint, references)
    else:
        told = _window(store, endpoint, references, days, landed)
    told.asked = {day: reference.at for reference in references for day in reference.days if day in days}
    return told


def _window(
    store: ObjectStore, endpoint: Endpoint, references: list[raw.Reference], days: Days, landed: list[raw.Reference]
) -> Told:
    told = Told()
    untold = set(days)
    for reference in reversed(references):
        covered = sorted(day for day in untold if day in reference.days)
        if not covered:
            continue
        # Days to come that have come since, and were told by a newer answer, are no outlook any more.
        newer = [found.days for found in landed if found > reference]
        try:
            landing = _read(store, endpoint, reference, told, covered, newer)
        except UsageError as error:
            told.refused |= {day: error for day in covered if day not in told.refused}
            continue
        untold -= set(covered)
        told.fetched |= dict.fromkeys(covered, landing.landed_at)
    return told


def _snapshots(store: ObjectStore, endpoint: Endpoint, references: list[raw.Reference]) -> Told:
    told = Told()
    by_day = sorted(references, key=lambda reference: reference.days.first)
    for day, captures in groupby(by_day, lambda reference: reference.days.first):
        before = len(told.rows)
        for reference in captures:
            try:
                landing = _read(store, endpoint, reference, told, [day])
            except UsageError as error:
                told.refused[day] = error
                continue
            told.refused.pop(day, None)
            told.fetched[day] = landing.landed_at
        if len(told.rows) > before:
            told.captured[day] = sum(part.num_rows for part in told.rows.tables(["usage_date"], since=before))
    return told


def _read(
    store: ObjectStore,
    endpoint: Endpoint,
    reference: raw.Reference,
    told: Told,
    covered: Sequence[date],
    newer: Sequence[Days] = (),
) -> Landing:
    landing = raw.read(store, reference)
    normalised = endpoint.normalise(landing)
    parts = normalise.parts(endpoint, landing, normalised)
    if endpoint.history is History.WINDOW:
        spans = list(Days.runs(covered))
        parts = (normalise.within(part, spans, newer) for part in parts)
    told.rows.add(parts)
    told.missing |= dict.fromkeys(covered, normalised.missing)
    told.notes |= dict.fromkeys(covered, normalised.notes)
    told.billing_periods += [frame.assign(fetched_at=landing.landed_at) for frame in normalised.billing_periods]
    told.inventory += [frame.assign(fetched_at=landing.landed_at) for frame in normalised.inventory]
    return landing
