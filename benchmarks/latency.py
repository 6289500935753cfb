"""Wall time when the vendor answers in 200 ms and takes N requests at once, against the arithmetic optimum.

Target: at most 1.3 times the optimum, `ceil(requests / N) * latency`. Measured is `pipeline.ask`, from the first
request to the last answer kept with its receipt, of endpoints that need many requests, or several at once; N is what
the vendor module allows. Each of the credential's own requests (AVEVA: discovery and token) is a round more.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measure import Cost, interleaved, of_command, record
from benchmarks.sandbox import NOW, clock, counted, process
from usage_pipeline import demo, pipeline
from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.sandbox import server
from usage_pipeline.vendors.registry import VENDORS

# Account, endpoint, days, and rounds that the credential takes before the first request.
CASES = {
    "aveva, a year": ("demo-aveva", "tenant_usage", 365, 2),
    "launchdarkly, a year of connections": ("demo-launchdarkly", "service_connections", 365, 0),
    "launchdarkly, 100 days of rankings": ("demo-launchdarkly", "data_export_projects", 100, 0),
    "thousandeyes, 20 days of units": ("demo-thousandeyes", "units_tests", 20, 0),
}
TARGET = 1.3
TOLD = "told.json"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds a request")
    parser.add_argument("--repeat", type=int, default=3)
    asked = parser.parse_args(arguments)
    told: dict[str, Any] = {}
    with process(asked.latency) as address, tempfile.TemporaryDirectory() as folder:

        def ask(name: str) -> Cost:
            home = tempfile.mkdtemp(dir=folder)
            of_command([sys.executable, "-m", "benchmarks.latency", name, address, home], server.environment())
            found = json.loads((Path(home) / TOLD).read_text())
            told[name] = counted(address) | found
            return Cost(found["cpu"], found["wall"], 0)

        costs = interleaved({name: functools.partial(ask, name) for name in CASES}, asked.repeat)
    for name, cost in costs.items():
        account, _, days, before = CASES[name]
        vendor = VENDORS[account.removeprefix("demo-")]
        requests = told[name]["requests"]
        optimum = (math.ceil(requests / vendor.concurrency) + before) * asked.latency
        record(
            "latency", case=name, days=days, requests=requests, at_once=vendor.concurrency, most=told[name]["most"],
            latency=asked.latency, optimum=optimum, wall=cost.wall, cpu=cost.cpu, ratio=cost.wall / optimum,
            target=TARGET,
        )  # fmt: skip


def ask(name: str, address: str, home: Path) -> None:
    """One case, in a process of its own."""
    account, slug, days, _ = CASES[name]
    today = NOW.date()
    past = Days(today - days * DAY, today - DAY)
    place = pipeline.place({**server.environment(), "USAGE_PIPELINE_HOME": str(home)}, clock, time.sleep)
    [who] = [one for one in demo.accounts(address, past.first).accounts if one.name == account]
    # Modules, certificates and the tables' folder are there in a process that has loaded something before.
    pipeline.ask(place, who, slug, [past.first])
    began = time.perf_counter(), time.process_time()
    found = pipeline.ask(place, replace(who), slug, past)
    spent = time.perf_counter() - began[0], time.process_time() - began[1]
    assert not found.failed, found.failed
    requests = sum(piece.requests for piece in found.pieces)
    (home / TOLD).write_text(json.dumps({"requests": requests, "wall": spent[0], "cpu": spent[1]}))


if __name__ == "__main__":
    ask(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
