"""The sandbox as a process of its own, from one instant on: slow on demand, and counting what it is asked.

GET /counted tells requests by vendor, without those for tokens, and the most that it answered at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send

from benchmarks.measure import ROOT
from usage_pipeline.sandbox import server
from usage_pipeline.sandbox.world import World

NOW = datetime(2026, 3, 18, 12, 0, tzinfo=UTC)
BEGAN = "BENCHMARK_BEGAN"


def clock() -> datetime:
    """The present of the sandbox and of who asks it: noon, and what has passed since the sandbox was started.

    It ticks, as ThousandEyes counts what it is asked a minute, and two captures of one instant would be one.
    """
    return NOW + timedelta(seconds=time.time() - float(os.environ[BEGAN]))


class Counted:
    """The sandbox behind a network that takes `latency` seconds a request."""

    def __init__(self, latency: float) -> None:
        self.app = server.app(World(clock))
        self.latency = latency
        self.asked: Counter[str] = Counter()
        self.at_once = self.most = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _, vendor, *path = scope["path"].split("/")
        if vendor == "counted":
            body = json.dumps({"asked": self.asked, "most": self.most}).encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})
            self.asked, self.most = Counter(), 0
            return
        if "identity" not in path:
            self.asked[vendor] += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(self.latency)
            await self.app(scope, receive, send)
        finally:
            self.at_once -= 1


@contextmanager
def process(latency: float = 0) -> Iterator[str]:
    """The sandbox in a process of its own; yields its address."""
    os.environ[BEGAN] = str(time.time())
    command = [sys.executable, "-m", "benchmarks.sandbox", str(latency)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:  # noqa: S603 - our own
        assert running.stdout
        try:
            yield running.stdout.readline().strip()
        finally:
            running.terminate()


def counted(address: str) -> Any:
    """What was asked since the last look."""
    with urllib.request.urlopen(f"{address}/counted") as answer:  # noqa: S310 - our own sandbox
        return json.load(answer)


def _serve(latency: float) -> None:
    config = uvicorn.Config(Counted(latency), server.HOST, 0, log_level="error", lifespan="off")
    socket = config.bind_socket()
    print(f"http://{server.HOST}:{socket.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[socket])


if __name__ == "__main__":
    _serve(float(sys.argv[1]))
