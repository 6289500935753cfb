"""LaunchDarkly's own client asks the sandbox, parses its answers strictly, and counts what our table has.

The client takes one value a parameter, so what is split by two dimensions is beyond it. The header that the beta
endpoints need is left to its caller. Series are free-form to it: what a number means is checked against `metadata`
elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import pytest

from usage_pipeline.sandbox import launchdarkly
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests.oracle import documents
from usage_pipeline_tests.oracle.loaded import MONTH, Load, Loaded, ask_again, faults, loading, plain

VENDOR = "launchdarkly"
SUMS, TRAILED = ("incremental", "month_to_date"), ("incremental", "month_to_date", "rolling_30d")
TYPES = {
    "service_connections": SUMS,
    "data_export_events": SUMS,
    "warehouse_export": SUMS,
    "ai_runs": SUMS,
    "experimentation_events": SUMS,
    "experimentation_keys": SUMS,
    "total_mau": TRAILED,
    "clientside_mau": TRAILED,
    "total_contexts": TRAILED,
    "clientside_contexts": TRAILED,
    "serverside_contexts": TRAILED,
    "mau": TRAILED,
    "vega_ai": TRAILED,
    "observability_errors": TRAILED,
    "observability_logs": TRAILED,
    "observability_sessions": TRAILED,
    "observability_traces": TRAILED,
    "observability_metrics": ("month_to_date", "average"),
}
"""Of the endpoints that tell a quantity in several ways, the ways."""
SECONDS = {slug for slug in TYPES if slug.startswith("observability")} | {"serverside_contexts", "vega_ai"}
"""Endpoints that count `from` and `to` in seconds."""
TEMPORALITY = {"incremental": "delta", "month_to_date": "cumulative", "rolling_30d": "rolling", "average": "delta"}
GROUPS = {slug: ["environmentId"] for slug in TYPES if slug != "vega_ai" and not slug.startswith("observability")}
OPTIONS = {
    "aggregations": {slug: list(types) for slug, types in TYPES.items()},
    "group_by": GROUPS | {"mau": ["environment"]},
}
ENDPOINTS = {endpoint.slug: endpoint for endpoint in VENDORS[VENDOR].endpoints}


# The client says so of two endpoints.
pytestmark = pytest.mark.filterwarnings("ignore:GET /api/v2/usage/mau.* is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Load]]:
    with loading(VENDOR, OPTIONS, tmp_path_factory.mktemp(VENDOR)) as address_and_load:
        yield address_and_load


@pytest.fixture
def load(sandbox: tuple[str, Load]) -> Load:
    return sandbox[1]


@pytest.fixture(scope="module")
def client(sandbox: tuple[str, Load]) -> Iterator[Callable[..., Any]]:
    """A client with a token and a version of the API, which it takes for 20240415 unless told otherwise.

    Its 780 modules are imported when they are needed.
    """
    from launchdarkly_api import ApiClient, Configuration

    with ExitStack() as stack:

        def client(token: str = launchdarkly.TOKEN, version: str = "beta") -> Any:
            made = ApiClient(Configuration(sandbox[0], api_key={"ApiKey": token}))
            made.set_default_header("LD-API-Version", version)
            stack.callback(made.rest_client.pool_manager.clear)
            return made

        yield client


@pytest.fixture(scope="module")
def usage(client: Callable[..., Any]) -> Any:
    from launchdarkly_api import AccountUsageBetaApi

    return AccountUsageBetaApi(client())


def bodies(loaded: Loaded) -> list[tuple[Any, Any]]:
    """Answers on usage, and their JSON."""
    told = [answer for answer in loaded.answers if answer.request.path.startswith("/api/v2/usage/")]
    return [(answer, json.loads(answer.body)) for answer in told]


def total(points: list[dict[str, float]]) -> Decimal:
    """The sum of all series of the month; a few answers begin earlier."""
    first = MONTH.start.timestamp() * 1000
    kept = [point for point in points if point["time"] >= first]
    return sum((Decimal(str(point[key])) for point in kept for key in point if key != "time"), Decimal(0))


def counted(told: Any) -> dict[str, Decimal]:
    """What an answer with numbers comes to, by role."""
    if "items" in told:
        return {"consumed": sum((Decimal(item["usage"]) for item in told["items"]), Decimal(0))}
    found = {"consumed": total(told["series"])}
    return found | ({"projected": total(told["projectedSeries"])} if "projectedSeries" in told else {})


@pytest.mark.parametrize("slug", ENDPOINTS)
def test_our_questions_and_their_answers_are_documented(load: Load, slug: str) -> None:
    told = bodies(load(slug))
    assert told
    for answer, body in told:
        assert faults(VENDOR, answer, body) == [], answer.url


@pytest.mark.parametrize("slug", ENDPOINTS)
def test_the_client_reads_the_answers_and_its_totals_are_our_rows(load: Load, usage: Any, slug: str) -> None:
    loaded = load(slug)
    for answer, body in bodies(loaded):
        told = ask_again(usage, VENDOR, answer)
        assert told == body
        rows = loaded.of(answer)
        if ENDPOINTS[slug].metrics:
            sums = {role: sum(row["value"] for row in rows if row["role"] == role) for role in counted(told)}
            assert sums == counted(told), answer.url
        else:
            listed = told if isinstance(told, list) else told.get("sdks", told.get("sdkVersions"))
            assert len(rows) == len(listed)
        assert rows, answer.url


@pytest.mark.parametrize(("slug", "kind"), [(slug, kind) for slug, kinds in TYPES.items() for kind in kinds])
def test_a_month_asked_for_by_the_client_is_the_one_that_we_have(load: Load, usage: Any, slug: str, kind: str) -> None:
    """Asked without a look at our own question: it names the month, in the endpoint's ticks, and the type."""
    rows = [
        row
        for row in load(slug).rows
        if (row["role"], row["temporality"]) == ("consumed", TEMPORALITY[kind])
        and (row["aggregation"] == "average") == (kind == "average")
        and row["breakdown"] in {"", "context_kind"}
    ]
    operation = next(
        one for one in documents.operations(VENDOR) if one.path.endswith(f"/usage/{slug.replace('_', '-')}")
        or one.path.endswith(f"/{slug.replace('observability_', 'observability/')}")
    )  # fmt: skip
    ticks = 1 if slug in SECONDS else 1000
    told = getattr(usage, operation.method)(
        var_from=str(int(MONTH.start.timestamp()) * ticks),
        to=str(int(MONTH.end.timestamp()) * ticks - 1),
        aggregation_type="daily_incremental" if (slug, kind) == ("mau", "incremental") else kind,
    )
    assert sum(row["value"] for row in rows) == total(plain(told)["series"])
    assert {row["usage_date"] for row in rows} == {*MONTH}


def test_every_documented_path_is_asked(load: Load) -> None:
    asked = [answer.request.path for slug in ENDPOINTS for answer in load(slug).answers]
    unasked = [one.path for one in documents.operations(VENDOR) if not any(map(one.matches, asked))]
    assert unasked == []


def test_the_client_understands_a_refusal(client: Callable[..., Any]) -> None:
    from launchdarkly_api import AccountUsageBetaApi
    from launchdarkly_api.exceptions import BadRequestException, ForbiddenException, UnauthorizedException

    with pytest.raises(UnauthorizedException) as unauthorized:
        AccountUsageBetaApi(client(token="sdk-key")).get_mau_total_usage()
    with pytest.raises(ForbiddenException) as forbidden:
        AccountUsageBetaApi(client(version="20240415")).get_mau_total_usage()
    with pytest.raises(BadRequestException) as invalid:
        AccountUsageBetaApi(client()).get_mau_total_usage(aggregation_type="sum")
    codes = [found.value.data.code for found in (unauthorized, forbidden, invalid)]
    assert codes == ["unauthorized", "forbidden", "invalid_request"]


def test_the_client_s_catalogue_gives_our_labels(load: Load, client: Callable[..., Any]) -> None:
    from launchdarkly_api import ProjectsApi

    projects = ProjectsApi(client(version="20240415")).get_projects(limit=20, expand="environments")
    named = {
        environment.id: {"environment_key": environment.key, "environment_name": environment.name}
        for project in projects.items
        for environment in project.environments.items
    }
    rows = [row for row in load("total_mau").rows if row["breakdown"] == "environment"]
    assert {dict(row["dimensions"])["environment"] for row in rows} == named.keys()
    for row in rows:
        assert named[dict(row["dimensions"])["environment"]].items() <= dict(row["labels"]).items()
