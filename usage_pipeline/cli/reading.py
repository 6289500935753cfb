"""Commands that only read: status, queries, and how to open the warehouse elsewhere."""

from __future__ import annotations

import sys

import click

from usage_pipeline.cli.base import Outside, complain, console, main
from usage_pipeline.contract.errors import ConfigurationError


@main.command()
@click.pass_obj
def status(outside: Outside) -> None:
    """Tell per account and endpoint: complete up to, gaps, provisional days, failures and why, what is gone."""
    import pyarrow as pa
    from rich.console import Console

    from usage_pipeline import pipeline, warehouse

    configuration = outside.configuration
    today = outside.clock().date()
    expected = [
        {
            "vendor": account.vendor,
            "account": account.name,
            "endpoint": slug,
            "history": pipeline.endpoint_of(account, slug).history.value,
            "first": account.start_date,
            "today": today,
        }
        for account in configuration.accounts
        for slug in account.endpoints
    ]
    if expected:
        with warehouse.reading(outside.place.home) as session:
            session.register("expected", pa.Table.from_pylist(expected))
            result = warehouse.ask(session, warehouse.command("status"))
        console(Console).print(result.rich())
    for problem in configuration.problems:
        complain(str(problem))
    if configuration.problems:
        raise SystemExit(1)


# A query may begin with a comment, which looks like an option.
@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("query")
@click.option(
    "--format", "shape", type=click.Choice(["table", "csv", "json", "parquet"]), default="table", show_default=True
)
@click.pass_obj
def sql(outside: Outside, query: str, shape: str) -> None:
    """Answer a QUERY from the warehouse, such as "SELECT * FROM usage LIMIT 10".

    Numbers keep all their digits. `--format parquet` writes bytes: send them to a file.
    """
    from rich.console import Console

    from usage_pipeline import warehouse

    with warehouse.reading(outside.place.home) as session:
        result = warehouse.ask(session, query)
    if shape == "csv":
        click.echo(result.csv(), nl=False)
    elif shape == "json":
        click.echo(result.json(), nl=False)
    elif shape == "parquet":
        if sys.stdout.isatty():
            raise click.UsageError("parquet is not text: send it to a file with > usage.parquet")
        sys.stdout.buffer.write(result.parquet())
    else:
        console(Console).print(result.rich())


@main.command()
@click.pass_obj
def connect(outside: Outside) -> None:
    """Print the lines that open the warehouse in the DuckDB CLI, Python, pandas and BI tools."""
    from usage_pipeline.stages.publish import WAREHOUSE

    file = outside.place.home / WAREHOUSE
    click.echo(CONNECT.format(file=file, shell=_quoted_for_shell(str(file)), literal=repr(str(file))), nl=False)
    if not file.exists():
        raise ConfigurationError(
            f"there is no warehouse at {file} yet: load something first, with `usage-pipeline pull`"
        )


CONNECT = """\
# DuckDB CLI
duckdb -readonly {shell}

# Python
import duckdb
warehouse = duckdb.connect({literal}, read_only=True)
warehouse.sql("FROM usage LIMIT 10").show()

# pandas (ArrowDtype keeps the numbers exact; .df() would make floats of them)
import pandas
usage = warehouse.sql("FROM usage").to_arrow_table().to_pandas(types_mapper=pandas.ArrowDtype)

# BI tools, by JDBC; set the driver's property duckdb.read_only to true
jdbc:duckdb:{file}
"""


def _quoted_for_shell(text: str) -> str:
    import shlex

    return shlex.quote(text)
