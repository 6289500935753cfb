"""docs/benchmarks.md: the newest result of each case between the page's marks, and the plot beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from benchmarks.measure import RESULTS, ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "images" / "benchmarks.svg"
CASE = ("vendor", "case", "contender", "step", "rows", "days")
"""What tells the cases of one benchmark apart."""


def main(arguments: Sequence[str]) -> None:
    del arguments
    page = PAGE.read_text()
    for name, tell in TABLES.items():
        table = "\n".join(tell(newest(name)))
        page = re.sub(rf"(<!-- {name} -->\n).*?(<!-- end -->)", rf"\g<1>{table}\n\g<2>", page, flags=re.DOTALL)
    PAGE.write_text(page)
    plot().save(PLOT)


def newest(name: str) -> list[dict[str, Any]]:
    """The last result of each case, in the order in which they were first measured."""
    file = RESULTS / f"{name}.json"
    lines = file.read_text().splitlines() if file.exists() else []
    told = [json.loads(line) for line in lines]
    return list({tuple(one.get(key) for key in CASE): one for one in told}.values())


def _table(head: Sequence[str], lines: Sequence[Sequence[object]]) -> list[str]:
    return [_line(head), _line(["---"] * len(head)), *map(_line, lines)]


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(f'{cell:,.3g}' if isinstance(cell, float) else str(cell) for cell in cells)} |"


def _rows(number: float) -> str:
    return f"{number / 1e6:g} M"


def _normalise(told: list[dict[str, Any]]) -> list[str]:
    head = ("answers of", "rows", "by", "CPU s", "x the floor", "target", "peak MiB")
    return _table(
        head,
        [
            (
                one["vendor"], _rows(one["rows"]), one["contender"], one["cost"]["cpu"], one["of_floor"],
                one["target"] or "", round(one["cost"]["peak"]),
            )
            for one in told
        ],
    )  # fmt: skip


def _memory(told: list[dict[str, Any]]) -> list[str]:
    head = ("answers of", "rows", "", "peak MiB", "target")
    lines = [
        (one["vendor"], _rows(one["rows"]), one["step"], round(one["cost"]["peak"]), one["target"]) for one in told
    ]
    return _table(head, lines)


def _year(told: list[dict[str, Any]]) -> list[str]:
    both = [one for one in told if "cost" in one]
    lines: list[Sequence[object]] = [
        (one["case"], one["days"], one["cost"]["cpu"], one["cost"]["wall"], sum(one["asked"].values())) for one in both
    ]
    lines += [
        (one["case"], one["days"], f"{one['cpu']:.3g} x (target {one['target']} x)", f"{one['wall']:.3g} x", "")
        for one in told
        if "cost" not in one
    ]
    parts = [
        (part, one["cpu"][part], one["wall"][part]) for one in both if one["case"] == "ours" for part in one["cpu"]
    ]
    return [
        *_table(("", "days", "CPU s", "wall s", "requests"), lines),
        "",
        *_table(("where ours goes", "CPU s", "wall s"), parts),
    ]


def _latency(told: list[dict[str, Any]]) -> list[str]:
    head = ("case", "requests", "at once", "optimum s", "wall s", "ratio", "target")
    keys = ("case", "requests", "at_once", "optimum", "wall", "ratio", "target")
    return _table(head, [tuple(one[key] for key in keys) for one in told])


def _daily(told: list[dict[str, Any]]) -> list[str]:
    head = ("", "CPU s", "wall s", "x the floor", "target")
    lines = [(one["case"], one["cost"]["cpu"], one["cost"]["wall"], one["ratio"], one["target"]) for one in told]
    return _table(head, lines)


def _queries(told: list[dict[str, Any]]) -> list[str]:
    head = ("query", "rows", "of", "wall ms", "target ms", "CPU, x native", "target")
    lines = [
        (
            one["case"], _rows(one["rows"]), one["contender"], 1000 * one["cost"]["wall"], one["milliseconds"],
            one["ratio"], one["target"],
        )
        for one in told
    ]  # fmt: skip
    return _table(head, lines)


def _growth(told: list[dict[str, Any]]) -> list[str]:
    lines = [(one["case"], one["cost"]["cpu"], one["ratio"], one["target"]) for one in told]
    return _table(("", "CPU s", "x one month's", "target"), lines)


def _replay(told: list[dict[str, Any]]) -> list[str]:
    lines = [
        (one["vendor"], _rows(one["rows"]), one["step"], one["rows_per_cpu_s"], one["target"] or "") for one in told
    ]
    return _table(("answers of", "rows", "", "rows a CPU second", "target"), lines)


TABLES = {
    "normalise": _normalise, "memory": _memory, "year": _year, "latency": _latency, "daily": _daily,
    "queries": _queries, "growth": _growth, "replay": _replay,
}  # fmt: skip


def plot() -> alt.Chart:
    """CPU of payload to Parquet as a multiple of the floor, by vendor and contender."""
    told = [one for one in newest("normalise") if one["contender"] != "floor"]
    data = pd.DataFrame(told, columns=["vendor", "contender", "of_floor"])
    chart: alt.Chart = (
        alt.Chart(data, title="Payload to Parquet: CPU as a multiple of parsing and writing", width=150, height=180)
        .mark_bar()
        .encode(
            x=alt.X("contender:N", title=None, sort=["ours"]),
            y=alt.Y("of_floor:Q", title="x the floor").scale(type="log"),
            color=alt.Color("contender:N", legend=None),
            column=alt.Column("vendor:N", title=None),
        )
    )
    return chart
