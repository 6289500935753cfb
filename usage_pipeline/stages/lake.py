"""The Delta tables: opened, created with their one schema, and committed to with retries on conflicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
from deltalake import DeltaTable, Schema, write_deltalake
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.schema import Field
from filelock import FileLock, Timeout
from tenacity import RetryCallState, retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from usage_pipeline.contract.arrow import schema
from usage_pipeline.contract.errors import ConfigurationError, TransientError
from usage_pipeline.contract.schema import Table

KEEP = timedelta(days=7)
KEEP_REPLACED = {
    "delta.deletedFileRetentionDuration": f"interval {KEEP.days} days",
    "delta.logRetentionDuration": "interval 30 days",
}

PATIENCE = timedelta(minutes=10)
"""How long one process waits for another: a load of a year takes less than one."""


def _given_up(state: RetryCallState) -> NoReturn:
    error = state.outcome.exception() if state.outcome else None
    raise TransientError(
        f"other processes wrote to the same table before this one, {state.attempt_number} times in a row; nothing "
        f"is lost: run this again when fewer of them are at work ({' '.join(str(error).split())})"
    ) from error


on_conflict = retry(
    retry=retry_if_exception_type(CommitFailedError),
    wait=wait_random_exponential(multiplier=0.05, max=5),
    stop=stop_after_attempt(30),
    retry_error_callback=_given_up,
)
"""Another writer was faster: read again and write again, after a random pause; for two and a half minutes at most.

Raises TransientError after the last attempt.
"""


@contextmanager
def alone(file: Path, what: str) -> Iterator[None]:
    """Keep other processes of this machine from doing `what` at the same time. A killed one is not waited for.

    Raises TransientError where another one does not end.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(file).acquire(timeout=PATIENCE.total_seconds())
    except Timeout:
        minutes = int(PATIENCE.total_seconds() // 60)
        raise TransientError(
            f"another process has been {what} for {minutes} minutes: end it if it hangs, and run this again"
        ) from None
    with held:
        yield


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


def lacking(lake: Lake, table: Table) -> list[Field]:
    """The declared columns that a table of an older program does not have yet; none where there is no table.

    Raises ConfigurationError where adding them is not enough.
    """
    found = lake.find(table)
    if not found:
        return []
    there = {field.name: field for field in found.schema().fields}
    declared = {field.name: field for field in Schema.from_arrow(schema(table)).fields}
    if strange := sorted(there.keys() - declared.keys()):
        raise ConfigurationError(
            f"the table {lake.uri(table)} has columns of a newer usage-pipeline ({', '.join(strange)}): "
            "install that version, or set USAGE_PIPELINE_HOME to another folder"
        )
    missing = [field for name, field in declared.items() if name not in there]
    unfit = [field.name for field in missing if not field.nullable]
    unfit += [name for name, field in there.items() if field != declared[name]]
    if unfit:
        raise ConfigurationError(
            f"the table {lake.uri(table)} is of an older usage-pipeline, and its rows cannot be taken over "
            f"({', '.join(unfit)}): move it away, and make it again from the raw answers, asking no vendor, with "
            "`usage-pipeline replay --from FIRST_DAY --to TODAY`"
        )
    return missing


@on_conflict
def widen(lake: Lake, table: Table) -> None:
    """Add the declared columns that a table does not have yet, with nothing in them, in one commit.

    The files are written anew, because readers are given the files alone, and each has to have every column.
    """
    missing = lacking(lake, table)
    if not missing:
        return
    delta, declared = lake.open(table), schema(table)
    absent = {field.name for field in missing}
    batches = delta.to_pyarrow_dataset().to_batches()

    def wide(batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = [
            pa.nulls(batch.num_rows, field.type) if field.name in absent else batch[field.name].cast(field.type)
            for field in declared
        ]
        return pa.RecordBatch.from_arrays(columns, schema=declared)

    # The writer asks for rows on a thread of its runtime, from which delta-rs cannot read: this one reads.
    with ThreadPoolExecutor(1) as reader:
        read = iter(lambda: reader.submit(next, batches, None).result(), None)
        rows = pa.RecordBatchReader.from_batches(declared, map(wide, read))
        write_deltalake(delta, rows, mode="overwrite", schema_mode="overwrite")
