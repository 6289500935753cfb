"""The assets in process, on a real Dagster instance, against servers on real sockets."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from usage_pipeline import orchestration, pipeline, warehouse
from usage_pipeline.config import Configuration
from usage_pipeline.contract.schema import COVERAGE
from usage_pipeline.contract.schema import USAGE as USAGE_TABLE
from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.orchestration import assets
from usage_pipeline.orchestration import metadata as metadata_of
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests import contract_world
from usage_pipeline_tests.conftest import NOW, TurnableClock

FIRST, MIDDLE, LAST = date(2026, 3, 10), date(2026, 3, 12), date(2026, 3, 14)
RANGE = Days(FIRST, LAST)
TODAY = NOW.date()
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
# Days that Puppet changes no more.
SETTLED = Days(date(2026, 2, 1), date(2026, 2, 5))
RAW, USAGE = dg.AssetKey(["raw", "puppet", "usage"]), dg.AssetKey(["usage", "puppet", "usage"])


def text(days: Days) -> list[str]:
    return [str(day) for day in days]


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
    mode: str | None = None,
) -> dg.ExecuteInProcessResult:
    chosen = {"resources": {"launch": {"config": {"mode": mode}}}} if mode else {}
    defs = orchestration.build(Configuration((account,)), place)
    return dg.materialize(
        [one for one in defs.assets or () if isinstance(one, dg.AssetsDefinition)],
        selection=list(only or (key for key in keys(defs) if key != assets.WAREHOUSE)),
        instance=instance,
        resources=defs.resources,
        run_config={**QUIET, **chosen},
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


def observations(result: dg.ExecuteInProcessResult) -> list[Mapping[str, Any]]:
    """What each step told of its traffic."""
    return [event.asset_observation_data.asset_observation.metadata for event in result.get_asset_observation_events()]


def newest(instance: dg.DagsterInstance, key: dg.AssetKey) -> Mapping[str, Any]:
    """What the asset's page opens with."""
    [record] = instance.fetch_materializations(key, limit=1).records
    assert record.asset_materialization is not None
    return record.asset_materialization.metadata


def test_a_range_is_one_request_and_every_day_is_materialised(
    account: Account, place: pipeline.Place, instance: dg.DagsterInstance, puppet: Puppet
) -> None:
    result = run(account, place, instance)
    assert result.success
    assert puppet.asked == [("2026-03-10", "2026-03-14")]
    assert there(instance, RAW) == there(instance, USAGE) == text(RANGE)
    metadata = newest(instance, USAGE)
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
    # What came at the first attempt is not asked for again.
    assert sorted(day for day, _ in puppet.asked if day != str(MIDDLE)) == good
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


@pytest.mark.parametrize(
    ("mode", "asked"),
    [
        (None, text(SETTLED)),
        ("pull", text(SETTLED)),
        # The 3rd failed; the 5th was told while it could still change.
        ("missing", ["2026-02-03", "2026-02-05"]),
        ("replay", []),
    ],
)
@pytest.mark.usefixtures("day_by_day")
def test_whom_a_launch_asks(
    account: Account,
    place: pipeline.Place,
    instance: dg.DagsterInstance,
    puppet: Puppet,
    clock: TurnableClock,
    mode: str | None,
    asked: list[str],
) -> None:
    puppet.odd["2026-02-03"] = lambda: JSONResponse({"msg": "no"}, 403)
    run(account, place, instance, Days(SETTLED.first, SETTLED.last - DAY))
    clock.now = datetime(2026, 2, 6, tzinfo=UTC)
    run(account, place, instance, Days(SETTLED.last, SETTLED.last))
    clock.now = NOW
    puppet.odd.clear()
    puppet.asked.clear()
    with dg.DagsterInstance.ephemeral() as fresh:
        result = run(account, place, fresh, SETTLED, mode=mode)
        assert sorted(first for first, _ in puppet.asked) == asked
        # The others are replayed, so that a backfill of them ends well; nothing was kept of the 3rd.
        kept = [day for day in text(SETTLED) if mode != "replay" or day != "2026-02-03"]
        assert there(fresh, RAW) == there(fresh, USAGE) == kept
    assert result.success


def test_missing_days_are_one_request_where_the_vendor_allows(
    account: Account, place: pipeline.Place, instance: dg.DagsterInstance, puppet: Puppet
) -> None:
    run(account, place, instance, Days(date(2026, 2, 2), date(2026, 2, 4)))
    puppet.asked.clear()
    run(account, place, instance, SETTLED, mode="missing")
    assert puppet.asked == [("2026-02-01", "2026-02-05")]


def test_an_unknown_mode_is_refused(account: Account, place: pipeline.Place, instance: dg.DagsterInstance) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="Mode got all"):
        run(account, place, instance, mode="all")


def test_waiting_for_a_rate_limit_is_counted(
    account: Account, place: pipeline.Place, instance: dg.DagsterInstance, puppet: Puppet
) -> None:
    def busy() -> Response:
        puppet.odd.clear()
        return JSONResponse({"msg": "slow down"}, 429, {"Retry-After": "7"})

    puppet.odd[str(FIRST)] = busy
    result = run(account, place, instance)
    metadata = newest(instance, RAW)
    assert (metadata["requests of the run"].value, metadata["retries of the run"].value) == (1, 1)
    # What the vendor asks for, and up to a second of jitter.
    waited = metadata["seconds waited for rate limits"].value
    assert 7 <= waited <= 8
    [observed] = observations(result)
    assert observed["requests of the run"].value == 1
    assert observed["seconds waited for rate limits"].value == waited


def test_a_run_that_fails_says_what_it_asked(
    account: Account, place: pipeline.Place, instance: dg.DagsterInstance, puppet: Puppet
) -> None:
    puppet.odd[str(FIRST)] = lambda: JSONResponse({"msg": "no"}, 403)
    result = run(account, place, instance)
    [event] = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    assert data.metadata["requests of the run"].value == 1
    assert data.metadata["days"].value == "2026-03-10 to 2026-03-14"


def test_metadata_shows_the_newest_day(account: Account, place: pipeline.Place, instance: dg.DagsterInstance) -> None:
    run(account, place, instance)
    raw, usage = newest(instance, RAW), newest(instance, USAGE)
    folder = Path(raw["raw answers"].value)
    assert [landing.name for landing in folder.iterdir()] == ["2026-03-10--2026-03-14"]
    [receipt] = folder.rglob("receipt.json")
    assert json.loads(receipt.read_text())["answers"][0]["bytes"] == raw["bytes of the run"].value
    # To the end of the newest day, whenever Puppet was asked.
    assert usage["vendor's data through"].value == datetime(2026, 3, 15, tzinfo=UTC).timestamp()
    query = usage["rows in the warehouse"].md_str.removeprefix("```sql").removesuffix("```")
    with warehouse.reading(place.home) as session:
        assert len(warehouse.ask(session, query).rows) == 15
    chart = usage["last 30 days"].md_str.splitlines()
    # 25 days that nobody asked for, and five alike.
    assert f"| nodes | Nodes | distinct | `{25 * '·'}█████` | 7 |" in chart
    assert len(chart) == 2 + 3
    sample = [record.data for record in usage["sample"].records]
    assert [(row["metric"], row["value"], row["usage_date"]) for row in sample] == [
        ("nodes", "7", "2026-03-14"),
        ("nodes_with_agent", "5", "2026-03-14"),
        ("nodes_without_agent", "2", "2026-03-14"),
    ]


def test_only_the_newest_day_carries_what_takes_room(
    account: Account, place: pipeline.Place, instance: dg.DagsterInstance
) -> None:
    run(account, place, instance)
    records = instance.fetch_materializations(USAGE, limit=5).records
    found = [record.asset_materialization for record in records]
    assert [one.partition for one in found if one and "sample" in one.metadata] == [str(LAST)]
    assert all(one and "state" in one.metadata for one in found)


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([0.0, 4.0, 7.0], "▁▅█"),
        ([None, 0.0, 0.0], "·▁▁"),
        ([None, None], "··"),
        ([-3.0, 7.0], "▁█"),
        ([-3.0], "▁"),
        ([], ""),
    ],
)
def test_sparklines(values: list[float | None], drawn: str) -> None:
    assert metadata_of.sparkline(values) == drawn


def test_columns_of_the_warehouse_come_from_every_endpoint(
    account: Account, place: pipeline.Place, instance: dg.DagsterInstance
) -> None:
    run(account, place, instance)
    run(account, place, instance, only=[assets.WAREHOUSE])
    lineage = newest(instance, assets.WAREHOUSE)["dagster/column_lineage"].value
    assert sorted(lineage.deps_by_column) == sorted(USAGE_TABLE.names)
    assert lineage.deps_by_column["value"] == [dg.TableColumnDep(USAGE, "value")]


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
    job = defs.resolve_job_def("daily")
    tags = {"dagster/asset_partition_range_start": str(FIRST), "dagster/asset_partition_range_end": str(FIRST)}
    result = job.execute_in_process(instance=instance, run_config=QUIET, tags=tags, asset_selection=[RAW, USAGE])
    assert result.success
    assert put_off == [place]
    assert not (place.home / "warehouse.duckdb").exists()


def test_the_daily_job_loads_a_range_and_publishes(
    account: Account, place: pipeline.Place, instance: dg.DagsterInstance
) -> None:
    job = orchestration.build(Configuration((account,)), place).resolve_job_def("daily")
    tags = {"dagster/asset_partition_range_start": str(FIRST), "dagster/asset_partition_range_end": str(LAST)}
    result = job.execute_in_process(instance=instance, run_config=QUIET, tags=tags)
    assert result.success
    assert there(instance, USAGE) == text(RANGE)
    assert assets.WAREHOUSE in {event.asset_key for event in result.get_asset_materialization_events()}
