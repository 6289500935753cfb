"""AVEVA Data Hub's answers: the samples of the reference page and its forerunners, with rows worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account, History
from usage_pipeline.stages.normalise import usage
from usage_pipeline.vendors.aveva import AVEVA, AvevaOptions
from usage_pipeline_tests.conftest import NOW

# The samples of the reference page, byte for byte.
RECORDS = b"""[
  {
    "Date": "2019-08-24T14:15:22Z",
    "TenantId": "string",
    "NamespaceId": "string",
    "ClusterRegion": "string",
    "IngressEvents": 0,
    "IngressStreamsAccessed": 0,
    "EgressEvents": 0,
    "EgressStreamsAccessed": 0
  }
]"""
RESOURCES = b"""{
  "StreamCount": 0,
  "EntitledStreamCount": 0,
  "NamespaceCount": 0,
  "EntitledNamespaceCount": 0,
  "EntitledStreamAccessCount": 0
}"""
CYCLES = b"""[
  {
    "StartDate": "2019-08-24T14:15:22Z",
    "EndDate": "2019-08-24T14:15:22Z"
  }
]"""
ERROR = b"""{
  "OperationId": "string",
  "Error": "string",
  "Reason": "string",
  "Resolution": "string"
}"""
SAMPLE_DAY = Days(date(2019, 8, 24), date(2019, 8, 24))
DAY = date(2026, 3, 2)
THREE = Days(DAY, date(2026, 3, 4))
METRICS = {"ingress_events", "egress_events", "ingress_streams_accessed", "egress_streams_accessed"}
Rows = list[dict[str, Any]]


def account(**options: Any) -> Account:
    given = AvevaOptions(**({"tenant_id": "t-1"} | options)).model_dump()
    return Account("acme", "aveva", "https://euno.datahub.connect.aveva.com", DAY, options=given)


def answer(body: Any, part: str = "", status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    told = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = "https://uswe.datahub.connect.aveva.com/x"
    return Answer(Request("/x", part=part), url, status, headers or {"content-type": "application/json"}, told, NOW)


def landing(endpoint: str, *answers: Answer, days: Days = THREE, **options: Any) -> Landing:
    return Landing("aveva", "acme", endpoint, days, answers, NOW, account(**options).options)


def rows(found: Landing) -> Rows:
    endpoint = AVEVA.endpoint(found.endpoint)
    read: Rows = usage(endpoint, found, endpoint.normalise(found)).to_pylist()
    return read


def record(**changes: Any) -> dict[str, Any]:
    """One day of the tenant as the page since 2022-08 tells it; None takes a field's value, `...` the field."""
    told = {
        "Date": "2026-03-02T00:00:00Z",
        "TenantId": "t-1",
        "NamespaceId": None,
        "ClusterRegion": None,
        "IngressEvents": 1000,
        "IngressStreamsAccessed": 30,
        "EgressEvents": 500,
        "EgressStreamsAccessed": 20,
        "CalleeTenantId": "t-1",
        "CallerTenantId": "t-2",
        "CommunityId": None,
    }
    return {name: value for name, value in (told | changes).items() if value is not ...}


def tenant(*records: dict[str, Any], days: Days = THREE) -> Rows:
    return rows(landing("tenant_usage", answer(list(records)), days=days))


def namespaces(*records: dict[str, Any]) -> Rows:
    return rows(landing("namespace_usage", answer(list(records))))


def params(request: Request) -> dict[str, str]:
    return dict(request.params)


def test_the_tenant_is_asked_for_both_dates_and_no_grouping() -> None:
    (asked,) = AVEVA.endpoint("tenant_usage").requests(account(), THREE)
    assert asked == Request(
        "/api/v1/tenants/t-1/usage", (("start", "2026-03-02T00:00:00Z"), ("end", "2026-03-05T00:00:00Z"))
    )


def test_each_configured_namespace_is_asked_for_by_itself() -> None:
    asked = list(AVEVA.endpoint("namespace_usage").requests(account(namespaces=["plant", "lab/2", "plant"]), THREE))
    assert [(request.path, request.part) for request in asked] == [
        ("/api/v1/tenants/t-1/namespaces/plant/usage", "plant"),
        ("/api/v1/tenants/t-1/namespaces/lab%2F2/usage", "lab/2"),
    ]
    for request in asked:
        assert params(request) == {"start": "2026-03-02T00:00:00Z", "end": "2026-03-05T00:00:00Z"}


def test_without_namespaces_the_tenant_is_asked_by_namespace() -> None:
    (asked,) = AVEVA.endpoint("namespace_usage").requests(account(), Days(DAY, DAY))
    assert (asked.path, asked.part) == ("/api/v1/tenants/t-1/usage", "")
    assert params(asked) == {
        "start": "2026-03-02T00:00:00Z",
        "end": "2026-03-03T00:00:00Z",
        "groupByNamespace": "true",
    }


def test_resources_and_cycles_take_no_dates() -> None:
    for slug, path in (("resource_usage", "resources/usage"), ("billing_cycles", "subscriptionterm/billingcycles")):
        assert list(AVEVA.endpoint(slug).requests(account(tenant_id="a b"), THREE)) == [
            Request(f"/api/v1/tenants/a%20b/{path}")
        ]


def test_the_page_s_record_is_four_rows_of_a_namespace() -> None:
    found = rows(landing("namespace_usage", answer(RECORDS), days=SAMPLE_DAY, tenant_id="string"))
    assert {row["metric"] for row in found} == METRICS
    for row in found:
        assert (row["value"], row["usage_date"], row["month"]) == (0, date(2019, 8, 24), "2019-08")
        assert (row["breakdown"], row["dimensions"]) == ("namespace", [("namespace", "string")])
        assert row["labels"] == [("cluster_region", "string")]
        assert row["period_start"] == datetime(2019, 8, 24, tzinfo=UTC)
        assert row["period_end"] == datetime(2019, 8, 25, tzinfo=UTC)
        assert row["observed_at"] == NOW
        assert row["is_final"]


def test_the_page_s_record_is_refused_as_a_tenant_s_total() -> None:
    with pytest.raises(PayloadError, match=r"\$\[0\]\.NamespaceId: 'string' was not asked for"):
        rows(landing("tenant_usage", answer(RECORDS), days=SAMPLE_DAY, tenant_id="string"))


def test_a_tenant_s_day_is_four_totals() -> None:
    found = tenant(record())
    assert {
        row["metric"]: (row["value"], row["unit"], row["aggregation"], row["temporality"], row["role"]) for row in found
    } == {
        "ingress_events": (1000, "Events", "sum", "delta", "consumed"),
        "egress_events": (500, "Events", "sum", "delta", "consumed"),
        "ingress_streams_accessed": (30, "Streams", "distinct", "delta", "consumed"),
        "egress_streams_accessed": (20, "Streams", "distinct", "delta", "consumed"),
    }
    for row in found:
        assert (row["breakdown"], row["dimensions"], row["labels"], row["usage_date"]) == ("", [], [], DAY)


def test_fields_that_may_be_null_may_be_absent() -> None:
    gone = dict.fromkeys(
        ("TenantId", "NamespaceId", "ClusterRegion", "CalleeTenantId", "CallerTenantId", "CommunityId"), ...
    )
    null = dict.fromkeys(("TenantId", "NamespaceId", "ClusterRegion"))
    told = [{row["metric"]: row["value"] for row in tenant(record(**change))} for change in ({}, gone, null)]
    assert told[0] == told[1] == told[2]
    assert len(told[0]) == 4


@pytest.mark.parametrize(
    "told",
    [
        "2026-03-02T00:00:00Z",
        "2026-03-02T23:59:59.9999999Z",
        "2026-03-01T17:00:00.0000000-07:00",
        "2026-03-02T16:59:59-07:00",
        "2026-03-03T05:30:00+05:45",
    ],
)
def test_the_day_is_the_utc_day_of_date(told: str) -> None:
    for row in tenant(record(Date=told)):
        assert row["usage_date"] == DAY
        assert row["period_start"] == datetime(2026, 3, 2, tzinfo=UTC)
        assert row["period_end"] == datetime(2026, 3, 3, tzinfo=UTC)


@pytest.mark.parametrize("told", ["2026-03-02T00:00:00", "2026-03-02", "02/03/2026", "", None, 1772409600, ...])
def test_a_date_without_zone_or_form_is_refused(told: Any) -> None:
    with pytest.raises(PayloadError, match=r"\$\[1\]\.Date: "):
        tenant(record(Date="2026-03-03T00:00:00Z"), record(Date=told))


def test_the_day_after_the_last_is_left_to_its_own_load() -> None:
    found = tenant(
        record(Date="2026-03-05T00:00:00Z", IngressEvents=5),
        record(Date="2026-03-02T00:00:00Z", IngressEvents=2),
        record(Date="2026-03-04T00:00:00Z", IngressEvents=4),
    )
    assert [(row["usage_date"].day, row["value"]) for row in found if row["metric"] == "ingress_events"] == [
        (2, 2),
        (4, 4),
    ]
    assert len(found) == 8


def test_the_namespaces_of_kept_days_stay_theirs() -> None:
    found = namespaces(
        record(NamespaceId="lab", Date="2026-03-05T00:00:00Z", IngressEvents=1),
        record(NamespaceId="plant", Date="2026-03-04T00:00:00Z", IngressEvents=2),
    )
    assert [
        (dict(row["dimensions"]), row["value"], row["period_start"].day)
        for row in found
        if row["metric"] == "ingress_events"
    ] == [({"namespace": "plant"}, 2, 4)]


@pytest.mark.parametrize("told", ["2026-03-01T23:59:59Z", "2026-03-06T00:00:00Z", "2019-08-24T14:15:22Z"])
def test_any_other_day_is_refused(told: str) -> None:
    with pytest.raises(PayloadError, match=r"\$\[1\]\.Date: .* is outside 2026-03-02 to 2026-03-04"):
        tenant(record(), record(Date=told))


def test_an_undated_answer_never_reaches_the_daily_rows() -> None:
    with pytest.raises(PayloadError, match="outside"):
        tenant(record(Date="2026-01-01T00:00:00Z"), record(Date="2026-02-01T00:00:00Z"), record())


def test_no_rows_are_an_answer() -> None:
    assert tenant() == []
    assert namespaces() == []


def test_numbers_beyond_a_double_are_exact() -> None:
    found = tenant(record(IngressEvents=9007199254740993, EgressEvents=9223372036854775807))
    values = {row["metric"]: row["value"] for row in found}
    assert values["ingress_events"] == Decimal(9007199254740993)
    assert values["egress_events"] == Decimal(9223372036854775807)


@pytest.mark.parametrize("field", ["IngressEvents", "IngressStreamsAccessed", "EgressEvents", "EgressStreamsAccessed"])
@pytest.mark.parametrize("told", [None, ..., "12", True, [], {}])
def test_a_number_that_is_none_is_refused(field: str, told: Any) -> None:
    with pytest.raises(PayloadError, match=rf"\$\[1\]\.{field}: expected a number"):
        tenant(record(Date="2026-03-03T00:00:00Z"), record(**{field: told}))


def test_an_unknown_number_is_refused() -> None:
    with pytest.raises(PayloadError, match=r"\$\[0\]\.StorageBytes: an unknown number"):
        tenant(record(StorageBytes=1))
    with pytest.raises(PayloadError, match=r"\$\.CommunityCount: an unknown number"):
        rows(landing("resource_usage", answer(json.loads(RESOURCES) | {"CommunityCount": 1})))
    with pytest.raises(PayloadError, match=r"\$\[0\]\.Amount: an unknown number"):
        AVEVA.endpoint("billing_cycles").normalise(
            landing("billing_cycles", answer([json.loads(CYCLES)[0] | {"Amount": 2.5}]))
        )


def test_texts_beside_the_numbers_are_tolerated() -> None:
    assert len(tenant(record(CallerTenantId="0d6bb0c9-7c5e-4a4e-8c0a-5ac9f5d9d1b8", Sku="S1"))) == 4


def test_another_tenant_s_record_is_refused() -> None:
    with pytest.raises(PayloadError, match=r"\$\[1\]\.TenantId: 't-2' is not the tenant"):
        tenant(record(Date="2026-03-03T00:00:00Z"), record(TenantId="t-2"))


@pytest.mark.parametrize("told", [[], {}, ["t-1"]])
def test_an_id_that_is_no_text_is_refused_with_its_place(told: Any) -> None:
    with pytest.raises(PayloadError, match=r"\$\[0\]\.TenantId"):
        tenant(record(TenantId=told))
    for key in ("NamespaceId", "ClusterRegion"):
        with pytest.raises(PayloadError, match=rf"\$\[0\]\.{key}"):
            namespaces(record(**({"NamespaceId": "plant"} | {key: told})))
    with pytest.raises(PayloadError, match=r"\$\[0\]\.CallerTenantId"):
        community(shared(CallerTenantId=told), split_tenants=True)


def test_a_tenant_id_reads_alike_in_either_case() -> None:
    assert len(rows(landing("tenant_usage", answer([record(TenantId="4F7D")]), tenant_id="4f7d"))) == 4


@pytest.mark.parametrize(
    ("told", "label"), [("WestUS", "westus"), ("westus", "westus"), (0, "0"), (None, None), (..., None)]
)
def test_regions_are_labels_in_one_spelling(told: Any, label: str | None) -> None:
    for row in namespaces(record(NamespaceId="plant", ClusterRegion=told)):
        assert row["labels"] == ([("cluster_region", label)] if label else [])
        assert row["dimensions"] == [("namespace", "plant")]


def test_a_region_is_no_part_of_a_series() -> None:
    moved = [namespaces(record(NamespaceId="plant", ClusterRegion=region)) for region in ("WestUS", "NorthEurope")]
    assert {row["series_id"] for row in moved[0]} == {row["series_id"] for row in moved[1]}


@pytest.mark.parametrize("told", [None, ...])
def test_a_namespace_without_a_name_is_refused(told: Any) -> None:
    with pytest.raises(PayloadError, match=r"\$\[0\]\.NamespaceId"):
        namespaces(record(NamespaceId=told))


def test_a_namespace_asked_for_by_itself_answers_for_itself() -> None:
    plant, lab = answer([record(NamespaceId="plant")], "plant"), answer([record(NamespaceId="lab")], "lab")
    found = rows(landing("namespace_usage", plant, lab))
    assert [dict(row["dimensions"])["namespace"] for row in found] == ["plant"] * 4 + ["lab"] * 4
    assert {row["response_id"] for row in found} == {plant.response_id, lab.response_id}
    with pytest.raises(PayloadError, match=r"\$\[0\]\.NamespaceId: 'lab' was not asked for"):
        rows(landing("namespace_usage", answer([record(NamespaceId="lab")], "plant")))


# The sample of the page since 2022-08, byte for byte.
RECORDS_SINCE_2022 = b"""[
  {
    "Date": "2019-08-24T14:15:22Z",
    "TenantId": "string",
    "CalleeTenantId": "string",
    "CallerTenantId": "string",
    "CommunityId": "string",
    "NamespaceId": "string",
    "ClusterRegion": "string",
    "IngressEvents": 0,
    "IngressStreamsAccessed": 0,
    "EgressEvents": 0,
    "EgressStreamsAccessed": 0
  }
]"""


def community(*records: dict[str, Any], source: str = "External", asked: str = "c-1", **options: Any) -> Rows:
    """What a community's own address tells of three days."""
    (request,) = AVEVA.endpoint("community_usage").requests(
        account(communities=[asked], community_sources=[source], **options), THREE
    )
    told = Answer(request, "https://x/y", 200, {}, json.dumps(list(records)).encode(), NOW)
    return rows(landing("community_usage", told, communities=[asked], **options))


def shared(**changes: Any) -> dict[str, Any]:
    """What t-2 used of t-1's data in the community c-1."""
    return record(**({"TenantId": None, "CommunityId": "c-1"} | changes))


def test_the_later_page_s_record_overlaps_and_is_refused_everywhere() -> None:
    """It has a namespace and a community, as no grouping that is asked for tells."""
    for endpoint, field in (
        ("tenant_usage", "NamespaceId"),
        ("namespace_usage", "CommunityId"),
        ("tenant_community_usage", "NamespaceId"),
    ):
        with pytest.raises(PayloadError, match=rf"\$\[0\]\.{field}: 'string' was not asked for"):
            rows(landing(endpoint, answer(RECORDS_SINCE_2022), days=SAMPLE_DAY, tenant_id="string"))


def test_the_later_page_s_record_without_community_is_the_earlier_one() -> None:
    later = json.loads(RECORDS_SINCE_2022)
    later[0]["CommunityId"] = None
    told = [
        rows(landing("namespace_usage", answer(body), days=SAMPLE_DAY, tenant_id="string")) for body in (later, RECORDS)
    ]
    assert [{**row, "response_id": ""} for row in told[0]] == [{**row, "response_id": ""} for row in told[1]]


def test_a_community_s_row_is_not_the_tenant_s_total() -> None:
    with pytest.raises(PayloadError, match=r"\$\[1\]\.CommunityId: 'c-1' was not asked for"):
        tenant(record(Date="2026-03-03T00:00:00Z"), record(CommunityId="c-1"))
    with pytest.raises(PayloadError, match=r"\$\[0\]\.CommunityId: 'c-1' was not asked for"):
        namespaces(record(NamespaceId="plant", CommunityId="c-1"))


@pytest.mark.parametrize(
    ("slug", "form", "grouping"),
    [
        ("tenant_usage", "groupByNamespace", {}),
        ("tenant_usage", "groupBy", {"groupBy": "None"}),
        ("namespace_usage", "groupByNamespace", {"groupByNamespace": "true"}),
        ("namespace_usage", "groupBy", {"groupBy": "Namespace"}),
        ("tenant_community_usage", "groupByNamespace", {"groupBy": "Community"}),
        ("tenant_community_usage", "groupBy", {"groupBy": "Community"}),
    ],
)
def test_the_tenant_is_grouped_in_either_form(slug: str, form: str, grouping: dict[str, str]) -> None:
    (asked,) = AVEVA.endpoint(slug).requests(account(group_by_form=form), THREE)
    assert asked.path == "/api/v1/tenants/t-1/usage"
    assert params(asked) == {"start": "2026-03-02T00:00:00Z", "end": "2026-03-05T00:00:00Z"} | grouping


def test_the_union_of_groupings_is_never_asked_for() -> None:
    every = account(communities=["c-1"], namespaces=["plant"])
    for form in ("groupBy", "groupByNamespace"):
        one = replace(every, options={**every.options, "group_by_form": form, "split_tenants": True})
        for endpoint in AVEVA.endpoints:
            for asked in endpoint.requests(one, THREE):
                assert params(asked).get("groupBy") not in {"All", "2"}


def test_the_later_form_reads_configured_namespaces_out_of_all() -> None:
    options: dict[str, Any] = {"namespaces": ["lab", "Plant"], "group_by_form": "groupBy"}
    (asked,) = AVEVA.endpoint("namespace_usage").requests(account(**options), THREE)
    assert (asked.path, asked.part) == ("/api/v1/tenants/t-1/usage", "")
    told = answer([record(NamespaceId=name) for name in ("attic", "lab", "plant")])
    found = rows(landing("namespace_usage", told, **options))
    assert [dict(row["dimensions"])["namespace"] for row in found] == ["lab", "plant"] * 4


def test_a_community_is_asked_for_each_source_by_itself() -> None:
    asked = list(AVEVA.endpoint("community_usage").requests(account(communities=["c-1", "c/2", "c-1"]), Days(DAY, DAY)))
    dates = {"start": "2026-03-02T00:00:00Z", "end": "2026-03-03T00:00:00Z"}
    assert [(request.path, request.part, params(request)) for request in asked] == [
        (f"/api/v1/communities/{path}/tenants/t-1/usage", part, dates | {"source": source})
        for path, part in (("c-1", "c-1"), ("c%2F2", "c/2"))
        for source in ("Internal", "External")
    ]
    (split,) = AVEVA.endpoint("community_usage").requests(
        account(communities=["c-1"], community_sources=["External"], split_tenants=True), Days(DAY, DAY)
    )
    assert params(split) == dates | {"groupBy": "Tenant", "source": "External"}


def test_community_usage_needs_communities() -> None:
    assert AVEVA.check is not None
    AVEVA.check(account())
    AVEVA.check(replace(account(communities=["c-1"]), endpoints=("community_usage",)))
    with pytest.raises(ValueError, match="community_usage needs communities"):
        AVEVA.check(replace(account(), endpoints=("tenant_usage", "community_usage")))
    opt_in = {endpoint.slug for endpoint in AVEVA.endpoints if not endpoint.default}
    assert opt_in == {"tenant_community_usage", "community_usage"}


def test_a_community_s_day_is_four_rows_of_a_source() -> None:
    """What the tenant uses and what others use of its data are different series, and no totals."""
    told = {source: community(shared(), source=source) for source in ("Internal", "External")}
    for source, found in told.items():
        assert {row["metric"]: row["value"] for row in found} == {
            "ingress_events": 1000,
            "egress_events": 500,
            "ingress_streams_accessed": 30,
            "egress_streams_accessed": 20,
        }
        for row in found:
            assert dict(row["dimensions"]) == {"community": "c-1", "source": source.lower()}
            assert (row["breakdown"], row["usage_date"]) == ("community+source", DAY)
    assert not {row["series_id"] for row in told["Internal"]} & {row["series_id"] for row in told["External"]}


@pytest.mark.parametrize("told", ["C-1", "c-1", None, ...])
def test_a_community_is_the_one_that_was_asked_for(told: Any) -> None:
    for row in community(shared(CommunityId=told), asked="C-1"):
        assert dict(row["dimensions"])["community"] == "c-1"
    with pytest.raises(PayloadError, match=r"\$\[0\]\.CommunityId: 'c-2' was not asked for"):
        community(shared(CommunityId="c-2"))
    with pytest.raises(PayloadError, match=r"\$\[0\]\.NamespaceId: 'plant' was not asked for"):
        community(shared(NamespaceId="plant"))


def test_the_tenant_by_community_is_a_row_for_each() -> None:
    told = answer([record(CommunityId="C-1"), record(CommunityId="c-2", IngressEvents=7)])
    found = rows(landing("tenant_community_usage", told))
    assert [(dict(row["dimensions"]), row["value"]) for row in found if row["metric"] == "ingress_events"] == [
        ({"community": "c-1"}, 1000),
        ({"community": "c-2"}, 7),
    ]
    assert {row["breakdown"] for row in found} == {"community"}


def test_an_api_that_does_not_know_group_by_is_found_out() -> None:
    """It answers with the tenant's total."""
    for total in (record(), record(CommunityId=...)):
        with pytest.raises(PayloadError, match=r"\$\[0\]\.CommunityId: expected text or an id, found null"):
            rows(landing("tenant_community_usage", answer([total])))


def test_several_tenants_of_a_community_are_told_apart_when_asked() -> None:
    """Whether one answer has several must not decide what a series is, so the option does."""
    two = (shared(), shared(CallerTenantId="T-3", IngressEvents=1))
    with pytest.raises(PayloadError, match=r"\$\[1\]\.CallerTenantId: 2026-03-02 is told twice.*split_tenants: true"):
        community(*two)
    for told in (two, two[:1]):
        found = [row for row in community(*told, split_tenants=True) if row["metric"] == "ingress_events"]
        assert [(dict(row["dimensions"]), row["value"]) for row in found] == [
            ({"community": "c-1", "source": "external", "caller_tenant": caller, "callee_tenant": "t-1"}, value)
            for caller, value in (("t-2", 1000), ("t-3", 1))[: len(told)]
        ]
        assert {row["breakdown"] for row in found} == {"callee_tenant+caller_tenant+community+source"}


def test_a_namespace_in_several_regions_is_told_apart_when_asked() -> None:
    two = (
        record(NamespaceId="plant", ClusterRegion="WestUS"),
        record(NamespaceId="plant", ClusterRegion="NorthEurope", IngressEvents=1),
    )
    with pytest.raises(PayloadError, match=r"\$\[1\]\.ClusterRegion: 2026-03-02 is told twice.*split_regions: true"):
        namespaces(*two)
    series = []
    for told in (two, two[:1]):
        found = rows(landing("namespace_usage", answer(list(told)), split_regions=True))
        events = [row for row in found if row["metric"] == "ingress_events"]
        assert [(dict(row["dimensions"]), row["value"]) for row in events] == [
            ({"namespace": "plant", "cluster_region": region}, value)
            for region, value in (("westus", 1000), ("northeurope", 1))[: len(told)]
        ]
        assert all(row["labels"] == [] and row["breakdown"] == "cluster_region+namespace" for row in found)
        series.append(events[0]["series_id"])
    assert series[0] == series[1]


def test_an_old_region_is_a_number_and_a_missing_one_splits_nothing() -> None:
    old = record(NamespaceId="plant", ClusterRegion=0)
    for row in rows(landing("namespace_usage", answer([old]), split_regions=True)):
        assert dict(row["dimensions"])["cluster_region"] == "0"
    with pytest.raises(PayloadError, match=r"\$\[0\]\.ClusterRegion"):
        rows(landing("namespace_usage", answer([old | {"ClusterRegion": None}]), split_regions=True))


def test_split_regions_leaves_the_tenant_s_total_whole() -> None:
    found = rows(landing("tenant_usage", answer([record(ClusterRegion="westus")]), split_regions=True))
    assert {row["breakdown"] for row in found} == {""}
    with pytest.raises(PayloadError, match=r"told twice.*no option tells them apart"):
        tenant(record(ClusterRegion="westus"), record(ClusterRegion="northeurope"))


@pytest.mark.parametrize("tenant_id", [None, ...])
def test_a_row_that_does_not_name_its_tenant_names_it_as_caller_or_callee(tenant_id: Any) -> None:
    nobody = "00000000-0000-0000-0000-000000000000"
    assert len(tenant(record(TenantId=tenant_id, CalleeTenantId="T-1", CallerTenantId=nobody))) == 4
    assert len(tenant(record(TenantId=tenant_id, CalleeTenantId=nobody, CallerTenantId=nobody))) == 4
    with pytest.raises(PayloadError, match=r"\$\[0\]\.CallerTenantId: 't-2' is not the tenant"):
        tenant(record(TenantId=tenant_id, CalleeTenantId="t-3"))
    with pytest.raises(PayloadError, match=r"\$\[0\]\.CallerTenantId: 't-2' is not the tenant"):
        community(shared(CalleeTenantId="t-3"))


def test_answers_that_were_kept_before_these_options_read_as_before() -> None:
    told = landing("namespace_usage", answer([record(NamespaceId="plant", ClusterRegion="WestUS")]))
    (row, *_) = rows(replace(told, options={"tenant_id": "t-1", "namespaces": []}))
    assert (row["dimensions"], row["labels"]) == ([("namespace", "plant")], [("cluster_region", "westus")])


def test_one_day_told_twice_is_refused() -> None:
    with pytest.raises(PayloadError, match="told twice"):
        tenant(record(ClusterRegion="westus"), record(ClusterRegion="northeurope"))
    with pytest.raises(PayloadError, match="told twice"):
        namespaces(record(NamespaceId="lab", ClusterRegion="a"), record(NamespaceId="lab", ClusterRegion="b"))


def test_a_day_settles_after_a_week() -> None:
    """NOW is 2026-03-18 12:00: 2026-03-10 ended 7.5 days before, 2026-03-11 only 6.5."""
    found = tenant(
        record(Date="2026-03-10T00:00:00Z"),
        record(Date="2026-03-11T00:00:00Z"),
        days=Days(date(2026, 3, 10), date(2026, 3, 11)),
    )
    assert {row["usage_date"].day: row["is_final"] for row in found} == {10: True, 11: False}


def test_the_page_s_resources_are_five_readings() -> None:
    found = rows(landing("resource_usage", answer(RESOURCES), days=Days(NOW.date(), NOW.date())))
    assert [(row["metric"], row["role"], row["aggregation"], row["unit"], row["value"]) for row in found] == [
        ("streams", "consumed", "last", "Streams", 0),
        ("streams", "entitled", "last", "Streams", 0),
        ("namespaces", "consumed", "last", "Namespaces", 0),
        ("namespaces", "entitled", "last", "Namespaces", 0),
        ("streams_accessed", "entitled", "average", "Streams", 0),
    ]
    for row in found:
        assert (row["period_start"], row["period_end"], row["observed_at"]) == (NOW, NOW, NOW)
        assert (row["temporality"], row["usage_date"], row["breakdown"]) == ("instant", NOW.date(), "")


def test_each_resource_keeps_its_own_number() -> None:
    told = {
        "StreamCount": 11,
        "EntitledStreamCount": 12,
        "NamespaceCount": 13,
        "EntitledNamespaceCount": 14,
        "EntitledStreamAccessCount": 9007199254740993,
    }
    assert {(row["metric"], row["role"]): row["value"] for row in rows(landing("resource_usage", answer(told)))} == {
        ("streams", "consumed"): 11,
        ("streams", "entitled"): 12,
        ("namespaces", "consumed"): 13,
        ("namespaces", "entitled"): 14,
        ("streams_accessed", "entitled"): Decimal(9007199254740993),
    }


@pytest.mark.parametrize("field", list(json.loads(RESOURCES)))
def test_a_resource_that_is_no_number_is_refused(field: str) -> None:
    body = json.loads(RESOURCES)
    for told in (None, "1", True):
        with pytest.raises(PayloadError, match=rf"^\$\.{field}: expected a number"):
            rows(landing("resource_usage", answer(body | {field: told})))
    del body[field]
    with pytest.raises(PayloadError, match=rf"^\$\.{field}: expected a number, and it is missing"):
        rows(landing("resource_usage", answer(body)))


def test_the_page_s_billing_cycle_is_a_billing_period() -> None:
    told = answer(CYCLES)
    found = AVEVA.endpoint("billing_cycles").normalise(landing("billing_cycles", told))
    at = datetime(2019, 8, 24, 14, 15, 22, tzinfo=UTC)
    assert found.usage == ()
    (periods,) = found.billing_periods
    assert periods.to_dict("records") == [{"period_start": at, "period_end": at, "response_id": told.response_id}]


def test_billing_cycles_are_told_in_utc() -> None:
    told = answer([{"StartDate": "2026-01-31T17:00:00.0000000-07:00", "EndDate": "2026-03-01T00:00:00Z"}])
    (found,) = AVEVA.endpoint("billing_cycles").normalise(landing("billing_cycles", told)).billing_periods
    assert found["period_start"].tolist() == [datetime(2026, 2, 1, tzinfo=UTC)]
    assert found["period_end"].tolist() == [datetime(2026, 3, 1, tzinfo=UTC)]


def test_no_elapsed_cycle_is_an_answer() -> None:
    (found,) = AVEVA.endpoint("billing_cycles").normalise(landing("billing_cycles", answer([]))).billing_periods
    assert list(found.columns) == ["period_start", "period_end", "response_id"]
    assert len(found) == 0


@pytest.mark.parametrize(
    ("cycle", "path"),
    [
        ({"StartDate": "2026-02-01T00:00:00Z"}, r"\$\[0\]\.EndDate"),
        ({"StartDate": None, "EndDate": "2026-02-01T00:00:00Z"}, r"\$\[0\]\.StartDate"),
        ({"StartDate": "2026-02-01", "EndDate": "2026-03-01T00:00:00Z"}, r"\$\[0\]\.StartDate"),
        ({"StartDate": "2026-03-01T00:00:00Z", "EndDate": "2026-02-01T00:00:00Z"}, "ends before it starts"),
    ],
)
def test_a_cycle_without_its_ends_is_refused(cycle: dict[str, Any], path: str) -> None:
    with pytest.raises(PayloadError, match=path):
        AVEVA.endpoint("billing_cycles").normalise(landing("billing_cycles", answer([cycle])))


@pytest.mark.parametrize("slug", [endpoint.slug for endpoint in AVEVA.endpoints])
@pytest.mark.parametrize("body", [b"", b"<html>", b"7", b'"x"', b"null", b"[7]", b"[null]", b'{"items": []}'])
def test_what_is_not_the_documented_answer_is_refused(slug: str, body: bytes) -> None:
    with pytest.raises(PayloadError):
        AVEVA.endpoint(slug).normalise(landing(slug, answer(body)))


@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (400, ERROR, {}, "string. string. string (operation string)"),
        (
            400,
            b'{"OperationId": "7f", "Error": "Bad Request.", "Reason": "start is\\nwrong.", "Resolution": null}',
            {"operation-id": "8a"},
            "Bad Request. start is wrong (operation 7f)",
        ),
        (500, b'{"OperationId": null, "Error": null, "Reason": null}', {"operation-id": "8a"}, "(operation 8a)"),
        (500, b'{"Error": 7, "ChildErrors": []}', {}, ""),
        (502, b"<html>\n<b>Bad   Gateway</b>\n", {}, "<html> <b>Bad Gateway</b>"),
        (503, b"[1]", {}, "[1]"),
        (500, b"\xff\x00", {}, "\ufffd\x00"),
        (500, b"", {}, ""),
    ],
)
def test_errors_are_told_in_one_line(status: int, body: bytes, headers: dict[str, str], said: str) -> None:
    assert AVEVA.explain(answer(body, status=status, headers=headers)) == said


def test_an_empty_401_still_says_what_to_do() -> None:
    assert "the access token was not accepted" in AVEVA.explain(answer(b"", status=401))


@pytest.mark.parametrize("body", [b"", ERROR, b"denied"])
def test_a_403_names_the_roles(body: bytes) -> None:
    said = AVEVA.explain(answer(body, status=403))
    assert "Tenant Member" in said
    assert "Account Administrator" in said
    assert "\n" not in said


WRONG: tuple[dict[str, Any], ...] = (
    {},
    {"tenant_id": ""},
    {"tenant_id": "t", "namespaces": [""]},
    {"tenant_id": "t", "region": "x"},
    {"tenant_id": "t", "communities": [""]},
    {"tenant_id": "t", "community_sources": []},
    {"tenant_id": "t", "community_sources": ["Invalid"]},
    {"tenant_id": "t", "group_by_form": "All"},
)


def test_options_need_a_tenant() -> None:
    for wrong in WRONG:
        with pytest.raises(ValidationError):
            AvevaOptions(**wrong)
    assert AvevaOptions(tenant_id="t").model_dump() == {
        "tenant_id": "t",
        "namespaces": [],
        "communities": [],
        "community_sources": ["Internal", "External"],
        "group_by_form": "groupByNamespace",
        "split_regions": False,
        "split_tenants": False,
    }


def test_the_facts_are_the_page_s() -> None:
    facts = {endpoint.slug: (endpoint.history, endpoint.max_days, endpoint.settles) for endpoint in AVEVA.endpoints}
    assert facts == {
        "tenant_usage": (History.WINDOW, 92, timedelta(days=7)),
        "namespace_usage": (History.WINDOW, 92, timedelta(days=7)),
        "tenant_community_usage": (History.WINDOW, 92, timedelta(days=7)),
        "community_usage": (History.WINDOW, 92, timedelta(days=7)),
        "resource_usage": (History.SNAPSHOT, None, timedelta(0)),
        "billing_cycles": (History.WINDOW, None, timedelta(0)),
    }
    assert AVEVA.base_url == "https://uswe.datahub.connect.aveva.com"
    assert AVEVA.credentials == (frozenset({"client_id", "client_secret"}),)
