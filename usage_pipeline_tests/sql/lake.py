"""Small lakes: rows written by hand with short calls, published as the pipeline does, read as an analyst does.

Times are written as text, UTC: "2024-03-05" is that midnight, "2024-03-05 08:00" the hour. Answers come back the same
way, so that an expectation reads like the calendar.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import write_deltalake

from usage_pipeline import warehouse
from usage_pipeline.contract.arrow import schema
from usage_pipeline.contract.errors import UsageError
from usage_pipeline.contract.schema import (
    ACCOUNTS,
    BILLING_PERIODS,
    COVERAGE,
    ENTITLEMENTS,
    RESTATEMENTS,
    USAGE,
    Aggregation,
    Role,
    State,
    Table,
    Temporality,
)
from usage_pipeline.contract.time import DAY
from usage_pipeline.contract.vendor import History
from usage_pipeline.stages.lake import Lake
from usage_pipeline.stages.publish import publish
from usage_pipeline.vendors.registry import VENDORS

Row = dict[str, Any]
Number = int | str | Decimal
ACCOUNT = "acme"


def when(text: str) -> datetime:
    """The instant that a text names, UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def days(first: str, last: str) -> list[str]:
    """Every day from the first to the last, both included."""
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [str(start + timedelta(days=n)) for n in range((end - start).days + 1)]


def following(day: str) -> str:
    return str(date.fromisoformat(day) + DAY)


@dataclass(frozen=True, slots=True)
class Series:
    """What all rows of one series share. Its calls make rows of `usage`."""

    vendor: str
    endpoint: str
    metric: str
    unit: str
    aggregation: Aggregation
    temporality: Temporality
    role: Role = Role.CONSUMED
    account: str = ACCOUNT
    dimensions: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def breakdown(self) -> str:
        return "+".join(sorted(self.dimensions))

    @property
    def series_id(self) -> str:
        told = (
            self.vendor, self.account, self.endpoint, self.metric, self.role.value, self.aggregation.value,
            self.temporality.value, self.unit, self.breakdown, sorted(self.dimensions.items()),
        )  # fmt: skip
        return hashlib.blake2b(repr(told).encode(), digest_size=16).hexdigest()

    def _row(
        self, value: Number, start: datetime, end: datetime, observed: datetime, final: bool, fetched: datetime
    ) -> Row:
        instant = self.temporality is Temporality.INSTANT
        # A period ends before its end: what ends at midnight reports on the day before.
        usage_date = observed.date() if instant else (end - timedelta(microseconds=1)).date()
        return {
            "vendor": self.vendor,
            "month": f"{usage_date:%Y-%m}",
            "account": self.account,
            "endpoint": self.endpoint,
            "usage_date": usage_date,
            "metric": self.metric,
            "role": self.role.value,
            "aggregation": self.aggregation.value,
            "temporality": self.temporality.value,
            "unit": self.unit,
            "value": Decimal(value),
            "breakdown": self.breakdown,
            "dimensions": dict(self.dimensions),
            "labels": dict(self.labels),
            "period_start": start,
            "period_end": end,
            "observed_at": observed,
            "is_final": final,
            "series_id": self.series_id,
            "fetched_at": fetched,
            "response_id": f"answer-{fetched:%Y%m%dT%H%M}",
        }

    def period(self, start: str, end: str, value: Number, *, final: bool = True) -> Row:
        """The amount of a period that is over: a delta, or the trailing window of a rolling count."""
        return self._row(value, when(start), when(end), when(end), final, when(end) + timedelta(hours=6))

    def day(self, day: str, value: Number, *, final: bool = True) -> Row:
        return self.period(day, following(day), value, final=final)

    def each(self, first: str, last: str, value: Number) -> list[Row]:
        """The same value every day, both ends included."""
        return [self.day(day, value) for day in days(first, last)]

    def reading(self, start: str, at: str, value: Number, *, final: bool = True) -> Row:
        """What a meter shows that began at `start`."""
        return self._row(value, when(start), when(at), when(at), final, when(at))

    def readings(self, start: str, shown: Mapping[str, Number]) -> list[Row]:
        return [self.reading(start, at, value) for at, value in shown.items()]

    def level(self, at: str, value: Number, *, final: bool = True) -> Row:
        """What there is at an instant."""
        return self._row(value, when(at), when(at), when(at), final, when(at))

    def ahead(self, start: str, end: str, value: Number, seen: str) -> Row:
        """What is said at `seen` of a whole period: a projection, or an allowance."""
        return self._row(value, when(start), when(end), when(seen), False, when(seen))


def covered(
    series: Series, first: str, last: str | None = None, state: State = State.COMPLETE, reason: str = ""
) -> list[Row]:
    """Rows of `coverage`: what is known of the days of the endpoint that the series is from."""
    known = state in {State.COMPLETE, State.PROVISIONAL, State.EMPTY}
    return [
        {
            "vendor": series.vendor,
            "account": series.account,
            "endpoint": series.endpoint,
            "usage_date": date.fromisoformat(day),
            "state": state.value,
            "rows": int(known and state is not State.EMPTY),
            "fetched_at": when(following(day)) + timedelta(hours=6) if known else None,
            "attempted_at": when(following(day)) + timedelta(hours=6),
            "reason": reason,
        }
        for day in days(first, last or first)
    ]


def billed(vendor: str, endpoint: str, *bounds: str, account: str = ACCOUNT) -> list[Row]:
    """Rows of `billing_periods`: periods that follow each other, from bound to bound, as the vendor states them."""
    return [
        {
            "vendor": vendor,
            "account": account,
            "endpoint": endpoint,
            "period_start": when(start),
            "period_end": when(end),
            "fetched_at": when(end),
            "response_id": "answer-periods",
        }
        for start, end in pairwise(bounds)
    ]


def configured(
    vendor: str, endpoint: str, start_date: str, history: History = History.WINDOW, account: str = ACCOUNT
) -> Row:
    """A row of `accounts`."""
    return {
        "vendor": vendor,
        "account": account,
        "endpoint": endpoint,
        "history": history.value,
        "start_date": date.fromisoformat(start_date),
    }


def allowed(series: Series, quantity: Number, valid_from: str = "2020-01-01", valid_to: str | None = None) -> Row:
    """A row of `entitlements`; both days are inclusive."""
    return {
        "vendor": series.vendor,
        "account": series.account,
        "metric": series.metric,
        "quantity": Decimal(quantity),
        "valid_from": date.fromisoformat(valid_from),
        "valid_to": date.fromisoformat(valid_to) if valid_to else None,
    }


def changed(old: Row, value: Number | None, fetched: str) -> Row:
    """A row of `restatements`: a later answer says another value of a row of `usage`, or none."""
    return {name: old[name] for name in RESTATEMENTS.names if name in old} | {
        "old_value": old["value"],
        "new_value": None if value is None else Decimal(value),
        "was_final": old["is_final"],
        "old_fetched_at": old["fetched_at"],
        "new_fetched_at": when(fetched),
        "old_response_id": old["response_id"],
        "new_response_id": None if value is None else "answer-new",
    }


@dataclass(frozen=True, slots=True)
class Small:
    """A published lake."""

    home: Path

    @contextmanager
    def session(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with warehouse.reading(self.home) as session:
            yield session

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the query answers; days and instants as texts."""
        with self.session() as session:
            return [tuple(map(_text, row)) for row in warehouse.ask(session, query).rows]

    def one(self, query: str) -> Any:
        """The single cell of the answer."""
        ((cell,),) = self.rows(query)
        return cell

    def refusal(self, query: str) -> str:
        """Why the query has no answer."""
        try:
            answer = self.rows(query)
        except UsageError as error:
            return str(error)
        raise AssertionError(f"answered {answer}")


def _text(cell: Any) -> Any:
    if isinstance(cell, datetime):
        return f"{cell.astimezone(UTC):%Y-%m-%d %H:%M}"
    return str(cell) if isinstance(cell, date) else cell


def small(
    home: Path,
    usage: Iterable[Row] = (),
    *,
    periods: Iterable[Row] = (),
    coverage: Iterable[Row] = (),
    accounts: Iterable[Row] = (),
    entitlements: Iterable[Row] = (),
    restatements: Iterable[Row] = (),
    everything: bool = False,
) -> Small:
    """Write the rows to tables under `home`, and publish. A table without rows is not there, as on a first day.

    `everything` publishes the views of every vendor's endpoints, also of those of whom nothing is told.
    """
    told = {
        USAGE: list(usage),
        BILLING_PERIODS: list(periods),
        COVERAGE: list(coverage),
        ACCOUNTS: list(accounts),
        ENTITLEMENTS: list(entitlements),
        RESTATEMENTS: list(restatements),
    }
    lake = Lake(str(home))
    for table, rows in told.items():
        _write(lake, table, rows)
    # Only the vendors that are there: the views of the others' endpoints take longer than all the rest.
    there = {row["vendor"] for rows in told.values() for row in rows}
    publish(lake, home, [vendor for vendor in VENDORS.values() if everything or vendor.slug in there])
    return Small(home)


def _write(lake: Lake, table: Table, rows: list[Row]) -> None:
    if rows:
        ordered = [[row[name] for row in rows] for name in table.names]
        kinds = [kind.type for kind in schema(table)]
        columns = [
            pa.array([list(cell.items()) if isinstance(cell, dict) else cell for cell in column], kind)
            for column, kind in zip(ordered, kinds, strict=True)
        ]
        write_deltalake(lake.open(table), pa.Table.from_arrays(columns, schema=schema(table)), mode="append")


SUM, DISTINCT, MAX, AVERAGE, LAST = (
    Aggregation.SUM, Aggregation.DISTINCT, Aggregation.MAX, Aggregation.AVERAGE, Aggregation.LAST,
)  # fmt: skip
DELTA, CUMULATIVE, ROLLING, INSTANT = (
    Temporality.DELTA, Temporality.CUMULATIVE, Temporality.ROLLING, Temporality.INSTANT,
)  # fmt: skip

UNITS = Series("thousandeyes", "usage", "cloud_units", "Cloud Units", SUM, CUMULATIVE)
"""A running total that begins anew at 08:00 on the fifth."""
AGENTS = Series("thousandeyes", "usage", "endpoint_agents", "Agents", MAX, CUMULATIVE)
"""The highest number of the billing period so far."""
MINUTES = Series("launchdarkly", "service_connections", "service_connections", "Minutes", SUM, DELTA)
MINUTES_SO_FAR = Series("launchdarkly", "service_connections", "service_connections", "Minutes", SUM, CUMULATIVE)
"""The same minutes once more, as a running total of the calendar month."""
USERS = Series("launchdarkly", "total_mau", "total_mau", "Contexts", DISTINCT, CUMULATIVE)
USERS_30_DAYS = Series("launchdarkly", "total_mau", "total_mau", "Contexts", DISTINCT, ROLLING)
NODES = Series("puppet", "usage", "nodes", "Nodes", DISTINCT, DELTA)
AGENT_NODES = Series("puppet", "usage", "nodes_with_agent", "Nodes", LAST, DELTA)
RUNS = Series("puppet", "usage", "task_runs_by_node", "Runs", SUM, DELTA)
EVENTS = Series("aveva", "tenant_usage", "ingress_events", "Events", SUM, DELTA)
STREAMS = Series("aveva", "resource_usage", "streams", "Streams", LAST, INSTANT)
INSTANCES = Series(
    "consul", "operator_usage", "billable_service_instances", "Instances", LAST, INSTANT,
    dimensions={"datacenter": "dc1"},
)  # fmt: skip
