"""A year of five vendors, from the sandbox to a warehouse that answers, through Dagster; and dlt in Dagster doing it.

Target: at least 10 times less CPU, and less wall time, than dlt + dagster-dlt (peers/dlt_year.py), for the same days
of the same endpoints of the same server, a process apart. Window endpoints are one run over the range, which is what a
backfill makes; snapshot endpoints, which tell only the present, one run of today. The child's whole life counts:
imports, Dagster's new folder, the runs, publishing, compaction with its clean-up, and a first query.

The fewest requests, by the documented limits: one a range for Puppet, 92 days a request for AVEVA's two usages, and one
for all its billing cycles, and one a series for LaunchDarkly; Consul, ThousandEyes and AVEVA's resources tell today.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, Cost, interleaved, of_command, record
from benchmarks.sandbox import NOW, clock, counted, process
from usage_pipeline.sandbox import server

TOLD = "told.json"

# Which part of the work a function is; what is left of a run is Dagster.
PARTS = {
    "waiting for HTTP": ["kit.http.Client.ask"],
    "normalising": ["stages.replay.read"],
    "writing": [
        "stages.raw.write", "stages.load.usage", "stages.load.companions", "stages.load.coverage",
        "stages.publish.publish", "stages.declare.declare", "stages.compact.compact", "stages.compact.clean",
    ],
}  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="without dlt")
    asked = parser.parse_args(arguments)
    commands = {"ours": [sys.executable, "-m", "benchmarks.year"]}
    if not asked.alone:
        commands["dlt"] = [peers(), str(ROOT / "benchmarks" / "peers" / "dlt_year.py")]
    told: dict[str, Any] = {}
    with process() as address, tempfile.TemporaryDirectory() as folder:

        def load(name: str) -> Cost:
            home = Path(tempfile.mkdtemp(dir=folder))
            cost = of_command([*commands[name], address, str(home), str(asked.days)], server.environment())
            told[name] = {**counted(address), **json.loads((home / TOLD).read_text())}
            return cost

        costs = interleaved({name: functools.partial(load, name) for name in commands}, asked.repeat)
    for name, cost in costs.items():
        record("year", case=name, days=asked.days, cost=cost, **told[name])
    if "dlt" in costs:
        ours, theirs = costs["ours"], costs["dlt"]
        record(
            "year",
            case="dlt / ours",
            days=asked.days,
            target=10,
            cpu=theirs.cpu / ours.cpu,
            wall=theirs.wall / ours.wall,
        )


def peers() -> str:
    """The interpreter of the peers' environment."""
    return os.environ.get("BENCH_PYTHON") or str(ROOT / ".venv-peers" / "bin" / "python")


def year(address: str, home: Path, days: int) -> None:
    """Our side, in a process of its own; leaves rows, and the seconds of the parts."""
    began = time.perf_counter(), time.process_time()
    import dagster as dg
    import duckdb

    from usage_pipeline import demo, orchestration, pipeline
    from usage_pipeline.contract.time import DAY, Days
    from usage_pipeline.contract.vendor import History
    from usage_pipeline.orchestration.instance import prepare

    parts = _timed()
    today = NOW.date()
    past = Days(today - days * DAY, today - DAY)
    configuration = demo.accounts(address, past.first)
    # That datacenters come and go is not what is measured.
    configuration = replace(
        configuration,
        accounts=tuple(
            replace(one, options={**one.options, "datacenters": []}) if one.vendor == "consul" else one
            for one in configuration.accounts
        ),
    )
    place = pipeline.place({**server.environment(), "USAGE_PIPELINE_HOME": str(home)}, clock, time.sleep)
    job = orchestration.build(configuration, place).resolve_implicit_global_asset_job_def()
    folder = prepare(home, [account.name for account in configuration.accounts])
    imported = time.perf_counter(), time.process_time()
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        for history, tags in (
            (History.WINDOW, dict(zip(demo.RANGE, map(str, (past.first, past.last)), strict=True))),
            (History.SNAPSHOT, dict.fromkeys(demo.RANGE, str(today))),
        ):
            assets = demo._assets(configuration, history)
            result = job.execute_in_process(asset_selection=assets, instance=instance, run_config=demo.QUIET, tags=tags)
            assert result.success
    pipeline.compact(place)
    ran = time.perf_counter(), time.process_time()
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as session:
        rows = session.sql("SELECT count(*), count(DISTINCT usage_date) FROM usage").fetchall()[0]
    split = {}
    for at, kind in enumerate(("wall", "cpu")):
        split[kind] = {"start": imported[at] - began[at], **{name: spent[at] for name, spent in parts.items()}}
        split[kind]["orchestrating"] = ran[at] - began[at] - sum(split[kind].values())
    (home / TOLD).write_text(json.dumps({"rows": rows[0], "days told": rows[1], **split}))


def _timed() -> dict[str, list[float]]:
    """Wrap the functions of PARTS; wall and CPU seconds of each, without those of a part that it calls.

    Threads that ask at once share the list: a part that one of them begins ends that of another. The sum is right.
    """
    from usage_pipeline import kit, stages

    spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    inside: list[str] = []
    marks = [0.0, 0.0]

    def turn() -> None:
        """The time since the last turn is of the part that was under way."""
        for at, now in enumerate((time.perf_counter(), time.process_time())):
            if inside:
                spent[inside[-1]][at] += now - marks[at]
            marks[at] = now

    def wrapped(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            turn()
            inside.append(part)
            try:
                return function(*arguments, **named)
            finally:
                turn()
                inside.pop()

        return timed

    rooms: dict[str, Any] = {"kit": kit, "stages": stages}
    for part, names in PARTS.items():
        spent[part] = [0.0, 0.0]
        for name in names:
            room, *path, last = name.split(".")
            owner = functools.reduce(getattr, path, rooms[room])
            setattr(owner, last, wrapped(part, getattr(owner, last)))
    return spent


if __name__ == "__main__":
    year(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
