"""The command line: what it loads, what it prints, and how it says what went wrong."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from usage_pipeline.cli import Outside, main
from usage_pipeline.sandbox import puppet, server, thousandeyes

NOW = datetime(2026, 3, 18, 12, 0, tzinfo=UTC)
ACCOUNTS = """\
accounts:
  - name: nodes
    vendor: puppet
    base_url: {address}/puppet
    start_date: 2026-03-01
    credentials: {{token: "${{SANDBOX_PUPPET_TOKEN}}"}}
  - name: mesh
    vendor: consul
    base_url: {address}/consul
    start_date: 2026-03-01
    credentials: {{token: "${{SANDBOX_CONSUL_TOKEN}}"}}
"""
WRONG = """\
  - name: wrong
    vendor: nobody
    start_date: 2026-03-01
"""

Run = Callable[..., Result]
WRONG_TOKEN = "made-up-and-long-enough"
RANGE = ["--from", "2026-03-10", "--to", "2026-03-17"]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with server.serving(server.TurnableClock(NOW)) as address:
        yield address


@pytest.fixture
def run(tmp_path: Path, address: str) -> Run:
    """Run a command on the sandbox, with more `accounts`, a variable `unset`, or another Puppet `token`."""

    def run(*args: str, accounts: str = "", unset: str = "", token: str = puppet.TOKEN) -> Result:
        file = tmp_path / "accounts.yaml"
        file.write_text(ACCOUNTS.format(address=address) + accounts)
        environment = server.environment() | {
            "USAGE_PIPELINE_ACCOUNTS": str(file),
            "USAGE_PIPELINE_HOME": str(tmp_path / "data"),
            "SANDBOX_PUPPET_TOKEN": token,
            "SANDBOX_THOUSANDEYES_UNPRICED": thousandeyes.BEARER_WITHOUT_USAGE_PRICING,
        }
        environment.pop(unset, None)
        outside = Outside(environment, lambda: NOW, lambda _seconds: None)
        return CliRunner().invoke(main, list(args), obj=outside)

    return run


def test_help_comes_without_heavy_imports() -> None:
    heavy = "{'pandas', 'pyarrow', 'dagster', 'pydantic'}"
    code = f"import sys, usage_pipeline.cli; print(sorted({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_explains_itself(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_pull_loads_what_the_sandbox_tells(run: Run, address: str) -> None:
    result = run("pull", "--account", "nodes", *RANGE)
    assert (result.exit_code, result.stderr) == (0, "")
    items = httpx.get(
        f"{address}/puppet/orchestrator/v1/usage",
        params={"start_date": "2026-03-10", "end_date": "2026-03-17"},
        headers={"X-Authentication": puppet.TOKEN},
    ).json()["items"]
    assert result.stdout == f"nodes usage: 8 days, {7 * len(items)} rows\n"
    told = run("sql", "SELECT sum(value) AS nodes FROM usage WHERE metric = 'nodes'", "--format", "csv").stdout
    assert told == f"nodes\n{sum(item['total_nodes'] for item in items)}.000000000\n"


def test_replay_asks_no_vendor_and_needs_no_secret(run: Run) -> None:
    pulled = run("pull", "--account", "nodes", *RANGE)
    replayed = run("replay", "--account", "nodes", *RANGE, unset="SANDBOX_PUPPET_TOKEN")
    assert (replayed.exit_code, replayed.stdout) == (0, pulled.stdout)


def test_snapshot_captures_today_and_leaves_past_days_unavailable(run: Run) -> None:
    result = run("pull", "--account", "mesh", "--from", "2026-03-16", "--to", "2026-03-18")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("mesh operator_usage: 1 days, ")
    assert result.stdout.endswith("rows, 2 days not available\n")


def test_unset_variable_stops_only_its_account(run: Run) -> None:
    result = run("pull", *RANGE, unset="SANDBOX_CONSUL_TOKEN")
    assert result.exit_code == 1
    assert result.stderr == "Error: account 'mesh': the variable SANDBOX_CONSUL_TOKEN (token) is not set\n"
    assert result.stdout.startswith("nodes usage: 8 days, ")


def test_wrong_account_stops_only_itself(run: Run) -> None:
    result = run("pull", *RANGE, accounts=WRONG)
    assert result.exit_code == 1
    assert "accounts.yaml:13: accounts[2].vendor: 'nobody' is unknown; allowed are: consul, aveva" in result.stderr
    assert "nodes usage: 8 days, " in result.stdout


def test_failing_endpoint_does_not_stop_the_others(run: Run) -> None:
    result = run("pull", "--from", "2026-03-17", "--to", "2026-03-18", token=WRONG_TOKEN)
    assert result.exit_code == 1
    assert "Error: nodes usage: 2026-03-17 to 2026-03-18: " in result.stderr
    assert "mesh operator_usage: 1 days" in result.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["pull", "--from", "2026-03-18", "--to", "2026-03-17"], "--from 2026-03-18 is after --to 2026-03-17"),
        (
            ["pull", "--from", "2026-03-19", "--to", "2026-03-20"],
            "--from 2026-03-19 has not begun: today is 2026-03-18",
        ),
        (["pull", "--from", "2026-02-30", "--to", "2026-03-17"], "'2026-02-30' is no day; write it as YYYY-MM-DD"),
        (["pull", "--from", "20260301", "--to", "2026-03-17"], "'20260301' is no day; write it as YYYY-MM-DD"),
        (["pull", "--from", "2026-03-01"], "Missing option '--to'"),
        (["pull", "--account", "nope", *RANGE], "there is no account 'nope'; configured are: nodes, mesh"),
        (
            ["pull", "--endpoint", "nope", *RANGE],
            "there is no endpoint 'nope' of any account; configured are: operator_usage, ",
        ),
        (["pull", "--account", "nodes", "--endpoint", "nope", *RANGE], "of account 'nodes'; configured are: usage"),
        (["check", "nope"], "there is no account 'nope'; configured are: nodes, mesh"),
        (["sql", "SELECT 1"], "load something first, with `usage-pipeline pull`"),
        (["status"], "load something first, with `usage-pipeline pull`"),
        (["fetch"], "No such command 'fetch'"),
        (["--quick"], "No such option '--quick'"),
    ],
)
def test_mistake_is_one_line_on_stderr(run: Run, args: list[str], said: str) -> None:
    result = run(*args)
    assert result.exit_code in {1, 2}
    assert result.stdout == ""
    assert said in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_check_tells_what_is_reachable_and_keeps_nothing(run: Run, tmp_path: Path) -> None:
    result = run("check")
    assert (result.exit_code, result.stdout) == (0, "nodes usage: ok\nmesh operator_usage: ok\n")
    assert not (tmp_path / "data").exists()


def test_check_says_what_to_do(run: Run) -> None:
    result = run("check", token=WRONG_TOKEN)
    assert result.exit_code == 1
    assert result.stdout == "mesh operator_usage: ok\n"
    assert result.stderr.startswith("Error: nodes usage: ")
    assert "Route requires authentication" in result.stderr
    assert WRONG_TOKEN not in result.output


def test_what_a_contract_leaves_out_is_not_available_and_no_failure(run: Run, address: str) -> None:
    accounts = f"""\
  - name: unpriced
    vendor: thousandeyes
    base_url: {address}/thousandeyes
    start_date: 2026-03-01
    credentials: {{bearer_token: "${{SANDBOX_THOUSANDEYES_UNPRICED}}"}}
    endpoints: [units_tests]
"""
    result = run("check", "unpriced", accounts=accounts)
    assert result.exit_code == 0
    assert result.stdout.startswith("unpriced units_tests: not available: ")
    assert result.stdout.endswith("customers on usage-based pricing only\n")
    result = run("pull", "--account", "unpriced", *RANGE, accounts=accounts)
    assert (result.exit_code, result.stderr) == (0, "")
    result = run("sql", "SELECT state, rows, reason FROM coverage", "--format", "csv", accounts=accounts)
    days = list(csv.reader(io.StringIO(result.stdout)))[1:]
    assert len(days) == 8
    for state, rows, reason in days:
        assert (state, rows) == ("not_available", "0")
        assert reason.endswith("customers on usage-based pricing only")


def test_status_tells_gaps_failures_and_what_is_gone(run: Run) -> None:
    run("pull", "--from", "2026-03-01", "--to", "2026-03-05")
    run("pull", "--from", "2026-03-08", "--to", "2026-03-18")
    run("pull", "--account", "nodes", "--from", "2026-03-07", "--to", "2026-03-07", token=WRONG_TOKEN)
    result = run("status")
    assert result.exit_code == 0, result.stderr
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines() if "│" in line]
    lines = {account: rest for account, *rest in cells}
    # From 11 March on: a day settles seven days after its end.
    assert lines["nodes"][:4] == ["usage", "2026-03-05", "2026-03-06", "8"]
    assert lines["nodes"][4].startswith("2026-03-07: ")
    assert lines["mesh"] == ["operator_usage", "2026-03-18", "", "0", "", "2026-03-01 to 2026-03-17"]


def test_sql_formats_keep_every_digit(run: Run) -> None:
    run("pull", "--account", "nodes", *RANGE)
    query = (
        "SELECT CAST('12345678901234567890.123456789' AS DECIMAL(38, 9)) AS number, "
        "TIMESTAMPTZ '2026-03-01 00:00:00+02' AS at, MAP {'a': 'b'} AS names, NULL AS nothing, true AS yes"
    )
    assert list(csv.reader(io.StringIO(run("sql", query, "--format", "csv").stdout)))[1] == [
        "12345678901234567890.123456789", "2026-02-28T22:00:00Z", '{"a":"b"}', "", "true",
    ]  # fmt: skip
    told = run("sql", query, "--format", "json").stdout
    assert json.loads(told, parse_float=str)[0] == {
        "number": "12345678901234567890.123456789",
        "at": "2026-02-28T22:00:00Z",
        "names": {"a": "b"},
        "nothing": None,
        "yes": True,
    }
    written = run("sql", query, "--format", "parquet")
    assert written.exit_code == 0, written.stderr
    table = pq.read_table(io.BytesIO(written.stdout_bytes))
    assert str(table["number"][0].as_py()) == "12345678901234567890.123456789"
    assert "12,345,678,901,234,567,890.123456789" in run("sql", query).stdout


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM nix", "nix does not exist"),
        ("DROP VIEW usage", "read-only"),
    ],
)
def test_sql_that_duckdb_refuses_is_one_line(run: Run, query: str, said: str) -> None:
    run("pull", "--account", "nodes", *RANGE)
    result = run("sql", query)
    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_sql_may_begin_with_a_comment(run: Run) -> None:
    run("pull", "--account", "nodes", *RANGE)
    assert run("sql", "-- one\nSELECT 1 AS one", "--format", "csv").stdout == "one\n1\n"


LICENCE = """\
    entitlements: [{metric: nodes, quantity: 400}]
"""


def test_views_and_columns_are_described(run: Run) -> None:
    run("pull", "--account", "nodes", *RANGE)
    told = run("sql", "--describe", "usage_daily", "--format", "csv").stdout.splitlines()
    assert told[0] == "name,column,type,description"
    assert told[1].startswith('usage_daily,,view,"one row per series and UTC day')
    assert 'usage_daily,days_covered,INTEGER,"UTC days that the value speaks of' in "\n".join(told)
    everything = run("sql", "--describe", "--format", "csv").stdout
    assert "\nutilization,exhausted_on,DATE," in everything
    assert "\nlaunchdarkly_total_mau,project,VARCHAR," in everything
    macro = run("sql", "--describe", "usage_total", "--format", "csv").stdout.splitlines()
    assert len(macro) == 2
    assert "(of_vendor, of_metric, first_day, last_day, of_account" in macro[1]


def test_what_cannot_be_described_or_asked_is_said(run: Run) -> None:
    run("pull", "--account", "nodes", *RANGE)
    unknown = run("sql", "--describe", "usage_dayly")
    assert (unknown.exit_code, unknown.stderr) == (
        2, "Error: there is no view or macro 'usage_dayly' (see main sql --help)\n",
    )  # fmt: skip
    nothing = run("sql")
    assert nothing.exit_code == 2
    assert nothing.stderr.startswith("Error: say what to ask, such as")


def test_entitlements_of_the_accounts_file_are_in_the_warehouse_and_outlast_a_mistake(run: Run) -> None:
    asked = ("sql", "SELECT account, metric, quantity, valid_from FROM entitlements", "--format", "csv")
    rows = "account,metric,quantity,valid_from\nlicensed,nodes,400.000000000,2026-03-01\n"
    more = WRONG.replace("wrong", "licensed").replace("nobody", "puppet") + "    base_url: http://127.0.0.1:1\n"
    credentials = '    credentials: {token: "${SANDBOX_PUPPET_TOKEN}"}\n'
    assert run("pull", "--account", "nodes", *RANGE, accounts=more + credentials + LICENCE).exit_code == 0
    assert run(*asked).stdout == rows
    # The account is written wrong now: what was right before stays.
    run("pull", "--account", "nodes", *RANGE, accounts=more + LICENCE)
    assert run(*asked).stdout == rows
    # The account is gone.
    run("pull", "--account", "nodes", *RANGE)
    assert run(*asked).stdout == "account,metric,quantity,valid_from\n"


PRICE = """\
prices:
  - {sku: node, vendor: puppet, metric: nodes, per: day, unit_price: 0.1, currency: EUR, valid_from: 2026-03-01}
"""


def test_a_price_book_beside_the_accounts_prices_usage_and_outlasts_a_mistake(run: Run, tmp_path: Path) -> None:
    book = tmp_path / "prices.yaml"
    asked = ("sql", "SELECT DISTINCT sku, unit_price, currency FROM cost_daily", "--format", "csv")
    rows = "sku,unit_price,currency\nnode,0.100000000,EUR\n"
    book.write_text(PRICE)
    assert run("pull", "--account", "nodes", *RANGE).exit_code == 0
    assert run(*asked).stdout == rows
    book.write_text(PRICE.replace("per: day", "per: week"))
    result = run("pull", "--account", "nodes", *RANGE)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {book}:2: prices[0].per: Input should be 'day' or 'month'\n"
    assert run(*asked).stdout == rows
    assert "prices[0].per" in run("check", "nodes").stderr
    book.unlink()
    assert run("pull", "--account", "nodes", *RANGE).exit_code == 0
    assert run(*asked).stdout == "sku,unit_price,currency\n"


def test_compact_gathers_files_and_changes_no_row(run: Run) -> None:
    # A closed month in three files.
    for day in ("2026-02-10", "2026-02-12", "2026-02-14"):
        assert run("pull", "--account", "nodes", "--from", day, "--to", day).exit_code == 0
    everything = ("sql", "SELECT * FROM usage ORDER BY ALL", "--format", "csv")
    before = run(*everything).stdout
    assert before.count("\n") > 3
    assert run("compact").stdout == "2 files fewer to read, 0 replaced files removed\n"
    assert run(*everything).stdout == before
    assert run("compact").stdout == "0 files fewer to read, 0 replaced files removed\n"
