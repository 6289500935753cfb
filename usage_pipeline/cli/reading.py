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
            result = warehouse.ask(session, warehouse.query("commands/status"))
        console(Console).print(result.rich())
    for problem in configuration.problems:
        complain(str(problem))
    if configuration.problems:
        raise SystemExit(1)


# A query may begin with a comment, which looks like an option.
@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("query", required=False)
@click.option(
    "--format", "shape", type=click.Choice(["table", "csv", "json", "parquet"]), default="table", show_default=True
)
@click.option("--describe", is_flag=True, help="Tell what views, columns and macros mean: of all, or of the one named.")
@click.pass_context
def sql(ctx: click.Context, query: str | None, shape: str, describe: bool) -> None:
    """Answer a QUERY from the warehouse, such as "SELECT * FROM usage_daily LIMIT 10".

    Numbers keep all their digits. `--format parquet` writes bytes: send them to a file. With `--describe`, QUERY is
    the name of a view or a macro, or left out.
    """
    from rich.console import Console

    from usage_pipeline import warehouse

    if not (query or describe):
        raise click.UsageError('say what to ask, such as "SELECT * FROM usage_daily LIMIT 10"', ctx)
    with warehouse.reading(ctx.obj.place.home) as session:
        if describe:
            result = warehouse.ask(session, warehouse.query("commands/describe"), {"view": query or ""})
            if not result.table.num_rows:
                raise click.UsageError(f"there is no view or macro '{query}'", ctx)
        else:
            result = warehouse.ask(session, query or "")
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
@click.argument("tool", required=False)
@click.pass_obj
def connect(outside: Outside, tool: str | None) -> None:
    """Print the lines that open the warehouse in a TOOL: all of them when none is named.

    Tools are duckdb, delta, python, pandas, polars, jdbc, dbeaver, metabase, superset and grafana. Whatever is not for
    the tool to read is a comment: `usage-pipeline connect python > explore.py` is a program.
    """
    from usage_pipeline import connect as connecting
    from usage_pipeline.contract.schema import USAGE
    from usage_pipeline.stages.lake import Lake
    from usage_pipeline.stages.publish import WAREHOUSE

    before, tools = connecting.tools()
    chosen = [each for each in tools if tool in {None, each.name}]
    if not chosen:
        names = ", ".join(each.name for each in tools)
        raise click.UsageError(f"'{tool}' is unknown; known are: {names}", click.get_current_context())
    file, table = outside.place.home / WAREHOUSE, Lake(outside.place.root).uri(USAGE)
    sections = [connecting.text(each, file, table, outside.environment) for each in chosen]
    click.echo("\n\n".join(["\n".join(connecting.comment(before)), *(section.rstrip() for section in sections)]))
    if not file.exists():
        raise ConfigurationError(
            f"there is no warehouse at {file} yet: load something first, with `usage-pipeline pull`"
        )
