"""What one daily run costs: yesterday's windows and today's snapshots of five vendors, loaded and published.

Target: at most 1.5 times the floor, which is importing Dagster and pandas once. The table has 30 days before it is
measured. `dagster` is one process that makes both runs, as a run that Dagster launches; `pull` is the command line,
which does the same without Dagster. Whole processes, with the interpreter's start.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
from collections.abc import Sequence

from benchmarks.measure import Cost, interleaved, of_command, record
from benchmarks.sandbox import BEGAN, NOW, process
from usage_pipeline.sandbox import server

TARGET = 1.5
YEAR = [sys.executable, "-m", "benchmarks.year"]
FLOOR = [sys.executable, "-c", "import dagster, pandas"]
PULL = """
import os, sys, time
from dataclasses import replace
from datetime import datetime, timedelta
from usage_pipeline import config, pipeline
from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.contract.vendor import History
address, noon, began = sys.argv[1], datetime.fromisoformat(sys.argv[2]), float(sys.argv[3])
today = noon.date()

def clock():
    return noon + timedelta(seconds=time.time() - began)

place = pipeline.place(os.environ, clock, time.sleep)
for account in config.read(config.SANDBOX_ACCOUNTS).accounts:
    account = replace(account, base_url=f"{address}/{account.vendor}", start_date=today - 31 * DAY)
    for slug in account.endpoints:
        day = today if pipeline.endpoint_of(account, slug).history is History.SNAPSHOT else today - DAY
        pipeline.pull(place, account, slug, Days(day, day))
pipeline.publish(place)
assert "dagster" not in sys.modules
"""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    asked = parser.parse_args(arguments)
    with process() as address, tempfile.TemporaryDirectory() as home:
        environment = {**server.environment(), "USAGE_PIPELINE_HOME": home}
        of_command([*YEAR, address, home, "30"], environment)
        commands = {
            "floor": FLOOR,
            "dagster": [*YEAR, address, home, "1"],
            "pull": [sys.executable, "-c", PULL, address, str(NOW), os.environ[BEGAN]],
        }

        def run(name: str) -> Cost:
            return of_command(commands[name], environment)

        costs = interleaved({name: functools.partial(run, name) for name in commands}, asked.repeat)
    for name, cost in costs.items():
        record("daily", case=name, cost=cost, ratio=cost.cpu / costs["floor"].cpu, target=TARGET)
