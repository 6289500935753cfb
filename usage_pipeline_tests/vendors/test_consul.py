"""Consul's answers: those of real agents in `consul_captures`, and the two of the reference page."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request as Asked
from starlette.responses import Response
from starlette.routing import Route

from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.errors import CredentialsError, PayloadError, RequestError, TransientError
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account, History
from usage_pipeline.kit.http import Client, Limits
from usage_pipeline.stages.normalise import usage
from usage_pipeline.vendors.consul import CONSUL, ConsulOptions
from usage_pipeline_tests.conftest import NOW, TurnableClock

ENDPOINT = CONSUL.endpoint("operator_usage")
TODAY = Days(NOW.date(), NOW.date())
CAPTURES = {path.stem[:2]: path for path in sorted((Path(__file__).parent / "consul_captures").glob("*.http"))}
KINDS = ("api-gateway", "connect-native", "connect-proxy", "ingress-gateway", "mesh-gateway", "terminating-gateway")
Numbers = dict[tuple[str, ...], int]

# The second answer of the reference page; the first is the same without the fields by partition.
NO_KINDS = {"connect-native": 0, "connect-proxy": 0, "ingress-gateway": 0, "mesh-gateway": 0, "terminating-gateway": 0}
PAGE: dict[str, Any] = {
    "Usage": {
        "dc1": {
            "Services": 1,
            "ServiceInstances": 1,
            "ConnectServiceInstances": NO_KINDS,
            "BillableServiceInstances": 0,
            "PartitionNamespaceServices": {"default": {"default": 1}},
            "PartitionNamespaceServiceInstances": {"default": {"default": 1}},
            "PartitionNamespaceBillableServiceInstances": {"default": {"default": 1}},
            "PartitionNamespaceConnectServiceInstances": {"default": {"default": NO_KINDS}},
        }
    },
    "Index": 13,
    "LastContact": 0,
    "KnownLeader": True,
    "ConsistencyLevel": "leader",
    "NotModified": False,
    "Backend": 0,
    "ResultsFilteredByACLs": False,
}


def page(**changes: Any) -> dict[str, Any]:
    """The reference page's second answer, with other members at the top or in dc1 (`dc1__Services=2`)."""
    body = copy.deepcopy(PAGE)
    for name, value in changes.items():
        place = body["Usage"]["dc1"] if name.startswith("dc1__") else body
        place[name.removeprefix("dc1__")] = value
    return body


def options(**given: Any) -> dict[str, Any]:
    return ConsulOptions(**given).model_dump()


def landed(*answers: Answer, **given: Any) -> Landing:
    return Landing("consul", "acme", "operator_usage", TODAY, answers, NOW, options(**given))


def landing(body: Any, **given: Any) -> Landing:
    told = body if isinstance(body, bytes) else json.dumps(body).encode()
    asked = Request("/v1/operator/usage")
    url = "http://127.0.0.1:8500/v1/operator/usage"
    return landed(Answer(asked, url, 200, {"content-type": "application/json"}, told, NOW), **given)


def rows(found: Landing) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = usage(ENDPOINT, found, ENDPOINT.normalise(found)).to_pylist()
    return read


def numbers(found: Landing) -> dict[tuple[str, ...], Decimal]:
    """Values by metric and dimensions, these in the order of their names."""
    return {
        (row["metric"], *(value for _name, value in sorted(dict(row["dimensions"]).items()))): row["value"]
        for row in rows(found)
    }


def refused(body: Any, **given: Any) -> PayloadError:
    with pytest.raises(PayloadError) as caught:
        rows(landing(body, **given))
    return caught.value


def capture(number: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a recorded answer."""
    head, body = CAPTURES[number].read_bytes().replace(b"\r\n", b"\n").split(b"\n\n", 1)
    status, *lines = [line for line in head.decode().splitlines() if not line.startswith("#")]
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body[: int(headers.pop("Content-Length"))]


def replay(asked: Asked) -> Response:
    """Answers as the agent did whose capture's number begins the address."""
    status, headers, body = capture(asked.path_params["number"])
    headers.pop("Date")
    return Response(body, status, headers)


@pytest.fixture
def ask(serve: Callable[[Any], str]) -> Callable[..., Answer]:
    """Ask the agent of a capture, over a real socket."""
    address = serve(Starlette(routes=[Route("/{number}/v1/operator/usage", replay)]))

    def asking(number: str, **given: Any) -> Answer:
        account = Account("acme", "consul", f"{address}/{number}", date(2026, 1, 1), options=options(**given))
        (request,) = ENDPOINT.requests(account, TODAY)
        with Client(
            account.base_url,
            auth=CONSUL.auth(account, {}, TurnableClock()),
            explain=CONSUL.explain,
            clock=TurnableClock(),
            sleep=lambda _seconds: None,
            limits=Limits(attempts=2),
        ) as client:
            return client.ask(request)

    return asking


def told(datacenter: str, counts: tuple[int, int, int, int], kinds: Mapping[str, int] | None = None) -> Numbers:
    """The rows of a datacenter: services, instances, billable, nodes, and the kinds that are not 0."""
    metrics = ("services", "service_instances", "billable_service_instances", "nodes")
    return {(metric, datacenter): count for metric, count in zip(metrics, counts, strict=True)} | {
        ("connect_service_instances", datacenter, kind): (kinds or {}).get(kind, 0) for kind in KINDS
    }


MESH = {"connect-native": 1, "connect-proxy": 1, "mesh-gateway": 1}
FRESH = told("dc1", (1, 1, 0, 1))
DC1 = told("dc1", (6, 7, 4, 4), MESH)
DC2 = told("dc2", (2, 2, 1, 2))
GOOD: dict[str, Numbers] = {
    "01": FRESH,
    "02": told("dc1", (6, 7, 4, 3), MESH),
    "04": DC1 | DC2,
    "05": DC1 | DC2,
    "06": DC1,
    "08": DC1,
    "17": DC1,
    "30": DC1,
    "43": FRESH,
    "45": FRESH | told("dc2", (1, 1, 0, 1)),
}
REFUSED: dict[str, tuple[type[Exception], str]] = {
    "10": (RequestError, "answered 400: Cannot specify ?stale with ?consistent, conflicting semantics."),
    "40": (CredentialsError, "answered 403: Permission denied: Missing operator:read permissions"),
    "61": (TransientError, "answered 500: node is not the leader"),
    "70": (RequestError, "answered 404: no such endpoint (Consul tells usage from version 1.15 on)"),
}


def test_every_capture_has_an_expectation() -> None:
    assert set(CAPTURES) == {*GOOD, *REFUSED, "50"}


@pytest.mark.parametrize("number", GOOD)
def test_rows_say_what_a_real_agent_said(number: str, ask: Callable[..., Answer]) -> None:
    assert numbers(landed(ask(number))) == GOOD[number]


@pytest.mark.parametrize("number", REFUSED)
def test_a_real_agents_errors_are_told_in_its_words(number: str, ask: Callable[..., Answer]) -> None:
    kind, said = REFUSED[number]
    with pytest.raises(kind) as caught:
        ask(number)
    assert said in str(caught.value)


def test_the_zeros_of_a_real_agent_without_a_leader_are_refused(ask: Callable[..., Answer]) -> None:
    found = landed(ask("50"))
    with pytest.raises(PayloadError, match="is not data: the server knows no leader"):
        rows(found)


def test_a_datacenter_that_was_killed_is_missing_and_has_no_rows(ask: Callable[..., Answer]) -> None:
    found = landed(ask("30", datacenters=["dc1", "dc2"]), datacenters=["dc1", "dc2"])
    missing = ENDPOINT.normalise(found).missing
    assert list(missing) == ["datacenter dc2"]
    assert "cannot be reached" in missing["datacenter dc2"]
    assert numbers(found) == DC1


def test_a_datacenter_is_called_what_the_answer_calls_it(ask: Callable[..., Answer]) -> None:
    """The agent of dc1 was asked for dc2, and ignored that."""
    found = landed(ask("06", datacenters=["dc2"]), datacenters=["dc2"])
    assert numbers(found) == DC1
    assert list(ENDPOINT.normalise(found).missing) == ["datacenter dc2"]


def test_an_unexpected_datacenter_is_loaded(ask: Callable[..., Answer]) -> None:
    found = landed(ask("04", datacenters=["dc1"]), datacenters=["dc1"])
    assert numbers(found) == DC1 | DC2
    assert ENDPOINT.normalise(found).missing == {}


def test_nothing_is_missing_where_nothing_is_expected() -> None:
    assert ENDPOINT.normalise(landing(page())).missing == {}
    assert numbers(landing(page(Usage={}))) == {}


def test_the_reference_pages_community_answer() -> None:
    fields = PAGE["Usage"]["dc1"]
    community = {name: value for name, value in fields.items() if not name.startswith("Partition")}
    kinds: Numbers = {("connect_service_instances", "dc1", kind): 0 for kind in KINDS if kind != "api-gateway"}
    counts: Numbers = {
        ("services", "dc1"): 1,
        ("service_instances", "dc1"): 1,
        ("billable_service_instances", "dc1"): 0,
    }
    assert numbers(landing(page(Usage={"dc1": community}))) == counts | kinds


def test_the_reference_pages_enterprise_answer_keeps_levels_apart() -> None:
    found = rows(landing(page()))
    by_level = {
        (row["breakdown"], row["metric"]): (dict(row["dimensions"]), row["value"])
        for row in found
        if row["metric"] != "connect_service_instances"
    }
    datacenter, tenant = {"datacenter": "dc1"}, {"datacenter": "dc1", "namespace": "default", "partition": "default"}
    assert by_level == {
        ("datacenter", "services"): (datacenter, 1),
        ("datacenter", "service_instances"): (datacenter, 1),
        ("datacenter", "billable_service_instances"): (datacenter, 0),
        ("datacenter+namespace+partition", "services"): (tenant, 1),
        ("datacenter+namespace+partition", "service_instances"): (tenant, 1),
        ("datacenter+namespace+partition", "billable_service_instances"): (tenant, 1),
    }
    kinds = [row["breakdown"] for row in found if row["metric"] == "connect_service_instances"]
    assert kinds == ["datacenter+kind"] * 5 + ["datacenter+kind+namespace+partition"] * 5
    assert len({row["series_id"] for row in found}) == len(found) == 16


def test_a_namespace_is_not_taken_for_its_partition() -> None:
    services = {"default": {"payments": 3, "web-1": 4}, "edge": {"default": 5}}
    found = rows(landing(page(dc1__PartitionNamespaceServices=services)))
    assert {
        (dict(row["dimensions"])["partition"], dict(row["dimensions"])["namespace"]): row["value"]
        for row in found
        if (row["metric"], row["breakdown"]) == ("services", "datacenter+namespace+partition")
    } == {("default", "payments"): 3, ("default", "web-1"): 4, ("edge", "default"): 5}


def test_every_row_is_true_when_the_answer_came_and_final() -> None:
    for row in rows(landing(page())):
        assert row["period_start"] == row["period_end"] == row["observed_at"] == row["fetched_at"] == NOW
        assert row["usage_date"] == NOW.date()
        assert (row["role"], row["aggregation"], row["temporality"]) == ("consumed", "last", "instant")
        assert row["is_final"] is True


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        ("services", "Services"),
        ("service_instances", "Instances"),
        ("billable_service_instances", "Instances"),
        ("connect_service_instances", "Instances"),
        ("nodes", "Nodes"),
    ],
)
def test_metrics_have_the_tables_units(metric: str, unit: str) -> None:
    found = rows(landing(page(dc1__Nodes=3)))
    assert {row["unit"] for row in found if row["metric"] == metric} == {unit}


def test_a_new_kind_is_a_new_series() -> None:
    kinds = {"connect-proxy": 2, "quantum-gateway": 7}
    found = numbers(landing(page(dc1__ConnectServiceInstances=kinds)))
    assert found["connect_service_instances", "dc1", "quantum-gateway"] == 7
    assert ("connect_service_instances", "dc1", "mesh-gateway") not in found


def test_a_map_without_kinds_has_no_rows() -> None:
    found = numbers(landing(page(dc1__ConnectServiceInstances={}, dc1__PartitionNamespaceConnectServiceInstances={})))
    assert not [key for key in found if key[0] == "connect_service_instances"]


def test_no_leader_is_refused() -> None:
    error = refused(page(KnownLeader=False))
    assert error.path == "$.KnownLeader"
    assert "not data" in str(error)


@pytest.mark.parametrize("nanoseconds", [0, 65_113_214, 10_000_000_000])
def test_an_answer_within_the_limit_is_data(nanoseconds: int) -> None:
    assert numbers(landing(page(LastContact=nanoseconds)))["services", "dc1"] == 1


@pytest.mark.parametrize("nanoseconds", [10_000_000_001, 9_223_372_036_854_775_807, 10**400])
def test_an_answer_too_long_without_its_leader_is_refused(nanoseconds: int) -> None:
    error = refused(page(LastContact=nanoseconds))
    assert error.path == "$.LastContact"
    assert "not data: the server heard from its leader" in str(error)


@pytest.mark.parametrize("told", [b"1e999999", b"1e999999999999999999"])
def test_what_is_too_long_for_arithmetic_is_refused_in_short(told: bytes) -> None:
    error = refused(json.dumps(page(LastContact=9_999_999)).encode().replace(b"9999999", told))
    assert error.path == "$.LastContact"
    assert len(str(error)) < 200


def test_the_limit_can_be_set() -> None:
    body = page(LastContact=2_500_000_000)
    assert "2.5 s ago, and max_last_contact_seconds is 2" in str(refused(body, max_last_contact_seconds=2))
    assert numbers(landing(body, max_last_contact_seconds=3))


def test_freshness_is_read_from_the_body_and_not_from_headers() -> None:
    headers = {"x-consul-knownleader": "false", "x-consul-lastcontact": "9223372036854"}
    answer = Answer(Request("/v1/operator/usage"), "", 200, headers, json.dumps(PAGE).encode(), NOW)
    assert numbers(landed(answer))["services", "dc1"] == 1


def test_an_answer_that_access_control_filtered_is_refused() -> None:
    error = refused(page(ResultsFilteredByACLs=True))
    assert error.path == "$.ResultsFilteredByACLs"
    assert "ACL" in str(error)


def test_an_answer_that_says_nothing_of_filters_is_whole() -> None:
    body = {name: value for name, value in PAGE.items() if name != "ResultsFilteredByACLs"}
    assert numbers(landing(body)) == numbers(landing(PAGE))


@pytest.mark.parametrize("name", ["DC1", "dc 1", "dc1\n", "dc/1", ""])
def test_a_name_that_no_datacenter_has_is_refused(name: str) -> None:
    assert "cannot be a datacenter" in str(refused(page(Usage={name: PAGE["Usage"]["dc1"]})))
    with pytest.raises(ValidationError):
        ConsulOptions(datacenters=[name])


def test_names_of_datacenters_may_have_hyphens_underscores_and_digits() -> None:
    assert numbers(landing(page(Usage={"eu-west_1": PAGE["Usage"]["dc1"]})))["services", "eu-west_1"] == 1


@pytest.mark.parametrize(
    "field", ["Services", "ServiceInstances", "BillableServiceInstances", "ConnectServiceInstances"]
)
def test_a_count_that_is_always_told_must_be_there(field: str) -> None:
    body = page()
    del body["Usage"]["dc1"][field]
    assert str(refused(body)).startswith(f"$.Usage.dc1: '{field}' is missing: there is ")


@pytest.mark.parametrize("member", ["Usage", "KnownLeader", "LastContact"])
def test_a_member_of_every_answer_must_be_there(member: str) -> None:
    body = page()
    del body[member]
    assert str(refused(body)).startswith(f"$: '{member}' is missing: there is ")


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"dc1__Services": None}, "$.Usage.dc1.Services"),
        ({"dc1__Services": "1"}, "$.Usage.dc1.Services"),
        ({"dc1__Services": True}, "$.Usage.dc1.Services"),
        ({"dc1__Services": {"default": 1}}, "$.Usage.dc1.Services"),
        ({"dc1__Nodes": None}, "$.Usage.dc1.Nodes"),
        ({"dc1__Nodes": 10**40}, "$.Usage.dc1.Nodes"),
        ({"dc1__ConnectServiceInstances": None}, "$.Usage.dc1.ConnectServiceInstances"),
        ({"dc1__ConnectServiceInstances": {"mesh-gateway": "1"}}, "$.Usage.dc1.ConnectServiceInstances.mesh-gateway"),
        ({"dc1__PartitionNamespaceServices": {"default": 1}}, "$.Usage.dc1.PartitionNamespaceServices.default"),
        (
            {"dc1__PartitionNamespaceServices": {"default": {"a": 1, "b": None}}},
            "$.Usage.dc1.PartitionNamespaceServices.default.b",
        ),
        ({"dc1__BillableNodes": 3}, "$.Usage.dc1.BillableNodes"),
        ({"dc1__Peers": {"east": {"Services": 3}}}, "$.Usage.dc1.Peers.east.Services"),
        ({"Total": 3}, "$.Total"),
        ({"Usage": None}, "$.Usage"),
        ({"Usage": {"dc1": None}}, "$.Usage.dc1"),
        ({"Usage": []}, "$.Usage"),
        ({"LastContact": "0"}, "$.LastContact"),
        ({"LastContact": None}, "$.LastContact"),
        ({"KnownLeader": "true"}, "$.KnownLeader"),
        ({"ResultsFilteredByACLs": "false"}, "$.ResultsFilteredByACLs"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(changes: dict[str, Any], path: str) -> None:
    assert refused(page(**changes)).path == path


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"Consul Agent", b'{"Usage": {'])
def test_what_is_no_answer_of_consul_is_refused(body: bytes) -> None:
    assert refused(body).path == "$"


def test_members_without_numbers_may_come() -> None:
    assert numbers(landing(page(dc1__Edition="enterprise", Servers=["a"])))["services", "dc1"] == 1


def test_two_answers_of_one_landing_are_two_observations() -> None:
    later = datetime(2026, 3, 18, 13, 0, tzinfo=UTC)
    request = Request("/v1/operator/usage")
    found = landed(*(Answer(request, "", 200, {}, json.dumps(PAGE).encode(), at) for at in (NOW, later)))
    assert {row["observed_at"] for row in rows(found)} == {NOW, later}


@pytest.mark.parametrize(("datacenters", "params"), [([], ()), (["dc1"], ()), (["dc1", "dc2"], (("global", ""),))])
def test_global_is_asked_for_with_several_datacenters_only(datacenters: list[str], params: tuple[Any, ...]) -> None:
    account = Account(
        "acme", "consul", "http://127.0.0.1:8500", date(2026, 1, 1), options=options(datacenters=datacenters)
    )
    assert list(ENDPOINT.requests(account, TODAY)) == [Request("/v1/operator/usage", params=params)]


def account(**given: Any) -> Account:
    return Account("acme", "consul", "http://127.0.0.1:8500", date(2026, 1, 1), options=options(**given))


AGENTS = {"dc1": "https://one.example.com:8501", "dc2": "http://10.0.0.2:8500/consul/"}


def told_by(part: str, body: Any, status: int = 200) -> Answer:
    told = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(Request("/v1/operator/usage", part=part), f"https://{part}", status, {}, told, NOW)


def of(datacenter: str) -> dict[str, Any]:
    return page(Usage={datacenter: PAGE["Usage"]["dc1"]})


def test_the_catalog_is_asked_for_in_the_same_landing() -> None:
    assert list(ENDPOINT.requests(account(expect="catalog"), TODAY)) == [
        Request("/v1/operator/usage", params=(("global", ""),)),
        Request("/v1/catalog/datacenters", part="catalog"),
    ]


def test_a_datacenter_that_only_the_catalog_knows_is_missing(ask: Callable[..., Answer]) -> None:
    """As on real agents: long after dc2 was killed the catalog still lists it."""
    catalog = told_by("catalog", ["dc1", "dc2"])
    found = landed(ask("30"), catalog, expect="catalog")
    assert numbers(found) == DC1
    assert list(ENDPOINT.normalise(found).missing) == ["datacenter dc2"]
    whole = landed(ask("04"), catalog, expect="catalog")
    assert ENDPOINT.normalise(whole).missing == {}
    both = landed(ask("04"), catalog, expect="catalog", datacenters=["dc9"])
    assert list(ENDPOINT.normalise(both).missing) == ["datacenter dc9"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ([], "$"),
        ({}, "$"),
        (b"", "$"),
        (["dc1", 2], "$[1]"),
        (["dc1", None], "$[1]"),
        (["DC 1"], "$[0]"),
    ],
)
def test_what_is_no_catalog_is_refused(body: Any, path: str) -> None:
    with pytest.raises(PayloadError) as caught:
        rows(landed(told_by("", PAGE), told_by("catalog", body), expect="catalog"))
    assert caught.value.path == path


def test_each_agent_is_asked_for_its_own_datacenter() -> None:
    """Neither `global` nor `dc`: the former comes without freshness, the latter is ignored."""
    assert list(ENDPOINT.requests(account(agents=AGENTS, expect="catalog", datacenters=["dc1", "dc2"]), TODAY)) == [
        Request("https://one.example.com:8501/v1/operator/usage", part="agent/dc1", apart=True),
        Request("http://10.0.0.2:8500/consul/v1/operator/usage", part="agent/dc2", apart=True),
        Request("/v1/catalog/datacenters", part="catalog"),
    ]


def test_agents_tell_their_own_datacenters() -> None:
    found = landed(told_by("agent/dc1", of("dc1")), told_by("agent/dc2", of("dc2")), agents=AGENTS)
    assert {row["response_id"]: dict(row["dimensions"])["datacenter"] for row in rows(found)} == {
        answer.response_id: datacenter for answer, datacenter in zip(found.answers, ("dc1", "dc2"), strict=True)
    }
    assert ENDPOINT.normalise(found).missing == {}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (of("dc1"), "$.Usage.dc1: options: agents: the agent of dc2 answers for dc1"),
        (of("dc2") | {"LastContact": 11 * 10**9}, "$.LastContact: the answer is not data: the server heard from its"),
        (of("dc2") | {"KnownLeader": False}, "$.KnownLeader: the answer is not data"),
        (b"<html>", "$: not JSON"),
    ],
)
def test_each_agent_vouches_for_its_own_datacenter(body: Any, why: str) -> None:
    """What one says amiss takes nothing from the others, and is refused where it is the only one."""
    both = landed(told_by("agent/dc1", of("dc1")), told_by("agent/dc2", body), agents=AGENTS)
    missing = ENDPOINT.normalise(both).missing
    assert list(missing) == ["datacenter dc2"]
    assert missing["datacenter dc2"].startswith(why)
    assert {(dict(row["dimensions"])["datacenter"], row["response_id"]) for row in rows(both)} == {
        ("dc1", both.answers[0].response_id)
    }
    alone = landed(told_by("agent/dc2", body), agents={"dc2": AGENTS["dc2"]})
    with pytest.raises(PayloadError) as caught:
        rows(alone)
    assert str(caught.value).startswith(why)


def test_an_agent_without_an_answer_is_missing_and_the_others_are_not() -> None:
    catalog = told_by("catalog", ["dc1", "dc2", "dc3"])
    refused = told_by("agent/dc2", b"node is not the leader", 500)
    for answers, why in (((refused,), "$: the agent answered 500: node is not the leader"), ((), "its agent gave no")):
        found = landed(told_by("agent/dc1", of("dc1")), *answers, catalog, agents=AGENTS, expect="catalog")
        missing = ENDPOINT.normalise(found).missing
        assert list(missing) == ["datacenter dc2", "datacenter dc3"]
        assert missing["datacenter dc2"].startswith(why)
        assert {dict(row["dimensions"])["datacenter"] for row in rows(found)} == {"dc1"}


@pytest.mark.parametrize(
    "agents",
    [
        {"dc1": "one.example.com:8501"},
        {"dc1": "ftp://one"},
        {"dc1": "https://user:secret@one"},
        {"dc1": "https://one?token=secret"},
        {"dc1": "https://"},
        {"DC 1": "https://one"},
    ],
)
def test_agents_are_addresses_by_datacenter(agents: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ConsulOptions(agents=agents)


def test_answers_that_were_kept_before_these_options_read_as_before() -> None:
    older = landing(page())
    before = {"datacenters": ["dc1", "dc2"], "ca_bundle": None, "max_last_contact_seconds": 10}
    assert list(ENDPOINT.normalise(replace(older, options=before)).missing) == ["datacenter dc2"]


def test_the_token_goes_into_its_header_and_is_not_needed() -> None:
    account = Account("acme", "consul", "http://127.0.0.1:8500", date(2026, 1, 1), options=options())
    auth = CONSUL.auth(account, {"token": "b1gs33cr3t"}, TurnableClock())
    assert auth is not None
    sent = next(auth.auth_flow(httpx.Request("GET", "http://127.0.0.1:8500/v1/operator/usage")))
    assert sent.headers["X-Consul-Token"] == "b1gs33cr3t"
    assert "b1gs33cr3t" not in str(sent.url)
    assert CONSUL.auth(account, {}, TurnableClock()) is None
    assert set(CONSUL.credentials) == {frozenset(), frozenset({"token"})}


def test_consul_has_no_public_address_and_no_past() -> None:
    assert CONSUL.base_url is None
    assert ENDPOINT.history is History.SNAPSHOT
