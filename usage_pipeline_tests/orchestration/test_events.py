"""What Dagster tells of a range is the same, and found by the same questions, as with its own SQLite log."""

import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqliteEventLogStorage

from usage_pipeline.orchestration.events import OPEN, EventLog, Instance
from usage_pipeline.orchestration.instance import SETTINGS, prepare

DAYS = dg.DailyPartitionsDefinition("2026-01-01", timezone="UTC")
RANGE = {"dagster/asset_partition_range_start": "2026-01-01", "dagster/asset_partition_range_end": "2026-01-20"}
DAYS_ASKED = 20
CHECK = dg.AssetCheckKey(dg.AssetKey("usage"), "fine")


@dg.asset(partitions_def=DAYS)
def usage(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    for day in context.partition_keys:
        context.add_asset_metadata({"day": day}, partition_key=day)
    return dg.MaterializeResult()


@dg.asset_check(asset=usage)
def fine() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(prepare(tmp_path))) as instance:
        yield instance


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / SETTINGS.name).write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def load(instance: dg.DagsterInstance) -> str:
    defs = dg.Definitions([usage], asset_checks=[fine], executor=dg.in_process_executor)
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance, tags=RANGE)
    assert result.success
    return result.run_id


def told(instance: dg.DagsterInstance) -> list[object]:
    """What the UI asks of an asset, without times and ids."""
    run = load(instance)
    records = instance.fetch_materializations(usage.key, limit=100, ascending=True).records
    newest = instance.get_latest_materialization_event(usage.key)
    assert newest
    assert newest.asset_materialization
    logged = [entry.dagster_event_type for entry in instance.all_logs(run)]
    return [
        [(one.partition_key, one.asset_materialization and one.asset_materialization.metadata) for one in records],
        newest.asset_materialization.partition,
        newest.run_id == run,
        sorted(instance.get_materialized_partitions(usage.key)),
        [record.asset_entry.last_run_id == run for record in instance.get_asset_records([usage.key])],
        sorted(map(str, logged)),
    ]


def test_a_range_is_told_as_dagster_tells_it(ours: dg.DagsterInstance, theirs: dg.DagsterInstance) -> None:
    assert type(ours.event_log_storage) is EventLog
    assert type(theirs.event_log_storage) is SqliteEventLogStorage
    assert told(ours) == told(theirs)


def test_a_range_is_a_few_transactions(ours: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    stored: list[dg.EventLogEntry] = []
    single = EventLog.store_event

    def store(log: EventLog, event: dg.EventLogEntry) -> None:
        stored.append(event)
        single(log, event)

    monkeypatch.setattr(EventLog, "store_event", store)
    load(ours)
    # Starts and ends of the run and its steps, and the check: none of the two events a day.
    assert len(stored) < 2 * DAYS_ASKED


def test_a_check_without_partitions_is_planned_once_and_done(ours: dg.DagsterInstance) -> None:
    load(ours)
    records = ours.event_log_storage.get_asset_check_execution_history(CHECK, limit=100)
    assert [record.status for record in records] == [AssetCheckExecutionRecordStatus.SUCCEEDED]


def databases(folder: Path) -> set[str]:
    """The names of those of the folder that this process has open."""
    found = [file.readlink() for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
    return {file.stem for file in found if folder in file.parents and file.suffix == ".db"}


@pytest.mark.skipif(sys.platform != "linux", reason="finds open files by /proc, which only Linux has")
def test_databases_stay_open_but_not_those_of_all_runs(tmp_path: Path) -> None:
    with dg.DagsterInstance.from_config(str(prepare(tmp_path))) as instance:
        runs = [load(instance) for _ in range(OPEN + 1)]
        found = databases(tmp_path)
        assert {"runs", "index", runs[-1]} <= found
        assert runs[0] not in found
        assert len(found - {"runs"}) <= OPEN
        # The oldest is opened anew where it is asked for.
        assert instance.all_logs(runs[0], of_type=dg.DagsterEventType.RUN_SUCCESS)
    assert not databases(tmp_path)


def test_what_was_wiped_is_gone_and_the_next_run_is_told(ours: dg.DagsterInstance) -> None:
    before = load(ours)
    ours.wipe()
    assert not ours.all_logs(before)
    assert not ours.fetch_materializations(usage.key, limit=100).records
    after = load(ours)
    assert len(ours.fetch_materializations(usage.key, limit=100).records) == DAYS_ASKED
    assert ours.get_run_by_id(after)


def test_a_log_elsewhere_is_left_alone(tmp_path: Path) -> None:
    folder = prepare(tmp_path)
    with (folder / SETTINGS.name).open("a") as file:
        file.write(
            "event_log_storage:\n  module: dagster._core.storage.event_log\n"
            "  class: ConsolidatedSqliteEventLogStorage\n"
            f"  config: {{base_dir: {tmp_path}}}\n"
        )
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        assert isinstance(instance, Instance)
        assert type(instance.event_log_storage).__name__ == "ConsolidatedSqliteEventLogStorage"
