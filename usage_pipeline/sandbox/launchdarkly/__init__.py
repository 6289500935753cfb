"""LaunchDarkly's account usage API, and its catalogue of projects. Written from the vendor's OpenAPI document."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from usage_pipeline.sandbox.launchdarkly import lists, plain
from usage_pipeline.sandbox.launchdarkly.usages import PROJECTS, USAGES, RefusedError, answer, company, series
from usage_pipeline.sandbox.world import World

__all__ = ["LIMIT", "PROJECTS", "TOKEN", "USAGES", "WINDOW", "company", "routes", "series"]

TOKEN = "sandbox-launchdarkly-token"  # noqa: S105 - opens nothing but the sandbox
LIMIT, WINDOW = 1000, 10


def routes(world: World) -> list[Route]:
    asked: dict[int, int] = defaultdict(int)

    def count() -> tuple[bool, dict[str, str]]:
        """Whether one more is allowed, and what the headers say."""
        window = int(world.now.timestamp()) // WINDOW
        asked[window] += 1
        return asked[window] <= LIMIT, {
            "X-Ratelimit-Global-Limit": str(LIMIT),
            "X-Ratelimit-Global-Remaining": str(max(0, LIMIT - asked[window])),
            "X-Ratelimit-Reset": str((window + 1) * WINDOW * 1000),
        }

    def route(path: str, tell: Callable[[World, Request], Any], *, beta: bool = True) -> Route:
        def handle(request: Request) -> Response:
            allowed, headers = count()
            try:
                if not allowed:
                    raise RefusedError(429, "rate_limited", "You've exceeded the API rate limit. Try again later.")
                admit(request, beta=beta)
                return JSONResponse(tell(world, request), headers=headers)
            except RefusedError as refused:
                body = {"code": refused.code, "message": refused.message}
                return JSONResponse(body, status_code=refused.status, headers=headers)

        return Route(path, handle, methods=["GET"])

    def typed(usage: Any) -> Callable[[World, Request], Any]:
        return lambda world, request: answer(world, usage, request)

    return [
        *(route(f"/api/v2/usage/{usage.path}", typed(usage)) for usage in USAGES),
        *(route(f"/api/v2/usage/{path}", tell) for path, tell in {**plain.PATHS, **lists.PATHS}.items()),
        route("/api/v2/projects", lists.projects, beta=False),
    ]


def admit(request: Request, *, beta: bool) -> None:
    if request.headers.get("authorization") != TOKEN:
        raise RefusedError(401, "unauthorized", "Invalid access token")
    if beta and request.headers.get("ld-api-version") != "beta":
        raise RefusedError(403, "forbidden", "Forbidden. Access to the requested resource was denied.")
