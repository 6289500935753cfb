"""A Consul agent of dc1, federated with dc2, and with dc3, which on one day in five cannot be reached.

Access control denies by default. dc1 runs the Enterprise edition and tells partitions and namespaces too.
Blocking queries are answered at once, as if their wait had run out.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from usage_pipeline.sandbox.world import EPOCH, World

TOKEN = "sandbox-consul-token"  # noqa: S105 - opens nothing but this sandbox
LOCAL_TOKEN = "sandbox-consul-local-token"  # noqa: S105 - known in dc1 alone
LOCAL = "dc1"
UNREACHABLE = 0.2
METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
ENTERPRISE = {LOCAL}
SERVERS = 3
MESH = ("api-gateway", "connect-proxy", "ingress-gateway", "mesh-gateway", "terminating-gateway")


@dataclass(frozen=True, slots=True)
class Tenant:
    """One namespace of one partition of one datacenter: its services, and how many instances they have on average."""

    datacenter: str
    partition: str
    namespace: str
    services: int
    instances: int
    gateways: tuple[str, ...] = ()


TENANTS = (
    Tenant("dc1", "default", "default", 8, 3, ("mesh-gateway", "ingress-gateway")),
    Tenant("dc1", "default", "payments", 5, 4, ("api-gateway",)),
    Tenant("dc1", "edge", "default", 3, 6, ("terminating-gateway",)),
    Tenant("dc2", "default", "default", 6, 2, ("mesh-gateway",)),
    Tenant("dc3", "default", "default", 2, 2),
)
KNOWN = sorted({tenant.datacenter for tenant in TENANTS})


@dataclass(frozen=True, slots=True)
class Counts:
    """What one namespace holds. Mesh-native instances are in `billable` and in `kinds`."""

    services: int
    billable: int
    servers: int
    kinds: Counter[str]

    @property
    def instances(self) -> int:
        return self.servers + self.billable + sum(self.kinds[kind] for kind in MESH)


def routes(world: World, local: str = LOCAL) -> list[Route]:
    """The agent of one datacenter."""

    def usage(request: Request) -> Response:
        if refused := _refused(request):
            return refused
        asked = request.query_params
        token = asked.get("token") or request.headers.get("x-consul-token") or _bearer(request)
        if token not in ({TOKEN, LOCAL_TOKEN} if local == LOCAL else {TOKEN}):
            return _text(403, "ACL not found" if token else ANONYMOUS, _meta(1, leader=False))
        reachable = [name for name in KNOWN if name == local or (token == TOKEN and _reachable(world, name))]
        level = next((name for name in ("stale", "consistent") if name in asked), "leader")
        index = 1000 + 37 * (world.today - EPOCH).days
        body = {
            "Usage": {name: _datacenter(world, name) for name in (reachable if "global" in asked else [local])},
            "Index": index,
            "LastContact": 0,
            "KnownLeader": True,
            "ConsistencyLevel": level,
            "NotModified": False,
            "Backend": 0,
            "ResultsFilteredByACLs": False,
        }
        return _json(body, asked, _meta(index, leader=True) | {"X-Consul-Effective-Consistency": level})

    def datacenters(request: Request) -> Response:
        return _refused(request) or _json(KNOWN, request.query_params, POLICY)

    return [
        Route("/v1/operator/usage", usage, methods=METHODS),
        Route("/v1/catalog/datacenters", datacenters, methods=METHODS),
    ]


POLICY = {"Vary": "Accept-Encoding", "X-Consul-Default-Acl-Policy": "deny"}
ANONYMOUS = (
    "Permission denied: anonymous token lacks permission 'operator:read'. "
    "The anonymous token is used implicitly when a request does not specify a token."
)


def _meta(index: int, *, leader: bool) -> dict[str, str]:
    """Headers that errors carry too, once the query was tried."""
    return {
        "X-Consul-Index": str(index),
        "X-Consul-Knownleader": str(leader).lower(),
        "X-Consul-Lastcontact": "0",
        "X-Consul-Query-Backend": "blocking-query",
    }


def _text(status: int, problem: str, headers: dict[str, str]) -> Response:
    return PlainTextResponse(problem, status, {**POLICY, **headers})


def _json(body: object, asked: Iterable[str], headers: dict[str, str]) -> Response:
    told = json.dumps(body, indent=4) if "pretty" in asked else json.dumps(body, separators=(",", ":"))
    return Response(told, 200, {**POLICY, **headers}, "application/json")


def _bearer(request: Request) -> str:
    scheme, _space, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _refused(request: Request) -> Response | None:
    """The answer to a method or parameter that the agent does not take; None where all is well."""
    allow = {"Allow": "OPTIONS,GET"}
    if request.method == "OPTIONS":
        return Response(None, 200, {**POLICY, **allow})
    if request.method != "GET":
        return _text(405, f"method {request.method} not allowed", allow)
    asked = request.query_params
    if "stale" in asked and "consistent" in asked:
        return _text(400, "Cannot specify ?stale with ?consistent, conflicting semantics.", {})
    if asked.get("wait") and not re.fullmatch(r"(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+", asked["wait"]):
        return _text(400, "Invalid wait time", {})
    if asked.get("index") and not asked["index"].isdecimal():
        return _text(400, "Invalid index", {})
    return None


def _reachable(world: World, datacenter: str) -> bool:
    return datacenter != "dc3" or world.fraction(world.today, "consul", datacenter) >= UNREACHABLE


def _counts(world: World, day: date, tenant: Tenant) -> Counts:
    """Services come one a quarter, instances follow the load, proxies stand beside half of the services."""
    where = ("consul", tenant.datacenter, tenant.partition, tenant.namespace)
    is_home = (tenant.partition, tenant.namespace) == ("default", "default")
    services = tenant.services + max(0, (day - EPOCH).days // 90)
    kinds = Counter(dict.fromkeys(tenant.gateways, 2))
    for service in range(services // 2):
        kinds["connect-proxy"] += max(1, world.daily(day, *where, service, base=tenant.instances))
    kinds["connect-native"] = 1 + int(3 * world.fraction(day, *where, "native"))
    plain = sum(max(1, world.daily(day, *where, service, base=tenant.instances)) for service in range(services))
    return Counts(
        services=services + 1 + services // 2 + len(tenant.gateways) + is_home,
        billable=plain + kinds["connect-native"],
        servers=SERVERS if is_home else 0,
        kinds=kinds,
    )


def _kinds(kinds: Counter[str]) -> dict[str, int]:
    return {kind: kinds[kind] for kind in sorted({*MESH, "connect-native"})}


def _datacenter(world: World, datacenter: str) -> dict[str, object]:
    """A datacenter's counts are the sums of its namespaces': a service name counts once in each."""
    parts = [(tenant, _counts(world, world.today, tenant)) for tenant in TENANTS if tenant.datacenter == datacenter]
    kinds = sum((counts.kinds for _tenant, counts in parts), Counter[str]())
    billable = sum(counts.billable for _tenant, counts in parts)
    told: dict[str, object] = {
        "Services": sum(counts.services for _tenant, counts in parts),
        "ServiceInstances": sum(counts.instances for _tenant, counts in parts),
        "ConnectServiceInstances": _kinds(kinds),
        "BillableServiceInstances": billable,
    }
    if datacenter in ENTERPRISE:
        told |= {
            "PartitionNamespaceServices": _tree((tenant, counts.services) for tenant, counts in parts),
            "PartitionNamespaceServiceInstances": _tree((tenant, counts.instances) for tenant, counts in parts),
            "PartitionNamespaceBillableServiceInstances": _tree((tenant, counts.billable) for tenant, counts in parts),
            "PartitionNamespaceConnectServiceInstances": _tree(
                (tenant, _kinds(counts.kinds)) for tenant, counts in parts
            ),
        }
    return told | {"Nodes": SERVERS + -(-billable // 4)}


def _tree(parts: Iterable[tuple[Tenant, object]]) -> dict[str, dict[str, object]]:
    """Values by partition and namespace."""
    tree: dict[str, dict[str, object]] = {}
    for tenant, value in parts:
        tree.setdefault(tenant.partition, {})[tenant.namespace] = value
    return tree
