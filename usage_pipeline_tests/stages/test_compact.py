"""Compaction: which files are gathered, and which are removed. Expected numbers are counted by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pyarrow as pa
import pytest

from usage_pipeline.contract.arrow import schema
from usage_pipeline.contract.schema import COVERAGE, METRICS, USAGE, Table
from usage_pipeline.stages import compact, lake
from usage_pipeline_tests.stages.invented import ACCOUNT, WINDOW, Bench, days_of, on

FEBRUARY, MARCH = (("vendor", "invented"), ("month", "2026-02")), (("vendor", "invented"), ("month", "2026-03"))
NOW = datetime.now(UTC)
"""The age of files is told by the disk, so that these tests live in the present."""
# Deleting goes by the clock of the machine, and tests take their time.
OLD, YOUNG = NOW - timedelta(days=7, minutes=1), NOW - timedelta(days=7) + timedelta(hours=2)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, answer=lambda request: {str(day): day.day for day in days_of(request)})


def due(bench: Bench, today: str, table: Table = USAGE) -> list[compact.Partition]:
    found = bench.lake.find(table)
    assert found
    return compact.due(found, table, date.fromisoformat(today))


def rows(bench: Bench, table: Table = USAGE) -> list[dict[str, Any]]:
    found = bench.lake.find(table)
    assert found
    kept: list[dict[str, Any]] = found.to_pyarrow_table().to_pylist()
    return sorted(kept, key=str)


def files(bench: Bench, table: Table = USAGE) -> list[Path]:
    found = bench.lake.find(table)
    assert found
    return [Path(uri) for uri in found.file_uris()]


def aged(path: Path, when: datetime) -> Path:
    os.utime(path, (when.timestamp(), when.timestamp()))
    return path


def pull(bench: Bench, *days: str) -> None:
    for day in days:
        bench.pull(WINDOW, on(day))


def test_a_ninth_file_of_an_open_month_is_one_too_many(bench: Bench) -> None:
    pull(bench, *(f"2026-03-0{day}" for day in range(1, 9)))
    assert due(bench, "2026-03-18") == []
    pull(bench, "2026-03-09")
    assert due(bench, "2026-03-18") == [MARCH]


def test_a_closed_month_is_gathered_where_it_has_two_files(bench: Bench) -> None:
    pull(bench, "2026-02-27")
    assert due(bench, "2026-03-01") == []
    pull(bench, "2026-02-28", "2026-03-01", "2026-03-02")
    assert due(bench, "2026-02-28") == []
    assert due(bench, "2026-03-01") == due(bench, "2026-03-31") == [FEBRUARY]
    assert due(bench, "2026-04-01") == [FEBRUARY, MARCH]


def test_gathering_changes_files_and_no_rows(bench: Bench) -> None:
    pull(bench, "2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02")
    before, known, replaced = rows(bench), rows(bench, COVERAGE), files(bench)
    # Coverage has no months, and four files are not too many.
    assert len(files(bench, COVERAGE)) <= 8
    assert compact.compact(bench.lake, date(2026, 3, 18)) == 1
    assert len(files(bench)) == 3
    assert len([file for file in files(bench) if "month=2026-02" in str(file)]) == 1
    assert (rows(bench), rows(bench, COVERAGE)) == (before, known)
    assert all(file.exists() for file in replaced), "a reader may have them open"
    assert compact.compact(bench.lake, date(2026, 3, 18)) == 0


def test_a_gathered_month_has_a_filter_on_the_series(bench: Bench) -> None:
    """What spares a question for one series the files that do not hold it."""
    pull(bench, "2026-02-26", "2026-02-27", "2026-02-28")
    compact.compact(bench.lake, date(2026, 3, 18))
    [file] = files(bench)
    with duckdb.connect() as session:
        described = session.execute("SELECT path_in_schema, bloom_filter_length FROM parquet_metadata(?)", [str(file)])
        filtered = {column for column, length in described.fetchall() if length}
    assert filtered == {"series_id"}


def test_vendors_are_gathered_each_for_itself(bench: Bench) -> None:
    pull(bench, "2026-02-27", "2026-02-28")
    other = replace(ACCOUNT, vendor="another")
    landed = bench.lake.open(USAGE).to_pyarrow_table()
    index = landed.column_names.index("vendor")
    deltalake.write_deltalake(
        bench.lake.uri(USAGE),
        landed.set_column(index, "vendor", [[other.vendor] * landed.num_rows]).cast(schema(USAGE)),
        mode="append",
    )
    assert due(bench, "2026-03-18") == [FEBRUARY]
    assert compact.compact(bench.lake, date(2026, 3, 18)) == 1
    assert len(rows(bench)) == 4


def test_a_table_without_partitions_is_gathered_as_a_whole(bench: Bench) -> None:
    table = bench.lake.open(METRICS)
    for number in range(9):
        assert due(bench, "2026-03-18", METRICS) == []
        row = dict.fromkeys(METRICS.names, str(number))
        deltalake.write_deltalake(table, pa.Table.from_pylist([row], schema(METRICS)), mode="append")
    assert due(bench, "2026-03-18", METRICS) == [()]
    assert compact.compact(bench.lake, date(2026, 3, 18)) == 8
    assert [row["metric"] for row in rows(bench, METRICS)] == [str(number) for number in range(9)]


def landings(bench: Bench) -> Iterator[Path]:
    """The folders of the landings, in order."""
    yield from sorted({file.parent for file in (bench.home / "raw").rglob("*") if file.is_file()})


def test_a_landing_that_was_cut_short_is_removed_after_seven_days(bench: Bench) -> None:
    pull(bench, "2026-03-01", "2026-03-02", "2026-03-03")
    whole, old, young = landings(bench)
    for folder in (old, young):
        (folder / "receipt.json").unlink()
    for folder, when in ((whole, OLD), (old, OLD), (young, YOUNG)):
        for file in (*folder.iterdir(), folder):
            aged(file, when)
    assert compact.clean(bench.lake, NOW) == 1
    assert list(landings(bench)) == [whole, young]
    assert not old.exists()
    assert compact.clean(bench.lake, NOW) == 0


def test_a_landing_of_which_one_file_is_young_is_still_being_written(bench: Bench) -> None:
    pull(bench, "2026-03-01")
    (folder,) = landings(bench)
    (folder / "receipt.json").unlink()
    aged(next(folder.iterdir()), OLD)
    (folder / "another.json.zst").write_bytes(b"")
    assert compact.clean(bench.lake, NOW) == 0


def test_a_failed_landing_is_kept(bench: Bench) -> None:
    bench.answer = lambda _request: b"[1, 2"
    bench.land(WINDOW, on("2026-03-01"))
    (folder,) = landings(bench)
    (folder / "receipt.json").rename(folder / "failure.json")
    for file in folder.iterdir():
        aged(file, OLD)
    assert compact.clean(bench.lake, NOW) == 0


def test_staged_files_are_removed_after_seven_days(bench: Bench) -> None:
    pull(bench, "2026-03-01")
    folder = next(landings(bench))
    gone = [
        bench.home / "warehouse.duckdb#1",
        folder / "x.json.zst#12",
        bench.home / "usage" / "_delta_log" / "7.json#3",
    ]
    kept = [bench.home / "notes#a", bench.home / "mine" / "x#1", folder / "x#12.zst"]
    for file in (*gone, *kept):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
        aged(file, OLD)
    young = bench.home / "layout.json#2"
    young.write_bytes(b"x")
    aged(young, YOUNG)
    assert compact.clean(bench.lake, NOW) == 3
    assert not any(file.exists() for file in gone)
    assert all(file.exists() for file in (*kept, young))


def test_files_that_no_commit_named_are_removed_after_seven_days(bench: Bench) -> None:
    pull(bench, "2026-03-01")
    (file,) = files(bench)
    orphan, young = (file.with_name(name) for name in ("part-orphan.parquet", "part-young.parquet"))
    for other, when in ((orphan, OLD), (young, YOUNG)):
        other.write_bytes(file.read_bytes())
        aged(other, when)
    aged(file, OLD)
    assert compact.clean(bench.lake, NOW) == 1
    assert (orphan.exists(), young.exists(), file.exists()) == (False, True, True)
    assert len(rows(bench)) == 1


def test_replaced_files_are_removed_when_their_time_is_over(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lake.KEEP_REPLACED, "delta.deletedFileRetentionDuration", "interval 0 days")
    pull(bench, "2026-03-01")
    (file,) = files(bench)
    bench.now += timedelta(hours=1)
    pull(bench, "2026-03-01")
    known = len(files(bench, COVERAGE))
    assert compact.clean(bench.lake, NOW) == 2, "the rows and their coverage, each once"
    assert not file.exists()
    assert (len(rows(bench)), len(files(bench, COVERAGE))) == (1, known)


def test_a_lake_at_an_address_is_cleaned_too(bench: Bench) -> None:
    pull(bench, "2026-03-01", "2026-03-02")
    old, _whole = landings(bench)
    (old / "receipt.json").unlink()
    for file in old.iterdir():
        aged(file, OLD)
    assert compact.clean(lake.Lake(f"file://{bench.home}"), NOW) == 1
    assert list(landings(bench)) == [_whole]


def test_what_was_replaced_a_minute_ago_is_kept_however_old_it_is(bench: Bench) -> None:
    pull(bench, "2026-03-01")
    (file,) = files(bench)
    aged(file, OLD)
    bench.now += timedelta(hours=1)
    pull(bench, "2026-03-01")
    assert file not in files(bench)
    assert compact.clean(bench.lake, NOW) == 0
    assert file.exists()
