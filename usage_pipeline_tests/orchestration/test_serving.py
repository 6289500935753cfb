"""`usage-pipeline dev`: one code server for webserver and daemon, and nothing left when it ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from usage_pipeline import config

ROOT = Path(__file__).parents[2]
HANGING = 90.0
"""Seconds after which a start counts as hanging."""

ACCOUNTS = """
accounts:
  - {name: acme, vendor: consul, base_url: "http://127.0.0.1:1", start_date: 2026-01-01}
"""
LOCATIONS = """
{
  workspaceOrError {
    ... on Workspace { locationEntries { name locationOrLoadError { __typename } } }
  }
  instance { daemonHealth { allDaemonStatuses { daemonType required } } }
}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def asked(port: int, query: str) -> dict[str, object] | None:
    """What the webserver answers; None while there is none."""
    try:
        answer = httpx.post(f"http://127.0.0.1:{port}/graphql", json={"query": query}, timeout=30)
    except httpx.TransportError:
        return None
    data: dict[str, object] = answer.json()["data"]
    return data


def family(home: Path) -> dict[int, list[str]]:
    """The processes that were started for a home, by the variable that all inherit: their commands."""
    marker = f"{config.HOME_VARIABLE}={home}\0".encode()
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if marker in process.joinpath("environ").read_bytes():
                found[int(process.name)] = process.joinpath("cmdline").read_text().split("\0")
        except (OSError, ValueError):
            continue  # gone, or another user's
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes by /proc, which only Linux has")
def test_dev_serves_with_one_code_server_and_ends_with_all(tmp_path: Path) -> None:
    file, home = tmp_path / "accounts.yaml", tmp_path / "home"
    file.write_text(ACCOUNTS)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        config.ACCOUNTS_VARIABLE: str(file),
        config.HOME_VARIABLE: str(home),
    }
    port = free_port()
    log = tmp_path / "dev.log"
    program = "from usage_pipeline.cli import main; main()"
    with log.open("wb") as sink:
        dev = subprocess.Popen(
            [sys.executable, "-c", program, "dev", "--port", str(port)],
            cwd=tmp_path,
            env=environment,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + HANGING
        while (told := asked(port, LOCATIONS)) is None:
            if dev.poll() is not None or time.monotonic() > deadline:
                pytest.fail(log.read_text())
            time.sleep(0.2)
        # The name under which Dagster keeps what is switched on, as in workspace.yaml; loaded at the first look.
        loaded = {"name": "usage_pipeline", "locationOrLoadError": {"__typename": "RepositoryLocation"}}
        assert told["workspaceOrError"] == {"locationEntries": [loaded]}
        running = family(home)
        assert dev.pid in running
        assert len([command for command in running.values() if {"api", "grpc"} <= set(command)]) == 1
        assert (home / "dagster" / "dagster.yaml").exists()
        assert (home / "layout.json").exists()
    finally:
        dev.send_signal(signal.SIGTERM)
        code = dev.wait(60)
    assert code == 0, log.read_text()
    deadline = time.monotonic() + HANGING
    while family(home):
        if time.monotonic() > deadline:
            pytest.fail(f"still there: {family(home)}")
        time.sleep(0.2)


def test_a_folder_of_a_newer_program_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "layout.json").write_text('{"version": 99, "tables": ""}')
    program = "from usage_pipeline.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", program, "dev", "--port", str(free_port())],
        env={**os.environ, "PYTHONPATH": str(ROOT), config.HOME_VARIABLE: str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=HANGING,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"Error: {tmp_path} was written by a newer usage-pipeline (layout 99;")
    assert len(ended.stderr.splitlines()) == 1
