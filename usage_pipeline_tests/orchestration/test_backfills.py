"""A year at once: five vendors of the sandbox over real HTTP, a vendor that fails on a day, and what was captured."""

from collections import Counter
from collections.abc import Iterator, MutableMapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pytest
from starlette.responses import JSONResponse

from usage_pipeline import config, orchestration, pipeline
from usage_pipeline.config import Configuration
from usage_pipeline.contract.schema import COVERAGE
from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.contract.vendor import Account, History
from usage_pipeline.sandbox import server
from usage_pipeline.sandbox.world import World
from usage_pipeline_tests import contract_world
from usage_pipeline_tests.conftest import NOW, TurnableClock, served
from usage_pipeline_tests.orchestration import test_assets as one_vendor
from usage_pipeline_tests.orchestration.test_assets import QUIET, coverage, observations, text, there

TODAY = NOW.date()
YEAR = Days(TODAY - timedelta(days=365), TODAY - DAY)

# Fixtures of the tests of one vendor.
puppet, account, place, instance = one_vendor.puppet, one_vendor.account, one_vendor.place, one_vendor.instance
day_by_day = one_vendor.day_by_day


class Counted:
    """The sandbox, with the number of requests by vendor, without those for tokens."""

    def __init__(self, clock: TurnableClock) -> None:
        self.app = server.app(World(clock))
        self.asked: Counter[str] = Counter()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        _, vendor, *path = scope["path"].split("/")
        if "identity" not in path:
            self.asked[vendor] += 1
        await self.app(scope, receive, send)


@pytest.fixture
def sandbox(clock: TurnableClock) -> Counted:
    return Counted(clock)


@pytest.fixture
def accounts(sandbox: Counted) -> Iterator[tuple[Account, ...]]:
    """The sandbox's accounts, a year old. Of Consul's datacenters none is expected: that they come and go is not it."""
    with served(sandbox) as base:
        found = config.read(config.SANDBOX_ACCOUNTS).accounts
        yield tuple(
            replace(
                one,
                base_url=f"{base}/{one.vendor}",
                start_date=YEAR.first,
                options={**one.options, "datacenters": []} if one.vendor == "consul" else one.options,
            )
            for one in found
        )


def backfill(
    accounts: tuple[Account, ...], history: History, place: pipeline.Place, instance: dg.DagsterInstance, days: Days
) -> dg.ExecuteInProcessResult:
    """What Dagster's daemon makes of a backfill of every endpoint of one history: one run over the range."""
    defs = orchestration.build(Configuration(accounts), place)
    selected = [
        key
        for account in accounts
        for slug in account.endpoints
        if pipeline.endpoint_of(account, slug).history is history
        for key in keys(account, slug)
    ]
    policies = {defs.resolve_assets_def(key).backfill_policy for key in selected}
    [policy] = policies
    assert policy is not None
    assert (policy.max_partitions_per_run or len(days)) >= len(days)
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=selected,
        instance=instance,
        run_config=QUIET,
        tags={
            "dagster/asset_partition_range_start": str(days.first),
            "dagster/asset_partition_range_end": str(days.last),
        },
        raise_on_error=False,
    )


def keys(account: Account, slug: str) -> list[dg.AssetKey]:
    return [dg.AssetKey([kind, account.name, slug]) for kind in ("raw", "usage")]


def test_a_year_of_windows_in_the_fewest_requests(
    accounts: tuple[Account, ...], sandbox: Counted, place: pipeline.Place, instance: dg.DagsterInstance
) -> None:
    result = backfill(accounts, History.WINDOW, place, instance, YEAR)
    assert result.success
    assert sandbox.asked == {
        # One range, however long.
        "puppet": 1,
        # 365 days in ranges of 92, for the tenant and for its namespaces; all billing cycles in one answer.
        "aveva": 4 + 4 + 1,
        # One range of 365 days: connections since the day before, by SDK, since the month began, and the names of
        # projects; users since the month began, and of the last 30 days.
        "launchdarkly": 4 + 2,
    }
    assert sum(told["requests of the run"].value for told in observations(result)) == sandbox.asked.total() == 16
    for account in accounts:
        for slug in account.endpoints:
            if pipeline.endpoint_of(account, slug).history is History.WINDOW:
                raw, usage = keys(account, slug)
                assert there(instance, raw) == text(YEAR)
                assert there(instance, usage) == text(YEAR)


@pytest.mark.usefixtures("day_by_day")
def test_a_failing_day_in_a_year_fails_alone(
    account: Account, place: pipeline.Place, instance: dg.DagsterInstance, puppet: one_vendor.Puppet
) -> None:
    account = replace(account, start_date=YEAR.first)
    middle = date(2025, 9, 17)
    puppet.odd[str(middle)] = lambda: JSONResponse({"msg": "no"}, 403)
    result = one_vendor.run(account, place, instance, YEAR)
    assert not result.success
    assert one_vendor.failure(result).startswith("1 of 365 days failed\n2025-09-17: ")
    others = [day for day in text(YEAR) if day != str(middle)]
    assert there(instance, one_vendor.RAW) == there(instance, one_vendor.USAGE) == others
    known = coverage(place.home)
    assert [day for day, (state, _) in known.items() if state == "failed"] == [middle]
    assert len(contract_world.table(place.home)) == 364 * 3
    assert len(puppet.asked) == 365


def test_snapshots_replay_what_was_captured_and_take_nothing_down(
    accounts: tuple[Account, ...],
    sandbox: Counted,
    place: pipeline.Place,
    instance: dg.DagsterInstance,
    clock: TurnableClock,
) -> None:
    assert backfill(accounts, History.SNAPSHOT, place, instance, Days(TODAY, TODAY)).success
    sandbox.asked.clear()
    clock.advance(days=1)
    year = Days(TODAY - timedelta(days=364), TODAY)
    with dg.DagsterInstance.ephemeral() as fresh:
        result = backfill(accounts, History.SNAPSHOT, place, fresh, year)
        assert result.success
        assert not sandbox.asked
        assert not any(told["requests of the run"].value for told in observations(result))
        for account in accounts:
            for slug in account.endpoints:
                if pipeline.endpoint_of(account, slug).history is History.SNAPSHOT:
                    assert [there(fresh, key) for key in keys(account, slug)] == 2 * [[str(TODAY)]]
    states = Counter(row["state"] for row in contract_world.table(place.home, COVERAGE))
    assert states == {"complete": 3, "not_available": 3 * 364}


@pytest.mark.parametrize(
    ("days", "most", "ranges"),
    [
        ([1, 2, 3], None, [(1, 3)]),
        ([1, 9], None, [(1, 9)]),
        ([1, 2, 3, 4, 5], 2, [(1, 2), (3, 4), (5, 5)]),
        # A gap is bridged where that takes no further range, and skipped where one begins.
        ([1, 3, 6, 7], 3, [(1, 3), (6, 7)]),
        ([2], 1, [(2, 2)]),
        ([], 5, []),
    ],
)
def test_days_are_covered_by_the_fewest_ranges(
    days: list[int], most: int | None, ranges: list[tuple[int, int]]
) -> None:
    found = Days.cover([date(2026, 2, day) for day in days], most)
    assert [(one.first.day, one.last.day) for one in found] == ranges
