"""`units_tests` and `units_enterprise_agents` (v7): what tests and agents consumed in any window, page by page.

Told to customers on usage-based pricing only. A day is asked for at a time, from its midnight to the next: a number
has no times of its own but those that were asked for. How far back the vendor goes, whether the end belongs to the
window and for how long a number moves is not documented; two days is a guess. `usage` books an agent to the account
group that created it, these to the groups whose tests ran on it: their parts differ by design. Whether `aid` also
filters the tests is not documented; the agents cannot be asked for by `aid`, so they are those of the user's own
organization.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.schema import Aggregation, Role, Temporality
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account, Block, Endpoint, History, Metric, Normalised
from usage_pipeline.kit.payload import Records
from usage_pipeline.vendors.thousandeyes import options
from usage_pipeline.vendors.thousandeyes.facts import (
    AGENT,
    AGENT_NAMES,
    GROUP,
    GROUP_NAME,
    TEST,
    TEST_NAMES,
    UNITS,
    agent,
)

PREFIX = "/v7/usage/units/"
TESTS, AGENTS = f"{PREFIX}tests", f"{PREFIX}enterprise-agents"


def _metric(prefix: str, told: str) -> Metric:
    name, unit, noun = UNITS[prefix]
    return Metric(name, unit, f"{noun} {told}.", Role.CONSUMED, Aggregation.SUM, Temporality.DELTA)


RAN_ON = "spent on the day on agents, by the account group whose tests ran on them"
BY_TEST = {
    "cloudUnitsUsed": _metric("cloudUnits", "that tests consumed on the day"),
    "enterpriseUnitsUsed": _metric("enterpriseUnits", "that tests consumed on the day"),
}
NONE = (None,) * len(BY_TEST)
BY_AGENT = {"enterpriseUnitsUsed": _metric("enterpriseUnits", RAN_ON)}
IGNORED = dict.fromkeys(
    ("cloudUnitsProjected", "enterpriseUnitsProjected"),
    "projections are of the current billing period, whose bounds are not told here, whatever the window; see `usage`",
)
# A test that is run at once, beside its schedule, has two records under one id: `instant` tells them apart.
INSTANT = {"instant": "isInstantTest"}
TEST_SPLIT, TEST_LABELS = GROUP | TEST | INSTANT, GROUP_NAME | TEST_NAMES
AGENT_SPLIT, AGENT_LABELS = GROUP | AGENT, GROUP_NAME | AGENT_NAMES


def requests(path: str, by_aid: bool) -> Callable[[Account, Days], Iterator[Request]]:
    def ask(account: Account, days: Days) -> Iterator[Request]:
        window = (("startDate", f"{days.start:%Y-%m-%dT%H:%M:%SZ}"), ("endDate", f"{days.end:%Y-%m-%dT%H:%M:%SZ}"))
        yield Request(path, params=(*(options.aid(account) if by_aid else ()), *window), headers=options.ACCEPT)

    return ask


def follow(answer: Answer) -> Request | None:
    """The page that the vendor links as the next; None at the end, and where the cursor stays the same.

    A link to another origin is left as it is: the client refuses it.
    """
    body = kit.payload.obj(kit.payload.json(answer), "$")
    link = kit.payload.obj(body.get("_links") or {}, "$._links").get("next")
    if link is None:
        return None
    href = kit.payload.text(kit.payload.member(link, "href", "$._links.next"), "$._links.next.href")
    try:
        there = urlsplit(urljoin(answer.url, href))
    except ValueError:
        raise PayloadError("$._links.next.href", f"{href[:60]!r} is no address") from None
    params = tuple(parse_qsl(there.query, keep_blank_values=True))
    cursor = dict(params).get("cursor")
    if cursor is not None and cursor == dict(answer.request.params).get("cursor"):
        return None
    address = there._replace(query="", fragment="").geturl()
    base = answer.url.partition("?")[0].removesuffix(answer.request.path)
    path = address.removeprefix(base) if base and address.startswith(f"{base}/") else address
    return replace(answer.request, path=path, params=params)


def normalise_tests(landing: Landing) -> Normalised:
    """Units by test, of the days asked for."""
    return _normalise(landing, BY_TEST, TEST_SPLIT, TEST_LABELS, _told)


def normalise_agents(landing: Landing) -> Normalised:
    """Units by agent and account group, of the days asked for."""
    return _normalise(
        landing, BY_AGENT, AGENT_SPLIT, AGENT_LABELS, lambda part: {"agent": list(map(agent, part.items))}
    )


def _normalise(
    landing: Landing,
    measures: Mapping[str, Metric],
    dimensions: Mapping[str, str],
    labels: Mapping[str, str],
    ours: Callable[[Records], dict[str, list[Any]]],
) -> Normalised:
    usage: list[Block] = []
    known = {*measures, *IGNORED, *dimensions.values(), *labels.values()}
    for answer in landing.answers:
        body = kit.payload.obj(kit.payload.json(answer), "$")
        kit.payload.refuse_unknown_numbers(body, {"breakdowns"}, "$")
        part = kit.payload.records(answer, kit.payload.member(body, "breakdowns"), "$.breakdowns", known)
        part = replace(part, ours=ours(part))
        usage += kit.frames.blocks(
            part,
            measures,
            start=landing.days.start,
            end=landing.days.end,
            dimensions=dimensions,
            labels=labels,
            optional=measures if len(measures) > 1 else (),
        )
    return Normalised(tuple(usage))


def _told(part: Records) -> dict[str, list[Any]]:
    """A test is on schedule unless it says otherwise. One without any number would vanish, so it is refused."""
    instant = [item.get("isInstantTest", False) for item in part.items]
    for n, value in enumerate(instant):
        if value is not False and value is not True:
            path = part.at(n, "isInstantTest")
            raise PayloadError(path, f"expected a boolean, found {kit.payload.name(value)}")
    for n, values in enumerate(zip(*map(part.column, BY_TEST), strict=True)):
        if values == NONE:
            raise PayloadError(f"{part.path}[{n}]", f"a test with none of {', '.join(BY_TEST)}")
    return {"isInstantTest": instant}


PRICED = re.compile("pric(e|ing)|usage[- ]based|subscri|contract|licen[cs]e|not (available|enabled)", re.IGNORECASE)
ALLOWED = re.compile("permission|permitted|privilege|role|scope|authori[sz]", re.IGNORECASE)


def unavailable(answer: Answer, said: str) -> bool:
    """Whether an account without usage-based pricing was refused. How, is not documented.

    A 404 of the vendor's own, as the path is right; a 403 unless it speaks of permissions, which `usage` needs too.
    """
    if PREFIX not in answer.request.path or "json" not in answer.headers.get("content-type", ""):
        return False
    if answer.status == 403:
        return bool(PRICED.search(said)) or not ALLOWED.search(said)
    return answer.status == 404


def _endpoint(slug: str, title: str, page: str, path: str, **kinds: Any) -> Endpoint:
    return Endpoint(
        slug=slug,
        title=title,
        history=History.WINDOW,
        documentation=f"https://developer.cisco.com/docs/thousandeyes/{page}/",
        requests=requests(path, by_aid=path == TESTS),
        settles=timedelta(days=2),
        max_days=1,
        default=False,
        follow=follow,
        permission="View organization usage, on usage-based pricing",
        **kinds,
    )


ENDPOINTS = (
    _endpoint(
        "units_tests",
        "Units by test",
        "get-cloud-and-enterprise-agents-units-usage",
        TESTS,
        metrics=tuple(BY_TEST.values()),
        normalise=normalise_tests,
        dimensions=tuple(TEST_SPLIT),
        labels=tuple(TEST_LABELS),
    ),
    _endpoint(
        "units_enterprise_agents",
        "Units by enterprise agent",
        "get-enterprise-agent-usage",
        AGENTS,
        metrics=tuple(BY_AGENT.values()),
        normalise=normalise_agents,
        dimensions=tuple(AGENT_SPLIT),
        labels=tuple(AGENT_LABELS),
    ),
)
