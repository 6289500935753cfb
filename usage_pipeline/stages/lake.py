"""The Delta tables: opened, created with their one schema, and committed to with retries on conflicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from usage_pipeline.contract.arrow import schema
from usage_pipeline.contract.schema import Table

KEEP_REPLACED = {
    "delta.deletedFileRetentionDuration": "interval 7 days",
    "delta.logRetentionDuration": "interval 30 days",
}

on_conflict = retry(
    retry=retry_if_exception_type(CommitFailedError),
    wait=wait_random_exponential(multiplier=0.05, max=5),
    stop=stop_after_attempt(30),
    reraise=True,
)
"""Another writer was faster: read again and write again, after a random pause."""


@dataclass(frozen=True, slots=True)
class Lake:
    """The folder or address that holds the tables."""

    root: str

    def uri(self, table: Table) -> str:
        if "://" in self.root:
            return f"{self.root.rstrip('/')}/{table.name}"
        return str(Path(self.root).absolute() / table.name)

    def find(self, table: Table) -> DeltaTable | None:
        """The table's newest snapshot, None where nothing was ever written."""
        try:
            return DeltaTable(self.uri(table))
        except TableNotFoundError:
            return None

    @on_conflict
    def open(self, table: Table) -> DeltaTable:
        """The table's newest snapshot; the table is created when it is not there."""
        return self.find(table) or DeltaTable.create(
            self.uri(table),
            schema(table),
            mode="ignore",
            partition_by=list(table.partitions) or None,
            configuration=KEEP_REPLACED,
            description=table.grain,
        )


def upsert(lake: Lake, table: Table, rows: pa.Table, matched: Callable[..., object] | None = None) -> None:
    """Rows take the place of those with their key. `matched` may say otherwise, on delta-rs's merger."""
    if not rows.num_rows:
        return

    @on_conflict
    def commit() -> None:
        merger = lake.open(table).merge(
            rows.cast(schema(table)),
            " AND ".join(f"target.{name} = source.{name}" for name in table.key),
            source_alias="source",
            target_alias="target",
        )
        if matched:
            matched(merger)
        merger.when_matched_update_all().when_not_matched_insert_all().execute()

    commit()
