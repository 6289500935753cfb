"""The sandbox's Data Hub behaves as documented, and what is loaded from it is what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from usage_pipeline.contract.answer import Landing
from usage_pipeline.contract.errors import CredentialsError, RequestError
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.kit.http import Client
from usage_pipeline.sandbox.aveva import CLIENT_ID, CLIENT_SECRET, COMMUNITIES, TENANT, routes
from usage_pipeline.sandbox.world import World
from usage_pipeline.stages.normalise import usage
from usage_pipeline.vendors.aveva import AVEVA, AvevaOptions
from usage_pipeline_tests.conftest import NOW, TurnableClock

USAGE = f"/api/v1/tenants/{TENANT}/usage"
WATER, ENERGY = COMMUNITIES
COMMUNITY = f"/api/v1/communities/{WATER}/tenants/{TENANT}/usage"
GRANT = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
WEEK = Days(date(2026, 3, 2), date(2026, 3, 8))
FIELDS = {
    "ingress_events": "IngressEvents",
    "egress_events": "EgressEvents",
    "ingress_streams_accessed": "IngressStreamsAccessed",
    "egress_streams_accessed": "EgressStreamsAccessed",
}
Json = dict[str, Any]


@pytest.fixture
def address(serve: Callable[[Any], str], clock: TurnableClock) -> str:
    return serve(Starlette(routes=[Mount("/aveva", routes=routes(World(clock)))])) + "/aveva"


@pytest.fixture
def hub(address: str) -> Iterator[httpx.Client]:
    """A client with a token, got the way that the documentation tells."""
    with httpx.Client(base_url=address) as client:
        found = client.get("/identity/.well-known/openid-configuration").json()["token_endpoint"]
        client.headers["Authorization"] = f"Bearer {client.post(found, data=GRANT).json()['access_token']}"
        yield client


def told(hub: httpx.Client, path: str = USAGE, **params: str) -> list[Json]:
    found = hub.get(path, params=params)
    assert found.status_code == 200, found.text
    body: list[Json] = found.json()
    return body


def daily(hub: httpx.Client, first: str, last: str, path: str = USAGE, **params: str) -> list[Json]:
    return told(hub, path, start=f"{first}T00:00:00Z", end=f"{last}T00:00:00Z", **params)


def account(address: str, **options: Any) -> Account:
    given = AvevaOptions(**({"tenant_id": TENANT} | options)).model_dump()
    return Account("acme", "aveva", address, date(2026, 1, 1), options=given)


def landing(
    address: str, clock: TurnableClock, endpoint: str, days: Days = WEEK, secret: str = CLIENT_SECRET, **options: Any
) -> Landing:
    asker = account(address, **options)
    with Client(
        address,
        auth=AVEVA.auth(asker, {"client_id": CLIENT_ID, "client_secret": secret}, clock),
        explain=AVEVA.explain,
        clock=clock,
        sleep=lambda _seconds: None,
    ) as client:
        answers = tuple(client.ask(request) for request in AVEVA.endpoint(endpoint).requests(asker, days))
    return Landing("aveva", "acme", endpoint, days, answers, clock(), asker.options)


def rows(found: Landing) -> list[Json]:
    endpoint = AVEVA.endpoint(found.endpoint)
    read: list[Json] = usage(endpoint, found, endpoint.normalise(found)).to_pylist()
    return read


def test_discovery_and_token_are_as_documented(address: str) -> None:
    found = httpx.get(f"{address}/identity/.well-known/openid-configuration").json()
    assert found["token_endpoint"] == f"{address}/identity/connect/token"
    granted = httpx.post(found["token_endpoint"], data=GRANT)
    assert granted.status_code == 200
    assert granted.json().keys() == {"access_token", "expires_in", "token_type"}
    assert (granted.json()["expires_in"], granted.json()["token_type"]) == (3600, "Bearer")


@pytest.mark.parametrize(
    ("form", "error"),
    [
        (GRANT | {"client_secret": "wrong"}, "invalid_client"),
        (GRANT | {"client_id": "wrong"}, "invalid_client"),
        ({"grant_type": "client_credentials"}, "invalid_client"),
        (GRANT | {"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
def test_a_wrong_grant_is_told_the_oauth_way(address: str, form: dict[str, str], error: str) -> None:
    answer = httpx.post(f"{address}/identity/connect/token", data=form)
    assert (answer.status_code, answer.json()) == (400, {"error": error})


def test_a_grant_is_a_form(address: str) -> None:
    answer = httpx.post(f"{address}/identity/connect/token", json=GRANT)
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer made-up"}, {"Authorization": "Basic abc"}])
@pytest.mark.parametrize(
    "path", ["usage", "namespaces/quality-lab/usage", "resources/usage", "subscriptionterm/billingcycles"]
)
def test_without_a_token_there_is_an_empty_401(address: str, header: dict[str, str], path: str) -> None:
    answer = httpx.get(f"{address}/api/v1/tenants/{TENANT}/{path}", headers=header)
    assert (answer.status_code, answer.content) == (401, b"")


def test_a_token_lives_for_an_hour(hub: httpx.Client, clock: TurnableClock) -> None:
    clock.advance(seconds=3599)
    assert hub.get(USAGE).status_code == 200
    clock.advance(seconds=1)
    assert hub.get(USAGE).status_code == 401


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        (USAGE, {"start": "yesterday"}, 400),
        (USAGE, {"start": "2026-03-02T00:00:00Z", "end": "later"}, 400),
        (USAGE, {"end": "2026-03-02T00:00:00Z"}, 400),
        (USAGE, {"start": "2026-03-03T00:00:00Z", "end": "2026-03-02T00:00:00Z"}, 400),
        (USAGE, {"start": "0001-01-01T00:00:00+05:00"}, 400),
        (USAGE, {"groupByNamespace": "maybe"}, 400),
        (USAGE, {"groupBy": "Region"}, 400),
        (f"/api/v1/tenants/{TENANT}/namespaces/none/usage", {}, 400),
        (COMMUNITY, {}, 400),
        (COMMUNITY, {"source": "Invalid"}, 400),
        (COMMUNITY, {"source": "0"}, 400),
        (COMMUNITY, {"source": "Internal", "groupBy": "Namespace"}, 400),
        (COMMUNITY, {"source": "Internal", "groupBy": "3"}, 400),
        (f"/api/v1/communities/none/tenants/{TENANT}/usage", {"source": "Internal"}, 403),
        (f"/api/v1/communities/{WATER}/tenants/another/usage", {"source": "Internal"}, 403),
        ("/api/v1/tenants/another/usage", {}, 403),
        ("/api/v1/tenants/another/resources/usage", {}, 403),
        ("/api/v1/tenants/another/subscriptionterm/billingcycles", {}, 403),
    ],
)
def test_what_is_refused_is_told_in_the_documented_shape(
    hub: httpx.Client, path: str, params: dict[str, str], status: int
) -> None:
    answer = hub.get(path, params=params)
    assert answer.status_code == status
    assert answer.json().keys() == {"OperationId", "Error", "Reason", "Resolution"}
    assert answer.headers["operation-id"] == answer.json()["OperationId"]


def test_both_dates_tell_days(hub: httpx.Client) -> None:
    found = daily(hub, "2026-03-02", "2026-03-04")
    assert [row["Date"] for row in found] == [f"2026-03-0{day}T00:00:00Z" for day in (2, 3, 4)]
    for row in found:
        assert (row["TenantId"], row["NamespaceId"], row["ClusterRegion"]) == (TENANT, None, None)
    assert told(hub, start="2026-03-02T00:00:01Z", end="2026-03-03T23:00:00Z") == found[1:2]


def test_start_alone_tells_one_day(hub: httpx.Client) -> None:
    assert told(hub, start="2026-03-02T00:00:00Z") == daily(hub, "2026-03-02", "2026-03-02")
    assert len(told(hub, start="2026-03-02T00:00:00Z", groupByNamespace="true")) == 3


def test_without_dates_there_is_a_row_for_each_billing_cycle(hub: httpx.Client) -> None:
    """NOW is in March 2026: twelve elapsed cycles and the active one."""
    found = told(hub)
    assert [row["Date"] for row in found] == [
        *(f"2025-{month:02}-01T00:00:00Z" for month in range(3, 13)),
        *(f"2026-{month:02}-01T00:00:00Z" for month in (1, 2, 3)),
    ]
    february = daily(hub, "2026-02-01", "2026-02-28")
    assert found[-2]["IngressEvents"] == sum(row["IngressEvents"] for row in february)
    busiest = max(row["IngressStreamsAccessed"] for row in february)
    assert busiest < found[-2]["IngressStreamsAccessed"] < sum(row["IngressStreamsAccessed"] for row in february)
    march = daily(hub, "2026-03-01", "2026-03-18")
    assert found[-1]["EgressEvents"] == sum(row["EgressEvents"] for row in march)


def test_namespaces_stand_in_two_regions(hub: httpx.Client) -> None:
    found = daily(hub, "2026-03-02", "2026-03-02", groupByNamespace="true")
    assert {row["NamespaceId"]: row["ClusterRegion"] for row in found} == {
        "plant-operations": "WestUS",
        "energy-monitoring": "WestUS",
        "quality-lab": "NorthEurope",
    }
    alone = daily(hub, "2026-03-02", "2026-03-02", path=f"/api/v1/tenants/{TENANT}/namespaces/quality-lab/usage")
    assert alone == [row for row in found if row["NamespaceId"] == "quality-lab"]


@pytest.mark.parametrize(
    ("group_by", "rows_a_day"),
    [("None", 1), ("3", 1), ("Namespace", 3), ("0", 3), ("All", 5), ("2", 5), ("Community", 2), ("1", 2)],
)
def test_group_by_has_four_values(hub: httpx.Client, group_by: str, rows_a_day: int) -> None:
    assert len(daily(hub, "2026-03-02", "2026-03-02", groupBy=group_by)) == rows_a_day


def test_events_add_up_over_namespaces_and_streams_do_not(hub: httpx.Client) -> None:
    parts = daily(hub, "2025-01-01", "2026-03-18", groupByNamespace="true")
    for total in daily(hub, "2025-01-01", "2026-03-18"):
        of_day = [row for row in parts if row["Date"] == total["Date"]]
        assert len(of_day) == 3
        for field in ("IngressEvents", "EgressEvents"):
            assert total[field] == sum(row[field] for row in of_day) > 0
        for field in ("IngressStreamsAccessed", "EgressStreamsAccessed"):
            each = [row[field] for row in of_day]
            assert max(each) <= total[field] < sum(each)


def test_history_starts_with_2025_and_ends_today(hub: httpx.Client) -> None:
    found = daily(hub, "2024-12-01", "2026-12-01")
    assert (found[0]["Date"], found[-1]["Date"]) == ("2025-01-01T00:00:00Z", "2026-03-18T00:00:00Z")
    assert len(found) == 365 + 31 + 28 + 18
    assert daily(hub, "2026-03-19", "2026-03-31") == []
    assert daily(hub, "2024-03-19", "2024-03-31") == []


def test_the_same_day_tells_the_same_and_today_grows(hub: httpx.Client, clock: TurnableClock) -> None:
    before, noon = daily(hub, "2026-03-17", "2026-03-18")
    clock.advance(minutes=30)
    after, later = daily(hub, "2026-03-17", "2026-03-18")
    assert before == after
    assert noon["IngressEvents"] < later["IngressEvents"] < after["IngressEvents"] * 1.3


def test_the_tenth_is_restated_when_it_is_three_days_old(hub: httpx.Client, clock: TurnableClock) -> None:
    def tenth() -> Json:
        return daily(hub, "2026-03-10", "2026-03-10")[0]

    def others() -> list[Json]:
        return daily(hub, "2026-03-01", "2026-03-09")

    clock.now = datetime(2026, 3, 12, 23, 59, 59, tzinfo=UTC)
    first, calm = tenth(), others()
    clock.now = datetime(2026, 3, 13, tzinfo=UTC)
    hub.headers["Authorization"] = f"Bearer {hub.post('/identity/connect/token', data=GRANT).json()['access_token']}"
    second = tenth()
    assert second["IngressEvents"] > first["IngressEvents"]
    assert second["EgressEvents"] == first["EgressEvents"]
    assert calm == others()


def test_cycles_are_the_elapsed_months(hub: httpx.Client, clock: TurnableClock) -> None:
    path = f"/api/v1/tenants/{TENANT}/subscriptionterm/billingcycles"
    found = told(hub, path)
    assert len(found) == 12
    assert found[0] == {"StartDate": "2025-03-01T00:00:00Z", "EndDate": "2025-04-01T00:00:00Z"}
    assert found[-1] == {"StartDate": "2026-02-01T00:00:00Z", "EndDate": "2026-03-01T00:00:00Z"}


def test_resources_lie_within_what_is_entitled(hub: httpx.Client) -> None:
    found = hub.get(f"/api/v1/tenants/{TENANT}/resources/usage").json()
    assert found["NamespaceCount"] == 3 < found["EntitledNamespaceCount"]
    assert found["StreamCount"] < found["EntitledStreamCount"]
    days = daily(hub, "2026-02-01", "2026-02-28")
    assert sum(row["IngressStreamsAccessed"] for row in days) / 28 < found["EntitledStreamAccessCount"]
    assert max(row["IngressStreamsAccessed"] for row in days) < found["StreamCount"]


def test_a_year_is_told_at_once(hub: httpx.Client) -> None:
    assert len(daily(hub, "2025-03-01", "2026-02-28", groupByNamespace="true")) == 3 * 365


def test_tenant_rows_are_what_the_hub_says(address: str, hub: httpx.Client, clock: TurnableClock) -> None:
    found = {(row["usage_date"], row["metric"]): row for row in rows(landing(address, clock, "tenant_usage"))}
    said = daily(hub, "2026-03-02", "2026-03-08")
    assert len(found) == 4 * len(said) == 28
    for row in said:
        for metric, field in FIELDS.items():
            assert found[date.fromisoformat(row["Date"][:10]), metric]["value"] == row[field]
    assert {(row["breakdown"], row["is_final"]) for row in found.values()} == {("", True)}


@pytest.mark.parametrize("names", [[], ["plant-operations", "energy-monitoring", "quality-lab"], ["quality-lab"]])
def test_namespace_rows_are_what_the_hub_says(
    address: str, hub: httpx.Client, clock: TurnableClock, names: list[str]
) -> None:
    read = rows(landing(address, clock, "namespace_usage", namespaces=names))
    found = {(row["usage_date"], dict(row["dimensions"])["namespace"], row["metric"]): row for row in read}
    said = daily(hub, "2026-03-02", "2026-03-08", groupByNamespace="true")
    said = [row for row in said if not names or row["NamespaceId"] in names]
    assert len(read) == len(found) == 4 * len(said) == 28 * (len(names) or 3)
    for row in said:
        for metric, field in FIELDS.items():
            one = found[date.fromisoformat(row["Date"][:10]), row["NamespaceId"], metric]
            assert one["value"] == row[field]
            assert one["labels"] == [("cluster_region", row["ClusterRegion"].lower())]


def test_a_community_tells_what_the_tenant_uses_and_what_others_use(hub: httpx.Client) -> None:
    (own,) = daily(hub, "2026-03-02", "2026-03-02", path=COMMUNITY, source="Internal")
    (theirs,) = daily(hub, "2026-03-02", "2026-03-02", path=COMMUNITY, source="2")
    assert (own["CallerTenantId"], own["CommunityId"], own["TenantId"]) == (TENANT, WATER, None)
    assert theirs["CalleeTenantId"] == TENANT != theirs["CallerTenantId"]
    partners = daily(hub, "2026-03-02", "2026-03-02", path=COMMUNITY, source="External", groupBy="Tenant")
    assert [row["CallerTenantId"] for row in partners] == list(COMMUNITIES[WATER].partners)
    for field in ("IngressEvents", "EgressEvents"):
        assert 0 <= theirs[field] - sum(row[field] for row in partners) <= len(partners)
        assert 0 < theirs[field] < own[field]


def test_rows_by_community_are_what_the_hub_says(address: str, hub: httpx.Client, clock: TurnableClock) -> None:
    read = rows(landing(address, clock, "tenant_community_usage"))
    said = daily(hub, "2026-03-02", "2026-03-08", groupBy="Community")
    found = {(row["usage_date"], dict(row["dimensions"])["community"], row["metric"]): row["value"] for row in read}
    assert len(read) == len(found) == 4 * len(said) == 4 * 7 * 2
    for row in said:
        for metric, field in FIELDS.items():
            assert found[date.fromisoformat(row["Date"][:10]), row["CommunityId"], metric] == row[field]


@pytest.mark.parametrize("split", [False, True])
def test_rows_of_communities_are_what_the_hub_says(
    address: str, hub: httpx.Client, clock: TurnableClock, split: bool
) -> None:
    options: Json = {"communities": [WATER, ENERGY.upper()], "split_tenants": split}
    read = rows(landing(address, clock, "community_usage", **options))
    found = {(row["usage_date"], row["metric"], *sorted(dict(row["dimensions"]).items())): row["value"] for row in read}
    assert len(found) == len(read)
    expected = {}
    for community in (WATER, ENERGY):
        for source in ("Internal", "External"):
            path = f"/api/v1/communities/{community}/tenants/{TENANT}/usage"
            grouping = {"groupBy": "Tenant"} if split else {}
            for row in daily(hub, "2026-03-02", "2026-03-08", path=path, source=source, **grouping):
                where = {"community": community, "source": source.lower()}
                if split:
                    where |= {"caller_tenant": row["CallerTenantId"], "callee_tenant": row["CalleeTenantId"]}
                for metric, field in FIELDS.items():
                    expected[date.fromisoformat(row["Date"][:10]), metric, *sorted(where.items())] = row[field]
    assert found == expected
    assert len(expected) == 4 * 7 * (5 if split else 4)


def test_the_later_form_of_grouping_reads_the_same_rows(address: str, clock: TurnableClock) -> None:
    for slug in ("tenant_usage", "namespace_usage"):
        told = [
            [{**row, "response_id": ""} for row in rows(landing(address, clock, slug, group_by_form=form))]
            for form in ("groupByNamespace", "groupBy")
        ]
        assert told[0] == told[1]
        assert told[0]


def test_windows_that_meet_share_no_day(address: str, clock: TurnableClock) -> None:
    """`end` is inclusive here, so each window's answer tells a day of the next one."""
    spans = list(Days.cover(Days(date(2026, 2, 1), date(2026, 2, 28)), 10))
    apart = [landing(address, clock, "tenant_usage", span) for span in spans]
    assert b"2026-02-11" in apart[0].answers[0].body
    days = [row["usage_date"] for span in apart for row in rows(span) if row["metric"] == "egress_events"]
    assert days == [date(2026, 2, 1) + timedelta(days=n) for n in range(28)]


def test_today_is_not_final(address: str, clock: TurnableClock) -> None:
    today = NOW.date()
    found = rows(landing(address, clock, "tenant_usage", Days(today, today)))
    assert [(row["usage_date"], row["is_final"]) for row in found] == [(today, False)] * 4


def test_resource_rows_are_what_the_hub_says(address: str, hub: httpx.Client, clock: TurnableClock) -> None:
    said = hub.get(f"/api/v1/tenants/{TENANT}/resources/usage").json()
    found = rows(landing(address, clock, "resource_usage", Days(NOW.date(), NOW.date())))
    assert {(row["metric"], row["role"], row["aggregation"]): row["value"] for row in found} == {
        ("streams", "consumed", "last"): said["StreamCount"],
        ("streams", "entitled", "last"): said["EntitledStreamCount"],
        ("namespaces", "consumed", "last"): said["NamespaceCount"],
        ("namespaces", "entitled", "last"): said["EntitledNamespaceCount"],
        ("streams_accessed", "entitled", "average"): said["EntitledStreamAccessCount"],
    }


def test_billing_periods_are_the_elapsed_months(address: str, clock: TurnableClock) -> None:
    (found,) = AVEVA.endpoint("billing_cycles").normalise(landing(address, clock, "billing_cycles")).billing_periods
    assert found["period_start"].tolist()[-2:] == [datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2)]
    assert found["period_end"].tolist()[-2:] == [datetime(2026, month, 1, tzinfo=UTC) for month in (2, 3)]
    assert len(found) == 12


def test_a_token_that_ended_meanwhile_is_renewed(address: str, clock: TurnableClock) -> None:
    asker = account(address)
    (request,) = AVEVA.endpoint("tenant_usage").requests(asker, WEEK)
    secrets = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    behind = TurnableClock()
    with Client(
        address,
        auth=AVEVA.auth(asker, secrets, behind),
        explain=AVEVA.explain,
        clock=clock,
        sleep=lambda _seconds: None,
    ) as client:
        assert client.ask(request).status == 200
        clock.advance(hours=2)
        assert client.ask(request).status == 200


def test_a_wrong_secret_names_the_oauth_error(address: str, clock: TurnableClock) -> None:
    with pytest.raises(CredentialsError, match="invalid_client"):
        landing(address, clock, "tenant_usage", secret="wrong")


def test_another_tenant_names_the_role(address: str, clock: TurnableClock) -> None:
    with pytest.raises(CredentialsError, match=r"answered 403: Forbidden.*Tenant Member.*\(operation [0-9a-f]{32}\)"):
        landing(address, clock, "tenant_usage", tenant_id="another")


def test_an_unknown_namespace_is_the_hub_s_refusal(address: str, clock: TurnableClock) -> None:
    with pytest.raises(RequestError, match=r"answered 400: Bad Request\. There is no namespace gone"):
        landing(address, clock, "namespace_usage", namespaces=["gone"])
