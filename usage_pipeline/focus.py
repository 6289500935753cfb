"""Export of priced usage in the FinOps Open Cost and Usage Specification, FOCUS 1.2, as Parquet.

Read from focus.finops.org/focus-specification/v1-2 and its requirements model 1.2.0.1, 2026-11. The price book is all
that is known of money: its prices stand for list and contracted ones alike, and no invoice is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from usage_pipeline import files, warehouse
from usage_pipeline.contract.errors import UsageError
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Vendor

VERSION = "1.2"


def rows(session: duckdb.DuckDBPyConnection, vendors: Iterable[Vendor], days: Days) -> pa.Table:
    """The charges of the days: a row per row of `cost_daily`, decimals exact, instants UTC."""
    session.register("services", _services(vendors))
    try:
        return session.sql(
            warehouse.query("exports/focus"), params={"first_day": days.first, "last_day": days.last}
        ).to_arrow_table()
    except duckdb.Error as error:
        raise warehouse.QueryError(f"the costs of {days} could not be told: {error}") from None


def export(session: duckdb.DuckDBPyConnection, vendors: Iterable[Vendor], days: Days, out: Path) -> int:
    """Write the charges of the days to a Parquet file; their number. Raises UsageError where nothing is priced."""
    table = rows(session, vendors, days)
    if not table.num_rows:
        raise UsageError(
            f"nothing of {days} has a price: write prices.yaml beside accounts.yaml, or ask for days that were loaded"
        )
    with files.replacing(out) as new:
        pq.write_table(table.replace_schema_metadata({"FocusVersion": VERSION}), new)
    return int(table.num_rows)


def _services(vendors: Iterable[Vendor]) -> pa.Table:
    """What FOCUS asks of a vendor: who bills, what it is called, and what kind of service it is."""
    return pa.Table.from_pylist(
        [
            {
                "vendor": vendor.slug,
                "provider": vendor.provider or vendor.title,
                "service": vendor.title,
                "category": vendor.service[0],
                "subcategory": vendor.service[1],
            }
            for vendor in vendors
        ]
    )
