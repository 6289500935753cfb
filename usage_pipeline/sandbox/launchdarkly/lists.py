"""Lists: the SDKs in use, the projects that export most, and the catalogue of projects and environments."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

from starlette.requests import Request

from usage_pipeline.sandbox.launchdarkly.plain import MAU, STREAMS, between, links, window
from usage_pipeline.sandbox.launchdarkly.usages import (
    ENVIRONMENTS,
    PROJECTS,
    USAGES,
    Leaf,
    RefusedError,
    company,
    environment_id,
    instant,
    invalid,
)
from usage_pipeline.sandbox.world import World

EXPORT = next(usage for usage in USAGES if usage.path == "data-export-events")
MOST_RANKED, PAGE = 100, 20
OLDER = {"9.7.1": "9.6.0"}
LATEST = {"node-server": "9.7.1", "go-server": "7.10.2", "ios-client": "9.2.0", "java-server": "8.0.0"}
SIDES = ("client", "server")


def side(leaf: Leaf) -> str:
    return "server" if leaf["sdkType"] == "server" else "client"


def mau_sdks(world: World, request: Request) -> dict[str, Any]:
    window(world, request, timedelta(days=7))
    wanted = request.query_params.get("sdktype")
    if wanted is not None and wanted not in SIDES:
        raise invalid(f"Invalid sdktype: {wanted}")
    names = {leaf["sdkName"] for leaf in company(MAU) if wanted is None or side(leaf) == wanted}
    return {"_links": links(request), "sdks": sorted(names)}


def sdk_versions_of_streams(_world: World, request: Request) -> dict[str, Any]:
    source = request.path_params["source"]
    if source not in STREAMS:
        raise invalid(f"Invalid source: {source}")
    found = {(leaf["sdkName"], leaf["sdkVersion"]) for leaf in company(MAU) if side(leaf) == source}
    told = [{"sdk": sdk, "version": version} for sdk, version in sorted(found)]
    return {"_links": links(request), "sdkVersions": told}


def sdk_versions_all(_world: World, request: Request) -> list[dict[str, str]]:
    """Every version; one SDK of production runs in two."""
    query = request.query_params
    found = []
    for leaf in company(MAU):
        found.append(described(leaf, leaf["sdkVersion"]))
        if leaf["sdkVersion"] in OLDER and leaf["environmentKey"] == "production":
            found.append(described(leaf, OLDER[leaf["sdkVersion"]]))
    names = {"sdkName": "name", "sdkType": "type", "sdkAppId": "applicationId"}
    wanted = {
        names.get(name, name): query[name]
        for name in ("environmentId", "projectId", "sdkName", "sdkType", "sdkAppId", "connectionType")
        if name in query
    }
    return [one for one in found if all(one[name] == value for name, value in wanted.items())]


def sdk_versions_details(_world: World, _request: Request) -> list[dict[str, str]]:
    return [described(leaf, leaf["sdkVersion"]) for leaf in company(MAU)]


def described(leaf: Leaf, version: str) -> dict[str, str]:
    latest = LATEST[leaf["sdkName"]]
    (major, _, _), (newest, _, _) = version.partition("."), latest.partition(".")
    told = {
        "name": leaf["sdkName"],
        "version": version,
        "type": leaf["sdkType"],
        "projectId": leaf["projectId"],
        "projectKey": leaf["projectKey"],
        "projectName": leaf["projectKey"].capitalize(),
        "environmentId": leaf["environmentId"],
        "environmentKey": leaf["environmentKey"],
        "environmentName": leaf["environmentKey"].capitalize(),
        "applicationId": leaf["sdkAppId"],
        "ldLatestVersion": latest,
        "eolStatus": "EolAllClear" if major == newest else "MajorVersionAvailable",
        "connectionType": "proxy" if leaf["relayVersion"] else "direct",
    }
    if leaf["relayVersion"]:
        told |= {"relayVersion": leaf["relayVersion"], "relayEolStatus": "EolAllClear"}
    return told


def ranking(world: World, request: Request) -> dict[str, Any]:
    query = request.query_params
    if "from" not in query or "to" not in query:
        raise invalid("from and to are required")
    since, until = (instant(query[name], EXPORT, world.now) for name in ("from", "to"))
    if since >= until:
        raise invalid("from must be before to")
    if query.get("source", "streaming") != "streaming" or query.get("dimension", "project") != "project":
        raise invalid("Only source streaming and dimension project are supported")
    keys, search = query.getlist("projectKey"), query.get("search", "").lower()
    if len(set(keys)) > MOST_RANKED:
        raise invalid(f"At most {MOST_RANKED} projectKey values")
    limit = whole_number(query.get("limit", str(MOST_RANKED)), 1, MOST_RANKED, "limit")
    usages = {
        key: sum(between(world, EXPORT, leaf, since, until) for leaf in company(EXPORT) if leaf["projectKey"] == key)
        for key in PROJECTS
        if (not keys or key in keys) and search in key
    }
    ranked = sorted(((key, count) for key, count in usages.items() if count), key=lambda one: (-one[1], one[0]))
    first = after(query.get("cursor"))
    items = [
        {
            "projectKey": key,
            "projectName": key.capitalize(),
            "rank": n,
            "usage": count,
            "components": {"streaming": count},
        }
        for n, (key, count) in enumerate(ranked, 1)
    ][first : first + limit]
    page = {"limit": limit, "count": len(items), "totalCount": len(ranked)}
    if first + limit < len(ranked):
        page["nextCursor"] = base64.urlsafe_b64encode(str(first + limit).encode()).decode()  # type: ignore[assignment]
    bounds = {"from": int(since.timestamp() * 1000), "to": int(until.timestamp() * 1000)}
    return {"items": items, "page": page, "scope": {"source": "streaming", "dimension": "project", **bounds}}


def after(cursor: str | None) -> int:
    try:
        return int(base64.urlsafe_b64decode(cursor)) if cursor else 0
    except ValueError:
        raise invalid("Invalid cursor") from None


def whole_number(said: str, least: int, most: int, name: str) -> int:
    if not said.isdecimal() or not least <= int(said) <= most:
        raise invalid(f"Invalid {name}: {said}")
    return int(said)


SETTINGS = {"color": "417505", "defaultTtl": 0} | dict.fromkeys(
    ("secureMode", "defaultTrackEvents", "requireComments", "confirmChanges", "critical"), False
)


def projects(_world: World, request: Request) -> dict[str, Any]:
    query = request.query_params
    limit = whole_number(query.get("limit", str(PAGE)), 1, 1000, "limit")
    offset = whole_number(query.get("offset", "0"), 0, 10**6, "offset")
    expand = query.get("expand", "").split(",")
    if not set(expand) <= {"", "environments"}:
        raise RefusedError(400, "invalid_request", f"Invalid expand: {query['expand']}")
    found = [named(key, PROJECTS[key]) | {"includeInSnippetByDefault": False} for key in sorted(PROJECTS)]
    items = found[offset : offset + limit]
    if "environments" in expand:
        for project in items:
            inner = [environment(project["key"], key) for key in ENVIRONMENTS]
            project["environments"] = {"items": inner, "totalCount": len(inner)}
    return {"_links": links(request), "items": items, "totalCount": len(PROJECTS)}


def environment(project: str, key: str) -> dict[str, Any]:
    """An environment comes with the keys of its SDKs."""
    keys = {"apiKey": f"sdk-{project}-{key}", "mobileKey": f"mob-{project}-{key}"}
    return named(key, environment_id(project, key)) | keys | SETTINGS


def named(key: str, identity: str) -> dict[str, Any]:
    return {"_links": {}, "_id": identity, "key": key, "name": key.capitalize(), "tags": []}


PATHS = {
    "mau/sdks": mau_sdks,
    "streams/{source}/sdkversions": sdk_versions_of_streams,
    "sdk-versions/all": sdk_versions_all,
    "sdk-versions/details": sdk_versions_details,
    "data-export-events/projects/ranking": ranking,
}
