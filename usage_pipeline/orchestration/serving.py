"""The processes that serve Dagster on this machine: one that loads the code, and webserver and daemon that ask it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from dagster._grpc.client import DagsterGrpcClient

# As in workspace.yaml: Dagster keeps which schedules are switched on under the location's name.
LOCATION = "usage_pipeline"
DEFINITIONS = "usage_pipeline.definitions"

Command = Sequence[str]


def code_server(folder: Path) -> Command:
    """The process that loads the definitions; `reload` in the UI loads them anew for all. Its socket is in the folder.

    Left to themselves, webserver and daemon start one each, and the daemon a new one every minute.
    """
    return _dagster("dagster", "code-server", "start", "--socket", _socket(folder), "-m", DEFINITIONS,
                    "--location-name", LOCATION)  # fmt: skip


def answers(folder: Path) -> bool:
    """Whether the code server is there, and has loaded the definitions or knows why it cannot."""
    try:
        DagsterGrpcClient(socket=_socket(folder)).ping("there?")
    except Exception:  # noqa: BLE001 - whatever it is, it does not answer yet
        return False
    return True


def clients(folder: Path, port: int) -> list[Command]:
    """Webserver on loopback, and daemon."""
    workspace = folder / "workspace.yaml"
    workspace.write_text(
        yaml.safe_dump({"load_from": [{"grpc_server": {"socket": _socket(folder), "location_name": LOCATION}}]})
    )
    return [
        _dagster("dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", str(workspace)),
        _dagster("dagster._daemon", "run", "-w", str(workspace)),
    ]


def _dagster(module: str, *arguments: str) -> Command:
    return [sys.executable, "-m", module, *arguments]


def _socket(folder: Path) -> str:
    return str(folder / "code")
