"""The sandbox's Consul behaves as a real agent does, and what is loaded from it is what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from usage_pipeline import config, pipeline
from usage_pipeline.contract.answer import Landing
from usage_pipeline.contract.errors import CredentialsError, TransientError
from usage_pipeline.contract.schema import State
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.kit.http import Client
from usage_pipeline.sandbox.consul import LOCAL_TOKEN, TOKEN, routes
from usage_pipeline.sandbox.world import World
from usage_pipeline.stages.normalise import usage
from usage_pipeline.vendors.consul import CONSUL, ConsulOptions
from usage_pipeline_tests.conftest import TurnableClock

PATH = "/v1/operator/usage"
ENDPOINT = CONSUL.endpoint("operator_usage")
ALL = ["dc1", "dc2", "dc3"]


@pytest.fixture
def address(serve: Callable[[Any], str], clock: TurnableClock) -> str:
    return serve(Starlette(routes=[Mount("/consul", routes=routes(World(clock)))])) + "/consul"


@pytest.fixture
def agent(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, headers={"X-Consul-Token": TOKEN}) as client:
        yield client


def asked(agent: httpx.Client, params: str = "global") -> dict[str, Any]:
    found = agent.get(f"{PATH}?{params}")
    assert found.status_code == 200
    body: dict[str, Any] = found.json()
    return body


def turn_until(agent: httpx.Client, clock: TurnableClock, *, dc3: bool) -> dict[str, Any]:
    """The answer of the first day on which dc3 is there, or is not."""
    for _day in range(60):
        body = asked(agent)
        if ("dc3" in body["Usage"]) is dc3:
            return body
        clock.advance(days=1)
    raise AssertionError("dc3 never comes and goes")


def landing(address: str, clock: TurnableClock, token: str = TOKEN, **given: Any) -> Landing:
    options = ConsulOptions(**(given or {"datacenters": ALL})).model_dump()
    account = Account("acme", "consul", address, date(2026, 1, 1), options=options)
    days = Days(clock().date(), clock().date())
    with Client(
        address,
        auth=CONSUL.auth(account, {"token": token}, clock),
        explain=CONSUL.explain,
        clock=clock,
        sleep=lambda _seconds: None,
        origins=list(options["agents"].values()),
    ) as client:
        answers = tuple(client.ask(request) for request in ENDPOINT.requests(account, days))
    return Landing("consul", "acme", "operator_usage", days, answers, clock(), options)


def values(found: Landing) -> dict[tuple[str, tuple[tuple[str, str], ...]], int]:
    table = usage(ENDPOINT, found, ENDPOINT.normalise(found)).to_pylist()
    return {(row["metric"], tuple(sorted(dict(row["dimensions"]).items()))): int(row["value"]) for row in table}


METRICS = {
    "ServiceInstances": "service_instances",
    "BillableServiceInstances": "billable_service_instances",
    "Services": "services",
    "Nodes": "nodes",
}


def test_rows_equal_what_the_answer_says(address: str, agent: httpx.Client, clock: TurnableClock) -> None:
    body = turn_until(agent, clock, dc3=True)
    expected: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
    for datacenter, counts in body["Usage"].items():
        here = ("datacenter", datacenter)
        for field, metric in METRICS.items():
            expected[metric, (here,)] = counts[field]
            for partition, namespaces in counts.get(f"PartitionNamespace{field}", {}).items():
                for namespace, count in namespaces.items():
                    expected[metric, (here, ("namespace", namespace), ("partition", partition))] = count
        for kind, count in counts["ConnectServiceInstances"].items():
            expected["connect_service_instances", (here, ("kind", kind))] = count
        for partition, namespaces in counts.get("PartitionNamespaceConnectServiceInstances", {}).items():
            for namespace, kinds in namespaces.items():
                for kind, count in kinds.items():
                    where = (here, ("kind", kind), ("namespace", namespace), ("partition", partition))
                    expected["connect_service_instances", where] = count
    found = landing(address, clock)
    assert values(found) == expected
    assert ENDPOINT.normalise(found).missing == {}


def test_dc3_is_missing_on_the_days_it_is_away(address: str, agent: httpx.Client, clock: TurnableClock) -> None:
    turn_until(agent, clock, dc3=False)
    found = landing(address, clock)
    assert list(ENDPOINT.normalise(found).missing) == ["datacenter dc3"]
    assert {dict(where)["datacenter"] for _metric, where in values(found)} == {"dc1", "dc2"}
    assert agent.get("/v1/catalog/datacenters").json() == ALL


def test_the_catalog_tells_that_dc3_is_missing(address: str, agent: httpx.Client, clock: TurnableClock) -> None:
    turn_until(agent, clock, dc3=False)
    found = landing(address, clock, expect="catalog")
    assert list(ENDPOINT.normalise(found).missing) == ["datacenter dc3"]
    turn_until(agent, clock, dc3=True)
    assert ENDPOINT.normalise(landing(address, clock, expect="catalog")).missing == {}


def test_an_agent_in_each_datacenter_tells_what_global_tells(
    serve: Callable[[Any], str], address: str, agent: httpx.Client, clock: TurnableClock
) -> None:
    turn_until(agent, clock, dc3=True)
    agents = {name: serve(Starlette(routes=routes(World(clock), name))) for name in ALL}
    apart = landing(address, clock, agents=agents, expect="catalog")
    assert values(apart) == values(landing(address, clock))
    assert len({answer.url for answer in apart.answers}) == 4
    assert ENDPOINT.normalise(apart).missing == {}


def test_an_agent_that_is_away_is_missing_and_the_others_load(
    tmp_path: Path, serve: Callable[[Any], str], address: str, clock: TurnableClock
) -> None:
    agents = {"dc2": serve(Starlette(routes=routes(World(clock), "dc2"))), "dc3": "http://127.0.0.1:9"}
    today = clock().date()
    environment = {config.HOME_VARIABLE: str(tmp_path), "T": TOKEN}
    place = pipeline.place(environment, clock, lambda _seconds: None)
    options = ConsulOptions(agents=agents).model_dump()
    asker = Account("acme", "consul", address, date(2026, 1, 1), {"token": "T"}, ("operator_usage",), options)
    outcome = pipeline.pull(place, asker, "operator_usage", Days(today, today))
    assert outcome.states == {today: State.FAILED}
    assert "datacenter dc3: its agent gave no answer" in str(outcome.failures[today])
    assert outcome.rows[today] == 4 + 6
    nobody = replace(asker, options={**options, "agents": {"dc3": "http://127.0.0.1:9"}})
    outcome = pipeline.pull(place, nobody, "operator_usage", Days(today, today))
    assert isinstance(outcome.failures[today], TransientError)
    denied = pipeline.place(environment | {"T": "wrong"}, clock, lambda _seconds: None)
    outcome = pipeline.pull(
        denied,
        replace(asker, options={**options, "agents": {"dc2": agents["dc2"]}}),
        "operator_usage",
        Days(today, today),
    )
    assert isinstance(outcome.failures[today], CredentialsError)


def test_a_token_of_one_datacenter_is_told_of_no_other(address: str, clock: TurnableClock) -> None:
    found = landing(address, clock, LOCAL_TOKEN)
    assert {dict(where)["datacenter"] for _metric, where in values(found)} == {"dc1"}
    assert list(ENDPOINT.normalise(found).missing) == ["datacenter dc2", "datacenter dc3"]


def test_an_unknown_token_is_a_matter_of_credentials(address: str, clock: TurnableClock) -> None:
    with pytest.raises(CredentialsError, match="answered 403: ACL not found"):
        landing(address, clock, "wrong")


def test_partitions_add_up_to_their_datacenter(agent: httpx.Client) -> None:
    counts = asked(agent, "")["Usage"]["dc1"]
    for field in ("Services", "ServiceInstances", "BillableServiceInstances"):
        parts = counts[f"PartitionNamespace{field}"]
        assert sum(sum(namespaces.values()) for namespaces in parts.values()) == counts[field]
        assert {partition: sorted(namespaces) for partition, namespaces in parts.items()} == {
            "default": ["default", "payments"],
            "edge": ["default"],
        }
    for kind, count in counts["ConnectServiceInstances"].items():
        parts = counts["PartitionNamespaceConnectServiceInstances"].values()
        assert sum(kinds[kind] for namespaces in parts for kinds in namespaces.values()) == count


def test_instances_are_billable_ones_mesh_ones_and_servers(agent: httpx.Client, clock: TurnableClock) -> None:
    for counts in turn_until(agent, clock, dc3=True)["Usage"].values():
        mesh = sum(counts["ConnectServiceInstances"].values()) - counts["ConnectServiceInstances"]["connect-native"]
        assert counts["ServiceInstances"] == counts["BillableServiceInstances"] + mesh + 3
        assert 0 < counts["ConnectServiceInstances"]["connect-native"] < counts["BillableServiceInstances"]


@pytest.mark.parametrize("params", ["global", "global=", "global=false", "global=true&dc=dc2"])
def test_global_counts_by_its_presence(agent: httpx.Client, params: str) -> None:
    assert {"dc1", "dc2"} <= asked(agent, params)["Usage"].keys()


@pytest.mark.parametrize("params", ["", "dc=dc2", "dc=nosuchdc", "stale", "index=23&wait=3s"])
def test_else_the_local_datacenter_answers(agent: httpx.Client, params: str) -> None:
    assert list(asked(agent, params)["Usage"]) == ["dc1"]


def test_only_the_enterprise_datacenter_tells_partitions(agent: httpx.Client) -> None:
    told = asked(agent)["Usage"]
    assert [name for name, counts in told.items() if "PartitionNamespaceServices" in counts] == ["dc1"]


def test_an_answer_looks_as_an_agents_does(agent: httpx.Client) -> None:
    found = agent.get(f"{PATH}?stale")
    body = found.json()
    assert list(body) == [
        "Usage",
        "Index",
        "LastContact",
        "KnownLeader",
        "ConsistencyLevel",
        "NotModified",
        "Backend",
        "ResultsFilteredByACLs",
    ]
    assert found.headers["content-type"] == "application/json"
    assert {name: found.headers[name] for name in found.headers if name.startswith("x-consul-")} == {
        "x-consul-default-acl-policy": "deny",
        "x-consul-effective-consistency": "stale",
        "x-consul-index": str(body["Index"]),
        "x-consul-knownleader": "true",
        "x-consul-lastcontact": "0",
        "x-consul-query-backend": "blocking-query",
    }
    assert body["ConsistencyLevel"] == "stale"
    assert b"\n" not in found.content
    assert b"\n" in agent.get(f"{PATH}?pretty").content


def test_without_a_token_access_is_denied_in_plain_text(address: str) -> None:
    found = httpx.get(address + PATH)
    assert found.status_code == 403
    assert found.headers["content-type"] == "text/plain; charset=utf-8"
    assert found.text.startswith("Permission denied: anonymous token lacks permission 'operator:read'")
    assert (found.headers["x-consul-index"], found.headers["x-consul-knownleader"]) == ("1", "false")


@pytest.mark.parametrize(
    ("headers", "params"),
    [
        ({"Authorization": f"Bearer {TOKEN}"}, {}),
        ({"X-Consul-Token": "wrong"}, {"token": TOKEN}),
    ],
)
def test_tokens_are_taken_as_an_agent_takes_them(address: str, headers: dict[str, str], params: dict[str, str]) -> None:
    assert httpx.get(address + PATH, headers=headers, params=params).status_code == 200


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE"])
def test_only_get_is_allowed(agent: httpx.Client, method: str) -> None:
    found = agent.request(method, PATH)
    assert (found.status_code, found.headers["allow"]) == (405, "OPTIONS,GET")


def test_options_is_answered_with_nothing(agent: httpx.Client) -> None:
    found = agent.options(PATH)
    assert (found.status_code, found.content) == (200, b"")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("stale&consistent", "Cannot specify ?stale with ?consistent, conflicting semantics."),
        ("index=1&wait=soon", "Invalid wait time"),
        ("index=-1", "Invalid index"),
    ],
)
def test_parameters_that_an_agent_refuses(agent: httpx.Client, params: str, said: str) -> None:
    found = agent.get(f"{PATH}?{params}")
    assert (found.status_code, found.text) == (400, said)
    assert found.headers["content-type"] == "text/plain; charset=utf-8"


def test_the_same_day_always_says_the_same(agent: httpx.Client, clock: TurnableClock) -> None:
    morning = asked(agent)
    clock.advance(hours=11)
    assert asked(agent) == morning
    clock.advance(days=1)
    assert asked(agent)["Usage"]["dc1"] != morning["Usage"]["dc1"]


def test_a_sunday_in_the_first_year_has_numbers_too(agent: httpx.Client, clock: TurnableClock) -> None:
    clock.now = datetime(2025, 1, 5, 3, tzinfo=UTC)
    for _day in range(7):
        assert all(counts["BillableServiceInstances"] > 0 for counts in asked(agent)["Usage"].values())
        clock.now += timedelta(days=1)
