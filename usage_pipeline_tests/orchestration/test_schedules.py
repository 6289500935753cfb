"""Ticks of the schedules, evaluated by Dagster, and what they ask for, run in process on the sandbox."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.schedule_definition import ScheduleExecutionData

from usage_pipeline import config, orchestration, pipeline
from usage_pipeline.config import SANDBOX_ACCOUNTS, Configuration
from usage_pipeline.contract.schema import COVERAGE
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.orchestration import schedules
from usage_pipeline.orchestration.alerts import FIRST, LAST
from usage_pipeline.orchestration.assets import WAREHOUSE
from usage_pipeline.stages.lake import Lake
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests import contract_world
from usage_pipeline_tests.conftest import NOW, TurnableClock

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
MORNING = datetime(2026, 3, 18, 3, 15, tzinfo=UTC)


@dataclass
class World:
    """An instance with the definitions of some accounts."""

    instance: dg.DagsterInstance
    place: pipeline.Place
    accounts: tuple[Account, ...]

    @property
    def repository(self) -> dg.RepositoryDefinition:
        return orchestration.build(Configuration(self.accounts), self.place).get_repository_def()

    def tick(self, schedule: str, now: datetime) -> Sequence[dg.RunRequest]:
        """What one tick asks for; one that skips says why, and fails here."""
        data = self._tick(schedule, now)
        assert data.run_requests, data.skip_message
        return data.run_requests

    def skipped(self, schedule: str, now: datetime) -> str:
        data = self._tick(schedule, now)
        assert not data.run_requests
        return str(data.skip_message)

    def _tick(self, schedule: str, now: datetime) -> ScheduleExecutionData:
        repository = self.repository
        context = dg.build_schedule_context(self.instance, scheduled_execution_time=now, repository_def=repository)
        return repository.get_schedule_def(schedule).evaluate_tick(context)

    def run(self, job: str, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        return self.repository.get_job(job).execute_in_process(
            instance=self.instance,
            run_config=QUIET,
            tags=dict(request.tags),
            partition_key=request.partition_key,
            asset_selection=list(request.asset_selection) if request.asset_selection else None,
        )

    def there(self, *key: str) -> list[str]:
        return sorted(self.instance.get_materialized_partitions(dg.AssetKey(key)))


@pytest.fixture
def world(tmp_path: Path, clock: TurnableClock) -> Iterator[World]:
    """The sandbox's accounts, which nobody serves."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        yield World(instance, contract_world.place(tmp_path, clock), config.read(SANDBOX_ACCOUNTS).accounts)


def served(world: World, base: str, vendor: str) -> Account:
    """Leave the world one account, at the address where it is served."""
    [found] = [account for account in world.accounts if account.vendor == vendor]
    # Without expected datacenters: that some come and go is not the matter here.
    options = {**found.options, "datacenters": []} if vendor == "consul" else found.options
    world.accounts = (replace(found, base_url=f"{base}/{vendor}", options=options),)
    return world.accounts[0]


def asked(requests: Sequence[dg.RunRequest]) -> dict[tuple[str, str], list[str]]:
    """The endpoints of every range."""
    return {
        (request.tags[FIRST], request.tags[LAST]): [
            key.path[2] for key in request.asset_selection or () if key.path[0] == "usage"
        ]
        for request in requests
    }


def test_schedules_wait_to_be_switched_on_and_say_what_they_do(world: World) -> None:
    found = {one.name: one for one in world.repository.schedule_defs}
    assert {
        "demo_consul_hourly_schedule",
        "demo_aveva_hourly_schedule",
        "demo_aveva_daily_schedule",
        "demo_thousandeyes_hourly_schedule",
        "demo_launchdarkly_daily_schedule",
        "demo_puppet_daily_schedule",
        "compaction_schedule",
        "report_schedule",
    } <= found.keys()
    assert {one.default_status for one in found.values()} == {dg.DefaultScheduleStatus.STOPPED}
    assert {one.execution_timezone for one in found.values()} == {"UTC"}
    assert all(one.description for one in found.values())
    said = found["demo_aveva_daily_schedule"].description or ""
    assert said.endswith("Days back: tenant_usage 8, namespace_usage 8, billing_cycles 1")


def test_every_endpoint_is_asked_for_its_own_restatement_period(world: World) -> None:
    # AVEVA restates 7 days, and a billing cycle never; LaunchDarkly 2 days, and what it counts by month 33.
    assert asked(world.tick("demo_aveva_daily_schedule", MORNING)) == {
        ("2026-03-10", "2026-03-17"): ["tenant_usage", "namespace_usage"],
        ("2026-03-17", "2026-03-17"): ["billing_cycles"],
    }
    assert asked(world.tick("demo_launchdarkly_daily_schedule", MORNING)) == {
        ("2026-02-12", "2026-03-17"): ["total_mau"],
        ("2026-03-15", "2026-03-17"): ["service_connections"],
    }


def test_ranges_that_an_account_s_start_cuts_to_the_same_are_one_run(world: World) -> None:
    world.accounts = tuple(replace(account, start_date=date(2026, 3, 17)) for account in world.accounts)
    assert asked(world.tick("demo_launchdarkly_daily_schedule", MORNING)) == {
        ("2026-03-17", "2026-03-17"): ["service_connections", "total_mau"]
    }


@pytest.mark.parametrize(
    ("schedule", "later"),
    [
        ("demo_launchdarkly_daily_schedule", timedelta(days=1)),
        ("demo_consul_hourly_schedule", timedelta(hours=1)),
        ("compaction_schedule", timedelta(days=1)),
    ],
)
def test_a_tick_asks_for_the_same_runs_again_and_the_next_one_for_others(
    world: World, schedule: str, later: timedelta
) -> None:
    def keys(now: datetime) -> list[str | None]:
        return [request.run_key for request in world.tick(schedule, now)]

    first = keys(MORNING)
    assert None not in first
    assert len(set(first)) == len(first)
    assert keys(MORNING) == first
    assert not set(keys(MORNING + later)) & set(first)


def test_snapshots_are_captured_today(world: World) -> None:
    [request] = world.tick("demo_consul_hourly_schedule", datetime(2026, 3, 18, 23, 5, tzinfo=UTC))
    assert request.partition_key == "2026-03-18"


@pytest.mark.parametrize("name", ["demo_puppet_daily_schedule", "demo_consul_hourly_schedule"])
def test_an_account_of_the_future_is_skipped(world: World, name: str) -> None:
    said = world.skipped(name, datetime(2025, 12, 31, 3, 15, tzinfo=UTC))
    assert said.endswith("starts on 2026-01-01")


@pytest.mark.parametrize(
    ("settles", "expected"),
    [
        (timedelta(0), Days(date(2026, 3, 17), date(2026, 3, 17))),
        (timedelta(hours=1), Days(date(2026, 3, 16), date(2026, 3, 17))),
        (timedelta(days=2), Days(date(2026, 3, 15), date(2026, 3, 17))),
        (timedelta(days=365), Days(date(2026, 1, 1), date(2026, 3, 17))),
    ],
)
def test_restated_days(world: World, settles: timedelta, expected: Days) -> None:
    endpoint = replace(VENDORS["puppet"].endpoint("usage"), settles=settles)
    assert schedules.restated(world.accounts[0], endpoint, date(2026, 3, 18)) == expected


def test_a_daily_tick_loads_its_ranges_and_publishes(world: World, clock: TurnableClock) -> None:
    clock.now = MORNING
    with contract_world.sandbox(clock) as base:
        served(world, base, "launchdarkly")
        requests = world.tick("demo_launchdarkly_daily_schedule", MORNING)
        results = [world.run("daily", request) for request in requests]
    assert all(result.success for result in results)
    for what in ("raw", "usage"):
        month = world.there(what, "demo-launchdarkly", "total_mau")
        assert (month[0], month[-1], len(month)) == ("2026-02-12", "2026-03-17", 34)
        assert world.there(what, "demo-launchdarkly", "service_connections") == [
            "2026-03-15",
            "2026-03-16",
            "2026-03-17",
        ]
    for result in results:
        assert WAREHOUSE in {event.asset_key for event in result.get_asset_materialization_events()}


def test_an_hourly_tick_captures_today(world: World, clock: TurnableClock) -> None:
    with contract_world.sandbox(clock) as base:
        served(world, base, "consul")
        for _ in range(2):
            [request] = world.tick("demo_consul_hourly_schedule", clock.now)
            assert world.run("hourly", request).success
            clock.advance(hours=1)
    assert world.there("usage", "demo-consul", "operator_usage") == [str(NOW.date())]


def test_a_nightly_tick_gathers_small_files(world: World, clock: TurnableClock) -> None:
    """Ten loads of one month leave ten files of `coverage`; more than eight are gathered into one."""
    with contract_world.sandbox(clock) as base:
        account = served(world, base, "puppet")
        for number in range(10):
            day = date(2026, 3, 1) + timedelta(days=number)
            pipeline.pull(world.place, account, "usage", Days(day, day))
    before = Lake(world.place.root).open(COVERAGE)
    assert len(before.file_uris()) == 10
    known = contract_world.table(world.place.home, COVERAGE)
    rows = contract_world.table(world.place.home)

    [request] = world.tick("compaction_schedule", datetime(2026, 3, 19, 1, 30, tzinfo=UTC))
    result = world.run("compaction", request)

    assert result.success
    assert len(Lake(world.place.root).open(COVERAGE).file_uris()) == 1
    assert contract_world.table(world.place.home, COVERAGE) == known
    assert contract_world.table(world.place.home) == rows
    assert (world.place.home / "warehouse.duckdb").exists()
    [output] = [event.step_output_data for event in result.all_events if event.is_successful_output]
    # Nine fewer of each of `usage` and `coverage`; what was replaced stays for a week.
    told = {name: value.value for name, value in output.metadata.items()}
    assert told == {"files fewer": 18, "files removed": 0}
