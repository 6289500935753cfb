"""Jobs and schedules: of an account's windows once a day, of its snapshots every hour, and compaction at night.

Windows and snapshots have different partitions, which one job cannot hold. Schedules are stopped until somebody
switches them on in the UI.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from usage_pipeline import pipeline
from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.contract.vendor import Account, Endpoint, History
from usage_pipeline.orchestration.alerts import FIRST, LAST
from usage_pipeline.orchestration.assets import WAREHOUSE
from usage_pipeline.pipeline import Place

# Vendors need a while after midnight until the day before is whole.
DAILY = "15 3 * * *"
HOURLY = "5 * * * *"
# Before the daily loads, which add files again.
NIGHTLY = "30 1 * * *"

AssetJob = UnresolvedAssetJobDefinition
Job = dg.JobDefinition | AssetJob
Requests = Iterator[dg.RunRequest | dg.SkipReason]
Evaluation = Callable[[dg.ScheduleEvaluationContext], Requests]

WHAT = {
    History.WINDOW: "the days that its vendor may still change, of each endpoint its own, through yesterday",
    History.SNAPSHOT: "what its vendor tells of today, which nobody can ask for tomorrow",
}


JOB = {History.WINDOW: "daily", History.SNAPSHOT: "hourly"}
"""The names of the jobs."""


def job(history: History, assets: Sequence[dg.AssetsDefinition]) -> AssetJob:
    """The job that loads endpoints of one history, and counts the warehouse's rows afterwards.

    One for all accounts, of which a run takes what it selects: Dagster looks at every asset for every job, so that jobs
    of each account would make the definitions grow with the square of their number.
    """
    selection = dg.AssetSelection.assets(*assets, WAREHOUSE)
    return dg.define_asset_job(JOB[history], selection, description=f"Loads {WHAT[history]}; a run, of one account")


def _schedule_name(account: Account, history: History) -> str:
    return f"{account.name}_{JOB[history]}_schedule".replace("-", "_")


def selected(account: str, slugs: Iterable[str]) -> list[dg.AssetKey]:
    """What a run of these endpoints makes: raw answers, rows, and the warehouse."""
    return [*(dg.AssetKey([what, account, slug]) for slug in slugs for what in ("raw", "usage")), WAREHOUSE]


def ranged(days: Days) -> Mapping[str, str]:
    """The tags that make one run of a range."""
    return {FIRST: days.first.isoformat(), LAST: days.last.isoformat()}


def reach(endpoint: Endpoint) -> int:
    """How many days back to ask again: those that may still change, and the one that settled since yesterday."""
    return -(-endpoint.settles // DAY) + 1


def restated(account: Account, endpoint: Endpoint, today: date) -> Days | None:
    """The days to ask for again, through yesterday; None where the account starts later."""
    first, last = max(today - reach(endpoint) * DAY, account.start_date), today - DAY
    return Days(first, last) if first <= last else None


def daily(account: Account, endpoints: Sequence[Endpoint], job: AssetJob) -> dg.ScheduleDefinition:
    """One run a day and range of restated days, over the window endpoints that share it."""

    def requests(context: dg.ScheduleEvaluationContext) -> Requests:
        ranges: dict[Days, list[str]] = {}
        for endpoint in endpoints:
            if days := restated(account, endpoint, _day(context)):
                ranges.setdefault(days, []).append(endpoint.slug)
        if not ranges:
            yield dg.SkipReason(f"{account.name} starts on {account.start_date}")
        for days, slugs in sorted(ranges.items()):
            # The range ends on another day tomorrow: then it is another key.
            yield dg.RunRequest(
                f"{account.name} {days}", asset_selection=selected(account.name, slugs), tags=ranged(days)
            )

    ranges = ", ".join(f"{endpoint.slug} {reach(endpoint)}" for endpoint in endpoints)
    what = f"{account.name}: asks for {WHAT[History.WINDOW]}. Days back: {ranges}"
    return _schedule(_schedule_name(account, History.WINDOW), DAILY, what, job, requests)


def hourly(account: Account, endpoints: Sequence[Endpoint], job: AssetJob) -> dg.ScheduleDefinition:
    """One run an hour that captures today from the snapshot endpoints."""
    assets = selected(account.name, (endpoint.slug for endpoint in endpoints))

    def requests(context: dg.ScheduleEvaluationContext) -> Requests:
        today = _day(context)
        if today < account.start_date:
            yield dg.SkipReason(f"{account.name} starts on {account.start_date}")
        else:
            hour = f"{context.scheduled_execution_time.astimezone(UTC):%Y-%m-%dT%H:%M}"
            yield dg.RunRequest(f"{account.name} {hour}", asset_selection=assets, partition_key=today.isoformat())

    what = f"{account.name}: captures {WHAT[History.SNAPSHOT]}"
    return _schedule(_schedule_name(account, History.SNAPSHOT), HOURLY, what, job, requests)


@dg.op(description="Gathers the small files of every month, publishes, and removes what was replaced a week ago.")
def gather(context: dg.OpExecutionContext, place: dg.ResourceParam[Place]) -> None:
    fewer, removed = pipeline.compact(place)
    context.add_output_metadata({"files fewer": fewer, "files removed": removed})


@dg.job(description="Keeps queries fast: every load writes files of its own, and many small ones are slow to read.")
def compaction() -> None:
    gather()


def nightly() -> dg.ScheduleDefinition:
    """One compaction a night, of all accounts."""

    def requests(context: dg.ScheduleEvaluationContext) -> Requests:
        yield dg.RunRequest(f"compaction {_day(context)}")

    what = "Gathers the small files that loads leave, which makes queries fast; no vendor is asked"
    return _schedule("compaction_schedule", NIGHTLY, what, compaction, requests)


def _day(context: dg.ScheduleEvaluationContext) -> date:
    return context.scheduled_execution_time.astimezone(UTC).date()


def _schedule(name: str, cron: str, description: str, job: Job, requests: Evaluation) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=name,
        job=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        execution_fn=requests,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=description,
    )
