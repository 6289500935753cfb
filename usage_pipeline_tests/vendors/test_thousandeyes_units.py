"""ThousandEyes' units of past days and quotas: expected numbers are the vendor's samples, read by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.stages import normalise
from usage_pipeline.vendors.thousandeyes import THOUSANDEYES, ThousandEyesOptions

DAY = Days(date(2026, 3, 10), date(2026, 3, 10))
START, END = datetime(2026, 3, 10, tzinfo=UTC), datetime(2026, 3, 11, tzinfo=UTC)
FETCHED = datetime(2026, 3, 18, 12, tzinfo=UTC)
HAL = {"content-type": "application/hal+json"}
PROBLEM = {"content-type": "application/problem+json"}
TESTS, AGENTS, QUOTAS = "units_tests", "units_enterprise_agents", "quotas"
PATHS = {
    TESTS: "/v7/usage/units/tests",
    AGENTS: "/v7/usage/units/enterprise-agents",
    QUOTAS: "/v7/quotas",
}
BASE = "https://api.thousandeyes.com"

# The samples of the v7 document.
BY_TEST = b"""{"breakdowns": [
  {"testId": "1158", "testName": "https://app.thousandeyes.com", "testType": "Web-Page Load",
   "enterpriseUnitsUsed": 14050, "enterpriseUnitsProjected": 340674, "cloudUnitsUsed": 10000,
   "cloudUnitsProjected": 12000, "aid": "1234", "accountGroupName": "Support"},
  {"testId": "1221", "testName": "https://app.thousandeyes.com", "testType": "Web - HTTP Server",
   "enterpriseUnitsUsed": 194051, "enterpriseUnitsProjected": 30622, "cloudUnitsUsed": 12000,
   "cloudUnitsProjected": 13000, "aid": "1234", "accountGroupName": "Support"}],
 "_links": {"next": {"href": "https://api.thousandeyes.com/v7/link/to/resource/id"}}}"""
BY_AGENT = b"""{"breakdowns": [
  {"aid": "1234", "agentId": "123456", "accountGroupName": "Support", "agentName": "TEVA-test-agent",
   "enterpriseUnitsUsed": 599878, "enterpriseUnitsProjected": 597808},
  {"aid": "315", "agentId": "789", "accountGroupName": "Documentation", "agentName": "lab-physical-appliance-1",
   "enterpriseUnitsUsed": 597123, "enterpriseUnitsProjected": 597808}], "_links": {}}"""
OF_QUOTAS = b"""{"quotas": [{"organizationQuota": {"value": 22500, "orgId": "10"},
  "accountGroupQuotas": [{"value": 12000, "aid": "1234"}, {"value": 10000, "aid": "12345"}]}],
 "_links": {"self": {"href": "https://api.thousandeyes.com/v7/link/to/resource/id"}}}"""
# Records of one test: as scheduled, and run at once beside its schedule.
SCHEDULED = {"aid": "1234", "testId": "1158", "isInstantTest": False, "cloudUnitsUsed": 7}
AT_ONCE = SCHEDULED | {"isInstantTest": True, "cloudUnitsUsed": 3}


def answer(slug: str, body: bytes, params: tuple[tuple[str, str], ...] = (), base: str = BASE) -> Answer:
    query = "?" + "&".join("=".join(pair) for pair in params) if params else ""
    return Answer(Request(PATHS[slug], params), f"{base}{PATHS[slug]}{query}", 200, HAL, body, FETCHED)


def rows(slug: str, *bodies: bytes) -> list[dict[str, Any]]:
    endpoint = THOUSANDEYES.endpoint(slug)
    answers = tuple(answer(slug, body, (("cursor", str(n)),)) for n, body in enumerate(bodies))
    found = Landing(
        "thousandeyes", "acme", slug, DAY, answers, FETCHED, ThousandEyesOptions.model_validate({}).model_dump()
    )
    told: list[dict[str, Any]] = normalise.usage(endpoint, found, endpoint.normalise(found)).to_pylist()
    return told


def values(found: list[dict[str, Any]]) -> dict[tuple[Any, ...], Decimal]:
    """By metric and the values of the dimensions in the order of their names."""
    return {(row["metric"], *(value for _, value in sorted(row["dimensions"]))): row["value"] for row in found}


def breakdowns(*records: Mapping[str, Any]) -> bytes:
    return json.dumps({"breakdowns": records}).encode()


def account(*credentials: str, endpoints: tuple[str, ...] = (TESTS,), **options: Any) -> Account:
    names = dict.fromkeys(credentials or ("bearer_token",), "ENVIRONMENT")
    given = ThousandEyesOptions(**options).model_dump()
    return Account("acme", "thousandeyes", BASE, date(2026, 1, 1), names, endpoints, given)


def asked(slug: str, **options: Any) -> Request:
    (only,) = THOUSANDEYES.endpoint(slug).requests(account(**options), DAY)
    return only


# Units


def test_the_sample_of_tests_is_read_whole() -> None:
    found = rows(TESTS, BY_TEST)
    assert values(found) == {
        ("cloud_units", "1234", "false", "1158"): Decimal(10000),
        ("enterprise_units", "1234", "false", "1158"): Decimal(14050),
        ("cloud_units", "1234", "false", "1221"): Decimal(12000),
        ("enterprise_units", "1234", "false", "1221"): Decimal(194051),
    }
    assert {row["breakdown"] for row in found} == {"account_group+instant+test"}
    assert dict(found[0]["labels"]) == {
        "account_group_name": "Support",
        "test_name": "https://app.thousandeyes.com",
        "test_type": "Web-Page Load",
    }


def test_the_sample_of_agents_is_read_whole() -> None:
    found = rows(AGENTS, BY_AGENT)
    assert values(found) == {
        ("enterprise_units", "1234", "123456"): Decimal(599878),
        ("enterprise_units", "315", "789"): Decimal(597123),
    }
    assert {row["breakdown"] for row in found} == {"account_group+agent"}
    assert dict(found[0]["labels"]) == {
        "account_group_name": "Support",
        "agent_id": "123456",
        "agent_name": "TEVA-test-agent",
    }


@pytest.mark.parametrize(("slug", "body"), [(TESTS, BY_TEST), (AGENTS, BY_AGENT)])
def test_units_are_daily_amounts_of_the_day_asked_for(slug: str, body: bytes) -> None:
    for row in rows(slug, body):
        assert (row["period_start"], row["period_end"], row["usage_date"]) == (START, END, DAY.first)
        assert (row["role"], row["aggregation"], row["temporality"]) == ("consumed", "sum", "delta")
        assert row["is_final"]


def test_a_day_is_asked_for_from_its_midnight_to_the_next() -> None:
    window = (("startDate", "2026-03-10T00:00:00Z"), ("endDate", "2026-03-11T00:00:00Z"))
    assert asked(TESTS).path == PATHS[TESTS]
    assert asked(TESTS).params == window
    assert asked(TESTS, aid=1234).params == (("aid", "1234"), *window)
    assert asked(AGENTS, aid=1234) == asked(AGENTS)  # it has no such parameter
    assert asked(AGENTS).params == window
    assert {THOUSANDEYES.endpoint(slug).max_days for slug in (TESTS, AGENTS)} == {1}


def test_a_day_is_open_for_two_more() -> None:
    assert THOUSANDEYES.endpoint(TESTS).settles == THOUSANDEYES.endpoint(AGENTS).settles == timedelta(days=2)


def test_a_test_and_its_instant_runs_are_two_series() -> None:
    found = rows(TESTS, breakdowns(SCHEDULED, AT_ONCE))
    assert values(found) == {
        ("cloud_units", "1234", "false", "1158"): Decimal(7),
        ("cloud_units", "1234", "true", "1158"): Decimal(3),
    }
    assert len({row["series_id"] for row in found}) == 2


def test_pages_make_one_table_and_a_record_on_two_of_them_is_refused() -> None:
    assert len(rows(TESTS, breakdowns(SCHEDULED), breakdowns(AT_ONCE))) == 2
    with pytest.raises(PayloadError, match="told twice"):
        rows(TESTS, breakdowns(SCHEDULED), breakdowns(SCHEDULED))


def test_a_shared_agent_is_told_by_account_group_and_may_lack_an_id() -> None:
    one = {"aid": "1", "agentId": "80001", "agentName": "shared", "enterpriseUnitsUsed": 5}
    unnamed = {"aid": "1", "agentName": "branch", "enterpriseUnitsUsed": 1}
    assert values(rows(AGENTS, breakdowns(one, one | {"aid": "2"}, unnamed))) == {
        ("enterprise_units", "1", "80001"): Decimal(5),
        ("enterprise_units", "2", "80001"): Decimal(5),
        ("enterprise_units", "1", "branch"): Decimal(1),
    }


def test_an_empty_day_has_no_rows_and_units_not_told_are_not_zero() -> None:
    assert rows(TESTS, breakdowns()) == rows(AGENTS, breakdowns()) == []
    assert [row["metric"] for row in rows(TESTS, breakdowns(SCHEDULED))] == ["cloud_units"]
    zero = rows(TESTS, breakdowns(SCHEDULED | {"enterpriseUnitsUsed": 0}))
    assert values(zero)["enterprise_units", "1234", "false", "1158"] == 0


@pytest.mark.parametrize(
    ("slug", "body", "path"),
    [
        (TESTS, b"[]", "$"),
        (TESTS, b"{}", "$"),
        (TESTS, b'{"breakdowns": {}}', "$.breakdowns"),
        (TESTS, b'{"breakdowns": [], "total": 3}', "$.total"),
        (TESTS, breakdowns(SCHEDULED | {"runs": 3}), "$.breakdowns[0].runs"),
        (TESTS, breakdowns(SCHEDULED | {"cloudUnitsUsed": "7"}), "$.breakdowns[0].cloudUnitsUsed"),
        (TESTS, breakdowns(SCHEDULED, AT_ONCE | {"isInstantTest": "yes"}), "$.breakdowns[1].isInstantTest"),
        (TESTS, breakdowns(SCHEDULED | {"isInstantTest": None}), "$.breakdowns[0].isInstantTest"),
        (TESTS, breakdowns({"aid": "1", "testId": "2"}), "$.breakdowns[0]"),
        (TESTS, breakdowns({"aid": "1", "cloudUnitsUsed": 2}), "$.breakdowns[0].testId"),
        (TESTS, breakdowns({"testId": "1", "cloudUnitsUsed": 2}), "$.breakdowns[0].aid"),
        (AGENTS, breakdowns({"aid": "1", "agentId": "2"}), "$.breakdowns[0].enterpriseUnitsUsed"),
        (AGENTS, breakdowns({"aid": "1", "enterpriseUnitsUsed": 2}), "$.breakdowns[0].agent"),
        (AGENTS, breakdowns({"aid": "1", "agentId": "2", "enterpriseUnitsUsed": 1, "cloudUnitsUsed": 1}),
         "$.breakdowns[0].cloudUnitsUsed"),
        (QUOTAS, b"{}", "$"),
        (QUOTAS, b'{"quotas": [], "left": 1}', "$.left"),
        (QUOTAS, b'{"quotas": [{"userQuota": {"value": 1}}]}', "$.quotas[0].userQuota.value"),
        (QUOTAS, b'{"quotas": [{"organizationQuota": {"orgId": "1"}}]}', "$.quotas[0].organizationQuota.value"),
        (QUOTAS, b'{"quotas": [{"organizationQuota": {"value": 1}}]}', "$.quotas[0].organizationQuota.orgId"),
        (QUOTAS, b'{"quotas": [{"organizationQuota": {"orgId": "1", "value": 1, "used": 2}}]}',
         "$.quotas[0].organizationQuota.used"),
        (QUOTAS, b'{"quotas": [{"accountGroupQuotas": [{"value": 1}]}]}', "$.quotas[0].accountGroupQuotas[0].aid"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_path(slug: str, body: bytes, path: str) -> None:
    with pytest.raises(PayloadError) as refused:
        rows(slug, body)
    assert refused.value.path == path


# Pages


def following(href: Any, params: tuple[tuple[str, str], ...] = (), base: str = BASE) -> Request | None:
    body = json.dumps({"breakdowns": [], "_links": {"next": {"href": href}}}).encode()
    endpoint = THOUSANDEYES.endpoint(TESTS)
    assert endpoint.follow
    return endpoint.follow(answer(TESTS, body, params, base))


@pytest.mark.parametrize("base", [BASE, "http://127.0.0.1:8750/thousandeyes"])
def test_the_next_page_is_where_the_vendor_links_it(base: str) -> None:
    found = following(f"{base}/v7/usage/units/tests?aid=1&startDate=2026-03-10T00%3A00%3A00Z&cursor=a%2Bb%3D", (), base)
    assert found == Request(
        "/v7/usage/units/tests", (("aid", "1"), ("startDate", "2026-03-10T00:00:00Z"), ("cursor", "a+b="))
    )


def test_a_link_may_leave_the_address_out() -> None:
    assert following("/v7/usage/units/tests?cursor=x") == Request(PATHS[TESTS], (("cursor", "x"),))
    assert following("?cursor=x") == Request(PATHS[TESTS], (("cursor", "x"),))


@pytest.mark.parametrize(
    ("href", "path"),
    [
        ("https://elsewhere.example/v7/usage?cursor=x", "https://elsewhere.example/v7/usage"),
        ("//elsewhere.example/v7?cursor=x", "https://elsewhere.example/v7"),
        (f"{BASE}.example/v7?cursor=x", f"{BASE}.example/v7"),
    ],
)
def test_a_link_elsewhere_is_left_whole_for_the_client_to_refuse(href: str, path: str) -> None:
    assert following(href) == Request(path, (("cursor", "x"),))


def test_the_headers_of_a_page_are_those_of_the_first() -> None:
    endpoint = THOUSANDEYES.endpoint(AGENTS)
    assert endpoint.follow
    body = b'{"breakdowns": [], "_links": {"next": {"href": "?cursor=x"}}}'
    first = replace(answer(AGENTS, body), request=asked(AGENTS))
    found = endpoint.follow(first)
    assert found is not None
    assert found.headers == (("Accept", "application/hal+json, application/json"),)


@pytest.mark.parametrize("links", ["", ', "_links": null', ', "_links": {}', ', "_links": {"next": null}'])
def test_no_link_ends_the_pages(links: str) -> None:
    endpoint = THOUSANDEYES.endpoint(TESTS)
    assert endpoint.follow
    assert endpoint.follow(answer(TESTS, f'{{"breakdowns": []{links}}}'.encode())) is None


def test_a_cursor_that_comes_again_ends_the_pages() -> None:
    assert following("?cursor=x", (("cursor", "x"),)) is None
    assert following("?cursor=y", (("cursor", "x"),)) is not None


@pytest.mark.parametrize("href", [3, None, "http://[::1/v7"])
def test_a_link_that_is_no_address_is_refused(href: Any) -> None:
    with pytest.raises(PayloadError, match=r"\$\._links\.next\.href"):
        following(href)


# Quotas


def test_the_sample_of_quotas_is_read_whole() -> None:
    found = rows(QUOTAS, OF_QUOTAS)
    assert {(row["breakdown"], *dict(row["dimensions"]).values()): row["value"] for row in found} == {
        ("organization", "10"): Decimal(22500),
        ("account_group", "1234"): Decimal(12000),
        ("account_group", "12345"): Decimal(10000),
    }
    for row in found:
        assert (row["metric"], row["unit"], row["role"]) == ("test_units", "Units", "entitled")
        assert (row["aggregation"], row["temporality"]) == ("last", "instant")
        assert row["period_start"] == row["period_end"] == row["observed_at"] == FETCHED
        assert dict(row["labels"]) == ({"organization": "10"} if row["breakdown"] == "account_group" else {})


def test_no_quota_is_no_row() -> None:
    assert rows(QUOTAS, b'{"quotas": []}') == rows(QUOTAS, b'{"quotas": [{}]}') == []
    some = b'{"quotas": [{"organizationQuota": null, "accountGroupQuotas": [{"aid": "1"}, {"aid": "2", "value": 0}]}]}'
    assert [(dict(row["dimensions"]), row["value"]) for row in rows(QUOTAS, some)] == [({"account_group": "2"}, 0)]


def test_quotas_are_asked_for_without_parameters() -> None:
    assert asked(QUOTAS, aid=1234).params == ()


# Accounts


@pytest.mark.parametrize("slug", [TESTS, AGENTS, QUOTAS])
def test_v6_has_no_such_endpoint(slug: str) -> None:
    check = THOUSANDEYES.check
    assert check is not None
    check(account(endpoints=("usage", slug)))
    for wrong in (
        account("email", "token", endpoints=("usage", slug)),
        account(endpoints=(slug,), api_version="v6"),
        account(endpoints=(slug,), format="xml"),
    ):
        with pytest.raises(ValueError, match=f"v6 has no {slug}: .*bearer_token.*v7"):
            check(wrong)


def test_only_usage_is_read_unless_more_is_asked_for() -> None:
    """Other endpoints need v7, a pricing or a permission that an account may not have."""
    assert [endpoint.slug for endpoint in THOUSANDEYES.endpoints if endpoint.default] == ["usage"]


@pytest.mark.parametrize(
    ("path", "status", "headers", "body", "expected"),
    [
        (PATHS[TESTS], 403, PROBLEM, {"title": "Forbidden"}, True),
        (PATHS[AGENTS], 403, PROBLEM, {"title": "Forbidden", "detail": "Your contract has no such thing"}, True),
        (PATHS[TESTS], 403, PROBLEM, {"detail": "Not authorized: customers on usage-based pricing only"}, True),
        (PATHS[TESTS], 403, PROBLEM, {"detail": "You lack the permission View organization usage"}, False),
        (PATHS[TESTS], 404, PROBLEM, {"title": "URI Resource Not Found"}, True),
        (PATHS[TESTS], 404, {"content-type": "text/html"}, {}, False),
        (PATHS[TESTS], 403, {"content-type": "text/html"}, {}, False),
        (PATHS[TESTS], 400, PROBLEM, {"title": "Bad request"}, False),
        (PATHS[TESTS], 401, PROBLEM, {"error": "invalid_token"}, False),
        (PATHS[QUOTAS], 403, PROBLEM, {"title": "Forbidden"}, False),
        ("/v7/usage", 403, PROBLEM, {"title": "Forbidden"}, False),
        ("/v7/usage", 404, PROBLEM, {"title": "URI Resource Not Found"}, False),
    ],
)
def test_only_missing_usage_pricing_makes_units_unavailable(
    path: str, status: int, headers: dict[str, str], body: dict[str, str], expected: bool
) -> None:
    assert THOUSANDEYES.unavailable is not None
    refused = Answer(Request(path), f"{BASE}{path}", status, headers, json.dumps(body).encode(), FETCHED)
    assert THOUSANDEYES.unavailable(refused) is expected
