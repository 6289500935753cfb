"""The invented company, and the paths that take `aggregationType` and `granularity`.

Three projects, two environments in each, four applications. Points are labelled by the UTC midnight that starts the
day; hourly points are not offered here. Counts of the parts of a distinct count add up to more than the whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

from starlette.requests import Request

from usage_pipeline.contract.time import DAY, midnight
from usage_pipeline.sandbox.world import World

HISTORY = date(2025, 1, 1)
MOST = timedelta(days=365)
FRESH = 0.9  # each further day of a window sees a tenth fewer new contexts
TRAIL = 30

Leaf = Mapping[str, Any]
PROJECTS = {
    "storefront": "5f1a00000000000000000001",
    "payments": "5f1a00000000000000000002",
    "mobile": "5f1a0000000000000000000a",
}
ENVIRONMENTS = ("production", "test")
APPS: tuple[dict[str, Any], ...] = (
    {"sdkAppId": "web", "sdkName": "node-server", "sdkVersion": "9.7.1", "sdkType": "server", "anonymousV2": False,
     "connectionType": "streaming", "relayVersion": "", "eventKind": "feature", "eventKey": "checkout",
     "experimentId": "exp-1", "destinationId": "d1", "destinationKind": "kinesis", "destinationName": "Lake"},
    {"sdkAppId": "api", "sdkName": "go-server", "sdkVersion": "7.4.0", "sdkType": "server", "anonymousV2": False,
     "connectionType": "streaming", "relayVersion": "8.9.0", "eventKind": "custom", "eventKey": "signup",
     "experimentId": "exp-2", "destinationId": "d2", "destinationKind": "segment", "destinationName": "Marketing"},
    {"sdkAppId": "app", "sdkName": "ios-client", "sdkVersion": "9.2.0", "sdkType": "mobile", "anonymousV2": True,
     "connectionType": "polling", "relayVersion": "", "eventKind": "index", "eventKey": "checkout",
     "experimentId": "exp-2", "destinationId": "d1", "destinationKind": "kinesis", "destinationName": "Lake"},
    {"sdkAppId": "batch", "sdkName": "java-server", "sdkVersion": "7.5.0", "sdkType": "server", "anonymousV2": True,
     "connectionType": "polling", "relayVersion": "", "eventKind": "custom", "eventKey": "import",
     "experimentId": "exp-1", "destinationId": "", "destinationKind": "unknown", "destinationName": "Unattributed"},
)  # fmt: skip
RESTS_ON_SUNDAY = "batch"
KINDS = {"user": 1.0, "organization": 0.1}

COUNTED = ("month_to_date", "incremental")
TRAILING = (*COUNTED, "rolling_30d")
SIDE = ("projectId", "environmentId", "sdkName", "sdkAppId", "anonymousV2")
ALL = (*SIDE, "sdkType")
RUN = ("projectId", "environmentId", "sdkName", "sdkVersion", "sdkType")
CONNECTION = (*RUN, "connectionType", "relayVersion", "sdkAppId")
EXPORT = ("projectId", "environmentId", "eventKind", "destinationKind", "destinationId")


@dataclass(frozen=True, slots=True)
class Usage:
    """One path. `base` is an application's amount on a working day; `ticks` a second is what times count in."""

    path: str
    base: float
    groups: tuple[str, ...] = ()
    aggregations: tuple[str, ...] = COUNTED
    ticks: int = 1000
    distinct: bool = False
    kinds: bool = False
    minutes: bool = False
    hours: bool = False

    @property
    def scale(self) -> int:
        """Minutes are kept in thousandths, so that sums stay exact."""
        return 1000 if self.minutes else 1


USAGES = (
    Usage("service-connections", 5200, CONNECTION, minutes=True, hours=True),
    Usage("total-mau", 900, ALL, TRAILING, distinct=True),
    Usage("clientside-mau", 700, SIDE, TRAILING, distinct=True),
    Usage("total-contexts", 1300, ALL, TRAILING, distinct=True, kinds=True),
    Usage("clientside-contexts", 1000, SIDE, TRAILING, distinct=True, kinds=True),
    Usage("serverside-contexts", 400, SIDE, TRAILING, 1, distinct=True, kinds=True),
    Usage("experimentation-events", 3100, ("environmentId", "eventKey", "eventKind"), hours=True),
    Usage("experimentation-keys", 350, ("projectId", "environmentId", "experimentId"), distinct=True, hours=True),
    Usage("data-export-events", 8000, EXPORT, hours=True),
    Usage("warehouse-export", 6000, (*EXPORT[:2], "destination", *EXPORT[3:]), hours=True),
    Usage("ai-runs", 120, RUN, hours=True),
    Usage("vega-ai", 6, (), TRAILING, 1),
    Usage("observability/errors", 60, (), TRAILING, 1),
    Usage("observability/logs", 9000, (), TRAILING, 1),
    Usage("observability/sessions", 300, (), TRAILING, 1),
    Usage("observability/traces", 2500, (), TRAILING, 1),
    Usage("observability/metrics", 1500, (), ("month_to_date", "average"), 1, hours=True),
)


class RefusedError(Exception):
    """An error answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def invalid(message: str) -> RefusedError:
    return RefusedError(400, "invalid_request", message)


def answer(world: World, usage: Usage, request: Request) -> dict[str, Any]:
    query = request.query_params
    aggregation = query.get("aggregationType", "month_to_date")
    if aggregation not in usage.aggregations:
        raise invalid(f"Invalid aggregationType: {aggregation}")
    granularity = query.get("granularity", "daily")
    if granularity not in {"daily", "monthly"}:
        raise invalid(f"Invalid granularity: {granularity}")
    if granularity == "monthly" and aggregation not in {"month_to_date", "average"}:
        raise invalid(f"granularity monthly is not supported with {aggregation}")
    groups = query.getlist("groupBy")
    for name in groups:
        if name not in usage.groups:
            raise invalid(f"Invalid group by argument: {name}")
    if usage.path == "data-export-events" and "projectId" in groups and not query.getlist("projectKey"):
        raise invalid("groupBy=projectId requires projectKey")
    if query.getlist("environmentKey") and len(query.getlist("projectKey")) != 1:
        raise invalid("environmentKey requires exactly one projectKey")
    month = midnight(world.today.replace(day=1))
    since, until = (instant(query.get("from"), usage, month), instant(query.get("to"), usage, world.now))
    if since > until or until - since > MOST:
        raise invalid("Invalid time range: at most 365 days, from before to")
    days = labelled(world, since, until)
    leaves = [leaf for leaf in company(usage) if kept(leaf, query)]
    if usage.kinds:
        groups = [*groups, "contextKind"]
    members = divided(leaves, groups)
    told = [series(world, usage, aggregation, part, days) for part in members]
    if granularity == "monthly":
        days = [day for day in days if day == days[-1] or (day + DAY).day == 1]
    body: dict[str, Any] = {
        "_links": {"self": {"href": str(request.url.path), "type": "application/json"}},
        "metadata": [describe(groups, part[0]) for part in members],
        "series": [
            {str(n): number(usage, one[day]) for n, one in enumerate(told) if one[day]} | {"time": label(usage, day)}
            for day in days
        ],
    }
    if usage.minutes and aggregation == "month_to_date" and not groups and world.today in days:
        body["projectedSeries"] = projection(world, usage, leaves)
    if usage.path in {"data-export-events", "warehouse-export"}:
        hour = world.now.replace(minute=0, second=0, microsecond=0)
        body |= {"dataThrough": hour.strftime("%Y-%m-%dT%H:%M:%SZ"), "delayed": False}
    return body


def divided(leaves: list[Leaf], groups: list[str]) -> list[list[Leaf]]:
    """The applications, gathered by what they have in common."""
    parts: dict[tuple[Any, ...], list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        parts[tuple(leaf[name] for name in groups)].append(leaf)
    return [parts[key] for key in sorted(parts)]


def instant(said: str | None, usage: Usage, default: datetime) -> datetime:
    if said is None:
        return default
    try:
        return datetime.fromtimestamp(int(said) / usage.ticks, UTC)
    except (ValueError, OverflowError, OSError):
        raise invalid(f"Invalid timestamp: {said}") from None


def labelled(world: World, since: datetime, until: datetime) -> list[date]:
    """Days whose first instant lies in the range, both ends included, as far as there is history."""
    first = max(since.date() if since == midnight(since.date()) else since.date() + DAY, HISTORY)
    last = min(until.date(), world.today)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def company(usage: Usage) -> list[Leaf]:
    kinds = KINDS if usage.kinds else {"": 1.0}
    return [
        {
            **app,
            "projectKey": project,
            "projectId": PROJECTS[project],
            "environmentKey": environment,
            "environmentId": environment_id(project, environment),
            "destination": app["destinationKind"],
            "contextKind": kind,
            "weight": weight * (0.2 if environment == "test" else 1.0),
        }
        for project in PROJECTS
        for environment in ENVIRONMENTS
        for app in APPS
        for kind, weight in kinds.items()
    ]


def environment_id(project: str, environment: str) -> str:
    project_id = PROJECTS[project]
    return f"{project_id[:-4]}{'e' if environment == 'test' else 'f'}{project_id[-3:]}"


def kept(leaf: Leaf, query: Any) -> bool:
    filters = {name: query.getlist(name) for name in ("projectKey", "environmentKey")}
    return all(not wanted or leaf[name] in wanted for name, wanted in filters.items())


def describe(groups: list[str], leaf: Leaf) -> dict[str, Any]:
    told = {name: leaf[name] for name in groups}
    if "destinationId" not in groups:
        return told
    told["destinationName"] = leaf["destinationName"]
    if leaf["destinationId"]:
        told |= {"destinationViewable": True, "destinationKind": leaf["destinationKind"]}
    return told


def amount(world: World, usage: Usage, leaf: Leaf, day: date) -> int:
    """What one application did on a day so far."""
    if day < HISTORY or (leaf["sdkAppId"] == RESTS_ON_SUNDAY and day.isoweekday() == 7):
        return 0
    return int(whole(world, usage, leaf, day) * world.gone(day))


def whole(world: World, usage: Usage, leaf: Leaf, day: date) -> int:
    """What one application does on a day until its end."""
    who = (leaf["projectKey"], leaf["environmentKey"], leaf["sdkAppId"], leaf["contextKind"])
    return whole_day(world, day, usage.path, who, usage.base * usage.scale * leaf["weight"])


@lru_cache(2**17)
def whole_day(world: World, day: date, path: str, who: tuple[str, ...], base: float) -> int:
    return world.daily(day, "launchdarkly", path, *who, base=base)


def series(world: World, usage: Usage, aggregation: str, part: list[Leaf], days: list[date]) -> dict[date, int]:
    """A number for every day. A distinct count is less than its applications' sum: some contexts use several."""
    if not days:
        return {}
    start = days[0].replace(day=1) if aggregation != "rolling_30d" else days[0] - (TRAIL - 1) * DAY
    span = [start + timedelta(days=n) for n in range((days[-1] - start).days + 1)]
    by_day = {day: sum(amount(world, usage, leaf, day) for leaf in part) for day in span}
    shared = 0.6 + 0.4 / len(part) if usage.distinct else 1.0
    fresh = FRESH if usage.distinct else 1.0
    if aggregation == "incremental":
        found: dict[date, float] = {day: by_day[day] for day in days}
    elif aggregation == "rolling_30d":
        weights = [fresh**n for n in range(TRAIL)]
        amounts = list(by_day.values())
        found = {
            day: sum(a * w for a, w in zip(amounts[n : n + TRAIL], weights, strict=True)) for n, day in enumerate(days)
        }
    else:
        found, running = {}, 0.0
        for day in span:
            running = (0 if day.day == 1 else running) + by_day[day] * fresh ** (day.day - 1)
            found[day] = running / day.day if aggregation == "average" else running
    return {day: round(found[day] * shared) for day in days}


def projection(world: World, usage: Usage, leaves: list[Leaf]) -> list[dict[str, float]]:
    """The running total of the whole month: as it was up to today, and onwards at the pace of the days so far."""
    first = world.today.replace(day=1)
    days = [first + timedelta(days=n) for n in range(31) if (first + timedelta(days=n)).month == first.month]
    past = [day for day in days if day <= world.today]
    actual = series(world, usage, "month_to_date", leaves, past)
    pace = actual[past[-1]] / (len(past) - 1 + max(world.gone(past[-1]), 0.01))
    return [
        {"time": label(usage, day), "0": number(usage, actual.get(day, round(pace * (n + 1))))}
        for n, day in enumerate(days)
    ]


def number(usage: Usage, value: int) -> float:
    return value / usage.scale if usage.minutes else value


def label(usage: Usage, day: date) -> float:
    """Times are milliseconds in every answer; where values are floats, they are too."""
    told = int(midnight(day).timestamp()) * 1000
    return float(told) if usage.minutes else told
