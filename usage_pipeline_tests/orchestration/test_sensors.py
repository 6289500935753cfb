"""The sensor that heals gaps: real looks on a real instance, and what they ask for, run in process on the sandbox."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.selector import (
    PartitionRangeSelector,
    PartitionsByAssetSelector,
    PartitionsSelector,
)
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from usage_pipeline import config, orchestration, pipeline, warehouse
from usage_pipeline.config import SANDBOX_ACCOUNTS, Configuration
from usage_pipeline.contract.schema import COVERAGE
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.orchestration import sensors
from usage_pipeline.orchestration.alerts import FIRST, LAST
from usage_pipeline.orchestration.sensors import Gap, Tried
from usage_pipeline_tests import contract_world
from usage_pipeline_tests.conftest import NOW, TurnableClock

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
RAW, USAGE = dg.AssetKey(["raw", "demo-puppet", "usage"]), dg.AssetKey(["usage", "demo-puppet", "usage"])
TOKEN = "SANDBOX_PUPPET_TOKEN"
START = date(2026, 3, 1)
WEEK = Days(date(2026, 3, 10), date(2026, 3, 17))
BEFORE = ("2026-03-01", "2026-03-09")
"""What the account lacks once the week is loaded: it starts on the 1st."""


@dataclass
class World:
    """The sandbox's Puppet on an instance, and the sensor's cursor as the daemon keeps it."""

    instance: dg.DagsterInstance
    place: pipeline.Place
    clock: TurnableClock
    accounts: tuple[Account, ...]
    cursor: str | None = None

    def __post_init__(self) -> None:
        self.configure(*self.accounts)

    def configure(self, *accounts: Account) -> None:
        self.accounts = accounts
        self.repository = orchestration.build(Configuration(accounts), self.place).get_repository_def()

    def load(self, days: Days = WEEK, *, refused: bool = False) -> None:
        """Load and publish without Dagster, as the command line does; or be refused."""
        place = replace(self.place, environment={**self.place.environment, TOKEN: "wrong"}) if refused else self.place
        [account] = self.accounts
        assert bool(pipeline.pull(place, account, "usage", days).failures) == refused
        pipeline.publish(place, Configuration(self.accounts))

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        return self.repository.get_job(request.job_name or "").execute_in_process(
            instance=self.instance,
            run_config=QUIET,
            tags=dict(request.tags),
            asset_selection=list(request.asset_selection or ()),
        )

    def look(self, *, forget: bool = False) -> tuple[list[dg.RunRequest], str | None]:
        """What one tick asks for, or why nothing. `forget` is a daemon that dies before it wrote the cursor down."""
        context = dg.build_sensor_context(
            self.instance, self.cursor, repository_def=self.repository, resources={"place": self.place}
        )
        data = self.repository.get_sensor_def(sensors.NAME).evaluate_tick(context)
        if not forget:
            self.cursor = data.cursor
        return list(data.run_requests or ()), data.skip_message


@pytest.fixture
def world(tmp_path: Path, clock: TurnableClock) -> Iterator[World]:
    folder = tmp_path / "dagster"
    folder.mkdir()
    [account] = [one for one in config.read(SANDBOX_ACCOUNTS).accounts if one.vendor == "puppet"]
    with dg.DagsterInstance.local_temp(str(folder)) as instance, contract_world.sandbox(clock) as base:
        account = replace(account, base_url=f"{base}/puppet", start_date=START)
        yield World(instance, contract_world.place(tmp_path, clock), clock, (account,))


def span(request: dg.RunRequest) -> tuple[str, str]:
    return request.tags[FIRST], request.tags[LAST]


def test_it_waits_to_be_switched_on_and_says_what_it_does(world: World) -> None:
    [sensor] = [one for one in world.repository.sensor_defs if one.name == sensors.NAME]
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    assert sensor.minimum_interval_seconds == 900
    assert "at most 31 days a run, 4 runs at a time and one an account" in (sensor.description or "")


def test_a_gap_is_asked_for_and_closed(world: World) -> None:
    assert world.look() == ([], "nothing was published yet: load something first, a single day will do")
    world.load()

    [request], _ = world.look()
    assert request.job_name == "daily"
    assert span(request) == BEFORE
    assert list(request.asset_selection or ()) == [RAW, USAGE, dg.AssetKey("warehouse")]
    assert world.look() == (
        [],
        "gaps that were asked for lately: 1; the next is demo-puppet/usage, at 2026-03-18 13:00 UTC",
    )

    assert world.run(request).success
    assert sorted(world.instance.get_materialized_partitions(USAGE)) == [
        str(day) for day in Days(START, date(2026, 3, 9))
    ]
    with warehouse.reading(world.place.home) as session:
        open_days = "SELECT count(*) FROM coverage_gaps WHERE can_be_asked AND first_day < DATE '2026-03-18'"
        assert warehouse.ask(session, open_days).rows == [(0,)]
    assert world.look() == ([], "no gap that a vendor can still fill")


def test_a_look_that_is_made_again_asks_for_the_same_run(world: World) -> None:
    world.load()
    [first], _ = world.look(forget=True)
    world.clock.advance(minutes=1)
    [again], _ = world.look()
    assert first.run_key == again.run_key
    world.clock.advance(hours=1)
    [later], _ = world.look()
    assert later.run_key != first.run_key


def test_a_gap_that_stays_is_asked_for_ever_less_often(world: World) -> None:
    """All days fail, first at 12:00. That a day is added in the next morning makes no new gap of it."""
    world.load(Days(START, WEEK.last), refused=True)
    asked_after: list[timedelta] = []
    last = NOW
    while len(asked_after) < 8:
        world.clock.advance(minutes=30)
        requests, _ = world.look()
        for request in requests:
            first, through = map(date.fromisoformat, span(request))
            assert first == START
            world.load(Days(first, through), refused=True)
            asked_after.append(world.clock.now - last)
            last = world.clock.now
    assert asked_after == [timedelta(hours=hours) for hours in (1, 1, 2, 4, 8, 16, 24, 24)]


def test_a_failed_day_in_the_middle_is_healed(world: World) -> None:
    middle = date(2026, 3, 12)
    world.load(Days(START, date(2026, 3, 11)))
    world.load(Days(middle, middle), refused=True)
    world.load(Days(date(2026, 3, 13), WEEK.last))
    states = {row["usage_date"]: row["state"] for row in contract_world.table(world.place.home, COVERAGE)}
    assert [day for day, state in states.items() if state == "failed"] == [middle]
    assert world.look()[0] == []
    world.clock.advance(hours=1)
    [request], _ = world.look()
    assert span(request) == ("2026-03-12", "2026-03-12")
    assert world.run(request).success
    assert world.look() == ([], "no gap that a vendor can still fill")


def test_yesterday_is_left_to_the_daily_schedule_until_the_morning(world: World) -> None:
    world.load(Days(START, WEEK.last))
    world.clock.now = datetime(2026, 3, 19, 5, 59, tzinfo=UTC)
    assert world.look() == ([], "no gap that a vendor can still fill")
    world.clock.now = datetime(2026, 3, 19, 6, 0, tzinfo=UTC)
    [request], _ = world.look()
    assert span(request) == ("2026-03-18", "2026-03-18")


@pytest.mark.parametrize("whole", [True, False], ids=["the whole job", "some assets"])
def test_what_is_being_loaded_is_not_asked_for(world: World, whole: bool) -> None:
    world.load()
    job = world.repository.get_job("daily")
    run = world.instance.create_run_for_job(job, asset_selection=None if whole else frozenset({RAW, USAGE}))
    assert world.look() == ([], "gaps of accounts that are being loaded: demo-puppet")
    world.instance.report_run_failed(run, "over")
    [request], _ = world.look()
    assert span(request) == BEFORE


def test_what_a_backfill_will_load_is_not_asked_for(world: World) -> None:
    world.load()
    first, last = BEFORE
    days = PartitionsSelector(ranges=[PartitionRangeSelector(start=first, end=last)])
    backfill = PartitionBackfill.from_partitions_by_assets(
        backfill_id="lately",
        asset_graph=world.repository.asset_graph,
        backfill_timestamp=NOW.timestamp(),
        tags={},
        dynamic_partitions_store=world.instance,
        partitions_by_assets=[PartitionsByAssetSelector(asset_key=key, partitions=days) for key in (RAW, USAGE)],
        title=None,
        description=None,
        run_config=None,
    )
    world.instance.add_backfill(backfill)
    assert world.look() == ([], "gaps of accounts that are being loaded: demo-puppet")
    world.instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))
    assert len(world.look()[0]) == 1


def test_runs_that_wait_count_as_under_way(world: World) -> None:
    world.load()
    other = world.repository.get_job("report_daily")
    for _ in range(sensors.MOST_RUNS):
        world.instance.create_run_for_job(other, tags={"dagster/sensor_name": sensors.NAME})
    assert world.look() == ([], "4 runs are under way")


def test_an_account_that_changed_since_the_last_publication(world: World) -> None:
    world.load()
    [account] = world.accounts
    world.configure(replace(account, start_date=date(2026, 3, 5)))
    [request], _ = world.look(forget=True)
    assert span(request) == ("2026-03-05", "2026-03-09")
    world.configure()
    assert world.look() == ([], "no gap that a vendor can still fill")


def gap(name: str, first: date, days: int = 1, attempted: datetime | None = None) -> Gap:
    account, endpoint = name.split("/")
    return Gap(account, endpoint, Days(first, first + timedelta(days=days - 1)), attempted)


def chosen(*ripe: Gap, most: int = 4, times: dict[str, int] | None = None) -> list[list[str]]:
    memory = {name: Tried(number, NOW) for name, number in (times or {}).items()}
    return [[one.name for one in gaps] for gaps in sensors.choose(ripe, memory, most)]


def test_one_run_an_account_the_newest_gap_first() -> None:
    old, new = gap("a/x", date(2026, 1, 1)), gap("a/x", date(2026, 2, 1))
    assert chosen(old, new, gap("b/x", date(2026, 1, 15))) == [["a/x 2026-02-01"], ["b/x 2026-01-15"]]


def test_what_was_asked_for_least_often_goes_first() -> None:
    old, new = gap("a/x", date(2026, 1, 1)), gap("a/x", date(2026, 2, 1))
    assert chosen(old, new, times={new.name: 1}) == [["a/x 2026-01-01"]]


def test_endpoints_that_lack_the_same_days_share_a_run() -> None:
    first = date(2026, 1, 1)
    assert chosen(gap("a/x", first, 3), gap("a/y", first, 3), gap("a/z", first, 2)) == [
        ["a/x 2026-01-01", "a/y 2026-01-01"]
    ]


@pytest.mark.parametrize(("most", "runs"), [(4, 4), (1, 1), (0, 0), (-1, 0)])
def test_no_more_runs_than_may_be_under_way(most: int, runs: int) -> None:
    ripe = [gap(f"{account}/x", date(2026, 1, 1)) for account in "abcdef"]
    assert len(chosen(*ripe, most=most)) == runs


@pytest.mark.parametrize(
    ("wholes", "expected"),
    [
        ([], []),
        ([(date(2026, 1, 1), 1)], [("2026-01-01", 1)]),
        ([(date(2026, 1, 1), 31)], [("2026-01-01", 31)]),
        ([(date(2026, 1, 1), 32)], [("2026-01-01", 31), ("2026-02-01", 1)]),
        ([(date(2026, 1, 1), 2), (date(2026, 1, 4), 1)], [("2026-01-01", 2), ("2026-01-04", 1)]),
    ],
)
def test_a_long_gap_is_asked_for_in_pieces(wholes: Sequence[tuple[date, int]], expected: list[tuple[str, int]]) -> None:
    days = [first + timedelta(days=number) for first, length in wholes for number in range(length)]
    assert [(str(found.first), len(found)) for found in sensors.pieces(days)] == expected
