"""Memory: the largest resident set of a process that loads a range of days, first and again, as the range grows.

Target: 600 MiB for any size of range. Loading is all that is measured: no Dagster, no HTTP. LaunchDarkly's rows come
1 M an answer (a year; its longest range), ThousandEyes' in one answer a day.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import record
from benchmarks.replay import child

TARGET = 600


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--vendors", nargs="+", default=["launchdarkly", "thousandeyes"])
    given = parser.parse_args(arguments)
    for vendor in given.vendors:
        for rows in given.rows:
            with TemporaryDirectory() as folder:
                child("land", vendor, rows, Path(folder))
                for step in ("load", "replay"):
                    costs = [child(step, vendor, rows, Path(folder)) for _ in range(given.repeat)]
                    worst = max(costs, key=lambda cost: cost.peak)
                    record("memory", vendor=vendor, rows=rows, step=step, cost=worst, target=TARGET)
