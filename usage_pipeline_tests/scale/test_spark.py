"""Spark reads the table: the same totals as DuckDB to the last decimal, and those views of sql/ that it has words for.

The table is read by the file list of the Delta log. The Delta connector does that by itself; its jars come from Maven,
which is not there in every place where the tests run, so docs/engines.md shows it untried.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from usage_pipeline import demo, pipeline, warehouse
from usage_pipeline.config import Configuration
from usage_pipeline.contract.schema import TABLES, USAGE, Table, Type
from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.contract.vendor import History
from usage_pipeline.stages.lake import Lake
from usage_pipeline.stages.views import SQL
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests import contract_world
from usage_pipeline_tests.conftest import NOW, TurnableClock
from usage_pipeline_tests.scale import spark
from usage_pipeline_tests.sql import lake as rows
from usage_pipeline_tests.sql.test_engines import made

__all__ = ["made"]

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-spark" / "bin" / "python"

QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""For a JVM that lives half a minute."""

TYPES = {
    Type.STRING: "STRING",
    Type.DATE: "DATE",
    Type.TIMESTAMP: "TIMESTAMP",
    Type.DECIMAL: "DECIMAL(38, 9)",
    Type.INTEGER: "BIGINT",
    Type.BOOLEAN: "BOOLEAN",
    Type.MAP: "MAP<STRING, STRING>",
}

PORTABLE = {
    "usage", "accounts", "entitlements", "prices", "coverage", "billing_periods", "billing_months", "inventory",
    "metrics", "usage_daily", "puppet_burst_days", "restatements",
}  # fmt: skip
"""Views that give Spark's analysts the rows that they give DuckDB's."""

REFUSED = {
    "usage_monthly": "QUOTIENT",  # divides in DuckDB's 128-bit integers, which Spark has not
    "utilization": "is_weighed",  # a macro that every publication writes anew, and usage_monthly
    "coverage_gaps": "BINARY_OP_DIFF_TYPES",  # counts from a start to an end that may be before it
    "freshness": "coverage_gaps",
    "cost_daily": "LIST_HAS_ALL",  # and ASOF JOIN, and quotient
}
"""Views that stay DuckDB's, with a word of why; docs/engines.md says what to do."""

VIEWS = "SELECT view_name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main'"
TOTALS = "SELECT vendor, month, metric, sum(value) AS total, count(*) AS number FROM {} GROUP BY vendor, month, metric"
DAILY = (
    "SELECT vendor, usage_date, metric, unit, breakdown, sum(value) AS total, max(days_covered) AS days "
    "FROM usage_daily GROUP BY vendor, usage_date, metric, unit, breakdown"
)

pytestmark = [
    pytest.mark.skipif(not PYTHON.exists(), reason="there is no .venv-spark: make .venv-spark/installed"),
    pytest.mark.skipif(not shutil.which("java"), reason="Spark needs Java 17 or newer: there is no java on the path"),
]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> rows.Small:
    """Three weeks of the sandbox's vendors over a month's end; the last two days twice, which leaves old files."""
    home = tmp_path_factory.mktemp("sandbox")
    clock = TurnableClock()
    place = contract_world.place(home, clock)
    today = NOW.date()
    with contract_world.sandbox(clock) as base:
        accounts = demo.accounts(base, today - 21 * DAY).accounts
        for first in (today - 21 * DAY, today - 2 * DAY):
            for account in accounts:
                for slug in account.endpoints:
                    snapshot = pipeline.endpoint_of(account, slug).history is History.SNAPSHOT
                    days = Days(today, today) if snapshot else Days(first, today - DAY)
                    assert not pipeline.pull(place, account, slug, days).failures
            clock.advance(hours=1)
    pipeline.publish(place, Configuration(accounts))
    return rows.Small(home)


def files(small: rows.Small, table: Table) -> list[str]:
    found = Lake(str(small.home)).find(table)
    return found.file_uris() if found else []


def request(small: rows.Small, views: dict[str, Any], queries: dict[str, str]) -> dict[str, Any]:
    """What the program is told of a lake."""
    tables = {
        table.name: {
            "root": Lake(str(small.home)).uri(table),
            "schema": ", ".join(f"{column.name} {TYPES[column.type]}" for column in table.columns),
            "files": files(small, table),
        }
        for table in TABLES
    }
    own = [file.read_text().rstrip().rstrip(";") for file in sorted((SQL / "spark").glob("*.sql"))]
    return {"tables": tables, "own": own, "views": views, "queries": queries}


def views(small: rows.Small) -> dict[str, Any]:
    """The views of sql/, each with its columns."""
    texts = {file.stem.partition("_")[2]: file.read_text() for file in sorted(SQL.glob("[1-9]*.sql"))}
    with small.session() as session:
        names = {name: session.table(name).columns for (name,) in session.execute(VIEWS).fetchall()}
    return {name: {"text": text, "columns": names[name]} for name, text in texts.items() if name in names}


def whole(told: dict[str, Any]) -> dict[str, str]:
    """A query of all rows of each view, with the columns as a reader sees them."""
    return {name: f"SELECT {', '.join(view['columns'])} FROM {name}" for name, view in told.items()}


def by_duckdb(small: rows.Small, query: str) -> list[spark.Row]:
    with small.session() as session:
        found = warehouse.ask(session, query).rows
    answer: list[spark.Row] = json.loads(json.dumps(spark.ordered(found)))
    return answer


@pytest.fixture(scope="module")
def asked(made: rows.Small, sandbox: rows.Small, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one Spark answers of both lakes: of one every view whole, of the other totals."""
    every = views(made)
    some = {name: view for name, view in every.items() if name in {"usage", "usage_daily"}}
    totals = {"totals": TOTALS.format("lake_usage"), "daily": DAILY}
    target = tmp_path_factory.mktemp("spark") / "answers.json"
    done = subprocess.run(
        [str(PYTHON), spark.__file__, str(target)],
        input=json.dumps([request(made, every, whole(every)), request(sandbox, some, totals)]),
        env={**os.environ, "TZ": "UTC", "SPARK_LOCAL_IP": "127.0.0.1", "JAVA_TOOL_OPTIONS": QUICK},
        cwd=target.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(target.read_text())
    return answers


def test_the_totals_are_duckdb_s_to_the_last_decimal(sandbox: rows.Small, asked: list[dict[str, Any]]) -> None:
    _made, told = asked
    assert told["version"].startswith("4.")
    totals = told["answers"]["totals"]
    assert totals == by_duckdb(sandbox, TOTALS.format("usage"))
    assert {row[0] for row in totals} == set(VENDORS)
    assert any("." in row[3] for row in totals)
    assert told["answers"]["daily"] == by_duckdb(sandbox, DAILY)
    # Whoever reads the folder reads replaced files as well.
    there = {str(file) for file in (sandbox.home / USAGE.name).rglob("*.parquet")}
    assert len(there) > len(files(sandbox, USAGE))


def test_portable_views_have_the_same_rows(made: rows.Small, asked: list[dict[str, Any]]) -> None:
    told, _sandbox = asked
    every = whole(views(made))
    assert set(every) == PORTABLE | set(REFUSED)
    assert told["refused"].keys() == REFUSED.keys()
    for name, word in REFUSED.items():
        assert word in told["refused"][name], name
    for name in PORTABLE:
        assert told["answers"][name] == by_duckdb(made, every[name]), name
    assert told["answers"]["usage_daily"]
    # 12345678901234567890.000000001 is there, and what a running total grew by.
    assert "12345678901234567890.000000001" in {
        cell for row in told["answers"]["usage_daily"] for cell in map(str, row)
    }
