"""The command line. What a command needs is imported inside it, so that `--help` comes at once."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import NoArgsIsHelpError

from usage_pipeline.contract.errors import ConfigurationError, NotAvailableError, UsageError
from usage_pipeline.contract.time import Clock, Days

if TYPE_CHECKING:
    from usage_pipeline.config import Configuration
    from usage_pipeline.contract.vendor import Account
    from usage_pipeline.pipeline import Outcome, Place


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
        _complain(self.message)


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


@main.command()
@click.pass_obj
def demo(outside: Outside) -> None:
    """Load 90 days of five invented vendors through Dagster, and show what can be asked. Takes a minute or two."""
    from rich.console import Console

    from usage_pipeline.demo import run

    run(outside.place.home, outside.clock(), _console(Console))


def _range(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--to", "last", type=Day(), required=True, help="Last UTC day, inclusive."),
        click.option("--from", "first", type=Day(), required=True, help="First UTC day, inclusive."),
        click.option("--endpoint", metavar="E", help="Only this endpoint."),
        click.option("--account", metavar="A", help="Only this account."),
    ):
        command = option(command)
    return command


@main.command()
@click.option("--port", default=3000, show_default=True, help="Port of the UI on loopback.")
@click.pass_obj
def dev(outside: Outside, port: int) -> None:
    """Serve the Dagster UI on loopback and run its daemon, until Ctrl-C.

    On accounts.yaml, or, where there is none, on the sandbox, which is served too.
    """
    from usage_pipeline import config
    from usage_pipeline.orchestration.instance import prepare
    from usage_pipeline.sandbox import server

    environment = dict(outside.environment)
    home = outside.place.home
    with ExitStack() as stack:
        if config.find(environment) == config.SANDBOX_ACCOUNTS:
            click.echo(f"There is no accounts.yaml: this is the sandbox, at {stack.enter_context(_sandbox(outside))}.")
            environment |= server.environment()
        for problem in outside.configuration.problems:
            _complain(str(problem))
        pools = [account.name for account in outside.configuration.accounts]
        environment |= {"DAGSTER_HOME": str(prepare(home, pools)), config.HOME_VARIABLE: str(home)}
        code = ["-m", "usage_pipeline.definitions"]
        click.echo(f"Dagster is at http://127.0.0.1:{port}. Ctrl-C ends it.")
        _together(
            [
                [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), *code],
                [sys.executable, "-m", "dagster._daemon", "run", *code],
            ],
            environment,
        )


def _sandbox(outside: Outside) -> AbstractContextManager[str]:
    """The sandbox where its accounts.yaml looks for it."""
    from usage_pipeline.sandbox import server

    return server.serving(outside.clock, server.PORT)


def _together(commands: Sequence[Sequence[str]], environment: Mapping[str, str]) -> None:
    """Run the commands until Ctrl-C or until one ends, and stop all. Raises UsageError when one ended by itself."""
    import signal
    import subprocess

    def stop(*_args: object) -> None:
        raise KeyboardInterrupt

    # What service managers send; Ctrl-C raises the same by itself.
    before = signal.signal(signal.SIGTERM, stop)
    children = []
    try:
        # In a session of their own: Ctrl-C comes here first, and each is told to stop once.
        children = [
            subprocess.Popen(command, env=dict(environment), start_new_session=True)  # noqa: S603 - our own programs
            for command in commands
        ]
        while all(child.poll() is None for child in children):
            with suppress(subprocess.TimeoutExpired):
                children[0].wait(1)
        raise UsageError("the webserver or the daemon ended; its reason stands above")
    except KeyboardInterrupt:
        return
    finally:
        for child in children:
            child.terminate()
        for child in children:
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
        signal.signal(signal.SIGTERM, before)


@main.command()
@_range
@click.pass_obj
def pull(outside: Outside, account: str | None, endpoint: str | None, first: date, last: date) -> None:
    """Load a range of UTC days from the vendors, without a daemon.

    Days that were loaded before are asked for again and replaced. Of endpoints that tell only the present, today is
    captured; past days are read again from the answers kept on those days, and are not available without any.
    """
    from usage_pipeline import pipeline

    _load(outside, account, endpoint, _days(outside, first, last), pipeline.pull, secrets=True)


@main.command()
@_range
@click.pass_obj
def replay(outside: Outside, account: str | None, endpoint: str | None, first: date, last: date) -> None:
    """Normalise a range of UTC days again from the raw answers, asking no vendor."""
    from usage_pipeline import pipeline

    _load(outside, account, endpoint, _days(outside, first, last), pipeline.replay, secrets=False)


def _days(outside: Outside, first: date, last: date) -> Days:
    if last < first:
        raise click.UsageError(f"--from {first} is after --to {last}", click.get_current_context())
    today = outside.clock().date()
    if first > today:
        raise click.UsageError(f"--from {first} has not begun: today is {today} (UTC)", click.get_current_context())
    return Days(first, last)


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
    from usage_pipeline import pipeline

    place = outside.place
    went_well = True
    chosen, problems = _chosen(outside, account, endpoint, secrets=secrets)
    for problem in problems:
        went_well = _complain(problem)
    for who, slug in _progress(chosen, "loading"):
        try:
            outcome = load(place, who, slug, days)
        except UsageError as error:
            went_well = _complain(f"{who.name} {slug}: {error}")
            continue
        click.echo(_summary(outcome))
        for line in _failures(outcome):
            went_well = _complain(line)
    if chosen:
        pipeline.publish(place)
    if not went_well:
        raise SystemExit(1)


def _chosen(
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


def _progress(chosen: Sequence[tuple[Account, str]], what: str) -> Iterator[tuple[Account, str]]:
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


def _complain(problem: str) -> bool:
    """Say what went wrong, a line each, on stderr; False, for what did not go well."""
    for line in problem.splitlines():
        click.echo(f"Error: {line}", err=True)
    return False


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
    from usage_pipeline import pipeline

    place = outside.place
    chosen, problems = _chosen(outside, account, None, secrets=True)
    went_well = True
    for problem in problems:
        went_well = _complain(problem)
    for who, slug in _progress(chosen, "asking"):
        try:
            pipeline.check(place, who, slug)
        except NotAvailableError as error:
            click.echo(f"{who.name} {slug}: not available: {' '.join(str(error).split())}")
        except UsageError as error:
            went_well = _complain(f"{who.name} {slug}: {' '.join(str(error).split())}")
        else:
            click.echo(f"{who.name} {slug}: ok")
    if not went_well:
        raise SystemExit(1)


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
        _console(Console).print(result.rich())
    for problem in configuration.problems:
        _complain(str(problem))
    if configuration.problems:
        raise SystemExit(1)


def _console(console: Callable[..., Any]) -> Any:
    """A terminal's own width; elsewhere as wide as the answer, so that nothing is cut."""
    return console() if sys.stdout.isatty() else console(width=100_000, soft_wrap=True)


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
        _console(Console).print(result.rich())


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


@main.command()
@click.pass_obj
def compact(outside: Outside) -> None:
    """Gather small files of the tables into large ones, and remove what was replaced more than seven days ago."""
    from usage_pipeline import pipeline

    gathered, removed = pipeline.compact(outside.place)
    click.echo(f"{gathered} files fewer to read, {removed} replaced files removed")


@main.command()
@click.option("--port", default=8750, show_default=True, help="Port on loopback.")
@click.pass_obj
def sandbox(outside: Outside, port: int) -> None:
    """Serve the five vendors' APIs on loopback, with invented data, until Ctrl-C."""
    from usage_pipeline.sandbox import server

    with server.serving(outside.clock, port) as address:
        click.echo(
            f"The sandbox is at {address}. Its accounts are in usage_pipeline/sandbox/accounts.yaml; for them, set"
        )
        for name, value in server.environment().items():
            click.echo(f"export {name}={value}")
        _until_stopped()


def _until_stopped() -> None:
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
