"""AVEVA Data Hub (once OSIsoft Cloud Services, now CONNECT data services): daily events and streams, and resources.

Read from the reference page "Usage" in its shape before and since 2022-08, its history and the official samples
(2026-11). A day is 00:00 to 24:00 UTC. Whether past days are revised is not documented, so a day counts as settled
after a week. Odd: the same schema tells billing cycles, one summary or days, depending on which dates are sent (both
are always sent); whether `end` is inclusive is not told; streams accessed are distinct within a day, so neither days,
namespaces nor ingress and egress add up. `groupBy=All` is the union of two groupings that overlap, and is never asked
for. `groupBy` of a community takes other values than that of a tenant, and `source` has no default that works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field

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
    import pandas as pd

    from usage_pipeline.kit.frames import Instants
    from usage_pipeline.kit.payload import Records

DOCUMENTATION = (
    "https://docs.aveva.com/bundle/connect-data-services-developer/page/api-reference/operations/operations-usage.html"
)
US_WEST = "https://uswe.datahub.connect.aveva.com"
# How many days one request may span is not documented: a quarter is modest, and at most 92 rows a namespace.
MOST_DAYS = 92
Text = Annotated[str, Field(min_length=1)]
Requests = Callable[[Account, Days], Iterator[Request]]


class AvevaOptions(Options):
    """`tenant_id` stands in every address. The `split_` options decide what a series is: they are not for switching.

    `groupByNamespace` is told by the pages of all years, though deprecated since 2022-08; `groupBy` only by the later.
    """

    tenant_id: str = Field(min_length=1, description="The tenant's id, a GUID")
    namespaces: list[Text] = Field(
        default_factory=list, description="Ids of the namespaces to read; without any, all are read"
    )
    communities: list[Text] = Field(
        default_factory=list, description="Ids of the communities that community_usage asks for"
    )
    community_sources: list[Literal["Internal", "External"]] = Field(
        default=["Internal", "External"],
        min_length=1,
        description="Whose usage community_usage asks for: the tenant's own, that of others of its data, or both",
    )
    group_by_form: Literal["groupByNamespace", "groupBy"] = Field(
        default="groupByNamespace",
        description="Parameter that groups by namespace: the older one, which every version takes, or its successor",
    )
    split_regions: bool = Field(
        default=False, description="Split namespace_usage by cluster_region too, for namespaces in several regions"
    )
    split_tenants: bool = Field(
        default=False, description="Split what communities use by caller_tenant and callee_tenant too"
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
REGION = {"cluster_region": "ClusterRegion"}
TENANTS = {"caller_tenant": "CallerTenantId", "callee_tenant": "CalleeTenantId"}
NOBODY = "00000000-0000-0000-0000-000000000000"
# Ids and names whose case differs from place to place: `WestUS` and `westus`.
FOLDED = (*REGION.values(), *TENANTS.values(), "CommunityId")

BY_NAMESPACE = {"namespace": "NamespaceId"}
BY_COMMUNITY = {"community": "CommunityId"}
# `Source` is not in the answer: it is what was asked for.
IN_COMMUNITY = BY_COMMUNITY | {"source": "Source"}
# What says whose a row is.
IDS = ("TenantId", *TENANTS.values(), "NamespaceId", "CommunityId")
# What the rows of one day and series can differ in, and the option that makes each a series of its own.
PARTS = {
    "ClusterRegion": (BY_NAMESPACE, "split_regions"),
    "CallerTenantId": (BY_COMMUNITY, "split_tenants"),
    "CalleeTenantId": (BY_COMMUNITY, "split_tenants"),
}


def _tenant(account: Account) -> str:
    return f"/tenants/{quote(account.options['tenant_id'], safe='')}"


def _dates(days: Days) -> tuple[tuple[str, str], ...]:
    """Both dates, always; the last day is asked for in full whether `end` is inclusive or not."""
    return ("start", f"{days.start:%Y-%m-%dT%H:%M:%SZ}"), ("end", f"{days.end:%Y-%m-%dT%H:%M:%SZ}")


def tenant_requests(account: Account, days: Days) -> Iterator[Request]:
    """One request, ungrouped: the default of both forms."""
    group_by = (("groupBy", "None"),) if account.options["group_by_form"] == "groupBy" else ()
    yield Request(f"/api/v1{_tenant(account)}/usage", (*_dates(days), *group_by))


def namespace_requests(account: Account, days: Days) -> Iterator[Request]:
    """One request a configured namespace, else one for all; `groupBy` always asks for all.

    Pages since 2022-08 no longer show a namespace's own address.
    """
    if account.options["group_by_form"] == "groupBy":
        yield Request(f"/api/v1{_tenant(account)}/usage", (*_dates(days), ("groupBy", "Namespace")))
        return
    for namespace in dict.fromkeys(account.options["namespaces"]):
        path = f"/api/v1{_tenant(account)}/namespaces/{quote(namespace, safe='')}/usage"
        yield Request(path, _dates(days), part=namespace)
    if not account.options["namespaces"]:
        yield Request(f"/api/v1{_tenant(account)}/usage", (*_dates(days), ("groupByNamespace", "true")))


def tenant_community_requests(account: Account, days: Days) -> Iterator[Request]:
    """One request for all communities of the tenant."""
    yield Request(f"/api/v1{_tenant(account)}/usage", (*_dates(days), ("groupBy", "Community")))


def community_requests(account: Account, days: Days) -> Iterator[Request]:
    """One request a community and source. Ungrouped is the default; without a source there is no answer."""
    group_by = (("groupBy", "Tenant"),) if account.options["split_tenants"] else ()
    for community in dict.fromkeys(account.options["communities"]):
        path = f"/api/v1/communities/{quote(community, safe='')}{_tenant(account)}/usage"
        for source in dict.fromkeys(account.options["community_sources"]):
            yield Request(path, (*_dates(days), *group_by, ("source", source)), part=community)


def resource_requests(account: Account, _days: Days) -> Iterator[Request]:
    yield Request(f"/api/v1{_tenant(account)}/resources/usage")


def cycle_requests(account: Account, _days: Days) -> Iterator[Request]:
    """One request whatever the days: the cycles that have elapsed, at most 12 months back."""
    yield Request(f"/api/v1{_tenant(account)}/subscriptionterm/billingcycles")


def usage(landing: Landing, by: Mapping[str, str]) -> Normalised:
    """One row a day and field, and a namespace or community where that is a dimension.

    Without dimensions a row of a namespace or community is refused: it would stand as the tenant's total.
    """
    return Normalised(usage=tuple(block for answer in landing.answers for block in _daily(landing, answer, by)))


def _daily(landing: Landing, answer: Answer, by: Mapping[str, str]) -> Iterator[Block]:
    rows = kit.payload.records(answer, kit.payload.json(answer), "$", FIELDS)
    there = set().union(*rows.items)
    for index in rows.firsts(sorted(there.intersection(IDS))):
        _refuse_others(rows, index, rows.items[index], landing.options["tenant_id"], by)
    rows = replace(rows, ours=_folded(rows, by, there))
    dimensions, labels = _split(landing.options, by)
    instants = kit.frames.times(rows, "Date", kit.frames.instant)
    start = instants.astype("datetime64[D]").astype("datetime64[us]")
    # An inclusive `end` brings the day after the last; it is another load's, and is left out.
    beyond = start == kit.frames.utc64([landing.days.end])
    kit.frames.within(landing.days, rows, "Date", start - beyond * kit.frames.ONE_DAY)
    _refuse_parts(rows, start, by, dimensions)
    kept = ~beyond
    if by == BY_NAMESPACE and (wanted := landing.options["namespaces"]):
        named = {name.lower() for name in wanted}
        kept &= [str(namespace).lower() in named for namespace in rows.column("NamespaceId")]
    for block in kit.frames.blocks(
        rows, DAILY, start=start, end=start + kit.frames.ONE_DAY, dimensions=dimensions, labels=labels
    ):
        yield replace(
            block,
            values=block.values.filter(kept),
            series=block.series[kept],
            start=block.start[kept],
            end=block.end[kept],
        )


def _split(options: Mapping[str, Any], by: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Dimensions and labels. Answers that were kept before an option came to be do without it.

    Callers and callees are no labels: an ungrouped row may stand for several.
    """
    if not by:
        return {}, {}
    regions = REGION if by == BY_NAMESPACE and options.get("split_regions") else {}
    tenants = TENANTS if "community" in by and options.get("split_tenants") else {}
    return {**by, **regions, **tenants}, {} if regions else REGION


def _splits(by: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of all dimensions and labels that options can make of rows."""
    cases = [_split({"split_regions": split, "split_tenants": split}, by) for split in (False, True)]
    dimensions, labels = (tuple(dict.fromkeys(chain.from_iterable(names))) for names in zip(*cases, strict=True))
    return dimensions, labels


def _refuse_others(rows: Records, index: int, item: Mapping[str, Any], ours: str, by: Mapping[str, str]) -> None:
    """Refuse rows of other tenants, namespaces and communities than those that were asked for."""
    tenants = {key: item[key] for key in ("TenantId", *TENANTS.values()) if item.get(key) not in (None, NOBODY)}
    # In a community it is not told whose id `TenantId` is. Since 2022-08 it may be null.
    if "source" not in by and "TenantId" in tenants:
        tenants = {"TenantId": tenants["TenantId"]}
    if tenants and ours.lower() not in {str(tenant).lower() for tenant in tenants.values()}:
        key, tenant = next(iter(tenants.items()))
        raise PayloadError(rows.at(index, key), f"{tenant!r} is not the tenant that was asked for")
    part = rows.answer.request.part
    for key, asked in (("NamespaceId", by == BY_NAMESPACE), ("CommunityId", "community" in by)):
        found = item.get(key)
        if found is not None and not (asked and part.lower() in {"", str(found).lower()}):
            raise PayloadError(rows.at(index, key), f"{found!r} was not asked for")


def _folded(rows: Records, by: Mapping[str, str], there: set[str]) -> dict[str, list[Any]]:
    """Ids in one spelling. A community's own answer need not repeat which community it is of."""
    told = {
        key: [value.lower() if isinstance(value, str) else value for value in rows.column(key)]
        for key in there.intersection(FOLDED)
    }
    if "source" in by:
        request = rows.answer.request
        asked = request.part.lower()
        nobody = [None] * len(rows.items)
        told["CommunityId"] = [asked if value is None else value for value in told.get("CommunityId", nobody)]
        told["Source"] = [dict(request.params)["source"].lower()] * len(rows.items)
    return told


def _refuse_parts(rows: Records, start: Instants, by: Mapping[str, str], split: Mapping[str, str]) -> None:
    """Refuse a series whose day comes in parts. Whether it does must not decide, answer by answer, what a series is."""
    series = list(zip(start.astype(int).tolist(), *(map(str, rows.column(key)) for key in split.values()), strict=True))
    if len(set(series)) == len(series):
        return
    days = start.tolist()
    parts = {key: rows.column(key) for key in PARTS}
    seen: dict[tuple[Any, ...], int] = {}
    for index, one in enumerate(series):
        other = seen.setdefault(one, index)
        for key, (splits, option) in PARTS.items():
            if parts[key][index] != parts[key][other]:
                hint = f"set options: {option}: true" if splits.items() <= by.items() else "no option tells them apart"
                told = f"{parts[key][index]}, {parts[key][other]}"
                raise PayloadError(rows.at(index, key), f"{days[index]:%Y-%m-%d} is told twice: {told}; {hint}")


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


def check(account: Account) -> None:
    if "community_usage" in account.endpoints and not account.options["communities"]:
        raise ValueError("community_usage needs communities, the ids of those to ask for")


def _daily_endpoint(
    slug: str,
    title: str,
    requests: Requests,
    by: Mapping[str, str],
    *,
    default: bool = True,
    permission: str = "role Tenant Member",
    agreements: tuple[Agreement, ...] = (),
) -> Endpoint:
    dimensions, labels = _splits(by)
    return Endpoint(
        slug=slug,
        title=title,
        history=History.WINDOW,
        documentation=DOCUMENTATION,
        metrics=tuple(DAILY.values()),
        requests=requests,
        normalise=partial(usage, by=by),
        settles=timedelta(days=7),
        max_days=MOST_DAYS,
        default=default,
        permission=permission,
        dimensions=dimensions,
        labels=labels,
        agreements=agreements,
    )


AVEVA = Vendor(
    slug="aveva",
    title="AVEVA Data Hub",
    provider="AVEVA",
    service=("Internet of Things", "IoT Platforms"),
    options=AvevaOptions,
    credentials=(frozenset({"client_id", "client_secret"}),),
    auth=auth,
    explain=explain,
    check=check,
    base_url=US_WEST,
    endpoints=(
        _daily_endpoint("tenant_usage", "Tenant usage", tenant_requests, {}),
        _daily_endpoint(
            "namespace_usage",
            "Namespace usage",
            namespace_requests,
            BY_NAMESPACE,
            # Without grouping the same events are told of the tenant. Streams are distinct, and do not add up.
            agreements=tuple(
                Agreement(metric.name, endpoint="tenant_usage", unless="namespaces")
                for metric in DAILY.values()
                if metric.aggregation is Aggregation.SUM
            ),
        ),
        _daily_endpoint(
            "tenant_community_usage",
            "Tenant usage by community",
            tenant_community_requests,
            BY_COMMUNITY,
            default=False,
        ),
        _daily_endpoint(
            "community_usage",
            "Community usage",
            community_requests,
            IN_COMMUNITY,
            default=False,
            permission="not documented; the tenant is a member of the community",
        ),
        Endpoint(
            slug="resource_usage",
            title="Tenant resource usage",
            history=History.SNAPSHOT,
            documentation=DOCUMENTATION,
            metrics=tuple(RESOURCES.values()),
            requests=resource_requests,
            normalise=resource_usage,
            permission="role Tenant Member",
        ),
        Endpoint(
            slug="billing_cycles",
            title="Tenant billing cycles",
            history=History.WINDOW,
            documentation=DOCUMENTATION,
            metrics=(),
            requests=cycle_requests,
            normalise=billing_cycles,
            permission="role Account Administrator in 2020; the current one is not documented",
        ),
    ),
)
