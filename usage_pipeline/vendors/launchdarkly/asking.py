"""The requests of the time series, and what an answer to one of them was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from usage_pipeline.contract.answer import Pairs, Request
from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.vendors.launchdarkly import catalogue
from usage_pipeline.vendors.launchdarkly.facts import BETA, PREFIX, Series

SOURCES = ("client", "server")


@dataclass(frozen=True, slots=True)
class Place:
    """One path of an endpoint. `fixed` are the dimensions that the path itself says."""

    path: str
    metric: str
    part: str = ""
    fixed: Mapping[str, str] = field(default_factory=dict)


def places(series: Series, options: Mapping[str, Any]) -> list[Place]:
    """The endpoint's path, once for every value of its placeholders."""
    path = f"{PREFIX}{series.path}"
    if "{flag}" in path:
        asked = [
            {"project_key": flag["project"], "environment_key": flag["environment"], "flag": flag["flag"]}
            for flag in options.get("flags", [])
        ]
        return [Place(path.format(**flag), series.slug, "/".join(flag.values()), flag) for flag in asked]
    if "{source}" in path:
        return [Place(path.format(source=name), series.slug, name, {"source": name}) for name in SOURCES]
    if "{type}" in path:
        kinds = {name: name.rpartition("_")[2] for name, _counts in series.named}
        return [Place(path.format(type=kind), name, kind) for name, kind in kinds.items()]
    return [Place(path, series.slug)]


def requests(series: Series) -> Callable[[Account, Days], Iterator[Request]]:
    def requests(account: Account, days: Days) -> Iterator[Request]:
        """One request an aggregation, and one more where it is split: totals are never summed up from parts.

        Whether `to` is included is not documented; one tick before midnight means the same in both readings.
        """
        split = account.options["group_by"].get(series.slug, [])
        kinds = account.options["aggregations"].get(series.slug, series.asked)
        start = days.start - series.dialect.lead * DAY
        first, end = (int(instant.timestamp()) * series.ticks for instant in (start, days.end))
        window = (("from", str(first)), ("to", str(end - 1)))
        for place in places(series, account.options):
            for kind in kinds:
                for groups in [[], split] if split and series.types[kind].split else [[]]:
                    yield Request(
                        place.path,
                        params=(*window, *_said(series, kind, groups, account.options)),
                        headers=BETA,
                        part=place.part or (f"{kind} by {'+'.join(groups)}" if groups else kind),
                    )
        if {"projectId", "environmentId"} & set(split):
            yield catalogue.FIRST

    return requests


def _said(series: Series, kind: str, groups: list[str], options: Mapping[str, Any]) -> Pairs:
    """What is said beside the window. Defaults differ between paths, so nothing is left to them."""
    dialect = series.dialect
    said = dialect.fixed
    if dialect.typed:
        said = (("aggregationType", (dialect.spelling or {}).get(kind, kind)), *said)
    said += tuple((dialect.grouping, name) for name in groups)
    if needs_project_keys(series, groups):
        said += tuple(("projectKey", key) for key in options["project_keys"])
    return said


def needs_project_keys(series: Series, groups: list[str]) -> bool:
    """Streaming data export is told by project only for projects that are named."""
    return series.slug == "data_export_events" and "projectId" in groups


def asked(series: Series, request: Request) -> tuple[str, list[str]]:
    """The aggregation type, by our name, and the groups that a request asked for."""
    dialect = series.dialect
    groups = [value for name, value in request.params if name == dialect.grouping]
    if not dialect.typed:
        return next(iter(series.types)), groups
    ours = {theirs: kind for kind, theirs in (dialect.spelling or {}).items()}
    kind = dict(request.params)["aggregationType"]
    return ours.get(kind, kind), groups
