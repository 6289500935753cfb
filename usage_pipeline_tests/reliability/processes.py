"""Processes that load, stop at a chosen step, or read: what the tests of crashes and of concurrency start.

They come from a fork server that has imported everything, so that one costs milliseconds. Steps are met with the
interpreter's profiling hook: the code under test knows nothing of it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from types import FrameType
from typing import Any

import duckdb

from usage_pipeline import config, pipeline, stages
from usage_pipeline.contract.time import Days
from usage_pipeline.stages import raw
from usage_pipeline.stages.publish import WAREHOUSE
from usage_pipeline_tests import contract_world as world
from usage_pipeline_tests.conftest import TurnableClock

SLOW = ("deltalake.fs", "httpx", "pandas", "pyarrow.acero", "pyarrow.dataset", "pyarrow.parquet", "pyrate_limiter")
"""Otherwise imported on first use, each time."""
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__, *(f"{stages.__name__}.{name}" for name in stages.__all__), *SLOW])

OURS = (f"{Path(pipeline.__file__).parent / 'stages'}{os.sep}", pipeline.__file__)
PURE = re.compile(
    r"/(normalise|tally|views)\.py$|<\w+>$|^PurePath\.|^Path\.(__new__|absolute|exists|stat)$|__getattr__$"
)
"""What changes nothing on the disk."""
OUTSIDE = ("deltalake", "filelock", "pathlib", "shutil")
NATIVE = {"commit", "delete", "execute", "put"}
"""Of the calls that stages make, those that change files: into these modules, or to functions of these names."""

Load = tuple[str, str, Days]
"""Vendor, endpoint, and days."""
Step = tuple[str, int]
"""Something that happens in a run, and for which time: `call load.usage`, 1."""


@dataclass(frozen=True, slots=True)
class Job:
    """A run: some loads from the vendors at `base`, then, if so, the warehouse published and the table compacted.

    `lake` is an address where the lake is not in the home, with the variables of the environment that it needs.
    """

    home: Path
    base: str
    now: datetime
    loads: tuple[Load, ...]
    compact: bool = False
    publish: bool = True
    lake: str = ""
    variables: tuple[tuple[str, str], ...] = ()


WHOLE: dict[str, dict[str, Any]] = {"consul": {"datacenters": []}}
"""Options under which no part is missed: on some days one of the sandbox's datacenters cannot be reached."""


def start(target: Callable[..., None], *args: object) -> ForkServerProcess:
    process = CONTEXT.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def finish(process: ForkServerProcess) -> None:
    """Wait for the end of a process that has to go well."""
    process.join(300)
    assert process.exitcode == 0, f"{process.name} ended with {process.exitcode}"


def run(job: Job) -> None:
    # The fork server was started before they were known.
    os.environ.update(job.variables)
    place = world.place(job.home, TurnableClock(job.now), job.lake)
    for vendor, slug, days in job.loads:
        outcome = pipeline.pull(place, world.account(vendor, job.base, **WHOLE.get(vendor, {})), slug, days)
        assert not outcome.failures, outcome.failures
    if job.publish:
        pipeline.publish(place, config.read(config.SANDBOX_ACCOUNTS))
    if job.compact:
        pipeline.compact(place)


def watched(met: Callable[[Step], None]) -> None:
    """From now on, in every thread: tell each step, before what is called is called and after it returned."""
    times: Counter[str] = Counter()
    lock = threading.Lock()

    def hook(frame: FrameType, event: str, told: Any) -> None:
        what = _name(frame, event, told)
        if what:
            with lock:
                times[what] += 1
                number = times[what]
            met((what, number))

    threading.setprofile(hook)
    sys.setprofile(hook)


def _name(frame: FrameType, event: str, told: Any) -> str:
    code = frame.f_code
    if PURE.search(code.co_filename) or PURE.search(code.co_qualname):
        return ""
    if event.startswith("c_"):
        known = code.co_filename.startswith(OURS) and getattr(told, "__name__", "") in NATIVE
        return f"{event} {code.co_qualname} > {told.__name__}" if known else ""
    if code.co_filename.startswith(OURS):
        return f"{event} {Path(code.co_filename).stem}.{code.co_qualname}"
    module = str(frame.f_globals.get("__name__", ""))
    if module.startswith(OUTSIDE) and frame.f_back and frame.f_back.f_code.co_filename.startswith(OURS):
        return f"{event} {frame.f_back.f_code.co_qualname} > {code.co_qualname}"
    return ""


def recorded(job: Job, file: Path) -> None:
    """Run a job, and write down its steps, one a line."""
    steps: list[Step] = []
    watched(steps.append)
    run(job)
    sys.setprofile(None)
    file.write_text("".join(f"{number} {what}\n" for what, number in steps))


def killed(job: Job, step: Step) -> None:
    """Run a job up to a step, and no further."""
    watched(lambda met: os.kill(os.getpid(), signal.SIGKILL) if met == step else None)
    run(job)


def paused(job: Job, step: Step, there: Event, on: Event) -> None:
    """Run a job, and wait at a step until told to go on."""

    def wait(met: Step) -> None:
        if met == step:
            there.set()
            on.wait(120)

    watched(wait)
    run(job)


def loading(
    home: Path,
    bases: tuple[str, ...],
    now: datetime,
    loads: tuple[Load, ...],
    number: int,
    lake: str = "",
    variables: tuple[tuple[str, str], ...] = (),
) -> None:
    """Load in an order of one's own, each load a minute after the one before; publish after each, out of a folder."""
    for count, load in enumerate(random.Random(number).sample(loads, len(loads))):
        base = bases[(count + number) % len(bases)]
        at = now + timedelta(minutes=count, seconds=number)
        run(Job(home, base, at, (load,), publish=not lake, lake=lake, variables=variables))


def compacting(home: Path, now: datetime, stop: Event) -> None:
    while not stop.wait(2):
        pipeline.compact(world.place(home, TurnableClock(now)))


def reading(home: Path, together: bool, stop: Event, reads: Any) -> None:
    """Open the warehouse again and again, and hold it against itself and the receipts.

    `together` says that every load is of all the days of an endpoint, so that none is to be seen without the others.
    """
    while not stop.is_set():
        with duckdb.connect(str(home / WAREHOUSE), read_only=True) as session:
            hold(session, home, together)
        with reads.get_lock():
            reads.value += 1
        time.sleep(0.3)


def hold(session: duckdb.DuckDBPyConnection, home: Path, together: bool) -> None:
    """No key twice; each day of one landing; what `coverage` claims is there, whole, or a newer load's in its place."""
    assert session.execute(TWICE).fetchall() == []
    told = {tuple(key): (found, ids) for *key, found, ids in session.execute(TOLD).fetchall()}
    covered = {tuple(key): (rows, us) for *key, rows, us in session.execute(COVERED).fetchall()}
    landed_at = landings(home)
    by_endpoint: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for key, (found, ids) in told.items():
        landed = {landed_at[one] for one in ids}
        assert len(landed) <= 1, f"answers mixed in one day: {key}"
        by_endpoint[key[:2]] |= landed
        rows, at = covered.get(key, (0, 0))
        for newest in landed:
            # A day whose rows are newer than its coverage is one of a load that is under way.
            assert newest >= at, f"coverage speaks of rows that are not there yet: {key}"
            assert newest > at or found == rows, f"coverage speaks of {rows} rows, and there are {found}: {key}"
    assert [key for key, (rows, _at) in covered.items() if rows and key not in told] == []
    if together:
        assert all(len(landed) <= 1 for landed in by_endpoint.values()), f"a part of a load: {by_endpoint}"


def landings(home: Path) -> dict[str, int]:
    """By the id of each answer: when it was landed, in microseconds since 1970."""
    found: dict[str, int] = {}
    for file in (home / "raw").rglob(raw.RECEIPT):
        receipt = json.loads(file.read_bytes())
        at = microseconds(datetime.fromisoformat(receipt["landed_at"]))
        found |= {answer["response_id"]: at for answer in receipt["answers"]}
    return found


def microseconds(at: Any) -> int:
    return int((at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))


TWICE = """
    SELECT series_id, period_start, period_end, observed_at FROM lake.usage GROUP BY ALL HAVING count(*) > 1
"""
TOLD = """
    SELECT vendor, endpoint, usage_date, count(*) AS found,
        -- An outlook is of another load than its day.
        coalesce(list(DISTINCT response_id) FILTER (role = 'consumed' OR period_end <= observed_at), []) AS ids
    FROM lake.usage
    JOIN (SELECT DISTINCT vendor, endpoint FROM lake.metrics WHERE history = 'window') USING (vendor, endpoint)
    GROUP BY ALL
"""
COVERED = """
    SELECT vendor, endpoint, usage_date, rows, epoch_us(fetched_at) FROM lake.coverage
    JOIN (SELECT DISTINCT vendor, endpoint FROM lake.metrics WHERE history = 'window' AND role = 'consumed')
    USING (vendor, endpoint)
    WHERE state IN ('complete', 'provisional', 'empty')
"""


@contextmanager
def readers(home: Path, number: int, *, together: bool) -> Iterator[Any]:
    """Processes that read as long as the test runs; yields how often they did."""
    stop, reads = CONTEXT.Event(), CONTEXT.Value("q", 0)
    processes = [start(reading, home, together, stop, reads) for _ in range(number)]
    try:
        yield lambda: reads.value
    finally:
        stop.set()
        for process in processes:
            process.join(60)
    assert [process.exitcode for process in processes] == [0] * number
    assert reads.value


def again(job: Job, home: Path | None = None) -> Job:
    """The job of the next run, a second later."""
    return replace(job, now=job.now + timedelta(seconds=1), home=home or job.home)


def days(first: date, number: int) -> Days:
    return Days(first, first + timedelta(days=number - 1))
