"""The ThousandEyes sandbox over a real socket, read by the vendor module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from usage_pipeline.contract.answer import Landing
from usage_pipeline.contract.errors import CredentialsError, RequestError, TransientError
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.kit.http import Client
from usage_pipeline.sandbox import thousandeyes as sandbox
from usage_pipeline.sandbox.world import World
from usage_pipeline.stages import normalise
from usage_pipeline.vendors.thousandeyes import THOUSANDEYES, ThousandEyesOptions
from usage_pipeline_tests.conftest import TurnableClock

ENDPOINT = THOUSANDEYES.endpoint("usage")
BASIC = {"email": sandbox.EMAIL, "token": sandbox.TOKEN}
BEARER = {"bearer_token": sandbox.BEARER_TOKEN}
AUTHORIZED = {"Authorization": f"Bearer {sandbox.BEARER_TOKEN}"}
Row = dict[str, Any]


@pytest.fixture
def url(serve: Callable[[Any], str], clock: TurnableClock) -> str:
    return serve(Starlette(routes=[Mount("/thousandeyes", routes=sandbox.routes(World(clock)))])) + "/thousandeyes"


def rows(url: str, clock: TurnableClock, secrets: Mapping[str, str] = BEARER, **options: Any) -> list[Row]:
    """What the vendor module makes of the server's answer."""
    given = ThousandEyesOptions(**options).model_dump()
    today = Days(clock().date(), clock().date())
    account = Account("acme", "thousandeyes", url, today.first, dict.fromkeys(secrets, "X"), ("usage",), given)

    def give_up(_seconds: float) -> None:
        raise AssertionError("nothing is asked for twice here")

    with Client(
        url,
        auth=THOUSANDEYES.auth(account, secrets, clock),
        explain=THOUSANDEYES.explain,
        clock=clock,
        sleep=give_up,
        reset_headers=THOUSANDEYES.reset_headers,
    ) as client:
        answers = tuple(client.ask(request) for request in ENDPOINT.requests(account, today))
    landing = Landing("thousandeyes", "acme", "usage", today, answers, clock(), given)
    told: list[Row] = normalise.usage(ENDPOINT, landing, ENDPOINT.normalise(landing)).to_pylist()
    return told


def get(url: str, **params: str) -> httpx.Response:
    return httpx.get(url, headers=AUTHORIZED, params=params)


def usage(url: str, **params: str) -> Any:
    return get(f"{url}/v6/usage.json", **params).json()["usage"]


def without_source(found: list[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key != "response_id"} for row in found]


def total(found: list[Row], metric: str, role: str, breakdown: str = "") -> Decimal:
    return sum(
        (row["value"] for row in found if (row["metric"], row["role"], row["breakdown"]) == (metric, role, breakdown)),
        Decimal(0),
    )


def test_rows_say_what_the_answer_says(url: str, clock: TurnableClock) -> None:
    told, found = usage(url), rows(url, clock, api_version="v6")
    for field, metric in (("cloudUnits", "cloud_units"), ("enterpriseUnits", "enterprise_units")):
        assert total(found, metric, "consumed") == told[f"{field}Used"] > 0
        assert total(found, metric, "projected") == told[f"{field}Projected"]
    for field, metric in (("endpointAgents", "endpoint_agents"), ("enterpriseAgents", "enterprise_agents")):
        assert total(found, metric, "consumed") == told[f"{field}Used"] > 0
        assert total(found, metric, "consumed", "account_group") == sum(one[f"{field}Used"] for one in told[field])
    assert total(found, "cloud_units", "entitled") == 4320000000
    assert total(found, "cloud_units", "consumed", "account_group+test") == sum(
        test["cloudUnitsUsed"] for test in told["tests"]
    )
    assert total(found, "enterprise_units", "consumed", "account_group+agent") == sum(
        agent["enterpriseUnitsUsed"] for agent in told["enterpriseAgentUnits"]
    )
    # 2 allowances; 4 totals and 2 projections; 6 tests and 3 agents with theirs; 2 groups of 2 kinds of agents.
    assert len(found) == 2 + 4 + 2 + 6 * 2 + 3 * 2 + 2 * 2
    assert {row["period_start"] for row in found} == {datetime(2026, 3, 5, 8, tzinfo=UTC)}
    assert {row["period_end"] for row in found if row["role"] != "consumed"} == {datetime(2026, 4, 5, 8, tzinfo=UTC)}


def test_xml_and_json_give_the_same_rows(url: str, clock: TurnableClock) -> None:
    told = get(f"{url}/v6/usage", format="xml")
    assert told.headers["content-type"] == "application/xml;charset=UTF-8"
    assert told.text.startswith("<?xml")
    assert without_source(rows(url, clock, format="xml")) == without_source(rows(url, clock, api_version="v6"))


def test_basic_and_bearer_give_the_same_rows(url: str, clock: TurnableClock) -> None:
    assert without_source(rows(url, clock, BASIC)) == without_source(rows(url, clock, BEARER, api_version="v6"))


def test_v7_adds_its_families(url: str, clock: TurnableClock) -> None:
    v6, v7 = rows(url, clock, api_version="v6"), rows(url, clock)
    for metric in ("cloud_units", "enterprise_units", "endpoint_agents", "enterprise_agents"):
        for breakdown in ("", "account_group", "account_group+test", "account_group+agent"):
            assert total(v7, metric, "consumed", breakdown) == total(v6, metric, "consumed", breakdown)
    assert {row["metric"] for row in v7} - {row["metric"] for row in v6} == {
        "connected_devices_units",
        "device_agents",
        "endpoint_agents_essentials",
        "endpoint_agents_embedded",
    }
    agents = {dict(row["dimensions"]).get("agent") for row in v7 if row["metric"] == "enterprise_units"}
    assert agents == {None, "80001", "80002", "branch-lyon"}


def test_v7_tells_arrays_only_where_expanded(url: str) -> None:
    plain = get(f"{url}/v7/usage")
    assert plain.headers["content-type"] == "application/hal+json"
    assert "tests" not in plain.json()["usage"]
    told = get(f"{url}/v7/usage", expand="test,endpoint-agent").json()["usage"]
    assert {"tests", "endpointAgents"} == {name for name, value in told.items() if isinstance(value, list)}
    assert all(isinstance(test["testId"], str) for test in told["tests"])
    assert told["quota"]["monthStart"] == "2026-03-05T08:00:00Z"


def test_aid_picks_the_organization_and_filters_nothing(url: str, clock: TurnableClock) -> None:
    assert usage(url, aid="1101") == usage(url, aid="1102") == usage(url)
    assert without_source(rows(url, clock, aid=1101)) == without_source(rows(url, clock))


@pytest.mark.parametrize("version", ["v6", "v7"])
def test_unknown_aid_is_refused(url: str, clock: TurnableClock, version: str) -> None:
    with pytest.raises(RequestError, match=r"400.*Invalid aid 999"):
        rows(url, clock, api_version=version, aid=999)


def test_unknown_aid_is_refused_in_xml_too(url: str, clock: TurnableClock) -> None:
    with pytest.raises(RequestError, match=r"400: Invalid aid 999$"):
        rows(url, clock, format="xml", aid="999")


@pytest.mark.parametrize("version", ["v6", "v7"])
def test_wrong_and_weak_credentials_are_told_apart(url: str, clock: TurnableClock, version: str) -> None:
    with pytest.raises(CredentialsError, match=r"401.*Invalid"):
        rows(url, clock, {"bearer_token": "wrong"}, api_version=version)
    with pytest.raises(CredentialsError, match=r"403.*View Billing"):
        rows(url, clock, {"bearer_token": sandbox.BEARER_WITHOUT_BILLING}, api_version=version)


def test_v7_does_not_take_basic(url: str) -> None:
    assert httpx.get(f"{url}/v6/usage", auth=(sandbox.EMAIL, sandbox.TOKEN)).status_code == 200
    refused = httpx.get(f"{url}/v7/usage", auth=(sandbox.EMAIL, sandbox.TOKEN))
    assert refused.status_code == 401
    assert refused.json()["error"] == "invalid_token"


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("/v7/usage.json", {}, 404),
        ("/v7/usage", {"expand": "tests"}, 400),
        ("/v6/usage.csv", {}, 400),
        ("/v6/usage", {"format": "csv"}, 400),
        ("/v6/nothing", {}, 404),
    ],
)
def test_requests_are_validated(url: str, path: str, params: dict[str, str], status: int) -> None:
    refused = get(url + path, **params)
    assert refused.status_code == status
    v7 = path.startswith("/v7")
    assert refused.headers["content-type"].startswith("application/problem+json" if v7 else "application/json")
    assert ("detail" if v7 else "errorMessage") in refused.json()


def test_requests_of_a_minute_are_counted(url: str, clock: TurnableClock) -> None:
    with httpx.Client(headers=AUTHORIZED) as client:
        first = client.get(f"{url}/v6/nothing")
        assert first.headers["x-organization-rate-limit-limit"] == "240"
        assert first.headers["x-organization-rate-limit-remaining"] == "239"
        reset = clock() + timedelta(minutes=1)
        assert first.headers["x-organization-rate-limit-reset"] == str(int(reset.timestamp()))
        for _ in range(239):
            client.get(f"{url}/v6/nothing")
        assert client.get(f"{url}/v6/usage").status_code == 429
        assert client.get(f"{url}/v7/usage").headers["content-type"] == "application/problem+json"
        clock.advance(seconds=60)
        assert client.get(f"{url}/v6/usage").status_code == 200


def test_client_waits_until_the_limit_resets(url: str, clock: TurnableClock) -> None:
    with httpx.Client(headers=AUTHORIZED) as client:
        for _ in range(240):
            client.get(f"{url}/v6/nothing")
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        raise TransientError("that is long enough")

    options = ThousandEyesOptions.model_validate({}).model_dump()
    account = Account("acme", "thousandeyes", url, clock().date(), options=options)
    with (
        Client(
            url,
            auth=THOUSANDEYES.auth(account, BEARER, clock),
            explain=THOUSANDEYES.explain,
            clock=clock,
            sleep=sleep,
            reset_headers=THOUSANDEYES.reset_headers,
        ) as asking,
        pytest.raises(TransientError, match="long enough"),
    ):
        asking.ask(next(iter(ENDPOINT.requests(account, Days(clock().date(), clock().date())))))
    assert 60 <= waited[0] <= 61


def test_meters_never_fall_within_a_period_and_end_at_the_projection(clock: TurnableClock) -> None:
    world = World(clock)
    clock.now = datetime(2026, 3, 5, 8, tzinfo=UTC)
    fields = ("cloudUnitsUsed", "enterpriseUnitsUsed", "endpointAgentsUsed", "enterpriseAgentsUsed")
    before = sandbox.usage(world)
    assert before["cloudUnitsUsed"] == 0
    while clock.now < datetime(2026, 4, 5, 1, tzinfo=UTC):
        clock.advance(hours=7)
        told = sandbox.usage(world)
        assert all(told[field] >= before[field] for field in fields)
        assert sum(test["cloudUnitsUsed"] for test in told["tests"]) <= told["cloudUnitsUsed"]
        assert told["cloudUnitsUsed"] <= told["cloudUnitsProjected"] == before["cloudUnitsProjected"]
        before = told
    clock.now = datetime(2026, 4, 5, 7, 59, 59, tzinfo=UTC)
    last = sandbox.usage(world)
    assert last["cloudUnitsUsed"] == pytest.approx(last["cloudUnitsProjected"], rel=1e-5)
    following = last["cloudUnitsNextBillingPeriod"]
    clock.advance(seconds=1)
    told = sandbox.usage(world)
    assert told["quota"]["monthStart"] == datetime(2026, 4, 5, 8, tzinfo=UTC)
    assert told["cloudUnitsUsed"] == 0
    assert told["cloudUnitsProjected"] == following


def test_new_test_has_no_projection_for_two_days(url: str, clock: TurnableClock) -> None:
    # 2025-01-01 and 16 times 28 days
    born = datetime(2026, 3, 25, tzinfo=UTC)
    unprojected = {}
    for days in (-0.5, 0.5, 1.5, 2.5):
        clock.now = born + timedelta(days=days)
        tests = usage(url)["tests"]
        unprojected[days] = [test["testId"] for test in tests if "cloudUnitsProjected" not in test]
    assert unprojected == {-0.5: [], 0.5: [60016], 1.5: [60016], 2.5: []}
    clock.now = born + timedelta(days=1)
    found = [row["role"] for row in rows(url, clock) if dict(row["dimensions"]).get("test") == "60016"]
    assert found == ["consumed"]


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        ("2026-01-05T07:59Z", "2025-12-05T08:00Z", "2026-01-05T08:00Z"),
        ("2026-01-05T08:00Z", "2026-01-05T08:00Z", "2026-02-05T08:00Z"),
        ("2026-12-31T23:00Z", "2026-12-05T08:00Z", "2027-01-05T08:00Z"),
    ],
)
def test_period_turns_on_the_fifth_at_eight(now: str, start: str, end: str) -> None:
    assert sandbox.period(datetime.fromisoformat(now)) == (
        datetime.fromisoformat(start),
        datetime.fromisoformat(end),
    )


def test_same_seed_tells_the_same(clock: TurnableClock) -> None:
    assert sandbox.usage(World(clock, 7)) == sandbox.usage(World(clock, 7)) != sandbox.usage(World(clock, 8))
