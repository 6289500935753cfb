"""The files of a lake in an object store; here a folder, which obstore takes for one. With S3: scale/."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from usage_pipeline.stages.objects import Objects
from usage_pipeline.stages.session import reach


@pytest.fixture
def objects() -> Objects:
    return Objects("file", skip_instance_cache=True)


@pytest.fixture
def session() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        yield opened


def test_a_name_is_believed_and_a_pattern_is_looked_for(objects: Objects, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.parquet").touch()
    assert objects.glob(f"{tmp_path}/none.parquet") == [f"{tmp_path}/none.parquet"]
    assert sorted(objects.glob(f"{tmp_path}/*.parquet")) == [f"{tmp_path}/a.parquet", f"{tmp_path}/b.parquet"]


def test_a_file_is_asked_about_once(objects: Objects, tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    file.write_bytes(b"12345")
    written = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    assert objects.info(str(file))["size"] == 5
    file.unlink()
    assert objects.info(str(file))["size"] == 5
    assert abs(objects.modified(str(file)) - written).total_seconds() < 1


def test_a_file_is_read_and_one_that_is_gone_is_told_when_it_is_opened(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"12345")
    with objects.open(f"{tmp_path}/a.parquet") as file:
        assert file.read() == b"12345"
    with pytest.raises(FileNotFoundError):
        objects.open(f"{tmp_path}/none.parquet")


def test_only_a_session_that_reads_an_object_store_has_one_thread(session: duckdb.DuckDBPyConnection) -> None:
    session.execute("SET threads = 2")
    reach(session, ["/folder"])
    assert session.sql("SELECT current_setting('threads')").fetchall() == [(2,)]
    assert session.list_filesystems() == []
    reach(session, ["s3://bucket/lake", "s3://bucket/lake/usage/a.parquet"])
    assert session.sql("SELECT current_setting('threads')").fetchall() == [(1,)]
    assert len(session.list_filesystems()) == 1
