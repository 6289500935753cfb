"""The very lines that `connect` prints, run by the tools that they are for, on a published warehouse."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
import sqlalchemy as sa
import yaml
from click.testing import CliRunner, Result

from usage_pipeline import connect
from usage_pipeline.cli import Outside, main
from usage_pipeline.stages.lake import Lake
from usage_pipeline.stages.publish import publish
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests.sql.lake import MINUTES, small

_, TOOLS = connect.tools()
NAMES = [tool.name for tool in TOOLS]

# A tenth and a ninth decimal digit would be lost in a float: 12345678901234567890.123456789 + 0.1 + 0.2 is exact here.
VALUES = ("12345678901234567890.123456789", "0.1", "0.2")
TOTAL = Decimal("12345678901234567890.423456789")
FIRST_END = datetime(2026, 3, 2, tzinfo=UTC)

Connect = Callable[..., str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name every kind of quoting has to cope with; the lake is beside it, under a plain one."""
    homes = tmp_path_factory.mktemp("homes")
    small(homes / "lake", [MINUTES.day(f"2026-03-0{n}", value) for n, value in enumerate(VALUES, 1)])
    home = homes / """it's "here" $HOME; 100% #1"""
    publish(Lake(str(homes / "lake")), home, VENDORS.values())
    return home


def run(home: Path, *args: str) -> Result:
    environment = {"USAGE_PIPELINE_HOME": str(home), "USAGE_PIPELINE_LAKE": str(home.parent / "lake")}
    outside = Outside(environment, lambda: FIRST_END, lambda _seconds: None)
    return CliRunner().invoke(main, ["connect", *args], obj=outside)


def printed(home: Path, *args: str) -> str:
    result = run(home, *args)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def lines(home: Path, tool: str) -> str:
    """What `connect` prints for a tool, without the comments."""
    return "".join(line for line in printed(home, tool).splitlines(True) if not line.startswith("#")).strip() + "\n"


def python(home: Path, tool: str, more: str) -> list[str]:
    """The lines of the output of a program: what `connect` prints, and more."""
    program = [sys.executable, "-W", "error", "-c", f"{printed(home, tool)}\n{more}"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_duckdb_cli(home: Path) -> None:
    environment = os.environ | {"PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"}
    assert shutil.which("duckdb", path=environment["PATH"]), "duckdb-cli is among the dev dependencies"
    asked = (
        ".mode csv\nSELECT sum(value) AS total, min(period_end) AS first FROM usage;\nCREATE TABLE mine (one INT);\n"
    )
    done = subprocess.run(
        ["bash", "-c", printed(home, "duckdb")],
        input=asked,
        env=environment | {"TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["total,first", f"{TOTAL},2026-03-02 00:00:00+00"]
    assert "read-only mode" in done.stderr


def test_python(home: Path) -> None:
    shown = python(home, "python", 'print(warehouse.execute("SELECT sum(value) FROM usage").fetchone()[0])')
    assert shown[-1] == str(TOTAL)


def test_pandas_keeps_decimals_and_instants(home: Path) -> None:
    shown = python(home, "pandas", "print(usage['value'].sum(), usage['value'].dtype, usage['period_end'].min())")
    assert shown == [f"{TOTAL} decimal128(38, 9)[pyarrow] 2026-03-02 00:00:00+00:00"]


@pytest.mark.parametrize("frame", ["usage", "newest.collect()"])
def test_polars_keeps_decimals_and_instants(home: Path, frame: str) -> None:
    more = f"told = {frame}\nprint(told['value'].sum(), told['value'].dtype, told['period_end'].min())"
    assert python(home, "polars", more) == [f"{TOTAL} Decimal(precision=38, scale=9) 2026-03-02 00:00:00+00:00"]


def test_superset_by_sqlalchemy(tmp_path: Path) -> None:
    # Superset's SQLAlchemy takes a % as it stands, the newer one here decodes it: there is none in this name.
    home, lake = tmp_path / "it's here; #1", tmp_path / "lake"
    small(lake, [MINUTES.day("2026-03-01", VALUES[0])])
    publish(Lake(str(lake)), home, VENDORS.values())
    engine = sa.create_engine(lines(home, "superset").strip(), poolclass=sa.pool.NullPool)

    def total() -> Decimal:
        with engine.connect() as connection:
            told: Decimal = connection.execute(sa.text("SELECT sum(value) FROM usage")).scalar_one()
            return told

    assert total() == Decimal(VALUES[0])
    with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError, match="read-only mode"):
        connection.execute(sa.text("CREATE TABLE mine (one INTEGER)"))
    small(lake, [MINUTES.day("2026-03-02", 1)])
    publish(Lake(str(lake)), home, VENDORS.values())
    assert total() == Decimal("12345678901234567891.123456789")


def test_open_connection_keeps_what_it_had_until_all_are_closed(tmp_path: Path) -> None:
    made = small(tmp_path, [MINUTES.day("2026-03-01", 1)])
    file = str(tmp_path / "warehouse.duckdb")
    asked = "SELECT sum(value) FROM usage"
    old = duckdb.connect(file, read_only=True)
    small(made.home, [MINUTES.day("2026-03-02", 10)])
    assert old.execute(asked).fetchall() == [(Decimal(1),)]
    second = duckdb.connect(file, read_only=True)
    assert second.execute(asked).fetchall() == [(Decimal(1),)], "connections of one process share what is open"
    old.close()
    second.close()
    with duckdb.connect(file, read_only=True) as anew:
        assert anew.execute(asked).fetchall() == [(Decimal(11),)]


@pytest.mark.parametrize("tool", ["jdbc", "dbeaver", "metabase"])
def test_settings_name_the_file_and_protect_it(home: Path, tool: str) -> None:
    settings = dict(line.split(": ", 1) for line in lines(home, tool).splitlines())
    file = str(home / "warehouse.duckdb")
    assert {
        settings.get("url", "").removeprefix("jdbc:duckdb:"),
        settings.get("Path"),
        settings.get("Database file"),
    } >= {file}
    assert settings.get("duckdb.read_only") == "true" or settings["Establish a read-only connection"] == "on"


def test_grafana_file_is_yaml(home: Path) -> None:
    (source,) = yaml.safe_load(printed(home, "grafana"))["datasources"]
    assert source["jsonData"] == {"path": str(home / "warehouse.duckdb"), "readOnly": True}
    assert source["type"] == "motherduck-duckdb-datasource"


@pytest.mark.parametrize("tool", TOOLS, ids=NAMES)
def test_what_was_not_tried_says_so(home: Path, tool: connect.Tool) -> None:
    shown = printed(home, tool.name)
    assert ("Not tried" in shown) is (tool.name in {"jdbc", "dbeaver", "metabase", "grafana"})
    assert (tool.documentation in shown) is not tool.tried
    assert f"# When republished: {tool.republished[:20]}" in shown


def test_all_tools_are_printed_and_named_in_the_help(home: Path) -> None:
    everything = printed(home)
    assert [line for line in everything.splitlines() if line in {f"# {tool.title}" for tool in TOOLS}] == [
        f"# {tool.title}" for tool in TOOLS
    ]
    assert set(NAMES) <= set(printed(home, "--help").replace(",", " ").replace(".", " ").split())


@pytest.mark.parametrize("tool", ["python", "pandas", "polars"])
def test_python_tools_print_programs(home: Path, tool: str) -> None:
    assert ast.parse(printed(home, tool))


def test_unknown_tool_is_told_the_known_ones(home: Path) -> None:
    result = run(home, "excel")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: 'excel' is unknown; known are: {', '.join(NAMES)}")


def test_missing_warehouse_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    result = run(tmp_path, "python")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: there is no warehouse at {tmp_path / 'warehouse.duckdb'} yet: load")
