"""`usage`: a reading of the meters of the current billing period, as v6 (JSON and XML) or v7.

Past readings cannot be asked for, and nothing is final while the period is open. Which version, or format, an answer
is of, it says itself: answers that were kept are read whatever the account is configured for today.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account, Block, Endpoint, History, Normalised
from usage_pipeline.vendors.thousandeyes import options, xml
from usage_pipeline.vendors.thousandeyes.facts import IGNORED, INCLUDED, PARTS, PROJECTED, TEXTS, USED, agent

EXPAND = "test,enterprise-agent,enterprise-agent-unit,endpoint-agent,endpoint-agent-essential,endpoint-agent-embedded"


def requests(account: Account, _days: Days) -> Iterator[Request]:
    """One request an organization: asking by account group would give the same answer again and again."""
    aid = options.aid(account)
    if options.version(account) == "v7":
        yield Request("/v7/usage", params=(*aid, ("expand", EXPAND)), headers=options.ACCEPT)
    else:
        kind = account.options["format"]  # what comes unless it is said is not documented
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
        body = xml.read(kit.payload.xml(answer)) if answer.is_xml else kit.payload.json(answer)
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
        part = replace(part, ours={"agent": list(map(agent, part.items))})
        rows_of = partial(rows, part, dimensions=dimensions, labels=labels)
        yield from rows_of({used: USED[used]}, end=now)
        if projected in PROJECTED:
            yield from rows_of({projected: PROJECTED[projected]}, end=end, optional={projected})


ENDPOINT = Endpoint(
    slug="usage",
    title="Usage of the current billing period",
    history=History.SNAPSHOT,
    documentation="https://developer.cisco.com/docs/thousandeyes/get-usage-information-for-the-last-month/",
    metrics=(*USED.values(), *PROJECTED.values(), *INCLUDED.values()),
    requests=requests,
    normalise=normalise,
    permission="View Billing (v6), View organization usage (v7)",
    dimensions=tuple(dict.fromkeys(name for _prefix, dimensions, _labels in PARTS.values() for name in dimensions)),
    labels=tuple(dict.fromkeys(name for _prefix, _dimensions, labels in PARTS.values() for name in labels)),
)
