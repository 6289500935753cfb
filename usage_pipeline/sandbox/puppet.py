"""Puppet Enterprise's orchestrator: some 230 nodes with an agent, a dozen without, and what was done to them.

One day in the middle month of every quarter is lost. Today's counts grow as the day goes on. Servers before 2021.0 have
no event fields, and no parameter for them; those before 2023.7 count themselves among the nodes.
"""

from __future__ import annotations

from datetime import date, timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from usage_pipeline.sandbox.world import EPOCH, World

TOKEN = "sandbox-puppet-token"  # noqa: S105 - opens nothing but this sandbox
NODES_A_DAY = 0.08
INFRASTRUCTURE = 3
EVENTS = {
    "corrective_agent_changes": 14,
    "intentional_agent_changes": 180,
    "nodes_affected_by_task_runs": 90,
    "nodes_affected_by_plan_runs": 35,
}


def routes(world: World, version: tuple[int, int] = (2023, 7)) -> list[Route]:
    has_events = version >= (2021, 0)
    infrastructure = INFRASTRUCTURE if version < (2023, 7) else 0

    def usage(request: Request) -> Response:
        if request.headers.get("x-authentication") != TOKEN:
            return _error(401, "puppetlabs.rbac/user-unauthenticated", "Route requires authentication")
        asked = request.query_params
        try:
            first, last = (_date(name, asked.get(name)) for name in ("start_date", "end_date"))
            if first and last and last < first:
                raise ValueError("The end_date must be the start_date or later")
            if has_events and asked.get("events", "include") not in {"include", "exclude"}:
                raise ValueError("The events parameter must be either include or exclude")
        except ValueError as problem:
            return _error(400, "puppetlabs.orchestrator/validation-error", str(problem))
        newest, oldest = min(last or world.today, world.today), max(first or EPOCH, EPOCH)
        days = (newest - timedelta(days=n) for n in range((newest - oldest).days + 1))
        events = has_events and asked.get("events") != "exclude"
        return JSONResponse(
            {
                "items": [_item(world, day, infrastructure, events=events) for day in days if not _lost(world, day)],
                "pagination": {name: asked[name] for name in ("start_date", "end_date") if name in asked},
            }
        )

    return [Route("/orchestrator/v1/usage", usage, methods=["GET"])]


def _error(status: int, kind: str, message: str) -> JSONResponse:
    return JSONResponse({"kind": kind, "msg": message}, status)


def _date(name: str, said: str | None) -> date | None:
    if said is None:
        return None
    try:
        found = date.fromisoformat(said)
    except ValueError:
        found = None
    if found is None or found.isoformat() != said:
        raise ValueError(f"The {name} parameter must be a date of the form YYYY-MM-DD, not {said}")
    return found


def _lost(world: World, day: date) -> bool:
    """Whether nothing was recorded on a past day."""
    unlucky = 1 + int(28 * world.fraction("puppet", "lost", day.year, day.month))
    return day.month % 3 == 2 and day.day == unlucky and day < world.today


def _item(world: World, day: date, infrastructure: int, *, events: bool) -> dict[str, str | int]:
    """One day. Nodes with an agent are there at weekends and from midnight on; the rest adds up over the day."""
    gone = world.gone(day)
    with_agent = 230 + int(NODES_A_DAY * (day - EPOCH).days + 6 * world.fraction(day, "puppet", "with_agent"))
    with_agent += infrastructure
    without_agent = int(gone * world.daily(day, "puppet", "without_agent", base=12))
    item: dict[str, str | int] = {
        "date": day.isoformat(),
        "total_nodes": with_agent + without_agent,
        "nodes_with_agent": with_agent,
        "nodes_without_agent": without_agent,
    }
    if events:
        item |= {name: int(gone * world.daily(day, "puppet", name, base=base)) for name, base in EVENTS.items()}
    return item
