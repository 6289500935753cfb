"""LaunchDarkly's time series: which path tells what, in which unit, and how it must be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from usage_pipeline.contract.schema import Aggregation, Role, Temporality
from usage_pipeline.contract.vendor import Metric

DOCUMENTATION = "https://launchdarkly.com/docs/api/account-usage-beta"
PERMISSION = "role Reader; the action of a custom role is not documented"
PREFIX = "/api/v2/usage/"
BETA = (("LD-API-Version", "beta"),)
SETTLES = timedelta(days=2)
MONTH_SETTLES = timedelta(days=31) + SETTLES
SECONDS = 1


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an `aggregationType` makes of a quantity. `split` False: asked for the total only.

    `revised` numbers may change until their month is over: which context kind is the primary one is open until then.
    """

    aggregation: Aggregation
    temporality: Temporality
    split: bool = True
    revised: bool = False


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a path wants to be asked.

    `spelling` maps our names of aggregation types to its own; `typed` False: it has none. `lead` days are asked for
    before the first day, where the width of the points depends on the range: with them it is always a day.
    """

    grouping: str = "groupBy"
    spelling: Mapping[str, str] | None = None
    typed: bool = True
    fixed: tuple[tuple[str, str], ...] = ()
    lead: int = 0


SUM, DISTINCT, AVERAGE = Aggregation.SUM, Aggregation.DISTINCT, Aggregation.AVERAGE
DELTA, CUMULATIVE, ROLLING = Temporality.DELTA, Temporality.CUMULATIVE, Temporality.ROLLING
TOLD = {DELTA: "in the UTC day", CUMULATIVE: "since the first of the UTC month", ROLLING: "in the trailing 30 days"}

RUNNING = Meaning(SUM, CUMULATIVE)
COUNTER = {"incremental": Meaning(SUM, DELTA), "month_to_date": RUNNING}
TRAILED = COUNTER | {"rolling_30d": Meaning(SUM, ROLLING)}
# The projection goes on where the running total ends, so it is read from the answer that tells that total.
PROJECTED = COUNTER | {"month_to_date": Meaning(SUM, CUMULATIVE, split=False)}
AVERAGED = {"month_to_date": RUNNING, "average": Meaning(AVERAGE, DELTA)}
MONTHLY = {
    "month_to_date": Meaning(DISTINCT, CUMULATIVE, revised=True),
    "incremental": Meaning(DISTINCT, DELTA, revised=True),
}
ACTIVE = MONTHLY | {"rolling_30d": Meaning(DISTINCT, ROLLING, revised=True)}
CATEGORIES = {"daily": Meaning(DISTINCT, ROLLING, revised=True)}
DAILY = {"daily": Meaning(SUM, DELTA)}
# A connection that lasts is there in several periods, and nothing says that they add up.
CONNECTED = {"daily": Meaning(DISTINCT, DELTA)}

MODERN = Dialect(fixed=(("granularity", "daily"),))
LEGACY = Dialect("groupby", {"incremental": "daily_incremental"}, fixed=(("contextKind", "user"),))
PLAIN = Dialect(typed=False)
# Ranges of less than two days, or within the past two days, are answered in hours or minutes.
WIDE = Dialect(typed=False, lead=2)
ZONED = Dialect(typed=False, fixed=(("tz", "UTC"),), lead=2)

# The vendor's dimensions, and ours. Those that were asked for split the series, the others only name it.
NAMES = {
    "anonymous": "anonymous",
    "anonymousV2": "anonymous",
    "connectionType": "connection_type",
    "contextKind": "context_kind",
    "destination": "destination_kind",
    "destinationId": "destination",
    "destinationKind": "destination_kind",
    "destinationName": "destination_name",
    "destinationViewable": "destination_viewable",
    "environment": "environment",
    "environmentId": "environment",
    "eventKey": "event_key",
    "eventKind": "event_kind",
    "experimentId": "experiment",
    "key": "variation",
    "project": "project",
    "projectId": "project",
    "relayVersion": "relay_version",
    "sdk": "sdk_name",
    "sdkAppId": "sdk_app",
    "sdkName": "sdk_name",
    "sdkType": "sdk_type",
    "sdkVersion": "sdk_version",
    "sdktype": "sdk_type",
    "source": "source",
    "version": "sdk_version",
}
# What names the ids of a grouping: the catalogue tells it of projects and environments, metadata of destinations.
LABELS = {
    "projectId": ("project_key", "project_name"),
    "environmentId": ("environment_key", "environment_name"),
    "destinationId": ("destination_name", "destination_viewable", "destination_kind"),
}
# What a path says itself; the type of events makes another metric.
PLACEHOLDERS = ("project_key", "environment_key", "flag", "source")
READ = {"_links", "metadata", "series"}
IGNORED = {"totalEvaluations": "the sum of the series, in answers on evaluations"}


@dataclass(frozen=True, slots=True)
class Series:
    """One endpoint. `ticks` a second is what `from` and `to` count in; `fractions` whether values may have them.

    `asked` are the aggregation types that are asked for unless options say otherwise. `split` names the members of
    metadata that split every answer; `lone` the dimension of which nothing says under which name metadata tells it.
    With `kinds` the context kind splits too where metadata tells it, asked or not.
    `named` are metrics and what they count, where the paths of an endpoint count different things. `adds_up`: its parts
    come to the total, whatever it is split by.
    """

    slug: str
    path: str
    unit: str
    counts: str
    types: Mapping[str, Meaning]
    group_by: tuple[str, ...] = ()
    ticks: int = 1000
    asked: tuple[str, ...] = ("incremental",)
    max_days: int = 365
    fractions: bool = False
    projected: bool = False
    default: bool = False
    dialect: Dialect = MODERN
    split: tuple[str, ...] = ()
    lone: str = ""
    kinds: bool = False
    named: tuple[tuple[str, str], ...] = ()
    adds_up: bool = False

    def metric(self, name: str, kind: str, role: Role = Role.CONSUMED) -> Metric:
        meaning = self.types[kind]
        counts = dict(self.named).get(name, self.counts)
        told = f"{counts} {TOLD[meaning.temporality]}{', as the vendor projects it' * (role is Role.PROJECTED)}."
        return Metric(name, self.unit, told, role, meaning.aggregation, meaning.temporality)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        names = dict(self.named) or (self.slug,)
        projected = (self.metric(self.slug, "month_to_date", Role.PROJECTED),) if self.projected else ()
        return (*(self.metric(name, kind) for name in names for kind in self.types), *projected)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """What can split its rows."""
        said = (name for name in PLACEHOLDERS if f"{{{name}}}" in self.path)
        told = (*self.group_by, *self.split, *filter(None, [self.lone]), *["contextKind"] * self.kinds)
        return tuple(dict.fromkeys((*said, *(NAMES.get(name, name) for name in told))))

    @property
    def labels(self) -> tuple[str, ...]:
        """What can name them."""
        return tuple(label for name in self.group_by for label in LABELS.get(name, ()))

    @property
    def settles(self) -> timedelta:
        return MONTH_SETTLES if any(meaning.revised for meaning in self.types.values()) else SETTLES


PLACE = ("projectId", "environmentId")
SIDE = (*PLACE, "sdkName", "sdkAppId", "anonymousV2")
ALL = (*PLACE, "sdkName", "sdkType", "sdkAppId", "anonymousV2")
CONNECTION = (*PLACE, "connectionType", "relayVersion", "sdkName", "sdkVersion", "sdkAppId")
RUN = (*PLACE, "sdkName", "sdkVersion", "sdkType")
EXPORT = (*PLACE, "eventKind", "destinationKind", "destinationId")
WAREHOUSE = (*PLACE, "destinationKind", "destinationId")
# It counts the context kind `user` alone, so that nothing is left to split by context kind.
USERS = ("project", "environment", "sdktype", "sdk", "anonymous", "sdkAppId")
KEYS, PRIMARY = "Distinct context keys", "Distinct context keys of the primary kind"
BOTH, MONTH = ("month_to_date", "rolling_30d"), ("month_to_date",)
EVENTS = (("events_received", "Events received"), ("events_published", "Events published"))

# fmt: off
SERIES = (
    Series("service_connections", "service-connections", "Minutes", "Connection minutes of server-side SDKs",
           PROJECTED, CONNECTION, asked=("incremental", "month_to_date"), fractions=True, projected=True, default=True,
           adds_up=True),
    Series("total_mau", "total-mau", "Contexts", PRIMARY, ACTIVE, ALL, asked=BOTH, default=True),
    Series("clientside_mau", "clientside-mau", "Contexts", f"{PRIMARY} in client-side SDKs", ACTIVE, SIDE, asked=BOTH),
    Series("total_contexts", "total-contexts", "Contexts", KEYS, ACTIVE, ALL, asked=BOTH, kinds=True),
    Series("clientside_contexts", "clientside-contexts", "Contexts", f"{KEYS} in client-side SDKs", ACTIVE, SIDE,
           asked=BOTH, kinds=True),
    Series("serverside_contexts", "serverside-contexts", "Contexts", f"{KEYS} in server-side SDKs", ACTIVE, SIDE,
           SECONDS, asked=BOTH, kinds=True),
    Series("experimentation_events", "experimentation-events", "Events", "Events received for experiments",
           COUNTER, ("environmentId", "eventKey", "eventKind")),
    Series("experimentation_keys", "experimentation-keys", "Contexts", "Distinct context keys of each experiment",
           MONTHLY, (*PLACE, "experimentId"), asked=MONTH),
    Series("data_export_events", "data-export-events", "Events", "Events sent by streaming data export",
           COUNTER, EXPORT),
    Series("warehouse_export", "warehouse-export", "Rows", "Rows exported to data warehouses", COUNTER, WAREHOUSE),
    Series("ai_runs", "ai-runs", "Runs", "AI runs", COUNTER, RUN),
    Series("vega_ai", "vega-ai", "Uses", "Uses of Vega AI", TRAILED, ticks=SECONDS),
    Series("observability_errors", "observability/errors", "Errors", "Errors recorded", TRAILED, ticks=SECONDS),
    Series("observability_logs", "observability/logs", "Logs", "Logs recorded", TRAILED, ticks=SECONDS),
    Series("observability_sessions", "observability/sessions", "Sessions", "Sessions recorded", TRAILED, ticks=SECONDS),
    Series("observability_traces", "observability/traces", "Traces", "Traces recorded", TRAILED, ticks=SECONDS),
    Series("observability_metrics", "observability/metrics", "Metrics", "Metrics recorded", AVERAGED, ticks=SECONDS,
           asked=("month_to_date", "average"), fractions=True),
    Series("evaluations", "evaluations/{project_key}/{environment_key}/{flag}", "Evaluations",
           "Evaluations of a flag that gave a variation", DAILY, asked=("daily",), dialect=ZONED, split=("key",)),
    Series("events", "events/{type}", "Events", "Events", DAILY, asked=("daily",), dialect=WIDE, named=EVENTS),
    Series("streams", "streams/{source}", "Connections", "Streaming connections of one source", CONNECTED,
           asked=("daily",), dialect=ZONED),
    Series("streams_by_sdk_version", "streams/{source}/bysdkversion", "Connections",
           "Streaming connections of one source and SDK version", CONNECTED, asked=("daily",), dialect=ZONED,
           split=("sdk", "version")),
    Series("mau", "mau", "Users", "Distinct keys of the context kind user, by the deprecated count", ACTIVE, USERS,
           asked=BOTH, dialect=LEGACY),
    Series("mau_by_category", "mau/bycategory", "Users", "Distinct users of a category, by the deprecated count",
           CATEGORIES, asked=("daily",), dialect=PLAIN, lone="category"),
)
# fmt: on
