"""A fleet to ask about: five vendors over three years, written straight into Delta as compaction leaves it.

Every vendor's totals are there, and parts in the proportions of large customers: LaunchDarkly by project and
environment, ThousandEyes by account group and test, AVEVA by namespace, Consul by partition and namespace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from usage_pipeline.contract.arrow import INSTANT, MAP, VALUE, schema
from usage_pipeline.contract.schema import BILLING_PERIODS, ENTITLEMENTS, USAGE
from usage_pipeline.stages.compact import LAYOUT, ORDER
from usage_pipeline.stages.lake import Lake

MONTHS = 36
FIRST = date(2023, 1, 1)
DAYS = 1096


@dataclass(frozen=True, slots=True)
class Told:
    """One number of a vendor, for each of its accounts; `share` is how much of all rows its parts are."""

    vendor: str
    endpoint: str
    metric: str
    unit: str
    aggregation: str
    temporality: str
    role: str = "consumed"
    split: Sequence[str] = field(default=())
    share: float = 0.0


BY_TEST = ("account_group", "test")
BY_PARTITION = ("datacenter", "namespace", "partition")


def _launchdarkly() -> Iterator[Told]:
    amounts = ["service_connections", "data_export_events", "warehouse_export", "ai_runs", "experimentation_events"]
    counts = ["total_mau", "clientside_mau", "total_contexts", "clientside_contexts", "serverside_contexts"]
    kinds = [(name, "sum", kind) for name in amounts for kind in ("delta", "cumulative")]
    kinds += [(name, "distinct", kind) for name in counts for kind in ("cumulative", "rolling")]
    for name, aggregation, temporality in kinds:
        for split in [(), ("environment", "project")]:
            share = 0.6 / len(kinds) if split else 0.0
            yield Told("launchdarkly", name, name, "Events", aggregation, temporality, split=split, share=share)


TOLD = (
    *_launchdarkly(),
    *(
        Told("thousandeyes", "usage", metric, unit, aggregation, "cumulative", role)
        for metric, unit, aggregation in (
            ("cloud_units", "Cloud Units", "sum"),
            ("enterprise_units", "Enterprise Units", "sum"),
            ("endpoint_agents", "Agents", "max"),
        )
        for role in ("consumed", "entitled", "projected")
    ),
    *(
        Told("thousandeyes", endpoint, "cloud_units", "Cloud Units", "sum", kind, split=BY_TEST, share=0.165)
        for endpoint, kind in (("usage", "cumulative"), ("units_tests", "delta"))
    ),
    *(
        Told("aveva", endpoint, metric, unit, aggregation, "delta", split=split, share=share)
        for metric, unit, aggregation in (
            ("ingress_events", "Events", "sum"),
            ("egress_events", "Events", "sum"),
            ("ingress_streams_accessed", "Streams", "distinct"),
            ("egress_streams_accessed", "Streams", "distinct"),
        )
        for endpoint, split, share in (("tenant_usage", (), 0.0), ("namespace_usage", ("namespace",), 0.01))
    ),
    Told("aveva", "resource_usage", "streams", "Streams", "last", "instant"),
    Told("aveva", "resource_usage", "streams", "Streams", "last", "instant", "entitled"),
    *(
        Told("consul", "operator_usage", metric, unit, "last", "instant", split=BY_PARTITION, share=0.01)
        for metric, unit in (("services", "Services"), ("service_instances", "Instances"), ("nodes", "Nodes"))
    ),
    *(Told("puppet", "usage", metric, "Nodes", "distinct", "delta") for metric in ("nodes", "nodes_without_agent")),
    *(Told("puppet", "usage", metric, "Runs", "sum", "delta") for metric in ("task_runs_by_node", "plan_runs_by_node")),
)  # fmt: skip
"""What is told, by vendor."""

ACCOUNTS = {"launchdarkly": 3, "thousandeyes": 2, "aveva": 2, "consul": 2, "puppet": 2}
ENTITLED = (("puppet", "nodes"), ("launchdarkly", "service_connections"), ("launchdarkly", "total_mau"))
"""What no API entitles: the configuration says it."""


def months(number: int = MONTHS) -> list[date]:
    return [date(FIRST.year + n // 12, n % 12 + 1, 1) for n in range(number)]


def write(lake: Lake, rows: int, number: int = MONTHS) -> None:
    """About `rows` rows over three years, or as many a month for fewer, and what `utilization` needs beside them."""
    table = lake.open(USAGE)
    for month in months(number):
        for vendor in ACCOUNTS:
            write_deltalake(table, month_of(vendor, month, rows), mode="append", writer_properties=LAYOUT)
    # A table of any age has up to 100 commits since its last checkpoint: none here, so that sizes can be compared.
    lake.open(USAGE).create_checkpoint()
    companions(lake, number)


def companions(lake: Lake, number: int = MONTHS) -> None:
    """Billing periods of ThousandEyes and AVEVA, and configured entitlements of the others."""
    periods = [
        {"vendor": vendor, "account": account, "endpoint": "usage", "period_start": start, "period_end": end}
        | {"fetched_at": end, "response_id": "answer"}
        for vendor in ("thousandeyes", "aveva")
        for account in accounts(vendor)
        for start, end in map(_bounds, months(number))
    ]
    entitlements = [
        {"vendor": vendor, "account": account, "metric": metric, "quantity": Decimal(40_000)}
        | {"valid_from": FIRST, "valid_to": None}
        for vendor, metric in ENTITLED
        for account in accounts(vendor)
    ]
    for table, told in ((BILLING_PERIODS, periods), (ENTITLEMENTS, entitlements)):
        write_deltalake(lake.open(table), pa.Table.from_pylist(told, schema(table)), mode="append")


def accounts(vendor: str) -> list[str]:
    return [f"{vendor}-{n}" for n in range(ACCOUNTS[vendor])]


def month_of(vendor: str, month: date, rows: int) -> pa.Table:
    """The rows of a vendor's month, in the order of compaction."""
    tables = [
        _rows(told, account, month, rows) for told in TOLD if told.vendor == vendor for account in accounts(vendor)
    ]
    return pa.concat_tables(tables).sort_by([(name, "ascending") for name in ORDER])


@cache
def _series(told: Told, account: str, rows: int) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Ids, dimensions and labels of the series."""
    parts = max(1, round(told.share * rows / DAYS / ACCOUNTS[told.vendor])) if told.split else 1
    ids = [hashlib.blake2b(f"{told}{account}{part}".encode(), digest_size=16).hexdigest() for part in range(parts)]
    keys = [
        [(name, f"{name}-{part // 4 if n else part}") for n, name in enumerate(told.split)] for part in range(parts)
    ]
    labels = [[(f"{name}_name", value.title()) for name, value in pairs] for pairs in keys]
    return pa.array(ids), pa.array(keys, MAP), pa.array(labels, MAP)


def _bounds(month: date) -> tuple[datetime, datetime]:
    """The month's first instant, and the next one's."""
    start = datetime(month.year, month.month, 1, tzinfo=UTC)
    return start, (start + timedelta(days=32)).replace(day=1)


def _rows(told: Told, account: str, month: date, rows: int) -> pa.Table:
    """A month of one number: each series on each day, and once in the month what looks ahead."""
    ids, dimensions, labels = _series(told, account, rows)
    start, following = (np.datetime64(bound.replace(tzinfo=None), "us") for bound in _bounds(month))
    days = np.arange(start, following, np.timedelta64(1, "D")).astype("datetime64[us]")
    ahead = told.role != "consumed" and told.temporality == "cumulative"
    if ahead:
        days = days[-1:]
    size = len(ids) * len(days)
    series = pa.array(np.repeat(np.arange(len(ids)), len(days)))
    day = np.tile(days, len(ids))
    end = day + np.timedelta64(1, "D")
    observed = end - np.timedelta64(6, "h") if told.temporality in {"instant", "cumulative"} else end
    begun = {"delta": day, "cumulative": np.full(size, start), "rolling": end - np.timedelta64(30, "D")}
    ended = {"instant": observed, "cumulative": np.full(size, following) if ahead else observed}
    amount = np.random.default_rng([month.year, month.month, len(ids)]).integers(1, 2_000, size)
    if told.temporality == "cumulative":
        amount = (
            1_000 * (day.astype("datetime64[D]").astype(int) - start.astype("datetime64[D]").astype(int) + 1) + amount
        )
    same = {
        "vendor": told.vendor, "month": f"{month:%Y-%m}", "account": account, "endpoint": told.endpoint,
        "metric": told.metric, "role": told.role, "aggregation": told.aggregation, "temporality": told.temporality,
        "unit": told.unit, "breakdown": "+".join(told.split),
    }  # fmt: skip
    columns = {name: pa.repeat(pa.scalar(text, pa.string()), size) for name, text in same.items()}
    columns |= {
        "usage_date": pa.array(day.astype("datetime64[D]")),
        "value": pa.array(amount).cast(VALUE),
        "dimensions": dimensions.take(series),
        "labels": labels.take(series),
        "period_start": pa.array(begun.get(told.temporality, observed), INSTANT),
        "period_end": pa.array(ended.get(told.temporality, end), INSTANT),
        "observed_at": pa.array(observed, INSTANT),
        "is_final": pa.repeat(pa.scalar(not ahead), size),
        "series_id": ids.take(series),
        "fetched_at": pa.array(end + np.timedelta64(6, "h"), INSTANT),
        "response_id": pa.array(np.char.add("answer-", day.astype("datetime64[D]").astype(str))),
    }
    return pa.table([columns[name] for name in USAGE.names], schema=schema(USAGE))
