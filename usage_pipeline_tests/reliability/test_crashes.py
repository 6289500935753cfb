"""Crashes: a run that is killed with SIGKILL, at any step or at any instant, costs nothing but its own time."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import time
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from usage_pipeline import files, pipeline
from usage_pipeline.contract.schema import RESTATEMENTS, TABLES
from usage_pipeline.stages import raw
from usage_pipeline.stages.lake import Lake
from usage_pipeline.stages.publish import WAREHOUSE
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests import contract_world as world
from usage_pipeline_tests.conftest import TurnableClock
from usage_pipeline_tests.contract_world import Vendors
from usage_pipeline_tests.reliability import LONG, SEED
from usage_pipeline_tests.reliability.processes import (
    Job,
    Load,
    Step,
    again,
    days,
    finish,
    hold,
    killed,
    readers,
    recorded,
    run,
    start,
)  # fmt: skip

BOUNDARIES = 10_000 if LONG else 10
INSTANTS = 80 if LONG else 10
SNAPSHOTS = {(vendor.slug, e.slug) for vendor in VENDORS.values() for e in vendor.endpoints if e.history == "snapshot"}

# Rows, restated ones, an outlook, billing periods, an inventory, and a reading of the present.
A_FEW = (
    ("launchdarkly", "service_connections"), ("launchdarkly", "mau_sdks"), ("aveva", "billing_cycles"),
    ("puppet", "usage"), ("consul", "operator_usage"),
)  # fmt: skip
KILLED = A_FEW if LONG else (A_FEW[0], A_FEW[2], A_FEW[4])
"""The loads of a run that is killed."""
BEFORE, AFTER = datetime(2026, 3, 30, 9, tzinfo=UTC), datetime(2026, 4, 1, 8, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC).timestamp()


def loads(now: datetime, endpoints: tuple[tuple[str, str], ...] = KILLED) -> tuple[Load, ...]:
    """Some days of a month's end, and the present of what tells only that."""
    today = now.date()
    return tuple(
        (vendor, slug, days(today, 1) if (vendor, slug) in SNAPSHOTS else days(date(2026, 3, 28), 4))
        for vendor, slug in endpoints
    )


@dataclass(frozen=True, slots=True)
class Known:
    """What a home holds: each table by its name, readings of the present apart, without accidents."""

    tables: dict[str, list[dict[str, Any]]]
    readings: dict[datetime, list[dict[str, Any]]]


TIMES = {"fetched_at", "response_id", "observed_at", "period_start", "period_end"}


def known(home: Path) -> Known:
    """The tables as Delta Lake's own reader tells them; restatements as the warehouse does."""
    tables = {table.name: world.table(home, table) for table in TABLES if table is not RESTATEMENTS}
    readings: dict[datetime, list[dict[str, Any]]] = {}
    for row in tables["usage"]:
        if (row["vendor"], row["endpoint"]) in SNAPSHOTS:
            rest = {name: value for name, value in row.items() if name not in TIMES}
            readings.setdefault(row["observed_at"], []).append(rest)  # type: ignore[arg-type]
    tables["usage"] = [row for row in tables["usage"] if (row["vendor"], row["endpoint"]) not in SNAPSHOTS]
    for row in tables["coverage"]:
        if (row["vendor"], row["endpoint"]) in SNAPSHOTS:
            # The reading of the run that was killed counts too.
            del row["rows"]
    with duckdb.connect(str(home / WAREHOUSE), read_only=True) as session:
        # Either answer may be the one that said so first: that of the run that was killed, or of the next.
        said = session.execute(
            "SELECT * EXCLUDE (new_fetched_at, new_response_id) FROM restatements ORDER BY ALL"
        ).fetchall()
        shown = session.execute("SELECT vendor, endpoint, count(*) FROM usage GROUP BY ALL ORDER BY ALL").fetchall()
    tables["restatements"] = [{"row": row} for row in said]
    tables["shown"] = [{"row": row} for row in shown if row[:2] not in SNAPSHOTS]
    return Known(tables, readings)


def same(found: Known, wanted: Known) -> None:
    assert found.tables.keys() == wanted.tables.keys()
    for name, rows in wanted.tables.items():
        assert found.tables[name] == rows, name
    # A reading that landed before the kill is one more, with the same numbers.
    assert found.readings.keys() >= wanted.readings.keys()
    for at, reading_ in found.readings.items():
        twin = wanted.readings.get(at) or wanted.readings[at + timedelta(seconds=1)]
        assert _sorted(reading_) == _sorted(twin), at


def _sorted(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(map(repr, rows))


def orphans(home: Path) -> list[str]:
    """What no reader will ever find, by the names of the files alone."""
    kept = {file.parent for name in (raw.RECEIPT, raw.FAILURE) for file in (home / "raw").rglob(name)}
    lost = [file for file in (home / "raw").glob("*/*/*/*/*") if file not in kept]
    lost += [file for file in home.rglob("*") if re.search(r"#\d+$", file.name)]
    lost += home.glob(".warehouse.duckdb.new*")
    for table in TABLES:
        folder = home / table.name
        commits = [
            json.loads(line) for log in (folder / "_delta_log").glob("*.json") for line in log.read_text().splitlines()
        ]
        named = {folder / commit["add"]["path"] for commit in commits if "add" in commit}
        lost += [file for file in folder.rglob("*.parquet") if "_delta_log" not in file.parts and file not in named]
    return sorted(str(file.relative_to(home)) for file in lost)


def age(home: Path) -> None:
    """As if everything had been written long ago."""
    for file in home.rglob("*"):
        os.utime(file, (LONG_AGO, LONG_AGO))


def clean(home: Path) -> None:
    """The nightly job, and nothing may be left of what was cut short."""
    before = known(home)
    age(home)
    pipeline.compact(world.place(home, TurnableClock(AFTER + timedelta(days=1))))
    assert orphans(home) == []
    assert known(home) == before


def half_is_not_seen(home: Path) -> None:
    """Whoever publishes next, because others loaded or at night, shows the load that was killed as a whole or not."""
    pipeline.publish(world.place(home, TurnableClock(AFTER)))
    with duckdb.connect(str(home / WAREHOUSE), read_only=True) as session:
        hold(session, home, together=True)


@dataclass(frozen=True, slots=True)
class Bench:
    """A home as it was before a load, the load, what it makes when nothing disturbs it, and its steps."""

    home: Path
    job: Job
    wanted: Known
    steps: list[Step]


@pytest.fixture(scope="module")
def bench(vendors: Vendors, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("crashes")
    home = folder / "before"
    vendors.clock.now = BEFORE
    # Another file in one of the partitions.
    earlier = ("launchdarkly", "total_mau", days(date(2026, 3, 28), 3))
    finish(start(run, Job(home, vendors.bases[0], BEFORE, (earlier, *loads(BEFORE, A_FEW)))))
    vendors.clock.now = AFTER
    # Other numbers for the same days, of a month that has closed, so that its files are gathered.
    job = Job(home, vendors.bases[1], AFTER, loads(AFTER), compact=True)
    undisturbed = again(job, shutil.copytree(home, folder / "undisturbed"))
    finish(start(run, undisturbed))
    told = replace(job, home=shutil.copytree(home, folder / "recorded"))
    finish(start(recorded, told, folder / "steps"))
    lines = [line.partition(" ") for line in (folder / "steps").read_text().splitlines()]
    steps = [(what, int(number)) for number, _space, what in lines]
    return Bench(home, job, known(undisturbed.home), steps)


def boundaries(steps: list[Step]) -> list[Step]:
    """The first and the last time of everything that happens."""
    last = dict(steps)
    return sorted({(what, number) for what, most in last.items() for number in (1, most)})


def test_the_bench_is_worth_it(bench: Bench) -> None:
    tables = bench.wanted.tables
    assert all(tables[table.name] for table in TABLES)
    assert {"usage", "coverage", "billing_periods", "inventory", "restatements"} <= tables.keys()
    told = {what for what, _number in bench.steps}
    for stage in ("raw.write", "replay.read", "load.usage", "load.companions", "load.coverage", "publish.publish",
                  "compact._gather", "compact.clean"):  # fmt: skip
        assert {f"call {stage}", f"return {stage}"} <= told
    assert {"call publish > Path.replace", "c_call _put > put", "call usage > write_deltalake"} <= told
    assert len(boundaries(bench.steps)) > 100


def test_killed_at_a_boundary_and_run_again_is_as_if_undisturbed(bench: Bench, tmp_path: Path) -> None:
    found = boundaries(bench.steps)
    chosen = random.Random(SEED).sample(found, min(BOUNDARIES, len(found)))
    print(f"USAGE_PIPELINE_SEED={SEED}, {len(chosen)} of {len(found)} boundaries")
    for number, step in enumerate(chosen):
        print(step)
        home = shutil.copytree(bench.home, tmp_path / str(number))
        job = replace(bench.job, home=home)
        process = start(killed, job, step)
        process.join(300)
        assert process.exitcode == -9
        half_is_not_seen(home)
        finish(start(run, again(job)))
        same(known(home), bench.wanted)
        clean(home)
        shutil.rmtree(home)


def test_killed_at_any_instant_between_loads_while_others_read(vendors: Vendors, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    print(f"USAGE_PIPELINE_SEED={SEED}")
    home, undisturbed = tmp_path / "home", tmp_path / "undisturbed"
    vendors.clock.now = BEFORE
    first = Job(home, vendors.bases[0], BEFORE, loads(BEFORE))
    finish(start(run, first))
    begun = time.monotonic()
    finish(start(run, replace(first, home=undisturbed)))
    # The run of later days takes about as long.
    length = time.monotonic() - begun
    with readers(home, 2 if LONG else 1, together=True) as reads:
        for number in range(1, INSTANTS + 1):
            now = BEFORE + timedelta(hours=number)
            vendors.clock.now = now
            job = Job(home, vendors.bases[number % 2], now, loads(now), compact=number % 4 == 0)
            process = start(run, job)
            delay = chance.uniform(0, 1.2 * length)
            print(f"{now}: killed after {delay:.3f} s")
            process.join(delay)
            process.kill()
            process.join()
            half_is_not_seen(home)
            finish(start(run, again(job)))
            finish(start(run, again(job, undisturbed)))
            same(known(home), known(undisturbed))
    assert reads() > 0
    clean(home)


def test_what_may_be_being_written_stays(bench: Bench, tmp_path: Path) -> None:
    home = shutil.copytree(bench.home, tmp_path / "home")
    landing = next((home / "raw/consul").glob("*/*/*/*"))
    half = landing.with_name(f"{landing.name}-half")
    half.mkdir()
    empty = half.with_name(f"{half.name}-empty")
    empty.mkdir()
    table = Path(Lake(str(home)).uri(TABLES[0]))
    part = next(table.rglob("*.parquet"))
    made = [
        half / "000.json.zst", half / "001.json.zst#1", part.with_name("part-00000-made-up.parquet"),
        part.with_name("part-00000-made-up.parquet#1"), home / "layout.json#2",
    ]  # fmt: skip
    for file in made:
        file.write_bytes(b"half")
    now = TurnableClock(datetime.now(UTC))
    before = known(home)
    # Written six days ago, by a machine that is slow.
    for file in made:
        six = (now() - timedelta(days=6)).timestamp()
        os.utime(file, (six, six))
    pipeline.compact(world.place(home, now))
    assert [file for file in (*made, empty) if not file.exists()] == []

    # Files of the table that are old, and replaced a minute ago: an older warehouse names them.
    age(home)
    replaced = set(table.rglob("part-*.parquet")) - set(made)
    pipeline.compact(world.place(home, now))
    assert [file for file in made if file.exists()] == []
    assert not half.exists()
    assert not empty.exists()
    assert {file for file in replaced if not file.exists()} == set()
    assert known(home) == before


def test_the_next_report_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    left = [tmp_path / ".report.html.a1b2c3d4", tmp_path / ".report.html.z9y8x7w6"]
    others = [tmp_path / ".report.html.backup-of-mine", tmp_path / ".report.htm.a1b2c3d4", tmp_path / "report.html.old"]
    for file in [*left, *others]:
        file.write_text("half")
        os.utime(file, (LONG_AGO, LONG_AGO))
    os.utime(left[1])
    with files.replacing(report) as new:
        new.write_text("whole")
    assert report.read_text() == "whole"
    # The other one may be being written.
    assert sorted(tmp_path.iterdir()) == sorted([report, left[1], *others])


def test_the_log_of_a_killed_publisher_is_not_replayed(bench: Bench, tmp_path: Path) -> None:
    home = shutil.copytree(bench.home, tmp_path / "home")
    # It makes every view anew, and is killed before they are in the file: they are in its log.
    (home / WAREHOUSE).unlink()
    process = start(killed, replace(bench.job, home=home, loads=()), ("c_return publish > commit", 1))
    process.join(300)
    assert (process.exitcode, (home / f".{WAREHOUSE}.new.wal").exists()) == (-9, True)
    # The next one has a warehouse to copy, as where one was restored meanwhile: each of its views is there already.
    shutil.copy2(bench.home / WAREHOUSE, home)
    pipeline.publish(world.place(home, TurnableClock(AFTER)))
    assert not list(home.glob(f".{WAREHOUSE}.new*"))
    with duckdb.connect(str(home / WAREHOUSE), read_only=True) as session:
        [(rows,)] = session.execute("SELECT count(*) FROM usage").fetchall()
    assert rows == len(world.table(bench.home))
