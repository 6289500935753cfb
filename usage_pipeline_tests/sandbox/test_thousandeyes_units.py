"""Units of past days and quotas of the ThousandEyes sandbox over a real socket, read by the vendor module."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as Asked
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from usage_pipeline import pipeline
from usage_pipeline.config import HOME_VARIABLE
from usage_pipeline.contract.errors import CredentialsError, PayloadError, RequestError, UsageError
from usage_pipeline.contract.schema import COVERAGE
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.sandbox import thousandeyes as sandbox
from usage_pipeline.sandbox.world import World
from usage_pipeline.vendors.thousandeyes import ThousandEyesOptions
from usage_pipeline_tests import contract_world as world
from usage_pipeline_tests.conftest import TurnableClock

TESTS, AGENTS, QUOTAS = "units_tests", "units_enterprise_agents", "quotas"
PATHS = {TESTS: "/v7/usage/units/tests", AGENTS: "/v7/usage/units/enterprise-agents", QUOTAS: "/v7/quotas"}
# The days of the billing period that turned on 5 March 2026 at 08:00; the clock says 18 March, noon.
START, NOW = datetime(2026, 3, 5, 8, tzinfo=UTC), datetime(2026, 3, 18, 12, tzinfo=UTC)
WEEK = Days(date(2026, 3, 9), date(2026, 3, 15))
Rows = list[dict[str, Any]]
Serve = Callable[[Any], str]


@pytest.fixture
def url(serve: Serve, clock: TurnableClock) -> str:
    return serve(Starlette(routes=[Mount("/thousandeyes", routes=sandbox.routes(World(clock)))])) + "/thousandeyes"


def pull(
    home: Path, url: str, clock: TurnableClock, slug: str, days: Days, token: str = sandbox.BEARER_TOKEN
) -> pipeline.Outcome:
    place = pipeline.place({HOME_VARIABLE: str(home), "TOKEN": token}, clock, lambda _seconds: None)
    options = ThousandEyesOptions.model_validate({}).model_dump()
    account = Account("acme", "thousandeyes", url, days.first, {"bearer_token": "TOKEN"}, (slug,), options)
    return pipeline.pull(place, account, slug, days)


def rows(home: Path, url: str, clock: TurnableClock, slug: str, days: Days) -> Rows:
    assert pull(home, url, clock, slug, days).failures == {}
    return world.table(home)


def iso(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def get(address: str, token: str = sandbox.BEARER_TOKEN, **params: str) -> httpx.Response:
    return httpx.get(address, headers={"Authorization": f"Bearer {token}"}, params=params or None)


def records(address: str, **params: str) -> Rows:
    """Every page of an answer, by its links."""
    found: Rows = []
    body = get(address, **params).json()
    while True:
        found += body["breakdowns"]
        if "next" not in body["_links"]:
            return found
        body = get(body["_links"]["next"]["href"]).json()


def window(start: datetime, end: datetime) -> dict[str, str]:
    return {"startDate": iso(start), "endDate": iso(end)}


def total(found: Rows, metric: str) -> Any:
    return sum((row["value"] for row in found if row["metric"] == metric), Decimal(0))


def told(found: Rows, field: str) -> int:
    return sum(record.get(field, 0) for record in found)


@pytest.mark.parametrize("slug", [TESTS, AGENTS])
def test_days_add_up_to_what_a_week_says(tmp_path: Path, url: str, clock: TurnableClock, slug: str) -> None:
    found = rows(tmp_path, url, clock, slug, WEEK)
    whole = records(url + PATHS[slug], **window(WEEK.start, WEEK.end))
    assert total(found, "enterprise_units") == told(whole, "enterpriseUnitsUsed") > 0
    assert total(found, "cloud_units") == told(whole, "cloudUnitsUsed")
    # 5 tests with both units, and a canary and an instant test with cloud units only; 3 agents, 1 of them in 2 groups.
    assert len(found) == 7 * {TESTS: 5 * 2 + 2, AGENTS: 3 + 1}[slug]
    for day in WEEK:
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        of_day = [row for row in found if row["usage_date"] == day]
        assert total(of_day, "enterprise_units") == told(
            records(url + PATHS[slug], **window(start, start + timedelta(days=1))), "enterpriseUnitsUsed"
        )


def test_units_of_the_period_are_what_usage_says(url: str) -> None:
    """Deleted and instant tests are among the tests here; of agents both tell the same, split in other ways."""
    usage = get(f"{url}/v7/usage").json()["usage"]
    for address, span in ((TESTS, {}), (TESTS, window(START, NOW)), (AGENTS, {})):
        found = records(url + PATHS[address], **span)
        assert told(found, "enterpriseUnitsUsed") == usage["enterpriseUnitsUsed"] > 0
        assert told(found, "cloudUnitsUsed") == (usage["cloudUnitsUsed"] if address == TESTS else 0)


def test_a_test_is_told_beside_its_instant_runs(tmp_path: Path, url: str, clock: TurnableClock) -> None:
    twice = [record for record in records(url + PATHS[TESTS]) if record["testId"] == "50102"]
    assert [record["isInstantTest"] for record in twice] == [False, True]
    found = rows(tmp_path, url, clock, TESTS, Days(WEEK.first, WEEK.first))
    cloud = [
        dict(row["dimensions"])["instant"]
        for row in found
        if dict(row["dimensions"])["test"] == "50102" and row["metric"] == "cloud_units"
    ]
    assert sorted(cloud) == ["false", "true"]


def test_agents_are_split_between_the_groups_whose_tests_run_on_them(url: str) -> None:
    assert [(record.get("agentId"), record["aid"]) for record in records(url + PATHS[AGENTS])] == [
        ("80001", "1101"),
        ("80001", "1102"),
        ("80002", "1101"),
        (None, "1102"),
    ]


@pytest.mark.parametrize(("slug", "sizes"), [(TESTS, [3, 3, 1]), (AGENTS, [2, 2])])
def test_pages_are_linked_both_ways(url: str, slug: str, sizes: list[int]) -> None:
    body = get(url + PATHS[slug], **window(WEEK.start, WEEK.end)).json()
    found, first = [len(body["breakdowns"])], body
    while "next" in body["_links"]:
        before, body = body, get(body["_links"]["next"]["href"]).json()
        found.append(len(body["breakdowns"]))
        assert get(body["_links"]["previous"]["href"]).json()["breakdowns"] == before["breakdowns"]
    assert found == sizes
    assert "previous" not in first["_links"]


def test_the_present_day_is_told_up_to_now_and_stays_open(tmp_path: Path, url: str, clock: TurnableClock) -> None:
    today = Days(NOW.date(), NOW.date())
    early = rows(tmp_path, url, clock, TESTS, today)
    assert not any(row["is_final"] for row in early)
    clock.advance(hours=6)
    late = rows(tmp_path, url, clock, TESTS, today)
    assert total(late, "cloud_units") > total(early, "cloud_units") > 0
    assert len(late) == len(early)
    clock.now = datetime(2026, 3, 20, 23, 59, tzinfo=UTC)
    assert not any(row["is_final"] for row in rows(tmp_path, url, clock, TESTS, today))
    clock.advance(minutes=1)
    assert all(row["is_final"] for row in rows(tmp_path, url, clock, TESTS, today))


def test_a_window_that_is_still_to_come_is_empty(url: str) -> None:
    assert records(url + PATHS[TESTS], **window(NOW + timedelta(hours=1), NOW + timedelta(days=1))) == []


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"startDate": "2026-03-10T00:00:00Z"}, 200),
        ({"startDate": "2026-03-10T00:00:00+00:00", "endDate": "2026-03-11T00:00:00.000000+0000"}, 200),
        ({"endDate": "2026-03-10T00:00:00Z"}, 400),
        ({"startDate": "2026-03-10"}, 400),
        ({"startDate": "2026-03-10T00:00:00"}, 400),
        ({"startDate": "2026-03-10T00:00Z"}, 400),
        ({"startDate": "2026-03-10T00:00:00+01:00"}, 400),
        ({"startDate": "2026-03-11T00:00:00Z", "endDate": "2026-03-10T00:00:00Z"}, 400),
        ({"cursor": "x"}, 400),
        ({"cursor": "ünlesbar"}, 400),
    ],
)
def test_windows_and_cursors_are_validated(url: str, params: dict[str, str], status: int) -> None:
    for slug in (TESTS, AGENTS):
        answer = get(url + PATHS[slug], **params)
        assert answer.status_code == status
        kind = "application/hal+json" if status == 200 else "application/problem+json"
        assert answer.headers["content-type"] == kind
        assert answer.headers["x-organization-rate-limit-limit"] == "240"


def test_quotas_are_rows(tmp_path: Path, url: str, clock: TurnableClock) -> None:
    found = rows(tmp_path, url, clock, QUOTAS, Days(NOW.date(), NOW.date()))
    assert {(row["breakdown"], *dict(row["dimensions"]).values()): row["value"] for row in found} == {
        ("organization", "21"): 5_000_000_000,
        ("organization", "22"): 22_500,
        ("account_group", "1101"): 3_500_000_000,
    }


# Accounts


@pytest.mark.parametrize("slug", [TESTS, AGENTS])
def test_without_usage_pricing_units_are_not_available(
    tmp_path: Path, url: str, clock: TurnableClock, slug: str
) -> None:
    outcome = pull(tmp_path, url, clock, slug, WEEK, sandbox.BEARER_WITHOUT_USAGE_PRICING)
    assert outcome.failures == {}
    assert outcome.told == []
    coverage = world.table(tmp_path, COVERAGE)
    assert [row["usage_date"] for row in coverage] == list(WEEK)
    for row in coverage:
        assert (row["state"], row["rows"]) == ("not_available", 0)
        assert "403: Forbidden: Only customers on usage based pricing" in str(row["reason"])
    assert world.table(tmp_path) == []


def test_days_that_are_known_stay_known_when_the_pricing_ends(tmp_path: Path, url: str, clock: TurnableClock) -> None:
    before = rows(tmp_path, url, clock, TESTS, WEEK)
    assert pull(tmp_path, url, clock, TESTS, WEEK, sandbox.BEARER_WITHOUT_USAGE_PRICING).failures == {}
    assert world.table(tmp_path) == before
    for row in world.table(tmp_path, COVERAGE):
        assert row["state"] == "complete"
        assert "usage based pricing" in str(row["reason"])


@pytest.mark.parametrize("slug", ["usage", QUOTAS])
def test_usage_and_quotas_need_no_usage_pricing(tmp_path: Path, url: str, clock: TurnableClock, slug: str) -> None:
    today = Days(NOW.date(), NOW.date())
    assert pull(tmp_path, url, clock, slug, today, sandbox.BEARER_WITHOUT_USAGE_PRICING).told == [NOW.date()]


@pytest.mark.parametrize("slug", [TESTS, AGENTS, QUOTAS])
@pytest.mark.parametrize("token", ["wrong-token", sandbox.BEARER_WITHOUT_BILLING])
def test_wrong_and_weak_credentials_are_failures(
    tmp_path: Path, url: str, clock: TurnableClock, slug: str, token: str
) -> None:
    today = Days(NOW.date(), NOW.date())
    (error,) = pull(tmp_path, url, clock, slug, today, token).failures.values()
    assert isinstance(error, CredentialsError)


# Links of a hostile or a broken vendor


def linking(serve: Serve, href: Callable[[str, int], str]) -> tuple[str, list[Asked]]:
    """A vendor whose pages have nothing but a link to the next, by its address and the pages told; and what it saw."""
    seen: list[Asked] = []

    async def page(request: Asked) -> JSONResponse:
        seen.append(request)
        link = {"href": href(f"{request.url.scheme}://{request.url.netloc}", len(seen))}
        return JSONResponse({"breakdowns": [], "_links": {"next": link}})

    return serve(Starlette(routes=[Route("/{rest:path}", page)])), seen


def failure(home: Path, url: str, clock: TurnableClock) -> UsageError | None:
    outcome = pull(home, url, clock, TESTS, Days(WEEK.first, WEEK.first))
    return outcome.failures.get(WEEK.first)


def test_a_next_page_at_another_origin_gets_no_credential(tmp_path: Path, serve: Serve, clock: TurnableClock) -> None:
    thief, stolen = linking(serve, lambda _base, _told: "")
    url, seen = linking(serve, lambda _base, _told: f"{thief}{PATHS[TESTS]}?cursor=x")
    error = failure(tmp_path, url, clock)
    assert isinstance(error, RequestError)
    assert "the credential stays here" in str(error)
    assert (len(seen), stolen) == (1, [])


def test_a_cursor_that_comes_again_ends_the_pages(tmp_path: Path, serve: Serve, clock: TurnableClock) -> None:
    url, seen = linking(serve, lambda base, _told: f"{base}{PATHS[TESTS]}?cursor=x")
    assert failure(tmp_path, url, clock) is None
    assert [asked.query_params.get("cursor") for asked in seen] == [None, "x"]


def test_cursors_that_go_round_are_refused(tmp_path: Path, serve: Serve, clock: TurnableClock) -> None:
    url, seen = linking(serve, lambda base, told: f"{base}{PATHS[TESTS]}?cursor={told % 2}")
    assert isinstance(failure(tmp_path, url, clock), PayloadError)
    assert [asked.query_params.get("cursor") for asked in seen] == [None, "1", "0"]
