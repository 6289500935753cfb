"""LaunchDarkly account usage (beta): time series of what an account consumes.

Read from the vendor's OpenAPI document (API client 25.0.1, 2026-10) and its usage pages. Days are UTC days, labelled
by their start. How long counters move is not documented, so a day counts as settled after two; distinct counts of
the current month are revised as a whole, so they settle after it. Odd: the same path tells daily amounts, running
totals or trailing counts by `aggregationType`; a few paths count time in seconds; series are numbered per answer,
and only `metadata` says what a number means; distinct counts of parts add up to more than the total.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain, compress
from typing import TYPE_CHECKING, Any

from pydantic import Field

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.schema import Aggregation, Role, Temporality
from usage_pipeline.contract.time import DAY, Clock, Days
from usage_pipeline.contract.vendor import Account, Block, Endpoint, History, Metric, Normalised, Options, Vendor

if TYPE_CHECKING:
    import httpx
    import pandas as pd

    from usage_pipeline.kit.frames import Instants
    from usage_pipeline.kit.payload import Records

DOCUMENTATION = "https://launchdarkly.com/docs/api/account-usage-beta"
SETTLES = timedelta(days=2)
MONTH_SETTLES = timedelta(days=31) + SETTLES
SECONDS = 1
SECONDS_BELOW = 10**11  # as seconds the year 5138, as milliseconds 1973
TIMES_BELOW = 10**14
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HINTS = {
    401: ". It takes an access token, not an SDK key",
    403: (
        ". One of three: the header LD-API-Version: beta did not arrive (it is sent with every request, a proxy may"
        " drop it); the token lacks the right (role Reader is enough); the plan does not include this usage"
    ),
}


class LaunchDarklyOptions(Options):
    """`group_by`: for each endpoint the dimensions that split it, asked for beside the total."""

    group_by: dict[str, list[str]] = Field(default_factory=dict, description="Endpoint to its groupBy values")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an `aggregationType` makes of a quantity. `split` False: asked for the total only."""

    aggregation: Aggregation
    temporality: Temporality
    split: bool = True


SUM, DISTINCT, AVERAGE = Aggregation.SUM, Aggregation.DISTINCT, Aggregation.AVERAGE
DELTA, CUMULATIVE, ROLLING = Temporality.DELTA, Temporality.CUMULATIVE, Temporality.ROLLING
COUNTER = {"incremental": Meaning(SUM, DELTA)}
# The projection goes on where the running total ends, so it is read from the answer that tells that total.
PROJECTED = COUNTER | {"month_to_date": Meaning(SUM, CUMULATIVE, split=False)}
AVERAGED = {"month_to_date": Meaning(SUM, CUMULATIVE), "average": Meaning(AVERAGE, DELTA)}
MONTHLY = {"month_to_date": Meaning(DISTINCT, CUMULATIVE)}
ACTIVE = MONTHLY | {"rolling_30d": Meaning(DISTINCT, ROLLING)}
TOLD = {DELTA: "in the UTC day", CUMULATIVE: "since the first of the UTC month", ROLLING: "in the trailing 30 days"}

# The vendor's dimensions, and ours. Those that were asked for split the series, the others only name it.
NAMES = {
    "anonymousV2": "anonymous",
    "connectionType": "connection_type",
    "contextKind": "context_kind",
    "destinationId": "destination",
    "destinationKind": "destination_kind",
    "destinationName": "destination_name",
    "destinationViewable": "destination_viewable",
    "environmentId": "environment",
    "eventKey": "event_key",
    "eventKind": "event_kind",
    "experimentId": "experiment",
    "projectId": "project",
    "relayVersion": "relay_version",
    "sdkAppId": "sdk_app",
    "sdkName": "sdk_name",
    "sdkType": "sdk_type",
    "sdkVersion": "sdk_version",
}
READ = {"_links", "metadata", "series"}
IGNORED = {"totalEvaluations": "the sum of the series, in answers on evaluations"}


@dataclass(frozen=True, slots=True)
class Series:
    """One endpoint. `ticks` a second is what `from` and `to` count in; `fractions` whether values may have them."""

    slug: str
    path: str
    unit: str
    counts: str
    types: Mapping[str, Meaning]
    group_by: tuple[str, ...] = ()
    ticks: int = 1000
    max_days: int = 365
    fractions: bool = False
    projected: bool = False
    default: bool = False

    def metric(self, kind: str, role: Role = Role.CONSUMED) -> Metric:
        meaning = self.types[kind]
        told = f"{self.counts} {TOLD[meaning.temporality]}{', as the vendor projects it' * (role is Role.PROJECTED)}."
        return Metric(self.slug, self.unit, told, role, meaning.aggregation, meaning.temporality)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        projected = (self.metric("month_to_date", Role.PROJECTED),) if self.projected else ()
        return (*(self.metric(kind) for kind in self.types), *projected)

    @property
    def distinct(self) -> bool:
        return any(meaning.aggregation is DISTINCT for meaning in self.types.values())


PLACE = ("projectId", "environmentId")
SIDE = (*PLACE, "sdkName", "sdkAppId", "anonymousV2")
ALL = (*PLACE, "sdkName", "sdkType", "sdkAppId", "anonymousV2")
CONNECTION = (*PLACE, "connectionType", "relayVersion", "sdkName", "sdkVersion", "sdkAppId")
RUN = (*PLACE, "sdkName", "sdkVersion", "sdkType")
# Splitting data export by projectId needs a list of project keys, so it is not offered.
EXPORT = ("environmentId", "eventKind", "destinationKind", "destinationId")
WAREHOUSE = (*PLACE, "destinationKind", "destinationId")
KEYS, PRIMARY = "Distinct context keys", "Distinct context keys of the primary kind"

# fmt: off
SERIES = (
    Series("service_connections", "service-connections", "Minutes", "Connection minutes of server-side SDKs",
           PROJECTED, CONNECTION, fractions=True, projected=True, default=True),
    Series("total_mau", "total-mau", "Contexts", PRIMARY, ACTIVE, ALL, default=True),
    Series("clientside_mau", "clientside-mau", "Contexts", f"{PRIMARY} in client-side SDKs", ACTIVE, SIDE),
    Series("total_contexts", "total-contexts", "Contexts", KEYS, ACTIVE, ALL),
    Series("clientside_contexts", "clientside-contexts", "Contexts", f"{KEYS} in client-side SDKs", ACTIVE, SIDE),
    Series("serverside_contexts", "serverside-contexts", "Contexts", f"{KEYS} in server-side SDKs", ACTIVE, SIDE,
           SECONDS),
    Series("experimentation_events", "experimentation-events", "Events", "Events received for experiments",
           COUNTER, ("environmentId", "eventKey", "eventKind")),
    Series("experimentation_keys", "experimentation-keys", "Contexts", "Distinct context keys of each experiment",
           MONTHLY, (*PLACE, "experimentId")),
    Series("data_export_events", "data-export-events", "Events", "Events sent by streaming data export",
           COUNTER, EXPORT),
    Series("warehouse_export", "warehouse-export", "Rows", "Rows exported to data warehouses", COUNTER, WAREHOUSE),
    Series("ai_runs", "ai-runs", "Runs", "AI runs", COUNTER, RUN),
    Series("vega_ai", "vega-ai", "Uses", "Uses of Vega AI", COUNTER, ticks=SECONDS),
    Series("observability_errors", "observability/errors", "Errors", "Errors recorded", COUNTER, ticks=SECONDS),
    Series("observability_logs", "observability/logs", "Logs", "Logs recorded", COUNTER, ticks=SECONDS),
    Series("observability_sessions", "observability/sessions", "Sessions", "Sessions recorded", COUNTER, ticks=SECONDS),
    Series("observability_traces", "observability/traces", "Traces", "Traces recorded", COUNTER, ticks=SECONDS),
    Series("observability_metrics", "observability/metrics", "Metrics", "Metrics recorded", AVERAGED, ticks=SECONDS,
           fractions=True),
)
# fmt: on


def _requests(series: Series) -> Callable[[Account, Days], Iterator[Request]]:
    def requests(account: Account, days: Days) -> Iterator[Request]:
        """One request an aggregation, and one more where it is split: totals are never summed up from parts.

        Whether `to` is included is not documented; one tick before midnight means the same in both readings.
        """
        split = account.options["group_by"].get(series.slug, [])
        first, end = (int(instant.timestamp()) * series.ticks for instant in (days.start, days.end))
        for kind, meaning in series.types.items():
            for groups in [[], split] if split and meaning.split else [[]]:
                yield Request(
                    f"/api/v2/usage/{series.path}",
                    params=(
                        ("from", str(first)),
                        ("to", str(end - 1)),
                        ("aggregationType", kind),
                        ("granularity", "daily"),
                        *(("groupBy", name) for name in groups),
                    ),
                    headers=(("LD-API-Version", "beta"),),
                    part=f"{kind} by {'+'.join(groups)}" if groups else kind,
                )

    return requests


def _normalise(series: Series) -> Callable[[Landing], Normalised]:
    def normalise(landing: Landing) -> Normalised:
        """One row a day, series and aggregation. A series that a day does not mention has no row for it."""
        return Normalised(tuple(block for answer in landing.answers for block in _blocks(series, answer, landing.days)))

    return normalise


def _blocks(series: Series, answer: Answer, days: Days) -> Iterator[Block]:
    body = kit.payload.json(answer)
    read = READ | {"projectedSeries"} if series.projected else READ
    kit.payload.refuse_unknown_numbers(kit.payload.obj(body, "$"), read | IGNORED.keys(), "$")
    kind = dict(answer.request.params)["aggregationType"]
    groups = [value for name, value in answer.request.params if name == "groupBy"]
    points = _points(answer, kit.payload.member(body, "series"), "$.series")
    metadata = kit.payload.records(answer, kit.payload.member(body, "metadata"), "$.metadata", NAMES)
    if not metadata.items and not groups:
        metadata = replace(metadata, items=[{}])  # a series that is alone may go unexplained
    start = _starts(points)
    kit.frames.within(days, points, "time", start)
    if points.items:
        yield _block(series, kind, Role.CONSUMED, points, start, _named(metadata, groups), body.get("dataThrough"))
    # Other answers may repeat the projection, which is always cumulative and of the whole account.
    if kind == "month_to_date" and not groups and series.projected and body.get("projectedSeries"):
        points, start = _outlook(_points(answer, body["projectedSeries"], "$.projectedSeries"), days)
        yield _block(series, kind, Role.PROJECTED, points, start, _named(metadata, []))


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
    raise PayloadError(path, f"{str(value)[:60]} is no UTC midnight in seconds or milliseconds")


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
    blank = [item if keep else {} for item, keep in zip(points.items, kept, strict=True)]
    return replace(points, items=blank), start


def _named(metadata: Records, groups: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Dimensions and labels, one row a series. What groupBy asked for must be there: servers may overlook it."""
    import pandas as pd

    for n, item in enumerate(metadata.items):
        for name in groups:
            if name not in item:
                raise PayloadError(f"{metadata.path}[{n}]", f"groupBy asked for '{name}', and it is missing")
    there = set().union(*metadata.items)
    dimensions = {*groups, *({"contextKind"} & there)}
    labels = (there & NAMES.keys()) - dimensions

    def frame(names: set[str], required: bool) -> pd.DataFrame:
        texts = {NAMES[name]: kit.frames.texts(metadata, name, required=required) for name in sorted(names)}
        return pd.DataFrame(texts, index=range(len(metadata.items)))

    return frame(dimensions, True), frame(labels, False)


def _block(
    series: Series,
    kind: str,
    role: Role,
    points: Records,
    start: Instants,
    named: tuple[pd.DataFrame, pd.DataFrame],
    through: str | None = None,
) -> Block:
    """All points of an answer: series "7" is described by row 7 of `named`."""
    import numpy as np

    metric, (dimensions, labels) = series.metric(kind, role), named
    place = {"time": -1} | {str(n): n for n in range(len(dimensions))}
    codes = np.fromiter((place.get(key, -2) for key in chain.from_iterable(points.items)), np.int64)
    row = np.repeat(np.arange(len(points.items)), [len(item) for item in points.items])
    if (codes == -2).any():
        n = int(row[codes == -2][0])
        key = min(points.items[n].keys() - place)
        raise PayloadError(points.at(n, key), f"one series too many: metadata explains {len(dimensions)}")
    used = codes >= 0
    values = list(compress(chain.from_iterable(item.values() for item in points.items), used))
    codes, row = codes[used], row[used]

    def path(index: int) -> str:
        return points.at(int(row[index]), str(codes[index]))

    exact = kit.frames.decimals(values, path)
    if not series.fractions and Decimal in set(map(type, values)):
        index = next((n for n, value in enumerate(values) if value != int(value)), None)
        if index is not None:
            raise PayloadError(path(index), f"{values[index]} has a fraction, and {series.unit} are counted")
    first, end = _period(metric.temporality, start)
    return Block(
        metric=metric,
        answer=points.answer,
        values=exact,
        series=codes,
        dimensions=dimensions,
        labels=labels,
        start=first[row],
        end=end[row],
        observed_at=points.answer.fetched_at,
        is_final=_final(metric, start, points.answer, through)[row],
    )


def _period(temporality: Temporality, start: Instants) -> tuple[Instants, Instants]:
    """What a point labelled with the start of a day covers: always to the end of that day."""
    end = start + kit.frames.ONE_DAY
    if temporality is CUMULATIVE:
        return start.astype("datetime64[M]").astype(start.dtype), end
    return (end - 30 * kit.frames.ONE_DAY if temporality is ROLLING else start), end


def _final(metric: Metric, start: Instants, answer: Answer, through: str | None) -> Any:
    """Distinct counts stay open for the whole month: which context kind is the primary one may change until then.

    `through` is the end of what the vendor has counted, where it says so.
    """
    end = start + kit.frames.ONE_DAY
    fetched = kit.frames.utc64([answer.fetched_at])[0]
    counted = kit.frames.utc64([kit.frames.instant(through, "$.dataThrough")])[0] if through else fetched
    next_month = (start.astype("datetime64[M]") + kit.frames.ONE_MONTH).astype(start.dtype)
    settling = next_month if metric.aggregation is DISTINCT else end
    return (settling + SETTLES.days * kit.frames.ONE_DAY <= fetched) & (end <= counted)


def explain(answer: Answer) -> str:
    """Errors are {code, message}; a 403 has three causes, of which the vendor names none."""
    try:
        body = kit.payload.json(answer)
        said = f"{body['code']}: {body['message']}"
    except (PayloadError, KeyError, TypeError):
        said = answer.body[:200].decode(errors="replace").strip()
    return f"{said}{HINTS.get(answer.status, '')}"


def auth(_account: Account, secrets: Mapping[str, str], _clock: Clock) -> httpx.Auth:
    return kit.auth.header("Authorization", secrets["access_token"])


def check(account: Account) -> None:
    """Refuse groupings that the endpoint does not offer: the vendor's servers may just overlook them."""
    offered = {series.slug: series.group_by for series in SERIES}
    for slug, values in account.options["group_by"].items():
        if slug not in offered:
            raise ValueError(f"group_by: there is no endpoint '{slug}'; there are {', '.join(sorted(offered))}")
        for value in values:
            if value not in offered[slug] or values.count(value) > 1:
                problem = "twice" if value in offered[slug] else "unknown"
                allowed = ", ".join(offered[slug]) or "nothing"
                raise ValueError(f"group_by: {slug}: '{value}' is {problem}; {slug} can be split by {allowed}")


LAUNCHDARKLY = Vendor(
    slug="launchdarkly",
    title="LaunchDarkly",
    base_url="https://app.launchdarkly.com",
    options=LaunchDarklyOptions,
    credentials=(frozenset({"access_token"}),),
    auth=auth,
    explain=explain,
    check=check,
    reset_headers={"x-ratelimit-reset": 1000, "x-ratelimit-auth-token-reset": 1000},
    endpoints=tuple(
        Endpoint(
            slug=series.slug,
            title=series.slug.replace("_", " ").capitalize(),
            history=History.WINDOW,
            documentation=DOCUMENTATION,
            metrics=series.metrics,
            requests=_requests(series),
            normalise=_normalise(series),
            settles=MONTH_SETTLES if series.distinct else SETTLES,
            max_days=series.max_days,
            default=series.default,
        )
        for series in SERIES
    ),
)
