"""Layout: lakes of older and of newer programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import deltalake
import duckdb
import pytest
from deltalake.schema import PrimitiveType

from usage_pipeline import stages
from usage_pipeline.contract.errors import ConfigurationError
from usage_pipeline.contract.schema import COVERAGE, TABLES, USAGE, Column, Table, Type
from usage_pipeline.stages import lake, layout, views
from usage_pipeline_tests.stages.invented import WINDOW, Bench, days_of, on

Declare = Callable[[Table], Table]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A lake of two days, as a program before layout.json left it."""
    made = Bench(tmp_path / "lake #1", answer=lambda request: {str(day): 5 for day in days_of(request)})
    made.pull(WINDOW, on("2026-02-28", "2026-03-01"))
    return made


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Declare:
    """A later program, in which a table is declared differently."""

    def later(table: Table) -> Table:
        tables = tuple(table if one.name == table.name else one for one in TABLES)
        for module in (layout, views):
            monkeypatch.setattr(module, "TABLES", tables)
        return table

    return later


def agree(bench: Bench) -> None:
    layout.agree(str(bench.home))


def versions(bench: Bench) -> dict[str, int]:
    return {table.name: found.version() for table in TABLES if (found := bench.lake.find(table))}


def ask(bench: Bench, query: str) -> list[tuple[object, ...]]:
    """A query on the tables as readers see them."""
    with duckdb.connect() as session:
        for statement in views.tables(session, bench.lake):
            session.execute(statement)
        return session.execute(query).fetchall()


def test_a_lake_without_a_file_is_of_the_first_version(bench: Bench) -> None:
    before = versions(bench)
    agree(bench)
    assert json.loads((bench.home / "layout.json").read_text())["version"] == 1
    assert versions(bench) == before


def test_a_new_folder_is_of_this_version(tmp_path: Path) -> None:
    layout.agree(str(tmp_path / "new"))
    assert json.loads((tmp_path / "new" / "layout.json").read_text())["version"] == layout.VERSION


def test_a_lake_that_agrees_is_not_looked_into(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    agree(bench)
    monkeypatch.delattr(lake, "lacking")
    agree(bench)


def test_a_newer_lake_is_refused(bench: Bench) -> None:
    (bench.home / "layout.json").write_text('{"version": 2, "tables": "other"}')
    with pytest.raises(ConfigurationError, match=r"newer usage-pipeline \(layout 2; this one writes 1\): install"):
        agree(bench)


def test_a_file_that_cannot_be_read_is_named(bench: Bench) -> None:
    (bench.home / "layout.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"layout\.json cannot be read"):
        agree(bench)


@pytest.mark.parametrize("table", [USAGE, COVERAGE], ids=lambda table: table.name)
def test_a_column_that_may_be_empty_is_added(bench: Bench, declare: Declare, table: Table) -> None:
    agree(bench)
    before = ask(bench, f"FROM lake.{table.name} ORDER BY ALL")
    tier = Column("tier", Type.DECIMAL, "What tier it was", nullable=True)
    first, *rest = table.columns
    declare(replace(table, columns=(first, tier, *rest)))
    agree(bench)
    assert ask(bench, f"SELECT DISTINCT tier, typeof(tier) FROM lake.{table.name}") == [(None, "DECIMAL(38,9)")]
    assert ask(bench, f"SELECT * EXCLUDE (tier) FROM lake.{table.name} ORDER BY ALL") == before
    assert ask(bench, f"SELECT count(*) FROM lake.{table.name}") == [(2,)]
    changed = versions(bench)
    agree(bench)
    assert versions(bench) == changed
    found = bench.lake.find(table)
    assert found
    assert found.metadata().partition_columns == list(table.partitions)
    assert found.metadata().configuration == lake.KEEP_REPLACED


def test_an_older_program_keeps_off_a_wider_table(bench: Bench) -> None:
    found = bench.lake.open(USAGE)
    found.alter.add_columns([deltalake.Field("tier", PrimitiveType("string"), nullable=True)])
    with pytest.raises(ConfigurationError, match=r"columns of a newer usage-pipeline \(tier\): install that version"):
        agree(bench)
    assert not (bench.home / "layout.json").exists()


def test_a_table_that_cannot_hold_what_is_declared_is_refused_and_nothing_changes(
    bench: Bench, declare: Declare
) -> None:
    before = versions(bench)
    extra = Column("note", Type.STRING, "May be empty", nullable=True)
    needed = Column("tier", Type.STRING, "Always there")
    declare(replace(USAGE, columns=(*USAGE.columns, extra, needed)))
    with pytest.raises(ConfigurationError, match=r"lake #1/usage .*\(tier\): move it away.*usage-pipeline replay"):
        agree(bench)
    counted = tuple(
        replace(column, type=Type.DECIMAL) if column.name == "rows" else column for column in COVERAGE.columns
    )
    declare(replace(COVERAGE, columns=counted))
    with pytest.raises(ConfigurationError, match=r"lake #1/coverage .*\(rows\): move it away"):
        agree(bench)
    assert versions(bench) == before


def test_what_the_refusal_says_to_do_helps(bench: Bench, declare: Declare) -> None:
    expected = ask(bench, "SELECT usage_date, value FROM lake.usage ORDER BY ALL")
    declare(replace(USAGE, columns=(*USAGE.columns, Column("tier", Type.STRING, "Always there"))))
    with pytest.raises(ConfigurationError):
        agree(bench)
    declare(USAGE)
    (bench.home / "usage").rename(bench.home / "usage.before")
    agree(bench)
    bench.load(WINDOW, on("2026-02-28", "2026-03-01"))
    assert ask(bench, "SELECT usage_date, value FROM lake.usage ORDER BY ALL") == expected
    assert stages.layout is layout


@pytest.mark.parametrize("address", ["", "file://"])
def test_a_lake_that_is_half_made_says_so(tmp_path: Path, address: str) -> None:
    root = f"{address}{tmp_path}"
    assert not layout.rebuilding(root)
    layout.mark(root, rebuilding=True)
    told = json.loads((tmp_path / "layout.json").read_text())
    assert told["rebuilding"] is True
    assert layout.rebuilding(root)
    with pytest.raises(ConfigurationError, match=r"half made.*usage-pipeline rebuild"):
        layout.agree(root)
    layout.mark(root, rebuilding=False)
    assert not layout.rebuilding(root)
    layout.agree(root)
    assert json.loads((tmp_path / "layout.json").read_text()) == {**told, "rebuilding": False}
