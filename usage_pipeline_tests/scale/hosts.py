"""Hosts for the tests of a deployment: network namespaces on a bridge where that is allowed, else loopback for all.

What runs on them are the commands of deploy/compose.yaml itself, with the paths and ports of a test.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())

POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)), None)
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Host:
    """Where commands run: `prefix` takes them there, into the namespace that is that file."""

    address: str
    prefix: tuple[str, ...] = ()
    space: Path | None = None


@dataclass(frozen=True)
class Network:
    """The hosts by name. `apart`: each has ports of its own."""

    hosts: Mapping[str, Host]
    apart: bool


@contextmanager
def network(names: Sequence[str]) -> Iterator[Network]:
    """A namespace for each name, joined by a bridge; where this user may not make them, loopback for all."""
    number = os.getpid() % 60_000
    bridge, subnet = f"up{number}", f"10.{210 + number // 6000}.{number % 250}"
    with ExitStack() as stack:
        try:
            _ip("link", "add", bridge, "type", "bridge")
        except (OSError, subprocess.CalledProcessError):
            yield Network({name: Host(LOOPBACK) for name in names}, apart=False)
            return
        stack.callback(_ip, "link", "del", bridge)
        _ip("addr", "add", f"{subnet}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        hosts = {}
        for last, name in enumerate(names, start=2):
            space, here, there = f"{bridge}-{name}", f"{bridge}v{last}", "eth0"
            _ip("netns", "add", space)
            stack.callback(_ip, "netns", "del", space)
            _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", space)
            _ip("link", "set", here, "master", bridge, "up")
            _ip("-n", space, "addr", "add", f"{subnet}.{last}/24", "dev", there)
            for device in ("lo", there):
                _ip("-n", space, "link", "set", device, "up")
            hosts[name] = Host(f"{subnet}.{last}", ("ip", "netns", "exec", space), Path("/run/netns") / space)
        yield Network(hosts, apart=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def on_loopback(app: Any, hosts: Sequence[Host]) -> Iterator[str]:
    """One application on the loopback of this process and of each of these hosts; yields its address, there and here.

    It runs in this process: a socket stays in the namespace of the thread that made it.
    """
    port = free_port()
    spaces = {None, *(host.space for host in hosts)}
    sockets = []
    for space in spaces:
        # A thread of its own: a namespace that a thread has entered is not left again.
        with ThreadPoolExecutor(1) as alone:
            sockets.append(alone.submit(_listening, space, port).result())
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        thread.join(0.01)
    try:
        yield f"http://{LOOPBACK}:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


def _listening(space: Path | None, port: int) -> socket.socket:
    if space:
        with space.open() as file:
            assert ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((LOOPBACK, port))
    made.listen(100)
    return made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def command(service: str, replaced: Mapping[str, str]) -> list[str]:
    """What compose runs as a service, with other paths and ports."""
    found = [_replace(word, replaced) for word in COMPOSE["services"][service]["command"]]
    program = Path(sys.executable).with_name(found[0])
    if found[0] == "postgres":
        program = POSTGRES or Path("postgres")
    return [str(program) if program.exists() else found[0], *found[1:]]


def _replace(word: str, replaced: Mapping[str, str]) -> str:
    for old, new in replaced.items():
        if old.startswith("/") or old == word:
            word = word.replace(old, new)
    return word


@contextmanager
def running(
    host: Host, command: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A command on a host, in a session of its own, which is ended with everything that it started."""
    with log.open("ab") as sink:
        started = subprocess.Popen(
            [*host.prefix, *command], cwd=ROOT, env=environment, stdout=sink, stderr=sink, start_new_session=True
        )
    try:
        yield started
    finally:
        end(started)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a session, politely first; what it started may outlive it."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)


def as_user(name: str) -> tuple[str, ...]:
    """What makes a command run as that user; nothing where only root may choose."""
    if os.geteuid() != 0:
        return ()
    return ("setpriv", f"--reuid={name}", f"--regid={name}", "--clear-groups")


def own(folder: Path, user: str) -> None:
    """Give a folder and what is in it to a user, where only root may."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user, user)
