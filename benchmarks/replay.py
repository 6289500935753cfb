"""Replay: from the raw answers of a year to the Delta table, asking no vendor, as `usage-pipeline replay` does.

Target: 1 M rows a CPU second. The floor is parsing the JSON and writing the same rows as one Parquet file. `load` is
the first time, into an empty table; `replay` takes the place of rows that are there. Imports are not counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import answers
from benchmarks.measure import ROOT, Cost, interleaved, of_call, record
from usage_pipeline import pipeline, stages
from usage_pipeline.contract.time import Days

TARGET = 1_000_000


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--vendors", nargs="+", default=["launchdarkly", "thousandeyes", "aveva"])
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        step, vendor, folder = given.child
        print(json.dumps(STEPS[step](vendor, given.rows, Path(folder))))
        return
    for vendor in given.vendors:
        with TemporaryDirectory() as folder:
            home = Path(folder)
            child("land", vendor, given.rows, home)
            steps: dict[str, Callable[[], Cost]] = {
                step: partial(child, step, vendor, given.rows, home) for step in ("floor", "load", "replay")
            }
            for step, cost in interleaved(steps, given.repeat).items():
                speed = given.rows / cost.cpu
                target = TARGET if step == "replay" else None
                record(
                    "replay", vendor=vendor, rows=given.rows, step=step, cost=cost, rows_per_cpu_s=speed, target=target
                )


def child(step: str, vendor: str, rows: int, home: Path) -> Cost:
    """A step in a process of its own: what it told of itself."""
    command = [sys.executable, "-m", "benchmarks", "replay", "--rows", str(rows), "--child", step, vendor, str(home)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def land(vendor: str, rows: int, home: Path) -> tuple[float, float, float]:
    """Keep the answers. More than 1 M rows of LaunchDarkly are several years: a range of several answers."""
    store = stages.raw.store(str(home))
    for days in years(vendor, rows):
        for landing in answers.landings(vendor, rows // len(years(vendor, rows)), days):
            stages.raw.write(store, landing)
    return 0.0, 0.0, 0.0


def years(vendor: str, rows: int) -> list[Days]:
    """The last years, of about 1 M rows each where a year is one answer."""
    number = max(1, round(rows / 1_000_000)) if vendor == "launchdarkly" else 1
    last = answers.YEAR.last.year
    return [Days(date(year, 1, 1), date(year, 12, 31)) for year in range(last - number + 1, last + 1)]


def place(home: Path) -> pipeline.Place:
    return pipeline.Place(home, str(home), lambda: datetime(2026, 11, 20, 12, tzinfo=UTC), lambda _seconds: None, {})


def load(vendor: str, rows: int, home: Path) -> tuple[float, float, float]:
    """Into a table that holds nothing of these days."""
    import shutil

    for table in ("usage", "coverage", "restatements"):
        shutil.rmtree(home / table, ignore_errors=True)
    return replay(vendor, rows, home)


def replay(vendor: str, rows: int, home: Path) -> tuple[float, float, float]:
    """Read and load all days."""
    spans = years(vendor, rows)
    days = Days(spans[0].first, spans[-1].last)
    stages.load, stages.replay  # noqa: B018 - loads them
    cost = of_call(partial(pipeline.replay, place(home), answers.account(vendor), answers.ENDPOINTS[vendor], days))
    return cost.cpu, cost.wall, cost.peak


def floor(vendor: str, rows: int, home: Path) -> tuple[float, float, float]:
    """Parse the answers, and write finished rows."""
    import msgspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    from usage_pipeline.contract.arrow import schema
    from usage_pipeline.contract.schema import USAGE

    store, endpoint, cpu, wall, peak = stages.raw.store(str(home)), answers.endpoint(vendor), 0.0, 0.0, 0.0
    for span in years(vendor, rows):
        bodies: list[bytes] = []
        parts: list[pa.Table] = []
        for reference in stages.raw.find(store, vendor, "acme-0", endpoint.slug, span):
            landing = stages.raw.read(store, reference)
            bodies += [answer.body for answer in landing.answers]
            parts += stages.normalise.parts(endpoint, landing, endpoint.normalise(landing))
        table = pa.Table.from_batches(stages.rows.gathered(parts), schema(USAGE))

        def once(bodies: list[bytes] = bodies, table: pa.Table = table) -> None:
            for body in bodies:
                msgspec.json.decode(body)
            pq.write_table(table, home / "floor.parquet", compression="zstd")

        cost = of_call(once)
        cpu, wall, peak = cpu + cost.cpu, wall + cost.wall, cost.peak
    return cpu, wall, peak


STEPS = {"land": land, "load": load, "replay": replay, "floor": floor}
