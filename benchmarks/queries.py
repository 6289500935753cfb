"""What analysts wait for, over 50 million rows of three years after compaction, from the published warehouse.

Target: a number of milliseconds a query, and at most twice what DuckDB's own table of the same rows takes, under the
same views. One process, one open session, warm, as a dashboard has it; the first answer is recorded too. The floor is
the native table: DuckDB with nothing of ours in between.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import duckdb

from benchmarks import fleet
from benchmarks.measure import Cost, interleaved, of_call, record
from usage_pipeline.stages.lake import Lake
from usage_pipeline.stages.publish import WAREHOUSE, publish
from usage_pipeline.vendors.registry import VENDORS

NATIVE_TARGET = 2.0
SQL = Path(__file__).with_name("sql")
TARGETS = {"one_day": 10, "one_month_by_metric": 50, "one_series": 30, "utilization": 100}
"""Milliseconds by query; each is a file below sql/."""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, default=50e6)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--home", type=Path, help="where the tables are, or are to stay; a temporary folder without")
    parser.add_argument("--only", choices=TARGETS, nargs="*", default=list(TARGETS))
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        home = asked.home or Path(temporary)
        files = {"warehouse": prepared(home, int(asked.rows)), "native": native(home)}
        sessions = {name: duckdb.connect(str(file), read_only=True) for name, file in files.items()}
        for query in asked.only:
            text = (SQL / f"{query}.sql").read_text()

            def ask(name: str, text: str = text) -> Cost:
                return of_call(lambda: sessions[name].execute(text).fetchall())

            first = {name: ask(name) for name in sessions}
            costs = interleaved({name: functools.partial(ask, name) for name in sessions}, asked.repeat)
            for name, cost in costs.items():
                ratio = cost.cpu / costs["native"].cpu
                record(
                    "queries", case=query, contender=name, rows=int(asked.rows), cost=cost, first=first[name],
                    ratio=ratio, target=NATIVE_TARGET, milliseconds=TARGETS[query],
                )  # fmt: skip


def prepared(home: Path, rows: int) -> Path:
    """The published warehouse of the fleet; made where it is not there."""
    if not (home / "usage").exists():
        fleet.write(Lake(str(home)), rows)
    return publish(Lake(str(home)), home, VENDORS.values())


def native(home: Path) -> Path:
    """The same warehouse with DuckDB's own table in place of the files of `usage`."""
    file = home / "native.duckdb"
    if not file.exists():
        shutil.copyfile(home / WAREHOUSE, file)
        file.chmod(0o644)
        with duckdb.connect(str(file)) as session:
            session.execute(f"ATTACH '{home / WAREHOUSE}' AS published (READ_ONLY)")
            session.execute((SQL / "native.sql").read_text())
    return file
