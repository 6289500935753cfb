"""The code location: everything that Dagster knows of the configured accounts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import dagster as dg

from usage_pipeline import config, pipeline, prices
from usage_pipeline.config import Configuration
from usage_pipeline.contract.errors import ConfigurationError
from usage_pipeline.contract.vendor import History
from usage_pipeline.orchestration import alerts, checks, schedules, sensors
from usage_pipeline.orchestration.assets import Launch, endpoint_assets, partitions, warehouse_asset
from usage_pipeline.orchestration.report import daily_report, report_asset
from usage_pipeline.pipeline import Place


def configured(environment: Mapping[str, str]) -> Configuration:
    """The accounts that are right. What is wrong is logged, one line each, and takes nothing else down."""
    log = dg.get_dagster_logger("accounts")
    try:
        found = config.read(config.find(environment))
    except ConfigurationError as error:
        log.error("%s", error)  # noqa: TRY400 - the text says it all
        return Configuration()
    for problem in (*found.problems, *prices.problems(environment)):
        log.error("%s", problem)
    return found


def build(
    configuration: Configuration, place: Place, publish: Callable[[Place], object] | None = None
) -> dg.Definitions:
    """The assets, jobs and schedules of the accounts. Needs no network and no secret.

    `publish` is called after every load; one who loads often and reads at the end may put it off. Without the warehouse
    as it is after a load there is nothing to check then.
    """

    def now(place: Place) -> Path:
        return pipeline.publish(place, configuration)

    starts = [account.start_date for account in configuration.accounts]
    days = partitions(min(starts)) if starts else {}
    assets: list[dg.AssetsDefinition] = []
    checked: list[dg.AssetChecksDefinition] = [] if publish else [checks.warehouse_checks()]
    timetable = [schedules.nightly()]
    loads: list[schedules.AssetJob] = []
    for account in configuration.accounts:
        endpoints = [pipeline.endpoint_of(account, slug) for slug in account.endpoints]
        made = {end.slug: endpoint_assets(account, end, days[end.history], publish or now) for end in endpoints}
        windows = [endpoint for endpoint in endpoints if endpoint.history is History.WINDOW]
        snapshots = [endpoint for endpoint in endpoints if endpoint.history is History.SNAPSHOT]
        if windows:
            job = schedules.job(account, History.WINDOW, [made[endpoint.slug] for endpoint in windows])
            timetable.append(schedules.daily(account, windows, job))
            loads.append(job)
        if snapshots:
            job = schedules.job(account, History.SNAPSHOT, [made[endpoint.slug] for endpoint in snapshots])
            timetable.append(schedules.hourly(account, job))
        assets += made.values()
        checked += [] if publish else [checks.endpoint_checks(account, endpoint) for endpoint in endpoints]
    usage = [key for definition in assets for key in definition.keys if key.path[0] == "usage"]
    report = report_asset()
    return dg.Definitions(
        assets=[*assets, warehouse_asset(sorted(usage), now), report],
        asset_checks=checked,
        schedules=[*timetable, daily_report(report), *([checks.daily(checked)] if checked else [])],
        sensors=[
            *alerts.sensors(configuration.accounts, assets, checked),
            sensors.healing(configuration.accounts, loads),
        ],
        resources={"place": place, "launch": Launch()},
        executor=dg.in_process_executor,
    )
