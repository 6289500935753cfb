"""A lake in an object store: the same tables as in a folder, whoever loads, from wherever, killed or not."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import obstore
import pytest
from click.testing import CliRunner, Result
from obstore.store import from_url

from usage_pipeline import connect, pipeline, recovery, verification, warehouse
from usage_pipeline.cli import Outside, main
from usage_pipeline.contract.errors import ConfigurationError
from usage_pipeline.contract.schema import BILLING_PERIODS, COVERAGE, INVENTORY, TABLES, USAGE
from usage_pipeline.contract.time import Days
from usage_pipeline.sandbox import server
from usage_pipeline.stages import lake as lakes
from usage_pipeline.stages import layout, raw
from usage_pipeline_tests import contract_world as world
from usage_pipeline_tests.conftest import TurnableClock
from usage_pipeline_tests.contract_world import Vendors
from usage_pipeline_tests.reliability import LONG, SEED
from usage_pipeline_tests.reliability.processes import (
    CONTEXT,
    Job,
    Load,
    Step,
    days,
    finish,
    killed,
    loading,
    paused,
    recorded,
    run,
    start,
)
from usage_pipeline_tests.scale import buckets
from usage_pipeline_tests.security.canaries import forms, written

NOW = datetime(2026, 4, 1, 8, tzinfo=UTC)
FIRST, LAST = date(2026, 3, 26), date(2026, 3, 31)
PUPPET = ("puppet", "usage", Days(FIRST, LAST))
# Rows, billing periods, an inventory, and a reading of the present.
LOADS: tuple[Load, ...] = (
    PUPPET, ("aveva", "billing_cycles", Days(FIRST, LAST)), ("launchdarkly", "service_connections", Days(FIRST, LAST)),
    ("consul", "operator_usage", days(NOW.date(), 1)),
)  # fmt: skip
ACCOUNTS = """
accounts:
  - {{name: nodes, vendor: puppet, base_url: "{base}/puppet", start_date: 2026-03-26,
      credentials: {{token: "${{SANDBOX_PUPPET_TOKEN}}"}}}}
  - {{name: mesh, vendor: consul, base_url: "{base}/consul", start_date: 2026-03-31,
      credentials: {{token: "${{SANDBOX_CONSUL_TOKEN}}"}}}}
"""
RANGE = ("--from", "2026-03-26", "--to", "2026-03-31")


@pytest.fixture(scope="module")
def vendors() -> Iterator[Vendors]:
    with world.twice() as found:
        found.clock.now = NOW
        yield found


def variables() -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))


def job(home: Path, lake: str, base: str, now: datetime = NOW, loads: tuple[Load, ...] = (PUPPET,)) -> Job:
    return Job(home, base, now, loads, lake=lake, variables=variables())


def rows(lake: str | Path) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, in the order of its key."""
    return {table.name: world.table(lake, table) for table in TABLES}


def place(home: Path, lake: str, now: datetime = NOW) -> pipeline.Place:
    return world.place(home, TurnableClock(now), lake)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A lake in a bucket, loaded and published by the command line, and how to run more commands on it."""

    home: Path
    lake: str
    base: str

    def command(self, *args: str, **more: str) -> Result:
        file = self.home.parent / "accounts.yaml"
        file.write_text(ACCOUNTS.format(base=self.base))
        environment = server.environment() | {
            "USAGE_PIPELINE_ACCOUNTS": str(file),
            "USAGE_PIPELINE_HOME": str(self.home),
            "USAGE_PIPELINE_LAKE": self.lake,
            **more,
        }
        return CliRunner().invoke(main, list(args), obj=Outside(environment, lambda: NOW, lambda _seconds: None))


@pytest.fixture(scope="module")
def loaded(bucket: str, vendors: Vendors, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    made = Loaded(tmp_path_factory.mktemp("loaded") / "home", f"{bucket}/it's/acme", vendors.bases[0])
    result = made.command("pull", *RANGE, "--account", "nodes")
    assert (result.exit_code, result.stderr) == (0, "")
    result = made.command("pull", "--from", "2026-04-01", "--to", "2026-04-01", "--account", "mesh")
    assert (result.exit_code, result.stderr) == (0, "")
    return made


def test_the_bucket_holds_all_but_the_warehouse(loaded: Loaded) -> None:
    kept = {name.split("/")[0] for name in buckets.names(loaded.lake)}
    assert kept >= {"raw", "layout.json", "usage", "coverage", "metrics"}
    local = {file.name for file in loaded.home.rglob("*") if file.is_file()}
    assert "warehouse.duckdb" in local
    assert not [name for name in local if name.endswith((".parquet", ".zst", ".json"))]


def test_the_commands_work_as_in_a_folder(loaded: Loaded, tmp_path: Path) -> None:
    folder = replace(loaded, home=tmp_path / "home", lake="")
    assert folder.command("pull", *RANGE, "--account", "nodes").exit_code == 0
    assert folder.command("pull", "--from", "2026-04-01", "--to", "2026-04-01", "--account", "mesh").exit_code == 0
    for command in (
        ("sql", "SELECT vendor, count(*), sum(value) FROM usage GROUP BY ALL ORDER BY ALL", "--format", "csv"),
        ("status",),
        ("report", "--out", str(tmp_path / "report.html")),
    ):
        here, there = loaded.command(*command), folder.command(*command)
        assert (here.exit_code, here.stderr) == (0, "")
        assert here.stdout == there.stdout
    assert rows(loaded.lake) == rows(folder.home)
    for writing in (("replay", *RANGE, "--account", "nodes"), ("compact",), ("verify",)):
        here = loaded.command(*writing)
        assert (here.exit_code, here.stderr) == (0, "")
    assert rows(loaded.lake) == rows(folder.home)


READS = [
    "FROM read_text('/etc/passwd')",
    "FROM read_json('{lake}/layout.json')",
    "FROM read_text('{lake}/raw/**')",
    "FROM glob('{lake}/**')",
    "FROM glob('s3://*')",
    "FROM read_parquet('s3://other/secret.parquet')",
    "FROM read_parquet('s3a://other/secret.parquet')",
    "FROM read_csv('https://127.0.0.1:9/x.csv')",
    "FROM read_parquet('{lake}/usage/**/*.parquet')",
    "FROM read_text('{lake}/usage/_delta_log/00000000000000000000.json')",
    "FROM delta_scan('{lake}/usage')",
    "FROM duckdb_secrets()",
    "SELECT getenv('AWS_SECRET_ACCESS_KEY')",
    "COPY (SELECT 1) TO '{lake}/x.csv'",
    "LOAD httpfs",
]


def test_the_sql_command_reads_no_other_object_and_no_key(loaded: Loaded, bucket: str) -> None:
    httpx.put(f"{os.environ['AWS_ENDPOINT_URL']}/other").raise_for_status()
    obstore.put(from_url("s3://other"), "secret.parquet", b"PAR1")
    before = buckets.names(bucket)
    for query in READS:
        result = loaded.command("sql", query.format(lake=loaded.lake.replace("'", "''")))
        assert result.exit_code == 1, query
        assert "root:" not in result.output
    settings = loaded.command("sql", "FROM duckdb_settings()", "--format", "csv")
    assert settings.exit_code == 0
    assert not [key for key in (buckets.KEY, buckets.SECRET) if key in settings.stdout]
    assert buckets.names(bucket) == before


def test_rebuild_makes_the_same_tables_and_verify_tells_what_is_gone(
    bucket: str, vendors: Vendors, tmp_path: Path
) -> None:
    lake = f"{bucket}/rebuild"
    pipeline.pull(place(tmp_path, lake), world.account("puppet", vendors.bases[0]), *PUPPET[1:])
    pipeline.publish(place(tmp_path, lake))
    before = rows(lake)
    with pytest.raises(Exception, match="tables stand in s3://lake/rebuild"):
        recovery.rebuild(place(tmp_path, lake))
    # As a rebuild leaves it that was killed: half of the tables, and the mark.
    buckets.delete(f"{lake}/coverage")
    layout.mark(lake, rebuilding=True)
    assert recovery.rebuild(place(tmp_path, lake)).problems == []
    assert rows(lake) == before
    (answer,) = [name for name in buckets.names(f"{lake}/raw") if name.endswith("000.json.zst")]
    (file,) = [name for name in buckets.names(lake) if name.startswith("usage/") and name.endswith(".parquet")]
    obstore.delete(from_url(lake), [f"raw/{answer}", file])
    problems = verification.verify(place(tmp_path, lake)).problems
    assert [problem for problem in problems if answer in problem]
    assert [problem for problem in problems if file in problem and "it is not there" in problem]


def test_compaction_gathers_and_removes_what_was_replaced_and_cut_short(
    bucket: str, vendors: Vendors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The store's clock cannot be turned: what was replaced just now is old enough.
    kept = {**lakes.KEEP_REPLACED, "delta.deletedFileRetentionDuration": "interval 0 days"}
    monkeypatch.setattr(lakes, "KEEP_REPLACED", kept)
    lake = f"{bucket}/compact"
    there = place(tmp_path, lake)
    for number in range(3):
        day = FIRST + timedelta(days=number)
        pipeline.pull(there, world.account("puppet", vendors.bases[0]), "usage", Days(day, day))
    pipeline.publish(there)
    obstore.put(from_url(f"{lake}/raw"), "puppet/sandbox/usage/x/y/000.json.zst", b"cut short")
    before, files = rows(lake), lakes.Lake(lake).open(USAGE).file_uris()
    # As of the next month, and as of a day on which what lies there without a receipt is old.
    gathered, removed = pipeline.compact(place(tmp_path, lake, datetime.now(UTC) + timedelta(days=40)))
    assert gathered > 0
    assert removed > 0
    assert rows(lake) == before
    named = {uri.removeprefix(f"{lake}/") for uri in lakes.Lake(lake).open(USAGE).file_uris()}
    assert named == {name for name in buckets.names(lake) if name.startswith("usage/") and name.endswith(".parquet")}
    assert not named & {uri.removeprefix(f"{lake}/") for uri in files}
    assert "puppet/sandbox/usage/x/y/000.json.zst" not in buckets.names(f"{lake}/raw")
    assert verification.verify(there).problems == []


def test_two_hosts_lose_nothing_and_double_nothing(bucket: str, vendors: Vendors, tmp_path: Path) -> None:
    """Processes of two homes load overlapping ranges into one bucket, each in its own order."""
    lake = f"{bucket}/a lake of two"
    chance = random.Random(SEED)
    loads: tuple[Load, ...] = tuple(
        (vendor, slug, Days(FIRST + timedelta(days=chance.randrange(3)), LAST) if span != days(NOW.date(), 1) else span)
        for vendor, slug, span in LOADS
    )
    loaders = [
        start(loading, tmp_path / f"host{number % 2}", vendors.bases, NOW, loads, number, lake, variables())
        for number in range(6 if LONG else 3)
    ]
    for loader in loaders:
        loader.join(600)
    assert [loader.exitcode for loader in loaders] == [0] * len(loaders)
    for table in TABLES:
        keys = [tuple(map(repr, map(row.get, table.key))) for row in world.table(lake, table)]
        assert len(keys) == len(set(keys)), table.name
    # The same answers, read by one process that nobody disturbs.
    alone = tmp_path / "alone"
    buckets.copy(f"{lake}/raw", alone / "raw")
    for vendor, _account, slug in raw.endpoints(raw.store(str(alone))):
        pipeline.replay(place(alone, ""), world.account(vendor, ""), slug, Days(FIRST, NOW.date()))
    for table in (USAGE, BILLING_PERIODS, INVENTORY):
        assert world.table(lake, table) == world.table(alone, table), table.name
    told = [row for row in world.table(alone, COVERAGE) if row["state"] != "not_available"]
    assert world.table(lake, COVERAGE) == told
    # Either host publishes what both have loaded.
    totals = []
    for host in ("host0", "host1"):
        pipeline.publish(place(tmp_path / host, lake))
        with warehouse.reading(tmp_path / host) as session:
            totals.append(warehouse.ask(session, "SELECT vendor, count(*) FROM usage GROUP BY ALL ORDER BY ALL").rows)
    assert totals[0] == totals[1]
    assert {vendor for vendor, _rows in totals[0]} >= {"puppet", "launchdarkly", "consul"}


# The answers are read; then the rows are there; then all but coverage.
SLOW: list[Step] = [("return replay.teller.<locals>.told", 1), ("call load.companions", 1), ("call load.coverage", 1)]


FEW = [("folder", step, False) for step in SLOW] + [("bucket", SLOW[0], anew) for anew in (True, False)]
# A bucket differs from a folder in how a commit is decided, and in nothing else.
ALL = [(stored, step, anew) for stored in ("folder", "bucket") for step in SLOW for anew in (True, False)]


@pytest.mark.parametrize(("stored", "step", "anew"), ALL if LONG else FEW)
def test_a_slower_host_does_not_put_older_answers_over_newer_ones(
    request: pytest.FixtureRequest, vendors: Vendors, tmp_path: Path, stored: str, step: Step, anew: bool
) -> None:
    """Locks are files of one host: here the table itself has to tell."""
    if stored == "bucket":
        lake = f"{request.getfixturevalue('bucket')}/slower-{step[1]}-{SLOW.index(step)}-{anew}"
    else:
        lake = str(tmp_path / "lake")
    slow = replace(job(tmp_path / "slow", lake, vendors.bases[0]), publish=False)
    newer = replace(slow, home=tmp_path / "fast", base=vendors.bases[1], now=NOW + timedelta(hours=1))
    # The table is there already, or not.
    if not anew:
        finish(start(run, replace(slow, now=NOW - timedelta(hours=1))))
    there, on = CONTEXT.Event(), CONTEXT.Event()
    process = start(paused, slow, step, there, on)
    try:
        assert there.wait(120)
        finish(start(run, newer))
    finally:
        on.set()
    finish(process)
    undisturbed = str(tmp_path / "undisturbed")
    finish(start(run, replace(newer, lake=undisturbed)))
    assert world.table(lake) == world.table(undisturbed)
    assert world.table(lake, COVERAGE) == world.table(undisturbed, COVERAGE)


def test_a_loader_that_is_killed_and_run_again_leaves_the_table_as_if_undisturbed(
    bucket: str, vendors: Vendors, tmp_path: Path
) -> None:
    once = replace(job(tmp_path / "home", "", vendors.bases[0], loads=LOADS[:2]), publish=LONG, compact=LONG)
    finish(start(recorded, replace(once, lake=f"{bucket}/killed/recorded"), tmp_path / "steps"))
    wanted = rows(f"{bucket}/killed/recorded")
    steps: list[Step] = [
        (what, int(number))
        for number, what in (line.split(" ", 1) for line in (tmp_path / "steps").read_text().splitlines())
    ]
    last = dict(steps)
    found = sorted({(what, number) for what, most in last.items() for number in (1, most)})
    chosen = random.Random(SEED).sample(found, min(len(found), 200 if LONG else 1))
    # The instant that matters most: the rows are there, and nothing yet says so.
    chosen.append(("return usage > write_deltalake", 1))
    print(f"USAGE_PIPELINE_SEED={SEED}, {len(chosen)} of {len(found)} steps")
    for number, step in enumerate(chosen):
        print(step)
        lake = f"{bucket}/killed/{number}"
        cut = replace(once, home=tmp_path / str(number), lake=lake)
        process = start(killed, cut, step)
        process.join(300)
        assert process.exitcode == -9
        # The very next answers are those of the run that nobody disturbed.
        finish(start(run, replace(cut, now=NOW + timedelta(seconds=1))))
        again = rows(lake)
        for table in TABLES:
            assert _without_times(again[table.name]) == _without_times(wanted[table.name]), table.name
        if LONG:
            assert verification.verify(place(cut.home, lake, NOW + timedelta(minutes=1))).problems == []


TIMES = {"fetched_at", "attempted_at", "observed_at", "response_id", "last_seen", "first_seen"}


def _without_times(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what tells when they were asked for: a second later, where the first asking was cut short."""
    return [{name: value for name, value in row.items() if name not in TIMES} for row in told]


@pytest.mark.parametrize(
    ("lake", "more", "said"),
    [
        ("s3://no-such-bucket/x", {}, "create the bucket, or correct USAGE_PIPELINE_LAKE"),
        ("s4://lake/x", {}, "begins with s3://, gs://, az:// or abfss://"),
        ("s3://lake/x", {"AWS_ALLOW_HTTP": "false"}, "refused unless AWS_ALLOW_HTTP=true"),
    ],
)
def test_a_store_that_cannot_be_used_is_told_in_one_line(
    bucket: str,
    loaded: Loaded,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    lake: str,
    more: dict[str, str],
    said: str,
) -> None:
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    wrong = replace(loaded, home=tmp_path / "home", lake=lake)
    for command in (("pull", *RANGE, "--account", "nodes"), ("compact",)):
        result = wrong.command(*command)
        assert result.exit_code == 1
        assert said in result.stderr, result.stderr
        assert len(result.stderr.splitlines()) <= 8
        assert "Debug" not in result.stderr


def test_no_key_is_written_anywhere(
    loaded: Loaded, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [loaded.command("connect").output, loaded.command("status").output, loaded.command("verify").output]
    said.append(loaded.command("sql", "FROM duckdb_views()", "--format", "csv").output)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for command in (("compact",), ("sql", "SELECT sum(value) FROM usage")):
        result = loaded.command(*command)
        assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
        assert "cannot be reached" in result.stderr
        said.append(result.output)
    monkeypatch.undo()
    buckets.copy(loaded.lake, tmp_path / "lake")
    bodies = [("output", text.encode()) for text in said]
    bodies += [*written(loaded.home), *written(tmp_path / "lake")]
    assert len(bodies) > 20
    for name, body in bodies:
        for key in (buckets.KEY, buckets.SECRET):
            assert not [form for form in forms(key) if form in body], name


def lines(printed: str) -> str:
    return "".join(line for line in printed.splitlines(keepends=True) if not line.startswith("#"))


@pytest.mark.parametrize("tool", ["python", "polars"])
def test_connect_prints_programs_that_read_the_bucket(loaded: Loaded, tool: str) -> None:
    printed = loaded.command("connect", tool, **dict(variables()))
    assert (printed.exit_code, printed.stderr) == (0, "")
    more = {"python": 'warehouse.sql("FROM usage").shape[0]', "polars": "usage.height, newest.collect().height"}
    program = f"{printed.stdout}\nprint({more[tool]})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    there = str(len(world.table(loaded.lake)))
    assert done.stdout.splitlines()[-1] == {"python": there, "polars": f"{there} {there}"}[tool]


@pytest.fixture(scope="module")
def cli_with_extensions() -> str:
    """The path on which there is a DuckDB CLI that has its extensions: here nothing is downloaded."""
    folders = [sysconfig.get_path("scripts"), *os.environ["PATH"].split(os.pathsep)]
    for folder in folders:
        cli = shutil.which("duckdb", path=folder)
        needs = "LOAD httpfs; LOAD aws; LOAD delta"
        if cli and subprocess.run([cli, "-bail", "-c", needs], capture_output=True, check=False).returncode == 0:
            return os.pathsep.join([folder, os.environ["PATH"]])
    pytest.skip("needs a DuckDB CLI whose extensions httpfs, aws and delta are installed")


@pytest.mark.parametrize("tool", ["duckdb", "delta"])
def test_connect_prints_a_command_that_reads_the_bucket(loaded: Loaded, cli_with_extensions: str, tool: str) -> None:
    printed = loaded.command("connect", tool, **dict(variables())).stdout
    done = subprocess.run(
        # They are there, and would be looked for in the network.
        ["bash", "-c", re.sub(r"INSTALL \w+; ?", "", printed)],
        input=".mode csv\nSELECT count(*) AS told, min(period_end) AS first FROM usage WHERE vendor = 'puppet';\n",
        env={**os.environ, "PATH": cli_with_extensions, "TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=False,
    )
    puppet = [row for row in world.table(loaded.lake) if row["vendor"] == "puppet"]
    assert done.stdout.splitlines()[-1] == f"{len(puppet)},2026-03-27 00:00:00+00", done.stderr


def test_connect_tells_the_place_of_a_store_and_none_of_its_keys() -> None:
    environment = {
        "AWS_ENDPOINT_URL": f"https://{buckets.KEY}:{quote(buckets.SECRET, safe='')}@store.example:9000/",
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": buckets.KEY,
        "AWS_SECRET_ACCESS_KEY": buckets.SECRET,
        "AZURE_STORAGE_ACCOUNT_NAME": "acme",
        "AZURE_STORAGE_ACCOUNT_KEY": buckets.SECRET,
    }
    _, tools = connect.tools()
    for scheme, told in (("s3", "'store.example:9000'"), ("gs", "TYPE gcs"), ("az", "ACCOUNT_NAME 'acme'")):
        for tool in tools:
            text = connect.text(tool, Path("/home/warehouse.duckdb"), f"{scheme}://it's/acme/usage", environment)
            assert not [key for key in (buckets.KEY, buckets.SECRET) if key in text]
            by_python = tool.name in {"python", "pandas", "polars"}
            assert (f"FsspecStore('{scheme}')" if by_python else told) in text.replace("'\"'\"'", "'"), tool.name


def test_a_store_that_passes_over_the_condition_is_refused(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layout.agree(f"{bucket}/decides")
    assert buckets.names(f"{bucket}/decides") == {"layout.json"}
    put = obstore.put
    monkeypatch.setattr(obstore, "put", lambda store, path, body, **_condition: put(store, path, body))
    with pytest.raises(ConfigurationError, match="without conditional writes"):
        layout.agree(f"{bucket}/does-not")
    assert buckets.names(f"{bucket}/does-not") == set()
