"""What every command shares: the machine it runs on, how mistakes are told, options, progress.

What a command needs is imported inside it, so that `--help` comes at once.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import NoArgsIsHelpError

from usage_pipeline.contract.errors import ConfigurationError, UsageError
from usage_pipeline.contract.time import Clock, Days

if TYPE_CHECKING:
    from usage_pipeline.config import Configuration
    from usage_pipeline.contract.vendor import Account
    from usage_pipeline.pipeline import Place


@dataclass(frozen=True, slots=True)
class Outside:
    """What a command gets from the machine that it runs on."""

    environment: Mapping[str, str]
    clock: Clock
    sleep: Callable[[float], None]

    @property
    def place(self) -> Place:
        from usage_pipeline import pipeline

        return pipeline.place(self.environment, self.clock, self.sleep)

    @property
    def configuration(self) -> Configuration:
        from usage_pipeline import config

        return config.read(config.find(self.environment))


def here() -> Outside:
    """This machine: its environment, its clock, real pauses."""
    return Outside(os.environ, lambda: datetime.now(UTC), time.sleep)


class OneLine(click.Group):
    """Tells mistakes in one line each on stderr: exit status 2 for those in the command itself, 1 for the rest."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("obj", here())
        return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _one_line():
            return super().invoke(ctx)


class Told(click.ClickException):
    """What is shown of a mistake."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc] # click declares it for classes

    def show(self, file: Any = None) -> None:  # noqa: ARG002 - click's signature
        complain(self.message)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        asked = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        raise Told(" ".join(error.format_message().split()) + asked, error.exit_code) from None
    except UsageError as error:
        raise Told(str(error)) from None
    except OSError as error:
        raise Told(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from None


class Day(click.ParamType[date]):
    """A UTC day."""

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            day = date.fromisoformat(value)
        except ValueError:
            day = None
        if day is None or day.isoformat() != value:
            self.fail(f"'{value}' is no day; write it as YYYY-MM-DD, such as 2026-03-01", param, ctx)
        return day


@click.group(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="usage-pipeline")
def main() -> None:
    """What vendors say you used, in one table that can be trusted.

    Accounts are read from accounts.yaml (or the file that USAGE_PIPELINE_ACCOUNTS names; without one, the sandbox's).
    Data is kept under USAGE_PIPELINE_HOME (default ./data).
    """


def days_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--to", "last", type=Day(), required=True, help="Last UTC day, inclusive."),
        click.option("--from", "first", type=Day(), required=True, help="First UTC day, inclusive."),
        click.option("--endpoint", metavar="E", help="Only this endpoint."),
        click.option("--account", metavar="A", help="Only this account."),
    ):
        command = option(command)
    return command


def asked_days(outside: Outside, first: date, last: date) -> Days:
    if last < first:
        raise click.UsageError(f"--from {first} is after --to {last}", click.get_current_context())
    today = outside.clock().date()
    if first > today:
        raise click.UsageError(f"--from {first} has not begun: today is {today} (UTC)", click.get_current_context())
    return Days(first, last)


def chosen_endpoints(
    outside: Outside, name: str | None, slug: str | None, *, secrets: bool
) -> tuple[list[tuple[Account, str]], list[str]]:
    """The accounts and endpoints that the options name, and what is wrong with the other accounts."""
    from usage_pipeline import config

    configuration = outside.configuration
    if config.find(outside.environment) == config.SANDBOX_ACCOUNTS:
        click.echo("There is no accounts.yaml: these are the sandbox's accounts (usage-pipeline sandbox).", err=True)
    accounts: Sequence[Account] = [configuration.account(name)] if name else configuration.accounts
    problems = [] if name else [str(problem) for problem in configuration.problems]
    known = sorted({endpoint for account in accounts for endpoint in account.endpoints})
    if slug and slug not in known and known:
        whose = f"account '{name}'" if name else "any account"
        raise ConfigurationError(f"there is no endpoint '{slug}' of {whose}; configured are: {', '.join(known)}")
    chosen = []
    for account in accounts:
        mine = [(account, endpoint) for endpoint in account.endpoints if slug in {None, endpoint}]
        try:
            if secrets and mine:
                config.secrets(account, outside.environment)
            chosen += mine
        except ConfigurationError as error:
            problems.append(str(error))
    return chosen, problems


def progress(chosen: Sequence[tuple[Account, str]], what: str) -> Iterator[tuple[Account, str]]:
    """The same, with a bar on a terminal."""
    if not sys.stderr.isatty():
        yield from chosen
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=len(chosen))
        for account, slug in chosen:
            progress.update(task, description=f"{what} {account.name} {slug}")
            yield account, slug
            progress.advance(task)


def complain(problem: str) -> bool:
    """Say what went wrong, a line each, on stderr; False, for what did not go well."""
    for line in problem.splitlines():
        # What a vendor answered may hold sequences that a terminal obeys.
        shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)
        click.echo(f"Error: {shown}", err=True)
    return False


def console(console: Callable[..., Any]) -> Any:
    """A terminal's own width; elsewhere as wide as the answer, so that nothing is cut."""
    return console() if sys.stdout.isatty() else console(width=100_000, soft_wrap=True)
