"""Commands that write: load from the vendors or from raw answers, compact; and the one that only tries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from typing import TYPE_CHECKING

import click

from usage_pipeline.cli.base import Outside, asked_days, chosen_endpoints, complain, days_options, main, progress
from usage_pipeline.contract.errors import NotAvailableError, UsageError
from usage_pipeline.contract.time import Days

if TYPE_CHECKING:
    from usage_pipeline.contract.vendor import Account
    from usage_pipeline.pipeline import Outcome, Place


@main.command()
@days_options
@click.pass_obj
def pull(outside: Outside, account: str | None, endpoint: str | None, first: date, last: date) -> None:
    """Load a range of UTC days from the vendors, without a daemon.

    Days that were loaded before are asked for again and replaced. Of endpoints that tell only the present, today is
    captured; past days are read again from the answers kept on those days, and are not available without any.
    """
    from usage_pipeline import pipeline

    _load(outside, account, endpoint, asked_days(outside, first, last), pipeline.pull, secrets=True)


@main.command()
@days_options
@click.pass_obj
def replay(outside: Outside, account: str | None, endpoint: str | None, first: date, last: date) -> None:
    """Normalise a range of UTC days again from the raw answers, asking no vendor."""
    from usage_pipeline import pipeline

    _load(outside, account, endpoint, asked_days(outside, first, last), pipeline.replay, secrets=False)


def _load(
    outside: Outside,
    account: str | None,
    endpoint: str | None,
    days: Days,
    load: Callable[[Place, Account, str, Days], Outcome],
    *,
    secrets: bool,
) -> None:
    """One endpoint after the other, then the warehouse once; what fails does not keep the rest from loading."""
    from usage_pipeline import pipeline, prices

    place = outside.place
    pipeline.upgrade(place)
    went_well = True
    chosen, problems = chosen_endpoints(outside, account, endpoint, secrets=secrets)
    for problem in problems:
        went_well = complain(problem)
    for who, slug in progress(chosen, "loading"):
        try:
            outcome = load(place, who, slug, days)
        except UsageError as error:
            went_well = complain(f"{who.name} {slug}: {error}")
            continue
        click.echo(_summary(outcome))
        for line in _failures(outcome):
            went_well = complain(line)
    if chosen:
        pipeline.publish(place, outside.configuration)
    for problem in prices.problems(outside.environment):
        went_well = complain(problem)
    if not went_well:
        raise SystemExit(1)


def _summary(outcome: Outcome) -> str:
    from usage_pipeline.contract.schema import State

    gone = sum(state is State.NOT_AVAILABLE for state in outcome.states.values())
    told = f"{outcome.account} {outcome.endpoint}: {len(outcome.told)} days, {sum(outcome.rows.values())} rows"
    return f"{told}, {gone} days not available" if gone else told


def _failures(outcome: Outcome) -> Iterable[str]:
    """A line for every reason, with its days."""
    by_reason: dict[str, list[date]] = {}
    for day, error in sorted(outcome.failures.items()):
        by_reason.setdefault(" ".join(str(error).split()), []).append(day)
    for reason, days in by_reason.items():
        yield f"{outcome.account} {outcome.endpoint}: {', '.join(map(str, Days.runs(days)))}: {reason}"


@main.command()
@click.argument("account", required=False)
@click.pass_obj
def check(outside: Outside, account: str | None) -> None:
    """Send one small request per endpoint: reachable, credentials accepted, permission there, or what to do.

    Nothing of the answers is kept.
    """
    from usage_pipeline import pipeline, prices

    place = outside.place
    chosen, problems = chosen_endpoints(outside, account, None, secrets=True)
    went_well = True
    for problem in [*problems, *prices.problems(outside.environment)]:
        went_well = complain(problem)
    for who, slug in progress(chosen, "asking"):
        try:
            pipeline.check(place, who, slug)
        except NotAvailableError as error:
            click.echo(f"{who.name} {slug}: not available: {' '.join(str(error).split())}")
        except UsageError as error:
            went_well = complain(f"{who.name} {slug}: {' '.join(str(error).split())}")
        else:
            click.echo(f"{who.name} {slug}: ok")
    if not went_well:
        raise SystemExit(1)


@main.command()
@click.pass_obj
def compact(outside: Outside) -> None:
    """Gather small files of the tables into large ones, and remove what was replaced more than seven days ago."""
    from usage_pipeline import pipeline

    gathered, removed = pipeline.compact(outside.place)
    click.echo(f"{gathered} files fewer to read, {removed} replaced files removed")
