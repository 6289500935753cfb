"""LaunchDarkly account usage (beta): time series of what an account consumes, and lists of its SDKs.

Read from the vendor's OpenAPI document (API client 25.0.1, 2026-10) and its usage pages. Days are UTC days, labelled
by their start. How long counters move is not documented, so a day counts as settled after two; distinct counts of
the current month are revised as a whole, so they settle after it. Odd: the same path tells daily amounts, running
totals or trailing counts by `aggregationType`; a few paths count time in seconds; series are numbered per answer,
and only `metadata` says what a number means; distinct counts of parts add up to more than the total; the width of
points may depend on the range, so such paths are asked for ranges that make it a day.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.time import Clock
from usage_pipeline.contract.vendor import Account, Agreement, Endpoint, History, Vendor
from usage_pipeline.vendors.launchdarkly import asking, catalogue, inventory, ranking
from usage_pipeline.vendors.launchdarkly.facts import DOCUMENTATION, PERMISSION, SERIES
from usage_pipeline.vendors.launchdarkly.options import LaunchDarklyOptions, check
from usage_pipeline.vendors.launchdarkly.series import normalise

if TYPE_CHECKING:
    import httpx

__all__ = ["LAUNCHDARKLY", "SERIES", "LaunchDarklyOptions"]

HINTS = {
    401: ". It takes an access token, not an SDK key",
    403: (
        ". One of three: the header LD-API-Version did not arrive (it is sent with every request, a proxy may"
        " drop it); the token lacks the right (role Reader is enough); the plan does not include this usage"
    ),
    409: (
        ". Usage of environments that are gone belongs to no project, and the vendor tells nothing rather than a part:"
        " take projectId out of group_by, or ask without data_export_projects"
    ),
}


def explain(answer: Answer) -> str:
    """Errors are {code, message}; a 403 has three causes, of which the vendor names none."""
    try:
        body = kit.payload.json(answer)
        said = f"{body['code']}: {body['message']}"
    except (PayloadError, KeyError, TypeError):
        said = answer.body[:200].decode(errors="replace").strip()
    hint = HINTS.get(answer.status, "")
    return said if answer.status == 409 and "project_identity" not in said else f"{said}{hint}"


def auth(_account: Account, secrets: Mapping[str, str], _clock: Clock) -> httpx.Auth:
    return kit.auth.header("Authorization", secrets["access_token"])


LAUNCHDARKLY = Vendor(
    slug="launchdarkly",
    title="LaunchDarkly",
    service=("Developer Tools", "Developer Platforms"),
    base_url="https://app.launchdarkly.com",
    options=LaunchDarklyOptions,
    credentials=(frozenset({"access_token"}),),
    auth=auth,
    explain=explain,
    check=check,
    # The catalogue tells every environment's SDK keys.
    redacts=("apiKey", "mobileKey"),
    reset_headers={"x-ratelimit-reset": 1000, "x-ratelimit-auth-token-reset": 1000},
    endpoints=(
        *(
            Endpoint(
                slug=series.slug,
                title=series.slug.replace("_", " ").capitalize(),
                history=History.WINDOW,
                documentation=DOCUMENTATION,
                metrics=series.metrics,
                requests=asking.requests(series),
                normalise=normalise(series),
                settles=series.settles,
                max_days=series.max_days,
                default=series.default,
                follow=catalogue.follow,
                permission=PERMISSION,
                dimensions=series.dimensions,
                labels=series.labels,
                agreements=(Agreement(series.slug),) if series.adds_up else (),
            )
            for series in SERIES
        ),
        ranking.ENDPOINT,
        *inventory.ENDPOINTS,
    ),
)
