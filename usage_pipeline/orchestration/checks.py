"""Checks of what was loaded, as Dagster shows them: one step an endpoint after its load, and one below the warehouse.

They run in every run that makes their asset, and once a day all together. A check has one result, not one a day: it
looks at the table as it stands, whichever days a run loaded.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import dagster as dg

from usage_pipeline import checking
from usage_pipeline.checking import Check, Finding
from usage_pipeline.contract.errors import ConfigurationError
from usage_pipeline.contract.vendor import Account, Endpoint
from usage_pipeline.orchestration.alerts import FIRST, PARTITION
from usage_pipeline.orchestration.assets import WAREHOUSE
from usage_pipeline.pipeline import Place

# A quarter of an hour after the deadline by which days have to be known, unless it was set otherwise.
DAILY = "15 9 * * *"

# Columns of a sample that the page has room for; more push the text beside them out of sight.
MOST_COLUMNS = 6

Find = Callable[[Place, date | None], Iterator[Finding]]


def endpoint_checks(account: Account, endpoint: Endpoint) -> dg.AssetChecksDefinition:
    """The checks of one endpoint's rows and answers, on its `usage` asset."""

    def find(place: Place, since: date | None) -> Iterator[Finding]:
        yield from checking.endpoint(place, account, endpoint, since)

    name = f"{account.name}__{endpoint.slug}__checks".replace("-", "_")
    return _step(name, dg.AssetKey(["usage", account.name, endpoint.slug]), checking.of(endpoint), find)


def warehouse_checks() -> dg.AssetChecksDefinition:
    """The checks of what analysts open."""

    def find(place: Place, _since: date | None) -> Iterator[Finding]:
        yield checking.warehouse_equal(place)

    return _step("warehouse__checks", WAREHOUSE, [checking.EQUAL_TO_TABLE], find)


def daily(checks: Sequence[dg.AssetChecksDefinition]) -> dg.ScheduleDefinition:
    """All checks once a day, loads or no loads: that nothing was loaded is what they are to tell."""
    what = "All checks, after the deadline by which days have to be known"
    selection = dg.AssetSelection.checks(*checks)
    return dg.ScheduleDefinition(
        name="checks_schedule",
        job=dg.define_asset_job("checks_daily", selection, description=what),
        cron_schedule=DAILY,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=what,
    )


def _step(name: str, asset: dg.AssetKey, checks: Sequence[Check], find: Find) -> dg.AssetChecksDefinition:
    """Checks of one asset, made one after the other in one session."""
    specs = [
        dg.AssetCheckSpec(check.name, asset=asset, description=check.says, blocking=check.blocking) for check in checks
    ]

    @dg.multi_asset_check(name=name, specs=specs, can_subset=True)
    def step(context: dg.AssetCheckExecutionContext, place: dg.ResourceParam[Place]) -> Iterator[dg.AssetCheckResult]:
        tags = context.run.tags
        first = tags.get(FIRST) or tags.get(PARTITION)
        wanted = {key.name for key in context.selected_asset_check_keys}
        try:
            for finding in find(place, date.fromisoformat(first) if first else None):
                if finding.check.name in wanted:
                    yield _result(asset, finding)
        except ConfigurationError as error:
            # Nothing was published yet: there is nothing to check.
            context.log.warning("%s", error)

    return step


def _result(asset: dg.AssetKey, finding: Finding) -> dg.AssetCheckResult:
    metadata: dict[str, Any] = {name: _plain(value) for name, value in finding.looked_at.items()}
    metadata["faults"] = finding.faults
    if finding.sample:
        names = finding.columns[:MOST_COLUMNS]
        rows = [dict(zip(names, map(_plain, row), strict=False)) for row in finding.sample]
        columns = dg.TableSchema([dg.TableColumn(name) for name in names])
        metadata["sample"] = dg.MetadataValue.table([dg.TableRecord(row) for row in rows], columns)
    return dg.AssetCheckResult(
        passed=finding.passed,
        asset_key=asset,
        check_name=finding.check.name,
        severity=dg.AssetCheckSeverity.WARN if finding.warns else dg.AssetCheckSeverity.ERROR,
        description=finding.said or None,
        metadata=metadata,
    )


def _plain(value: Any) -> str | int | bool:
    """A cell as the UI takes it. Decimals stay exact as texts."""
    if isinstance(value, (int, bool)):
        return value
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key}={one}" for key, one in value.items())
    if isinstance(value, Decimal):
        return f"{value:f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"
    return str(value)
