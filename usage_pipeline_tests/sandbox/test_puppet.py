"""The sandbox's orchestrator answers as documented, and what is loaded from it is what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from usage_pipeline.contract.answer import Landing, Request
from usage_pipeline.contract.errors import CredentialsError, RequestError
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.kit.http import Client
from usage_pipeline.sandbox.puppet import TOKEN, routes
from usage_pipeline.sandbox.world import World
from usage_pipeline.stages.normalise import usage
from usage_pipeline.vendors.puppet import PUPPET, PuppetOptions
from usage_pipeline_tests.conftest import NOW, TurnableClock

PATH = "/orchestrator/v1/usage"
ENDPOINT = PUPPET.endpoint("usage")
TODAY = NOW.date()
YEAR = {"start_date": "2025-01-01", "end_date": "2025-12-31"}
NODE_FIELDS = ["total_nodes", "nodes_with_agent", "nodes_without_agent"]
EVENT_FIELDS = [
    "corrective_agent_changes",
    "intentional_agent_changes",
    "nodes_affected_by_task_runs",
    "nodes_affected_by_plan_runs",
]
METRICS = {
    "total_nodes": "nodes",
    "nodes_with_agent": "nodes_with_agent",
    "nodes_without_agent": "nodes_without_agent",
    "corrective_agent_changes": "corrective_agent_changes",
    "intentional_agent_changes": "intentional_agent_changes",
    "nodes_affected_by_task_runs": "task_runs_by_node",
    "nodes_affected_by_plan_runs": "plan_runs_by_node",
}


@pytest.fixture
def address(serve: Callable[[Any], str], clock: TurnableClock) -> str:
    return serve(Starlette(routes=[Mount("/puppet", routes=routes(World(clock)))])) + "/puppet"


@pytest.fixture
def orchestrator(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, headers={"X-Authentication": TOKEN}) as client:
        yield client


def asked(orchestrator: httpx.Client, **params: str) -> dict[str, Any]:
    found = orchestrator.get(PATH, params=params)
    assert found.status_code == 200
    body: dict[str, Any] = found.json()
    return body


def client(address: str, clock: TurnableClock, token: str = TOKEN) -> Client:
    account = Account("acme", "puppet", address, date(2025, 1, 1))
    auth = PUPPET.auth(account, {"token": token}, clock)
    return Client(address, auth=auth, explain=PUPPET.explain, clock=clock, sleep=lambda _seconds: None)


def landing(address: str, clock: TurnableClock, days: Days, **given: Any) -> Landing:
    options = PuppetOptions(**given).model_dump()
    account = Account("acme", "puppet", address, date(2025, 1, 1), options=options)
    with client(address, clock) as asking:
        answers = tuple(asking.ask(request) for request in ENDPOINT.requests(account, days))
    return Landing("puppet", "acme", "usage", days, answers, clock(), options)


@pytest.mark.parametrize(("events", "fields"), [("include", NODE_FIELDS + EVENT_FIELDS), ("exclude", NODE_FIELDS)])
def test_rows_equal_what_the_answer_says(
    address: str, orchestrator: httpx.Client, clock: TurnableClock, events: str, fields: list[str]
) -> None:
    days = Days(TODAY - timedelta(days=89), TODAY)
    raw = asked(orchestrator, start_date=f"{days.first}", end_date=f"{days.last}", events=events)["items"]
    found = landing(address, clock, days, events=events)
    rows = usage(ENDPOINT, found, ENDPOINT.normalise(found)).to_pylist()
    assert {(f"{row['usage_date']}", row["metric"]): int(row["value"]) for row in rows} == {
        (item["date"], METRICS[field]): item[field] for item in raw for field in fields
    }
    assert len(rows) == len(raw) * len(fields)
    assert {row["usage_date"] for row in rows if not row["is_final"]} == {TODAY - timedelta(days=n) for n in range(8)}


@pytest.mark.parametrize(("version", "more"), [((2019, 8), 3), ((2021, 7), 3), ((2023, 7), 0)])
def test_an_upgrade_makes_a_step_and_the_labels_tell(
    serve: Callable[[Any], str], clock: TurnableClock, version: tuple[int, int], more: int
) -> None:
    """Servers before 2023.7 count the primary server and two compilers, those before 2021.0 no events."""
    days = Days(TODAY - timedelta(days=1), TODAY)
    world = World(clock)
    old, now = (serve(Starlette(routes=made)) for made in (routes(world, version), routes(world)))
    told = "{}.{}".format(*version)
    found = landing(old, clock, days, pe_version=told)
    by_day = {
        row["usage_date"]: row["value"]
        for row in usage(ENDPOINT, found, ENDPOINT.normalise(found)).to_pylist()
        if row["metric"] == "nodes"
    }
    with httpx.Client(base_url=now, headers={"X-Authentication": TOKEN}) as asking:
        today = {item["date"]: item for item in asked(asking, start_date=f"{days.first}")["items"]}
    assert {f"{day}": int(value) - more for day, value in by_day.items()} == {
        day: item["total_nodes"] for day, item in today.items()
    }
    rows = usage(ENDPOINT, found, ENDPOINT.normalise(found)).to_pylist()
    fields = "present" if version >= (2021, 0) else "absent"
    assert {tuple(row["labels"]) for row in rows} == {(("event_fields", fields), ("pe_version", told))}
    assert len(rows) == 2 * (7 if fields == "present" else 3)


def test_wrong_credentials_are_told_apart(address: str, clock: TurnableClock) -> None:
    with (
        client(address, clock, "wrong") as asking,
        pytest.raises(CredentialsError, match=r"answered 401: puppetlabs\.rbac/user-unauthenticated"),
    ):
        asking.ask(Request(PATH))


def test_a_refused_parameter_is_told_in_the_vendors_words(address: str, clock: TurnableClock) -> None:
    with (
        client(address, clock) as asking,
        pytest.raises(RequestError, match=r"answered 400: puppetlabs\.orchestrator/validation-error: The end_date"),
    ):
        asking.ask(Request(PATH, (("end_date", "2022_04_30"),)))


def test_without_a_token_nothing_is_told(address: str) -> None:
    found = httpx.get(address + PATH)
    assert found.status_code == 401
    assert found.json()["kind"] == "puppetlabs.rbac/user-unauthenticated"
    assert found.json()["msg"]


@pytest.mark.parametrize(
    "params",
    [
        {"start_date": "2022-01-01", "end_date": "2022_04_30"},
        {"start_date": "20260101"},
        {"start_date": "2026-02-30"},
        {"start_date": ""},
        {"start_date": "2026-03-02", "end_date": "2026-03-01"},
        {"events": "maybe"},
    ],
)
def test_parameters_that_are_refused(orchestrator: httpx.Client, params: dict[str, str]) -> None:
    found = orchestrator.get(PATH, params=params)
    assert found.status_code == 400
    assert found.json()["kind"] == "puppetlabs.orchestrator/validation-error"


def test_both_ends_are_included_and_the_newest_day_comes_first(orchestrator: httpx.Client) -> None:
    body = asked(orchestrator, start_date="2026-03-02", end_date="2026-03-04")
    assert [item["date"] for item in body["items"]] == ["2026-03-04", "2026-03-03", "2026-03-02"]
    assert list(body["items"][0]) == ["date", *NODE_FIELDS, *EVENT_FIELDS]


@pytest.mark.parametrize("params", [{}, {"start_date": "2026-03-01"}, YEAR])
def test_pagination_echoes_what_was_asked(orchestrator: httpx.Client, params: dict[str, str]) -> None:
    assert asked(orchestrator, **params)["pagination"] == params


def test_events_are_left_out_when_asked(orchestrator: httpx.Client) -> None:
    body = asked(orchestrator, events="exclude")
    assert {tuple(item) for item in body["items"]} == {("date", *NODE_FIELDS)}


def test_the_future_and_the_time_before_are_empty(orchestrator: httpx.Client) -> None:
    assert asked(orchestrator, start_date="2026-03-19", end_date="2026-12-31")["items"] == []
    assert asked(orchestrator, start_date="2024-01-01", end_date="2024-12-31")["items"] == []
    dates = [item["date"] for item in asked(orchestrator, end_date="2030-01-01")["items"]]
    assert (dates[0], dates[-1]) == ("2026-03-18", "2025-01-01")


def test_four_days_of_a_year_are_missing(orchestrator: httpx.Client) -> None:
    told = {item["date"] for item in asked(orchestrator, **YEAR)["items"]}
    missing = {f"{day}" for day in Days(date(2025, 1, 1), date(2025, 12, 31))} - told
    assert sorted(day[:7] for day in missing) == ["2025-02", "2025-05", "2025-08", "2025-11"]


def test_nodes_add_up(orchestrator: httpx.Client) -> None:
    for item in asked(orchestrator)["items"]:
        assert item["total_nodes"] == item["nodes_with_agent"] + item["nodes_without_agent"]


def test_today_grows_and_the_past_does_not(orchestrator: httpx.Client, clock: TurnableClock) -> None:
    noon, *before = asked(orchestrator)["items"]
    clock.advance(hours=6)
    evening, *still = asked(orchestrator)["items"]
    assert before == still
    assert all(0 < noon[field] < evening[field] for field in EVENT_FIELDS)
    clock.advance(hours=18)
    whole = asked(orchestrator)["items"][1]
    assert whole["date"] == noon["date"]
    assert all(evening[field] < whole[field] for field in EVENT_FIELDS)


def test_weekends_are_quiet_and_the_company_grows(orchestrator: httpx.Client) -> None:
    items = asked(orchestrator, **YEAR)["items"]
    weekday = [item for item in items if datetime.fromisoformat(item["date"]).weekday() < 5]
    weekend = [item for item in items if datetime.fromisoformat(item["date"]).weekday() >= 5]
    assert max(item["intentional_agent_changes"] for item in weekend) < min(
        item["intentional_agent_changes"] for item in weekday
    )
    assert items[0]["nodes_with_agent"] > items[-1]["nodes_with_agent"]
