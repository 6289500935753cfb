"""The code location: everything that Dagster knows of the configured accounts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import dagster as dg

from usage_pipeline import config, pipeline, prices
from usage_pipeline.config import Configuration
from usage_pipeline.contract.errors import ConfigurationError
from usage_pipeline.contract.vendor import Account, Endpoint, History
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
    checked: list[dg.AssetChecksDefinition] = [] if publish else [checks.warehouse_checks()]
    timetable = [schedules.nightly()]
    assets: list[dg.AssetsDefinition] = []
    jobs: dict[History, schedules.AssetJob] = {}
    for history, schedule in ((History.WINDOW, schedules.daily), (History.SNAPSHOT, schedules.hourly)):
        told = [(account, _endpoints(account, history)) for account in configuration.accounts]
        made = [
            endpoint_assets(account, endpoint, days[history], publish or now)
            for account, endpoints in told
            for endpoint in endpoints
        ]
        if made:
            jobs[history] = schedules.job(history, made)
            timetable += [schedule(account, endpoints, jobs[history]) for account, endpoints in told if endpoints]
            assets += made
    if not publish:
        checked += [
            checks.endpoint_checks(account, pipeline.endpoint_of(account, slug))
            for account in configuration.accounts
            for slug in account.endpoints
        ]
    usage = [key for definition in assets for key in definition.keys if key.path[0] == "usage"]
    report = report_asset()
    return dg.Definitions(
        assets=[*assets, warehouse_asset(sorted(usage), now), report],
        asset_checks=checked,
        schedules=[*timetable, daily_report(report), *([checks.daily(checked)] if checked else [])],
        sensors=[
            *alerts.sensors(configuration.accounts, assets, checked),
            sensors.healing(configuration.accounts, jobs.get(History.WINDOW)),
        ],
        resources={"place": place, "launch": Launch()},
        executor=dg.in_process_executor,
    )


def _endpoints(account: Account, history: History) -> list[Endpoint]:
    """Those of the account's endpoints that tell so much of the past."""
    endpoints = (pipeline.endpoint_of(account, slug) for slug in account.endpoints)
    return [endpoint for endpoint in endpoints if endpoint.history is history]
