"""Commands for bad days: make the tables anew from the raw answers, and compare everything that is kept."""

from __future__ import annotations

import click

from usage_pipeline.cli.base import Outside, complain, main


@main.command()
@click.pass_obj
def rebuild(outside: Outside) -> None:
    """Make every table anew from the raw answers alone, asking no vendor, and publish the warehouse.

    Stop whatever loads, and move the old tables away first: a rebuild writes over none. One that was cut short starts
    again from the beginning.
    """
    from usage_pipeline import recovery

    done = recovery.rebuild(outside.place, outside.configuration, click.echo)
    click.echo(f"{done.endpoints} endpoints made anew from {done.attempts} attempts")
    for problem in done.problems:
        complain(" ".join(problem.split()))
    if done.problems:
        raise SystemExit(1)


@main.command()
@click.pass_obj
def verify(outside: Outside) -> None:
    """Compare raw answers, receipts, coverage, tables and warehouse, and tell every disagreement with what to do.

    Changes nothing and asks no vendor. All raw answers are read again: it takes as long as replaying them all.
    """
    from usage_pipeline import verification

    found = verification.verify(outside.place)
    for problem in found.problems:
        complain(" ".join(problem.split()))
    compared = f"{found.attempts} attempts, {found.answers} answers, {found.days} days, {found.rows} rows"
    click.echo(f"{compared}: {len(found.problems) or 'no'} disagreement{'' if len(found.problems) == 1 else 's'}")
    if found.problems:
        raise SystemExit(1)
