"""The report as an asset below the warehouse, and its schedule: once a day, after the daily loads."""

import dagster as dg

from usage_pipeline.orchestration.assets import OWNERS, WAREHOUSE
from usage_pipeline.pipeline import Place

FILE = "report.html"

# An hour after the daily loads begin.
AFTER_LOADS = "15 4 * * *"


def report_asset() -> dg.AssetsDefinition:
    """The page under the place's home."""

    @dg.asset(
        key="report",
        deps=[WAREHOUSE],
        group_name="warehouse",
        kinds={"html"},
        owners=OWNERS,
        description=(
            "One page to look at, `report.html`: entitlements, what changed since last month, daily usage, and what is "
            "known day by day. It needs no network and can be mailed."
        ),
    )
    def report(place: dg.ResourceParam[Place]) -> dg.MaterializeResult[None]:
        from usage_pipeline import report as reporting

        path = place.home / FILE
        size = reporting.make(place.home, place.clock(), path)
        return dg.MaterializeResult(metadata={"path": dg.MetadataValue.path(path), "bytes": size})

    return report


def daily_report(report: dg.AssetsDefinition) -> dg.ScheduleDefinition:
    """One run a day of the report alone: every load has published the warehouse by then."""
    what = "The report of the day"
    return dg.ScheduleDefinition(
        name="report_schedule",
        job=dg.define_asset_job("report_daily", dg.AssetSelection.assets(report), description=what),
        cron_schedule=AFTER_LOADS,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=what,
    )
