"""Compact: many small files become few, and replaced files go when their seven days are over."""

from __future__ import annotations

from collections import Counter
from datetime import date

import pyarrow as pa
from deltalake import DeltaTable, WriterProperties

from usage_pipeline.contract.schema import TABLES, Table
from usage_pipeline.stages.lake import Lake, on_conflict

MOST_FILES = 8
ROW_GROUP = 1_000_000

Partition = tuple[tuple[str, str], ...]


def compact(lake: Lake, today: date) -> int:
    """Gather the files of every partition with more than 8, or whose month has closed. Returns how many files fewer.

    Readers keep the files that they know: those are replaced, not removed.
    """
    return sum(_compact(lake, table, today) for table in TABLES)


def clean(lake: Lake) -> int:
    """Remove the files that were replaced more than seven days ago, and return how many.

    Publish before: an older warehouse may still name them.
    """
    return sum(len(found.vacuum(dry_run=False)) for found in map(lake.find, TABLES) if found)


def _compact(lake: Lake, table: Table, today: date) -> int:
    found = lake.find(table)
    return sum(_gather(lake, table, where) for where in due(found, table, today)) if found else 0


def due(found: DeltaTable, table: Table, today: date) -> list[Partition]:
    """The partitions that are worth gathering: more than one file, and too many or of a month that has closed."""
    actions = pa.table(found.get_add_actions(flatten=True))
    columns = [[(name, value) for value in actions[f"partition.{name}"].to_pylist()] for name in table.partitions]
    files = Counter(zip(*columns, strict=True)) if columns else Counter({(): actions.num_rows})
    return [
        where
        for where, count in sorted(files.items())
        if count > MOST_FILES or (count > 1 and dict(where).get("month", f"{today:%Y-%m}") < f"{today:%Y-%m}")
    ]


@on_conflict
def _gather(lake: Lake, table: Table, where: Partition) -> int:
    done = lake.open(table).optimize.compact(
        partition_filters=[(name, "=", value) for name, value in where] or None,
        writer_properties=WriterProperties(max_row_group_size=ROW_GROUP),
    )
    return int(done["numFilesRemoved"]) - int(done["numFilesAdded"])
