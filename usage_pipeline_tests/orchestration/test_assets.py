"""The assets in process, on a real Dagster instance, against servers on real sockets."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from usage_pipeline import orchestration, pipeline
from usage_pipeline.config import Configuration
from usage_pipeline.contract.schema import COVERAGE
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.orchestration import assets
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests import contract_world
from usage_pipeline_tests.conftest import NOW, TurnableClock

FIRST, MIDDLE, LAST = date(2026, 3, 10), date(2026, 3, 12), date(2026, 3, 14)
RANGE = Days(FIRST, LAST)
TODAY = NOW.date()
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
RAW, USAGE = dg.AssetKey(["raw", "puppet", "usage"]), dg.AssetKey(["usage", "puppet", "usage"])


class Puppet:
    """A Puppet whose answer for one day a test decides; `asked` has the range of every request."""

    def __init__(self) -> None:
        self.odd: dict[str, Callable[[], Response]] = {}
        self.asked: list[tuple[str, str]] = []

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/orchestrator/v1/usage", self.usage)])

    def usage(self, request: Request) -> Response:
        first, last = request.query_params["start_date"], request.query_params["end_date"]
        self.asked.append((first, last))
        if first in self.odd:
            return self.odd[first]()
        days = Days(date.fromisoformat(first), date.fromisoformat(last))
        return JSONResponse(
            {
                "items": [
                    {"date": str(day), "total_nodes": 7, "nodes_with_agent": 5, "nodes_without_agent": 2}
                    for day in days
                ]
            }
        )


@pytest.fixture
def puppet() -> Puppet:
    return Puppet()


@pytest.fixture
def account(puppet: Puppet, serve: Callable[[Any], str]) -> Account:
    return Account(
        name="puppet",
        vendor="puppet",
        base_url=serve(puppet.app()),
        start_date=date(2026, 1, 1),
        credentials={"token": "PUPPET_TOKEN"},
        endpoints=("usage",),
        options={"ca_bundle": None, "events": "exclude"},
    )


@pytest.fixture
def day_by_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Puppet that is asked for one day at a time, so that one can fail among others; and no waiting for retries."""
    vendor = VENDORS["puppet"]
    endpoints = tuple(replace(endpoint, max_days=1) for endpoint in vendor.endpoints)
    monkeypatch.setitem(VENDORS, "puppet", replace(vendor, endpoints=endpoints))
    monkeypatch.setattr(assets, "RETRY", dg.RetryPolicy(max_retries=2))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def place(tmp_path: Path, clock: TurnableClock) -> pipeline.Place:
    found = contract_world.place(tmp_path, clock)
    return replace(found, environment={**found.environment, "PUPPET_TOKEN": "secret"})


def run(
    account: Account,
    place: pipeline.Place,
    instance: dg.DagsterInstance,
    days: Days = RANGE,
    only: Sequence[dg.AssetKey] | None = None,
) -> dg.ExecuteInProcessResult:
    defs = orchestration.build(Configuration((account,)), place)
    return dg.materialize(
        [one for one in defs.assets or () if isinstance(one, dg.AssetsDefinition)],
        selection=list(only or (key for key in keys(defs) if key != assets.WAREHOUSE)),
        instance=instance,
        resources=defs.resources,
        run_config=QUIET,
        tags={
            "dagster/asset_partition_range_start": str(days.first),
            "dagster/asset_partition_range_end": str(days.last),
        },
        raise_on_error=False,
    )


def keys(defs: dg.Definitions) -> list[dg.AssetKey]:
    return [spec.key for spec in defs.resolve_all_asset_specs()]


def there(instance: dg.DagsterInstance, key: dg.AssetKey) -> list[str]:
    return sorted(instance.get_materialized_partitions(key))


def failure(result: dg.ExecuteInProcessResult) -> str:
    [event] = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)


def coverage(home: Path) -> dict[date, tuple[str, str]]:
    rows: list[dict[str, Any]] = contract_world.table(home, COVERAGE)
    return {row["usage_date"]: (row["state"], row["reason"]) for row in rows}


def text(days: Days) -> list[str]:
    return [str(day) for day in days]


def test_a_range_is_one_request_and_every_day_is_materialised(
    account: Account, place: pipeline.Place, instance: dg.DagsterInstance, puppet: Puppet
) -> None:
    result = run(account, place, instance)
    assert result.success
    assert puppet.asked == [("2026-03-10", "2026-03-14")]
    assert there(instance, RAW) == there(instance, USAGE) == text(RANGE)
    [newest] = instance.fetch_materializations(USAGE, limit=1).records
    assert newest.asset_materialization is not None
    metadata = newest.asset_materialization.metadata
    assert metadata["dagster/partition_row_count"].value == 3
    assert metadata["state"].value == "provisional"
    assert (place.home / "warehouse.duckdb").exists()


@pytest.mark.usefixtures("day_by_day")
@pytest.mark.parametrize(
    ("answer", "attempts", "said"),
    [
        (lambda: JSONResponse({"items": [{"date": "2026-03-12", "total_nodes": "many"}]}), 1, "$.items[0]"),
        (lambda: JSONResponse({"kind": "puppetlabs.rbac/permission-denied", "msg": "no"}, 403), 1, "permission-denied"),
        (lambda: Response("down for maintenance", 503), 3, "down for maintenance"),
    ],
    ids=["does not fit", "forbidden", "out of order"],
)
def test_a_failing_day_fails_alone(
    account: Account,
    place: pipeline.Place,
    instance: dg.DagsterInstance,
    puppet: Puppet,
    answer: Callable[[], Response],
    attempts: int,
    said: str,
) -> None:
    puppet.odd[str(MIDDLE)] = answer
    result = run(account, place, instance)
    assert not result.success
    good = [day for day in text(RANGE) if day != str(MIDDLE)]
    assert there(instance, USAGE) == good
    assert set(good) <= set(there(instance, RAW))
    assert failure(result).startswith("1 of 5 days failed\n2026-03-12: ")
    assert said in failure(result)
    assert 1 + len([event for event in result.all_events if event.is_step_up_for_retry]) == attempts
    known = coverage(place.home)
    assert known[MIDDLE][0] == "failed"
    assert said in known[MIDDLE][1]
    assert "failed" not in {state for day, (state, _) in known.items() if day != MIDDLE}
    assert {row["usage_date"] for row in contract_world.table(place.home)} == set(RANGE) - {MIDDLE}


@pytest.mark.usefixtures("day_by_day")
def test_a_failed_day_is_healed_by_the_next_run(
    account: Account, place: pipeline.Place, instance: dg.DagsterInstance, puppet: Puppet, clock: TurnableClock
) -> None:
    puppet.odd[str(MIDDLE)] = lambda: JSONResponse({"items": "none"})
    run(account, place, instance)
    puppet.odd.clear()
    clock.advance(hours=1)
    assert run(account, place, instance, Days(MIDDLE, MIDDLE)).success
    assert there(instance, USAGE) == text(RANGE)


def test_raw_alone_lands_and_usage_alone_replays(
    account: Account, place: pipeline.Place, instance: dg.DagsterInstance, puppet: Puppet
) -> None:
    assert run(account, place, instance, only=[RAW]).success
    assert there(instance, RAW) == text(RANGE)
    assert there(instance, USAGE) == []
    assert contract_world.table(place.home) == []
    puppet.asked.clear()
    assert run(account, place, instance, only=[USAGE]).success
    assert puppet.asked == []
    assert there(instance, USAGE) == text(RANGE)


def test_a_replay_of_days_without_raw_answers_materialises_nothing(
    account: Account, place: pipeline.Place, instance: dg.DagsterInstance
) -> None:
    assert run(account, place, instance, Days(FIRST, MIDDLE), only=[RAW]).success
    assert run(account, place, instance, only=[USAGE]).success
    assert there(instance, USAGE) == text(Days(FIRST, MIDDLE))


@pytest.mark.parametrize("only", [None, [RAW]], ids=["pull", "raw alone"])
def test_an_unset_variable_is_named(
    account: Account, place: pipeline.Place, instance: dg.DagsterInstance, only: list[dg.AssetKey] | None
) -> None:
    result = run(account, replace(place, environment={}), instance, only=only)
    assert failure(result) == (
        "5 of 5 days failed\n2026-03-10 to 2026-03-14: account 'puppet': the variable PUPPET_TOKEN (token) is not set"
    )


def test_a_snapshot_is_captured_today_and_never_for_the_past(
    place: pipeline.Place, instance: dg.DagsterInstance, clock: TurnableClock
) -> None:
    usage = dg.AssetKey(["usage", "demo-consul", "operator_usage"])
    with contract_world.sandbox(clock) as base:
        account = contract_world.account("consul", base)
        # Without expected datacenters: that some come and go is not the matter here.
        account = replace(account, options={**account.options, "datacenters": []})
        past = run(account, place, instance, Days(date(2026, 3, 17), date(2026, 3, 17)))
        assert past.success
        assert there(instance, usage) == []
        assert coverage(place.home)[date(2026, 3, 17)][0] == "not_available"
        assert run(account, place, instance, Days(date(2026, 3, 17), TODAY)).success
        raw = dg.AssetKey(["raw", "demo-consul", "operator_usage"])
        assert there(instance, raw) == there(instance, usage) == [str(TODAY)]
        assert coverage(place.home)[TODAY][0] == "complete"


def test_the_warehouse_counts_its_rows(account: Account, place: pipeline.Place, instance: dg.DagsterInstance) -> None:
    run(account, place, instance)
    result = run(account, place, instance, only=[assets.WAREHOUSE])
    [event] = result.get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert metadata["dagster/row_count"].value == metadata["rows of usage"].value == 15
    assert metadata["rows of coverage"].value == 5


def test_publishing_may_be_put_off(account: Account, place: pipeline.Place, instance: dg.DagsterInstance) -> None:
    put_off: list[pipeline.Place] = []
    defs = orchestration.build(Configuration((account,)), place, publish=put_off.append)
    job = defs.resolve_job_def("puppet_daily")
    tags = {"dagster/asset_partition_range_start": str(FIRST), "dagster/asset_partition_range_end": str(FIRST)}
    result = job.execute_in_process(instance=instance, run_config=QUIET, tags=tags, asset_selection=[RAW, USAGE])
    assert result.success
    assert put_off == [place]
    assert not (place.home / "warehouse.duckdb").exists()


def test_the_daily_job_loads_a_range_and_publishes(
    account: Account, place: pipeline.Place, instance: dg.DagsterInstance
) -> None:
    job = orchestration.build(Configuration((account,)), place).resolve_job_def("puppet_daily")
    tags = {"dagster/asset_partition_range_start": str(FIRST), "dagster/asset_partition_range_end": str(LAST)}
    result = job.execute_in_process(instance=instance, run_config=QUIET, tags=tags)
    assert result.success
    assert there(instance, USAGE) == text(RANGE)
    assert assets.WAREHOUSE in {event.asset_key for event in result.get_asset_materialization_events()}
