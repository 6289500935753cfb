"""`usage-pipeline sql` answers queries on the warehouse, and reads, writes and loads nothing else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from usage_pipeline import warehouse
from usage_pipeline.cli import Outside, main
from usage_pipeline_tests.conftest import TurnableClock
from usage_pipeline_tests.report.november import november

SECRET = "canary-of-another-file"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake under a name with a space and a quote, beside files that are nobody's business."""
    home = tmp_path_factory.mktemp("analyst's lake") / "data"
    november(home)
    (home / "raw").mkdir(exist_ok=True)
    (home / "raw" / "answer.json").write_text(f'{{"said": "{SECRET}"}}')
    (home.parent / "other.csv").write_text(f"said\n{SECRET}\n")
    (home / "usage" / "notes.csv").write_text(f"said\n{SECRET}\n")
    with duckdb.connect(str(home.parent / "other.duckdb")) as session:
        session.execute(f"CREATE TABLE said AS SELECT '{SECRET}' AS said")
        session.execute(f"COPY said TO '{quoted(home / 'raw' / 'said.parquet')}' (FORMAT parquet)")
    return home


def quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def ask(home: Path, query: str, *options: str) -> Result:
    outside = Outside({"USAGE_PIPELINE_HOME": str(home)}, TurnableClock(), lambda _seconds: None)
    return CliRunner().invoke(main, ["sql", query, *options], obj=outside)


def data_files(home: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(home.parent.rglob("*")) if file.is_file()}


ANSWERED = [
    "SELECT sum(value) AS total FROM usage",
    "FROM usage_daily LIMIT 1",
    "WITH days AS (FROM usage) SELECT count(*) FROM days",
    "VALUES (1)",
    "SHOW TABLES",
    "DESCRIBE usage",
    "SUMMARIZE coverage",
    "PIVOT usage ON metric USING sum(value) GROUP BY usage_date",
    "-- what there is\nFROM metrics",
    "SELECT now()",
    "SELECT usage_total('aveva', 'ingress_events', '2026-10-01', '2026-10-31')",
]


@pytest.mark.parametrize("query", ANSWERED)
def test_a_query_is_answered(home: Path, query: str) -> None:
    result = ask(home, query)
    assert (result.exit_code, result.stderr) == (0, "")


READS = [
    "FROM read_csv('{file}')",
    "FROM '{file}'",
    "FROM read_text('{file}')",
    "FROM read_blob('{file}')",
    "FROM read_json('{file}')",
    "FROM read_ndjson_objects('{file}')",
    "FROM sniff_csv('{file}')",
    "FROM read_text('file://{file}')",
    "FROM read_text(['{file}'])",
    "FROM query('FROM read_text(''{twice}'')')",
    "FROM query_table('{file}')",
    "SELECT * FROM (SUMMARIZE FROM read_csv('{file}'))",
    "PIVOT (FROM read_csv('{file}')) ON said",
    "CREATE TEMP TABLE seen AS FROM read_text('{file}'); FROM seen",
    "CREATE TEMP MACRO seen() AS TABLE FROM read_text('{file}'); FROM seen()",
    "SELECT (SELECT content FROM read_text('{file}'))",
]
FILES = ["raw/answer.json", "../other.csv", "usage/notes.csv", "usage/../raw/answer.json", "/etc/passwd"]


@pytest.mark.parametrize("query", READS)
def test_no_other_file_is_read(home: Path, query: str) -> None:
    for name in FILES:
        for file in (str(home / name), os.path.relpath(home / name)):
            asked = query.format(file=file.replace("'", "''"), twice=file.replace("'", "''''"))
            result = ask(home, asked)
            assert result.exit_code == 1, asked
            assert SECRET not in result.output
            assert "root:" not in result.output


@pytest.mark.parametrize(
    "query",
    [
        "FROM '{home}/raw/said.parquet'",
        "FROM read_parquet('{home}/raw/*.parquet')",
        "FROM parquet_metadata('{home}/raw/said.parquet')",
        "FROM parquet_schema('{home}/raw/said.parquet')",
        "FROM parquet_file_metadata('{home}/raw/said.parquet')",
        "FROM glob('{home}/*')",
        "FROM glob('/*')",
        "FROM read_csv('/proc/self/environ')",
        "FROM read_text('/dev/stdin')",
        "FROM read_csv('https://127.0.0.1:9/x.csv')",
        "FROM read_parquet('s3://bucket/x.parquet')",
        "SELECT getenv('HOME')",
        "FROM duckdb_secrets()",
        "FROM delta_scan('{home}/usage')",
        "FROM sqlite_scan('{home}/dagster/x.db', 'runs')",
        "FROM outside",
    ],
)
def test_no_other_source_is_read(home: Path, query: str) -> None:
    assert ask(home, query.format(home=quoted(home))).exit_code == 1


WRITES = [
    "COPY (SELECT 1) TO '{file}'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}'",
    "COPY usage TO '{file}' (FORMAT parquet)",
    "WITH x AS (SELECT 1) COPY (FROM x) TO '{file}'",
    "SELECT 1; COPY (SELECT 1) TO '{file}'",
    "EXPORT DATABASE '{file}'",
    "ATTACH '{file}' AS other",
    "ATTACH '{file}' AS other; CREATE TABLE other.x AS SELECT 1",
    "PREPARE p AS COPY (SELECT 1) TO '{file}'; EXECUTE p",
    "CREATE TABLE warehouse.main.x AS SELECT 1",
    "INSERT INTO usage SELECT * FROM usage",
    "DELETE FROM lake.usage",
    "DROP VIEW usage",
    "CREATE OR REPLACE VIEW usage AS SELECT 1",
    "COMMENT ON VIEW usage IS 'x'",
    "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'x')",
    "CALL enable_logging(storage = 'file', storage_path = '{file}')",
    "CHECKPOINT",
    "VACUUM",
    "UPDATE EXTENSIONS",
]


@pytest.mark.parametrize("query", WRITES)
def test_nothing_is_written(home: Path, query: str) -> None:
    """Least of all the files that the views are made of."""
    before = data_files(home)
    (first, *_) = sorted(home.glob("usage/**/*.parquet"))
    for file in (first, home / "usage" / "new.parquet", home / "warehouse.duckdb", home.parent / "new.csv"):
        assert ask(home, query.format(file=quoted(file))).exit_code == 1
    assert data_files(home) == before


@pytest.mark.parametrize(
    "query",
    [
        "INSTALL httpfs",
        "FORCE INSTALL httpfs FROM community",
        "LOAD httpfs",
        "LOAD '{home}/x.duckdb_extension'",
        "SET enable_external_access = true",
        "RESET enable_external_access",
        "SET allowed_directories = ['/']",
        "SET allowed_paths = ['/etc/passwd']",
        "SET VARIABLE files = ['/etc/passwd']",
        "SET lock_configuration = false",
        "SET TimeZone = 'Asia/Tokyo'",
        "PRAGMA enable_profiling",
        "PRAGMA profiling_output = '{home}/profile.json'",
        "USE temp",
        "DETACH warehouse",
        "IMPORT DATABASE '{home}'",
    ],
)
def test_no_extension_is_loaded_and_no_setting_changed(home: Path, query: str) -> None:
    assert ask(home, query.format(home=quoted(home))).exit_code == 1


def test_the_engine_refuses_by_itself_what_the_command_refuses_first(home: Path) -> None:
    """Two locks: the statements that may be asked, and what the session may open."""
    with warehouse.reading(home) as session:
        for query in ("FROM read_text('/etc/passwd')", f"COPY (SELECT 1) TO '{quoted(home.parent / 'new.csv')}'",
                      f"ATTACH '{quoted(home.parent / 'other.duckdb')}' AS other", "LOAD httpfs"):  # fmt: skip
            with pytest.raises(duckdb.PermissionException):
                session.execute(query)
        with pytest.raises(duckdb.InvalidInputException, match="locked"):
            session.execute("SET enable_external_access = true")
        with pytest.raises(duckdb.Error, match="read-only"):
            session.execute("DROP VIEW usage")


def test_two_sessions_of_one_process_do_not_lock_each_other_out(home: Path) -> None:
    with warehouse.reading(home) as one, warehouse.reading(home) as other:
        query = "SELECT count(*) FROM usage"
        assert warehouse.ask(one, query).rows == warehouse.ask(other, query).rows
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as own:
        own.execute("SET TimeZone = 'Asia/Tokyo'")


outside = sys.modules
"""A name that a replacement scan could find."""
