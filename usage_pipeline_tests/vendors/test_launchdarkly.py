"""LaunchDarkly: rows worked out by hand from the vendor's sample and rules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from usage_pipeline.contract.answer import Answer, Landing
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.stages.normalise import usage
from usage_pipeline.vendors.launchdarkly import LAUNCHDARKLY, SERIES, LaunchDarklyOptions
from usage_pipeline_tests.conftest import NOW

# The vendor's sample; its one metadata object does not explain its two series.
SAMPLE = b'{"_links": {}, "metadata": [{}], "series": [{"0": 11, "1": 15, "time": 1677888000000}]}'
SAMPLE_DAY = Days(date(2023, 3, 4), date(2023, 3, 4))
FLAG = {"project": "web", "environment": "production", "flag": "checkout"}
MARCH_4, MARCH_5 = datetime(2023, 3, 4, tzinfo=UTC), datetime(2023, 3, 5, tzinfo=UTC)


def account(**options: Any) -> Account:
    complete = LaunchDarklyOptions(**options).model_dump()
    return Account("main", "launchdarkly", "https://app.launchdarkly.com", date(2025, 1, 1), options=complete)


def landing(slug: str, bodies: Mapping[str, Any], days: Days, fetched_at: datetime = NOW, **options: Any) -> Landing:
    """Answers to the endpoint's own requests; `bodies` maps the part of a request to its answer."""
    asked = {request.part: request for request in LAUNCHDARKLY.endpoint(slug).requests(account(**options), days)}
    answers = tuple(
        Answer(
            asked[part],
            f"https://app.launchdarkly.com{asked[part].path}",
            200,
            {"content-type": "application/json"},
            body if isinstance(body, bytes) else json.dumps(body).encode(),
            fetched_at,
        )
        for part, body in bodies.items()
    )
    return Landing("launchdarkly", "main", slug, days, answers, fetched_at, account(**options).options)


def rows(slug: str, bodies: Mapping[str, Any], days: Days = SAMPLE_DAY, **more: Any) -> list[dict[str, Any]]:
    endpoint = LAUNCHDARKLY.endpoint(slug)
    landed = landing(slug, bodies, days, **more)
    found: list[dict[str, Any]] = usage(endpoint, landed, endpoint.normalise(landed)).to_pylist()
    return found


def body(series: list[dict[str, Any]], metadata: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    return {"_links": {}, "metadata": [{}] if metadata is None else metadata, "series": series, **more}


def ms(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1000


def test_sample_with_an_unexplained_series_is_refused() -> None:
    with pytest.raises(PayloadError, match="metadata explains 1") as refused:
        rows("service_connections", {"incremental": SAMPLE})
    assert refused.value.path == "$.series[0].1"


@pytest.mark.parametrize("series", [one for one in SERIES if "incremental" in one.types], ids=lambda one: one.slug)
def test_explained_sample_gives_the_day(series: Any) -> None:
    explained = SAMPLE.replace(b', "1": 15', b"")
    (row,) = rows(series.slug, {"incremental": explained}, aggregations={series.slug: ["incremental"]})
    assert row["metric"] == series.slug
    assert row["value"] == 11
    distinct = series.unit in {"Contexts", "Users"}
    assert (row["role"], row["aggregation"]) == ("consumed", "distinct" if distinct else "sum")
    assert row["temporality"] == "delta"
    assert (row["unit"], row["breakdown"]) == (series.unit, "")
    assert (row["period_start"], row["period_end"]) == (MARCH_4, MARCH_5)
    assert row["usage_date"] == date(2023, 3, 4)
    assert row["observed_at"] == NOW
    assert row["is_final"]


def test_running_totals_start_with_their_month() -> None:
    days = Days(date(2026, 2, 27), date(2026, 3, 2))
    points: list[dict[str, Any]] = [
        {"time": ms(2026, 2, 27), "0": 90.5},
        {"time": ms(2026, 2, 28), "0": 93},
        {"time": ms(2026, 3, 1), "0": 2},
    ]
    found = rows("service_connections", {"month_to_date": body(points)}, days)
    february, march = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
    assert [(row["period_start"], row["period_end"], row["value"]) for row in found] == [
        (february, datetime(2026, 2, 28, tzinfo=UTC), Decimal("90.5")),
        (february, march, 93),
        (march, datetime(2026, 3, 2, tzinfo=UTC), 2),
    ]
    assert {(row["aggregation"], row["temporality"]) for row in found} == {("sum", "cumulative")}
    assert len({row["series_id"] for row in found}) == 1


def test_rolling_counts_trail_thirty_days() -> None:
    (row,) = rows("total_mau", {"rolling_30d": body([{"time": 1677888000000, "0": 11}])})
    # 30 days that end with 4 March 2023: 28 of February less its first two, and 4 of March.
    assert (row["period_start"], row["period_end"]) == (datetime(2023, 2, 3, tzinfo=UTC), MARCH_5)
    assert (row["aggregation"], row["temporality"], row["unit"]) == ("distinct", "rolling", "Contexts")


def test_averages_are_of_the_day() -> None:
    (row,) = rows("observability_metrics", {"average": body([{"time": 1677888000, "0": 1.5}])})
    assert (row["aggregation"], row["temporality"], row["value"]) == ("average", "delta", Decimal("1.5"))
    assert (row["period_start"], row["period_end"]) == (MARCH_4, MARCH_5)


@pytest.mark.parametrize(
    ("now", "final"),
    [
        (datetime(2026, 3, 18, 12, tzinfo=UTC), {"2026-02-28": True, "2026-03-01": False, "2026-03-15": False}),
        (datetime(2026, 4, 2, 23, 59, tzinfo=UTC), {"2026-02-28": True, "2026-03-01": False, "2026-03-15": False}),
        (datetime(2026, 4, 3, tzinfo=UTC), {"2026-02-28": True, "2026-03-01": True, "2026-03-15": True}),
    ],
)
def test_distinct_counts_stay_open_for_their_month(now: datetime, final: dict[str, bool]) -> None:
    points = [{"time": ms(*map(int, day.split("-"))), "0": 1} for day in final]
    days = Days(date(2026, 2, 28), date(2026, 3, 15))
    for part in ("month_to_date", "rolling_30d"):
        found = rows("total_mau", {part: body(points)}, days, fetched_at=now)
        assert {str(row["usage_date"]): row["is_final"] for row in found} == final


def test_counters_settle_after_two_days() -> None:
    points = [{"time": ms(2026, 3, day), "0": day} for day in (15, 16, 18)]
    found = rows("ai_runs", {"incremental": body(points)}, Days(date(2026, 3, 15), date(2026, 3, 18)))
    # NOW is noon of 18 March: the 15th ended two and a half days ago, the 16th one and a half, the 18th is going on.
    assert [row["is_final"] for row in found] == [True, False, False]


def test_what_the_vendor_has_not_counted_yet_is_not_final() -> None:
    points = [{"time": ms(2026, 3, day), "0": day} for day in (1, 2)]
    days = Days(date(2026, 3, 1), date(2026, 3, 2))
    late = body(points, dataThrough="2026-03-02T23:00:00Z", delayed=True)
    assert [row["is_final"] for row in rows("warehouse_export", {"incremental": late}, days)] == [True, False]


def test_a_day_or_series_that_is_absent_has_no_row() -> None:
    days = Days(date(2026, 3, 1), date(2026, 3, 3))
    split = {"service_connections": ["projectId"]}
    points = [{"time": ms(2026, 3, 1), "0": 0, "1": 7}, {"time": ms(2026, 3, 3), "1": 8}]
    told = body(points, [{"projectId": "a"}, {"projectId": "b"}])
    found = rows("service_connections", {"incremental by projectId": told}, days, group_by=split)
    assert [(row["usage_date"].day, dict(row["dimensions"])["project"], row["value"]) for row in found] == [
        (1, "a", 0),
        (1, "b", 7),
        (3, "b", 8),
    ]


def test_empty_is_a_result() -> None:
    assert rows("service_connections", {"incremental": body([])}) == []
    assert rows("service_connections", {"incremental": body([], [])}) == []
    split = {"total_mau": ["projectId"]}
    assert rows("total_mau", {"month_to_date by projectId": body([])}, group_by=split) == []


def test_a_series_alone_needs_no_explanation() -> None:
    (row,) = rows("ai_runs", {"incremental": body([{"time": 1677888000000, "0": 11}], [])})
    assert row["value"] == 11


def test_series_ten_is_not_series_two() -> None:
    metadata = [{"projectId": f"p{n}", "sdkAppId": f"a{n % 2}"} for n in range(12)]
    point = {"time": 1677888000000, "10": 110, "2": 20, "11": 121, "0": 1}
    split = {"service_connections": ["projectId", "sdkAppId"]}
    found = rows("service_connections", {"incremental by projectId+sdkAppId": body([point], metadata)}, group_by=split)
    assert {dict(row["dimensions"])["project"]: row["value"] for row in found} == {
        "p10": 110,
        "p2": 20,
        "p11": 121,
        "p0": 1,
    }
    assert {row["breakdown"] for row in found} == {"project+sdk_app"}
    assert dict(found[0]["dimensions"]) == {"project": "p10", "sdk_app": "a0"}


def test_grouped_sample() -> None:
    # 1790812800000 is 2026-10-01, on which both applications were seen; the day after only one was.
    metadata = [{"projectId": "5f...a1", "sdkAppId": "checkout-web"}, {"projectId": "5f...a1", "sdkAppId": "Unknown"}]
    points = [{"time": 1790812800000, "0": 120, "1": 7}, {"time": 1790899200000, "0": 133}]
    days = Days(date(2026, 10, 1), date(2026, 10, 2))
    split = {"total_mau": ["projectId", "sdkAppId"]}
    found = rows("total_mau", {"month_to_date by projectId+sdkAppId": body(points, metadata)}, days, group_by=split)
    assert [(row["usage_date"].day, dict(row["dimensions"])["sdk_app"], row["value"]) for row in found] == [
        (1, "checkout-web", 120),
        (1, "Unknown", 7),
        (2, "checkout-web", 133),
    ]


def test_numbering_does_not_name_the_series() -> None:
    split = {"service_connections": ["projectId"]}
    part = "incremental by projectId"
    one = body([{"time": 1677888000000, "0": 1, "1": 2}], [{"projectId": "a"}, {"projectId": "b"}])
    other = body([{"time": 1677888000000, "0": 2, "1": 1}], [{"projectId": "b"}, {"projectId": "a"}])
    first, second = (rows("service_connections", {part: told}, group_by=split) for told in (one, other))
    assert {row["series_id"]: row["value"] for row in first} == {row["series_id"]: row["value"] for row in second}


def test_names_and_flags_are_read() -> None:
    split = {"data_export_events": ["destinationId"]}
    metadata: list[dict[str, Any]] = [
        {"destinationId": "d1", "destinationName": "Lake", "destinationViewable": True, "destinationKind": "kinesis"},
        {"destinationId": "hidden", "destinationName": "Unknown destination", "destinationViewable": False},
        {"destinationId": "", "destinationName": "Unattributed"},
    ]
    told = body([{"time": 1677888000000, "0": 1, "1": 2, "2": 3}], metadata)
    found = rows("data_export_events", {"incremental by destinationId": told}, group_by=split)
    assert [dict(row["dimensions"]) for row in found] == [
        {"destination": "d1"},
        {"destination": "hidden"},
        {"destination": ""},
    ]
    assert [dict(row["labels"]) for row in found] == [
        {"destination_name": "Lake", "destination_viewable": "true", "destination_kind": "kinesis"},
        {"destination_name": "Unknown destination", "destination_viewable": "false"},
        {"destination_name": "Unattributed"},
    ]


def test_context_kind_splits_where_the_vendor_tells_it() -> None:
    told = body([{"time": 1677888000000, "0": 5, "1": 2}], [{"contextKind": "user"}, {"contextKind": "org"}])
    found = rows("total_contexts", {"month_to_date": told})
    assert [(row["breakdown"], dict(row["dimensions"])) for row in found] == [
        ("context_kind", {"context_kind": "user"}),
        ("context_kind", {"context_kind": "org"}),
    ]


def test_what_the_endpoint_does_not_declare_neither_splits_nor_names() -> None:
    """AI runs have no context kinds, and no destinations."""
    told = body([{"time": 1677888000000, "0": 5}], [{"contextKind": "user", "destinationName": "Lake"}])
    (row,) = rows("ai_runs", {"incremental": told})
    assert (row["breakdown"], row["dimensions"], row["labels"], row["value"]) == ("", [], [], 5)


def test_booleans_are_texts() -> None:
    split = {"total_mau": ["anonymousV2"]}
    told = body([{"time": 1677888000000, "0": 5, "1": 2}], [{"anonymousV2": True}, {"anonymousV2": False}])
    found = rows("total_mau", {"month_to_date by anonymousV2": told}, group_by=split)
    assert [dict(row["dimensions"])["anonymous"] for row in found] == ["true", "false"]


@pytest.mark.parametrize("metadata", [[{}], [{"projectID": "a"}], [{"environmentId": "a"}]])
def test_a_dimension_that_is_missing_is_refused(metadata: list[dict[str, Any]]) -> None:
    told = body([{"time": 1677888000000, "0": 5}], metadata)
    with pytest.raises(PayloadError, match=r"\$.metadata\[0\]: .*projectId"):
        rows("total_mau", {"month_to_date by projectId": told}, group_by={"total_mau": ["projectId"]})


@pytest.mark.parametrize("told", ["1.677888e12", "1677888000000.0", "1677888000", "1677888000.0", "1677888000000"])
def test_times_may_be_floats_and_seconds(told: str) -> None:
    text = SAMPLE.replace(b', "1": 15', b"").replace(b"1677888000000", told.encode())
    (row,) = rows("service_connections", {"incremental": text})
    assert row["period_start"] == MARCH_4


@pytest.mark.parametrize(
    "told",
    [
        "1677888000001",
        "1677888000000.4",
        "1677888060",
        "1677888000000000",
        "100000051200000",
        "-86400",
        "1e999999",
        '"2023"',
        "null",
        "true",
    ],
)
def test_what_is_no_midnight_is_refused(told: str) -> None:
    text = SAMPLE.replace(b', "1": 15', b"").replace(b"1677888000000", told.encode())
    with pytest.raises(PayloadError) as refused:
        rows("service_connections", {"incremental": text})
    assert refused.value.path == "$.series[0].time"


def test_milliseconds_of_the_seventies_are_no_seconds() -> None:
    (row,) = rows(
        "service_connections",
        {"incremental": body([{"time": ms(1975, 1, 1), "0": 5}])},
        Days(date(1975, 1, 1), date(1975, 1, 1)),
    )
    assert row["usage_date"] == date(1975, 1, 1)


@pytest.mark.parametrize("day", [(2023, 3, 3), (2023, 3, 5), (2024, 3, 4)])
def test_a_day_that_was_not_asked_for_is_refused(day: tuple[int, int, int]) -> None:
    with pytest.raises(PayloadError, match="outside 2023-03-04"):
        rows("total_mau", {"month_to_date": body([{"time": ms(*day), "0": 5}])})


@pytest.mark.parametrize(
    "told",
    ["0.1", "12345678901234567", "123456.789012345", "12345678.123456789", "1e3", "79228162514264337593543950335"],
)
def test_values_are_exact(told: str) -> None:
    text = SAMPLE.replace(b', "1": 15', b"").replace(b"11", told.encode())
    (row,) = rows("service_connections", {"incremental": text})
    assert row["value"] == Decimal(told)


@pytest.mark.parametrize("told", ["1234.5666666666666", "1e40", "1e999999", '"11"', "null", "true"])
def test_a_value_that_does_not_fit_is_refused(told: str) -> None:
    text = SAMPLE.replace(b', "1": 15', b"").replace(b"11", told.encode())
    with pytest.raises(PayloadError) as refused:
        rows("service_connections", {"incremental": text})
    assert refused.value.path == "$.series[0].0"


def test_fractions_of_a_count_are_refused() -> None:
    with pytest.raises(PayloadError, match="fraction"):
        rows("ai_runs", {"incremental": body([{"time": 1677888000000, "0": 1.5}])})
    (row,) = rows("ai_runs", {"incremental": body([{"time": 1677888000000, "0": 2.0}])})
    assert row["value"] == 2


@pytest.mark.parametrize(
    ("told", "path"),
    [
        (body([], quota=5), "$.quota"),
        (body([], projectedSeries=[{"time": 1677888000000, "0": 1}]), "$.projectedSeries[0].time"),
        (body([], [{"share": 0.5}]), "$.metadata[0].share"),
        (body([{"time": 1677888000000, "total": 1}]), "$.series[0].total"),
        (body([{"time": 1677888000000, "00": 1}]), "$.series[0].00"),
        (body([{"time": 1677888000000, "-1": 1}]), "$.series[0].-1"),
        (body([{"0": 1}]), "$.series[0].time"),
        (body([5]), "$.series[0]"),  # type: ignore[list-item]
        ({"series": []}, "$"),
        ({"metadata": [{}]}, "$"),
        ([], "$"),
        (body([], dataThrough="yesterday") | {"series": [{"time": 1677888000000, "0": 1}]}, "$.dataThrough"),
    ],
)
def test_the_unknown_is_refused_with_its_place(told: Any, path: str) -> None:
    with pytest.raises(PayloadError) as refused:
        rows("ai_runs", {"incremental": told})
    assert refused.value.path == path


def test_unknown_texts_are_let_through() -> None:
    told = body([{"time": 1677888000000, "0": 1}], [{"note": "new"}], delayed=False, hint="new")
    (row,) = rows("ai_runs", {"incremental": told})
    assert (row["breakdown"], row["labels"]) == ("", [])


def test_one_total_told_twice_is_refused() -> None:
    told = body([{"time": 1677888000000, "0": 1}, {"time": 1677888000000, "0": 1}])
    with pytest.raises(PayloadError, match="told twice"):
        rows("ai_runs", {"incremental": told})


def test_the_projection_is_what_was_asked_for_and_what_is_to_come() -> None:
    # Asked on 18 March for the 16th and 17th; the vendor projects the whole month.
    days = Days(date(2026, 3, 16), date(2026, 3, 17))
    whole = [{"time": ms(2026, 3, day), "0": 10 * day} for day in range(1, 32)]
    found = rows("service_connections", {"month_to_date": body([whole[15], whole[16]], projectedSeries=whole)}, days)
    projected = [row for row in found if row["role"] == "projected"]
    assert [row["usage_date"].day for row in projected] == list(range(16, 32))
    assert [row["value"] for row in projected] == [10 * day for day in range(16, 32)]
    assert {row["period_start"] for row in projected} == {datetime(2026, 3, 1, tzinfo=UTC)}
    assert projected[-1]["period_end"] == datetime(2026, 4, 1, tzinfo=UTC)
    assert {(row["aggregation"], row["temporality"], row["unit"]) for row in projected} == {
        ("sum", "cumulative", "Minutes")
    }
    assert not projected[-1]["is_final"]
    assert len(found) == 16 + 2


def test_a_projection_beyond_the_month_is_refused() -> None:
    told = body([], projectedSeries=[{"time": ms(2026, 4, 1), "0": 1}])
    for days in (Days(date(2026, 3, 16), date(2026, 3, 17)), Days(date(2026, 2, 1), date(2026, 2, 2))):
        with pytest.raises(PayloadError, match=r"\$.projectedSeries\[0\].time"):
            rows("service_connections", {"month_to_date": told}, days)


def test_a_projection_may_end_with_the_month_of_the_last_day() -> None:
    # Asked at noon of 1 March for the days around the turn of the month: it is March that is projected.
    days, noon = Days(date(2026, 2, 27), date(2026, 3, 1)), datetime(2026, 3, 1, 12, tzinfo=UTC)
    told = body([], projectedSeries=[{"time": ms(2026, 3, 31), "0": 1}])
    (row,) = rows("service_connections", {"month_to_date": told}, days, fetched_at=noon)
    assert row["usage_date"] == date(2026, 3, 31)


def test_days_of_other_loads_are_no_projection_even_the_one_after_the_last() -> None:
    told = body([], projectedSeries=[{"time": ms(2026, 3, day), "0": 1} for day in (15, 16, 17, 18)])
    found = rows("service_connections", {"month_to_date": told}, Days(date(2026, 3, 16), date(2026, 3, 16)))
    assert [row["usage_date"].day for row in found] == [16, 18]


def test_of_a_past_window_the_running_month_s_projection_is_kept_and_other_days_are_not() -> None:
    # Asked on 18 March for two days of January.
    told = body([], projectedSeries=[{"time": ms(2026, *day), "0": 1} for day in ((1, 3), (1, 9), (3, 1), (3, 31))])
    found = rows("service_connections", {"month_to_date": told}, Days(date(2026, 1, 3), date(2026, 1, 4)))
    assert [row["usage_date"] for row in found] == [date(2026, 1, 3), date(2026, 3, 31)]


def test_the_projection_is_read_once() -> None:
    days, split = Days(date(2026, 3, 17), date(2026, 3, 17)), {"service_connections": ["projectId"]}
    ahead = {"projectedSeries": [{"time": ms(2026, 3, 18), "0": 9}]}
    point = [{"time": ms(2026, 3, 17), "0": 5}]
    bodies = {
        "incremental": body(point, **ahead),
        "incremental by projectId": body(point, [{"projectId": "a"}], **ahead),
        "month_to_date": body(point, **ahead),
    }
    found = rows("service_connections", bodies, days, group_by=split)
    assert [row["role"] for row in found].count("projected") == 1
    assert len(found) == 4


def test_requests_say_everything_they_mean() -> None:
    days = Days(date(2026, 3, 1), date(2026, 3, 2))
    split = account(group_by={"service_connections": ["projectId", "environmentId"]})
    found = list(LAUNCHDARKLY.endpoint("service_connections").requests(split, days))
    assert [request.part for request in found] == [
        "incremental",
        "incremental by projectId+environmentId",
        "month_to_date",
        "catalogue",
    ]
    assert found[1].path == "/api/v2/usage/service-connections"
    assert found[1].params == (
        ("from", "1772323200000"),
        ("to", "1772495999999"),
        ("aggregationType", "incremental"),
        ("granularity", "daily"),
        ("groupBy", "projectId"),
        ("groupBy", "environmentId"),
    )
    assert {request.headers for request in found[:3]} == {(("LD-API-Version", "beta"),)}
    assert found[3].path == "/api/v2/projects"
    assert found[3].params == (("limit", "20"), ("offset", "0"), ("expand", "environments"))
    assert found[3].headers == (("LD-API-Version", "20240415"),)


@pytest.mark.parametrize(
    "slug",
    [
        "serverside_contexts",
        "vega_ai",
        "observability_errors",
        "observability_logs",
        "observability_metrics",
        "observability_sessions",
        "observability_traces",
    ],
)
def test_some_paths_count_seconds(slug: str) -> None:
    request = next(iter(LAUNCHDARKLY.endpoint(slug).requests(account(), Days(date(2026, 3, 1), date(2026, 3, 2)))))
    assert request.params[:2] == (("from", "1772323200"), ("to", "1772495999"))


def test_mau_is_asked_for_in_both_windows() -> None:
    asked = LAUNCHDARKLY.endpoint("total_mau").requests(account(group_by={"total_mau": ["projectId"]}), SAMPLE_DAY)
    assert [request.part for request in asked] == [
        "month_to_date",
        "month_to_date by projectId",
        "rolling_30d",
        "rolling_30d by projectId",
        "catalogue",
    ]


@pytest.mark.parametrize("length", [1, 365, 366, 731, 800])
def test_long_ranges_are_cut_into_legal_ones(length: int) -> None:
    endpoint = LAUNCHDARKLY.endpoint("service_connections")
    days = Days(date(2024, 1, 1), date(2024, 1, 1) + timedelta(days=length - 1))
    bounds = [
        tuple(int(value) for _name, value in request.params[:2])
        for piece in Days.cover(days, endpoint.max_days)
        for request in endpoint.requests(account(), piece)
        if request.part == "incremental"
    ]
    assert len(bounds) == -(-length // 365)
    assert all(end - start < 365 * 86_400_000 for start, end in bounds)
    assert [start for start, _end in bounds[1:]] == [end + 1 for _start, end in bounds[:-1]]
    assert bounds[0][0] == 1704067200000
    assert bounds[-1][1] == 1704067200000 + length * 86_400_000 - 1


def test_only_the_billed_endpoints_are_asked_without_being_named() -> None:
    assert [endpoint.slug for endpoint in LAUNCHDARKLY.endpoints if endpoint.default] == [
        "service_connections",
        "total_mau",
    ]
    assert len(LAUNCHDARKLY.endpoints) == 28


def test_metrics_are_declared() -> None:
    declared = {
        (metric.role.value, metric.aggregation.value, metric.temporality.value, metric.unit)
        for metric in LAUNCHDARKLY.endpoint("service_connections").metrics
    }
    assert declared == {
        ("consumed", "sum", "delta", "Minutes"),
        ("consumed", "sum", "cumulative", "Minutes"),
        ("projected", "sum", "cumulative", "Minutes"),
    }


@pytest.mark.parametrize(
    ("group_by", "words"),
    [
        ({"total_mau": ["contextKind"]}, ["total_mau", "contextKind", "projectId", "anonymousV2"]),
        ({"service_connections": ["sdkType"]}, ["service_connections", "sdkType", "relayVersion"]),
        ({"data_export_events": ["projectId"]}, ["data_export_events", "projectId", "project_keys"]),
        ({"streams": ["sdk"]}, ["streams", "sdk", "nothing"]),
        ({"vega_ai": ["projectId"]}, ["vega_ai", "projectId", "nothing"]),
        ({"total_mau": ["projectId", "projectId"]}, ["total_mau", "projectId", "twice"]),
        ({"mau": ["projectId"]}, ["mau", "sdktype"]),
        ({"mau_sdks": ["sdktype"]}, ["mau_sdks", "service_connections"]),
    ],
)
def test_groupings_that_are_not_offered_are_refused(group_by: dict[str, list[str]], words: list[str]) -> None:
    assert LAUNCHDARKLY.check
    with pytest.raises(ValueError, match="group_by") as refused:
        LAUNCHDARKLY.check(account(group_by=group_by))
    assert all(word in str(refused.value) for word in words)


def test_groupings_that_are_offered_are_accepted() -> None:
    assert LAUNCHDARKLY.check
    every = {series.slug: list(series.group_by) for series in SERIES}
    LAUNCHDARKLY.check(account(group_by=every, project_keys=["storefront"]))


def refusal(status: int, text: bytes) -> str:
    request = next(iter(LAUNCHDARKLY.endpoint("total_mau").requests(account(), SAMPLE_DAY)))
    return LAUNCHDARKLY.explain(Answer(request, "https://app.launchdarkly.com", status, {}, text, NOW))


def test_errors_are_explained() -> None:
    assert refusal(400, b'{"code": "invalid_request", "message": "Bad"}') == "invalid_request: Bad"
    assert "access token" in refusal(401, b'{"code": "unauthorized", "message": "Invalid access token"}')
    forbidden = refusal(403, b'{"code": "forbidden", "message": "Forbidden. Access denied."}')
    assert forbidden.index("LD-API-Version") < forbidden.index("Reader") < forbidden.index("plan")
    incomplete = b'{"code": "data_export_project_identity_incomplete", "message": "Incomplete"}'
    assert "group_by" in refusal(409, incomplete)
    assert refusal(409, b'{"code": "optimistic_locking_error", "message": "Retry"}').endswith("Retry")
    assert refusal(502, b"<html>bad gateway") == "<html>bad gateway"
    assert refusal(500, b"[]") == "[]"


def test_the_catalogue_names_projects_and_environments() -> None:
    split = {"service_connections": ["projectId", "environmentId"]}
    metadata = [{"projectId": "p1", "environmentId": "e1"}, {"projectId": "p9", "environmentId": "e9"}]
    bodies = {
        "incremental by projectId+environmentId": body([{"time": 1677888000000, "0": 1, "1": 2}], metadata),
        "catalogue": {
            "items": [
                {
                    "_id": "p1",
                    "key": "web",
                    "name": "The web",
                    "environments": {"items": [{"_id": "e1", "key": "prod", "name": "Production"}], "totalCount": 21},
                }
            ],
            "totalCount": 1,
        },
    }
    landed = landing("service_connections", bodies, SAMPLE_DAY, group_by=split)
    endpoint = LAUNCHDARKLY.endpoint("service_connections")
    normalised = endpoint.normalise(landed)
    known, gone = usage(endpoint, landed, normalised).to_pylist()
    assert dict(known["dimensions"]) == {"project": "p1", "environment": "e1"}
    assert dict(known["labels"]) == {
        "project_key": "web",
        "project_name": "The web",
        "environment_key": "prod",
        "environment_name": "Production",
    }
    assert gone["labels"] == []
    assert normalised.notes == ("1 of 21 environments of project web have labels",)


@pytest.mark.parametrize("total", [1, 0.5, "<b>2</b>", None])
def test_environments_that_are_listed_in_full_or_are_not_counted_make_no_note(total: object) -> None:
    split = {"service_connections": ["environmentId"]}
    inner = {"items": [{"_id": "e1", "key": "prod", "name": "Production"}], "totalCount": total}
    page = {"items": [{"_id": "p1", "key": "web", "name": "The web", "environments": inner}], "totalCount": 1}
    landed = landing(
        "service_connections",
        {"catalogue": page, "incremental by environmentId": body([], [])},
        SAMPLE_DAY,
        group_by=split,
    )
    assert LAUNCHDARKLY.endpoint("service_connections").normalise(landed).notes == ()


def test_the_catalogue_is_paged() -> None:
    split = {"total_mau": ["environmentId"]}
    page = {"items": [{"_id": str(n)} for n in range(20)], "totalCount": 41}
    (answer,) = landing("total_mau", {"catalogue": page}, SAMPLE_DAY, group_by=split).answers
    follow = LAUNCHDARKLY.endpoint("total_mau").follow
    assert follow
    second = follow(answer)
    assert second
    assert second.params == (("limit", "20"), ("offset", "20"), ("expand", "environments"))
    third = follow(replace(answer, request=second))
    assert third
    last = replace(answer, request=third, body=b'{"items": [{"_id": "40"}], "totalCount": 41}')
    assert follow(last) is None
    empty = replace(answer, request=third, body=b'{"items": [], "totalCount": 41}')
    assert follow(empty) is None
    assert follow(landing("total_mau", {"month_to_date": body([])}, SAMPLE_DAY).answers[0]) is None


def test_a_catalogue_that_does_not_count_itself_ends_with_a_page_that_is_not_full() -> None:
    """A page has 20 items."""
    split = {"total_mau": ["projectId"]}
    follow = LAUNCHDARKLY.endpoint("total_mau").follow
    assert follow
    full, rest = (
        landing("total_mau", {"catalogue": {"items": [{}] * size}}, SAMPLE_DAY, group_by=split).answers[0]
        for size in (20, 19)
    )
    second = follow(full)
    assert second
    assert dict(second.params)["offset"] == "20"
    assert follow(rest) is None


def test_a_damaged_catalogue_is_refused_with_its_place() -> None:
    split = {"total_mau": ["projectId"]}
    told = {"items": [{"_id": 5, "key": "web", "name": "Web", "environments": {"items": []}}]}
    with pytest.raises(PayloadError) as refused:
        rows("total_mau", {"catalogue": told}, group_by=split)
    assert refused.value.path == "$.items[0]._id"


def test_other_aggregations_are_asked_for_by_name() -> None:
    named = account(aggregations={"total_mau": ["incremental"], "vega_ai": ["rolling_30d", "incremental"]})
    assert [request.part for request in LAUNCHDARKLY.endpoint("total_mau").requests(named, SAMPLE_DAY)] == [
        "incremental"
    ]
    found = rows(
        "vega_ai",
        {"rolling_30d": body([{"time": 1677888000, "0": 40}]), "incremental": body([{"time": 1677888000, "0": 3}])},
        aggregations={"vega_ai": ["rolling_30d", "incremental"]},
    )
    assert [(row["temporality"], row["aggregation"], row["value"]) for row in found] == [
        ("rolling", "sum", 40),
        ("delta", "sum", 3),
    ]
    assert len({row["series_id"] for row in found}) == 2


@pytest.mark.parametrize(
    ("aggregations", "words"),
    [
        ({"service_connections": ["rolling_30d"]}, ["rolling_30d", "incremental, month_to_date"]),
        ({"mau": ["daily_incremental"]}, ["daily_incremental", "incremental"]),
        ({"events": ["incremental"]}, ["events", "nothing"]),
        ({"nonsense": ["incremental"]}, ["nonsense", "total_mau"]),
    ],
)
def test_aggregations_that_are_not_offered_are_refused(aggregations: dict[str, list[str]], words: list[str]) -> None:
    assert LAUNCHDARKLY.check
    with pytest.raises(ValueError, match="aggregations") as refused:
        LAUNCHDARKLY.check(account(aggregations=aggregations))
    assert all(word in str(refused.value) for word in words)


def test_evaluations_need_flags() -> None:
    assert LAUNCHDARKLY.check
    with pytest.raises(ValueError, match=r"flags: .*project, environment, flag"):
        LAUNCHDARKLY.check(replace(account(), endpoints=("evaluations",)))
    LAUNCHDARKLY.check(replace(account(flags=[FLAG]), endpoints=("evaluations",)))
    with pytest.raises(ValueError, match="pattern"):
        account(flags=[FLAG | {"flag": "../../projects"}])
    LAUNCHDARKLY.check(account(flags=[FLAG, FLAG | {"environment": "test"}]))
    with pytest.raises(ValueError, match="flags: web/production/checkout is listed twice"):
        LAUNCHDARKLY.check(account(flags=[FLAG, FLAG | {"environment": "test"}, FLAG]))


def test_legacy_mau_has_its_own_words() -> None:
    named = account(group_by={"mau": ["project", "sdktype"]}, aggregations={"mau": ["incremental"]})
    found = list(LAUNCHDARKLY.endpoint("mau").requests(named, SAMPLE_DAY))
    assert [request.part for request in found] == ["incremental", "incremental by project+sdktype"]
    assert found[1].params == (
        ("from", "1677888000000"),
        ("to", "1677974399999"),
        ("aggregationType", "daily_incremental"),
        ("contextKind", "user"),
        ("groupby", "project"),
        ("groupby", "sdktype"),
    )
    told = body([{"time": 1677888000000, "0": 5}], [{"project": "web", "sdktype": "client"}])
    (row,) = rows(
        "mau",
        {"incremental by project+sdktype": told},
        group_by={"mau": ["project", "sdktype"]},
        aggregations={"mau": ["incremental"]},
    )
    assert dict(row["dimensions"]) == {"project": "web", "sdk_type": "client"}
    assert (row["aggregation"], row["temporality"], row["unit"]) == ("distinct", "delta", "Users")


@pytest.mark.parametrize("name", ["category", "userCategory"])
def test_categories_are_read_under_any_name(name: str) -> None:
    told = body([{"time": 1677888000000, "0": 5, "1": 7}], [{name: "browser"}, {name: "backend"}])
    found = rows("mau_by_category", {"daily": told})
    assert [(dict(row["dimensions"]), row["value"], row["temporality"]) for row in found] == [
        ({"category": "browser"}, 5, "rolling"),
        ({"category": "backend"}, 7, "rolling"),
    ]


@pytest.mark.parametrize("metadata", [[{}], [{"a": "browser", "b": "mobile"}]])
def test_a_category_that_is_not_plain_is_refused(metadata: list[dict[str, Any]]) -> None:
    with pytest.raises(PayloadError, match=r"\$.metadata\[0\]: .*category"):
        rows("mau_by_category", {"daily": body([{"time": 1677888000000, "0": 5}], metadata)})


def test_what_splits_a_series_does_not_name_it_as_well() -> None:
    split = {"data_export_events": ["destinationId", "destinationKind"]}
    metadata = [{"destinationId": "a", "destinationKind": "kinesis", "destinationName": "A"}]
    told = body([{"time": 1677888000000, "0": 5}], metadata)
    (row,) = rows("data_export_events", {"incremental by destinationId+destinationKind": told}, group_by=split)
    assert dict(row["dimensions"]) == {"destination": "a", "destination_kind": "kinesis"}
    assert dict(row["labels"]) == {"destination_name": "A"}


def test_evaluations_are_told_by_variation() -> None:
    told = body(
        [{"time": ms(2023, 3, 2), "0": 100, "1": 1}, {"time": ms(2023, 3, 4), "0": 400, "1": 300, "2": 7, "3": 1}],
        [{"key": True}, {"key": "Other Variations"}, {"key": {"b": [1, 2.5], "a": None}}, {"key": 25}],
        totalEvaluations=809,
    )
    found = rows("evaluations", {"web/production/checkout": told}, flags=[FLAG])
    fixed = {"project_key": "web", "environment_key": "production", "flag": "checkout"}
    assert [(dict(row["dimensions"]), row["value"]) for row in found] == [
        (fixed | {"variation": "true"}, 400),
        (fixed | {"variation": "Other Variations"}, 300),
        (fixed | {"variation": '{"a":null,"b":[1,2.5]}'}, 7),
        (fixed | {"variation": "25"}, 1),
    ]
    assert {(row["breakdown"], row["period_start"], row["period_end"]) for row in found} == {
        ("environment_key+flag+project_key+variation", MARCH_4, MARCH_5)
    }


@pytest.mark.parametrize("slug", ["evaluations", "events", "streams", "streams_by_sdk_version"])
def test_ranges_are_long_enough_for_days(slug: str) -> None:
    """Two days before 4 March 2023: the vendor answers shorter or younger ranges in hours or minutes."""
    found = list(LAUNCHDARKLY.endpoint(slug).requests(account(flags=[FLAG]), SAMPLE_DAY))
    assert {request.params[:2] for request in found} == {(("from", "1677715200000"), ("to", "1677974399999"))}
    assert all(request.params[2:] == (() if slug == "events" else (("tz", "UTC"),)) for request in found)
    assert len(found) == (1 if slug == "evaluations" else 2)


def test_hours_where_days_were_asked_for_are_refused() -> None:
    # The vendor's own fixture is an answer in hours; 1700000000000 is 14 November 2023, 22:13:20.
    told = {"totalEvaluations": 700, "metadata": [{"key": True}], "series": [{"time": 1700000000000, "0": 400}]}
    days = Days(date(2023, 11, 14), date(2023, 11, 14))
    with pytest.raises(PayloadError, match="days were asked for") as refused:
        rows("evaluations", {"web/production/checkout": told}, days, flags=[FLAG])
    assert refused.value.path == "$.series[0].time"


def test_days_before_the_lead_are_refused() -> None:
    with pytest.raises(PayloadError, match="outside"):
        rows("events", {"received": body([{"time": ms(2023, 3, 1), "0": 5}])})


def test_received_and_published_are_two_metrics() -> None:
    point = [{"time": 1677888000000, "0": 5}]
    found = rows("events", {"received": body(point), "published": body(point, [])})
    assert [(row["metric"], row["breakdown"]) for row in found] == [("events_received", ""), ("events_published", "")]
    assert {metric.description for metric in LAUNCHDARKLY.endpoint("events").metrics} == {
        "Events received in the UTC day.",
        "Events published in the UTC day.",
    }


def test_streams_are_told_by_source() -> None:
    point = [{"time": 1677888000000, "0": 5}]
    found = rows("streams", {"client": body(point, [{"source": "client"}]), "server": body(point)})
    assert [dict(row["dimensions"]) for row in found] == [{"source": "client"}, {"source": "server"}]
    assert {row["aggregation"] for row in found} == {"distinct"}
    told = body(point, [{"sdk": "Node.js", "version": "9.7.1", "source": "server"}])
    (row,) = rows("streams_by_sdk_version", {"server": told})
    assert dict(row["dimensions"]) == {"source": "server", "sdk_name": "Node.js", "sdk_version": "9.7.1"}
    with pytest.raises(PayloadError, match="'version'"):
        rows("streams_by_sdk_version", {"server": body(point, [{"sdk": "Node.js"}])})


def test_months_where_days_were_asked_for_are_refused() -> None:
    ends = [{"time": ms(2026, 1, 31), "0": 9}, {"time": ms(2026, 2, 28), "0": 8}]
    starts = [{"time": ms(2026, 2, 1), "0": 8}]
    for days, points in (
        (Days(date(2026, 1, 1), date(2026, 2, 28)), ends),
        (Days(date(2026, 2, 1), date(2026, 2, 28)), starts),
    ):
        with pytest.raises(PayloadError, match="a month apart") as refused:
            rows("total_mau", {"month_to_date": body(points)}, days)
        assert refused.value.path == "$.series[0].time"
    assert len(rows("total_mau", {"month_to_date": body(starts)}, Days(date(2026, 2, 1), date(2026, 2, 3)))) == 1
    assert len(rows("ai_runs", {"incremental": body(ends)}, Days(date(2026, 1, 1), date(2026, 2, 28)))) == 2


def test_what_the_vendor_says_of_its_pipeline_is_noted() -> None:
    def notes(days: Days, **said: Any) -> tuple[str, ...]:
        landed = landing("data_export_events", {"incremental": body([], **said)}, days)
        return LAUNCHDARKLY.endpoint("data_export_events").normalise(landed).notes

    march = Days(date(2026, 3, 17), date(2026, 3, 18))
    through = "2026-03-18T08:00:00Z"
    assert notes(march, dataThrough=through, delayed=False) == (f"data through {through}",)
    assert notes(march, dataThrough=through, delayed=True) == (
        f"data through {through}; the vendor says that its pipeline is late",
    )
    assert notes(march) == ()
    assert notes(SAMPLE_DAY, dataThrough=through, delayed=True) == ()


def test_data_export_by_project_names_the_projects() -> None:
    named = account(group_by={"data_export_events": ["projectId"]}, project_keys=["web", "app"])
    whole, split, _catalogue = LAUNCHDARKLY.endpoint("data_export_events").requests(named, SAMPLE_DAY)
    assert "projectKey" not in dict(whole.params)
    assert split.params[-3:] == (("groupBy", "projectId"), ("projectKey", "web"), ("projectKey", "app"))


# 4 March 2023, from and to.
SCOPE = {"source": "streaming", "dimension": "project", "from": 1677888000000, "to": 1677974400000}


def ranked(*keys: str, total: int, cursor: str | None = None, **scope: Any) -> dict[str, Any]:
    items = [
        {"projectKey": key, "projectName": key.upper(), "rank": n, "usage": 10 * n, "components": {"streaming": 10 * n}}
        for n, key in enumerate(keys, 1)
    ]
    page = {"limit": 100, "count": len(items), "totalCount": total} | ({"nextCursor": cursor} if cursor else {})
    return {"items": items, "page": page, "scope": SCOPE | scope}


def pages(*bodies: dict[str, Any]) -> Landing:
    one = landing("data_export_projects", {"": bodies[0]}, SAMPLE_DAY)
    answers = tuple(replace(one.answers[0], body=json.dumps(told).encode()) for told in bodies)
    return replace(one, answers=answers)


def test_ranked_projects_are_daily_amounts() -> None:
    endpoint = LAUNCHDARKLY.endpoint("data_export_projects")
    (request,) = endpoint.requests(account(), SAMPLE_DAY)
    assert request.params == (
        ("from", "1677888000000"),
        ("to", "1677974400000"),
        ("source", "streaming"),
        ("dimension", "project"),
        ("limit", "100"),
    )
    assert endpoint.max_days == 1
    landed = pages(ranked("web", "app", total=3, cursor="c2"), ranked("lab", total=3))
    found = usage(endpoint, landed, endpoint.normalise(landed)).to_pylist()
    assert [(dict(row["dimensions"]), dict(row["labels"]), row["value"]) for row in found] == [
        ({"project_key": "web"}, {"project_name": "WEB"}, 10),
        ({"project_key": "app"}, {"project_name": "APP"}, 20),
        ({"project_key": "lab"}, {"project_name": "LAB"}, 10),
    ]
    assert {(row["period_start"], row["period_end"], row["aggregation"]) for row in found} == {
        (MARCH_4, MARCH_5, "sum")
    }
    assert endpoint.follow
    onward = endpoint.follow(landed.answers[0])
    assert onward
    assert dict(onward.params) == dict(request.params) | {"cursor": "c2"}
    assert endpoint.follow(landed.answers[1]) is None


@pytest.mark.parametrize(
    ("told", "path"),
    [
        (ranked("web", total=2), "$.page.totalCount"),
        (ranked("web", total=1, to=1677974399999), "$.scope.to"),
        (ranked("web", total=1, source="combined"), "$.scope.source"),
        (ranked("web", total=1) | {"items": [{"projectKey": "web", "usage": "5"}]}, "$.items[0].usage"),
        (ranked("web", total=1) | {"items": [{"projectKey": "web", "usage": 5, "rows": 5}]}, "$.items[0].rows"),
        (ranked("web", total=1) | {"unlisted": 5}, "$.unlisted"),
    ],
)
def test_a_ranking_that_does_not_fit_is_refused(told: dict[str, Any], path: str) -> None:
    with pytest.raises(PayloadError) as refused:
        LAUNCHDARKLY.endpoint("data_export_projects").normalise(pages(told))
    assert refused.value.path == path


def items(slug: str, bodies: dict[str, Any]) -> dict[str, dict[str, str]]:
    landed = landing(slug, bodies, SAMPLE_DAY)
    frames = LAUNCHDARKLY.endpoint(slug).normalise(landed).inventory
    return {row["item"]: dict(row["attributes"]) for frame in frames for row in frame.to_dict("records")}


def test_sdk_lists_are_inventories() -> None:
    sdks = items(
        "mau_sdks",
        {
            "client": {"_links": {}, "sdks": ["Android"]},
            "server": {"_links": {}, "sdks": ["Android", "Java", "Node.js"]},
        },
    )
    assert list(sdks) == [
        "sdk=Android&type=client",
        "sdk=Android&type=server",
        "sdk=Java&type=server",
        "sdk=Node.js&type=server",
    ]
    assert sdks["sdk=Java&type=server"] == {"sdk": "Java", "type": "server"}
    versions = [{"sdk": "Android", "version": "3.1.2"}, {"sdk": "Android", "version": "3.1.5"}]
    found = items("streams_sdk_versions", {"client": {"_links": {}, "sdkVersions": versions}})
    assert list(found) == ["sdk=Android&version=3.1.2&source=client", "sdk=Android&version=3.1.5&source=client"]


@pytest.mark.parametrize("slug", ["sdk_versions_all", "sdk_versions_details"])
def test_sdk_details_keep_what_the_vendor_says(slug: str) -> None:
    told = {
        "name": "node-server",
        "version": "9.6.0",
        "type": "server",
        "source": "server",
        "projectId": "p1",
        "projectKey": "web",
        "projectName": "The web",
        "environmentId": "e1",
        "environmentKey": "prod",
        "environmentName": "Production",
        "applicationId": "Unknown",
        "connectionType": "relay-proxy",
        "ldLatestVersion": "9.9.1",
        "latestReleaseUrl": "https://github.com/launchdarkly/js-core/releases",
        "eolStatus": "EolNear",
        "relayVersion": "8.2.0",
        "relayEolStatus": "Current",
        "relayLatestVersion": "8.10.3",
        "relayLatestReleaseUrl": "https://github.com/launchdarkly/ld-relay/releases",
        "note": "new",
        "other": None,
    }
    item = (
        "sdk=node-server&version=9.6.0&type=server&source=server&project=p1&environment=e1&application=Unknown"
        "&connection_type=relay-proxy&relay_version=8.2.0"
    )
    assert items(slug, {"": [told]}) == {
        item: {
            "sdk": "node-server",
            "version": "9.6.0",
            "type": "server",
            "source": "server",
            "project": "p1",
            "project_key": "web",
            "project_name": "The web",
            "environment": "e1",
            "environment_key": "prod",
            "environment_name": "Production",
            "application": "Unknown",
            "connection_type": "relay-proxy",
            "latest_version": "9.9.1",
            "latest_release_url": "https://github.com/launchdarkly/js-core/releases",
            "eol_status": "EolNear",
            "relay_version": "8.2.0",
            "relay_eol_status": "Current",
            "relay_latest_version": "8.10.3",
            "relay_latest_release_url": "https://github.com/launchdarkly/ld-relay/releases",
            "note": "new",
        }
    }
    assert items(slug, {"": []}) == {}


@pytest.mark.parametrize(
    ("slug", "told", "path"),
    [
        ("sdk_versions_all", [{"name": "go", "version": 7.4}], "$[0].version"),
        ("sdk_versions_all", [{"name": "go", "connections": 12}], "$[0].connections"),
        ("sdk_versions_all", [{"version": "7.4"}], "$[0]"),
        ("sdk_versions_all", {"items": []}, "$"),
        ("sdk_versions_details", [5], "$[0]"),
        ("streams_sdk_versions", {"sdkVersions": [], "connections": 12}, "$.connections"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(slug: str, told: Any, path: str) -> None:
    with pytest.raises(PayloadError) as refused:
        items(slug, {"client" if slug.startswith("streams") else "": told})
    assert refused.value.path == path


def test_lists_are_of_the_present() -> None:
    for slug in ("mau_sdks", "sdk_versions_all", "sdk_versions_details", "streams_sdk_versions"):
        endpoint = LAUNCHDARKLY.endpoint(slug)
        assert endpoint.history == "snapshot"
        assert endpoint.metrics == ()
    first, second = LAUNCHDARKLY.endpoint("mau_sdks").requests(account(), SAMPLE_DAY)
    # Seven days that end with 4 March 2023 start with 26 February.
    assert first.params == (("from", "1677369600000"), ("to", "1677974399999"), ("sdktype", "client"))
    assert second.params[2] == ("sdktype", "server")
