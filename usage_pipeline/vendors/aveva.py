"""AVEVA Data Hub (once OSIsoft Cloud Services, now CONNECT data services): daily events and streams, and resources.

Read from the reference page "Usage" in its shape before and since 2022-08, its history and the official samples
(2026-11). A day is 00:00 to 24:00 UTC. Whether past days are revised is not documented, so a day counts as settled
after a week. Odd: the same schema tells billing cycles, one summary or days, depending on which dates are sent (both
are always sent); whether `end` is inclusive is not told; streams accessed are distinct within a day, so neither days,
namespaces nor ingress and egress add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

from pydantic import Field

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.schema import Aggregation, Role, Temporality
from usage_pipeline.contract.time import Clock, Days
from usage_pipeline.contract.vendor import Account, Block, Endpoint, History, Metric, Normalised, Options, Vendor

if TYPE_CHECKING:
    import httpx
    import pandas as pd

DOCUMENTATION = (
    "https://docs.aveva.com/bundle/connect-data-services-developer/page/api-reference/operations/operations-usage.html"
)
US_WEST = "https://uswe.datahub.connect.aveva.com"
# How many days one request may span is not documented: a quarter is modest, and at most 92 rows a namespace.
MOST_DAYS = 92


class AvevaOptions(Options):
    """`tenant_id` stands in every address; `namespaces` narrows `namespace_usage` and asks each by itself."""

    tenant_id: str = Field(min_length=1, description="The tenant's id, a GUID")
    namespaces: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list, description="Ids of the namespaces to ask for; without any, all are asked for at once"
    )


def _a_day(name: str, unit: str, aggregation: Aggregation, description: str) -> Metric:
    return Metric(name, unit, description, Role.CONSUMED, aggregation, Temporality.DELTA)


def _now(name: str, unit: str, role: Role, aggregation: Aggregation, description: str) -> Metric:
    return Metric(name, unit, description, role, aggregation, Temporality.INSTANT)


DAILY = {
    "IngressEvents": _a_day("ingress_events", "Events", Aggregation.SUM, "Events written during the UTC day."),
    "EgressEvents": _a_day("egress_events", "Events", Aggregation.SUM, "Events read during the UTC day."),
    "IngressStreamsAccessed": _a_day(
        "ingress_streams_accessed", "Streams", Aggregation.DISTINCT, "Distinct streams written to during the UTC day."
    ),
    "EgressStreamsAccessed": _a_day(
        "egress_streams_accessed", "Streams", Aggregation.DISTINCT, "Distinct streams read during the UTC day."
    ),
}
CONSUMED, ENTITLED, LAST, AVERAGE = Role.CONSUMED, Role.ENTITLED, Aggregation.LAST, Aggregation.AVERAGE
RESOURCES = {
    "StreamCount": _now("streams", "Streams", CONSUMED, LAST, "Streams that exist now."),
    "EntitledStreamCount": _now("streams", "Streams", ENTITLED, LAST, "Streams that may exist."),
    "NamespaceCount": _now("namespaces", "Namespaces", CONSUMED, LAST, "Namespaces that exist now."),
    "EntitledNamespaceCount": _now("namespaces", "Namespaces", ENTITLED, LAST, "Namespaces that may exist."),
    "EntitledStreamAccessCount": _now(
        "streams_accessed", "Streams", ENTITLED, AVERAGE, "Streams that may be accessed a day, on average."
    ),
}
# The 2020 pages tell the region as the number of an enum, later ones as text.
FIELDS = {*DAILY, "ClusterRegion"}


def _tenant(account: Account) -> str:
    return f"/api/v1/tenants/{quote(account.options['tenant_id'], safe='')}"


def _dates(days: Days) -> tuple[tuple[str, str], ...]:
    """Both dates, always; the last day is asked for in full whether `end` is inclusive or not."""
    return ("start", f"{days.start:%Y-%m-%dT%H:%M:%SZ}"), ("end", f"{days.end:%Y-%m-%dT%H:%M:%SZ}")


def tenant_requests(account: Account, days: Days) -> Iterator[Request]:
    """One request, ungrouped: that is the default of both `groupByNamespace` and the `groupBy` that replaces it."""
    yield Request(f"{_tenant(account)}/usage", _dates(days))


def namespace_requests(account: Account, days: Days) -> Iterator[Request]:
    """One request a configured namespace, else one for all: pages since 2022-08 no longer show the former."""
    for namespace in dict.fromkeys(account.options["namespaces"]):
        path = f"{_tenant(account)}/namespaces/{quote(namespace, safe='')}/usage"
        yield Request(path, _dates(days), part=namespace)
    if not account.options["namespaces"]:
        yield Request(f"{_tenant(account)}/usage", (*_dates(days), ("groupByNamespace", "true")))


def resource_requests(account: Account, _days: Days) -> Iterator[Request]:
    yield Request(f"{_tenant(account)}/resources/usage")


def cycle_requests(account: Account, _days: Days) -> Iterator[Request]:
    """One request whatever the days: the cycles that have elapsed, at most 12 months back."""
    yield Request(f"{_tenant(account)}/subscriptionterm/billingcycles")


def usage(landing: Landing, dimensions: Mapping[str, str]) -> Normalised:
    """One row a day and field, and a namespace where that is a dimension.

    Without dimensions a row of a namespace is refused: it would stand as the tenant's total.
    """
    return Normalised(usage=tuple(block for answer in landing.answers for block in _daily(landing, answer, dimensions)))


def _daily(landing: Landing, answer: Answer, dimensions: Mapping[str, str]) -> Iterator[Block]:
    rows = kit.payload.records(answer, kit.payload.json(answer), "$", FIELDS)
    for index, (tenant, namespace) in enumerate(zip(rows.column("TenantId"), rows.column("NamespaceId"), strict=True)):
        if tenant is not None and str(tenant).lower() != landing.options["tenant_id"].lower():
            raise PayloadError(rows.at(index, "TenantId"), f"{tenant!r} is not the tenant that was asked for")
        if namespace is not None and (not dimensions or answer.request.part not in {"", namespace}):
            raise PayloadError(rows.at(index, "NamespaceId"), f"{namespace!r} was not asked for")
    rows = replace(rows, items=[row | {"ClusterRegion": _folded(row.get("ClusterRegion"))} for row in rows.items])
    instants = kit.frames.times(rows, "Date", kit.frames.instant)
    start = instants.astype("datetime64[D]").astype("datetime64[us]")
    # An inclusive `end` brings the day after the last; it is another load's, and is left out.
    beyond = start == kit.frames.utc64([landing.days.end])
    kit.frames.within(landing.days, rows, "Date", start - beyond * kit.frames.ONE_DAY)
    labels = {"cluster_region": "ClusterRegion"} if dimensions else {}
    for block in kit.frames.blocks(
        rows, DAILY, start=start, end=start + kit.frames.ONE_DAY, dimensions=dimensions, labels=labels
    ):
        yield replace(
            block,
            values=block.values.filter(~beyond),
            series=block.series[~beyond],
            start=block.start[~beyond],
            end=block.end[~beyond],
        )


def _folded(region: kit.payload.Json) -> kit.payload.Json:
    """Regions are written `WestUS` in one place and `westus` in another."""
    return region.lower() if isinstance(region, str) else region


def resource_usage(landing: Landing) -> Normalised:
    """One row a field, true at the time of the answer."""
    return Normalised(usage=tuple(block for answer in landing.answers for block in _resources(answer)))


def _resources(answer: Answer) -> Iterator[Block]:
    only = kit.payload.record(answer, kit.payload.json(answer), "$", RESOURCES)
    yield from kit.frames.blocks(only, RESOURCES, start=answer.fetched_at, end=answer.fetched_at)


def billing_cycles(landing: Landing) -> Normalised:
    """One row of `billing_periods` a cycle; both ends as the vendor states them."""
    return Normalised(billing_periods=tuple(map(_cycles, landing.answers)))


def _cycles(answer: Answer) -> pd.DataFrame:
    rows = kit.payload.records(answer, kit.payload.json(answer), "$", ())
    start, end = (kit.frames.times(rows, key, kit.frames.instant) for key in ("StartDate", "EndDate"))
    for index in (end < start).nonzero()[0]:
        raise PayloadError(rows.at(int(index), "EndDate"), "the billing cycle ends before it starts")
    return kit.frames.billing_periods(answer, start, end)


def explain(answer: Answer) -> str:
    """Errors are {OperationId, Error, Reason, Resolution}, all nullable; a 401 has no body; proxies answer HTML."""
    if answer.status == 401 and not answer.body.strip():
        return "the access token was not accepted; check that the client belongs to this tenant and base_url"
    operation = answer.headers.get("operation-id")
    try:
        body = kit.payload.obj(kit.payload.json(answer), "$")
        parts = (body.get(key) for key in ("Error", "Reason", "Resolution"))
        said = ". ".join(part.strip().rstrip(".")[:300] for part in parts if isinstance(part, str) and part.strip())
        operation = body.get("OperationId") or operation
    except PayloadError:
        said = answer.body[:200].decode(errors="replace")
    if answer.status == 403:
        said += " (the client needs the role Tenant Member; for billing cycles perhaps Account Administrator)"
    if operation:
        said += f" (operation {operation})"
    return " ".join(said.split())


def auth(account: Account, secrets: Mapping[str, str], clock: Clock) -> httpx.Auth:
    """OAuth2 client credentials, without a scope."""
    discovery = f"{account.base_url.rstrip('/')}/identity/.well-known/openid-configuration"
    return kit.auth.ClientCredentials(discovery, secrets["client_id"], secrets["client_secret"], clock)


def _daily_endpoint(
    slug: str, title: str, requests: Callable[[Account, Days], Iterator[Request]], dimensions: Mapping[str, str]
) -> Endpoint:
    return Endpoint(
        slug=slug,
        title=title,
        history=History.WINDOW,
        documentation=DOCUMENTATION,
        metrics=tuple(DAILY.values()),
        requests=requests,
        normalise=partial(usage, dimensions=dimensions),
        settles=timedelta(days=7),
        max_days=MOST_DAYS,
    )


AVEVA = Vendor(
    slug="aveva",
    title="AVEVA Data Hub",
    options=AvevaOptions,
    credentials=(frozenset({"client_id", "client_secret"}),),
    auth=auth,
    explain=explain,
    base_url=US_WEST,
    endpoints=(
        _daily_endpoint("tenant_usage", "Tenant usage", tenant_requests, {}),
        _daily_endpoint("namespace_usage", "Namespace usage", namespace_requests, {"namespace": "NamespaceId"}),
        Endpoint(
            slug="resource_usage",
            title="Tenant resource usage",
            history=History.SNAPSHOT,
            documentation=DOCUMENTATION,
            metrics=tuple(RESOURCES.values()),
            requests=resource_requests,
            normalise=resource_usage,
        ),
        Endpoint(
            slug="billing_cycles",
            title="Tenant billing cycles",
            history=History.WINDOW,
            documentation=DOCUMENTATION,
            metrics=(),
            requests=cycle_requests,
            normalise=billing_cycles,
        ),
    ),
)
