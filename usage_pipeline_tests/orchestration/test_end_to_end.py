"""A real webserver and daemon, a sandbox over real HTTP, a backfill by GraphQL, and the warehouse that comes of it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from usage_pipeline import config
from usage_pipeline.contract.time import Days
from usage_pipeline.orchestration import instance
from usage_pipeline.sandbox import server
from usage_pipeline.sandbox.world import World
from usage_pipeline_tests.webserver import LAUNCH, STATUS, ask, until, up

ROOT = Path(__file__).parents[2]
START, BACKFILL = 60.0, 240.0
"""Seconds after which a start, and a backfill, count as hanging; the daemon looks for backfills every 30 s."""

PARTITIONS = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode {
      partitionStats { numMaterialized numFailed }
      assetPartitionStatuses { ... on TimePartitionStatuses { ranges { status startKey endKey } } }
    }
  }
}
"""


@dataclass(frozen=True)
class Dagster:
    """The webserver's GraphQL, and where the pipeline keeps things."""

    url: str
    home: Path


@contextmanager
def process(*command: str, environment: Mapping[str, str], log: Path) -> Iterator[None]:
    """A command in a session of its own, which is ended with everything it started."""
    with log.open("wb") as sink:
        started = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=environment,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(started.pid, sign)
                started.wait(20)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        started.wait(20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def settled(today: date) -> Days:
    """Five days that Puppet changes no more, in the first month of a quarter: the sandbox's loses no day of those."""
    lately = today - timedelta(days=20)
    first = date(lately.year, 1 + 3 * ((lately.month - 1) // 3), 1)
    return Days(first, first + timedelta(days=4))


@pytest.fixture
def dagster(tmp_path: Path, serve: Callable[[Any], str]) -> Iterator[Dagster]:
    """Webserver and daemon on two of the sandbox's accounts, one of each history."""
    base = serve(server.app(World(lambda: datetime.now(UTC))))
    start = settled(datetime.now(UTC).date()).first
    written = yaml.safe_load(config.SANDBOX_ACCOUNTS.read_text())
    accounts = [
        # One datacenter is always there: that the others come and go is not the matter here.
        {**entry, "base_url": f"{base}/{entry['vendor']}", "options": {}, "start_date": start}
        for entry in written["accounts"]
        if entry["vendor"] in {"puppet", "consul"}
    ]
    file = tmp_path / "accounts.yaml"
    file.write_text(yaml.safe_dump({"accounts": accounts}))
    home = tmp_path / "home"
    environment = {
        **os.environ,
        **server.environment(),
        config.ACCOUNTS_VARIABLE: str(file),
        config.HOME_VARIABLE: str(home),
        "DAGSTER_HOME": str(instance.prepare(home, [entry["name"] for entry in accounts])),
    }
    port = free_port()
    found = Dagster(f"http://127.0.0.1:{port}", home)
    workspace = ("-w", str(ROOT / "workspace.yaml"))
    logs = tmp_path / "log", tmp_path / "daemon.log"
    with ExitStack() as stack:
        web = ("dagster_webserver", "-h", "127.0.0.1", "-p", str(port), *workspace)
        stack.enter_context(process(*web, environment=environment, log=logs[0]))
        daemon = ("dagster._daemon", "run", *workspace)
        stack.enter_context(process(*daemon, environment=environment, log=logs[1]))
        until(lambda: up(found.url), START, logs[0].read_text)
        yield found


def path(what: str, account: str, endpoint: str) -> dict[str, list[str]]:
    return {"path": [what, account, endpoint]}


def ranges(days: Days) -> dict[str, dict[str, str]]:
    return {"range": {"start": str(days.first), "end": str(days.last)}}


def test_a_backfill_fills_the_warehouse(dagster: Dagster, tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    window, snapshot = settled(today), Days(today, today)
    asked = [("demo-puppet", "usage", window), ("demo-consul", "operator_usage", snapshot)]
    launched = ask(
        dagster.url,
        LAUNCH,
        asked={
            "partitionsByAssets": [
                {"assetKey": path(what, account, endpoint), "partitions": ranges(days)}
                for account, endpoint, days in asked
                for what in ("raw", "usage")
            ]
        },
    )["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched

    def status() -> str:
        told = ask(dagster.url, STATUS, id=launched["backfillId"])
        return str(told["partitionBackfillOrError"]["status"])

    log = (tmp_path / "daemon.log").read_text
    until(lambda: status().startswith(("COMPLETED", "FAILED", "CANCELED")), BACKFILL, log)
    assert status() == "COMPLETED_SUCCESS", log()

    for account, endpoint, days in asked:
        for what in ("raw", "usage"):
            found = ask(dagster.url, PARTITIONS, key=path(what, account, endpoint))["assetNodeOrError"]
            assert found["partitionStats"] == {"numMaterialized": len(days), "numFailed": 0}
            assert found["assetPartitionStatuses"]["ranges"] == [
                {"status": "MATERIALIZED", "startKey": str(days.first), "endKey": str(days.last)}
            ]

    with duckdb.connect(str(dagster.home / "warehouse.duckdb"), read_only=True) as session:
        rows = session.execute(
            "SELECT account, usage_date, count(*) FROM usage WHERE metric = 'nodes' GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        known = session.execute("SELECT account, usage_date, state FROM coverage ORDER BY ALL").fetchall()
    assert rows == [("demo-consul", today, 1), *(("demo-puppet", day, 1) for day in window)]
    assert known == [("demo-consul", today, "complete"), *(("demo-puppet", day, "complete") for day in window)]
