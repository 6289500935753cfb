"""What the tests that run over every vendor need: the sandbox, accounts on it, and the table without its accidents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from usage_pipeline import config, pipeline
from usage_pipeline.contract.schema import USAGE, Table
from usage_pipeline.contract.vendor import Account, Endpoint
from usage_pipeline.sandbox import launchdarkly, server, thousandeyes
from usage_pipeline.sandbox.world import World
from usage_pipeline.stages.lake import Lake
from usage_pipeline.vendors.launchdarkly import SERIES
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests.conftest import TurnableClock, served

ACCIDENTS = {"fetched_at", "response_id", "observed_at"}
"""Columns that tell when a row was asked for, not what the vendor said; of snapshots `observed_at` is kept."""

ENDPOINTS = [
    pytest.param(vendor.slug, endpoint.slug, id=f"{vendor.slug}-{endpoint.slug}")
    for vendor in VENDORS.values()
    for endpoint in vendor.endpoints
]


VARIANTS: dict[str, list[dict[str, Any]]] = {
    "aveva": [{"split_regions": True, "split_tenants": True}],
    "launchdarkly": [
        {
            "group_by": {series.slug: list(series.group_by) for series in SERIES},
            "project_keys": ["storefront", "payments"],
        },
        {"group_by": {series.slug: ["destinationId"] for series in SERIES if "destinationId" in series.group_by}},
    ],
    "puppet": [{"pe_version": "2023.8"}],
}
"""Options beside the sandbox's own that together make its rows carry every dimension and label."""


def account(vendor: str, base: str, **options: Any) -> Account:
    """The sandbox's account of a vendor, at another address, with every endpoint, and with other options."""
    found = next(one for one in config.read(config.SANDBOX_ACCOUNTS).accounts if one.vendor == vendor)
    slugs = tuple(endpoint.slug for endpoint in VENDORS[vendor].endpoints)
    return replace(found, base_url=f"{base}/{vendor}", endpoints=slugs, options={**found.options, **options})


def endpoint(vendor: str, slug: str) -> Endpoint:
    return VENDORS[vendor].endpoint(slug)


def unlimited(patch: pytest.MonkeyPatch) -> None:
    """No vendor counts requests: where the present stands still, all of them are made within one minute."""
    patch.setattr(thousandeyes, "REQUESTS_A_MINUTE", 10**9)
    patch.setattr(launchdarkly, "LIMIT", 10**9)


@contextmanager
def sandbox(clock: TurnableClock) -> Iterator[str]:
    with served(server.app(World(clock))) as base:
        yield base


@dataclass(frozen=True, slots=True)
class Vendors:
    """Two sandboxes that tell different numbers for the same days. The clock is that of both; a test sets it first."""

    clock: TurnableClock
    bases: tuple[str, str]


@contextmanager
def twice() -> Iterator[Vendors]:
    clock = TurnableClock()
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        unlimited(patch)
        first, second = (stack.enter_context(served(server.app(World(clock, seed=seed)))) for seed in (1, 2))
        yield Vendors(clock, (first, second))


def place(home: Path, clock: TurnableClock, lake: str = "") -> pipeline.Place:
    environment = {config.HOME_VARIABLE: str(home), config.LAKE_VARIABLE: lake, **server.environment()}
    return pipeline.place(environment, clock, lambda _seconds: None)


def table(home: Path | str, of: Table = USAGE, without: Sequence[str] = ()) -> list[dict[str, object]]:
    """Every row of a table, in the order of its key."""
    found = Lake(str(home)).find(of)
    if found is None:
        return []
    rows: pa.Table = found.to_pyarrow_table().sort_by([(name, "ascending") for name in of.key])
    kept: list[dict[str, object]] = rows.select([n for n in rows.column_names if n not in without]).to_pylist()
    return kept
