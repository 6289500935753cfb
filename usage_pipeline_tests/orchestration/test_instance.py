"""Dagster's folder: settings that are ours until somebody changes them, and storages of other versions of Dagster."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
import yaml

from usage_pipeline.contract.errors import ConfigurationError
from usage_pipeline.orchestration import instance

# Written by Dagster 1.7.0: one run of `raw/acme/usage` for 2024-01-02, and a limit of 3 on the pool `acme`.
OLD = Path(__file__).with_name("dagster-1.7.0")
REVISION = "46b412388816"
RUN = "6b3f1e76-2c15-44e3-ae9c-d64fd098842f"

# The settings that the first versions shipped, without a copy beside them.
FIRST_SETTINGS = (OLD / "first.yaml").read_text()


class Told(list[str]):
    """What somebody was told."""

    def __call__(self, text: str) -> None:
        self.append(text)


@pytest.fixture
def told() -> Told:
    return Told()


def settings(home: Path) -> Path:
    return home / "dagster" / "dagster.yaml"


def ours() -> str:
    return instance.SETTINGS.read_text()


def ship(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    """A later version of the program, with other settings."""
    later = tmp_path / "later" / "dagster.yaml"
    later.parent.mkdir(exist_ok=True)
    later.write_text(text)
    monkeypatch.setattr(instance, "SETTINGS", later)


def test_dagster_takes_the_shipped_settings(tmp_path: Path, told: Told) -> None:
    folder = instance.prepare(tmp_path, tell=told)
    assert folder == tmp_path / "dagster"
    with dg.DagsterInstance.from_config(str(folder)) as found:
        assert not found.telemetry_enabled
        assert not found.nux_enabled
        assert found.run_monitoring_enabled
        assert found.run_monitoring_start_timeout_seconds == 300
        assert found.run_monitoring_max_runtime_seconds == 7200
        assert found.run_retries_enabled
        assert found.run_retries_max_retries == 2
        assert not found.run_retries_retry_on_asset_or_op_failure
        concurrency = found.get_concurrency_config()
        assert concurrency.pool_config.default_pool_limit == 1
        assert concurrency.run_queue_config
        assert concurrency.run_queue_config.max_concurrent_runs == 4
        kept = {
            kind.value: {status.value: days for status, days in found.get_tick_retention_settings(kind).items()}
            for kind in dg._core.definitions.run_request.InstigatorType
        }
    # Nothing is kept for ever, as -1 would be, and failures for a year.
    assert {kind: days["FAILURE"] for kind, days in kept.items()} == dict.fromkeys(kept, 365)
    assert all(0 < days <= 365 for kind in kept.values() for days in kind.values())
    assert told == []


def test_the_logs_of_a_run_are_where_the_page_looks_for_them(tmp_path: Path, told: Told) -> None:
    folder = instance.prepare(tmp_path, tell=told)

    @dg.asset
    def speaks() -> None:
        print("its last words")

    with dg.DagsterInstance.from_config(str(folder)) as found:
        result = dg.materialize([speaks], instance=found)
        (captured,) = [event for event in result.all_events if event.event_type_value == "LOGS_CAPTURED"]
        log_key = [result.run_id, "compute_logs", captured.logs_captured_data.file_key]
        data = found.compute_log_manager.get_log_data(log_key)
    assert data.stdout
    assert b"its last words" in data.stdout
    assert list((folder / "storage" / result.run_id).rglob("*.out"))


def test_settings_that_nobody_changed_follow_the_program(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.prepare(tmp_path, tell=told)
    ship(monkeypatch, tmp_path, "telemetry: {enabled: false}\n")
    instance.prepare(tmp_path, tell=told)
    assert settings(tmp_path).read_text() == "telemetry: {enabled: false}\n"
    assert told == []


def test_the_first_settings_follow_the_program_too(tmp_path: Path, told: Told) -> None:
    settings(tmp_path).parent.mkdir()
    settings(tmp_path).write_text(FIRST_SETTINGS)
    instance.prepare(tmp_path, tell=told)
    assert settings(tmp_path).read_text() == ours()
    assert told == []


def test_settings_that_somebody_changed_are_left_alone(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.prepare(tmp_path, tell=told)
    mine = ours().replace("max_concurrent_runs: 4", "max_concurrent_runs: 9")
    settings(tmp_path).write_text(mine)
    instance.prepare(tmp_path, tell=told)
    assert told == []
    ship(monkeypatch, tmp_path, "telemetry: {enabled: false}\n")
    for _start in range(2):
        instance.prepare(tmp_path, tell=told)
    assert settings(tmp_path).read_text() == mine
    shipped = tmp_path / "dagster" / "dagster.shipped.yaml"
    assert shipped.read_text() == "telemetry: {enabled: false}\n"
    assert len(told) == 1
    assert str(shipped) in told[0]


def test_settings_of_before_that_somebody_changed_are_left_alone(tmp_path: Path, told: Told) -> None:
    settings(tmp_path).parent.mkdir()
    settings(tmp_path).write_text("telemetry: {enabled: false}\n")
    instance.prepare(tmp_path, tell=told)
    assert settings(tmp_path).read_text() == "telemetry: {enabled: false}\n"
    assert len(told) == 1


def test_a_mistake_in_the_settings_is_named(tmp_path: Path, told: Told) -> None:
    settings(tmp_path).parent.mkdir()
    settings(tmp_path).write_text("telemetri: {enabled: false}\n")
    with pytest.raises(ConfigurationError, match=r"dagster\.yaml: .*telemetri"):
        instance.prepare(tmp_path, tell=told)


def test_limits_that_somebody_set_stay(tmp_path: Path, told: Told) -> None:
    folder = instance.prepare(tmp_path, ["acme"], told)
    with dg.DagsterInstance.from_config(str(folder)) as found:
        found.event_log_storage.set_concurrency_slots("acme", 3)
    instance.prepare(tmp_path, ["acme"], told)
    with dg.DagsterInstance.from_config(str(folder)) as found:
        assert [(pool.name, pool.limit) for pool in found.event_log_storage.get_pool_limits()] == [("acme", 3)]


def restore(home: Path) -> Path:
    """The folder as Dagster 1.7.0 left it."""
    for dump in OLD.rglob("*.sql"):
        database = (home / "dagster" / dump.relative_to(OLD)).with_suffix(".db")
        database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database)) as connection:
            connection.executescript(dump.read_text())
    return home / "dagster"


def revisions(folder: Path) -> dict[str, str]:
    """The schema's revision of each database under a folder."""
    found = {}
    for database in folder.rglob("*.db"):
        with closing(sqlite3.connect(database)) as connection:
            (row,) = connection.execute("SELECT version_num FROM alembic_version")
        found[database.stem] = row[0]
    return found


def test_an_older_storage_is_migrated_after_a_copy(tmp_path: Path, told: Told) -> None:
    folder = restore(tmp_path)
    assert set(revisions(folder).values()) == {REVISION}
    with dg.DagsterInstance.from_config(str(folder)) as found:
        assert found.run_storage.alembic_version() != (REVISION, REVISION)

    instance.prepare(tmp_path, ["acme", "new"], told)

    backup = folder / f"backup-{REVISION}"
    assert len(told) == 1
    assert str(backup) in told[0]
    assert revisions(backup) == dict.fromkeys(["index", "runs", "schedules", RUN], REVISION)
    with dg.DagsterInstance.from_config(str(folder)) as found:
        for storage in (found.run_storage, found.event_log_storage, found.schedule_storage):
            assert storage
            version = storage.alembic_version()
            assert version
            assert version[0] == version[1]
        assert [run.run_id for run in found.get_runs()] == [RUN]
        assert found.get_materialized_partitions(dg.AssetKey(["raw", "acme", "usage"])) == {"2024-01-02"}
        assert found.all_logs(RUN, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        limits = {pool.name: pool.limit for pool in found.event_log_storage.get_pool_limits()}
    assert limits == {"acme": 3, "new": 1}
    assert len(set(revisions(folder / "history").values()) | set(revisions(folder / "schedules").values())) == 1

    instance.prepare(tmp_path, tell=told)
    assert len(told) == 1


def test_the_first_copy_is_kept_when_a_migration_did_not_end(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = restore(tmp_path)

    def breaks(_self: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(dg.DagsterInstance, "upgrade", breaks)
        with pytest.raises(OSError, match="No space left"):
            instance.prepare(tmp_path, tell=told)
    copied = {file: file.stat().st_mtime_ns for file in folder.glob("backup-*/**/*.db")}
    instance.prepare(tmp_path, tell=told)
    assert {file: file.stat().st_mtime_ns for file in folder.glob("backup-*/**/*.db")} == copied
    assert REVISION not in revisions(folder / "history").values()


def test_an_older_storage_elsewhere_is_refused_with_the_command(tmp_path: Path, told: Told) -> None:
    folder = restore(tmp_path)
    shutil.move(folder, tmp_path / "elsewhere")
    settings(tmp_path).parent.mkdir()
    settings(tmp_path).write_text(yaml.safe_dump({"storage": {"sqlite": {"base_dir": str(tmp_path / "elsewhere")}}}))
    with pytest.raises(ConfigurationError, match=rf"DAGSTER_HOME={folder} \S+/dagster instance migrate$"):
        instance.prepare(tmp_path, tell=told)
    assert set(revisions(tmp_path / "elsewhere").values()) == {REVISION}


def test_a_newer_storage_is_refused(tmp_path: Path, told: Told) -> None:
    folder = instance.prepare(tmp_path, tell=told)
    with closing(sqlite3.connect(folder / "history" / "runs.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'fedcba987654'")
    with pytest.raises(ConfigurationError, match=r"newer Dagster .*fedcba987654"):
        instance.prepare(tmp_path, tell=told)
    assert not list(folder.glob("backup-*"))


def test_old_runs_may_lose_their_events_and_what_they_loaded_stays(tmp_path: Path, told: Told) -> None:
    """What docs/operations.md tells to delete: a run's own events and what it printed."""
    folder = restore(tmp_path)
    instance.prepare(tmp_path, tell=told)
    (folder / "history" / "runs" / f"{RUN}.db").unlink()
    instance.prepare(tmp_path, tell=told)
    with dg.DagsterInstance.from_config(str(folder)) as found:
        assert [run.status for run in found.get_runs()] == [dg.DagsterRunStatus.SUCCESS]
        assert found.get_materialized_partitions(dg.AssetKey(["raw", "acme", "usage"])) == {"2024-01-02"}
        assert found.all_logs(RUN) == []
