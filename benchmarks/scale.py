"""What growth costs: definitions by the number of accounts, a run among them, a request, a row, and a publication.

docs/scaling.md reckons with these numbers. `definitions` is a process that loads and serialises all of a fleet's
definitions, as the code server does at its start; target: 30 s CPU and 512 MiB at 1,000 accounts. `run` is one
account's week in one process, as a worker makes it, beside so many other accounts. `request` asks the sandbox for a day
and keeps the answer, loading nothing. `bytes` are a row's in the table after compaction. `publish` is by the number of
files that the table has: after one more of them, as a load leaves it; `first` when nothing was published yet.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measure import ROOT, Cost, of_call, record
from benchmarks.sandbox import NOW, clock, process
from usage_pipeline import config
from usage_pipeline.sandbox import server

TARGET = {"cpu": 30.0, "peak": 512.0}
ROWS = 1_000_000
REQUESTS = 50
WEEK = 7


def fleet(number: int, address: str = "http://127.0.0.1:8750") -> str:
    """An accounts.yaml of so many accounts on the sandbox: its five in turn, each under names of their own."""
    [known] = yaml.safe_load(config.SANDBOX_ACCOUNTS.read_text()).values()
    accounts = [
        {**account, "name": f"{account['vendor']}-{n}", "base_url": f"{address}/{account['vendor']}"}
        for n, account in enumerate(islice(cycle(known), number))
    ]
    return yaml.safe_dump({"accounts": accounts}, sort_keys=False)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, nargs="+", default=[5, 100, 1000])
    parser.add_argument("--files", type=int, nargs="+", default=[100, 1000, 4000])
    parser.add_argument("--only", choices=STEPS, nargs="+", default=list(STEPS))
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.child:
        step, *rest = asked.child
        print(json.dumps(STEPS[step](*rest)))
        return
    sizes = {
        "definitions": asked.accounts,
        "run": asked.accounts,
        "request": [5],
        "bytes": [ROWS],
        "publish": asked.files,
    }
    with process() as address:
        for step in asked.only:
            for size in sizes[step]:
                told = child(step, str(size), address)
                cost = Cost(*told.pop("cost"))
                record(
                    "scale", case=step, size=size, cost=cost, target=TARGET if step == "definitions" else None, **told
                )


def child(step: str, *arguments: str) -> dict[str, Any]:
    """A step in a process of its own: what it told of itself."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, **server.environment(), config.HOME_VARIABLE: home}
        command = [sys.executable, "-m", "benchmarks", "scale", "--child", step, *arguments]
        done = subprocess.run(  # noqa: S603 - our own
            command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _fields(cost: Cost) -> list[float]:
    return [cost.cpu, cost.wall, cost.peak]


def definitions(size: str, address: str) -> dict[str, object]:
    """Load a fleet's definitions and write them as the code server sends them. Imports are not counted."""
    import dagster as dg  # noqa: F401 - loaded before it is measured
    from dagster._core.remote_representation.external_data import RepositorySnap
    from dagster_shared.serdes import serialize_value

    from usage_pipeline import orchestration, pipeline

    text, sent = fleet(int(size), address), ""

    def load() -> None:
        nonlocal sent
        place = pipeline.place(os.environ, clock, time.sleep)
        defs = orchestration.build(config.parse(text, "fleet"), place)
        sent = serialize_value(RepositorySnap.from_def(defs.get_repository_def(), defer_snapshots=True))

    return {"cost": _fields(of_call(load)), "sent": len(sent)}


def run(size: str, address: str) -> dict[str, object]:
    """A week of one Puppet account in one run, among so many accounts; the second run, when all is loaded."""
    import dagster as dg

    from usage_pipeline import orchestration, pipeline
    from usage_pipeline.contract.time import DAY, Days
    from usage_pipeline.contract.vendor import History
    from usage_pipeline.orchestration import schedules
    from usage_pipeline.orchestration.instance import prepare

    configuration = config.parse(fleet(int(size), address), "fleet")
    account = next(account for account in configuration.accounts if account.vendor == "puppet")
    place = pipeline.place(os.environ, clock, time.sleep)
    folder = prepare(place.home, [account.name])
    job = orchestration.build(configuration, place).resolve_job_def(schedules.JOB[History.WINDOW])
    days = Days(NOW.date() - WEEK * DAY, NOW.date() - DAY)
    with dg.DagsterInstance.from_config(str(folder)) as instance:

        def execute() -> None:
            done = job.execute_in_process(
                instance=instance,
                asset_selection=schedules.selected(account.name, account.endpoints),
                tags=dict(schedules.ranged(days)),
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            assert done.success

        execute()
        cost = of_call(execute)
    events = max(file.stat().st_size for file in (folder / "history" / "runs").glob("*-*.db"))
    return {"cost": _fields(cost), "events": events}


def request(size: str, address: str) -> dict[str, object]:
    """Days of Puppet, one by one: a request each, and its answer kept."""
    from usage_pipeline import pipeline
    from usage_pipeline.contract.time import DAY, Days

    account = next(one for one in config.parse(fleet(int(size), address), "fleet").accounts if one.vendor == "puppet")
    place = pipeline.place(os.environ, clock, time.sleep)
    days = [NOW.date() - n * DAY for n in range(1, REQUESTS + 2)]
    assert not pipeline.capture(place, account, "usage", Days(days[-1], days[-1])).failures

    def ask() -> None:
        for day in days[:REQUESTS]:
            pipeline.capture(place, account, "usage", Days(day, day))

    cost = of_call(ask)
    kept = sum(file.stat().st_size for file in (place.home / "raw").rglob("*") if file.is_file())
    return {
        "cost": [cost.cpu / REQUESTS, cost.wall / REQUESTS, cost.peak],
        "kept": kept / (REQUESTS + 1),
    }


def bytes_of_a_row(size: str, _address: str) -> dict[str, object]:
    """A month of the invented fleet of benchmarks/fleet.py, as compaction leaves it: rows of many and of few parts."""
    from benchmarks import fleet as invented
    from usage_pipeline.stages.lake import Lake

    home = Path(os.environ[config.HOME_VARIABLE])
    lake = Lake(str(home))
    cost = of_call(lambda: invented.write(lake, int(size), 12))
    from usage_pipeline.contract.schema import USAGE

    table = lake.open(USAGE)
    rows = table.to_pyarrow_dataset().count_rows()
    taken = sum(file.stat().st_size for file in (home / "usage").rglob("*.parquet"))
    return {"cost": _fields(cost), "rows": rows, "bytes_a_row": taken / rows}


def publish(size: str, _address: str) -> dict[str, object]:
    """Publish when so many files of a few rows are there, and again after one more, as after a load."""
    import duckdb
    from deltalake import write_deltalake

    from benchmarks import fleet as invented
    from usage_pipeline.contract.schema import USAGE
    from usage_pipeline.stages.lake import Lake
    from usage_pipeline.stages.publish import publish as published
    from usage_pipeline.vendors.registry import VENDORS

    home = Path(os.environ[config.HOME_VARIABLE])
    lake, number = Lake(str(home)), int(size)
    month = invented.month_of("puppet", invented.FIRST, 1)
    table = lake.open(USAGE)
    column = month.schema.get_field_index("month")
    # A partition is a file: so many months.
    first = date(1000, 1, 1)
    import pyarrow as pa

    parts = []
    for n in range(number):
        text = f"{first + timedelta(days=31 * n):%Y-%m}"
        parts.append(month.slice(0, 4).set_column(column, "month", pa.repeat(pa.scalar(text, pa.string()), 4)))
    write_deltalake(table, pa.concat_tables(parts), mode="append")
    opened = of_call(lambda: lake.open(USAGE).file_uris())
    before = of_call(lambda: published(lake, home, VENDORS.values()))
    write_deltalake(lake.open(USAGE), month.slice(0, 4), mode="append")
    cost = of_call(lambda: published(lake, home, VENDORS.values()))
    file = home / "warehouse.duckdb"

    def ask() -> None:
        with duckdb.connect(str(file), read_only=True) as session:
            session.execute("SELECT sum(value) FROM usage WHERE month = '1000-01'").fetchall()

    return {
        "cost": _fields(cost),
        "first": _fields(before),
        "log": _fields(opened),
        "query": _fields(of_call(ask)),
        "file": file.stat().st_size,
    }


STEPS = {"definitions": definitions, "run": run, "request": request, "bytes": bytes_of_a_row, "publish": publish}
