"""Publish: the file of views, and what of it is kept from one publication to the next."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from usage_pipeline import stages
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests.stages.invented import WINDOW, Bench, days_of, on

NOBODY = (VENDORS["puppet"],)


def ask(file: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(file), read_only=True) as session:
        return session.execute(query).fetchall()


def publish(bench: Bench) -> Path:
    return stages.publish.publish(bench.lake, bench.home, NOBODY)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A folder whose name needs care in addresses and in SQL."""
    home = tmp_path / "it's 100% data #1"
    home.mkdir()
    return Bench(home, answer=lambda request: {str(day): 5 for day in days_of(request)})


def test_a_second_publication_shows_new_rows_through_the_old_views(bench: Bench) -> None:
    bench.pull(WINDOW, on("2026-03-01"))
    file = publish(bench)
    assert ask(file, "SELECT count(*), sum(value) FROM usage_daily") == [(1, Decimal(5))]
    file.chmod(0o600)
    with duckdb.connect(str(file)) as session:
        session.execute("COMMENT ON VIEW usage_daily IS 'the old one'")
    bench.pull(WINDOW, on("2026-03-02", "2026-03-03"))
    publish(bench)
    assert ask(file, "SELECT comment FROM duckdb_views() WHERE view_name = 'usage_daily'") == [("the old one",)]
    assert ask(file, "SELECT count(*), sum(value) FROM usage_daily") == [(3, Decimal(15))]
    silent = "SELECT count(*) FROM duckdb_columns() WHERE NOT internal AND coalesce(comment, '') = ''"
    assert ask(file, silent) == [(0,)]


def test_views_are_made_anew_when_what_they_are_made_from_changed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ask(publish(bench), "SELECT lake.made_from()")
    assert ask(publish(bench), "SELECT lake.made_from()") == before
    bench.home.joinpath("views").mkdir()
    for file in stages.views.SQL.glob("*.sql"):
        bench.home.joinpath("views", file.name).write_text(file.read_text())
    bench.home.joinpath("views", "99_new.sql").write_text("-- one row: one\nCREATE VIEW new AS SELECT 1 AS one;\n")
    monkeypatch.setattr("usage_pipeline.stages.views.SQL", bench.home / "views")
    file = publish(bench)
    assert ask(file, "SELECT * FROM new") == [(1,)]
    assert ask(file, "SELECT lake.made_from()") != before


@pytest.mark.parametrize("content", [b"", b"not a database", b"\0" * 9000])
def test_a_file_that_is_no_warehouse_is_replaced(bench: Bench, content: bytes) -> None:
    bench.home.joinpath("warehouse.duckdb").write_bytes(content)
    assert ask(publish(bench), "SELECT count(*) FROM usage") == [(0,)]


def test_a_reader_of_the_old_file_keeps_it(bench: Bench) -> None:
    bench.pull(WINDOW, on("2026-03-01"))
    with duckdb.connect(str(publish(bench)), read_only=True) as reader:
        bench.pull(WINDOW, on("2026-03-02"))
        publish(bench)
        assert reader.execute("SELECT count(*) FROM usage").fetchall() == [(1,)]


def test_the_file_is_protected(bench: Bench) -> None:
    for _again in range(2):
        file = publish(bench)
        assert file.stat().st_mode & 0o777 == 0o444
        assert sorted(path.name for path in bench.home.glob("*warehouse*")) == [
            ".warehouse.duckdb.lock",
            "warehouse.duckdb",
        ]
