"""Jobs and schedules, two an account: windows once a day with the days that may have changed, snapshots every hour.

Windows and snapshots have different partitions, which one job cannot hold. Schedules are stopped until somebody
switches them on in the UI.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, timedelta

import dagster as dg

from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.contract.vendor import Account, Endpoint
from usage_pipeline.orchestration.assets import WAREHOUSE

# Vendors need a while after midnight until the day before is whole.
DAILY = "15 3 * * *"
HOURLY = "5 * * * *"

Assets = Sequence[dg.AssetsDefinition]
Request = Callable[[dg.ScheduleEvaluationContext], dg.RunRequest | dg.SkipReason]


def restated(account: Account, endpoints: Iterable[Endpoint], today: date) -> Days | None:
    """The days to ask for again: those that may still change, and those that settled since yesterday.

    Through yesterday, and None where the account starts later.
    """
    settles = max((endpoint.settles for endpoint in endpoints), default=timedelta(0))
    days = -(-settles // DAY) + 1
    first, last = max(today - timedelta(days=days), account.start_date), today - DAY
    return Days(first, last) if first <= last else None


def daily(account: Account, endpoints: Sequence[Endpoint], assets: Assets) -> dg.ScheduleDefinition:
    """One run a day over the restated days of the window endpoints, as one range."""

    def request(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        days = restated(account, endpoints, _day(context))
        if days is None:
            return dg.SkipReason(f"{account.name} starts on {account.start_date}")
        return dg.RunRequest(
            run_key=f"{account.name} {days}",
            tags={
                "dagster/asset_partition_range_start": days.first.isoformat(),
                "dagster/asset_partition_range_end": days.last.isoformat(),
            },
        )

    return _schedule(account, "daily", DAILY, "The days that may have changed, through yesterday", assets, request)


def hourly(account: Account, assets: Assets) -> dg.ScheduleDefinition:
    """One run an hour that captures today from the snapshot endpoints."""

    def request(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        today = _day(context)
        if today < account.start_date:
            return dg.SkipReason(f"{account.name} starts on {account.start_date}")
        return dg.RunRequest(
            run_key=f"{account.name} {context.scheduled_execution_time:%Y-%m-%dT%H:%M}", partition_key=today.isoformat()
        )

    return _schedule(account, "hourly", HOURLY, "What the vendor tells of today", assets, request)


def _day(context: dg.ScheduleEvaluationContext) -> date:
    return context.scheduled_execution_time.astimezone(UTC).date()


def _schedule(
    account: Account, kind: str, cron: str, description: str, assets: Assets, request: Request
) -> dg.ScheduleDefinition:
    name = f"{account.name}_{kind}".replace("-", "_")
    selection = dg.AssetSelection.assets(*assets, WAREHOUSE)
    job = dg.define_asset_job(name, selection, description=f"{account.name}: {description}")
    return dg.ScheduleDefinition(
        name=f"{name}_schedule",
        job=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        execution_fn=request,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"{account.name}: {description}",
    )
