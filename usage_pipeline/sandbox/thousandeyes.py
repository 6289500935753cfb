"""ThousandEyes as a local server: v6 (JSON and XML) and v7 of the current billing period, units of any window, quotas.

The organization has two account groups. Its billing period starts on the 5th at 08:00 UTC. Every 28 days a canary test
replaces the one before: for two days it has no projection, and once deleted it stays in the total only. Instant tests
are in the total only too. The contract is metered, so it includes units and no enterprise agents. Units of a window,
from its start up to its end, name every test: deleted ones, and the instant runs of a test beside that test. What
agents spend is split between the tests that run on them, and so between account groups.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from usage_pipeline.contract.time import DAY, Days, midnight
from usage_pipeline.sandbox.world import EPOCH, World

EMAIL = "noc@sandbox.example"
TOKEN = "sandbox-thousandeyes-api-token"  # noqa: S105 - opens the sandbox only
BEARER_TOKEN = "sandbox-thousandeyes-bearer"  # noqa: S105 - opens the sandbox only
BEARER_WITHOUT_BILLING = "sandbox-thousandeyes-no-billing"
BEARER_WITHOUT_USAGE_PRICING = "sandbox-thousandeyes-no-usage-pricing"

REQUESTS_A_MINUTE = 240
GROUPS = {1101: "Shop", 1102: "Network Operations"}
# aid, testId, name, type, cloud units a day.
TESTS = (
    (1101, 50101, "https://shop.example/", "Web - Page Load", 9_000_000),
    (1101, 50102, "https://shop.example/checkout", "Web - Transactions", 21_000_000),
    (1102, 50201, "https://vpn.example", "Web - HTTP Server", 3_500_000),
    (1102, 50202, "DNS of shop.example", "DNS - Server", 1_200_000),
    (1102, 50203, "Branch to data center", "Network - Agent to Server", 5_400_000),
)
CANARY_GROUP, CANARY_TYPE = 1101, "Web - HTTP Server"
CANARY_BASE, CANARY_LIFE, UNPROJECTED = 2_600_000, timedelta(days=28), timedelta(days=2)
INSTANT_BASE, INSTANT_TEST = 400_000, 50102
# aid, agentId, vagentId, name, enterprise units a day. Two virtual agents of one machine share its agentId.
AGENTS = (
    (1102, 70001, 80001, "dc-frankfurt-1", 310_000),
    (1101, 70001, 80002, "dc-frankfurt-2", 250_000),
    (1102, 70002, 80003, "branch-lyon", 120_000),
)
DEVICES_BASE = 15_000
# vagentId: the tests that run on the agent.
RUNS = {80001: (50203, 50102), 80002: (50101, 50102), 80003: (50201, 50203)}
PAGE = {"tests": 3, "enterprise-agents": 2}
ORGANIZATION = "21"
QUOTAS: tuple[tuple[str, int, dict[int, int]], ...] = (
    (ORGANIZATION, 5_000_000_000, {1101: 3_500_000_000}),
    ("22", 22_500, {}),
)
# Name of the array, typical number of agents by account group.
SEATS = {
    "endpointAgents": {1101: 60, 1102: 25},
    "enterpriseAgents": {1101: 4, 1102: 9},
    "endpointAgentsEssentials": {1101: 3, 1102: 2},
    "endpointAgentsEmbedded": {1101: 2, 1102: 2},
}
V6_SEATS = ("endpointAgents", "enterpriseAgents")
QUOTA = {"cloudUnitsIncluded": 4_320_000_000, "enterpriseAgentsIncluded": 0, "endpointAgentsIncluded": 200}
V7_QUOTA = {"deviceAgentsIncluded": 100, "endpointAgentsEssentialsIncluded": 10, "endpointAgentsEmbeddedIncluded": 10}
EXPANSIONS = {
    "test": "tests",
    "enterprise-agent": "enterpriseAgents",
    "enterprise-agent-unit": "enterpriseAgentUnits",
    "endpoint-agent": "endpointAgents",
    "endpoint-agent-essential": "endpointAgentsEssentials",
    "endpoint-agent-embedded": "endpointAgentsEmbedded",
}
ARRAYS = {
    "tests": "test",
    "endpointAgents": "endpointAgent",
    "enterpriseAgents": "enterpriseAgent",
    "enterpriseAgentUnits": "enterpriseAgentUnit",
}
IDS = ("aid", "testId", "agentId")
Json = dict[str, Any]
Period = tuple[datetime, datetime]


def turn(year: int, month: int) -> datetime:
    """When a billing period starts; months count on past December."""
    return datetime(year + (month - 1) // 12, (month - 1) % 12 + 1, 5, 8, tzinfo=UTC)


def period(now: datetime, ahead: int = 0) -> Period:
    """The billing period of an instant, or one `ahead` of it."""
    month = now.month + ahead - (now < turn(now.year, now.month))
    return turn(now.year, month), turn(now.year, month + 1)


def units(world: World, start: datetime, end: datetime, *key: object, base: float) -> int:
    """Units between two instants: every day's amount, by how much of it is in between. Never falls as `end` rises."""
    if end <= start:
        return 0
    days = Days(start.date(), (end - timedelta(microseconds=1)).date())
    return sum(
        world.daily(day, "thousandeyes", *key, base=base)
        * int((min(end, midnight(day) + DAY) - max(start, midnight(day))).total_seconds())
        // 86400
        for day in days
    )


def seats(world: World, days: Days, kind: str, groups: tuple[int, ...]) -> int:
    """The most agents on any day so far. Groups may have it on different days, so their sum can be more."""

    def on(day: date, aid: int) -> int:
        return world.daily(day, "thousandeyes", kind, aid, base=SEATS[kind][aid])

    return max(sum(on(day, aid) for aid in groups) for day in days)


def canaries(start: datetime, end: datetime) -> list[tuple[int, datetime, datetime]]:
    """Number, creation and deletion of the canary tests that live at some time of a period."""
    first = midnight(EPOCH)
    numbers = range((start - first) // CANARY_LIFE, (end - timedelta(microseconds=1) - first) // CANARY_LIFE + 1)
    return [(number, first + number * CANARY_LIFE, first + (number + 1) * CANARY_LIFE) for number in numbers]


def canary_units(world: World, start: datetime, end: datetime) -> dict[int, int]:
    """Units of every canary test between two instants, by its number."""
    return {
        number: units(world, max(start, born), min(end, gone), "canary", number, base=CANARY_BASE)
        for number, born, gone in canaries(start, end)
    }


def cloud_units(world: World, start: datetime, end: datetime) -> int:
    """The organization's cloud units between two instants: deleted and instant tests included."""
    return (
        sum(units(world, start, end, "test", test_id, base=base) for _, test_id, _, _, base in TESTS)
        + sum(canary_units(world, start, end).values())
        + units(world, start, end, "instant", base=INSTANT_BASE)
    )


def agent_units(world: World, start: datetime, end: datetime) -> dict[int, int]:
    """Enterprise units of every agent between two instants, by its vagentId."""
    return {vagent: units(world, start, end, "agent", vagent, base=base) for _, _, vagent, _, base in AGENTS}


def canary_test(number: int) -> Json:
    return {
        "aid": CANARY_GROUP,
        "testId": 60000 + number,
        "accountGroupName": GROUPS[CANARY_GROUP],
        "testName": "https://canary.shop.example",
        "testType": CANARY_TYPE,
    }


def tests(world: World, now: datetime, whole: Period) -> list[Json]:
    start, end = whole
    found = [
        {
            "aid": aid,
            "testId": test_id,
            "accountGroupName": GROUPS[aid],
            "testName": name,
            "testType": kind,
            "cloudUnitsUsed": units(world, start, now, "test", test_id, base=base),
            "cloudUnitsProjected": units(world, start, end, "test", test_id, base=base),
        }
        for aid, test_id, name, kind, base in TESTS
    ]
    number, born, _ = canaries(now, now + timedelta(microseconds=1))[0]
    canary = canary_test(number) | {"cloudUnitsUsed": canary_units(world, start, now).get(number, 0)}
    if now >= born + UNPROJECTED:
        canary["cloudUnitsProjected"] = canary_units(world, start, end)[number]
    return [*found, canary]


def spent(world: World, start: datetime, end: datetime) -> dict[tuple[int, int], int]:
    """Enterprise units between two instants, by vagentId and the test that ran on the agent."""
    found: dict[tuple[int, int], int] = {}
    for vagent, whole in agent_units(world, start, end).items():
        first, *others = RUNS[vagent]
        found |= {(vagent, test_id): whole // (1 + len(others)) for test_id in others}
        found[vagent, first] = whole - sum(found[vagent, test_id] for test_id in others)
    return found


def units_of_tests(world: World, start: datetime, end: datetime) -> list[Json]:
    """Every test that consumed something between two instants, and what it is projected to consume in this period."""
    used, whole = spent(world, start, end), period(world.now)
    projected, instant = spent(world, *whole), ("instant",)

    def numbers(base: float, *key: object) -> Json:
        return {
            "cloudUnitsUsed": units(world, start, end, *key, base=base),
            "cloudUnitsProjected": units(world, *whole, *key, base=base),
        }

    found = []
    for aid, test_id, name, kind, base in TESTS:
        test = {"aid": aid, "accountGroupName": GROUPS[aid], "testId": test_id, "testName": name, "testType": kind}
        on_agents = {
            "enterpriseUnitsUsed": sum(part for (_, ran), part in used.items() if ran == test_id),
            "enterpriseUnitsProjected": sum(part for (_, ran), part in projected.items() if ran == test_id),
        }
        found.append(test | {"isInstantTest": False} | numbers(base, "test", test_id) | on_agents)
        if test_id == INSTANT_TEST:
            found.append(test | {"isInstantTest": True} | numbers(INSTANT_BASE, *instant))
    for number, consumed in canary_units(world, start, end).items():
        found.append(canary_test(number) | {"isInstantTest": False, "cloudUnitsUsed": consumed})
    return found


def units_of_agents(world: World, start: datetime, end: datetime) -> list[Json]:
    """Every agent by the account groups whose tests ran on it."""
    groups = {test_id: aid for aid, test_id, *_ in TESTS}
    used, projected = spent(world, start, end), spent(world, *period(world.now))

    def share(parts: dict[tuple[int, int], int], vagent: int, aid: int) -> int:
        return sum(part for (agent, ran), part in parts.items() if (agent, groups[ran]) == (vagent, aid))

    return [
        {
            "aid": aid,
            "accountGroupName": GROUPS[aid],
            "agentId": vagent,
            "agentName": name,
            "enterpriseUnitsUsed": share(used, vagent, aid),
            "enterpriseUnitsProjected": share(projected, vagent, aid),
        }
        for _, _, vagent, name, _ in AGENTS
        for aid in sorted({groups[ran] for ran in RUNS[vagent]})
    ]


def usage(world: World) -> Json:
    """What both versions tell, in v7's fields and v6's types."""
    now = world.now
    whole, following = period(now), period(now, 1)
    start, end = whole
    so_far = Days(start.date(), now.date())
    used, projected, ahead = (agent_units(world, *span) for span in ((start, now), whole, following))
    told: Json = {
        "quota": {"monthStart": start, "monthEnd": end, **QUOTA, **V7_QUOTA},
        "cloudUnitsUsed": cloud_units(world, start, now),
        "cloudUnitsProjected": cloud_units(world, *whole),
        "cloudUnitsNextBillingPeriod": cloud_units(world, *following),
        "enterpriseUnitsUsed": sum(used.values()),
        "enterpriseUnitsProjected": sum(projected.values()),
        "enterpriseUnitsNextBillingPeriod": sum(ahead.values()),
        "connectedDevicesUnitsUsed": units(world, start, now, "devices", base=DEVICES_BASE),
        "connectedDevicesUnitsProjected": units(world, *whole, "devices", base=DEVICES_BASE),
        "connectedDevicesUnitsNextBillingPeriod": units(world, *following, "devices", base=DEVICES_BASE),
    }
    told |= {f"{kind}Used": seats(world, so_far, kind, tuple(GROUPS)) for kind in SEATS}
    told["tests"] = tests(world, now, whole)
    for kind in SEATS:
        told[kind] = [
            {"aid": aid, "accountGroupName": name, f"{kind}Used": seats(world, so_far, kind, (aid,))}
            for aid, name in GROUPS.items()
        ]
    told["enterpriseAgentUnits"] = [
        {
            "aid": aid,
            "agentId": agent_id,
            "accountGroupName": GROUPS[aid],
            "agentName": name,
            "enterpriseUnitsUsed": used[vagent],
            "enterpriseUnitsProjected": projected[vagent],
            "vagentId": vagent,
        }
        for aid, agent_id, vagent, name, _ in AGENTS
    ]
    return told


def as_v6(told: Json) -> Json:
    """Without the families that came later; times without a zone."""
    later = {*V7_QUOTA, *(name for kind in SEATS.keys() - set(V6_SEATS) for name in (kind, f"{kind}Used"))}
    quota = {
        key: f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else value
        for key, value in told["quota"].items()
        if key not in later
    }
    rest = {key: value for key, value in told.items() if key not in later and not key.startswith("connected")}
    return {"usage": {**rest, "quota": quota}}


def with_v7_ids(item: Json) -> Json:
    """Ids as text, and none for the agent that has none to tell."""
    return {
        key: str(value) if key in IDS else value
        for key, value in item.items()
        if (key, value) != ("agentId", AGENTS[-1][2])
    }


def as_v7(told: Json, expand: set[str], url: str) -> Json:
    """Arrays where expanded only, ids as text, the virtual agent's id as agentId, and none for an agent without one."""

    def record(item: Json) -> Json:
        if "vagentId" in item:
            item = {**item, "agentId": item["vagentId"]}
            del item["vagentId"]
        return with_v7_ids(item)

    quota = {
        key: f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value
        for key, value in told["quota"].items()
    }
    rest = {key: value for key, value in told.items() if not isinstance(value, list)}
    arrays = {EXPANSIONS[name]: list(map(record, told[EXPANSIONS[name]])) for name in sorted(expand)}
    return {"usage": {**rest, "quota": quota, **arrays}, "_links": {"self": {"href": url}}}


def quotas(url: str) -> Json:
    """The quotas of the organizations in which the user may edit them; an account group without one is not told."""
    told = [
        {
            "organizationQuota": {"orgId": organization, "value": value},
            "accountGroupQuotas": [{"aid": str(aid), "value": part} for aid, part in groups.items()],
        }
        for organization, value, groups in QUOTAS
    ]
    return {"quotas": told, "_links": {"self": {"href": url}}}


def window(request: Request, now: datetime) -> Period:
    """The window that is asked for, up to now. Raises ValueError where it is none."""
    start, _ = period(now)
    told = {name: request.query_params.get(name) for name in ("startDate", "endDate")}
    given = {name: instant(name, text) for name, text in told.items() if text is not None}
    if "endDate" in given and "startDate" not in given:
        raise ValueError("endDate needs startDate")
    start, end = given.get("startDate", start), given.get("endDate", now)
    if end < start:
        raise ValueError("endDate is before startDate")
    return max(start, midnight(EPOCH)), min(end, now)


def instant(name: str, text: str) -> datetime:
    """A complete ISO 8601 time in UTC. Raises ValueError where it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.utcoffset() != timedelta(0) or "T" not in text or text.count(":") < 2:
        raise ValueError(f"Invalid {name} {text}")
    return found.astimezone(UTC)


def cursor(offset: int) -> str:
    return base64.urlsafe_b64encode(f"page-from-{offset}".encode()).decode()


def offset(told: str | None) -> int:
    """Where the page of a cursor begins. Raises ValueError where it is none of ours."""
    try:
        text = "page-from-0" if told is None else base64.urlsafe_b64decode(told.encode("ascii")).decode("ascii")
        return int(text.removeprefix("page-from-"))
    except (binascii.Error, UnicodeError, ValueError):
        raise ValueError(f"Invalid cursor {told}") from None


def paged(request: Request, records: list[Json], size: int) -> Json:
    """The page that is asked for, and links to those around it."""
    first = offset(request.query_params.get("cursor"))

    def link(at: int) -> Json:
        return {"href": str(request.url.include_query_params(cursor=cursor(at)))}

    links = {"self": {"href": str(request.url)}}
    if first:
        links["previous"] = link(max(0, first - size))
    if first + size < len(records):
        links["next"] = link(first + size)
    return {"breakdowns": list(map(with_v7_ids, records[first : first + size])), "_links": links}


def as_xml(name: str, value: Any) -> ET.Element:
    """An element a member, an element around the records of an array."""
    element = ET.Element(name)
    if isinstance(value, dict):
        element.extend(as_xml(key, inner) for key, inner in value.items())
    elif isinstance(value, list):
        element.extend(as_xml(ARRAYS[name], inner) for inner in value)
    else:
        element.text = str(value)
    return element


class Allowance:
    """The organization's requests of a minute, counted from the first."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._until: datetime | None = None
        self._left = 0

    def count(self) -> tuple[bool, dict[str, str]]:
        """Whether one more is allowed, and what the headers say."""
        now = self._world.now
        if self._until is None or now >= self._until:
            self._until, self._left = now + timedelta(minutes=1), REQUESTS_A_MINUTE
        allowed = self._left > 0
        self._left -= allowed
        return allowed, {
            "X-Organization-Rate-Limit-Limit": str(REQUESTS_A_MINUTE),
            "X-Organization-Rate-Limit-Remaining": str(self._left),
            "X-Organization-Rate-Limit-Reset": str(math.ceil(self._until.timestamp())),
        }


def kind_of(request: Request) -> str:
    """The format of a v6 answer: the suffix decides before the parameter; JSON where neither says."""
    suffix: str = request.path_params.get("suffix", "")
    return suffix or request.query_params.get("format", "json")


def v6_body(body: Json, status: int, kind: str, root: str) -> Response:
    if kind != "xml":
        return JSONResponse(body, status, media_type="application/json;charset=UTF-8")
    element = as_xml(root, body.get(root, body))
    text = ET.tostring(element, encoding="UTF-8", xml_declaration=True)
    return Response(text, status, media_type="application/xml;charset=UTF-8")


def v6_error(request: Request, status: int, said: str) -> Response:
    return v6_body({"errorMessage": said}, status, kind_of(request), "error")


def v7_error(_request: Request, status: int, said: str) -> Response:
    if status == 401:
        body = {"error": "invalid_token", "error_description": said}
        return JSONResponse(body, 401, media_type="application/problem+json")
    titles = {400: "Bad request", 403: "Forbidden", 404: "URI Resource Not Found", 429: "Too many requests"}
    problem = {"type": "about:blank", "title": titles[status], "status": status, "detail": said}
    return JSONResponse(problem | {"instance": "/v7"}, status, media_type="application/problem+json")


def credential(request: Request) -> str | None:
    """The credential of a request if this server knows it: `basic`, or the bearer token."""
    scheme, _, told = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return told if told in {BEARER_TOKEN, BEARER_WITHOUT_BILLING, BEARER_WITHOUT_USAGE_PRICING} else None
    basic = base64.b64encode(f"{EMAIL}:{TOKEN}".encode()).decode()
    return "basic" if scheme.lower() == "basic" and told == basic else None


def routes(world: World) -> list[Route]:
    """Both versions of the usage page, units and quotas of v7, and 404 for everything else."""
    allowance = Allowance(world)

    def guarded(
        answer: Callable[[Request], Response],
        error: Callable[[Request, int, str], Response],
        *,
        basic: bool,
    ) -> Callable[[Request], Any]:
        def checked(request: Request) -> Response:
            who = credential(request)
            if who is None or (who == "basic" and not basic):
                return error(request, 401, "Invalid email, API token or access token")
            if who == BEARER_WITHOUT_BILLING:
                return error(request, 403, "You do not have permission to view billing")
            aid = request.query_params.get("aid")
            if aid is not None and aid not in map(str, GROUPS):
                return error(request, 400, f"Invalid aid {aid}")
            return answer(request)

        async def handle(request: Request) -> Response:
            allowed, headers = allowance.count()
            response = checked(request) if allowed else error(request, 429, "Rate limit of the organization exceeded")
            response.headers.update(headers)
            return response

        return handle

    def v6(request: Request) -> Response:
        kind = kind_of(request)
        if kind not in {"json", "xml"}:
            return v6_error(request, 400, f"Invalid format {kind}")
        return v6_body(as_v6(usage(world)), 200, kind, "usage")

    def v7(request: Request) -> Response:
        expand = {name for told in request.query_params.getlist("expand") for name in told.split(",")}
        if unknown := expand - EXPANSIONS.keys():
            return v7_error(request, 400, f"Invalid expand {', '.join(sorted(unknown))}")
        body = as_v7(usage(world), expand, str(request.url))
        return JSONResponse(body, media_type="application/hal+json")

    def units_by(
        what: str, records: Callable[[World, datetime, datetime], list[Json]]
    ) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            if credential(request) == BEARER_WITHOUT_USAGE_PRICING:
                return v7_error(request, 403, "Only customers on usage based pricing have this resource")
            try:
                start, end = window(request, world.now)
                body = paged(request, records(world, start, end) if start < end else [], PAGE[what])
            except ValueError as error:
                return v7_error(request, 400, str(error))
            return JSONResponse(body, media_type="application/hal+json")

        return answer

    def v7_quotas(request: Request) -> Response:
        return JSONResponse(quotas(str(request.url)), media_type="application/hal+json")

    def v6_nothing(request: Request) -> Response:
        return v6_error(request, 404, "No such resource")

    def v7_nothing(request: Request) -> Response:
        return v7_error(request, 404, f"There is nothing at {request.url.path}")

    return [
        Route("/v6/usage", guarded(v6, v6_error, basic=True)),
        Route("/v6/usage.{suffix:str}", guarded(v6, v6_error, basic=True)),
        Route("/v7/usage", guarded(v7, v7_error, basic=False)),
        Route("/v7/usage/units/tests", guarded(units_by("tests", units_of_tests), v7_error, basic=False)),
        Route(
            "/v7/usage/units/enterprise-agents",
            guarded(units_by("enterprise-agents", units_of_agents), v7_error, basic=False),
        ),
        Route("/v7/quotas", guarded(v7_quotas, v7_error, basic=False)),
        Route("/v6/{rest:path}", guarded(v6_nothing, v6_error, basic=True)),
        Route("/v7/{rest:path}", guarded(v7_nothing, v7_error, basic=False)),
    ]
