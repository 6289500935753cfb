"""The facts of every vendor once more, copied by hand from its pages: a slip in a table would be a wrong row."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest

from usage_pipeline.contract.answer import Answer, Request
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account, Agreement, Endpoint
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests.conftest import TurnableClock

DAY = Days(date(2026, 3, 4), date(2026, 3, 4))
# The first and the last tick of 4 March 2026 UTC, in seconds: 20,516 days after 1970, of 86,400 s.
FIRST, LAST = 1_772_582_400, 1_772_668_799

SUM, DISTINCT, MAX, LATEST = "sum delta", "distinct delta", "max cumulative", "last instant"
COUNTED = [SUM, "sum cumulative"]
TRAILED = [*COUNTED, "sum rolling"]
ACTIVE = ["distinct cumulative", DISTINCT, "distinct rolling"]
PLACE = ["project", "environment"]
SIDE = [*PLACE, "sdk_name", "sdk_app", "anonymous"]
ALL = [*PLACE, "sdk_name", "sdk_type", "sdk_app", "anonymous"]
PLACES = ["project_key", "project_name", "environment_key", "environment_name"]
DESTINATION = ["destination_name", "destination_viewable", "destination_kind"]
MONTH, TRAIL, BOTH = "month_to_date", "rolling_30d", "month_to_date rolling_30d"

# Path after /api/v2/usage/, unit, how it is told, dimensions, labels, what is asked for, ticks a second.
LAUNCHDARKLY: dict[str, tuple[str, str, list[str], list[str], list[str], str, int]] = {
    "service_connections": (
        "service-connections", "Minutes", [*COUNTED, "sum cumulative projected"],
        [*PLACE, "connection_type", "relay_version", "sdk_name", "sdk_version", "sdk_app"], PLACES,
        "incremental month_to_date", 1000,
    ),
    "total_mau": ("total-mau", "Contexts", ACTIVE, ALL, PLACES, BOTH, 1000),
    "clientside_mau": ("clientside-mau", "Contexts", ACTIVE, SIDE, PLACES, BOTH, 1000),
    "total_contexts": ("total-contexts", "Contexts", ACTIVE, [*ALL, "context_kind"], PLACES, BOTH, 1000),
    "clientside_contexts": ("clientside-contexts", "Contexts", ACTIVE, [*SIDE, "context_kind"], PLACES, BOTH, 1000),
    "serverside_contexts": ("serverside-contexts", "Contexts", ACTIVE, [*SIDE, "context_kind"], PLACES, BOTH, 1),
    "experimentation_events": (
        "experimentation-events", "Events", COUNTED, ["environment", "event_key", "event_kind"], PLACES[2:],
        "incremental", 1000,
    ),
    "experimentation_keys": (
        "experimentation-keys", "Contexts", ACTIVE[:2], [*PLACE, "experiment"], PLACES, MONTH, 1000,
    ),
    "data_export_events": (
        "data-export-events", "Events", COUNTED, [*PLACE, "event_kind", "destination_kind", "destination"],
        [*PLACES, *DESTINATION], "incremental", 1000,
    ),
    "warehouse_export": (
        "warehouse-export", "Rows", COUNTED, [*PLACE, "destination_kind", "destination"], [*PLACES, *DESTINATION],
        "incremental", 1000,
    ),
    "ai_runs": (
        "ai-runs", "Runs", COUNTED, [*PLACE, "sdk_name", "sdk_version", "sdk_type"], PLACES, "incremental", 1000,
    ),
    "vega_ai": ("vega-ai", "Uses", TRAILED, [], [], "incremental", 1),
    "observability_errors": ("observability/errors", "Errors", TRAILED, [], [], "incremental", 1),
    "observability_logs": ("observability/logs", "Logs", TRAILED, [], [], "incremental", 1),
    "observability_sessions": ("observability/sessions", "Sessions", TRAILED, [], [], "incremental", 1),
    "observability_traces": ("observability/traces", "Traces", TRAILED, [], [], "incremental", 1),
    "observability_metrics": (
        "observability/metrics", "Metrics", ["sum cumulative", "average delta"], [], [], "month_to_date average", 1,
    ),
    "evaluations": (
        "evaluations/web/production/checkout", "Evaluations", [SUM],
        ["project_key", "environment_key", "flag", "variation"], [], "", 1000,
    ),
    "events": ("events/received events/published", "Events", [SUM], [], [], "", 1000),
    "streams": ("streams/client streams/server", "Connections", [DISTINCT], ["source"], [], "", 1000),
    "streams_by_sdk_version": (
        "streams/client/bysdkversion streams/server/bysdkversion", "Connections", [DISTINCT],
        ["source", "sdk_name", "sdk_version"], [], "", 1000,
    ),
    "mau": (
        "mau", "Users", ACTIVE, [*PLACE, "sdk_type", "sdk_name", "anonymous", "sdk_app"], [], BOTH, 1000,
    ),
    "mau_by_category": ("mau/bycategory", "Users", ["distinct rolling"], ["category"], [], "", 1000),
}  # fmt: skip
REVISED = {"total_mau", "clientside_mau", "total_contexts", "clientside_contexts", "serverside_contexts",
           "experimentation_keys", "mau", "mau_by_category"}  # fmt: skip
FLAG = {"project": "web", "environment": "production", "flag": "checkout"}


def account(vendor: str, **options: Any) -> Account:
    complete = VENDORS[vendor].options(**options).model_dump()
    return Account("main", vendor, "https://vendor.example", date(2026, 1, 1), options=complete)


def told(endpoint: Endpoint) -> list[str]:
    """How each metric is told; the role where it is not consumed."""
    return [
        f"{metric.aggregation} {metric.temporality}" + f" {metric.role}" * (metric.role != "consumed")
        for metric in endpoint.metrics
    ]


@pytest.mark.parametrize("slug", LAUNCHDARKLY)
def test_launchdarkly_s_series_are_as_documented(slug: str) -> None:
    paths, unit, ways, dimensions, labels, asked, ticks = LAUNCHDARKLY[slug]
    endpoint = VENDORS["launchdarkly"].endpoint(slug)
    assert {metric.unit for metric in endpoint.metrics} == {unit}
    names = ["events_received", "events_published"] if slug == "events" else [slug]
    assert [metric.name for metric in endpoint.metrics] == [name for name in names for _ in ways]
    assert told(endpoint) == ways * len(names)
    assert sorted(endpoint.dimensions) == sorted(dimensions)
    assert sorted(endpoint.labels) == sorted(labels)
    requests = list(endpoint.requests(account("launchdarkly", flags=[FLAG]), DAY))
    assert [request.path.removeprefix("/api/v2/usage/") for request in requests] == [
        path for path in paths.split() for _ in asked.split() or [""]
    ]
    for request in requests:
        said = dict(request.params)
        lead = 2 * 86_400 if slug in {"evaluations", "events", "streams", "streams_by_sdk_version"} else 0
        assert (int(said["from"]), int(said["to"])) == ((FIRST - lead) * ticks, LAST * ticks + ticks - 1)
        assert dict(request.headers) == {"LD-API-Version": "beta"}
    ours = {"daily_incremental": "incremental"} if slug == "mau" else {}
    types = [dict(request.params).get("aggregationType", "") for request in requests]
    assert [ours.get(name, name) for name in types] == (asked.split() or [""] * len(requests))
    assert endpoint.settles == timedelta(days=33 if slug in REVISED else 2)
    assert endpoint.agreements == ((Agreement(slug),) if slug == "service_connections" else ())
    assert (endpoint.max_days, endpoint.history.value) == (365, "window")


def test_launchdarkly_s_lists_are_as_documented() -> None:
    asked = {
        slug: [
            f"{request.path.removeprefix('/api/v2/usage/')}?{httpx.QueryParams(dict(request.params))}"
            for request in VENDORS["launchdarkly"].endpoint(slug).requests(account("launchdarkly"), DAY)
        ]
        for slug in ("mau_sdks", "sdk_versions_all", "sdk_versions_details", "streams_sdk_versions")
    }
    # Seven days up to the present one: from 26 February on.
    window = f"from={(FIRST - 6 * 86_400) * 1000}&to={LAST * 1000 + 999}"
    assert asked == {
        "mau_sdks": [f"mau/sdks?{window}&sdktype=client", f"mau/sdks?{window}&sdktype=server"],
        "sdk_versions_all": ["sdk-versions/all?"],
        "sdk_versions_details": ["sdk-versions/details?"],
        "streams_sdk_versions": ["streams/client/sdkversions?", "streams/server/sdkversions?"],
    }


EVENTS_AND_STREAMS = [
    "ingress_events Events sum delta", "egress_events Events sum delta",
    "ingress_streams_accessed Streams distinct delta", "egress_streams_accessed Streams distinct delta",
]  # fmt: skip
METRICS = {
    "consul operator_usage": [
        "services Services last instant", "service_instances Instances last instant",
        "billable_service_instances Instances last instant", "connect_service_instances Instances last instant",
        "nodes Nodes last instant",
    ],
    **{
        f"aveva {slug}": EVENTS_AND_STREAMS
        for slug in ("tenant_usage", "namespace_usage", "tenant_community_usage", "community_usage")
    },
    "aveva resource_usage": [
        "streams Streams last instant", "streams Streams last instant entitled", "namespaces Namespaces last instant",
        "namespaces Namespaces last instant entitled", "streams_accessed Streams average instant entitled",
    ],
    "thousandeyes usage": [
        "cloud_units Cloud Units sum cumulative", "enterprise_units Enterprise Units sum cumulative",
        "connected_devices_units Connected Devices Units sum cumulative", "endpoint_agents Agents max cumulative",
        "endpoint_agents_essentials Agents max cumulative", "endpoint_agents_embedded Agents max cumulative",
        "enterprise_agents Agents max cumulative", "cloud_units Cloud Units sum cumulative projected",
        "enterprise_units Enterprise Units sum cumulative projected",
        "connected_devices_units Connected Devices Units sum cumulative projected",
        "cloud_units Cloud Units sum cumulative entitled", "endpoint_agents Agents max cumulative entitled",
        "endpoint_agents_essentials Agents max cumulative entitled",
        "endpoint_agents_embedded Agents max cumulative entitled", "enterprise_agents Agents max cumulative entitled",
        "device_agents Agents max cumulative entitled",
    ],
    "thousandeyes units_tests": ["cloud_units Cloud Units sum delta", "enterprise_units Enterprise Units sum delta"],
    "thousandeyes units_enterprise_agents": ["enterprise_units Enterprise Units sum delta"],
    "thousandeyes quotas": ["test_units Units last instant entitled"],
    "launchdarkly data_export_projects": ["data_export_project_events Events sum delta"],
    "puppet usage": [
        "nodes Nodes distinct delta", "nodes_with_agent Nodes last delta", "nodes_without_agent Nodes distinct delta",
        "corrective_agent_changes Changes sum delta", "intentional_agent_changes Changes sum delta",
        "task_runs_by_node Runs sum delta", "plan_runs_by_node Runs sum delta",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
def test_metrics_are_as_documented(name: str) -> None:
    vendor, slug = name.split()
    endpoint = VENDORS[vendor].endpoint(slug)
    found = [f"{metric.name} {metric.unit} {way}" for metric, way in zip(endpoint.metrics, told(endpoint), strict=True)]
    assert found == METRICS[name]


def test_what_adds_up_is_what_the_vendors_say() -> None:
    found = {
        f"{vendor.slug} {endpoint.slug}": endpoint.agreements
        for vendor in VENDORS.values()
        for endpoint in vendor.endpoints
        if endpoint.agreements
    }
    assert found == {
        "consul operator_usage": (
            Agreement("service_instances", by=("datacenter",)),
            Agreement("billable_service_instances", by=("datacenter",)),
            Agreement("connect_service_instances", by=("datacenter", "kind")),
        ),
        "aveva namespace_usage": (
            Agreement("ingress_events", endpoint="tenant_usage", unless="namespaces"),
            Agreement("egress_events", endpoint="tenant_usage", unless="namespaces"),
        ),
        "launchdarkly service_connections": (Agreement("service_connections"),),
        "puppet usage": (Agreement("nodes", ("nodes_with_agent", "nodes_without_agent")),),
    }


def test_consul_s_keys_that_are_data_are_known() -> None:
    counts = ("Services", "ServiceInstances", "BillableServiceInstances", "ConnectServiceInstances")
    nested = {f"PartitionNamespace{name}": 2 for name in counts}
    assert VENDORS["consul"].endpoint("operator_usage").keyed == {"Usage": 1, **nested}


def test_which_secrets_and_limits_a_vendor_has() -> None:
    facts = {
        vendor.slug: (vendor.base_url, {*map(frozenset, vendor.credentials)}, vendor.redacts, vendor.rate)
        for vendor in VENDORS.values()
    }
    client = frozenset({"client_id", "client_secret"})
    both = {frozenset({"email", "token"}), frozenset({"bearer_token"})}
    keys = ("apiKey", "mobileKey")
    token = frozenset({"token"})
    assert facts == {
        "consul": (None, {frozenset(), token}, (), None),
        "aveva": ("https://uswe.datahub.connect.aveva.com", {client}, (), None),
        "thousandeyes": ("https://api.thousandeyes.com", both, (), (240, 60)),
        "launchdarkly": ("https://app.launchdarkly.com", {frozenset({"access_token"})}, keys, None),
        "puppet": (None, {token}, (), None),
    }
    assert VENDORS["thousandeyes"].reset_headers == {"x-organization-rate-limit-reset": 1}
    assert VENDORS["launchdarkly"].reset_headers == {"x-ratelimit-reset": 1000, "x-ratelimit-auth-token-reset": 1000}


@pytest.mark.parametrize(
    ("vendor", "secret", "header", "value"),
    [
        ("consul", "token", "x-consul-token", "abc"),
        ("thousandeyes", "bearer_token", "authorization", "Bearer abc"),
        ("launchdarkly", "access_token", "authorization", "abc"),
        ("puppet", "token", "x-authentication", "abc"),
    ],
)
def test_secrets_go_into_one_header(vendor: str, secret: str, header: str, value: str) -> None:
    auth = VENDORS[vendor].auth(account(vendor), {secret: "abc"}, TurnableClock())
    assert auth is not None
    sent = next(auth.auth_flow(httpx.Request("GET", "https://vendor.example/")))
    assert sent.headers[header] == value


@pytest.mark.parametrize("vendor", ["consul", "aveva", "thousandeyes", "launchdarkly", "puppet"])
@pytest.mark.parametrize("body", [b"gateway \xff\xfe timeout" + b"." * 1_000, b"[]", b'"gateway"', b"null", b"{}"])
def test_errors_that_are_not_the_vendor_s_own_are_repeated_in_short(vendor: str, body: bytes) -> None:
    answer = Answer(Request("/v6/usage"), "https://vendor.example/", 502, {}, body, datetime(2026, 3, 4, tzinfo=UTC))
    said = VENDORS[vendor].explain(answer)
    assert len(said) <= 200
    if body.startswith(b"gateway"):
        assert said == "gateway \ufffd\ufffd timeout" + "." * (200 - 18)


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "SDK key"), (403, "LD-API-Version"), (404, None), (409, None), (429, None)]
)
def test_launchdarkly_s_hints_belong_to_their_status(status: int, hint: str | None) -> None:
    body = b'{"code": "no", "message": "not today"}'
    answer = Answer(Request("/x"), "https://vendor.example/", status, {}, body, datetime(2026, 3, 4, tzinfo=UTC))
    said = VENDORS["launchdarkly"].explain(answer)
    assert said.startswith("no: not today. " if hint else "no: not today")
    assert hint in said if hint else said == "no: not today"
    if status == 409:
        gone = Answer(
            Request("/x"), "https://v.example/", 409, {}, body.replace(b"no", b"project_identity"), answer.fetched_at
        )
        assert "take projectId out of group_by" in VENDORS["launchdarkly"].explain(gone)
