"""A warehouse has the same answers on DuckDB 1.0, 1.5 and 2.0, and its table the same totals in other engines."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.dataset as ds
import pytest

from usage_pipeline import warehouse
from usage_pipeline.contract.schema import USAGE, Role, State
from usage_pipeline.stages.lake import Lake
from usage_pipeline_tests.sql import engine
from usage_pipeline_tests.sql import lake as rows

ROOT = Path(__file__).parents[2]
OTHERS = {"1.0": ".venv-duckdb1", "2": ".venv-duckdb2"}

MACROS = {
    "usage_total": "SELECT usage_total('aveva', 'ingress_events', DATE '2024-02-01', DATE '2024-02-29') AS total",
    "usage_total of distinct": "SELECT usage_total('puppet', 'nodes', DATE '2024-02-01', DATE '2024-02-29') AS total",
    "usage_total of nothing": "SELECT usage_total('aveva', 'nothing', DATE '2024-02-01', DATE '2024-02-29') AS total",
    "usage_total of unknown days": (
        "SELECT usage_total('aveva', 'ingress_events', DATE '2024-01-01', DATE '2024-02-29') AS total"
    ),
}
KEYS = ["account", "metric", "role", "aggregation", "temporality", "breakdown"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> rows.Small:
    """Every vendor's kind of number over a leap day and a month's end, with parts, levels, resets and changes."""
    by_project = [
        rows.Series(
            "launchdarkly", "service_connections", "service_connections", "Minutes", rows.SUM, rows.DELTA,
            dimensions={"project": name}, labels={"project_name": f"The {name}"},
        )
        for name in ("web", "mobile")
    ]  # fmt: skip
    allowed_units = rows.Series(
        "thousandeyes", "usage", "cloud_units", "Cloud Units", rows.SUM, rows.CUMULATIVE, Role.ENTITLED
    )
    events = rows.EVENTS.each("2024-02-01", "2024-03-03", "1.000000001")
    shown: dict[str, rows.Number] = {"2024-02-28 08:00": 20, "2024-03-01 00:00": "31.5", "2024-03-03 12:00": 30}
    usage = [
        *events,
        *rows.NODES.each("2024-02-27", "2024-03-02", 90),
        rows.NODES.day("2024-03-03", 120),
        *rows.AGENT_NODES.each("2024-02-27", "2024-03-02", "0.1"),
        *rows.UNITS.readings("2024-02-05 08:00", shown),
        *rows.UNITS.readings("2024-03-05 08:00", {"2024-03-05 09:00": "12345678901234567890.000000001"}),
        allowed_units.ahead("2024-02-05 08:00", "2024-03-05 08:00", 100, "2024-02-28 08:00"),
        *rows.AGENTS.readings("2024-02-05 08:00", shown),
        *rows.USERS.readings("2024-02-01", {"2024-02-29": 7, "2024-03-01": 9}),
        rows.USERS_30_DAYS.period("2024-01-30", "2024-02-29", 11),
        *[series.day("2024-02-29", f"{n}.25") for n, series in enumerate(by_project, 1)],
        *[series.day("2024-03-01", n) for n, series in enumerate(by_project, 1)],
        rows.STREAMS.level("2024-02-29 23:59", 5),
        rows.INSTANCES.level("2024-03-01 00:00", 6),
    ]
    return rows.small(
        tmp_path_factory.mktemp("engines"),
        usage,
        periods=rows.billed("thousandeyes", "usage", "2024-02-05 08:00", "2024-03-05 08:00"),
        coverage=[
            *rows.covered(rows.EVENTS, "2024-02-01", "2024-03-03"),
            *rows.covered(rows.NODES, "2024-02-27", "2024-03-02"),
            *rows.covered(rows.NODES, "2024-03-03", state=State.FAILED, reason="503"),
        ],
        accounts=[
            rows.configured("aveva", "tenant_usage", "2024-02-01"),
            rows.configured("puppet", "usage", "2024-02-20"),
        ],
        entitlements=[rows.allowed(rows.NODES, 100)],
        restatements=[rows.changed(events[3], 2, "2024-02-20"), rows.changed(events[4], None, "2024-02-20")],
    )


def queries(made: rows.Small) -> dict[str, str]:
    """Every view whole, what the demo asks, and the macros."""
    with made.session() as session:
        found = session.execute("SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    views = {f"{schema}.{name}": f'SELECT * FROM {schema}."{name}"' for schema, name in found}
    return views | dict(warehouse.questions("demo")) | MACROS


def asked(python: Path | str, made: rows.Small, questions: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The version of another process's DuckDB, and its answers."""
    done = subprocess.run(
        [str(python), engine.__file__, str(made.home / "warehouse.duckdb")],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return told["version"], told["answers"]


@pytest.mark.parametrize(
    ("other", "folder"),
    [
        pytest.param(
            other,
            folder,
            marks=pytest.mark.skipif(
                not (ROOT / folder / "bin" / "python").exists(), reason=f"there is no {folder}: make {folder}/installed"
            ),
        )
        for other, folder in OTHERS.items()
    ],
)
def test_the_oldest_and_the_next_duckdb_give_the_same_answers(made: rows.Small, other: str, folder: str) -> None:
    questions = queries(made)
    version, answers = asked(sys.executable, made, questions)
    other_version, other_answers = asked(ROOT / folder / "bin" / "python", made, questions)
    assert version.startswith("1.5.")
    assert other_version.startswith(f"{other}.")
    for name in questions:
        assert answers[name] == other_answers[name], name


def test_questions_are_answered_and_refused_as_they_should_be(made: rows.Small) -> None:
    questions = queries(made)
    _version, answers = asked(sys.executable, made, questions)
    refused = {name for name, told in answers.items() if "refused" in told}
    assert refused == set(MACROS) - {"usage_total"}
    # Twenty-nine days of 1.000000001.
    assert answers["usage_total"]["rows"] == [["29.000000029"]]
    assert {"main.usage_daily", "main.usage_monthly", "main.utilization", "main.restatements"} <= questions.keys()
    empty = {name for name in questions if name.startswith("main.") and not answers[name].get("rows")}
    assert "main.usage_daily" not in empty


def by_duckdb(made: rows.Small) -> dict[tuple[Any, ...], tuple[Decimal, int]]:
    keys = ", ".join(KEYS)
    with duckdb.connect(str(made.home / "warehouse.duckdb"), read_only=True) as session:
        told = session.execute(f"SELECT {keys}, sum(value), count(*) FROM usage GROUP BY ALL").fetchall()
    return {tuple(row[:-2]): (row[-2], row[-1]) for row in told}


def test_polars_and_pyarrow_have_the_same_totals(made: rows.Small) -> None:
    table = Lake(str(made.home)).find(USAGE)
    assert table is not None
    frame = pl.scan_delta(table.table_uri).group_by(KEYS).agg(pl.col("value").sum(), pl.len()).collect()
    by_polars = {row[:-2]: row[-2:] for row in frame.iter_rows()}
    # The snapshot's own files: the folder may hold replaced ones.
    files = ds.dataset(table.file_uris(), partitioning="hive").to_table([*KEYS, "value"])
    grouped = files.group_by(KEYS).aggregate([("value", "sum"), ([], "count_all")])
    by_arrow = {tuple(row[key] for key in KEYS): (row["value_sum"], row["count_all"]) for row in grouped.to_pylist()}
    assert by_polars == by_arrow == by_duckdb(made)
    # 32 days of 1.000000001, and 20 + 31.5 + 30 + 12345678901234567890.000000001.
    assert by_arrow["acme", "ingress_events", "consumed", "sum", "delta", ""] == (Decimal("32.000000032"), 32)
    assert by_arrow["acme", "cloud_units", "consumed", "sum", "cumulative", ""] == (
        Decimal("12345678901234567971.500000001"),
        4,
    )
