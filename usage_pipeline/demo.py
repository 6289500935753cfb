"""The demo: the last 90 days of five invented vendors, through the Dagster assets, and what analysts ask first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.syntax import Syntax

from usage_pipeline import config, orchestration, pipeline, warehouse
from usage_pipeline.config import Configuration
from usage_pipeline.contract.errors import ConfigurationError, UsageError
from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.contract.vendor import History
from usage_pipeline.orchestration.instance import prepare
from usage_pipeline.pipeline import Place
from usage_pipeline.sandbox import server
from usage_pipeline.sandbox.server import TurnableClock

MARKER = ".demo"
MONDAY = 0
NOON = time(12, tzinfo=UTC)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
RANGE = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def run(home: Path, now: datetime, console: Console, days: int = 90) -> None:
    """Load the days before `now` into `home`, and show what can be asked. Again is as good as once."""
    claim(home)
    load(home, now, days, console)
    show(home, console)


def claim(home: Path) -> None:
    """Take the folder for the demo. Raises ConfigurationError where it holds anybody else's data."""
    ours = home / MARKER
    theirs = [name for name in ("raw", "usage", "coverage", "warehouse.duckdb") if (home / name).exists()]
    if theirs and not ours.exists():
        raise ConfigurationError(
            f"{home} holds data that the demo did not make ({', '.join(theirs)}): "
            f"set {config.HOME_VARIABLE} to another folder, such as {home.with_name('demo-data')}"
        )
    home.mkdir(parents=True, exist_ok=True)
    ours.touch()


def load(home: Path, now: datetime, days: int, console: Console) -> None:
    """Every window endpoint in one run over the days before today, every snapshot endpoint in one run a day.

    For the snapshots, sandbox and pipeline go through the days together: at noon of each, and now.
    """
    today = now.date()
    past = Days(today - timedelta(days=days), today - DAY)
    clock = TurnableClock(now)
    with server.serving(clock) as address, _progress(console) as progress:
        configuration = accounts(address, past.first)
        # Nothing of the user's: neither an object store nor other accounts.
        ours = {config.HOME_VARIABLE: str(home), config.ACCOUNTS_VARIABLE: str(config.SANDBOX_ACCOUNTS)}
        place = pipeline.place({**server.environment(), **ours}, clock, lambda _seconds: None)
        job = orchestration.build(configuration, place, publish=_later).resolve_implicit_global_asset_job_def()
        snapshots, windows = (_assets(configuration, history) for history in (History.SNAPSHOT, History.WINDOW))
        folder = prepare(home, [account.name for account in configuration.accounts])
        with dg.DagsterInstance.from_config(str(folder)) as instance:

            def execute(assets: Sequence[dg.AssetKey], **how: Any) -> dg.ExecuteInProcessResult:
                return job.execute_in_process(
                    asset_selection=assets, instance=instance, run_config=QUIET, raise_on_error=False, **how
                )

            task = progress.add_task(f"{past}, all at once", total=days + 3)
            _expect(execute(windows, tags=dict(zip(RANGE, map(str, (past.first, past.last)), strict=True))))
            captured = []
            for day in (*past, today):
                progress.update(task, advance=1, description=f"{day}, as told on the day")
                clock.now = now if day == today else datetime.combine(day, NOON)
                captured.append(execute(snapshots, partition_key=day.isoformat()))
                if day.weekday() == MONDAY:
                    # Each load leaves a file: gathered once a week, they do not slow the next loads down.
                    pipeline.compact(place)
            # A datacenter that cannot be reached fails its day, as it should; days that all fail are another matter.
            _expect(next((result for result in captured if result.success), captured[-1]))
            progress.update(task, advance=1, description="the warehouse")
            _expect(execute([dg.AssetKey("warehouse")]))
            progress.update(task, advance=1, description="the checks")
            # What they find is there to be looked at: a datacenter that could not be reached lacks days.
            checks = orchestration.build(configuration, place).resolve_job_def("checks_daily")
            checks.execute_in_process(instance=instance, run_config=QUIET, raise_on_error=False)


def accounts(address: str, first: date) -> Configuration:
    """The sandbox's accounts, at the address where it is served."""
    configuration = config.read(config.SANDBOX_ACCOUNTS)
    return Configuration(
        tuple(
            replace(account, base_url=f"{address}/{account.vendor}", start_date=min(account.start_date, first))
            for account in configuration.accounts
        )
    )


def _assets(configuration: Configuration, history: History) -> list[dg.AssetKey]:
    return [
        dg.AssetKey([kind, account.name, slug])
        for account in configuration.accounts
        for slug in account.endpoints
        for kind in ("raw", "usage")
        if pipeline.endpoint_of(account, slug).history is history
    ]


def _later(_place: Place) -> None:
    """The warehouse is published once, at the end."""


def _expect(result: dg.ExecuteInProcessResult) -> None:
    if not result.success:
        why = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
        raise UsageError("\n".join((error.cause or error).message.strip() for error in why if error) or "a run failed")


def _progress(console: Console) -> Progress:
    return Progress(
        BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip


def show(home: Path, console: Console) -> None:
    """The questions of sql/demo, their queries and the answers."""
    for question, query, answer in answers(home):
        console.print(f"\n[bold]{question}")
        console.print(Syntax(query, "sql", background_color="default", word_wrap=True))
        console.print(answer.rich())
    console.print(
        f"\nThe warehouse is {home / 'warehouse.duckdb'}; `usage-pipeline connect` says how to open it, "
        "`usage-pipeline report` makes a page to look at, `usage-pipeline dev` shows the runs in Dagster.",
        soft_wrap=True,
    )


def answers(home: Path) -> Iterator[tuple[str, str, warehouse.Result]]:
    """Question, query and answer."""
    with warehouse.reading(home) as session:
        for question, query in warehouse.questions("demo"):
            yield question, query, warehouse.ask(session, query)
