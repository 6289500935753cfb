"""The LaunchDarkly sandbox over a real socket, read by the vendor module; numbers checked against the raw JSON."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as Asked
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from usage_pipeline.contract.answer import Landing
from usage_pipeline.contract.errors import CredentialsError, RequestError
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.kit.http import Client
from usage_pipeline.sandbox import launchdarkly as sandbox
from usage_pipeline.sandbox.world import World
from usage_pipeline.stages.normalise import usage
from usage_pipeline.vendors.launchdarkly import LAUNCHDARKLY, SERIES, LaunchDarklyOptions
from usage_pipeline_tests.conftest import NOW, TurnableClock

MARCH = Days(date(2026, 3, 1), date(2026, 3, 18))
BETA = {"Authorization": sandbox.TOKEN, "LD-API-Version": "beta"}


@pytest.fixture
def address(serve: Callable[[Any], str], clock: TurnableClock) -> str:
    return serve(Starlette(routes=[Mount("/launchdarkly", routes=sandbox.routes(World(clock)))])) + "/launchdarkly"


@pytest.fixture
def raw(address: str) -> Iterator[Callable[..., httpx.Response]]:
    """Ask without the vendor module."""
    with httpx.Client(base_url=f"{address}/api/v2/usage", headers=BETA) as client:
        yield lambda path, headers=None, **params: client.get(f"/{path}", params=params, headers=headers)


def account(address: str, **options: Any) -> Account:
    complete = LaunchDarklyOptions(**options).model_dump()
    return Account("main", "launchdarkly", address, date(2025, 1, 1), options=complete)


def client(address: str, clock: TurnableClock, token: str = sandbox.TOKEN) -> Client:
    secrets = {"access_token": token}
    return Client(
        address,
        auth=LAUNCHDARKLY.auth(account(address), secrets, clock),
        explain=LAUNCHDARKLY.explain,
        clock=clock,
        sleep=lambda _seconds: None,
        reset_headers=LAUNCHDARKLY.reset_headers,
    )


def rows(address: str, clock: TurnableClock, slug: str, days: Days = MARCH, **options: Any) -> list[dict[str, Any]]:
    endpoint = LAUNCHDARKLY.endpoint(slug)
    configured = account(address, **options)
    with client(address, clock) as asking:
        answers = tuple(asking.ask(request) for request in endpoint.requests(configured, days))
    landed = Landing("launchdarkly", "main", slug, days, answers, clock(), configured.options)
    found: list[dict[str, Any]] = usage(endpoint, landed, endpoint.normalise(landed)).to_pylist()
    return found


def ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def asked(days: Days, aggregation: str, ticks: int = 1000, **more: Any) -> dict[str, Any]:
    first, end = ms(days.first) * ticks // 1000, (ms(days.last) + 86_400_000) * ticks // 1000
    return {"from": first, "to": end - 1, "aggregationType": aggregation, "granularity": "daily", **more}


def points(body: dict[str, Any]) -> dict[tuple[str, int], Decimal]:
    return {
        (key, int(point["time"])): Decimal(str(value))
        for point in body["series"]
        for key, value in point.items()
        if key != "time"
    }


def day_of(row: dict[str, Any]) -> int:
    return ms(row["usage_date"])


def kind_of(row: dict[str, Any]) -> tuple[str, str]:
    return row["role"], row["temporality"]


@pytest.mark.parametrize("series", SERIES, ids=lambda series: series.slug)
def test_every_endpoint_is_answered_and_read(
    address: str, clock: TurnableClock, raw: Callable[..., httpx.Response], series: Any
) -> None:
    found = rows(address, clock, series.slug)
    assert found
    temporalities = {"month_to_date": "cumulative", "rolling_30d": "rolling"}
    for aggregation in series.types:
        body = raw(series.path, **asked(MARCH, aggregation, series.ticks)).json()
        told = defaultdict(list)
        for (_key, at), value in points(body).items():
            told[at].append(value)
        read = defaultdict(list)
        for row in found:
            if kind_of(row) == ("consumed", temporalities.get(aggregation, "delta")):
                read[day_of(row)].append(row["value"])
        assert {at: sorted(values) for at, values in read.items()} == {at: sorted(v) for at, v in told.items()}
        assert len(told) == 18


def test_service_connections_by_application(
    address: str, clock: TurnableClock, raw: Callable[..., httpx.Response]
) -> None:
    dimensions = ["projectId", "environmentId", "sdkAppId"]
    found = rows(address, clock, "service_connections", group_by={"service_connections": dimensions})
    body = raw("service-connections", **asked(MARCH, "incremental", groupBy=dimensions)).json()
    assert len(body["metadata"]) == 24
    told = {
        (*(body["metadata"][int(key)][name] for name in dimensions), at): value
        for (key, at), value in points(body).items()
    }
    names = ("project", "environment", "sdk_app")
    read = {
        (*(dict(row["dimensions"])[name] for name in names), day_of(row)): row["value"]
        for row in found
        if row["breakdown"] == "environment+project+sdk_app"
    }
    assert read == told
    # 18 days of 24 applications; six rest on the Sundays 1, 8 and 15 March, and have no row there.
    assert len(read) == 18 * 24 - 3 * 6
    whole = [row for row in found if kind_of(row) == ("consumed", "delta") and not row["breakdown"]]
    totals = {day_of(row): row["value"] for row in whole}
    sums: dict[int, Decimal] = defaultdict(Decimal)
    for key, value in read.items():
        sums[key[-1]] += value
    assert sums == totals


def test_the_projection_runs_to_the_end_of_the_month(
    address: str, clock: TurnableClock, raw: Callable[..., httpx.Response]
) -> None:
    days = Days(date(2026, 3, 16), date(2026, 3, 18))
    found = {
        day_of(row): row["value"]
        for row in rows(address, clock, "service_connections", days)
        if row["role"] == "projected"
    }
    body = raw("service-connections", **asked(days, "month_to_date")).json()
    told = {int(point["time"]): Decimal(str(point["0"])) for point in body["projectedSeries"]}
    assert len(told) == 31
    assert found == {at: value for at, value in told.items() if at >= ms(days.first)}
    values = [told[at] for at in sorted(told)]
    assert values == sorted(values)


def test_running_totals_grow_and_start_again(address: str, clock: TurnableClock) -> None:
    days = Days(date(2026, 1, 15), date(2026, 3, 17))
    found = rows(address, clock, "service_connections", days)
    daily = {row["usage_date"]: row["value"] for row in found if kind_of(row) == ("consumed", "delta")}
    running = {row["usage_date"]: row["value"] for row in found if kind_of(row) == ("consumed", "cumulative")}
    for day in list(running)[1:]:
        assert running[day] == daily[day] + (0 if day.day == 1 else running[day - timedelta(days=1)])
    mau = [row for row in rows(address, clock, "total_mau", days) if row["temporality"] == "cumulative"]
    for earlier, later in pairwise(mau):
        assert (later["value"] < earlier["value"]) is (later["usage_date"].day == 1)


def test_distinct_counts_of_parts_are_more_than_the_total(address: str, clock: TurnableClock) -> None:
    found = rows(address, clock, "total_mau", group_by={"total_mau": ["projectId"]})
    parts: dict[Any, Decimal] = defaultdict(Decimal)
    for row in found:
        if row["breakdown"] == "project":
            parts[row["temporality"], row["usage_date"]] += row["value"]
    totals = {(row["temporality"], row["usage_date"]): row["value"] for row in found if not row["breakdown"]}
    assert parts.keys() == totals.keys()
    assert all(parts[key] > totals[key] for key in totals)


def test_today_is_partial_and_tomorrow_is_not_there(address: str, clock: TurnableClock) -> None:
    def today() -> Decimal:
        found = rows(address, clock, "ai_runs", Days(date(2026, 3, 18), date(2026, 3, 20)))
        assert [row["usage_date"] for row in found] == [date(2026, 3, 18)]
        assert not found[0]["is_final"]
        value: Decimal = found[0]["value"]
        return value

    noon = today()
    clock.advance(hours=6)
    assert noon < today()


def test_history_starts_in_2025(address: str, clock: TurnableClock) -> None:
    found = rows(address, clock, "ai_runs", Days(date(2024, 12, 30), date(2025, 1, 2)))
    assert [row["usage_date"] for row in found] == [date(2025, 1, 1), date(2025, 1, 2)]


def test_800_days_are_answered_in_pieces(address: str, clock: TurnableClock) -> None:
    days = Days(date(2024, 1, 9), date(2026, 3, 18))
    assert len(days) == 800
    endpoint = LAUNCHDARKLY.endpoint("ai_runs")
    found = [row for piece in days.split(endpoint.max_days) for row in rows(address, clock, "ai_runs", piece)]
    assert [row["usage_date"] for row in found] == list(Days(date(2025, 1, 1), date(2026, 3, 18)))


def test_a_token_that_is_wrong_and_a_header_that_is_missing(
    address: str, clock: TurnableClock, raw: Callable[..., httpx.Response]
) -> None:
    request = next(iter(LAUNCHDARKLY.endpoint("total_mau").requests(account(address), MARCH)))
    with client(address, clock, "wrong") as asking, pytest.raises(CredentialsError, match="Invalid access token"):
        asking.ask(request)
    found = raw("total-mau", headers={"Authorization": f"Bearer {sandbox.TOKEN}"})
    assert (found.status_code, found.json()) == (401, {"code": "unauthorized", "message": "Invalid access token"})
    found = raw("total-mau", headers={"LD-API-Version": "20240415"})
    assert (found.status_code, found.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("total-mau", {"from": "yesterday"}),
        ("total-mau", {"to": "2026-03-01"}),
        ("total-mau", {"from": str(ms(date(2026, 3, 2))), "to": str(ms(date(2026, 3, 1)))}),
        ("total-mau", {"from": str(ms(date(2025, 1, 1))), "to": str(ms(date(2026, 1, 1)) + 1)}),
        ("serverside-contexts", {"from": str(ms(date(2026, 3, 1))), "to": str(ms(date(2026, 3, 2)))}),
        ("total-mau", {"groupBy": "sdkVersion"}),
        ("total-mau", {"groupBy": "projectId,environmentId"}),
        ("total-mau", {"aggregationType": "daily_incremental"}),
        ("service-connections", {"aggregationType": "rolling_30d"}),
        ("service-connections", {"granularity": "minutely"}),
        ("service-connections", {"granularity": "monthly", "aggregationType": "incremental"}),
        ("data-export-events", {"groupBy": "projectId"}),
        ("total-mau", {"environmentKey": "test"}),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    raw: Callable[..., httpx.Response], path: str, params: dict[str, str]
) -> None:
    found = raw(path, **params)
    assert (found.status_code, found.json()["code"]) == (400, "invalid_request")


def test_a_refusal_reaches_the_reader(address: str, clock: TurnableClock) -> None:
    configured = account(address, group_by={"total_mau": ["contextKind"]})
    request = list(LAUNCHDARKLY.endpoint("total_mau").requests(configured, MARCH))[1]
    with client(address, clock) as asking, pytest.raises(RequestError, match=r"invalid_request: .*contextKind"):
        asking.ask(request)


def test_a_misspelt_parameter_is_overlooked(raw: Callable[..., httpx.Response]) -> None:
    assert raw("total-mau", groupby="projectId").json()["metadata"] == [{}]


def test_the_beginning_of_the_month_and_now_are_the_defaults(raw: Callable[..., httpx.Response]) -> None:
    found = raw("total-mau").json()["series"]
    assert [point["time"] for point in found] == [ms(day) for day in MARCH]


def test_monthly_points_stand_at_the_end_of_the_month(raw: Callable[..., httpx.Response]) -> None:
    days = Days(date(2026, 1, 1), date(2026, 3, 18))
    found = raw("total-mau", **asked(days, "month_to_date") | {"granularity": "monthly"}).json()["series"]
    assert [point["time"] for point in found] == [ms(date(2026, 1, 31)), ms(date(2026, 2, 28)), ms(date(2026, 3, 18))]


def test_filters_leave_parts_of_the_whole(raw: Callable[..., httpx.Response]) -> None:
    def total(**params: Any) -> Decimal:
        body = raw("service-connections", **asked(MARCH, "incremental", **params)).json()
        return sum(points(body).values(), Decimal())

    assert total() == sum(total(projectKey=key) for key in ("storefront", "payments", "mobile"))
    assert total(projectKey="payments") == sum(
        total(projectKey="payments", environmentKey=key) for key in ("production", "test")
    )


def test_limits_are_told(raw: Callable[..., httpx.Response]) -> None:
    first, second = raw("total-mau").headers, raw("total-mau", groupBy="nonsense").headers
    assert int(first["x-ratelimit-global-remaining"]) - int(second["x-ratelimit-global-remaining"]) == 1
    reset = datetime.fromtimestamp(int(first["x-ratelimit-reset"]) / 1000, UTC)
    assert timedelta(0) < reset - NOW <= timedelta(seconds=10)


def test_the_same_question_has_the_same_answer(raw: Callable[..., httpx.Response]) -> None:
    assert raw("total-mau").content == raw("total-mau").content


def test_a_year_is_answered_at_once() -> None:
    world = World(TurnableClock())
    slow = next(one for one in sandbox.USAGES if one.path == "total-contexts")
    days = list(Days(date(2025, 3, 1), date(2026, 2, 28)))
    began = time.process_time()
    for leaf in sandbox.company(slow):
        sandbox.series(world, slow, "rolling_30d", [leaf], days)
    assert time.process_time() - began < 2


def test_two_dimensions_are_two_parameters(serve: Callable[[Any], str], clock: TurnableClock) -> None:
    seen: list[str] = []

    async def listen(request: Asked) -> JSONResponse:
        seen.append(request.url.query)
        assert request.headers["authorization"] == "plain-token"
        assert request.headers["ld-api-version"] == "beta"
        return JSONResponse({"_links": {}, "metadata": [], "series": []})

    address = serve(Starlette(routes=[Route("/api/v2/usage/service-connections", listen)]))
    configured = account(address, group_by={"service_connections": ["projectId", "sdkAppId"]})
    request = list(LAUNCHDARKLY.endpoint("service_connections").requests(configured, MARCH))[1]
    with client(address, clock, "plain-token") as asking:
        asking.ask(request)
    assert seen[0].endswith("&groupBy=projectId&groupBy=sdkAppId")
