"""Commands that hand what was loaded to other systems."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click

from usage_pipeline.cli.base import Day, Outside, asked_days, main


@main.command("export-focus")
@click.option("--from", "first", type=Day(), required=True, help="First UTC day, inclusive.")
@click.option("--to", "last", type=Day(), required=True, help="Last UTC day, inclusive.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Parquet file to write or replace.",
)
@click.pass_obj
def export_focus(outside: Outside, first: date, last: date, out: Path) -> None:
    """Write what usage cost as a FOCUS 1.2 file: a row per row of cost_daily, of priced usage only.

    Prices are those of prices.yaml at the last load. Currencies are not converted: every row has its own.
    """
    from usage_pipeline import focus, warehouse
    from usage_pipeline.vendors.registry import VENDORS

    days = asked_days(outside, first, last)
    with warehouse.reading(outside.place.home) as session:
        count = focus.export(session, VENDORS.values(), days, out)
    click.echo(f"{count} charges of {days} are in {out}")
