"""Concurrency: processes that load, publish, compact and read at once lose nothing and double nothing."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from deltalake.exceptions import CommitFailedError

from usage_pipeline import config, pipeline
from usage_pipeline.contract.arrow import schema
from usage_pipeline.contract.errors import TransientError
from usage_pipeline.contract.schema import ACCOUNTS, BILLING_PERIODS, COVERAGE, INVENTORY, METRICS, TABLES, USAGE
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import History
from usage_pipeline.stages import lake as lakes
from usage_pipeline.stages import raw
from usage_pipeline.stages.lake import Lake
from usage_pipeline.stages.publish import WAREHOUSE
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests import contract_world as world
from usage_pipeline_tests.conftest import TurnableClock
from usage_pipeline_tests.contract_world import Vendors
from usage_pipeline_tests.reliability import LONG, SEED
from usage_pipeline_tests.reliability.processes import (
    CONTEXT,
    Job,
    Load,
    Step,
    compacting,
    days,
    finish,
    landings,
    loading,
    microseconds,
    paused,
    readers,
    run,
    start,
)

# Rows of every vendor, what is there beside them, and readings of the present; the long test has all.
A_FEW = {
    ("aveva", "billing_cycles"), ("consul", "operator_usage"),
    ("launchdarkly", "mau_sdks"), ("launchdarkly", "service_connections"), ("puppet", "usage"),
    ("thousandeyes", "usage"),
}  # fmt: skip
LOADERS, READERS = 4, 4
NOW = datetime(2026, 4, 1, 8, tzinfo=UTC)
FIRST, LAST = date(2026, 3, 20), date(2026, 3, 29)


@pytest.fixture(autouse=True)
def _present(vendors: Vendors) -> None:
    vendors.clock.now = NOW


def overlapping(chance: random.Random) -> tuple[Load, ...]:
    """Ranges that overlap, of every endpoint; of the present, today."""
    endpoints = [
        (vendor.slug, endpoint)
        for vendor in VENDORS.values()
        for endpoint in vendor.endpoints
        if LONG or (vendor.slug, endpoint.slug) in A_FEW
    ]
    return tuple(
        (
            vendor,
            endpoint.slug,
            days(NOW.date(), 1)
            if endpoint.history is History.SNAPSHOT
            else days(FIRST + timedelta(days=chance.randrange(5)), 5),
        )
        for vendor, endpoint in endpoints
    )


def test_nothing_is_lost_and_nothing_doubled(vendors: Vendors, tmp_path: Path) -> None:
    print(f"USAGE_PIPELINE_SEED={SEED}")
    chance = random.Random(SEED)
    home = tmp_path / "home"
    # One empty publication, so that readers have something to open; no table of rows stands yet.
    pipeline.publish(world.place(home, TurnableClock(NOW)), config.read(config.SANDBOX_ACCOUNTS))
    stop = CONTEXT.Event()
    with readers(home, READERS, together=False) as reads:
        loaders = [start(loading, home, vendors.bases, NOW, overlapping(chance), number) for number in range(LOADERS)]
        # As of the next month, so that every partition is to be gathered.
        compactor = start(compacting, home, NOW + timedelta(days=30), stop)
        for loader in loaders:
            loader.join(600)
        stop.set()
        compactor.join(60)
    assert [process.exitcode for process in (*loaders, compactor)] == [0] * (LOADERS + 1)
    assert reads() >= READERS

    no_duplicates(home)
    assert newest_by_receipts(home) == newest_by_usage(home) == newest_by_coverage(home)
    # The same answers, read by one process that nobody disturbs.
    alone = tmp_path / "alone"
    shutil.copytree(home / "raw", alone / "raw")
    place = world.place(alone, TurnableClock(NOW))
    for vendor, account, slug in raw.endpoints(raw.store(str(alone))):
        outcome = pipeline.replay(place, world.account(vendor, ""), slug, Days(FIRST, NOW.date()))
        assert (account, outcome.failures) == (outcome.account, {})
    for table in (USAGE, BILLING_PERIODS, INVENTORY):
        assert world.table(home, table) == world.table(alone, table), table.name
    told = [row for row in world.table(alone, COVERAGE) if row["state"] != "not_available"]
    assert world.table(home, COVERAGE) == told
    assert {row["vendor"] for row in told} >= {"aveva", "launchdarkly"}


def no_duplicates(home: Path) -> None:
    for table in TABLES:
        keys = [tuple(map(repr, map(row.get, table.key))) for row in world.table(home, table)]
        assert len(keys) == len(set(keys)), table.name


Newest = dict[tuple[object, object, object], int]


def windows(vendor: object, slug: object) -> bool:
    """Whether each day of an endpoint has rows of one answer: not of readings, and not what has no rows."""
    endpoint = VENDORS[str(vendor)].endpoint(str(slug))
    return endpoint.history is History.WINDOW and any(metric.role == "consumed" for metric in endpoint.metrics)


def newest_by_receipts(home: Path) -> Newest:
    """When each day was answered for last, in microseconds since 1970, by the names of folders alone."""
    found: Newest = {}
    for receipt in (home / "raw").rglob(raw.RECEIPT):
        vendor, _account, slug, span, landing, _file = receipt.relative_to(home / "raw").parts
        at = datetime.strptime(landing.partition("-")[0], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
        if windows(vendor, slug):
            for day in Days(*map(date.fromisoformat, span.split("--"))):
                found[vendor, slug, day] = max(found.get((vendor, slug, day), 0), microseconds(at))
    return found


def newest_by_usage(home: Path) -> Newest:
    """When the answers landed that the rows are from."""
    landed_at = landings(home)
    return {
        (row["vendor"], row["endpoint"], row["usage_date"]): landed_at[str(row["response_id"])]
        for row in world.table(home)
        if windows(row["vendor"], row["endpoint"]) and row["role"] == "consumed"
    }


def newest_by_coverage(home: Path) -> Newest:
    return {
        (row["vendor"], row["endpoint"], row["usage_date"]): microseconds(row["fetched_at"])
        for row in world.table(home, COVERAGE)
        if windows(row["vendor"], row["endpoint"])
    }


@contextmanager
def paused_at(job: Job, step: Step) -> Iterator[Callable[[], None]]:
    """A job in another process that has come as far as a step; yields what lets it end."""
    there, on = CONTEXT.Event(), CONTEXT.Event()
    process = start(paused, job, step, there, on)

    def end() -> None:
        on.set()
        finish(process)

    try:
        assert there.wait(120)
        yield end
    finally:
        on.set()
        process.join(60)


PUPPET = ("puppet", "usage", Days(FIRST, LAST))


def test_an_older_publication_does_not_replace_a_newer_one(vendors: Vendors, tmp_path: Path) -> None:
    job = Job(tmp_path / "home", vendors.bases[0], NOW, ())
    with paused_at(job, ("call publish > Path.replace", 1)) as end:
        later = start(run, replace(job, loads=(PUPPET,)))
        # It waits for its turn. Were it not to, it would be through by then.
        later.join(5)
        end()
        finish(later)
    with duckdb.connect(str(job.home / WAREHOUSE), read_only=True) as session:
        [(rows,)] = session.execute("SELECT count(*) FROM usage").fetchall()
    assert rows == len(world.table(job.home)) > 0


def test_a_slower_load_does_not_put_older_answers_over_newer_ones(vendors: Vendors, tmp_path: Path) -> None:
    job = Job(tmp_path / "home", vendors.bases[0], NOW, (PUPPET,))
    newer = replace(job, base=vendors.bases[1], now=NOW + timedelta(hours=1))
    # The answers are read, and the table is not written yet.
    with paused_at(job, ("call usage > write_deltalake", 1)) as end:
        later = start(run, newer)
        later.join(5)
        end()
        finish(later)
    finish(start(run, replace(newer, home=tmp_path / "undisturbed")))
    assert world.table(job.home) == world.table(tmp_path / "undisturbed")
    assert {row["fetched_at"] for row in world.table(job.home, COVERAGE)} == {newer.now}


def test_a_reader_of_an_old_file_still_reads_after_the_table_was_compacted(vendors: Vendors, tmp_path: Path) -> None:
    job = Job(
        tmp_path / "home", vendors.bases[0], NOW, (PUPPET, ("puppet", "usage", days(LAST + timedelta(days=1), 1)))
    )
    finish(start(run, job))
    with duckdb.connect(str(job.home / WAREHOUSE), read_only=True) as session:
        before = session.execute("SELECT * FROM usage ORDER BY ALL").fetchall()
        finish(start(run, replace(job, base=vendors.bases[1], now=NOW + timedelta(hours=1), compact=True)))
        assert session.execute("SELECT * FROM usage ORDER BY ALL").fetchall() == before
    with duckdb.connect(str(job.home / WAREHOUSE), read_only=True) as session:
        assert session.execute("SELECT * FROM usage ORDER BY ALL").fetchall() != before


def test_a_publication_between_the_commits_of_a_load_claims_nothing_that_is_not_there(
    vendors: Vendors, tmp_path: Path
) -> None:
    first = ("puppet", "usage", days(FIRST, 2))
    job = Job(tmp_path / "home", vendors.bases[0], NOW, (first,))
    finish(start(run, job))
    # One table was looked at; then others load.
    with paused_at(replace(job, loads=()), ("return tables > DeltaTable.file_uris", 1)) as end:
        place = world.place(job.home, TurnableClock(NOW))
        pipeline.pull(place, world.account("puppet", job.base), "usage", Days(FIRST, LAST))
        end()
    with duckdb.connect(str(job.home / WAREHOUSE), read_only=True) as session:
        [(claimed,)] = session.execute("SELECT coalesce(sum(rows), 0) FROM lake.coverage").fetchall()
        [(there,)] = session.execute("SELECT count(*) FROM lake.usage").fetchall()
    assert 0 < claimed <= there


def test_conflicts_are_retried_with_jitter_and_bounded(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    rows = pa.Table.from_pylist([dict.fromkeys(METRICS.names, "a")], schema(METRICS))
    tries: list[int] = []

    @lakes.on_conflict
    def always_late() -> None:
        stale = lake.open(METRICS)
        write_deltalake(lake.open(METRICS), rows, mode="overwrite", predicate="true")
        tries.append(1)
        write_deltalake(stale, rows, mode="overwrite", predicate="true")

    waits: list[float] = []
    always_late.retry.sleep = waits.append
    with pytest.raises(TransientError, match="30 times in a row; nothing is lost: run this again") as caught:
        always_late()
    assert isinstance(caught.value.__cause__, CommitFailedError)
    assert (len(tries), len(waits)) == (30, 29)
    # Never at the same time twice, at most 5 s, and two and a half minutes in all.
    assert len(set(waits)) == 29
    assert max(waits) <= 5
    assert sum(waits) <= 150


def test_one_that_waits_for_another_process_says_so_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lakes, "PATIENCE", timedelta(milliseconds=100))
    again = lakes.alone(tmp_path / "lock", "loading a")
    with (
        lakes.alone(tmp_path / "lock", "loading a"),
        pytest.raises(TransientError, match="another process has been loading a for"),
        again,
    ):
        pass
    with lakes.alone(tmp_path / "lock", "loading a"):
        pass


def test_two_that_declare_at_once_declare_once(vendors: Vendors, tmp_path: Path) -> None:
    job = Job(tmp_path / "home", vendors.bases[0], NOW, ())
    # The first table to be declared was read, and found empty.
    with paused_at(job, ("call declare > write_deltalake", 1)) as end:
        finish(start(run, job))
        end()
    no_duplicates(job.home)
    assert world.table(job.home, ACCOUNTS)


def test_two_that_start_on_nothing_at_once_agree_on_the_layout(vendors: Vendors, tmp_path: Path) -> None:
    job = Job(tmp_path / "home", vendors.bases[0], NOW, (PUPPET,))
    with paused_at(job, ("c_call agree > put", 1)) as end:
        finish(start(run, job))
        end()
    finish(start(run, replace(job, home=tmp_path / "undisturbed")))
    written = [(tmp_path / name / "layout.json").read_bytes() for name in ("home", "undisturbed")]
    assert written[0] == written[1]
    assert len(world.table(job.home)) == len(world.table(tmp_path / "undisturbed"))
