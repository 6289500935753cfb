"""The assets: for every endpoint of an account the raw answers and the normalised rows; below them the warehouse.

One step makes both assets of an endpoint. Both selected, it asks and loads; raw alone, it asks; usage alone, it
replays the raw answers. A day is materialised only when it landed (raw) or stands in the table (usage).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from usage_pipeline import pipeline
from usage_pipeline.contract.errors import TransientError, UsageError
from usage_pipeline.contract.schema import TABLES, USAGE, Type
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account, Endpoint, History
from usage_pipeline.pipeline import Outcome, Place
from usage_pipeline.vendors.registry import VENDORS

OWNERS = ["team:usage"]
WAREHOUSE = dg.AssetKey("warehouse")

# The HTTP client has asked a few times by then: what is left is worth minutes, not seconds.
RETRY = dg.RetryPolicy(max_retries=2, delay=60, backoff=dg.Backoff.EXPONENTIAL)

BACKFILL = {
    History.WINDOW: dg.BackfillPolicy.multi_run(366),
    History.SNAPSHOT: dg.BackfillPolicy.multi_run(1),
}

HISTORY = {
    History.WINDOW: "Past days can be asked for.",
    History.SNAPSHOT: (
        "The vendor tells only the present: of a day that was not captured on the day there is nothing to get. In a "
        "backfill such a day stays missing, its run succeeds, and the backfill as a whole ends as failed."
    ),
}

ARROW_NAMES = {
    Type.DECIMAL: "decimal(38, 9)",
    Type.TIMESTAMP: "timestamp[us, UTC]",
    Type.DATE: "date32",
    Type.MAP: "map<string, string>",
}

COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn(
            column.name,
            ARROW_NAMES.get(column.type, column.type.value),
            description=column.description,
            constraints=dg.TableColumnConstraints(nullable=column.nullable),
        )
        for column in USAGE.columns
    ]
)

Records = Mapping[date, Mapping[str, Any]]
Result = dg.MaterializeResult[None]


def partitions(start: date) -> dict[History, dg.DailyPartitionsDefinition]:
    """UTC days since `start`. Today is a snapshot's only day to be captured on, and no partition without an offset."""
    first = start.isoformat()
    return {
        History.WINDOW: dg.DailyPartitionsDefinition(start_date=first, timezone="UTC"),
        History.SNAPSHOT: dg.DailyPartitionsDefinition(start_date=first, timezone="UTC", end_offset=1),
    }


def raw_spec(account: Account, endpoint: Endpoint) -> dg.AssetSpec:
    """The answers of one endpoint, as they came."""
    vendor = VENDORS[account.vendor]
    return dg.AssetSpec(
        ["raw", account.name, endpoint.slug],
        skippable=True,
        group_name=vendor.slug,
        kinds={"http", "file"},
        owners=OWNERS,
        description=(
            f"{vendor.title}, {endpoint.title}: every answer byte for byte, with a receipt. "
            f"{HISTORY[endpoint.history]}\n\n[The vendor's page]({endpoint.documentation})"
        ),
    )


def usage_spec(account: Account, endpoint: Endpoint) -> dg.AssetSpec:
    """The rows of one endpoint in the table."""
    vendor = VENDORS[account.vendor]
    metrics = "\n".join(
        f"- `{metric.name}` ({metric.role.value}, {metric.unit}): {metric.description}" for metric in endpoint.metrics
    )
    return dg.AssetSpec(
        ["usage", account.name, endpoint.slug],
        deps=[dg.AssetKey(["raw", account.name, endpoint.slug])],
        skippable=True,
        group_name=vendor.slug,
        kinds={"pandas", "deltalake"},
        owners=OWNERS,
        description=(
            f"{vendor.title}, {endpoint.title}, normalised: {USAGE.grain}. {HISTORY[endpoint.history]}\n\n"
            f"{metrics}\n\nMaterialised without its raw answers it is a replay: no vendor is asked."
        ),
        metadata={"dagster/table_name": USAGE.name, "dagster/column_schema": COLUMNS} if endpoint.metrics else None,
    )


def endpoint_assets(
    account: Account, endpoint: Endpoint, days: dg.DailyPartitionsDefinition, publish: Callable[[Place], object]
) -> dg.AssetsDefinition:
    """Both assets of one endpoint, as one step."""
    raw, usage = raw_spec(account, endpoint), usage_spec(account, endpoint)

    @dg.multi_asset(
        name=f"{account.name}__{endpoint.slug}".replace("-", "_"),
        specs=[raw, usage],
        can_subset=True,
        partitions_def=days,
        backfill_policy=BACKFILL[endpoint.history],
        retry_policy=RETRY,
        pool=account.name,
    )
    def step(context: dg.AssetExecutionContext, place: dg.ResourceParam[Place]) -> Iterator[Result]:
        keys = context.partition_keys
        asked = Days(date.fromisoformat(keys[0]), date.fromisoformat(keys[-1]))
        selected = context.selected_asset_keys
        if usage.key not in selected:
            outcome = _capture(place, account, endpoint, asked)
        else:
            run = pipeline.pull if raw.key in selected else pipeline.replay
            outcome = run(place, account, endpoint.slug, asked)
            publish(place)
        traffic = {
            "requests of the run": outcome.requests,
            "retries of the run": outcome.retries,
            "bytes of the run": outcome.bytes,
        }
        told: dict[dg.AssetKey, Records] = {
            raw.key: dict.fromkeys(outcome.landed, traffic),
            usage.key: {
                day: {"state": outcome.states[day].value, "dagster/partition_row_count": outcome.rows.get(day, 0)}
                for day in outcome.told
            },
        }
        yield from _record(context, asked, {key: told[key] for key in (raw.key, usage.key) if key in selected}, outcome)

    return step


def _capture(place: Place, account: Account, endpoint: Endpoint, days: Days) -> Outcome:
    """Ask and keep the answers; the table stays as it is."""
    outcome = Outcome(account.name, endpoint.slug)
    try:
        pieces, outcome.retries = pipeline.capture(place, account, endpoint.slug, days)
    except UsageError as error:
        outcome.failures = dict.fromkeys(days, error)
        return outcome
    outcome.add(pieces)
    return outcome


def _record(
    context: dg.AssetExecutionContext, asked: Days, told: Mapping[dg.AssetKey, Records], outcome: Outcome
) -> Iterator[Result]:
    """Tell Dagster which days are there. Raises Failure where days failed, after recording the others."""
    failures = {day: error for day, error in outcome.failures.items() if day in asked}
    for key, records in told.items():
        silent = [day for day in asked if day not in records and day not in failures]
        if failures or silent:
            # A result would stand for every day of the run: these stand for one day each.
            for day, metadata in records.items():
                context.log_event(dg.AssetMaterialization(key, partition=day.isoformat(), metadata=metadata))
        else:
            for day, metadata in records.items():
                context.add_asset_metadata(metadata, asset_key=key, partition_key=day.isoformat())
            yield dg.MaterializeResult(asset_key=key)
        if silent:
            context.log.warning("%s: not available: %s", key.to_user_string(), _spans(silent))
    if failures:
        raise dg.Failure(
            f"{len(failures)} of {len(asked)} days failed\n{_explained(failures)}",
            metadata={"days": _spans(sorted(failures))},
            allow_retries=all(isinstance(error, TransientError) for error in failures.values()),
        )


def _spans(days: Sequence[date]) -> str:
    return ", ".join(map(str, Days.runs(days)))


def _explained(failures: Mapping[date, UsageError]) -> str:
    """One line a reason, with its days."""
    reasons: dict[str, list[date]] = {}
    for day in sorted(failures):
        reasons.setdefault(str(failures[day]), []).append(day)
    return "\n".join(f"{_spans(days)}: {reason}" for reason, days in reasons.items())


def warehouse_asset(usage: Sequence[dg.AssetKey], publish: Callable[[Place], Path]) -> dg.AssetsDefinition:
    """The warehouse below all usage. Every load publishes it too, so it is never older than the last load."""

    @dg.asset(
        key=WAREHOUSE,
        deps=usage,
        group_name="warehouse",
        kinds={"duckdb"},
        owners=OWNERS,
        description=(
            "What analysts open: `warehouse.duckdb`, views over one snapshot of the tables. Every load publishes it; "
            "materialising it publishes the tables as they are and counts the rows of every view."
        ),
    )
    def warehouse(place: dg.ResourceParam[Place]) -> Result:
        import duckdb

        path = publish(place)
        with duckdb.connect(str(path), read_only=True) as session:
            rows = {table.name: session.table(table.name).shape[0] for table in TABLES}
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(path),
                "dagster/row_count": rows[USAGE.name],
                **{f"rows of {name}": number for name, number in rows.items()},
            }
        )

    return warehouse
