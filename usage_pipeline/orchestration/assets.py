"""The assets: for every endpoint of an account the raw answers and the normalised rows; below them the warehouse.

One step makes both assets of an endpoint. Both selected, it asks and loads; raw alone, it asks; usage alone, it
replays the raw answers. A day is materialised only when its answers are kept (raw) or it stands in the table (usage).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from enum import StrEnum
from pathlib import Path

import dagster as dg
from pydantic import Field

from usage_pipeline import pipeline
from usage_pipeline.contract.errors import TransientError, UsageError
from usage_pipeline.contract.schema import TABLES, USAGE
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account, Endpoint, History
from usage_pipeline.orchestration import metadata
from usage_pipeline.orchestration.metadata import COLUMNS, Metadata
from usage_pipeline.pipeline import Outcome, Place
from usage_pipeline.vendors.registry import VENDORS

OWNERS = ["team:usage"]
WAREHOUSE = dg.AssetKey("warehouse")

# The HTTP client has asked a few times by then: what is left is worth minutes, not seconds.
RETRY = dg.RetryPolicy(max_retries=2, delay=60, backoff=dg.Backoff.EXPONENTIAL)

# A year of all endpoints of one history is one run: a run costs seconds, and a range the fewest requests. Of a
# snapshot's range only today is asked for; the days before are replayed.
BACKFILL = dg.BackfillPolicy.multi_run(366)

HISTORY = {
    History.WINDOW: "Past days can be asked for.",
    History.SNAPSHOT: (
        "The vendor tells only the present: of a day that was not captured on the day there is nothing to get. In a "
        "backfill such a day stays missing, its run succeeds, and the backfill as a whole ends as failed."
    ),
}


class Mode(StrEnum):
    """Whom a load asks; the names are what is written in the launchpad."""

    pull = "pull"
    missing = "missing"
    replay = "replay"


class Launch(dg.ConfigurableResource[None]):
    """What is chosen when runs and backfills are launched. A resource: one word for all steps of all runs."""

    mode: Mode = Field(
        default=Mode.pull,
        description=(
            "`pull` asks the vendors for every selected day again, known or not. `missing` asks only for the days that "
            "are not known for good (never asked for, failed, or told while they could still change) and replays the "
            "others. `replay` asks nobody: it loads the days again from the raw answers that are kept. A usage asset "
            "that is selected without its raw asset is always replayed."
        ),
    )


Records = Mapping[date, Metadata]
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
        backfill_policy=BACKFILL,
        retry_policy=RETRY,
        pool=account.name,
    )
    def step(
        context: dg.AssetExecutionContext, place: dg.ResourceParam[Place], launch: Launch
    ) -> Iterator[Result | dg.AssetObservation]:
        keys = context.partition_keys
        asked = Days(date.fromisoformat(keys[0]), date.fromisoformat(keys[-1]))
        selected = context.selected_asset_keys
        mode = launch.mode if raw.key in selected else Mode.replay
        only = _asked(context, place, account, endpoint.slug, asked, mode, raw.key)
        told: dict[dg.AssetKey, Records] = {}
        load = pipeline.pull if usage.key in selected else pipeline.capture
        outcome = load(place, account, endpoint.slug, asked, only)
        if raw.key in selected:
            told[raw.key] = metadata.raw_days(place, account, outcome)
            yield dg.AssetObservation(raw.key, metadata=metadata.traffic(outcome))
        if usage.key in selected:
            told[usage.key] = _with_newest(metadata.usage_days(outcome), publish(place), account, endpoint)
        context.log.info("%s: %s", mode.value, metadata.said(outcome))
        yield from _record(context, asked, told, outcome)

    return step


def _asked(
    context: dg.AssetExecutionContext,
    place: Place,
    account: Account,
    slug: str,
    days: Days,
    mode: Mode,
    raw: dg.AssetKey,
) -> list[date]:
    """The days to ask the vendor for: a retry leaves out those that the attempts before it got."""
    if mode is Mode.replay:
        return []
    wanted = pipeline.incomplete(place, account, slug, days) if mode is Mode.missing else list(days)
    if not context.retry_number:
        return wanted
    entries = context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    events = [entry.dagster_event for entry in entries if entry.dagster_event]
    got = {event.partition for event in events if event.asset_key == raw}
    return [day for day in wanted if day.isoformat() not in got]


def _with_newest(records: Records, published: object, account: Account, endpoint: Endpoint) -> Records:
    """The records, the newest with what the warehouse shows of it; as they are where publishing was put off."""
    if not records or not endpoint.metrics or not isinstance(published, Path):
        return records
    newest = max(records)
    return {**records, newest: {**records[newest], **metadata.published(published, account, endpoint.slug, newest)}}


def _record(
    context: dg.AssetExecutionContext, asked: Days, told: Mapping[dg.AssetKey, Records], outcome: Outcome
) -> Iterator[Result]:
    """Tell Dagster which days are there. Raises Failure where days failed, after recording the others."""
    failures = {day: error for day, error in outcome.failures.items() if day in asked}
    for key, records in told.items():
        silent = [day for day in asked if day not in records and day not in failures]
        if failures or silent:
            # A result would stand for every day of the run: these stand for one day each.
            for day, shown in records.items():
                context.log_event(dg.AssetMaterialization(key, partition=day.isoformat(), metadata=shown))
        else:
            # What all days say is said once: Dagster copies all that was added before for each that is added.
            newest = records[max(records)]
            same = {name: told for name, told in newest.items() if all(told == of.get(name) for of in records.values())}
            for day, shown in records.items():
                if own := {name: value for name, value in shown.items() if name not in same}:
                    context.add_asset_metadata(own, asset_key=key, partition_key=day.isoformat())
            yield dg.MaterializeResult(asset_key=key, metadata=same)
        if silent:
            context.log.warning("%s: not available: %s", key.to_user_string(), _spans(silent))
    if failures:
        raise dg.Failure(
            f"{len(failures)} of {len(asked)} days failed\n{_explained(failures)}",
            metadata={"days": _spans(sorted(failures)), **metadata.traffic(outcome)},
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
    lineage = metadata.lineage(usage)

    @dg.asset(
        key=WAREHOUSE,
        deps=usage,
        group_name="warehouse",
        kinds={"duckdb"},
        owners=OWNERS,
        description=(
            "What analysts open: `warehouse.duckdb`, views over one snapshot of the tables. Every load publishes it; "
            "materialising it publishes the tables as they are and counts the rows of every table. "
            "A backfill in which days of usage stay missing leaves it out, though every load has published it."
        ),
        metadata={"dagster/column_schema": COLUMNS},
    )
    def warehouse(place: dg.ResourceParam[Place]) -> Result:
        from usage_pipeline.warehouse import reading

        path = publish(place)
        with reading(place.home) as session:
            rows = {table.name: session.table(table.name).shape[0] for table in TABLES}
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(path),
                "dagster/row_count": rows[USAGE.name],
                "dagster/column_lineage": lineage,
                **{f"rows of {name}": number for name, number in rows.items()},
            }
        )

    return warehouse
