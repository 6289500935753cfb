"""Answers to read, as large as wanted: what vendors would say of large customers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np

from usage_pipeline.contract.answer import Answer, Landing
from usage_pipeline.contract.time import DAY, Days, midnight
from usage_pipeline.contract.vendor import Account, Endpoint
from usage_pipeline.vendors.registry import VENDORS

YEAR = Days(date(2025, 1, 1), date(2025, 12, 31))
NOW = datetime(2026, 11, 20, tzinfo=UTC)
DRAWN = np.random.default_rng(7)

SPLIT = ["projectId", "environmentId", "sdkName"]
OPTIONS: dict[str, dict[str, Any]] = {
    "launchdarkly": {
        "group_by": {"clientside_mau": SPLIT},
        "aggregations": {"clientside_mau": ["rolling_30d"]},
    },
    "thousandeyes": {"api_version": "v7"},
    "aveva": {"tenant_id": "tenant"},
    "puppet": {},
}
ENDPOINTS = {
    "launchdarkly": "clientside_mau",
    "thousandeyes": "units_tests",
    "aveva": "namespace_usage",
    "puppet": "usage",
}
SHAPES: dict[str, dict[str, Any]] = {
    "launchdarkly": {"kind": "matrix", "path": "series", "ids": SPLIT},
    "thousandeyes": {
        "kind": "records",
        "path": "breakdowns",
        "ids": ["aid", "accountGroupName", "testId", "testName", "testType"],
        "measures": ["cloudUnitsUsed", "enterpriseUnitsUsed"],
    },
    "aveva": {
        "kind": "records",
        "path": "",
        "ids": ["Date", "NamespaceId", "ClusterRegion"],
        "measures": ["IngressEvents", "EgressEvents", "IngressStreamsAccessed", "EgressStreamsAccessed"],
    },
    "puppet": {
        "kind": "records",
        "path": "items",
        "ids": ["date"],
        "measures": [
            "total_nodes", "nodes_with_agent", "nodes_without_agent", "corrective_agent_changes",
            "intentional_agent_changes", "nodes_affected_by_task_runs", "nodes_affected_by_plan_runs",
        ],
    },
}  # fmt: skip
"""Where the numbers stand in a body, for those who read it without us."""


def endpoint(vendor: str) -> Endpoint:
    return VENDORS[vendor].endpoint(ENDPOINTS[vendor])


def account(vendor: str, number: int = 0) -> Account:
    options = VENDORS[vendor].options(**OPTIONS[vendor]).model_dump()
    return Account(f"acme-{number}", vendor, "https://vendor.example", YEAR.first, options=options)


def landings(vendor: str, rows: int, days: Days = YEAR) -> Iterator[Landing]:
    """About as many rows as wanted, in as few answers as the vendor gives them in; of Puppet, that is centuries."""
    if vendor == "launchdarkly":
        yield _landing(vendor, days, lambda part: _matrix(days, max(1, rows // len(days)), part))
    elif vendor == "thousandeyes":
        tests = _tests(max(1, rows // 2 // len(days)))
        for day in days:
            yield _landing(vendor, Days(day, day), lambda _part: _units(tests))
    elif vendor == "aveva":
        for span in Days.cover(days, 92):
            yield _landing(vendor, span, partial(_events, span, max(1, rows // 4 // len(days))))
    else:
        span = Days(days.last - (max(1, rows // 7) - 1) * DAY, days.last)
        yield _landing(vendor, span, lambda _part: _nodes(span))


def _landing(vendor: str, days: Days, body: Callable[[str], Any]) -> Landing:
    who, what = account(vendor), endpoint(vendor)
    answers = tuple(
        Answer(
            request,
            f"https://vendor.example{request.path}",
            200,
            {"content-type": "application/json"},
            json.dumps(body(request.part), separators=(",", ":")).encode(),
            NOW,
        )
        for request in what.requests(who, days)
    )
    return Landing(vendor, who.name, what.slug, days, answers, NOW, who.options)


def _draw(size: int) -> list[int]:
    found: list[int] = DRAWN.integers(1, 1_000_000, size).tolist()
    return found


def _matrix(days: Days, series: int, part: str) -> Any:
    if part == "catalogue":
        return {"totalCount": 0, "items": []}
    if " by " not in part:
        series = 1
    keys = [str(n) for n in range(series)]
    metadata = [
        {"projectId": f"{n // 100:024x}", "environmentId": f"{n // 10:024x}", "sdkName": f"sdk-{n % 10}"}
        for n in range(series)
    ]
    points = [
        {"time": int(midnight(day).timestamp() * 1000), **dict(zip(keys, _draw(series), strict=True))} for day in days
    ]
    return {"metadata": metadata if series > 1 else [{}], "series": points}


def _tests(number: int) -> list[dict[str, Any]]:
    return [
        {
            "aid": str(1000 + n // 100),
            "accountGroupName": f"Group {n // 100}",
            "testId": str(500_000 + n),
            "testName": f"Test {n} of the shop",
            "testType": ("http-server", "page-load", "agent-to-server")[n % 3],
        }
        for n in range(number)
    ]


def _units(tests: list[dict[str, Any]]) -> Any:
    drawn = zip(tests, _draw(len(tests)), _draw(len(tests)), strict=True)
    return {
        "breakdowns": [
            {**test, "cloudUnitsUsed": cloud, "enterpriseUnitsUsed": enterprise} for test, cloud, enterprise in drawn
        ]
    }


def _events(days: Days, namespaces: int, _part: str) -> Any:
    return [
        {
            "TenantId": "tenant",
            "NamespaceId": f"namespace-{n}",
            "ClusterRegion": "WestUS",
            "Date": f"{day}T00:00:00Z",
            **dict(zip(SHAPES["aveva"]["measures"], _draw(4), strict=True)),
        }
        for day in days
        for n in range(namespaces)
    ]


def _nodes(days: Days) -> Any:
    newest_first = [days.last - timedelta(days=n) for n in range(len(days))]
    return {
        "items": [
            {"date": str(day), **dict(zip(SHAPES["puppet"]["measures"], _draw(7), strict=True))} for day in newest_first
        ],
        "pagination": {"start_date": str(days.first), "end_date": str(days.last)},
    }
