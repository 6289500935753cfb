"""Whatever the sandbox answers is what the vendors' OpenAPI documents allow, on every path that they list."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import httpx
import pytest

from usage_pipeline.contract.time import midnight
from usage_pipeline.sandbox import launchdarkly, thousandeyes
from usage_pipeline_tests import contract_world as world
from usage_pipeline_tests.conftest import NOW, TurnableClock
from usage_pipeline_tests.oracle import documents, strip
from usage_pipeline_tests.oracle.documents import Operation

MONTH = midnight(NOW.date().replace(day=1))
NONSENSE = "no-such-thing"
EMPTY: Mapping[str, str] = MappingProxyType({})
HEADERS = {
    "launchdarkly": {"Authorization": launchdarkly.TOKEN, "LD-API-Version": "beta"},
    "thousandeyes": {"Authorization": f"Bearer {thousandeyes.BEARER_TOKEN}"},
}
# What makes a question complete, and what else can be said. The documents have the values in their prose only.
NEEDED: dict[str, dict[str, Any]] = {
    "launchdarkly": {
        "projectKey": "storefront",
        "environmentKey": "production",
        "featureFlagKey": "checkout-redesign",
        "type": "received",
        "source": "server",
        "from": int(MONTH.timestamp() * 1000),
        "to": int(NOW.timestamp() * 1000),
    },
    "thousandeyes": {},
}
SAID: dict[str, dict[str, tuple[str, ...]]] = {
    "launchdarkly": {
        "aggregationType": ("month_to_date", "incremental", "rolling_30d", "average", "daily_incremental"),
        "granularity": ("daily", "hourly", "monthly"),
        "groupBy": (
            "projectId", "environmentId", "contextKind", "sdkName", "sdkVersion", "sdkType", "sdkAppId", "anonymousV2",
            "connectionType", "relayVersion", "eventKey", "eventKind", "experimentId", "destination", "destinationId",
            "destinationKind",
        ),
        "groupby": ("project", "environment", "sdktype", "sdk", "anonymous", "contextKind", "sdkAppId"),
        "projectKey": ("storefront", "payments"),
        "project": ("storefront",),
        "source": ("client", "server"),
        "type": ("received", "published"),
        "dimension": ("project",),
        "sdktype": ("server", "mobile", "browser"),
        "search": ("store",),
        "limit": ("1", "100"),
        "tz": ("UTC",),
    },
    "thousandeyes": {
        "aid": ("1101", "1102"),
        "expand": (
            "test", "enterprise-agent", "enterprise-agent-unit", "endpoint-agent", "endpoint-agent-essential",
            "endpoint-agent-embedded", "test,endpoint-agent",
        ),
        "startDate": (f"{MONTH:%Y-%m-%dT%H:%M:%SZ}",),
        "endDate": (f"{NOW:%Y-%m-%dT%H:%M:%SZ}",),
    },
}  # fmt: skip
# Headers and what is refused with them.
REFUSED = [
    ("launchdarkly", {"LD-API-Version": "beta"}, 401),
    ("launchdarkly", {"Authorization": f"Bearer {launchdarkly.TOKEN}", "LD-API-Version": "beta"}, 401),
    ("launchdarkly", {"Authorization": launchdarkly.TOKEN}, 403),
    ("thousandeyes", {}, 401),
    ("thousandeyes", {"Authorization": f"Bearer {NONSENSE}"}, 401),
    ("thousandeyes", {"Authorization": f"Bearer {thousandeyes.BEARER_WITHOUT_BILLING}"}, 403),
]
OPERATIONS = [
    pytest.param(operation, id=f"{vendor}-{operation.name}")
    for vendor in documents.VENDORS
    for operation in documents.operations(vendor)
]


@pytest.fixture(scope="module")
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture(scope="module")
def http(clock: TurnableClock) -> Iterator[httpx.Client]:
    with world.sandbox(clock) as base, httpx.Client(base_url=base) as client:
        yield client


@pytest.fixture(autouse=True)
def _limits_start_anew(clock: TurnableClock) -> None:
    clock.now += timedelta(minutes=1)


def ask(
    http: httpx.Client, operation: Operation, said: Mapping[str, str] = EMPTY, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    """A question with all that it needs and what is `said`, by one who may ask, or with other headers."""
    needed = NEEDED[operation.vendor]
    path = f"/{operation.vendor}{operation.path}".format_map({**needed, **said})
    params = {name: needed[name] for name in operation.names("query", required=True)}
    params |= {name: value for name, value in said.items() if name in operation.names("query")}
    return http.get(path, params=params, headers=HEADERS[operation.vendor] if headers is None else headers)


def faults(operation: Operation, answer: httpx.Response) -> list[str]:
    told = operation.faults(answer.status_code, answer.headers["content-type"], answer.json())
    return [f"{answer.request.url.raw_path.decode()}: {fault}" for fault in told]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_documented_path_has_an_answer(http: httpx.Client, operation: Operation) -> None:
    answer = ask(http, operation)
    assert faults(operation, answer) == []
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("operation", OPERATIONS)
def test_whatever_is_asked_the_answer_is_documented(http: httpx.Client, operation: Operation) -> None:
    """A path that has no answer for nonsense in it is not asked for any."""
    known = SAID[operation.vendor]
    refuses = (NONSENSE,) if {"400", "404"} & operation.responses.keys() else ()
    found = [
        fault
        for place, more in (("path", refuses), ("query", (NONSENSE, "")))
        for name in operation.names(place)
        for value in (*known.get(name, ()), *more)
        for fault in faults(operation, ask(http, operation, {name: value}))
    ]
    assert found == []


@pytest.mark.parametrize("operation", OPERATIONS)
def test_times_that_are_none_are_refused(http: httpx.Client, operation: Operation) -> None:
    for name in {"from", "to", "startDate", "endDate"} & {*operation.names("query")}:
        answer = ask(http, operation, {name: NONSENSE})
        assert answer.status_code == 400, name
        assert faults(operation, answer) == []


@pytest.mark.parametrize(("vendor", "headers", "status"), REFUSED)
def test_who_may_not_ask_is_told_so_as_documented(
    http: httpx.Client, vendor: str, headers: dict[str, str], status: int
) -> None:
    for operation in documents.operations(vendor):
        answer = ask(http, operation, headers=headers)
        assert answer.status_code == status, operation.name
        assert faults(operation, answer) == []


@pytest.mark.parametrize(("vendor", "limit"), [("launchdarkly", "X-Ratelimit-Global-Limit"),
                                               ("thousandeyes", "X-Organization-Rate-Limit-Limit")])  # fmt: skip
def test_who_asks_too_often_is_told_so_as_documented(http: httpx.Client, vendor: str, limit: str) -> None:
    operation = documents.operations(vendor)[0]
    first = ask(http, operation, headers={})
    answers = [ask(http, operation, headers={}) for _ in range(int(first.headers[limit]))]
    assert answers[-2].status_code == 401
    assert answers[-1].status_code == 429
    assert faults(operation, answers[-1]) == []


def test_what_a_document_forbids_is_found() -> None:
    """The check itself: each of these differs from what is documented in one thing."""
    operation = next(each for each in documents.operations("thousandeyes") if each.name == "getUsage")
    hal, problem = "application/hal+json", "application/problem+json"
    right: dict[str, Any] = {"usage": {"cloudUnitsUsed": 1, "quota": {"monthStart": "2026-03-05T08:00:00Z"}}}
    assert operation.faults(200, hal, right) == []
    assert operation.faults(200, "application/json", right)
    assert operation.faults(302, hal, right)
    assert operation.faults(200, hal, {"usage": {"cloudUnitsUsed": "1"}})
    assert operation.faults(200, hal, {"usage": {"cloudUnits": 1}})
    assert operation.faults(200, hal, {"usage": {"quota": {"monthStart": "5 March"}}})
    assert operation.faults(200, hal, {"usage": {"quota": {"monthStart": "2026-03-05T08:00:00"}}})
    refused = {"title": "Bad request", "errors": None}
    assert operation.faults(400, problem, refused) == []
    assert operation.faults(400, problem, refused | {"reason": "none"})


@pytest.mark.parametrize("vendor", documents.VENDORS)
def test_the_shapes_hold_no_prose(vendor: str) -> None:
    told = (documents.SHAPES / f"{vendor}.json").read_text()
    assert not strip.referred(told) - documents.read(vendor)["components"]["schemas"].keys()
    texts = [text for text in strings(json.loads(told)) if not text.startswith("#")]
    assert [text for text in texts if " " in text] == []


def strings(told: Any) -> Iterator[str]:
    if isinstance(told, str):
        yield told
    elif isinstance(told, list):
        for each in told:
            yield from strings(each)
    elif isinstance(told, dict):
        for key, each in told.items():
            yield key
            yield from strings(each)


def test_a_document_becomes_shapes() -> None:
    document = {
        "servers": [{"url": "https://vendor.example/v7"}],
        "paths": {
            "/things": {
                "get": {
                    "operationId": "getThings",
                    "summary": "Prose",
                    "parameters": [{"$ref": "#/components/parameters/Limit"}],
                    "responses": {"200": {"description": "Prose", "content": {"application/json": {
                        "schema": {"$ref": "#/components/schemas/Things"}}}}},
                },
                "post": {"operationId": "addThing"},
            }
        },
        "components": {
            "parameters": {"Limit": {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 9}}},
            "schemas": {
                "Things": {
                    "type": "object",
                    "description": "Prose",
                    "properties": {
                        "description": {"type": "string", "format": "string", "example": "Prose"},
                        "items": {"type": "array", "nullable": True, "items": {"type": "integer", "format": "int64"}},
                    },
                },
                "Unused": {"type": "string"},
            },
        },
    }  # fmt: skip
    assert strip.shapes(document) == {
        "paths": {
            "/v7/things": {
                "operationId": "getThings",
                "parameters": [
                    {"name": "limit", "in": "query", "required": False, "schema": {"type": "integer", "maximum": 9}}
                ],
                "responses": {"200": {"application/json": {"$ref": "#/components/schemas/Things"}}},
            }
        },
        "components": {
            "schemas": {
                "Things": {
                    "type": "object",
                    "properties": {
                        "description": {"type": "string"},
                        "items": {"type": ["array", "null"], "items": {"type": "integer", "format": "int64"}},
                    },
                }
            }
        },
    }
