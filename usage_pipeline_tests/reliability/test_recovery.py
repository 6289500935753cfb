"""Rebuild: the raw answers alone make every table again, row by row and column by column."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import zstandard
from click.testing import CliRunner, Result
from deltalake import DeltaTable, write_deltalake
from filelock import FileLock

from usage_pipeline import config, pipeline, stages
from usage_pipeline.cli import Outside, main
from usage_pipeline.contract.schema import COVERAGE, RESTATEMENTS, TABLES, USAGE, State, Table
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.sandbox import server
from usage_pipeline.sandbox.world import World
from usage_pipeline.stages.lake import Lake
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests import contract_world as world
from usage_pipeline_tests.conftest import TurnableClock, served
from usage_pipeline_tests.reliability import LONG
from usage_pipeline_tests.stages.invented import at

ROOT = Path(__file__).parents[2]
Tables = dict[str, list[dict[str, object]]]
DEAD = "http://127.0.0.1:9"
# Of the vendor with most endpoints; the long test has all.
A_FEW = {"service_connections", "total_mau", "mau_sdks", "streams_sdk_versions"}
FIRST, LAST = date(2026, 3, 26), date(2026, 4, 1)


def everything(home: Path) -> Tables:
    """Every row and every column of every table, in the order of its key."""
    return {table.name: world.table(home, table) for table in TABLES}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all vendors."""
    return lived(tmp_path_factory.mktemp("history"), tuple(VENDORS))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a vendor that tells past days and of one that does not."""
    return lived(tmp_path_factory.mktemp("small"), ("puppet", "consul"))


def lived(home: Path, vendors: Sequence[str]) -> Path:
    """A week over the end of a month: loads, captures, restatements, failures with and without an answer."""
    clock = TurnableClock(at("2026-03-30", 9))
    place = world.place(home, clock)
    later = served(server.app(World(clock, seed=2)))
    with pytest.MonkeyPatch.context() as patch, world.sandbox(clock) as first, later as second:
        world.unlimited(patch)
        # The same vendors, who tell other numbers on the last day: what they told before is restated.
        for now, base, days in (
            (at("2026-03-30", 9), first, Days(FIRST, date(2026, 3, 30))),
            (at("2026-03-30", 15), first, Days(date(2026, 3, 30), date(2026, 3, 30))),
            (at("2026-04-01", 8), second, Days(date(2026, 3, 28), LAST)),
        ):
            clock.now = now
            for account, slug in asked(base, vendors):
                assert pipeline.pull(place, account, slug, days).failures == {}, (account.name, slug)
        # A known day and a new one, asked in vain: nobody there, and nobody let in.
        clock.advance(hours=1)
        for account, slug in asked(DEAD, vendors):
            assert pipeline.pull(place, account, slug, Days(LAST, LAST)).failures
        clock.advance(hours=24)
        stranger = replace(place, environment=dict.fromkeys(place.environment, "made-up-and-long-enough"))
        for account, slug in asked(second, vendors):
            assert pipeline.pull(stranger, account, slug, Days(clock().date(), clock().date())).failures
        pipeline.publish(place, config.read(config.SANDBOX_ACCOUNTS))
        pipeline.compact(place)
    return home


def asked(base: str, vendors: Sequence[str]) -> list[tuple[Account, str]]:
    return [
        (account, endpoint.slug)
        for vendor in vendors
        for account in [world.account(vendor, base)]
        for endpoint in VENDORS[vendor].endpoints
        if LONG or vendor != "launchdarkly" or endpoint.slug in A_FEW
    ]


@pytest.fixture
def raw_alone(small: Path, tmp_path: Path) -> Path:
    """What is left when everything but the raw answers is lost."""
    shutil.copytree(small / "raw", tmp_path / "data" / "raw")
    return tmp_path / "data"


def run(home: Path, *args: str) -> Result:
    environment = {config.HOME_VARIABLE: str(home), config.ACCOUNTS_VARIABLE: str(config.SANDBOX_ACCOUNTS)}
    outside = Outside(environment, lambda: at("2026-04-02", 12), lambda _seconds: None)
    return CliRunner().invoke(main, list(args), obj=outside)


def test_raw_answers_alone_make_every_table_again(history: Path, tmp_path: Path) -> None:
    raw_alone = tmp_path / "data"
    shutil.copytree(history / "raw", raw_alone / "raw")
    before = everything(history)
    # The history is worth a comparison: all vendors, all states, and words that were taken back.
    assert {row["vendor"] for row in before["usage"]} == set(VENDORS)
    assert {State(str(row["state"])) for row in before["coverage"]} >= {State.COMPLETE, State.FAILED, State.PROVISIONAL}
    assert len(before["restatements"]) > 100
    assert before["inventory"]
    assert before["billing_periods"]

    result = run(raw_alone, "rebuild")
    assert (result.exit_code, result.stderr) == (0, "")
    after = everything(raw_alone)
    # Days of the past that nobody captured were never asked for: no answer tells that somebody wanted them.
    wanted = [row for row in before["coverage"] if row["reason"] != pipeline.NOT_CAPTURED]
    assert after["coverage"] == wanted
    for name in before.keys() - {"coverage"}:
        assert after[name] == before[name], name


def test_what_was_rebuilt_verifies_and_takes_the_next_load(raw_alone: Path) -> None:
    assert run(raw_alone, "rebuild").exit_code == 0
    result = run(raw_alone, "verify")
    assert (result.exit_code, result.stderr) == (0, "")
    before = everything(raw_alone)
    assert run(raw_alone, "replay", "--account", "demo-puppet", "--from", str(FIRST), "--to", str(LAST)).exit_code == 0
    assert everything(raw_alone)["usage"] == before["usage"]


def test_a_rebuild_writes_over_no_table(small: Path, tmp_path: Path) -> None:
    shutil.copytree(small, tmp_path / "data")
    before = everything(tmp_path / "data")
    result = run(tmp_path / "data", "rebuild")
    assert result.exit_code == 1
    move = result.stderr.strip().rpartition("run this again: ")[2]
    assert move.startswith("mkdir ")
    assert everything(tmp_path / "data") == before
    # What it says is what helps.
    subprocess.run(["bash", "-ec", move], check=True)
    assert run(tmp_path / "data", "rebuild").exit_code == 0
    assert everything(tmp_path / "data")["usage"] == before["usage"]
    assert everything(tmp_path / "data.before")["usage"] == before["usage"]


def test_a_rebuild_that_is_killed_is_begun_again_and_nobody_loads_in_between(small: Path, raw_alone: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from usage_pipeline import recovery, stages\n"
        "from usage_pipeline.cli import main\n"
        "load, left = stages.load.coverage, [5]\n"
        "def coverage(*args, **kwargs):\n"
        "    left[0] -= 1\n"
        "    if not left[0]:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return load(*args, **kwargs)\n"
        "stages.load.coverage = coverage\n"
        "main(['rebuild'])\n"
    )
    environment = {config.HOME_VARIABLE: str(raw_alone), config.ACCOUNTS_VARIABLE: str(config.SANDBOX_ACCOUNTS)}
    killed = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert 0 < len(everything(raw_alone)["usage"]) < len(everything(small)["usage"])

    refused = run(raw_alone, "replay", "--account", "demo-puppet", "--from", str(FIRST), "--to", str(LAST))
    assert refused.exit_code == 1
    assert "are half made: let the `usage-pipeline rebuild`" in refused.stderr
    assert "are half made" in run(raw_alone, "verify").stderr

    assert run(raw_alone, "rebuild").exit_code == 0
    assert everything(raw_alone)["usage"] == everything(small)["usage"]
    assert everything(raw_alone)["restatements"] == everything(small)["restatements"]


def test_one_rebuild_at_a_time(raw_alone: Path) -> None:
    with FileLock(raw_alone / ".rebuild.lock"):
        result = run(raw_alone, "rebuild")
    assert (result.exit_code, "is being rebuilt by another process" in result.stderr) == (1, True)


def test_nothing_is_rebuilt_from_nothing(tmp_path: Path) -> None:
    result = run(tmp_path / "data", "rebuild")
    assert result.exit_code == 1
    assert "there are no raw answers" in result.stderr
    assert not (tmp_path / "data" / "usage").exists()


def test_what_cannot_be_read_is_told_and_the_rest_is_rebuilt(small: Path, raw_alone: Path) -> None:
    """One body of one landing is gone: the days that it alone told are failed, all other rows are there."""
    [first, *_rest] = landings(raw_alone, "puppet/demo-puppet/usage")
    (first / "000.json.zst").write_bytes(b"nothing")
    result = run(raw_alone, "rebuild")
    assert result.exit_code == 1
    # 26 and 27 March were never asked for again.
    assert [line for line in result.stderr.splitlines() if "2026-03-27" in line]
    lost = {date(2026, 3, 26), date(2026, 3, 27)}
    expected = [
        row for row in everything(small)["usage"] if not (row["vendor"] == "puppet" and row["usage_date"] in lost)
    ]
    assert everything(raw_alone)["usage"] == expected
    states = {row["usage_date"]: row["state"] for row in everything(raw_alone)["coverage"] if row["vendor"] == "puppet"}
    assert {states[day] for day in lost} == {State.FAILED}


def landings(home: Path, endpoint: str) -> list[Path]:
    """The folders of an endpoint's whole landings, oldest first."""
    found = [file.parent for file in (home / "raw" / endpoint).rglob("receipt.json")]
    return sorted(found, key=lambda folder: folder.name)


def test_a_history_that_nobody_harmed_verifies(history: Path) -> None:
    result = run(history, "verify")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith(": no disagreements\n")


PUPPET = "puppet/demo-puppet/usage"
NEWEST, OLDEST = -1, 0


def landing(home: Path, which: int = NEWEST) -> Path:
    return landings(home, PUPPET)[which]


def receipt(home: Path, **changes: Any) -> None:
    file = landing(home) / "receipt.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def table(home: Path, of: Table) -> DeltaTable:
    found = Lake(str(home)).find(of)
    assert found
    return found


def change(home: Path, of: Table, where: str = "vendor = 'puppet'", **columns: str) -> None:
    done = table(home, of).update(updates=columns, predicate=where)
    assert done["num_updated_rows"] > 0


def flip(home: Path) -> None:
    body = landing(home) / "000.json.zst"
    told = bytearray(zstandard.ZstdDecompressor().decompress(body.read_bytes()))
    told[-2] ^= 1
    body.write_bytes(zstandard.ZstdCompressor().compress(bytes(told)))


def another_size(home: Path) -> None:
    told = json.loads((landing(home) / "receipt.json").read_text())["answers"]
    receipt(home, answers=[{**one, "bytes": one["bytes"] + 1} for one in told])


def forget_receipt(home: Path) -> None:
    folder = landing(home)
    (folder / "receipt.json").unlink()
    for file in folder.iterdir():
        os.utime(file, (at("2026-04-01", 8).timestamp(),) * 2)


def from_the_future(home: Path) -> None:
    folder = landing(home)
    receipt(home, landed_at="2030-01-01T00:00:00Z")
    folder.rename(folder.with_name(f"20300101T000000.000000Z-{folder.name.partition('-')[2]}"))


def unreadable_answer(home: Path) -> None:
    """A newer answer, kept as it should be, of which nothing can be made."""
    store = stages.raw.store(str(home))
    newest = stages.raw.attempts(store, "puppet", "demo-puppet", "usage")
    found = stages.raw.read(store, [one for one in newest if not one.failed][-1])
    later = found.landed_at + timedelta(hours=1)
    answers = tuple(replace(one, body=b"<html>", fetched_at=later) for one in found.answers)
    stages.raw.write(store, replace(found, landed_at=later, answers=answers))


def twice(home: Path) -> None:
    rows = table(home, USAGE).to_pyarrow_table()
    write_deltalake(str(home / "usage"), rows.filter(pc.equal(rows["vendor"], "puppet")).slice(0, 1), mode="append")


def parquet(home: Path, of: Table = USAGE) -> Path:
    named = pa.table(table(home, of).get_add_actions(flatten=True))["path"].to_pylist()
    return home / of.name / str(min(named))


def log(home: Path) -> None:
    for file in (home / "coverage" / "_delta_log").glob("*.json"):
        file.write_text("{")


def a_load_without_publication(home: Path) -> None:
    table(home, RESTATEMENTS).delete("vendor = 'puppet'")


def strange_endpoint(home: Path) -> None:
    folder = home / "raw" / PUPPET
    shutil.copytree(folder, folder.with_name("nothing"))


HARMS: list[tuple[str, Callable[[Path], Any], list[str]]] = [
    ("a body of other bytes", flip, ["000.json.zst is not the answer that its receipt describes: the hash differs"]),
    (
        "a body that is gone",
        lambda home: (landing(home) / "000.json.zst").unlink(),
        ["000.json.zst", "restore it from a backup, or where the vendor still tells these days ask again:",
         "usage-pipeline pull --account demo-puppet --endpoint usage --from 2026-03-28 --to 2026-04-01"],
    ),
    (
        "a receipt that is cut off",
        lambda home: (landing(home) / "receipt.json").write_text('{"vendor": "pup'),
        ["the receipt cannot be read"],
    ),
    (
        "a receipt of another account",
        lambda home: receipt(home, account="other"),
        ["tells of another landing than the folder"],
    ),
    (
        "a receipt that says another size",
        another_size,
        ["has another size or name than its receipt says"],
    ),
    ("no receipt", forget_receipt, ["has no receipt, so its landing was cut short"]),
    ("a file beside", lambda home: (landing(home) / "x.zst").touch(), ["x.zst: the receipt does not name it"]),
    ("a file elsewhere", lambda home: (home / "raw" / "notes.txt").touch(), ["holds no landing (notes.txt)"]),
    ("an endpoint that nobody knows", strange_endpoint, ["nothing", "is of no endpoint that this program knows"]),
    ("a landing of days to come", from_the_future, ["which is yet to come, so the clock was wrong"]),
    (
        "an answer that cannot be read",
        unreadable_answer,
        ["the newest answer cannot be read", "landed, and coverage does not know of it"],
    ),
    (
        "a landing that is gone",
        lambda home: shutil.rmtree(landing(home)),
        ["coverage calls told what no kept answer tells", "rows name answers that are not in raw/puppet/"],
    ),
    (
        "days that coverage forgot",
        lambda home: table(home, COVERAGE).delete("vendor = 'puppet' AND usage_date = DATE '2026-03-28'"),
        ["coverage: demo-puppet usage: 2026-03-28: landed, and coverage does not know of it: usage-pipeline replay",
         " --account demo-puppet --endpoint usage --from 2026-03-28 --to 2026-03-28"],
    ),
    (
        "a count of other rows",
        lambda home: change(home, COVERAGE, rows="rows + 1"),
        ["coverage counts other rows than the table has"],
    ),
    (
        "another value",
        lambda home: change(home, USAGE, value="value + 1"),
        ["the raw answers tell", "warehouse: puppet 2026-03: differs from the table"],
    ),
    (
        "a row that is gone",
        lambda home: table(home, USAGE).delete("vendor = 'puppet' AND usage_date = DATE '2026-03-28'"),
        ["2026-03-28: the raw answers tell", "and do not tell 0 that it has"],
    ),
    ("a row twice", twice, ["the raw answers tell 0 rows that the table lacks, and do not tell 1 that it has"]),
    (
        "rows of an answer that nobody kept",
        lambda home: change(home, USAGE, response_id="'made-up'"),
        ["rows name answers that are not in raw/puppet/demo-puppet/usage: restore raw/ from a backup"],
    ),
    (
        "a file of the table that is gone",
        lambda home: parquet(home).unlink(),
        ["the table names it, and it is not there", "usage-pipeline rebuild"],
    ),
    (
        "a file of the table that is cut off",
        lambda home: os.truncate(parquet(home, COVERAGE), 100),
        ["has 100 bytes, and was written with"],
    ),
    ("a log that is broken", log, ["coverage: its log cannot be read"]),
    (
        "a warehouse that is gone",
        lambda home: (home / "warehouse.duckdb").unlink(),
        ["warehouse: there is no warehouse", "publish anew: usage-pipeline compact"],
    ),
    (
        "a warehouse of before the last load",
        a_load_without_publication,
        ["warehouse: restatements: shows", "publish anew: usage-pipeline compact"],
    ),
    (
        "tables half made",
        lambda home: stages.layout.mark(str(home), rebuilding=True),
        ["the tables are half made"],
    ),
]  # fmt: skip


@pytest.fixture
def harmed(small: Path, tmp_path: Path) -> Path:
    """A copy of the history, with a warehouse of its own, to be harmed."""
    home = tmp_path / "data"
    shutil.copytree(small, home, ignore=shutil.ignore_patterns("warehouse.duckdb", ".*.lock"))
    pipeline.publish(world.place(home, TurnableClock(at("2026-04-02"))))
    return home


@pytest.mark.parametrize(("harm", "said"), [harm[1:] for harm in HARMS], ids=[harm[0] for harm in HARMS])
def test_every_disagreement_is_told_with_what_to_do(harmed: Path, harm: Callable[[Path], Any], said: list[str]) -> None:
    harm(harmed)
    result = run(harmed, "verify")
    assert result.exit_code == 1, result.stdout
    assert result.exception is None or isinstance(result.exception, SystemExit)
    for words in said:
        assert [line for line in result.stderr.splitlines() if words in line], result.stderr
    assert all(line.startswith("Error: ") and ": " in line[7:] for line in result.stderr.splitlines())


def test_several_disagreements_are_all_told(harmed: Path) -> None:
    flip(harmed)
    (harmed / "raw" / "notes.txt").touch()
    table(harmed, COVERAGE).delete("vendor = 'consul' AND usage_date = DATE '2026-03-30'")
    change(harmed, USAGE, "vendor = 'consul' AND usage_date = DATE '2026-04-01'", value="value + 1")
    told = run(harmed, "verify").stderr
    for words in (
        "the hash differs",
        "holds no landing",
        "demo-consul operator_usage: 2026-03-30: landed, and coverage does not know of it",
        "demo-consul operator_usage: 2026-04-01: the raw answers tell",
    ):
        assert words in told


def test_verifying_changes_nothing(harmed: Path) -> None:
    flip(harmed)
    before = {file: file.stat().st_mtime_ns for file in harmed.rglob("*") if file.is_file()}
    run(harmed, "verify")
    assert {file: file.stat().st_mtime_ns for file in harmed.rglob("*") if file.is_file()} == before


def documented(marker: str, home: Path, backup: Path) -> str:
    """The commands of docs/operations.md below a marker, on other folders."""
    text = (ROOT / "docs" / "operations.md").read_text().partition(f"<!-- {marker} -->\n```sh\n")[2]
    commands = text.partition("```")[0]
    assert commands
    command = f"{shlex.quote(sys.executable)} -c 'from usage_pipeline.cli import main; main()'"
    for said, meant in (
        ("/var/lib/usage-pipeline/data", str(home)),
        ("/backup/usage-$(date -u +%F)", str(backup)),
        ("/backup/usage-2026-11-20", str(backup)),
        ("usage-pipeline compact", f"{command} compact"),
        ("usage-pipeline verify\n", f"{command} verify || true\n"),
    ):
        commands = commands.replace(said, meant)
    return commands


LOADER = """
import sys
from datetime import date, timedelta
from pathlib import Path
from usage_pipeline import pipeline
from usage_pipeline.contract.time import Days
from usage_pipeline_tests import contract_world as world
from usage_pipeline_tests.conftest import TurnableClock
from usage_pipeline_tests.stages.invented import at

clock = TurnableClock(at("2026-04-01", 10))
place = world.place(Path(sys.argv[1]), clock)
with world.sandbox(clock) as base:
    for number in range(1000):
        clock.advance(minutes=1)
        for vendor, slug in (("puppet", "usage"), ("consul", "operator_usage")):
            days = Days(date(2026, 4, 1) - timedelta(days=number % 5), date(2026, 4, 1))
            assert pipeline.pull(place, world.account(vendor, base), slug, days).failures == {}
        print(number, flush=True)
"""


def test_a_backup_that_is_taken_while_loads_run_restores_to_what_it_held(small: Path, tmp_path: Path) -> None:
    """By the documented commands: nothing is missing but what landed meanwhile, and its replay is told."""
    home, backup, restored = tmp_path / "data", tmp_path / "backup", tmp_path / "restored"
    shutil.copytree(small, home)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", LOADER, str(home)], env=environment, stdout=subprocess.PIPE, text=True
    ) as loader:
        try:
            assert loader.stdout
            for rounds in range(3 if LONG else 1):
                # Loads have begun, and go on.
                assert loader.stdout.readline() == f"{2 * rounds}\n"
                assert loader.stdout.readline() == f"{2 * rounds + 1}\n"
                shutil.rmtree(backup, ignore_errors=True)
                subprocess.run(["bash", "-ec", documented("backup while it runs", home, backup)], check=True)
                assert loader.poll() is None
        finally:
            loader.kill()
    accounts = {config.HOME_VARIABLE: str(restored), config.ACCOUNTS_VARIABLE: str(config.SANDBOX_ACCOUNTS)}
    subprocess.run(
        ["bash", "-ec", documented("restore", restored, backup)], env={**environment, **accounts}, check=True
    )
    before = everything(small)
    assert len(everything(restored)["usage"]) >= len(before["usage"])
    for line in run(restored, "verify").stderr.splitlines():
        # The pieces of a landing that was under way are no older than an hour, and are not told.
        what, _, replay = line.rpartition(": usage-pipeline ")
        assert "coverage does not know of it" in what or "the raw answers tell" in what, line
        result = run(restored, *replay.split())
        assert result.exit_code == 0, result.stderr
    result = run(restored, "verify")
    assert (result.exit_code, result.stderr) == (0, "")
