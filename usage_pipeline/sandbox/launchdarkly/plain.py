"""The paths without `granularity`: deprecated MAU, events, streams and evaluations.

The width of their points is theirs to choose: by the age of the range for events and streams, by its length for
evaluations. `/mau` is always daily, and spells its parameters in its own way.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from starlette.requests import Request

from usage_pipeline.contract.time import DAY, midnight
from usage_pipeline.sandbox.launchdarkly.usages import (
    ENVIRONMENTS,
    HISTORY,
    PROJECTS,
    RESTS_ON_SUNDAY,
    Leaf,
    RefusedError,
    Usage,
    company,
    divided,
    instant,
    invalid,
    label,
    labelled,
    series,
    whole,
)
from usage_pipeline.sandbox.world import World

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MINUTES_KEPT = timedelta(days=70)
MAU = Usage("mau", 800, distinct=True)
MAU_GROUPS = {
    "project": "projectKey",
    "environment": "environmentKey",
    "sdktype": "sdkType",
    "sdk": "sdkName",
    "anonymous": "anonymousV2",
    "contextKind": "contextKind",
    "sdkAppId": "sdkAppId",
}
MAU_AGGREGATIONS = {"rolling_30d": "rolling_30d", "month_to_date": "month_to_date", "daily_incremental": "incremental"}
CATEGORIES = {"web": "browser", "app": "mobile"}
EVENTS = {"received": Usage("events/received", 5000), "published": Usage("events/published", 1800)}
STREAMS = {"client": Usage("streams/client", 260), "server": Usage("streams/server", 90)}
EVALUATIONS = Usage("evaluations", 0)
FLAGS: dict[str, dict[Any, int]] = {
    "checkout-redesign": {True: 2400, False: 900},
    "banner-text": {"control": 500, "bold": 350, "Other Variations": 12},
    "page-size": {10: 1500, 25: 700},
}


def links(request: Request) -> dict[str, Any]:
    return {"self": {"href": str(request.url.path), "type": "application/json"}}


def window(world: World, request: Request, back: timedelta) -> tuple[datetime, datetime]:
    since = instant(request.query_params.get("from"), MAU, world.now - back)
    until = instant(request.query_params.get("to"), MAU, world.now)
    if since > until:
        raise invalid("Invalid time range: from must be before to")
    return since, until


def mau(world: World, request: Request) -> dict[str, Any]:
    query = request.query_params
    aggregation = MAU_AGGREGATIONS.get(query.get("aggregationType", "rolling_30d"))
    if aggregation is None:
        raise invalid(f"Invalid aggregationType: {query['aggregationType']}")
    groups = query.getlist("groupby")
    for name in groups:
        if name not in MAU_GROUPS:
            raise invalid(f"Invalid group by argument: {name}")
    if query.getlist("environment") and len(query.getlist("project")) != 1:
        raise invalid("environment requires exactly one project")
    days = labelled(world, *window(world, request, timedelta(days=30)))
    kinds = query.getlist("contextKind") or ["user"]
    leaves = [dict(leaf) | {"contextKind": kind} for leaf in company(MAU) for kind in kinds if _kept(leaf, query)]
    members = divided(list(leaves), [MAU_GROUPS[name] for name in groups])
    metadata = [{name: part[0][MAU_GROUPS[name]] for name in groups} for part in members]
    return _daily(world, request, aggregation, metadata, members, days)


def _kept(leaf: Leaf, query: Any) -> bool:
    filters = {name: query.getlist(name) for name in ("project", "environment", "sdktype", "sdk")}
    return all(not wanted or leaf[MAU_GROUPS[name]] in wanted for name, wanted in filters.items())


def by_category(world: World, request: Request) -> dict[str, Any]:
    days = labelled(world, *window(world, request, timedelta(days=30)))
    leaves = [dict(leaf) | {"category": CATEGORIES.get(leaf["sdkAppId"], "backend")} for leaf in company(MAU)]
    members = divided(list(leaves), ["category"])
    metadata = [{"category": part[0]["category"]} for part in members]
    return _daily(world, request, "rolling_30d", metadata, members, days)


def _daily(
    world: World, request: Request, aggregation: str, metadata: list[Any], members: list[list[Leaf]], days: list[Any]
) -> dict[str, Any]:
    told = [series(world, MAU, aggregation, part, days) for part in members]
    points = [{str(n): one[day] for n, one in enumerate(told) if one[day]} | {"time": label(MAU, day)} for day in days]
    return {"_links": links(request), "metadata": metadata, "series": points}


def events(world: World, request: Request) -> dict[str, Any]:
    usage = EVENTS.get(request.path_params["type"])
    if usage is None:
        raise RefusedError(404, "not_found", "Invalid resource identifier")
    since, until = window(world, request, DAY)
    return _points(world, request, [({}, usage, company(usage))], since, until, by_age(world, since), UTC)


def streams(world: World, request: Request) -> dict[str, Any]:
    source, leaves = _connected(request)
    since, until = window(world, request, timedelta(days=30))
    told = [({"source": source}, STREAMS[source], leaves)]
    return _points(world, request, told, since, until, by_age(world, since), zone(request))


def streams_by_sdk_version(world: World, request: Request) -> dict[str, Any]:
    source, leaves = _connected(request)
    since, until = window(world, request, DAY)
    wanted = {"sdkName": request.query_params.get("sdk"), "sdkVersion": request.query_params.get("version")}
    leaves = [leaf for leaf in leaves if all(not value or leaf[name] == value for name, value in wanted.items())]
    told = [
        ({"sdk": part[0]["sdkName"], "version": part[0]["sdkVersion"], "source": source}, STREAMS[source], part)
        for part in divided(leaves, ["sdkName", "sdkVersion"])
    ]
    return _points(world, request, told, since, until, by_age(world, since), zone(request))


def _connected(request: Request) -> tuple[str, list[Leaf]]:
    source = request.path_params["source"]
    if source not in STREAMS:
        raise RefusedError(404, "not_found", "Invalid resource identifier")
    return source, [leaf for leaf in company(STREAMS[source]) if (leaf["sdkType"] == "server") is (source == "server")]


def evaluations(world: World, request: Request) -> dict[str, Any]:
    """One series a variation."""
    project, environment, flag = (
        request.path_params[name] for name in ("projectKey", "environmentKey", "featureFlagKey")
    )
    if project not in PROJECTS or environment not in ENVIRONMENTS or flag not in FLAGS:
        raise RefusedError(404, "not_found", "Invalid resource identifier")
    since, until = window(world, request, timedelta(days=30))
    length = until - since
    width = MINUTE if length < 2 * HOUR else HOUR if length < 2 * DAY else DAY
    if width == MINUTE and since < world.now - MINUTES_KEPT:
        width = HOUR
    where = [
        leaf for leaf in company(EVALUATIONS) if (leaf["projectKey"], leaf["environmentKey"]) == (project, environment)
    ]
    told = [({"key": value}, Usage(f"evaluations/{flag}/{value}", base), where) for value, base in FLAGS[flag].items()]
    return _points(world, request, told, since, until, width, zone(request))


def by_age(world: World, since: datetime) -> timedelta:
    age = world.now - since
    return MINUTE if age <= 2 * HOUR else HOUR if age <= 2 * DAY else DAY


def zone(request: Request) -> tzinfo:
    name = request.query_params.get("tz", "UTC")
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise invalid(f"Invalid timezone: {name}") from None


def _points(
    world: World,
    request: Request,
    told: list[tuple[dict[str, Any], Usage, list[Leaf]]],
    since: datetime,
    until: datetime,
    width: timedelta,
    breaks: tzinfo,
) -> dict[str, Any]:
    points = []
    for start, end in buckets(max(since, midnight(HISTORY)), min(until, world.now), width, breaks):
        counted = [sum(between(world, usage, leaf, start, end) for leaf in leaves) for _, usage, leaves in told]
        point = {str(n): value for n, value in enumerate(counted) if value}
        points.append(point | {"time": int(start.timestamp()) * 1000})
    return {"_links": links(request), "metadata": [metadata for metadata, *_ in told], "series": points}


def buckets(since: datetime, until: datetime, width: timedelta, breaks: tzinfo) -> Iterator[tuple[datetime, datetime]]:
    """Buckets whose first instant lies in the range, both ends included."""
    local = since.astimezone(breaks)
    start = (
        local.replace(minute=0, second=0, microsecond=0) if width >= HOUR else local.replace(second=0, microsecond=0)
    )
    start = start.replace(hour=0) if width == DAY else start
    while start <= until:
        if start >= since:
            yield start, start + width
        start += width


def between(world: World, usage: Usage, leaf: Leaf, start: datetime, end: datetime) -> int:
    """What one application did in a part of time so far; the parts of a day add up to the day."""
    end, count = min(end, world.now), 0
    day = start.astimezone(UTC).date()
    while midnight(day) < end:
        if day >= HISTORY and not (leaf["sdkAppId"] == RESTS_ON_SUNDAY and day.isoweekday() == 7):
            amount = whole(world, usage, leaf, day)
            first, last = (
                (at - midnight(day)) / DAY for at in (max(start, midnight(day)), min(end, midnight(day + DAY)))
            )
            count += int(amount * last) - int(amount * first)
        day += DAY
    return count


PATHS = {
    "mau": mau,
    "mau/bycategory": by_category,
    "events/{type}": events,
    "streams/{source}": streams,
    "streams/{source}/bysdkversion": streams_by_sdk_version,
    "evaluations/{projectKey}/{environmentKey}/{featureFlagKey}": evaluations,
}
