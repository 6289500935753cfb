"""What Dagster shows of a load: columns and where they come from, traffic, and of the newest day a chart and a sample.

A run over a year records 366 days an asset, and Dagster keeps each one's metadata: numbers go with every day, what
takes room with the newest alone, which is the one that the asset's page opens with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from string import Template
from typing import Any

import dagster as dg

from usage_pipeline import pipeline
from usage_pipeline.contract.schema import USAGE, Type
from usage_pipeline.contract.vendor import Account
from usage_pipeline.pipeline import Outcome, Place

Metadata = Mapping[str, Any]

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

MOST_LINEAGE = 20
"""Endpoints that the lineage of the warehouse's columns names."""

BLOCKS = "▁▂▃▄▅▆▇█"
UNKNOWN = "·"


def lineage(usage: Iterable[dg.AssetKey]) -> dg.TableColumnLineage:
    """Every column of the warehouse's `usage` is that of the endpoints' rows.

    Of many endpoints it names the first: each run tells this anew, and 20 columns of 1,800 endpoints are some MB.
    """
    keys = list(usage)[:MOST_LINEAGE]
    return dg.TableColumnLineage(
        {name: [dg.TableColumnDep(asset_key=key, column_name=name) for key in keys] for name in USAGE.names}
    )


def traffic(outcome: Outcome) -> Metadata:
    """What the vendor was asked in this attempt of the step; the same for all of its days, so not to be summed."""
    return {
        "requests of the run": outcome.requests,
        "retries of the run": outcome.retries,
        "bytes of the run": outcome.bytes,
        "seconds waited for rate limits": round(outcome.waited, 3),
    }


def said(outcome: Outcome) -> str:
    """The traffic as a line of the run's log."""
    return ", ".join(f"{number} {name.removesuffix(' of the run')}" for name, number in traffic(outcome).items())


def raw_days(place: Place, account: Account, outcome: Outcome) -> dict[date, Metadata]:
    """The days that raw answers tell, those that have just landed and those that were kept before.

    The run's traffic stands at the newest one: on each of them it would look like the day's.
    """
    days = sorted(outcome.kept.union(outcome.landed))
    where = dg.MetadataValue.path(pipeline.raw_answers(place, account, outcome.endpoint))
    return {day: {"raw answers": where, **(traffic(outcome) if day == days[-1] else {})} for day in days}


def usage_days(outcome: Outcome) -> dict[date, Metadata]:
    """The days whose rows are in the table."""
    return {day: _usage_day(outcome, day) for day in outcome.told}


def _usage_day(outcome: Outcome, day: date) -> Metadata:
    shown: dict[str, Any] = {
        "state": outcome.states[day].value,
        "dagster/partition_row_count": outcome.rows.get(day, 0),
    }
    if through := outcome.through.get(day):
        shown["vendor's data through"] = dg.MetadataValue.timestamp(through)
    if notes := outcome.notes.get(day):
        shown["vendor's notes"] = "; ".join(notes)
    return shown


def published(warehouse: Path, account: Account, slug: str, day: date) -> Metadata:
    """What the published warehouse shows of an endpoint on a day: the query to copy, a chart, a sample of the rows."""
    from usage_pipeline import warehouse as reader

    asked = {"account": account.name, "endpoint": slug, "day": day}
    with reader.reading(warehouse.parent) as session:
        trends = reader.ask(session, reader.query("dagster/trend"), asked).rows
        sample = reader.ask(session, reader.query("dagster/sample"), asked)
    query = Template(reader.query("dagster/rows")).substitute(
        view=pipeline.view_of(account, slug), account=account.name
    )
    shown: dict[str, Any] = {"rows in the warehouse": dg.MetadataValue.md(f"```sql\n{query.strip()}\n```")}
    if trends:
        shown["last 30 days"] = dg.MetadataValue.md(chart(trends))
    if sample.rows:
        records = [dg.TableRecord(dict(zip(sample.names, row, strict=True))) for row in sample.rows]
        shown["sample"] = dg.MetadataValue.table(records)
    return shown


def chart(trends: Iterable[Sequence[Any]]) -> str:
    """A Markdown table with a line a metric: its name, unit, aggregation, daily values and the newest of them."""
    head = "| metric | unit | aggregation | last 30 days | newest |\n|---|---|---|---|---|\n"
    return head + "\n".join(
        f"| {metric} | {unit} | {aggregation} | `{sparkline(values)}` | {newest} |"
        for metric, unit, aggregation, values, newest in trends
    )


def sparkline(values: Sequence[float | None]) -> str:
    """A character a value, its height in eighths of the largest; nothing known is a dot, and 0 the lowest block."""
    top = max((value for value in values if value is not None), default=0)
    last = len(BLOCKS) - 1
    return "".join(
        UNKNOWN if value is None else BLOCKS[max(0, round(value / top * last))] if top > 0 else BLOCKS[0]
        for value in values
    )
