"""What a process costs, and how contenders compare: interleaved runs, medians, ratios within one run."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU and wall in seconds, the largest resident set in MiB."""

    cpu: float
    wall: float
    peak: float


def of_command(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """What a command costs, with its interpreter's start and the processes that it waits for."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    begun = time.perf_counter()
    child = subprocess.Popen(  # noqa: S603 - what this repository names
        command, env={**os.environ, "PYTHONPATH": path, **(environment or {})}, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}")
    return Cost(used.ru_utime + used.ru_stime, time.perf_counter() - begun, used.ru_maxrss / 1024)


def of_call(call: Callable[[], object]) -> Cost:
    """What a call costs in this process. The peak is that of the process so far."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Cost(time.process_time() - cpu, time.perf_counter() - wall, peak)


def interleaved(contenders: Mapping[str, Callable[[], Cost]], repeat: int) -> dict[str, Cost]:
    """The medians of some rounds; in each every contender has its turn."""
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for _ in range(repeat):
        for name, contender in contenders.items():
            costs[name].append(contender())
    return {
        name: Cost(*(median(getattr(cost, field) for cost in found) for field in ("cpu", "wall", "peak")))
        for name, found in costs.items()
    }


def record(benchmark: str, **told: Any) -> None:
    """Append a result, and print it."""
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    plain = {key: asdict(value) if isinstance(value, Cost) else value for key, value in told.items()}
    with (RESULTS / f"{benchmark}.json").open("a") as file:
        file.write(json.dumps({"at": now, "python": sys.version.split()[0], **plain}) + "\n")
    print(" ".join(f"{key}={_short(value)}" for key, value in plain.items()), flush=True)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + " ".join(f"{key}={_short(inner)}" for key, inner in value.items()) + ")"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
