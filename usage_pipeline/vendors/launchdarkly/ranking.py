"""Projects ranked by streaming data export: one total a project over the range that was asked for.

It is asked for one day at a time, which makes the totals daily amounts. `from` is inclusive and `to` exclusive; the
vendor repeats both in its answer. Ranks are left out: they follow from the amounts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.schema import Role
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account, Block, Endpoint, History, Metric, Normalised
from usage_pipeline.vendors.launchdarkly.facts import BETA, DELTA, DOCUMENTATION, PERMISSION, PREFIX, SETTLES, SUM

LIMIT = 100
METRIC = Metric(
    "data_export_project_events",
    "Events",
    "Events sent by streaming data export for a project in the UTC day.",
    Role.CONSUMED,
    SUM,
    DELTA,
)
PROJECT, PROJECT_NAME = {"project_key": "projectKey"}, {"project_name": "projectName"}
KNOWN = {
    "projectKey": "read",
    "projectName": "read",
    "usage": "read",
    "rank": "follows from the amounts",
    "components": "repeats the amount: streaming is the only source",
}


def _bounds(days: Days) -> dict[str, int]:
    return {"from": int(days.start.timestamp()) * 1000, "to": int(days.end.timestamp()) * 1000}


def requests(_account: Account, days: Days) -> Iterator[Request]:
    """The first page; `follow` names the others."""
    window = {name: str(value) for name, value in _bounds(days).items()}
    said = window | {"source": "streaming", "dimension": "project", "limit": str(LIMIT)}
    yield Request(f"{PREFIX}data-export-events/projects/ranking", params=tuple(said.items()), headers=BETA)


def follow(answer: Answer) -> Request | None:
    """The next page, by the cursor that the answer gives."""
    page = kit.payload.obj(kit.payload.member(kit.payload.json(answer), "page"), "$.page")
    if not page.get("nextCursor"):
        return None
    cursor = kit.payload.text(page["nextCursor"], "$.page.nextCursor")
    params = dict(answer.request.params) | {"cursor": cursor}
    return replace(answer.request, params=tuple(params.items()))


def normalise(landing: Landing) -> Normalised:
    """One row a project. Pages that do not tell as many projects as they announce are refused."""
    blocks: list[Block] = []
    told, announced = 0, 0
    for answer in landing.answers:
        body = kit.payload.json(answer)
        kit.payload.refuse_unknown_numbers(kit.payload.obj(body, "$"), {"items", "page", "scope"}, "$")
        _refuse_other_range(body, landing.days)
        records = kit.payload.records(answer, kit.payload.member(body, "items"), "$.items", KNOWN)
        told += len(records.items)
        announced = kit.payload.member(kit.payload.member(body, "page"), "totalCount", "$.page")
        blocks += kit.frames.blocks(
            records,
            {"usage": METRIC},
            start=landing.days.start,
            end=landing.days.end,
            dimensions=PROJECT,
            labels=PROJECT_NAME,
        )
    if told != announced:
        raise PayloadError("$.page.totalCount", f"{announced} projects are announced, and {told} are told")
    return Normalised(tuple(blocks))


def _refuse_other_range(body: kit.payload.Json, days: Days) -> None:
    scope = kit.payload.obj(kit.payload.member(body, "scope"), "$.scope")
    for name, asked in {**_bounds(days), "source": "streaming", "dimension": "project"}.items():
        if scope.get(name) != asked:
            raise PayloadError(f"$.scope.{name}", f"{asked} was asked for, and {str(scope.get(name))[:60]} is told")


ENDPOINT = Endpoint(
    slug="data_export_projects",
    title="Data export by project",
    history=History.WINDOW,
    documentation=DOCUMENTATION,
    metrics=(METRIC,),
    requests=requests,
    normalise=normalise,
    settles=SETTLES,
    max_days=1,
    default=False,
    follow=follow,
    permission=PERMISSION,
    dimensions=tuple(PROJECT),
    labels=tuple(PROJECT_NAME),
)
