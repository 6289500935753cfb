"""ThousandEyes' own client of v7 asks the sandbox, parses its answers strictly, and counts what our table has."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from usage_pipeline.sandbox import thousandeyes
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests.conftest import NOW
from usage_pipeline_tests.oracle import documents
from usage_pipeline_tests.oracle.loaded import MONTH, Load, ask_again, faults, loading, plain

VENDOR = "thousandeyes"
OPTIONS = {"api_version": "v7"}
ENDPOINTS = {endpoint.slug: endpoint for endpoint in VENDORS[VENDOR].endpoints}
ROLES = {"Used": "consumed", "Projected": "projected", "Included": "entitled"}
UNITS = {
    "getTestsUnitsUsage": "get_tests_units_usage_paginated",
    "getEnterpriseAgentsUnitsUsage": "get_enterprise_agents_units_usage_paginated",
}
Meters = Counter[tuple[str, str, bool]]
"""Sums by metric, role, and whether they are of parts."""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Load]]:
    with loading(VENDOR, OPTIONS, tmp_path_factory.mktemp(VENDOR)) as address_and_load:
        yield address_and_load


@pytest.fixture
def load(sandbox: tuple[str, Load]) -> Load:
    return sandbox[1]


@pytest.fixture(scope="module")
def clients(sandbox: tuple[str, Load]) -> Iterator[Any]:
    """The client of a token, with the operations of both its halves. It does not wait where it is refused."""
    from thousandeyes_sdk.core import ApiClient, Configuration
    from thousandeyes_sdk.usage import QuotasApi, UsageApi

    with ExitStack() as stack:

        def client(token: str) -> Any:
            configuration = Configuration(f"{sandbox[0]}/v7", access_token=token, retries=False)
            made = stack.enter_context(ApiClient(configuration))
            halves = (UsageApi(made), QuotasApi(made))
            return SimpleNamespace(
                **{name: getattr(half, name) for half in halves for name in dir(half) if name.startswith("get_")}
            )

        yield client


@pytest.fixture(scope="module")
def client(clients: Any) -> Any:
    return clients(thousandeyes.BEARER_TOKEN)


def meters(told: Any, part: bool = False) -> Meters:
    """What an answer comes to: the vendor names a meter and its role in one word, and lists parts in arrays."""
    found: Meters = Counter()
    if isinstance(told, list):
        for each in told:
            found.update(meters(each, part=True))
    elif isinstance(told, dict):
        for name, value in told.items():
            word = re.fullmatch("(.+)(Used|Projected|Included)", name)
            if word:
                found[documents.snake(word[1]), ROLES[word[2]], part] += value
            else:
                found.update(meters(value, part))
    return +found


def consumed(found: Meters) -> Meters:
    """Beside units of past days the vendor projects the current billing period, which we read from `usage` only."""
    return Counter({key: value for key, value in found.items() if key[1] == "consumed"})


def ours(rows: list[dict[str, Any]]) -> Meters:
    found: Meters = Counter()
    for row in rows:
        found[row["metric"], row["role"], bool(row["breakdown"])] += row["value"]
    return +found


def quotas(told: Any) -> Decimal:
    """All of an organization's quotas, and of its account groups."""
    values = [
        each["value"]
        for quota in told["quotas"]
        for each in (quota.get("organizationQuota"), *quota.get("accountGroupQuotas", ()))
        if each
    ]
    return sum(map(Decimal, values), Decimal(0))


@pytest.mark.parametrize("slug", ENDPOINTS)
def test_our_questions_and_their_answers_are_documented(load: Load, slug: str) -> None:
    answers = load(slug).answers
    assert answers
    for answer in answers:
        assert faults(VENDOR, answer, json.loads(answer.body)) == [], answer.url


@pytest.mark.parametrize("slug", ENDPOINTS)
def test_the_client_reads_the_answers_and_its_totals_are_our_rows(load: Load, client: Any, slug: str) -> None:
    loaded = load(slug)
    for answer in loaded.answers:
        told = ask_again(client, VENDOR, answer)
        assert told | {"_links": ()} == json.loads(answer.body) | {"_links": ()}  # which say how it was asked for
        rows = loaded.of(answer)
        if "quotas" in told:
            assert sum(row["value"] for row in rows) == quotas(told)
        else:
            assert ours(rows) == (consumed(meters(told)) if "breakdowns" in told else meters(told)), answer.url
        assert rows, answer.url


@pytest.mark.parametrize("name", UNITS)
def test_a_month_asked_for_by_the_client_at_once_is_the_sum_of_our_days(load: Load, client: Any, name: str) -> None:
    operation = next(one for one in documents.operations(VENDOR) if one.name == name)
    (slug,) = [
        slug for slug in ENDPOINTS if any(operation.matches(answer.request.path) for answer in load(slug).answers)
    ]
    found = getattr(client, UNITS[name])(start_date=MONTH.start, end_date=NOW)
    assert consumed(meters([plain(each) for each in found])) == ours(load(slug).rows)


def test_the_client_understands_a_refusal(clients: Any, client: Any) -> None:
    from thousandeyes_sdk.core.exceptions import BadRequestException, ForbiddenException, UnauthorizedException

    with pytest.raises(UnauthorizedException) as unauthorized:
        clients("no-such-token").get_usage()
    assert unauthorized.value.data.error == "invalid_token"
    with pytest.raises(ForbiddenException) as forbidden:
        clients(thousandeyes.BEARER_WITHOUT_BILLING).get_usage()
    assert forbidden.value.data.status == 403
    with pytest.raises(BadRequestException) as invalid:
        client.get_usage(aid="0")
    assert invalid.value.data.status == 400


def test_every_documented_path_is_asked(load: Load) -> None:
    asked = [answer.request.path for slug in ENDPOINTS for answer in load(slug).answers]
    unasked = [one.path for one in documents.operations(VENDOR) if not any(map(one.matches, asked))]
    assert unasked == []
