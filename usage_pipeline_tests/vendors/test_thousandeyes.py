"""ThousandEyes: expected numbers are the vendor's samples, read by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.stages import normalise
from usage_pipeline.vendors.thousandeyes import THOUSANDEYES, ThousandEyesOptions

ENDPOINT = THOUSANDEYES.endpoint("usage")
FETCHED = datetime(2020, 1, 17, 17, 59, 14, tzinfo=UTC)
START = datetime(2020, 1, 5, 8, tzinfo=UTC)
END = datetime(2020, 2, 5, 8, tzinfo=UTC)
JSON = {"content-type": "application/json;charset=UTF-8"}
XML = {"content-type": "application/xml;charset=UTF-8"}

# The sample of the v6 page, its elisions taken out.
V6 = b"""{ "usage": { "quota": { "monthStart": "2020-01-05 08:00:00", "monthEnd": "2020-02-05 08:00:00",
"cloudUnitsIncluded": 4320000000, "enterpriseAgentsIncluded": 0, "endpointAgentsIncluded": 200 },
"cloudUnitsUsed": 8500489, "cloudUnitsProjected": 20993812, "cloudUnitsNextBillingPeriod": 25123456,
"enterpriseUnitsUsed": 79640902, "enterpriseUnitsProjected": 108016317, "enterpriseUnitsNextBillingPeriod": 0,
"endpointAgentsUsed": 42, "enterpriseAgentsUsed": 58,
"tests": [
 { "aid": 315, "testId": 1158, "accountGroupName": "Documentation", "testName": "https://app.thousandeyes.com",
   "testType": "Web - Page Load", "cloudUnitsUsed": 140540, "cloudUnitsProjected": 340674 },
 { "aid": 315, "testId": 1159, "accountGroupName": "Documentation", "testName": "https://support.thousandeyes.com",
   "testType": "Web - HTTP Server", "cloudUnitsUsed": 64390, "cloudUnitsProjected": 164457 } ],
"endpointAgents": [ { "aid": 7625, "accountGroupName": "Support", "endpointAgentsUsed": 22 },
 { "aid": 315, "accountGroupName": "Documentation", "endpointAgentsUsed": 14 } ],
"enterpriseAgents": [ { "aid": 7625, "accountGroupName": "Support", "enterpriseAgentsUsed": 7 },
 { "aid": 315, "accountGroupName": "Documentation", "enterpriseAgentsUsed": 1 } ],
"enterpriseAgentUnits": [
 { "aid": 7625, "agentId": 121404, "accountGroupName": "Support", "agentName": "TEVA-test-agent",
   "enterpriseUnitsUsed": 599878, "enterpriseUnitsProjected": 597808, "vagentId": 123456 },
 { "aid": 315, "agentId": 121404, "accountGroupName": "Documentation", "agentName": "lab-physical-appliance-1",
   "enterpriseUnitsUsed": 597123, "enterpriseUnitsProjected": 597808, "vagentId": 789 } ] } }"""

V7 = b"""{"_links": {"self": {"href": "https://api.thousandeyes.com/v7/link/to/resource/id"}},
 "usage": {
  "quota": {"monthStart": "2020-01-05T08:00:00Z", "monthEnd": "2020-02-05T08:00:00Z",
            "cloudUnitsIncluded": 4320000000, "deviceAgentsIncluded": 100, "endpointAgentsIncluded": 200,
            "endpointAgentsEssentialsIncluded": 10, "endpointAgentsEmbeddedIncluded": 10,
            "enterpriseAgentsIncluded": 25},
  "cloudUnitsUsed": 8500489, "cloudUnitsProjected": 20993812, "cloudUnitsNextBillingPeriod": 25123456,
  "enterpriseUnitsUsed": 79640902, "enterpriseUnitsProjected": 108016317, "enterpriseUnitsNextBillingPeriod": 0,
  "connectedDevicesUnitsUsed": 79640902, "connectedDevicesUnitsProjected": 108016317,
  "connectedDevicesUnitsNextBillingPeriod": 0,
  "endpointAgentsUsed": 42, "endpointAgentsEssentialsUsed": 5, "endpointAgentsEmbeddedUsed": 5,
  "enterpriseAgentsUsed": 58,
  "tests": [{"aid": "1234", "testId": "1158", "accountGroupName": "Documentation",
             "testName": "https://app.thousandeyes.com", "testType": "Web-Page Load",
             "cloudUnitsUsed": 14050, "cloudUnitsProjected": 340674}],
  "endpointAgents": [{"aid": "1234", "accountGroupName": "Support", "endpointAgentsUsed": 22}],
  "endpointAgentsEssentials": [{"aid": "1234", "accountGroupName": "Support", "endpointAgentsEssentialsUsed": 2}],
  "endpointAgentsEmbedded": [{"aid": "12345", "accountGroupName": "Documentation", "endpointAgentsEmbeddedUsed": 3}],
  "enterpriseAgents": [{"aid": "1234", "accountGroupName": "Support", "enterpriseAgentsUsed": 7}],
  "enterpriseAgentUnits": [
   {"aid": "1234", "agentId": "123456", "accountGroupName": "Support", "agentName": "TEVA-test-agent",
    "enterpriseUnitsUsed": 599878, "enterpriseUnitsProjected": 597808},
   {"aid": "315", "accountGroupName": "Documentation", "agentName": "lab-physical-appliance-1",
    "enterpriseUnitsUsed": 597123, "enterpriseUnitsProjected": 597808}],
  "allocations": {"used": 1000, "projected": 1000,
                  "allocations": [{"productName": "Some Product Name", "allocatedUnits": 600}]}}}"""

HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<usage><quota><monthStart>2020-01-05 08:00:00</monthStart><monthEnd>2020-02-05 08:00:00</monthEnd>
<cloudUnitsIncluded>4320000000</cloudUnitsIncluded><enterpriseAgentsIncluded>0</enterpriseAgentsIncluded>
<endpointAgentsIncluded>200</endpointAgentsIncluded></quota>
<cloudUnitsUsed>8500489</cloudUnitsUsed><cloudUnitsProjected>20993812</cloudUnitsProjected>
<cloudUnitsNextBillingPeriod>25123456</cloudUnitsNextBillingPeriod>
<enterpriseUnitsUsed>79640902</enterpriseUnitsUsed><enterpriseUnitsProjected>108016317</enterpriseUnitsProjected>
<enterpriseUnitsNextBillingPeriod>0</enterpriseUnitsNextBillingPeriod>
<endpointAgentsUsed>42</endpointAgentsUsed><enterpriseAgentsUsed>58</enterpriseAgentsUsed>"""
TESTS = (
    """<aid>315</aid><testId>1158</testId><accountGroupName>Documentation</accountGroupName>
<testName>https://app.thousandeyes.com</testName><testType>Web - Page Load</testType>
<cloudUnitsUsed>140540</cloudUnitsUsed><cloudUnitsProjected>340674</cloudUnitsProjected>""",
    """<aid>315</aid><testId>1159</testId><accountGroupName>Documentation</accountGroupName>
<testName>https://support.thousandeyes.com</testName><testType>Web - HTTP Server</testType>
<cloudUnitsUsed>64390</cloudUnitsUsed><cloudUnitsProjected>164457</cloudUnitsProjected>""",
)
ENDPOINT_AGENTS = (
    "<aid>7625</aid><accountGroupName>Support</accountGroupName><endpointAgentsUsed>22</endpointAgentsUsed>",
    "<aid>315</aid><accountGroupName>Documentation</accountGroupName><endpointAgentsUsed>14</endpointAgentsUsed>",
)
ENTERPRISE_AGENTS = (
    "<aid>7625</aid><accountGroupName>Support</accountGroupName><enterpriseAgentsUsed>7</enterpriseAgentsUsed>",
    "<aid>315</aid><accountGroupName>Documentation</accountGroupName><enterpriseAgentsUsed>1</enterpriseAgentsUsed>",
)
AGENT_UNITS = (
    """<aid>7625</aid><agentId>121404</agentId><accountGroupName>Support</accountGroupName>
<agentName>TEVA-test-agent</agentName><enterpriseUnitsUsed>599878</enterpriseUnitsUsed>
<enterpriseUnitsProjected>597808</enterpriseUnitsProjected><vagentId>123456</vagentId>""",
    """<aid>315</aid><agentId>121404</agentId><accountGroupName>Documentation</accountGroupName>
<agentName>lab-physical-appliance-1</agentName><enterpriseUnitsUsed>597123</enterpriseUnitsUsed>
<enterpriseUnitsProjected>597808</enterpriseUnitsProjected><vagentId>789</vagentId>""",
)
ARRAYS = {
    "tests": ("test", TESTS),
    "endpointAgents": ("endpointAgent", ENDPOINT_AGENTS),
    "enterpriseAgents": ("enterpriseAgent", ENTERPRISE_AGENTS),
    "enterpriseAgentUnits": ("enterpriseAgentUnit", AGENT_UNITS),
}
NESTED = HEAD + "".join(
    f"<{name}>" + "".join(f"<{one}>{record}</{one}>" for record in records) + f"</{name}>"
    for name, (one, records) in ARRAYS.items()
) + "</usage>"  # fmt: skip
REPEATED = HEAD + "".join(
    f"<{name}>{record}</{name}>" for name, (_, records) in ARRAYS.items() for record in records
) + "</usage>"  # fmt: skip
WRAPPED = NESTED.replace("<usage>", "<response><usage>", 1) + "</response>"


def landing(
    body: bytes,
    headers: Mapping[str, str] = JSON,
    fetched_at: datetime = FETCHED,
    **options: Any,
) -> Landing:
    answer = Answer(Request("/v6/usage.json"), "https://t/v6/usage.json", 200, headers, body, fetched_at)
    day = Days(fetched_at.date(), fetched_at.date())
    given = ThousandEyesOptions(**options).model_dump()
    return Landing("thousandeyes", "acme", "usage", day, (answer,), fetched_at, given)


def rows(found: Landing) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = normalise.usage(ENDPOINT, found, ENDPOINT.normalise(found)).to_pylist()
    return told


def values(found: list[dict[str, Any]]) -> dict[tuple[Any, ...], Decimal]:
    """By metric, role and dimensions."""
    return {(row["metric"], row["role"], *sorted(dict(row["dimensions"]).items())): row["value"] for row in found}


def changed(sample: bytes, **usage: Any) -> bytes:
    body = json.loads(sample)
    body["usage"].update(usage)
    return json.dumps(body).encode()


def quota(sample: bytes, **told: Any) -> bytes:
    return changed(sample, quota={**json.loads(sample)["usage"]["quota"], **told})


def account(*credentials: str, **options: Any) -> Account:
    names = dict.fromkeys(credentials, "ENVIRONMENT")
    given = ThousandEyesOptions(**options).model_dump()
    return Account("acme", "thousandeyes", "https://t", date(2020, 1, 1), names, ("usage",), given)


SUPPORT, DOCUMENTATION = ("account_group", "7625"), ("account_group", "315")


def test_v6_sample_is_read_whole() -> None:
    assert values(rows(landing(V6))) == {
        ("cloud_units", "entitled"): Decimal(4320000000),
        ("endpoint_agents", "entitled"): Decimal(200),
        ("cloud_units", "consumed"): Decimal(8500489),
        ("cloud_units", "projected"): Decimal(20993812),
        ("enterprise_units", "consumed"): Decimal(79640902),
        ("enterprise_units", "projected"): Decimal(108016317),
        ("endpoint_agents", "consumed"): Decimal(42),
        ("enterprise_agents", "consumed"): Decimal(58),
        ("cloud_units", "consumed", DOCUMENTATION, ("test", "1158")): Decimal(140540),
        ("cloud_units", "projected", DOCUMENTATION, ("test", "1158")): Decimal(340674),
        ("cloud_units", "consumed", DOCUMENTATION, ("test", "1159")): Decimal(64390),
        ("cloud_units", "projected", DOCUMENTATION, ("test", "1159")): Decimal(164457),
        ("endpoint_agents", "consumed", SUPPORT): Decimal(22),
        ("endpoint_agents", "consumed", DOCUMENTATION): Decimal(14),
        ("enterprise_agents", "consumed", SUPPORT): Decimal(7),
        ("enterprise_agents", "consumed", DOCUMENTATION): Decimal(1),
        ("enterprise_units", "consumed", SUPPORT, ("agent", "123456")): Decimal(599878),
        ("enterprise_units", "projected", SUPPORT, ("agent", "123456")): Decimal(597808),
        ("enterprise_units", "consumed", DOCUMENTATION, ("agent", "789")): Decimal(597123),
        ("enterprise_units", "projected", DOCUMENTATION, ("agent", "789")): Decimal(597808),
    }


def test_v7_sample_is_read_whole() -> None:
    support, documentation = ("account_group", "1234"), ("account_group", "315")
    assert values(rows(landing(V7, {"content-type": "application/hal+json"}, api_version="v7"))) == {
        ("cloud_units", "entitled"): Decimal(4320000000),
        ("device_agents", "entitled"): Decimal(100),
        ("endpoint_agents", "entitled"): Decimal(200),
        ("endpoint_agents_essentials", "entitled"): Decimal(10),
        ("endpoint_agents_embedded", "entitled"): Decimal(10),
        ("enterprise_agents", "entitled"): Decimal(25),
        ("cloud_units", "consumed"): Decimal(8500489),
        ("cloud_units", "projected"): Decimal(20993812),
        ("enterprise_units", "consumed"): Decimal(79640902),
        ("enterprise_units", "projected"): Decimal(108016317),
        ("connected_devices_units", "consumed"): Decimal(79640902),
        ("connected_devices_units", "projected"): Decimal(108016317),
        ("endpoint_agents", "consumed"): Decimal(42),
        ("endpoint_agents_essentials", "consumed"): Decimal(5),
        ("endpoint_agents_embedded", "consumed"): Decimal(5),
        ("enterprise_agents", "consumed"): Decimal(58),
        ("cloud_units", "consumed", support, ("test", "1158")): Decimal(14050),
        ("cloud_units", "projected", support, ("test", "1158")): Decimal(340674),
        ("endpoint_agents", "consumed", support): Decimal(22),
        ("endpoint_agents_essentials", "consumed", support): Decimal(2),
        ("endpoint_agents_embedded", "consumed", ("account_group", "12345")): Decimal(3),
        ("enterprise_agents", "consumed", support): Decimal(7),
        ("enterprise_units", "consumed", support, ("agent", "123456")): Decimal(599878),
        ("enterprise_units", "projected", support, ("agent", "123456")): Decimal(597808),
        # The vendor may leave agentId out: then the name stands for it.
        ("enterprise_units", "consumed", documentation, ("agent", "lab-physical-appliance-1")): Decimal(597123),
        ("enterprise_units", "projected", documentation, ("agent", "lab-physical-appliance-1")): Decimal(597808),
    }


def test_readings_end_at_the_answer_and_the_outlook_with_the_billing_period() -> None:
    for row in rows(landing(V6)):
        assert row["period_start"] == START
        assert row["period_end"] == (FETCHED if row["role"] == "consumed" else END)
        assert row["observed_at"] == FETCHED
        assert row["usage_date"] == (date(2020, 1, 17) if row["role"] == "consumed" else date(2020, 2, 5))
        assert row["temporality"] == "cumulative"
        assert row["aggregation"] == ("max" if row["unit"] == "Agents" else "sum")
        assert not row["is_final"]


def test_breakdowns_never_mix_with_totals() -> None:
    assert {(row["breakdown"], row["metric"]) for row in rows(landing(V6))} == {
        ("", "cloud_units"),
        ("", "enterprise_units"),
        ("", "endpoint_agents"),
        ("", "enterprise_agents"),
        ("account_group+test", "cloud_units"),
        ("account_group", "endpoint_agents"),
        ("account_group", "enterprise_agents"),
        ("account_group+agent", "enterprise_units"),
    }


def test_names_are_labels() -> None:
    found = [row for row in rows(landing(V6)) if row["role"] == "consumed"]
    labels = {row["dimensions"][-1]: dict(row["labels"]) for row in found if row["dimensions"]}
    assert labels["test", "1158"] == {
        "account_group_name": "Documentation",
        "test_name": "https://app.thousandeyes.com",
        "test_type": "Web - Page Load",
    }
    agent = next(row for row in found if ("agent", "123456") in row["dimensions"])
    assert dict(agent["labels"]) == {
        "account_group_name": "Support",
        "agent_name": "TEVA-test-agent",
        "agent_id": "121404",
    }


def test_billing_period_is_the_vendors() -> None:
    found = landing(V6)
    (periods,) = ENDPOINT.normalise(found).billing_periods
    assert periods.to_dict("records") == [
        {"period_start": START, "period_end": END, "response_id": found.answers[0].response_id}
    ]


@pytest.mark.parametrize("body", [NESTED, REPEATED, WRAPPED], ids=["nested", "repeated", "wrapped"])
def test_xml_gives_the_rows_of_json(body: str) -> None:
    def without_source(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: value for key, value in row.items() if key != "response_id"} for row in found]

    told = without_source(rows(landing(body.encode(), XML, format="xml")))
    assert len(told) == 20
    assert told == without_source(rows(landing(V6)))


def test_namespaced_xml_is_read() -> None:
    body = NESTED.replace("<usage>", '<usage xmlns="urn:example">', 1).encode()
    assert values(rows(landing(body, XML))) == values(rows(landing(V6)))


def test_names_that_look_like_numbers_stay_texts_in_xml() -> None:
    body = NESTED.replace("<testName>https://app.thousandeyes.com<", "<testName>007<").encode()
    found = next(row for row in rows(landing(body, XML)) if ("test", "1158") in row["dimensions"])
    assert dict(found["labels"])["test_name"] == "007"


def test_empty_arrays_of_both_formats_have_no_rows() -> None:
    xml = (HEAD + "<tests/><endpointAgents></endpointAgents></usage>").encode()
    empty = changed(V6, tests=[], endpointAgents=[], enterpriseAgents=[], enterpriseAgentUnits=None)
    assert values(rows(landing(xml, XML))) == values(rows(landing(empty)))
    assert len(rows(landing(empty))) == 8


def test_new_test_has_no_projection() -> None:
    test = {"aid": 315, "testId": 2000, "testName": "new", "testType": "DNS", "cloudUnitsUsed": 12}
    found = values(rows(landing(changed(V6, tests=[test]))))
    assert found["cloud_units", "consumed", DOCUMENTATION, ("test", "2000")] == 12
    assert ("cloud_units", "projected", DOCUMENTATION, ("test", "2000")) not in found


def test_missing_totals_are_no_rows_and_zeros_are_kept() -> None:
    body = json.loads(changed(V6, enterpriseUnitsUsed=0))
    del body["usage"]["enterpriseUnitsProjected"], body["usage"]["enterpriseAgentsUsed"]
    found = values(rows(landing(json.dumps(body).encode())))
    assert found["enterprise_units", "consumed"] == 0
    assert ("enterprise_units", "projected") not in found
    assert ("enterprise_agents", "consumed") not in found


def test_allowance_beyond_32_bits_is_exact() -> None:
    assert values(rows(landing(V6)))["cloud_units", "entitled"] == Decimal(4320000000)
    large = values(rows(landing(quota(V6, cloudUnitsIncluded=9007199254740993))))
    assert large["cloud_units", "entitled"] == Decimal(9007199254740993)


@pytest.mark.parametrize("zone", ["", " UTC", " GMT", " Z", "Z"])
def test_v6_times_are_utc(zone: str) -> None:
    body = quota(V6, monthStart=f"2020-01-05 08:00:00{zone}", monthEnd=f"2020-02-05 08:00:00{zone}")
    assert {row["period_start"] for row in rows(landing(body))} == {START}


@pytest.mark.parametrize("zone", ["PDT", "PST", "CET"])
def test_other_zones_are_refused(zone: str) -> None:
    with pytest.raises(PayloadError, match=rf"\$\.usage\.quota\.monthStart.*{zone}"):
        rows(landing(quota(V6, monthStart=f"2016-04-28 17:00:00 {zone}")))


def test_answer_after_the_period_reads_until_its_end() -> None:
    late = datetime(2020, 2, 5, 8, 0, 2, tzinfo=UTC)
    found = [row for row in rows(landing(V6, fetched_at=late)) if row["role"] == "consumed"]
    assert {(row["period_end"], row["observed_at"]) for row in found} == {(END, late)}


def test_period_that_has_not_begun_is_refused() -> None:
    with pytest.raises(PayloadError, match=r"\$\.usage\.quota\.monthStart"):
        rows(landing(V6, fetched_at=datetime(2020, 1, 5, 7, 59, 59, tzinfo=UTC)))


def test_period_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(PayloadError, match=r"\$\.usage\.quota\.monthEnd"):
        rows(landing(quota(V6, monthEnd="2020-01-05 08:00:00")))


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (changed(V6, robotUnitsUsed=1), "$.usage.robotUnitsUsed"),
        (quota(V6, robotsIncluded=1), "$.usage.quota.robotsIncluded"),
        (changed(V6, robots=[{"robotsUsed": 1}]), "$.usage.robots[0].robotsUsed"),
        (changed(V6, tests=[{"aid": 1, "testId": 1, "cloudUnitsUsed": 1, "runs": 2}]), "$.usage.tests[0].runs"),
        (changed(V6, endpointAgents=[{"aid": 1, "endpointAgentsUsed": 1, "endpointAgentsProjected": 1}]),
         "$.usage.endpointAgents[0].endpointAgentsProjected"),
        (b'{"usage": {}, "total": 3}', "$.total"),
        (changed(V6, cloudUnitsUsed="8500489"), "$.usage.cloudUnitsUsed"),
        (changed(V6, cloudUnitsUsed=None), "$.usage.cloudUnitsUsed"),
        (changed(V6, endpointAgentsUsed=True), "$.usage.endpointAgentsUsed"),
        (quota(V6, enterpriseAgentsIncluded=False), "$.usage.quota.enterpriseAgentsIncluded"),
        (changed(V6, tests=[{"aid": 1, "testId": 1, "cloudUnitsUsed": 1}, {"aid": 1, "testId": 2}]),
         "$.usage.tests[1].cloudUnitsUsed"),
        (changed(V6, tests=[{"aid": 1, "cloudUnitsUsed": 1}]), "$.usage.tests[0].testId"),
        (changed(V6, enterpriseAgentUnits=[{"aid": 1, "enterpriseUnitsUsed": 1}]), "$.usage.enterpriseAgentUnits[0]"),
        (changed(V6, tests={}), "$.usage.tests"),
        (changed(V6, quota=None), "$.usage.quota"),
        (quota(V6, monthStart=1578211200), "$.usage.quota.monthStart"),
        (b'{"usage": []}', "$.usage"),
        (b"[]", "$"),
        (b"<html>", "$"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_path(body: bytes, path: str) -> None:
    with pytest.raises(PayloadError) as refused:
        rows(landing(body))
    assert refused.value.path.startswith(path)


@pytest.mark.parametrize(
    ("addition", "path"),
    [
        ("<robotUnitsUsed>1</robotUnitsUsed>", "$.usage.robotUnitsUsed"),
        ("<robots><robot><robotsUsed>1.5</robotsUsed></robot></robots>", "$.usage.robots.robot.robotsUsed"),
        ("<cloudUnitsUsed>1</cloudUnitsUsed>", "$.usage.cloudUnitsUsed"),
        ('<quota level="3"><monthStart/></quota>', "$.usage.quota"),
        ("<tests><test/></tests>", "$.usage.tests[0]"),
        ("<connectedDevicesUnitsUsed>many</connectedDevicesUnitsUsed>", "$.usage.connectedDevicesUnitsUsed"),
        ("<deep>" * 100_000 + "</deep>" * 100_000, "/"),
        ("7", "$.usage.#beside"),
        ('<connectedDevicesUnitsUsed limit="7">1</connectedDevicesUnitsUsed>', "$.usage.#beside"),
        ("<tests>7</tests>", "$.usage.#beside"),
        ('<tests count="7"/>', "$.usage.#beside"),
        (f"<tests>7<test>{TESTS[0]}</test></tests>", "$.usage.#beside"),
        (f"<tests><test>{TESTS[0]}</test>7</tests>", "$.usage.#beside"),
        (f"<tests><test>{TESTS[0]}7</test></tests>", "$.usage.tests[0].#beside"),
        ("<connectedDevicesUnitsUsed>1e9999999999999999999</connectedDevicesUnitsUsed>", "/"),
        ("<connectedDevicesUnitsUsed>1e999999</connectedDevicesUnitsUsed>", "$.usage.connectedDevicesUnitsUsed"),
    ],
    ids=[
        "unknown",
        "nested",
        "twice",
        "two quotas",
        "no array",
        "no number",
        "deep",
        "between",
        "attribute",
        "text array",
        "counted array",
        "before records",
        "after records",
        "in a record",
        "too large",
        "too long",
    ],
)
def test_unknown_numbers_and_shapes_are_refused_in_xml(addition: str, path: str) -> None:
    with pytest.raises(PayloadError) as refused:
        rows(landing((HEAD + addition + "</usage>").encode(), XML))
    assert refused.value.path.startswith(path)


def test_an_array_is_not_an_attribute_as_well() -> None:
    body = NESTED.replace("<usage>", '<usage tests="2">', 1)
    with pytest.raises(PayloadError, match="tests is both an attribute and an element of usage"):
        rows(landing(body.encode(), XML))


def test_attributes_of_a_record_are_its_fields() -> None:
    body = NESTED.replace("<test><aid>315</aid>", '<test aid="315">')
    assert body != NESTED
    assert rows(landing(body.encode(), XML)) == [
        {**row, "response_id": landing(body.encode(), XML).answers[0].response_id}
        for row in rows(landing(NESTED.encode(), XML))
    ]


def test_entity_bombs_are_refused() -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    body = bomb + NESTED.split("?>", 1)[1].replace("8500489", "&b;")
    with pytest.raises(PayloadError, match="not acceptable XML"):
        rows(landing(body.encode(), XML))


def asked(**options: Any) -> Request:
    day = Days(date(2020, 1, 17), date(2020, 1, 17))
    (only,) = ENDPOINT.requests(account("bearer_token", **options), day)
    return only


def test_v6_says_its_format_always() -> None:
    request = asked(api_version="v6")
    assert (request.path, request.params) == ("/v6/usage", (("format", "json"),))
    assert request.headers == (("Accept", "application/json"),)
    request = asked(format="xml")
    assert (request.path, request.params) == ("/v6/usage", (("format", "xml"),))
    assert request.headers == (("Accept", "application/xml"),)


def test_v7_expands_everything() -> None:
    request = asked()
    assert request.path == "/v7/usage"
    assert request == asked(api_version="v7")
    assert set(dict(request.params)["expand"].split(",")) == {
        "test",
        "enterprise-agent",
        "enterprise-agent-unit",
        "endpoint-agent",
        "endpoint-agent-essential",
        "endpoint-agent-embedded",
    }


@pytest.mark.parametrize("version", ["v6", "v7"])
@pytest.mark.parametrize("aid", [315, "315"])
def test_aid_is_passed_once(version: str, aid: int | str) -> None:
    assert [value for name, value in asked(api_version=version, aid=aid).params if name == "aid"] == ["315"]


def test_credentials_go_into_the_header() -> None:
    def header(**secrets: str) -> str:
        auth = THOUSANDEYES.auth(account(*secrets), secrets, lambda: FETCHED)
        assert auth is not None
        sent = next(auth.auth_flow(httpx.Request("GET", "https://t/v6/usage.json")))
        assert "secret" not in str(sent.url)
        return sent.headers["Authorization"]

    assert header(bearer_token="secret") == "Bearer secret"
    # base64 of "me@example.com:secret"
    assert header(email="me@example.com", token="secret") == "Basic bWVAZXhhbXBsZS5jb206c2VjcmV0"


@pytest.mark.parametrize(
    ("credentials", "options", "path"),
    [
        (("bearer_token",), {}, "/v7/usage"),
        (("email", "token"), {}, "/v6/usage"),
        (("email", "token"), {"format": "xml"}, "/v6/usage"),
        (("bearer_token",), {"format": "xml"}, "/v6/usage"),
        (("bearer_token",), {"api_version": "v6"}, "/v6/usage"),
    ],
)
def test_v6_is_read_only_where_nothing_else_can_be_meant(
    credentials: tuple[str, ...], options: dict[str, str], path: str
) -> None:
    who = account(*credentials, **options)
    check = THOUSANDEYES.check
    assert check is not None
    check(who)
    (request,) = ENDPOINT.requests(who, Days(date(2020, 1, 17), date(2020, 1, 17)))
    assert request.path == path


def test_v7_takes_bearer_and_json_only() -> None:
    check = THOUSANDEYES.check
    assert check is not None
    check(account("email", "token", format="xml"))
    check(account("bearer_token"))
    check(account("bearer_token", api_version="v7"))
    with pytest.raises(ValueError, match="bearer_token"):
        check(account("email", "token", api_version="v7"))
    with pytest.raises(ValueError, match="JSON only"):
        check(account("bearer_token", api_version="v7", format="xml"))


@pytest.mark.parametrize(
    ("path", "status", "body", "said"),
    [
        ("/v6/usage.json", 400, b'{"errorMessage": "Invalid aid"}', "Invalid aid"),
        ("/v6/usage.xml", 400, b"<error><errorMessage>Invalid aid</errorMessage></error>", "Invalid aid"),
        ("/v6/usage.json", 403, b'{"errorMessage": "Forbidden"}', "View Billing"),
        ("/v7/usage", 403, b"", "View organization usage"),
        ("/v6/usage.json", 410, b"gone", "api_version to v7"),
        ("/v7/usage", 401, b'{"error": "invalid_token", "error_description": "expired"}', "invalid_token: expired"),
        ("/v7/usage", 404, b'{"title": "URI Resource Not Found", "status": 404, "detail": "wrong path"}',
         "URI Resource Not Found: wrong path"),
        ("/v7/quotas", 403, b'{"title": "Forbidden"}', "Edit organization and account group quotas"),
        ("/v7/usage/units/tests", 403, b'{"title": "Forbidden"}', "usage-based pricing only"),
        ("/v7/usage/units/tests", 403, b'{"title": "No permission"}', "View organization usage"),
        ("/v7/usage", 500, b"<h1>oops</h1>", "oops"),
    ],
)  # fmt: skip
def test_errors_are_told_in_the_vendors_words(path: str, status: int, body: bytes, said: str) -> None:
    headers = XML if path.endswith("xml") else JSON
    assert said in THOUSANDEYES.explain(Answer(Request(path), "", status, headers, body, FETCHED))
