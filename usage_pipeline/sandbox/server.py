"""The five vendors' APIs in one server on loopback, each under its own name, all in the same invented world."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from usage_pipeline.contract.time import Clock
from usage_pipeline.sandbox import aveva, consul, launchdarkly, puppet, thousandeyes
from usage_pipeline.sandbox.faults import Faults, Faulty, Wire
from usage_pipeline.sandbox.world import World

HOST = "127.0.0.1"
PORT = 8750
VENDORS = {
    "consul": consul,
    "aveva": aveva,
    "thousandeyes": thousandeyes,
    "launchdarkly": launchdarkly,
    "puppet": puppet,
}


@dataclass(slots=True, eq=False)
class TurnableClock:
    """The present, as the one who turns it says."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


def app(world: World) -> Starlette:
    """Every vendor's routes, under /<vendor>."""
    return Starlette(routes=[Mount(f"/{name}", routes=vendor.routes(world)) for name, vendor in VENDORS.items()])


def environment() -> dict[str, str]:
    """What the sandbox accepts, by the variables that its accounts.yaml names."""
    return {
        "SANDBOX_CONSUL_TOKEN": consul.TOKEN,
        "SANDBOX_AVEVA_CLIENT_ID": aveva.CLIENT_ID,
        "SANDBOX_AVEVA_CLIENT_SECRET": aveva.CLIENT_SECRET,
        "SANDBOX_THOUSANDEYES_BEARER_TOKEN": thousandeyes.BEARER_TOKEN,
        "SANDBOX_LAUNCHDARKLY_ACCESS_TOKEN": launchdarkly.TOKEN,
        "SANDBOX_PUPPET_TOKEN": puppet.TOKEN,
    }


def _server(clock: Clock, port: int, wrong: Faults) -> uvicorn.Server:
    faulty = Faulty(app(World(clock)), clock, wrong)
    return uvicorn.Server(uvicorn.Config(faulty, HOST, port, log_level="error", lifespan="off", http=Wire))


@contextmanager
def serving(clock: Clock, port: int = 0, faults: Faults | None = None) -> Iterator[str]:
    """The sandbox in a thread, on this port or, for 0, on a free one; yields its address.

    `faults` say what goes wrong, and may be told anew while it is served.
    """
    server = _server(clock, port, faults or Faults())
    thread = threading.Thread(target=_until_stopped, args=(server,), daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise OSError(f"port {port} on {HOST} is taken; choose another")
        thread.join(0.01)
    try:
        yield f"http://{HOST}:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def _until_stopped(server: uvicorn.Server) -> None:
    try:
        server.run()
    except SystemExit:
        # uvicorn leaves so when it cannot bind; `serving` sees the thread end.
        return
