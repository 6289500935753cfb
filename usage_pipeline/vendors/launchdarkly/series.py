"""Answers with time series, read into blocks: one row a day, series and aggregation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer, Landing
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.schema import Role
from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.contract.vendor import Block, Normalised
from usage_pipeline.vendors.launchdarkly import asking, catalogue
from usage_pipeline.vendors.launchdarkly.facts import (
    AVERAGE,
    CUMULATIVE,
    IGNORED,
    NAMES,
    READ,
    ROLLING,
    SETTLES,
    Meaning,
    Series,
)

if TYPE_CHECKING:
    import pandas as pd

    from usage_pipeline.kit.frames import Instants
    from usage_pipeline.kit.payload import Records

SECONDS_BELOW = 10**11  # as seconds the year 5138, as milliseconds 1973
TIMES_BELOW = 10**14
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def normalise(series: Series) -> Callable[[Landing], Normalised]:
    def normalise(landing: Landing) -> Normalised:
        """One row a day, series and aggregation. A series that a day does not mention has no row for it."""
        known = catalogue.read(landing.answers)
        places = {place.path: place for place in asking.places(series, landing.options)}
        blocks: list[Block] = []
        notes = dict.fromkeys(known.notes)
        for answer in landing.answers:
            place = places.get(answer.request.path)
            if place:
                body = kit.payload.json(answer)
                blocks += _blocks(series, place, answer, body, landing.days, known)
                notes |= dict.fromkeys(_notes(body, landing.days))
        return Normalised(tuple(blocks), notes=tuple(notes))

    return normalise


def _notes(body: Any, days: Days) -> Iterator[str]:
    """How far the vendor has counted, where that is not beyond the days."""
    through = body.get("dataThrough")
    if through and kit.frames.instant(through, "$.dataThrough") < days.end:
        yield f"data through {through}{'; the vendor says that its pipeline is late' * (body.get('delayed') is True)}"


def _blocks(
    series: Series, place: asking.Place, answer: Answer, body: Any, days: Days, known: catalogue.Catalogue
) -> Iterator[Block]:
    read = READ | {"projectedSeries"} if series.projected else READ
    kit.payload.refuse_unknown_numbers(kit.payload.obj(body, "$"), read | IGNORED.keys(), "$")
    kind, groups = asking.asked(series, answer.request)
    points = _points(answer, kit.payload.member(body, "series"), "$.series")
    metadata = kit.payload.records(answer, kit.payload.member(body, "metadata"), "$.metadata", NAMES)
    split = [*groups, *series.split, *filter(None, [series.lone])]
    if not metadata.items and not split:
        metadata = replace(metadata, items=[{}])  # a series that is alone may go unexplained
    if series.lone:
        metadata = _lone(metadata, series.lone)
    start = _starts(points)
    _refuse_months(series.types[kind], points, start, days)
    points = _wanted(points, start, days, series.dialect.lead)
    if points.items:
        named = _named(series, metadata, split, place.fixed)
        if {"projectId", "environmentId"} & set(groups):
            named = named[0], known.labelled(*named)
        found = Found(series, place.metric, kind, body.get("dataThrough"))
        yield _block(found, points, start, named)
    # Other answers may repeat the projection, which is always cumulative and of the whole account.
    if kind == "month_to_date" and not groups and series.projected and body.get("projectedSeries"):
        points, start = _outlook(_points(answer, body["projectedSeries"], "$.projectedSeries"), days)
        named = _named(series, metadata, [], {})
        yield _block(Found(series, series.slug, kind, None, Role.PROJECTED), points, start, named)


@dataclass(frozen=True, slots=True)
class Found:
    """What the points of an answer are. `through` is the end of what the vendor has counted, where it says so."""

    series: Series
    metric: str
    kind: str
    through: str | None
    role: Role = Role.CONSUMED

    @property
    def meaning(self) -> Meaning:
        return self.series.types[self.kind]


def _points(answer: Answer, value: Any, path: str) -> Records:
    items = [kit.payload.obj(item, f"{path}[{n}]") for n, item in enumerate(kit.payload.array(value, path))]
    return kit.payload.Records(answer, items, path)


def _starts(points: Records) -> Instants:
    """The UTC midnights that label the points."""
    read = (_midnight(value, points.at(n, "time")) for n, value in enumerate(points.column("time")))
    return kit.frames.utc64(read)


def _midnight(value: Any, path: str) -> datetime:
    """An epoch in seconds or milliseconds, told apart by size, that may be written as a float."""
    if not kit.payload.is_number(value):
        raise PayloadError(path, f"expected a number, found {kit.payload.name(value)}")
    if 0 <= value < TIMES_BELOW:
        day, rest = divmod(value, 86_400 if value < SECONDS_BELOW else 86_400_000)
        if not rest:
            return EPOCH + int(day) * DAY
    raise PayloadError(path, f"{str(value)[:60]} is no UTC midnight, in seconds or milliseconds: days were asked for")


def _refuse_months(meaning: Meaning, points: Records, start: Instants, days: Days) -> None:
    """Refuse points that are a month wide: only running totals and averages come so, and days were asked for.

    A running total does not end before its month does, so a first of a month that stands alone though the week after
    it was asked for is the month's.
    """
    import numpy as np

    if meaning.temporality is not CUMULATIVE and meaning.aggregation is not AVERAGE:
        return
    told = np.unique(start)
    monthly = len(told) > 1 and (np.diff(told) >= 28 * kit.frames.ONE_DAY).all()
    if len(told) == 1:
        _first, end, fetched = kit.frames.utc64([days.start, days.end, points.answer.fetched_at])
        label = told[0]
        monthly = label == label.astype("datetime64[M]") and label + 8 * kit.frames.ONE_DAY <= min(end, fetched)
    if monthly:
        raise PayloadError(points.at(0, "time"), "the points are a month apart, and days were asked for")


def _wanted(points: Records, start: Instants, days: Days, lead: int) -> Records:
    """The points of the days; those of the days before that only made the points a day wide are blanked."""
    kit.frames.within(Days(days.first - lead * DAY, days.last), points, "time", start)
    if not lead:
        return points
    (first,) = kit.frames.utc64([days.start])
    return _kept(points, start >= first)


def _kept(points: Records, kept: Any) -> Records:
    blank: list[dict[str, Any]] = [item if keep else {} for item, keep in zip(points.items, kept, strict=True)]
    return replace(points, items=blank)


def _outlook(points: Records, days: Days) -> tuple[Records, Instants]:
    """The projection of the days that were asked for, and of what was still to come when the vendor answered.

    The vendor tells a whole billing period, whatever was asked for; its other days belong to their own loads. Past
    the end of the month it would be no calendar month, and where its running total began would not be known.
    """
    start = _starts(points)
    latest = max(days.last, points.answer.fetched_at.date())
    month_end = (latest.replace(day=28) + 4 * DAY).replace(day=1) - DAY
    kit.frames.within(Days(EPOCH.date(), month_end), points, "time", start)
    first, end, fetched = kit.frames.utc64([days.start, days.end, points.answer.fetched_at])
    kept = ((start >= first) & (start < end)) | ((start >= end) & (start + kit.frames.ONE_DAY > fetched))
    return _kept(points, kept), start


def _lone(metadata: Records, dimension: str) -> Records:
    """Metadata with its only text under our name: nothing says what the vendor calls it."""
    found = []
    for n, item in enumerate(metadata.items):
        texts = [value for value in item.values() if isinstance(value, str)]
        if len(texts) != 1:
            raise PayloadError(f"{metadata.path}[{n}]", f"expected one text, the {dimension}, found {len(texts)}")
        found.append({dimension: texts[0]})
    return replace(metadata, items=found)


def _named(
    series: Series, metadata: Records, split: list[str], fixed: Mapping[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Dimensions and labels, one row a series. What was asked for must be there: servers may overlook it."""
    import pandas as pd

    for n, item in enumerate(metadata.items):
        for name in split:
            if name not in item:
                raise PayloadError(f"{metadata.path}[{n}]", f"groupBy asked for '{name}', and it is missing")
    there = set().union(*metadata.items)
    dimensions = {*split, *({"contextKind"} & there if series.kinds else ())}
    taken = {NAMES.get(name, name) for name in dimensions} | fixed.keys()
    labels = {name for name in there & NAMES.keys() if NAMES[name] in series.labels and NAMES[name] not in taken}

    def texts(name: str, required: bool) -> list[str | None]:
        if name == "key":
            return [_variation(value) for value in metadata.column(name)]
        return kit.frames.texts(metadata, name, required=required)

    def frame(names: set[str], required: bool) -> pd.DataFrame:
        columns = {NAMES.get(name, name): texts(name, required) for name in sorted(names)}
        return pd.DataFrame(columns, index=range(len(metadata.items)))

    return frame(dimensions, True).assign(**fixed), frame(labels, False)


def _variation(value: Any) -> str:
    """The value of a flag's variation, which may be any JSON: a text as it is, all else as compact JSON."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, default=float, separators=(",", ":"), sort_keys=True)
    except RecursionError:
        raise PayloadError("$.metadata", "a variation is nested too deeply") from None


def _block(found: Found, points: Records, start: Instants, named: tuple[pd.DataFrame, pd.DataFrame]) -> Block:
    """All points of an answer: series "7" is described by row 7 of `named`."""
    series, (dimensions, labels) = found.series, named
    place = {str(n): n for n in range(len(dimensions))}
    codes, row, values = kit.frames.cells(points.items, "time", place)
    if (codes < 0).any():
        n = int(row[codes < 0][0])
        key = min(points.items[n].keys() - place.keys() - {"time"})
        raise PayloadError(points.at(n, key), f"one series too many: metadata explains {len(dimensions)}")

    def path(index: int) -> str:
        return points.at(int(row[index]), str(codes[index]))

    exact = kit.frames.decimals(values, path)
    if not series.fractions and Decimal in set(map(type, values)):
        index = next((n for n, value in enumerate(values) if value != int(value)), None)
        if index is not None:
            raise PayloadError(path(index), f"{values[index]} has a fraction, and {series.unit} are counted")
    first, end = _period(found.meaning, start)
    return Block(
        metric=series.metric(found.metric, found.kind, found.role),
        answer=points.answer,
        values=exact,
        series=codes,
        dimensions=dimensions,
        labels=labels,
        start=first[row],
        end=end[row],
        observed_at=points.answer.fetched_at,
        is_final=_final(found, start, points.answer)[row],
    )


def _period(meaning: Meaning, start: Instants) -> tuple[Instants, Instants]:
    """What a point labelled with the start of a day covers: always to the end of that day."""
    end = start + kit.frames.ONE_DAY
    if meaning.temporality is CUMULATIVE:
        return start.astype("datetime64[M]").astype(start.dtype), end
    return (end - 30 * kit.frames.ONE_DAY if meaning.temporality is ROLLING else start), end


def _final(found: Found, start: Instants, answer: Answer) -> Any:
    """Revised counts stay open for the whole month; nothing is final beyond what the vendor has counted."""
    end = start + kit.frames.ONE_DAY
    fetched = kit.frames.utc64([answer.fetched_at])[0]
    counted = kit.frames.utc64([kit.frames.instant(found.through, "$.dataThrough")])[0] if found.through else fetched
    next_month = (start.astype("datetime64[M]") + kit.frames.ONE_MONTH).astype(start.dtype)
    settling = next_month if found.meaning.revised else end
    return (settling + SETTLES.days * kit.frames.ONE_DAY <= fetched) & (end <= counted)
