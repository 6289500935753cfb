"""Consul: services, instances and nodes of every datacenter, as they are at the moment of asking.

Read from the reference page "Usage - Operator - HTTP API" (Consul 1.15 to 1.22, 2026-11), the agent's source, and
answers of real agents. There is no history, and no time in the answer: a row is true when the answer came, and
nothing about it changes later. Odd: `global` counts by its presence, `dc` is ignored, and status 200 says little.
A server that knows no leader answers old counts or zeros, and a datacenter that cannot be reached, or whose counts
the token may not read, is left out without a word. What an answer says of its own freshness is the body's; the same
headers come with errors too, and count in other units. The catalog's list of datacenters still holds those that
cannot be reached.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.schema import Aggregation, Role, Temporality
from usage_pipeline.contract.time import Clock, Days
from usage_pipeline.contract.vendor import (
    Account,
    Agreement,
    Block,
    Endpoint,
    History,
    Metric,
    Normalised,
    Options,
    Vendor,
)

if TYPE_CHECKING:
    import httpx

DOCUMENTATION = "https://developer.hashicorp.com/consul/api-docs/operator/usage"
DATACENTER = r"^[a-z0-9_-]+$"
Datacenter = Annotated[str, StringConstraints(pattern=DATACENTER)]
Address = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#@]+(/[^\s?#@]*)?$")]
# Parts: no datacenter can be called so, `catalog` could.
AGENT, CATALOG = "agent/", "catalog"
NANOSECONDS = 10**9
FOREVER = Decimal(10**18)  # what is longer is not told more exactly: it may be too long for arithmetic
NO_ANSWER = "its agent gave no answer, or left it out"
LEFT_OUT = (
    "the answer leaves it out: it cannot be reached from the agent that was asked, or the token has no operator:read "
    "there, or its name is another"
)
Cell = tuple[Any, str, dict[str, str]]  # a number, where it stands, its dimensions


class ConsulOptions(Options):
    """Expected are the `datacenters`, those of the `agents`, and with `expect: catalog` all that the catalog lists.

    With several `datacenters`, or `expect: catalog`, all that the agent knows are asked for, else its own. `agents` are
    asked for their own instead, and vouch for its freshness; one that does not answer is missing.
    """

    datacenters: list[Datacenter] = Field(
        default_factory=list, description="Expected datacenters; one that an answer lacks counts as failed, not as zero"
    )
    expect: Literal["listed", "catalog"] = Field(
        default="listed", description="Whether datacenters are expected that only the agent's catalog lists"
    )
    agents: dict[Datacenter, Address] = Field(
        default_factory=dict,
        description="Address of each datacenter's agent, to ask it for its own; the token goes to all of them",
    )
    ca_bundle: str | None = Field(default=None, description="Path of the certificate of the CA that signed the agent's")
    max_last_contact_seconds: int = Field(
        default=10, ge=0, description="Longest time since the answering server heard from its leader"
    )


def _gauge(name: str, unit: str, description: str) -> Metric:
    return Metric(name, unit, description, Role.CONSUMED, Aggregation.LAST, Temporality.INSTANT)


SERVICES = _gauge("services", "Services", "Distinct service names in the catalog, Consul's own included.")
INSTANCES = _gauge(
    "service_instances", "Instances", "Service instances in the catalog, with proxies, gateways and Consul servers."
)
BILLABLE = _gauge(
    "billable_service_instances", "Instances", "Service instances other than Consul servers, proxies and gateways."
)
# Of its kinds, connect-native is billable too: the two must not be added up.
CONNECT = _gauge("connect_service_instances", "Instances", "Service instances that are part of the mesh, by kind.")
NODES = _gauge("nodes", "Nodes", "Nodes in the catalog, without those imported from peers.")

# Counts of a datacenter, and what names the levels of maps around the number. The kinds are an open set.
FIELDS: dict[str, tuple[Metric, tuple[str, ...]]] = {
    "Services": (SERVICES, ()),
    "ServiceInstances": (INSTANCES, ()),
    "BillableServiceInstances": (BILLABLE, ()),
    "ConnectServiceInstances": (CONNECT, ("kind",)),
    "Nodes": (NODES, ()),
    "PartitionNamespaceServices": (SERVICES, ("partition", "namespace")),
    "PartitionNamespaceServiceInstances": (INSTANCES, ("partition", "namespace")),
    "PartitionNamespaceBillableServiceInstances": (BILLABLE, ("partition", "namespace")),
    "PartitionNamespaceConnectServiceInstances": (CONNECT, ("partition", "namespace", "kind")),
}
# Counts of the Enterprise edition are those of the datacenter again, by partition and namespace. Services are left out:
# a name counts once in each namespace.
AGREEMENTS = (
    Agreement(INSTANCES.name, by=("datacenter",)),
    Agreement(BILLABLE.name, by=("datacenter",)),
    Agreement(CONNECT.name, by=("datacenter", "kind")),
)
LEVELS = tuple(dict.fromkeys(level for _metric, levels in FIELDS.values() for level in levels))
# Nodes came with 1.16.1, and the fields by partition are the Enterprise edition's.
ALWAYS = ("Services", "ServiceInstances", "BillableServiceInstances", "ConnectServiceInstances")
IGNORED = {
    "Index": "the position of the services entry alone, and of the local datacenter; it does not version the answer",
    "Backend": "which store answered a query: 0 is the catalog",
}


def requests(account: Account, _days: Days) -> Iterator[Request]:
    """One request for the present, or one an agent; then one for the catalog where that tells what to expect.

    `global=false` would be global too, so it is left out. `dc` is ignored, so that each datacenter needs its own agent.
    """
    path, options = "/v1/operator/usage", account.options
    catalog = options["expect"] == CATALOG
    for datacenter, agent in options["agents"].items():
        yield Request(f"{agent.rstrip('/')}{path}", part=f"{AGENT}{datacenter}", apart=True)
    if not options["agents"]:
        yield Request(path, params=(("global", ""),) if catalog or len(options["datacenters"]) > 1 else ())
    if catalog:
        yield Request("/v1/catalog/datacenters", part=CATALOG)


def normalise(landing: Landing) -> Normalised:
    """One row a datacenter and count, at the time of the answer.

    Raises PayloadError for an answer of a server without a leader or too long without news of it, and for one that
    access control filtered; of several agents one that answers so, or for another datacenter, is `missing` alone.
    Expected datacenters that no answer holds are `missing`.
    """
    limit = landing.options["max_last_contact_seconds"]
    # Answers that were kept before there were agents do without them.
    agents = landing.options.get("agents", {})
    missing = dict.fromkeys(landing.options["datacenters"], LEFT_OUT) | dict.fromkeys(agents, NO_ANSWER)
    told: list[tuple[Answer, dict[str, dict[str, Any]]]] = []
    for answer in landing.answers:
        if answer.request.part == CATALOG:
            missing = dict.fromkeys(_catalog(answer), LEFT_OUT) | missing
            continue
        asked = answer.request.part.removeprefix(AGENT)
        try:
            told.append((answer, _datacenters(answer, limit, asked)))
        except PayloadError as error:
            if len(agents) < 2:
                raise
            missing[asked] = str(error)
    seen = {datacenter for _answer, datacenters in told for datacenter in datacenters}
    return Normalised(
        usage=tuple(block for answer, datacenters in told for block in _blocks(answer, datacenters)),
        missing={f"datacenter {name}": why for name, why in missing.items() if name not in seen},
    )


def _catalog(answer: Answer) -> list[str]:
    """The datacenters that the agent knows, reachable or not."""
    names = kit.payload.array(kit.payload.json(answer), "$")
    if not names:
        raise PayloadError("$", "the catalog lists no datacenter, not even the agent's own")
    return [_datacenter(kit.payload.text(name, f"$[{index}]"), f"$[{index}]") for index, name in enumerate(names)]


def _datacenter(name: str, path: str) -> str:
    if not re.fullmatch(DATACENTER, name):
        raise PayloadError(path, f"{name!r} cannot be a datacenter: their names match {DATACENTER}")
    return name


def _datacenters(answer: Answer, limit: int, asked: str) -> dict[str, dict[str, Any]]:
    """Each datacenter's counts, by the name that the answer gives it; an agent of `asked` must answer for that one."""
    if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
        raise PayloadError("$", f"the agent answered {answer.status}: {explain(answer)}")
    body = kit.payload.obj(kit.payload.json(answer), "$")
    _refuse_unsure(body, limit)
    kit.payload.refuse_unknown_numbers(body, {"Usage", "LastContact", *IGNORED}, "$")
    datacenters = kit.payload.obj(kit.payload.member(body, "Usage"), "$.Usage")
    for datacenter, counts in datacenters.items():
        path = f"$.Usage.{datacenter}"
        if asked not in {"", _datacenter(datacenter, path)}:
            raise PayloadError(path, f"options: agents: the agent of {asked} answers for {datacenter}")
        for field in ALWAYS:
            kit.payload.member(counts, field, path)
        kit.payload.refuse_unknown_numbers(counts, FIELDS, path)
    return datacenters


def _refuse_unsure(body: dict[str, Any], limit: int) -> None:
    """Refuse counts that may be zeros, old or partial, although the status is 200."""
    if kit.payload.member(body, "KnownLeader") is not True:
        raise PayloadError(
            "$.KnownLeader", "the answer is not data: the server knows no leader, and then tells zeros or old counts"
        )
    contact = kit.payload.member(body, "LastContact")
    if not kit.payload.is_number(contact):
        raise PayloadError("$.LastContact", f"expected nanoseconds, found {kit.payload.name(contact)}")
    if contact > limit * NANOSECONDS:
        raise PayloadError(
            "$.LastContact",
            "the answer is not data: the server heard from its leader "
            f"{min(contact, FOREVER) / NANOSECONDS:.1f} s ago, and max_last_contact_seconds is {limit}",
        )
    if body.get("ResultsFilteredByACLs", False) is not False:
        raise PayloadError(
            "$.ResultsFilteredByACLs", "the answer is not all data: the token's ACL policies left out a part of it"
        )


def _cells(value: Any, path: str, levels: tuple[str, ...], dimensions: dict[str, str]) -> Iterator[Cell]:
    """The numbers at the bottom of nested maps, each level of which is a dimension."""
    if not levels:
        yield value, path, dimensions
        return
    for key, inner in kit.payload.obj(value, path).items():
        yield from _cells(inner, f"{path}.{key}", levels[1:], {**dimensions, levels[0]: key})


def _blocks(answer: Answer, datacenters: dict[str, dict[str, Any]]) -> Iterator[Block]:
    import pandas as pd

    for field, (metric, levels) in FIELDS.items():
        cells = [
            cell
            for datacenter, counts in datacenters.items()
            if field in counts
            for cell in _cells(counts[field], f"$.Usage.{datacenter}.{field}", levels, {"datacenter": datacenter})
        ]
        if cells:
            values, paths, dimensions = zip(*cells, strict=True)
            yield Block(
                metric=metric,
                answer=answer,
                values=kit.frames.decimals(list(values), paths.__getitem__),
                series=pd.RangeIndex(len(cells)).to_numpy(),
                dimensions=pd.DataFrame(dimensions),
                labels=pd.DataFrame(),
                start=answer.fetched_at,
                end=answer.fetched_at,
                observed_at=answer.fetched_at,
                is_final=True,
            )


def explain(answer: Answer) -> str:
    """Errors are plain text. Agents before 1.15 know no such path, and say nothing about it."""
    said = answer.body[:200].decode(errors="replace").strip()
    if answer.status == 404:
        return f"{said or 'no such endpoint'} (Consul tells usage from version 1.15 on)"
    return said


def auth(_account: Account, secrets: Mapping[str, str], _clock: Clock) -> httpx.Auth | None:
    """The token, in a header: in the address it would stand in access logs."""
    return kit.auth.header("X-Consul-Token", secrets["token"]) if "token" in secrets else None


CONSUL = Vendor(
    slug="consul",
    title="Consul",
    provider="HashiCorp",
    service=("Networking", "Application Networking"),
    options=ConsulOptions,
    credentials=(frozenset(), frozenset({"token"})),
    auth=auth,
    explain=explain,
    endpoints=(
        Endpoint(
            slug="operator_usage",
            title="Operator usage",
            history=History.SNAPSHOT,
            documentation=DOCUMENTATION,
            metrics=(SERVICES, INSTANCES, BILLABLE, CONNECT, NODES),
            requests=requests,
            normalise=normalise,
            dimensions=("datacenter", *LEVELS),
            agreements=AGREEMENTS,
            # Kinds are no data: a new one is news.
            keyed={"Usage": 1, **{field: 2 for field, (_, levels) in FIELDS.items() if "namespace" in levels}},
            permission="operator:read, in every datacenter that is asked for",
        ),
    ),
)
