"""Tally: what the table holds, read by Delta Lake's own reader, to hold the warehouse against."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa

from usage_pipeline.contract.schema import USAGE
from usage_pipeline.stages.lake import Lake

Tally = dict[tuple[str, str], tuple[int, Decimal]]


def usage(lake: Lake) -> tuple[Tally, datetime | None]:
    """Rows and the sum of their values by vendor and month; and when the table was last committed to, if ever."""
    table = lake.find(USAGE)
    if table is None:
        return {}, None
    rows: defaultdict[tuple[str, str], int] = defaultdict(int)
    totals: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    # Batch by batch: a year of many vendors need not fit into memory.
    for batch in table.to_pyarrow_dataset().to_batches(columns=["vendor", "month", "value"]):
        counted = pa.Table.from_batches([batch]).group_by(["vendor", "month"])
        for part in counted.aggregate([("value", "sum"), ([], "count_all")]).to_pylist():
            key = part["vendor"], part["month"]
            rows[key] += part["count_all"]
            totals[key] += part["value_sum"]
    [newest] = table.history(1)
    return {key: (rows[key], totals[key]) for key in rows}, datetime.fromtimestamp(newest["timestamp"] / 1000, UTC)
