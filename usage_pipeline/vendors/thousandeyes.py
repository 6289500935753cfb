"""ThousandEyes: cloud and enterprise units and agents of the current billing period.

Read from the v6 reference page "Usage" (JSON and XML; v6 is out of support since 2025-05-27) and the v7 OpenAPI
document 7.0.99 (2026-08). The answer is a reading of a meter: past readings cannot be asked for, and nothing is final
while the period is open. Odd: `aid` picks the organization and filters nothing, the period is not a calendar month,
v6 times have no zone, a new test has no projection, and the shape of the XML is not documented.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.schema import Aggregation, Role, Temporality
from usage_pipeline.contract.time import Clock, Days
from usage_pipeline.contract.vendor import Account, Block, Endpoint, History, Metric, Normalised, Options, Vendor

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    import httpx


DOCUMENTATION = "https://developer.cisco.com/docs/thousandeyes/get-usage-details/"


class ThousandEyesOptions(Options):
    """`aid` is any account group of the organization to report on: needed where the user sees several."""

    api_version: Literal["v6", "v7"] = Field("v6", description="v6 (Basic or Bearer) or v7 (Bearer only)")
    format: Literal["json", "xml"] = Field("json", description="Format to ask for; v7 has JSON only")
    aid: int | str | None = Field(None, description="Account group id that picks the organization")


# Prefix of the vendor's fields: metric, unit, noun.
UNITS = {
    "cloudUnits": ("cloud_units", "Cloud Units", "Cloud units"),
    "enterpriseUnits": ("enterprise_units", "Enterprise Units", "Enterprise units"),
    "connectedDevicesUnits": ("connected_devices_units", "Connected Devices Units", "Connected devices units"),
}
AGENTS = {
    "endpointAgents": ("endpoint_agents", "Agents", "Endpoint agents"),
    "endpointAgentsEssentials": ("endpoint_agents_essentials", "Agents", "Endpoint agents essentials"),
    "endpointAgentsEmbedded": ("endpoint_agents_embedded", "Agents", "Embedded endpoint agents"),
    "enterpriseAgents": ("enterprise_agents", "Agents", "Enterprise agents"),
}
DEVICES = {"deviceAgents": ("device_agents", "Agents", "Device agents of connected devices")}
Prefixes = Mapping[str, tuple[str, str, str]]


def _metrics(prefixes: Prefixes, suffix: str, role: Role, aggregation: Aggregation, told: str) -> dict[str, Metric]:
    return {
        f"{prefix}{suffix}": Metric(name, unit, f"{noun} {told}.", role, aggregation, Temporality.CUMULATIVE)
        for prefix, (name, unit, noun) in prefixes.items()
    }


PEAK = "enabled in the busiest hour of the billing period so far"
CONTRACT = "that the contract includes in a billing period"
CLOUD = {"cloudUnits": UNITS["cloudUnits"]}
USED = _metrics(UNITS, "Used", Role.CONSUMED, Aggregation.SUM, "consumed in the billing period so far") | _metrics(
    AGENTS, "Used", Role.CONSUMED, Aggregation.MAX, PEAK
)
PROJECTED = _metrics(UNITS, "Projected", Role.PROJECTED, Aggregation.SUM, "projected for the whole billing period")
INCLUDED = _metrics(CLOUD, "Included", Role.ENTITLED, Aggregation.SUM, CONTRACT) | _metrics(
    AGENTS | DEVICES, "Included", Role.ENTITLED, Aggregation.MAX, CONTRACT
)
IGNORED = {
    **dict.fromkeys((f"{prefix}NextBillingPeriod" for prefix in UNITS), "the next period's bounds are not told"),
    "allocations": "the specification says neither what is allocated nor in which unit",
}

GROUP, GROUP_NAME = {"account_group": "aid"}, {"account_group_name": "accountGroupName"}
TEST, TEST_NAMES = {"test": "testId"}, {"test_name": "testName", "test_type": "testType"}
AGENT, AGENT_NAMES = {"agent": "agent"}, {"agent_name": "agentName", "agent_id": "agentId"}
# Array: prefix of its fields, dimensions, labels. The field `agent` is ours, from AGENT_IDS.
PARTS = {
    "tests": ("cloudUnits", GROUP | TEST, GROUP_NAME | TEST_NAMES),
    "enterpriseAgentUnits": ("enterpriseUnits", GROUP | AGENT, GROUP_NAME | AGENT_NAMES),
    **{prefix: (prefix, GROUP, GROUP_NAME) for prefix in AGENTS},
}
# Best first: two agents of the v6 page share an agentId, v7 has no vagentId and may leave agentId out.
AGENT_IDS = ("vagentId", "agentId", "agentName")
TEXTS = {"monthStart", "monthEnd", "aid", "accountGroupName", "testId", "testName", "testType", *AGENT_IDS}
EXPAND = "test,enterprise-agent,enterprise-agent-unit,endpoint-agent,endpoint-agent-essential,endpoint-agent-embedded"


def requests(account: Account, _days: Days) -> Iterator[Request]:
    """One request an organization: asking by account group would give the same answer again and again."""
    options = account.options
    aid = () if options["aid"] is None else (("aid", str(options["aid"])),)
    if options["api_version"] == "v7":
        accept = "application/hal+json, application/json"
        yield Request("/v7/usage", params=(*aid, ("expand", EXPAND)), headers=(("Accept", accept),))
    else:
        kind = options["format"]  # what comes unless it is said is not documented
        accept = f"application/{kind}"
        yield Request("/v6/usage", params=(("format", kind), *aid), headers=(("Accept", accept),))


def normalise(landing: Landing) -> Normalised:
    """A reading of every meter, what the period is projected to come to, and what the contract includes in it."""
    usage: list[Block] = []
    periods = []
    for answer in landing.answers:
        told = _usage(answer)
        start, end = _period(answer, kit.payload.member(told, "quota", "$.usage"))
        usage += _blocks(answer, told, start, end)
        periods.append(kit.frames.billing_periods(answer, kit.frames.utc64([start]), kit.frames.utc64([end])))
    return Normalised(usage=tuple(usage), billing_periods=tuple(periods))


def _usage(answer: Answer) -> dict[str, Any]:
    try:
        body = from_xml(kit.payload.xml(answer)) if answer.is_xml else kit.payload.json(answer)
    except RecursionError:
        raise PayloadError("/", "not acceptable XML: nested too deeply") from None
    kit.payload.refuse_unknown_numbers(kit.payload.obj(body, "$"), {"usage"}, "$")
    return kit.payload.obj(kit.payload.member(body, "usage"), "$.usage")


def _period(answer: Answer, quota: Any) -> tuple[datetime, datetime]:
    path = "$.usage.quota"
    start = time(kit.payload.member(quota, "monthStart", path), f"{path}.monthStart")
    end = time(kit.payload.member(quota, "monthEnd", path), f"{path}.monthEnd")
    if end <= start:
        raise PayloadError(f"{path}.monthEnd", f"the billing period ends at {end}, before it starts at {start}")
    if answer.fetched_at < start:
        raise PayloadError(f"{path}.monthStart", f"the current period starts at {start}, after the answer came")
    return start, end


def time(value: Any, path: str) -> datetime:
    """v6 writes UTC without a zone, or with its name; v7 writes ISO 8601. Other zone names are not guessed."""
    bare = re.fullmatch(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) ?([A-Za-z]*)", kit.payload.text(value, path).strip())
    if bare and bare[2].upper() not in {"", "UTC", "GMT", "Z"}:
        raise PayloadError(path, f"the time {value!r} is documented to be in UTC, but names the zone {bare[2]}")
    return kit.frames.instant(f"{bare[1]}Z" if bare else value, path)


def _blocks(answer: Answer, told: dict[str, Any], start: datetime, end: datetime) -> Iterator[Block]:
    now = min(answer.fetched_at, end)
    rows = partial(kit.frames.blocks, start=start, is_final=False)
    absent = (USED.keys() | PROJECTED.keys()) - {"cloudUnitsUsed"}
    known = USED.keys() | PROJECTED.keys() | PARTS.keys() | IGNORED.keys() | {"quota"}
    usage = kit.payload.record(answer, told, "$.usage", known)
    yield from rows(usage, USED, end=now, optional=absent)
    yield from rows(usage, PROJECTED, end=end, optional=absent)
    quota = dict(told["quota"])
    if kit.payload.is_number(quota.get("enterpriseAgentsIncluded")) and not quota["enterpriseAgentsIncluded"]:
        del quota["enterpriseAgentsIncluded"]  # 0 says that the contract does not count agents
    included = kit.payload.record(answer, quota, "$.usage.quota", {"monthStart", "monthEnd", *INCLUDED})
    yield from rows(included, INCLUDED, end=end, optional=INCLUDED)
    for name, (prefix, dimensions, labels) in PARTS.items():
        if told.get(name) is None:
            continue
        used, projected = f"{prefix}Used", f"{prefix}Projected"
        part = kit.payload.records(answer, told[name], f"$.usage.{name}", TEXTS | {used, projected} & known)
        part = replace(part, items=[{**item, "agent": _agent(item)} for item in part.items])
        rows_of = partial(rows, part, dimensions=dimensions, labels=labels)
        yield from rows_of({used: USED[used]}, end=now)
        if projected in PROJECTED:
            yield from rows_of({projected: PROJECTED[projected]}, end=end, optional={projected})


def _agent(item: Mapping[str, Any]) -> Any:
    return next((item[key] for key in AGENT_IDS if item.get(key) not in (None, "")), None)


def from_xml(root: Element) -> dict[str, Any]:
    """XML as the JSON of the same answer: arrays from repeated elements or from an element around their records."""
    return {"usage": _object(root)} if _name(root.tag) == "usage" else _object(root)


def _object(element: Element) -> dict[str, Any]:
    told: dict[str, Any] = {_name(key): _scalar(_name(key), text) for key, text in element.attrib.items()}
    for child in element:
        key = _name(child.tag)
        if key in PARTS:
            told.setdefault(key, []).extend(map(_object, _records(child)))
        else:
            value = _object(child) if len(child) else _scalar(key, child.text)
            told[key] = [told[key], value] if key in told else value
    return told


def _records(element: Element) -> list[Element]:
    if not len(element):
        return []
    return list(element) if all(len(child) for child in element) else [element]


def _scalar(key: str, text: str | None) -> str | Decimal | None:
    if key in TEXTS or text is None or not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text.strip()):
        return text
    return Decimal(text.strip())


def _name(tag: str) -> str:
    return tag.rpartition("}")[2]


def explain(answer: Answer) -> str:
    """v6 says {errorMessage}, v7 problem+json or, for 401, {error, error_description}."""
    advice = ""
    if answer.status == 403:
        advice = "The user's role needs the permission View Billing (in v7: View organization usage)"
    elif answer.status in {404, 410} and answer.request.path.startswith("/v6"):
        advice = "v6 is out of support since 2025-05-27: set options: api_version to v7"
    return ". ".join(filter(None, (_said(answer), advice)))


def _said(answer: Answer) -> str:
    try:
        if answer.is_xml:
            body = {_name(element.tag): element.text for element in kit.payload.xml(answer).iter()}
        else:
            body = kit.payload.obj(kit.payload.json(answer), "$")
    except PayloadError:
        body = {}
    keys = ("errorMessage", "title", "detail", "error", "error_description")
    said = [text for text in map(body.get, keys) if isinstance(text, str) and text.strip()]
    return ": ".join(said) or answer.body[:200].decode(errors="replace").strip()


def auth(_account: Account, secrets: Mapping[str, str], _clock: Clock) -> httpx.Auth:
    """Bearer for OAuth tokens; Basic, of v6 only, for an e-mail address and its API token."""
    if "bearer_token" in secrets:
        return kit.auth.bearer(secrets["bearer_token"])
    return kit.auth.basic(secrets["email"], secrets["token"])


def check(account: Account) -> None:
    """Raises ValueError where v7 is asked for something that only v6 has."""
    if account.options["api_version"] == "v7":
        if "bearer_token" not in account.credentials:
            raise ValueError("the v7 API takes a bearer_token only, not email and token")
        if account.options["format"] == "xml":
            raise ValueError("the v7 API answers JSON only: remove format: xml")


THOUSANDEYES = Vendor(
    slug="thousandeyes",
    title="ThousandEyes",
    options=ThousandEyesOptions,
    credentials=(frozenset({"email", "token"}), frozenset({"bearer_token"})),
    auth=auth,
    explain=explain,
    base_url="https://api.thousandeyes.com",
    reset_headers={"x-organization-rate-limit-reset": 1},
    rate=(240, 60),
    check=check,
    endpoints=(
        Endpoint(
            slug="usage",
            title="Usage of the current billing period",
            history=History.SNAPSHOT,
            documentation=DOCUMENTATION,
            metrics=(*USED.values(), *PROJECTED.values(), *INCLUDED.values()),
            requests=requests,
            normalise=normalise,
        ),
    ),
)
