"""Payload to Parquet: what normalising costs above its floor, which is parsing the JSON and writing the same rows.

Target: CPU at most 1.5 x the floor for a matrix (LaunchDarkly), 2 x for arrays of objects (the others). The floor's
table lies ready in memory, in the declared schema. Ours checks, hashes and identifies every row; peers only reshape.
All write one Parquet file, zstd. CPU seconds of the work, without imports; the peak is that of the whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import answers
from benchmarks.measure import ROOT, Cost, of_call, record

TARGETS = {"launchdarkly": 1.5, "thousandeyes": 2.0, "aveva": 2.0, "puppet": 2.0}
PEERS = {
    "polars": (sys.executable, 1),
    "duckdb": (sys.executable, 1),
    "pandas": (sys.executable, 1),
    "dlt": (os.environ.get("BENCH_PYTHON", str(ROOT / ".venv-peers/bin/python")), 10),
}
"""By which interpreter, and of how many rows one is read: what takes minutes is measured on fewer."""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--vendors", nargs="+", choices=[*TARGETS], default=[*TARGETS])
    parser.add_argument("--peers", nargs="*", choices=[*PEERS], default=[*PEERS])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        contender, vendor, folder = given.one
        print(json.dumps(one(contender, vendor, Path(folder))))
        return
    peers = [name for name in given.peers if Path(PEERS[name][0]).exists()]
    for vendor in given.vendors:
        with TemporaryDirectory() as folder:
            compare(vendor, given.rows, given.repeat, peers, Path(folder))


def compare(vendor: str, rows: int, repeat: int, peers: Sequence[str], folder: Path) -> None:
    """Write the answers, let everybody read them, and record."""
    from benchmarks.measure import interleaved

    shares = {1} | {PEERS[name][1] for name in peers}
    for share in shares:
        at = folder / str(share)
        at.mkdir()
        keep(vendor, rows // share, at)
    ours = {name: partial(_child, name, vendor, folder / "1") for name in ("floor", "ours")}
    theirs = {name: partial(_peer, name, vendor, folder / str(PEERS[name][1])) for name in peers}
    costs = interleaved({**ours, **theirs}, repeat)
    floor = costs["floor"].cpu
    for name, cost in costs.items():
        share = PEERS[name][1] if name in PEERS else 1
        record(
            "normalise",
            vendor=vendor,
            rows=rows // share,
            contender=name,
            cost=cost,
            of_floor=cost.cpu * share / floor,
            target=TARGETS[vendor] if name == "ours" else None,
        )


def keep(vendor: str, rows: int, folder: Path) -> None:
    """The bodies as files, and beside them what else is known of the answers."""
    landings = []
    number = 0
    for landing in answers.landings(vendor, rows):
        for answer in landing.answers:
            (folder / f"{number:05}.json").write_bytes(answer.body)
            number += 1
        landings.append(replace(landing, answers=tuple(replace(answer, body=b"") for answer in landing.answers)))
    (folder / "landings.pickle").write_bytes(pickle.dumps(landings))
    (folder / "shape.json").write_text(json.dumps(answers.SHAPES[vendor]))


def one(contender: str, vendor: str, folder: Path) -> tuple[float, float, float]:
    """Read the answers once as the floor or as we do, in this process: CPU, wall, peak."""
    import gc

    import msgspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    from usage_pipeline import stages
    from usage_pipeline.contract.answer import Landing
    from usage_pipeline.contract.arrow import schema
    from usage_pipeline.contract.schema import USAGE

    endpoint = answers.endpoint(vendor)
    bodies = sorted(folder.glob("*.json"))[:-1]
    out = folder / f"{contender}.parquet"

    def landings() -> Iterator[Landing]:
        files = iter(bodies)
        for landing in pickle.loads((folder / "landings.pickle").read_bytes()):  # noqa: S301 - our own
            found = tuple(replace(answer, body=next(files).read_bytes()) for answer in landing.answers)
            yield replace(landing, answers=found)

    def parts() -> Iterator[pa.Table]:
        for landing in landings():
            yield from stages.normalise.parts(endpoint, landing, endpoint.normalise(landing))

    def write() -> None:
        with pq.ParquetWriter(out, schema(USAGE), compression="zstd") as writer:
            batches = stages.rows.gathered(parts())
            while group := list(islice(batches, 8)):
                writer.write_table(pa.Table.from_batches(group))

    if contender == "ours":
        write()  # imports, and what is compiled at first use
        cost = of_call(write)
    else:
        table = pa.Table.from_batches(stages.rows.gathered(parts()), schema(USAGE))

        def floor() -> None:
            for body in bodies:
                msgspec.json.decode(body.read_bytes())
            pq.write_table(table, out, compression="zstd")

        floor()
        gc.collect()
        cost = of_call(floor)
    return cost.cpu, cost.wall, cost.peak


def _child(contender: str, vendor: str, folder: Path) -> Cost:
    return _told([sys.executable, "-m", "benchmarks", "normalise", "--one", contender, vendor, str(folder)])


def _peer(name: str, vendor: str, folder: Path) -> Cost:
    return _told([PEERS[name][0], str(ROOT / f"benchmarks/peers/reshape_{name}.py"), vendor, str(folder)])


def _told(command: Sequence[str]) -> Cost:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return Cost(*json.loads(done.stdout.splitlines()[-1]))
