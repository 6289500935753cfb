"""The lake: how writers make way for each other, and what its tables are created with."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from deltalake.exceptions import CommitFailedError

from usage_pipeline.contract.errors import TransientError
from usage_pipeline.contract.schema import COVERAGE, METRICS, TABLES, USAGE, Table
from usage_pipeline.stages import lake


class Writer:
    """Loses against faster writers so many times; `slept` are its pauses, in seconds."""

    def __init__(self, losses: int, error: Exception | None = None) -> None:
        self.losses, self.attempts = losses, 0
        self.error = error or CommitFailedError("version 7\n  already exists")
        self.slept: list[float] = []
        self.commit = lake.on_conflict(self._commit)
        self.commit.retry.sleep = self.slept.append

    def _commit(self) -> str:
        self.attempts += 1
        if self.attempts <= self.losses:
            raise self.error
        return "committed"


def test_a_slower_writer_tries_again() -> None:
    writer = Writer(29)
    assert writer.commit() == "committed"
    assert (writer.attempts, len(writer.slept)) == (30, 29)


def test_pauses_are_random_grow_and_are_bounded() -> None:
    writers = [Writer(29) for _ in range(20)]
    for writer in writers:
        writer.commit()
    assert all(writer.slept[0] <= 0.05 for writer in writers)
    assert all(pause <= 5 for writer in writers for pause in writer.slept)
    assert max(max(writer.slept) for writer in writers) > 4
    assert len({tuple(writer.slept) for writer in writers}) == 20


def test_after_thirty_times_a_writer_gives_up_and_says_so() -> None:
    writer = Writer(30)
    with pytest.raises(TransientError, match=r"30 times in a row; nothing is lost.*version 7 already exists"):
        writer.commit()
    assert writer.attempts == 30


def test_other_errors_are_not_tried_again() -> None:
    writer = Writer(1, OSError("disk full"))
    with pytest.raises(OSError, match="disk full"):
        writer.commit()
    assert (writer.attempts, writer.slept) == (1, [])


def test_one_process_waits_for_another_with_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patience = lake.PATIENCE
    file = tmp_path / "not" / "there" / "yet.lock"
    with lake.alone(file, "publishing"):
        monkeypatch.setattr(lake, "PATIENCE", timedelta(seconds=0.1))
        other = lake.alone(file, "publishing")
        with pytest.raises(TransientError) as given_up:
            other.__enter__()
    assert "another process has been publishing for 0 minutes: end it if it hangs" in str(given_up.value)
    assert timedelta(minutes=5) < patience < timedelta(minutes=15)
    with lake.alone(file, "publishing"):
        pass


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_tables_keep_replaced_files_for_seven_days(tmp_path: Path, table: Table) -> None:
    made = lake.Lake(str(tmp_path)).open(table)
    metadata = made.metadata()
    assert metadata.configuration == {
        "delta.deletedFileRetentionDuration": "interval 7 days",
        "delta.logRetentionDuration": "interval 30 days",
    }
    assert metadata.partition_columns == list(table.partitions)
    assert metadata.description == table.grain
    assert timedelta(days=7) == lake.KEEP


def test_tables_have_their_place_in_a_folder_or_at_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert lake.Lake("data").uri(USAGE) == str(tmp_path / "data" / "usage")
    assert lake.Lake("s3://bucket/prefix/").uri(COVERAGE) == "s3://bucket/prefix/coverage"
    assert lake.Lake("data").find(METRICS) is None
