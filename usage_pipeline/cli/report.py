"""The report: one page to look at."""

from __future__ import annotations

from pathlib import Path

import click

from usage_pipeline.cli.base import Outside, main


@main.command()
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="Where to write the page.",
)
@click.pass_obj
def report(outside: Outside, out: Path) -> None:
    """Write one page to look at: entitlements, what changed, daily usage, what is known.

    The page needs nothing else: no network, no script. It can be mailed, and is readable on a phone.
    """
    from usage_pipeline import report as reporting

    size = reporting.make(outside.place.home, outside.clock(), out)
    click.echo(f"{out}: {size:,} bytes")
