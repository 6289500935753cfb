"""AVEVA Data Hub: a tenant with three namespaces in two regions, and the identity service that opens it.

It shares some of its data in two communities, and reads what others share there. Grouped by community, a tenant's
usage is its own; a community's own address tells either that or what others use of the tenant's data.

`end` counts as inclusive: a day is told when its midnight lies within `start` and `end`. What is written late on the
tenth of a month shows when that day is three days old. Today's numbers grow as the day goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import wraps
from itertools import count
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from usage_pipeline.contract.time import midnight
from usage_pipeline.sandbox.world import EPOCH, World

CLIENT_ID = "sandbox-aveva-client"
CLIENT_SECRET = "sandbox-aveva-secret"  # noqa: S105 - opens nothing but this sandbox
TENANT = "4f7d7a3e-52c0-4b53-9c27-1d1f0f2b6a10"
NOBODY = "00000000-0000-0000-0000-000000000000"
TOKEN_LIFE = timedelta(hours=1)
RESTATED_DAY = 10
LATE = timedelta(days=3)
CYCLES = 12


@dataclass(frozen=True, slots=True)
class Namespace:
    """Where it stands, and what its weekdays are around: events and streams, written and read."""

    region: str
    ingress_events: int
    ingress_streams: int
    egress_events: int
    egress_streams: int


NAMESPACES = {
    "plant-operations": Namespace("WestUS", 9_400_000, 2_400, 3_100_000, 1_100),
    "energy-monitoring": Namespace("WestUS", 2_700_000, 800, 1_450_000, 520),
    "quality-lab": Namespace("NorthEurope", 310_000, 200, 520_000, 170),
}


@dataclass(frozen=True, slots=True)
class Community:
    """What part of its events and streams the tenant has there, and how much its partners use of its data."""

    internal: float
    partners: dict[str, float]


COMMUNITIES = {
    "0b6de1c2-7a55-4f0e-9d52-5d1f8a3c7e11": Community(
        0.04, {"9a3c5f10-1111-4c58-8f0e-2b7a6d4e9c01": 0.02, "c7d1b8e4-2222-4a3b-9e6f-8f5a3c2d1b02": 0.005}
    ),
    "6f2e9b74-3c1d-4e8a-b5a7-91c4d2e6f822": Community(0.01, {"9a3c5f10-1111-4c58-8f0e-2b7a6d4e9c01": 0.008}),
}
Row = dict[str, str | int | None]
Handler = Callable[[Request], Response]


def routes(world: World) -> list[Route]:
    granted: dict[str, datetime] = {}
    numbers = count(1)

    def discovery(request: Request) -> Response:
        issuer = str(request.url).removesuffix("/.well-known/openid-configuration")
        return JSONResponse({"issuer": issuer, "token_endpoint": f"{issuer}/connect/token"})

    async def token(request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return JSONResponse({"error": "invalid_request"}, 400)
        if form.get("grant_type") != "client_credentials":
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return JSONResponse({"error": "invalid_client"}, 400)
        told = hashlib.sha256(f"aveva|{world.seed}|{next(numbers)}".encode()).hexdigest()
        granted[told] = world.now + TOKEN_LIFE
        life = int(TOKEN_LIFE.total_seconds())
        return JSONResponse({"access_token": told, "expires_in": life, "token_type": "Bearer"})

    def guarded(handler: Handler) -> Handler:
        @wraps(handler)
        def guard(request: Request) -> Response:
            scheme, _, told = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or granted.get(told, world.now) <= world.now:
                return Response(status_code=401)
            if request.path_params["tenant"].lower() != TENANT:
                return _error(
                    403, "Forbidden", "The client has no role in this tenant", "Ask for the role Tenant Member"
                )
            try:
                return handler(request)
            except ValueError as problem:
                return _error(400, "Bad Request", str(problem), "Correct the request")

        return guard

    def tenant_usage(request: Request) -> Response:
        asked = _grouping(request)
        parts = [Part()] if asked == "none" else []
        if asked in {"namespace", "all"}:
            parts += [Part(namespace=name) for name in NAMESPACES]
        if asked in {"community", "all"}:
            parts += [Part(community=name) for name in COMMUNITIES]
        return JSONResponse([row for part in parts for row in _rows(world, request, part)])

    def community_usage(request: Request) -> Response:
        name = request.path_params["community"].lower()
        if name not in COMMUNITIES:
            return _error(403, "Forbidden", "The tenant is not in this community", "Ask to be invited")
        external = _choice(request, "source", "invalid", {"1": "internal", "2": "external"}) == "external"
        by_tenant = _choice(request, "groupBy", "none", {"0": "none", "1": "tenant"}) == "tenant"
        partners = list(COMMUNITIES[name].partners)
        groups = [(partner,) for partner in partners] if by_tenant else [tuple(partners)]
        parts = [Part(community=name, callers=group) for group in groups] if external else [Part(community=name)]
        return JSONResponse([row for part in parts for row in _rows(world, request, part)])

    def namespace_usage(request: Request) -> Response:
        name = request.path_params["namespace"]
        if name not in NAMESPACES:
            raise ValueError(f"There is no namespace {name}")
        return JSONResponse(list(_rows(world, request, Part(namespace=name))))

    def resources(_request: Request) -> Response:
        days = (world.today - EPOCH).days
        return JSONResponse(
            {
                "StreamCount": 9_100 + 4 * days + int(40 * world.fraction(world.today, "aveva", "streams")),
                "EntitledStreamCount": 25_000,
                "NamespaceCount": len(NAMESPACES),
                "EntitledNamespaceCount": 5,
                "EntitledStreamAccessCount": 6_000,
            }
        )

    def cycles(_request: Request) -> Response:
        elapsed = [(first, end) for first, end in _cycles(world.today) if end <= world.today]
        return JSONResponse([{"StartDate": _instant(first), "EndDate": _instant(end)} for first, end in elapsed])

    tenant = "/api/v1/tenants/{tenant}"
    return [
        Route("/identity/.well-known/openid-configuration", discovery, methods=["GET"]),
        Route("/identity/connect/token", token, methods=["POST"]),
        Route(f"{tenant}/usage", guarded(tenant_usage), methods=["GET"]),
        Route("/api/v1/communities/{community}/tenants/{tenant}/usage", guarded(community_usage), methods=["GET"]),
        Route(f"{tenant}/namespaces/{{namespace}}/usage", guarded(namespace_usage), methods=["GET"]),
        Route(f"{tenant}/resources/usage", guarded(resources), methods=["GET"]),
        Route(f"{tenant}/subscriptionterm/billingcycles", guarded(cycles), methods=["GET"]),
    ]


def _error(status: int, error: str, reason: str, resolution: str) -> JSONResponse:
    operation = hashlib.sha256(f"{status}{reason}".encode()).hexdigest()[:32]
    body = {"OperationId": operation, "Error": error, "Reason": reason, "Resolution": resolution}
    return JSONResponse(body, status, {"Operation-Id": operation})


def _instant(day: date) -> str:
    return f"{day}T00:00:00Z"


def _grouping(request: Request) -> str:
    """none, namespace, community or all."""
    asked = request.query_params
    by_namespace = asked.get("groupByNamespace", "false").lower()
    if by_namespace not in {"true", "false"}:
        raise ValueError(f"The value '{by_namespace}' is not valid for groupByNamespace")
    numbers = {"0": "namespace", "1": "community", "2": "all", "3": "none"}
    return _choice(request, "groupBy", "namespace" if by_namespace == "true" else "none", numbers)


def _choice(request: Request, name: str, default: str, numbers: dict[str, str]) -> str:
    """A member of an enum, by its name or number."""
    said = request.query_params.get(name, default).lower()
    if numbers.get(said, said) not in numbers.values():
        raise ValueError(f"The value '{said}' is not valid for {name}")
    return numbers.get(said, said)


def _time(request: Request, name: str) -> datetime | None:
    said = request.query_params.get(name)
    if said is None:
        return None
    try:
        found = datetime.fromisoformat(said)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"The value '{said}' is not valid for {name}") from None


@dataclass(frozen=True, slots=True)
class Part:
    """What a row tells of: the tenant, a namespace of it, a community, or what `callers` use of its data there."""

    namespace: str | None = None
    community: str | None = None
    callers: tuple[str, ...] = ()


def _rows(world: World, request: Request, part: Part) -> Iterator[Row]:
    """Days where both dates are given, one summary of one day for `start` alone, else billing cycles."""
    start, end = _time(request, "start"), _time(request, "end")
    if start is None and end is None:
        for first, until in _cycles(world.today):
            yield _summed(
                first,
                [_row(world, day, part) for day in _days(first, min(until, world.today + timedelta(days=1)))],
            )
    elif start is None:
        raise ValueError("end needs start")
    elif end is None:
        yield from (_row(world, day, part) for day in [start.date()] if EPOCH <= day <= world.today)
    elif end < start:
        raise ValueError("end lies before start")
    else:
        days = _days(max(start.date(), EPOCH), min(end.date(), world.today) + timedelta(days=1))
        yield from (_row(world, day, part) for day in days if midnight(day) >= start)


def _days(first: date, until: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((until - first).days)]


def _cycles(today: date) -> list[tuple[date, date]]:
    """Calendar months: the active one, and before it at most twelve since the tenant began."""
    firsts = [today.replace(day=1)]
    while len(firsts) <= CYCLES and firsts[0] > EPOCH:
        firsts.insert(0, (firsts[0] - timedelta(days=1)).replace(day=1))
    return [(first, (first + timedelta(days=32)).replace(day=1)) for first in firsts]


def _summed(first: date, days: list[Row]) -> Row:
    """A billing cycle: events add up; of the streams more are seen than on its busiest day."""
    cycle: Row = {**(days[0] if days else {}), "Date": _instant(first)}
    for name in ("IngressEvents", "EgressEvents"):
        cycle[name] = sum(int(day[name] or 0) for day in days)
    for name in ("IngressStreamsAccessed", "EgressStreamsAccessed"):
        cycle[name] = int(1.2 * max((int(day[name] or 0) for day in days), default=0))
    return cycle


def _row(world: World, day: date, part: Part) -> Row:
    """One day of a part; of the tenant, a stream that was read or written through two namespaces counts once."""
    row: Row = {
        "Date": _instant(day),
        "TenantId": TENANT if part.community is None else None,
        "NamespaceId": part.namespace,
        "ClusterRegion": NAMESPACES[part.namespace].region if part.namespace else None,
        "CalleeTenantId": TENANT,
        "CallerTenantId": NOBODY if len(part.callers) > 1 else next(iter(part.callers), TENANT),
        "CommunityId": part.community,
    }
    names = [part.namespace] if part.namespace else list(NAMESPACES)
    counts = [_counts(world, day, name) for name in names]
    share = 1.0
    if part.community:
        community = COMMUNITIES[part.community]
        share = sum(community.partners[caller] for caller in part.callers) if part.callers else community.internal
    for field in counts[0]:
        each = [found[field] for found in counts]
        row[field] = int(share * (sum(each) if field.endswith("Events") else max([*each, int(0.9 * sum(each))])))
    return row


def _counts(world: World, day: date, name: str) -> dict[str, int]:
    namespace, gone = NAMESPACES[name], world.gone(day)

    def daily(field: str, base: int) -> int:
        return int(gone * world.daily(day, "aveva", name, field, base=base))

    known = 0.9 if day.day == RESTATED_DAY and world.now < midnight(day) + LATE else 1.0
    return {
        "IngressEvents": int(known * daily("IngressEvents", namespace.ingress_events)),
        "IngressStreamsAccessed": daily("IngressStreamsAccessed", namespace.ingress_streams),
        "EgressEvents": daily("EgressEvents", namespace.egress_events),
        "EgressStreamsAccessed": daily("EgressStreamsAccessed", namespace.egress_streams),
    }
