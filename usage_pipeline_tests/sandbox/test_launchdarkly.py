"""The LaunchDarkly sandbox over a real socket, read by the vendor module; numbers checked against the raw JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
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
from usage_pipeline.stages.land import _pages
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
    landed = landing(address, clock, slug, days, **options)
    endpoint = LAUNCHDARKLY.endpoint(slug)
    found: list[dict[str, Any]] = usage(endpoint, landed, endpoint.normalise(landed)).to_pylist()
    return found


def landing(address: str, clock: TurnableClock, slug: str, days: Days = MARCH, **options: Any) -> Landing:
    endpoint = LAUNCHDARKLY.endpoint(slug)
    configured = account(address, **options)
    with client(address, clock) as asking:
        answers = tuple(
            answer
            for request in endpoint.requests(configured, days)
            for answer in _pages(endpoint, request, asking.ask)
        )
    return Landing("launchdarkly", "main", slug, days, answers, clock(), configured.options)


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


TYPED = [series for series in SERIES if ("granularity", "daily") in series.dialect.fixed]


@pytest.mark.parametrize("series", TYPED, ids=lambda series: series.slug)
def test_every_endpoint_is_answered_and_read(
    address: str, clock: TurnableClock, raw: Callable[..., httpx.Response], series: Any
) -> None:
    found = rows(address, clock, series.slug, aggregations={series.slug: list(series.types)})
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
    found = [row for piece in Days.cover(days, endpoint.max_days) for row in rows(address, clock, "ai_runs", piece)]
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


def test_ids_get_keys_and_names(address: str, clock: TurnableClock) -> None:
    found = rows(address, clock, "ai_runs", group_by={"ai_runs": ["projectId", "environmentId"]})
    labels = {tuple(row["dimensions"]): dict(row["labels"]) for row in found if row["breakdown"]}
    assert len(labels) == 6
    assert {
        "project_key": "payments",
        "project_name": "Payments",
        "environment_key": "test",
        "environment_name": "Test",
    } in labels.values()
    for row in found:
        if row["breakdown"]:
            assert dict(row["dimensions"])["project"] == sandbox.PROJECTS[dict(row["labels"])["project_key"]]


def test_the_catalogue_is_paged(address: str) -> None:
    headers = {"Authorization": sandbox.TOKEN, "LD-API-Version": "20240415"}
    with httpx.Client(base_url=address, headers=headers) as asking:
        told = [asking.get("/api/v2/projects", params={"limit": 1, "offset": n}).json() for n in range(4)]
        assert asking.get("/api/v2/projects", params={"limit": "many"}).status_code == 400
    assert [len(page["items"]) for page in told] == [1, 1, 1, 0]
    assert {page["totalCount"] for page in told} == {3}
    assert "environments" not in told[0]["items"][0]


def test_legacy_mau_differs_in_words_and_default(
    address: str, clock: TurnableClock, raw: Callable[..., httpx.Response]
) -> None:
    window = {"from": ms(MARCH.first), "to": ms(date(2026, 3, 19)) - 1}
    split = {"mau": ["project", "sdktype"]}
    found = rows(address, clock, "mau", group_by=split, aggregations={"mau": ["incremental"]})
    body = raw("mau", **window, aggregationType="daily_incremental", groupby=split["mau"]).json()
    told = {
        (body["metadata"][int(key)]["project"], body["metadata"][int(key)]["sdktype"], at): value
        for (key, at), value in points(body).items()
    }
    read = {
        (dict(row["dimensions"])["project"], dict(row["dimensions"])["sdk_type"], day_of(row)): row["value"]
        for row in found
        if row["breakdown"]
    }
    assert read == told
    assert len(told) == 3 * 2 * 18
    assert raw("mau", **window).json() == raw("mau", **window, aggregationType="rolling_30d").json()
    for wrong in ({"aggregationType": "incremental"}, {"groupby": "projectId"}, {"environment": "test"}):
        assert raw("mau", **wrong).status_code == 400


def test_categories(address: str, clock: TurnableClock, raw: Callable[..., httpx.Response]) -> None:
    found = rows(address, clock, "mau_by_category")
    body = raw("mau/bycategory", **{"from": ms(MARCH.first), "to": ms(date(2026, 3, 19)) - 1}).json()
    assert [one["category"] for one in body["metadata"]] == ["backend", "browser", "mobile"]
    assert sorted(row["value"] for row in found) == sorted(points(body).values())
    assert {row["temporality"] for row in found} == {"rolling"}


FLAGS = [
    {"project": "storefront", "environment": "production", "flag": "checkout-redesign"},
    {"project": "mobile", "environment": "test", "flag": "banner-text"},
]


@pytest.mark.parametrize(
    ("slug", "paths"),
    [
        ("events", ["events/received", "events/published"]),
        ("streams", ["streams/client", "streams/server"]),
        ("streams_by_sdk_version", ["streams/client/bysdkversion", "streams/server/bysdkversion"]),
        ("evaluations", ["evaluations/storefront/production/checkout-redesign", "evaluations/mobile/test/banner-text"]),
    ],
)
def test_one_day_is_told_whole_and_agrees_with_its_hours(
    address: str, clock: TurnableClock, raw: Callable[..., httpx.Response], slug: str, paths: list[str]
) -> None:
    """Yesterday, asked alone, comes in hours; asked with two days before it, which nobody reads, in one day."""
    yesterday = Days(date(2026, 3, 17), date(2026, 3, 17))
    clock.now = NOW - timedelta(hours=11, minutes=30)
    found = rows(address, clock, slug, yesterday, flags=FLAGS)
    bodies = [
        raw(path, **{"from": ms(yesterday.first), "to": ms(yesterday.first) + 86_399_999}).json() for path in paths
    ]
    hours = [sorted({at for _key, at in points(body)}) for body in bodies]
    assert all(later - earlier == 3_600_000 for one in hours for earlier, later in pairwise(one))
    assert all(len(one) >= 20 for one in hours)
    sums: dict[Any, Decimal] = defaultdict(Decimal)
    for n, body in enumerate(bodies):
        for (key, _at), value in points(body).items():
            sums[n, key] += value
    assert sorted(sums.values()) == sorted(row["value"] for row in found)
    assert {row["period_end"] - row["period_start"] for row in found} == {timedelta(days=1)}
    assert {row["usage_date"] for row in found} == {yesterday.first}


def test_widths_follow_age_and_length(raw: Callable[..., httpx.Response]) -> None:
    now = int(NOW.timestamp()) * 1000
    hour, day = 3_600_000, 86_400_000

    def width(path: str, back: int, length: int) -> int:
        times = [
            point["time"] for point in raw(path, **{"from": now - back, "to": now - back + length}).json()["series"]
        ]
        return int(times[1] - times[0])

    flag = "evaluations/payments/production/page-size"
    assert [width("events/received", back, back) for back in (hour, 30 * hour, 3 * day)] == [60_000, hour, day]
    assert [width("streams/server", back, back) for back in (hour, 30 * hour, 3 * day)] == [60_000, hour, day]
    assert [width(flag, 9 * day, length) for length in (hour, 30 * hour, 3 * day)] == [60_000, hour, day]
    assert width(flag, 80 * day, hour + hour // 2) == hour


def test_what_is_not_there_is_not_found(raw: Callable[..., httpx.Response]) -> None:
    for path in ("events/sent", "streams/browser", "evaluations/nowhere/production/page-size"):
        found = raw(path)
        assert (found.status_code, found.json()["code"]) == (404, "not_found")
    assert raw("streams/server", tz="Nowhere/Land").status_code == 400


def test_streams_are_filtered_by_sdk(raw: Callable[..., httpx.Response]) -> None:
    whole = raw("streams/server/bysdkversion").json()["metadata"]
    assert len(whole) == 3
    one = raw("streams/server/bysdkversion", sdk="go-server", version="7.4.0").json()["metadata"]
    assert one == [{"sdk": "go-server", "version": "7.4.0", "source": "server"}]


def test_ranked_projects_are_the_parts_of_data_export(
    address: str, clock: TurnableClock, raw: Callable[..., httpx.Response]
) -> None:
    day = Days(date(2026, 3, 16), date(2026, 3, 16))
    found = rows(address, clock, "data_export_projects", day)
    assert {dict(row["dimensions"])["project_key"] for row in found} == set(sandbox.PROJECTS)
    (whole,) = points(raw("data-export-events", **asked(day, "incremental")).json()).values()
    assert sum(row["value"] for row in found) == whole
    split = {"group_by": {"data_export_events": ["projectId"]}, "project_keys": ["payments", "mobile"]}
    named = [row for row in rows(address, clock, "data_export_events", day, **split) if row["breakdown"]]
    amounts = {dict(row["dimensions"])["project_key"]: row["value"] for row in found}
    assert {dict(row["labels"])["project_key"]: row["value"] for row in named} == {
        key: amounts[key] for key in ("payments", "mobile")
    }


def test_the_ranking_is_paged_and_checks_what_it_is_asked(
    address: str, clock: TurnableClock, raw: Callable[..., httpx.Response]
) -> None:
    day = Days(date(2026, 3, 16), date(2026, 3, 16))
    endpoint = LAUNCHDARKLY.endpoint("data_export_projects")
    (request,) = endpoint.requests(account(address), day)
    small = replace(request, params=tuple((dict(request.params) | {"limit": "1"}).items()))
    with client(address, clock) as asking:
        answers = tuple(_pages(endpoint, small, asking.ask))
    assert [answer.url.count("cursor=") for answer in answers] == [0, 1, 1]
    landed = Landing("launchdarkly", "main", endpoint.slug, day, answers, clock())
    assert usage(endpoint, landed, endpoint.normalise(landed)).num_rows == 3
    window = {"from": ms(day.first), "to": ms(day.first) + 86_400_000}
    path = "data-export-events/projects/ranking"
    assert [item["rank"] for item in raw(path, **window).json()["items"]] == [1, 2, 3]
    assert [item["projectKey"] for item in raw(path, **window, search="PAY").json()["items"]] == ["payments"]
    for wrong in ({}, {"from": 1}, window | {"limit": 101}, window | {"source": "warehouse"}, window | {"cursor": "x"}):
        assert raw(path, **wrong).status_code == 400


def test_sdk_lists_reach_the_inventory(address: str, clock: TurnableClock, raw: Callable[..., httpx.Response]) -> None:
    today = Days(NOW.date(), NOW.date())

    def items(slug: str) -> list[str]:
        landed = landing(address, clock, slug, today)
        frames = LAUNCHDARKLY.endpoint(slug).normalise(landed).inventory
        return [item for frame in frames for item in frame["item"]]

    assert items("mau_sdks") == [
        "sdk=ios-client&type=client",
        *(f"sdk={name}&type=server" for name in ("go-server", "java-server", "node-server")),
    ]
    assert raw("mau/sdks").json()["sdks"] == ["go-server", "ios-client", "java-server", "node-server"]
    assert items("streams_sdk_versions")[0] == "sdk=ios-client&version=9.2.0&source=client"
    # Four applications in six environments; in the three productions one of them runs in two versions.
    assert len(set(items("sdk_versions_details"))) == len(raw("sdk-versions/details").json()) == 24
    assert len(set(items("sdk_versions_all"))) == len(raw("sdk-versions/all").json()) == 27
    old = raw("sdk-versions/all", projectId=sandbox.PROJECTS["mobile"], sdkName="node-server").json()
    assert sorted(one["version"] for one in old) == ["9.6.0", "9.7.1", "9.7.1"]
