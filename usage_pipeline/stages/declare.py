"""Declare: keep a companion table equal to what the modules and the configuration say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import write_deltalake

from usage_pipeline.contract.arrow import schema
from usage_pipeline.contract.schema import Table
from usage_pipeline.stages.lake import Lake, on_conflict


@on_conflict
def declare(lake: Lake, table: Table, rows: Iterable[Mapping[str, Any]], keep: Collection[str] = ()) -> None:
    """Make the table hold these rows; those of the accounts in `keep` stay as they are. Writes only what differs."""
    order = [(name, "ascending") for name in table.key]
    delta = lake.open(table)
    there = delta.to_pyarrow_table().cast(schema(table)).sort_by(order)
    declared = pa.Table.from_pylist([dict(row) for row in rows], schema(table))
    if keep:
        kept = there.filter(pc.is_in(there["account"], pa.array(sorted(keep), pa.string())))
        declared = pa.concat_tables([declared, kept])
    declared = declared.sort_by(order)
    if not there.equals(declared):
        # With a predicate delta-rs sees what others wrote to an empty table meanwhile; without, it would stand twice.
        write_deltalake(delta, declared, mode="overwrite", predicate="true")
