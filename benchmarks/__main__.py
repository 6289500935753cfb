"""`python -m benchmarks [NAME [--rows N] [--repeat N]]`: one benchmark, or all of them and then docs/benchmarks.md.

Each appends what it measured to benchmarks/results/.
"""

import importlib
import sys

ALL = ("normalise", "memory", "replay", "growth", "queries", "latency", "daily", "year", "report")

for name in sys.argv[1:2] or ALL:
    importlib.import_module(f"benchmarks.{name}").main(sys.argv[2:])
