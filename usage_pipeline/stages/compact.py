"""Compact: many small files become few; replaced files, and what was left half written, go after seven days."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import BloomFilterProperties, ColumnProperties, DeltaTable, WriterProperties, write_deltalake
from obstore.store import ObjectStore, from_url

from usage_pipeline.contract.arrow import schema
from usage_pipeline.contract.schema import TABLES, USAGE, Table, Type
from usage_pipeline.stages import raw
from usage_pipeline.stages.lake import KEEP, Lake, on_conflict

if TYPE_CHECKING:
    from obstore import ObjectMeta

MOST_FILES = 8
STAGED = re.compile(r"#\d+$")

ORDER = ("breakdown", "metric", "series_id", "period_end", "observed_at")
"""Of the rows of `usage` within a month: totals together, and each series in one place, day after day.

Each row group is a stretch of it. Delta Lake's writer may put the groups of a large month in another order.
"""

SLICE = 122_880

LAYOUT = WriterProperties(
    compression="ZSTD",
    max_row_group_size=SLICE,
    # Hashes lie between any two others, so the smallest and the largest of a row group say little.
    column_properties={
        "series_id": ColumnProperties(bloom_filter_properties=BloomFilterProperties(True, fpp=0.01, ndv=10_000))
    },
)
"""Readers skip the row groups that have no row for them: small ones, with a filter on the series."""

Partition = tuple[tuple[str, str], ...]


def compact(lake: Lake, today: date) -> int:
    """Gather the files of every partition with more than 8, or whose month has closed. Returns how many files fewer.

    Readers keep the files that they know: those are replaced, not removed.
    """
    return sum(_compact(lake, table, today) for table in TABLES)


def clean(lake: Lake, now: datetime) -> int:
    """Remove the files that nobody reads: replaced, or left behind by a killed process. Returns how many.

    Only what is so for more than seven days: readers may still have the one open, and the other may be just being
    written. Publish before: an older warehouse may still name replaced files.
    """
    before = now - KEEP
    removed = 0
    for table in TABLES:
        if found := lake.find(table):
            removed += len(found.vacuum(dry_run=False))
            removed += _remove(lake.uri(table), _uncommitted(found))
    # Looked for before their files go, which makes them new.
    folders = _landings(lake.root, before)
    removed += _remove(f"{lake.root}/raw", _without_receipt(raw.store(lake.root), before))
    removed += _remove(lake.root, _staged(lake.root, before))
    for folder in folders:
        # Those that are not empty stay.
        with suppress(OSError):
            folder.rmdir()
    return removed


def _uncommitted(found: DeltaTable) -> list[str]:
    """Files in a table's folder that no commit ever named, older than seven days."""
    # A full vacuum goes by the files' age, and so takes old files too that were replaced a minute ago.
    unnamed = set(found.vacuum(full=True, dry_run=True))
    replaced = found.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=True)
    return sorted(unnamed.difference(replaced))


def _without_receipt(store: ObjectStore, before: datetime) -> list[str]:
    """The files of landings that were cut short."""
    folders: defaultdict[str, list[ObjectMeta]] = defaultdict(list)
    for batch in obstore.list(store):
        for entry in batch:
            folders[entry["path"].rpartition("/")[0]].append(entry)
    return [
        entry["path"]
        for entries in folders.values()
        if not {entry["path"].rpartition("/")[2] for entry in entries} & {raw.RECEIPT, raw.FAILURE}
        and all(entry["last_modified"] < before for entry in entries)
        for entry in entries
    ]


def _landings(root: str, before: datetime) -> list[Path]:
    """The folders of landings, where there are folders at all."""
    if "://" in root:
        return []
    return [folder for folder in (Path(root) / "raw").glob("*/*/*/*/*") if _written_before(folder, before)]


def _staged(root: str, before: datetime) -> list[str]:
    """Local files that were never renamed: they are written under their name with `#` and a number behind it."""
    if "://" in root:
        return []
    folder = Path(root)
    folders = [folder / name for name in ("raw", *(table.name for table in TABLES))]
    named = [*folder.glob("*#*"), *(file for inside in folders for file in inside.rglob("*#*"))]
    return [
        str(file.relative_to(folder)) for file in named if STAGED.search(file.name) and _written_before(file, before)
    ]


def _written_before(file: Path, before: datetime) -> bool:
    """False where another process has just given the file its name."""
    try:
        return file.stat().st_mtime < before.timestamp()
    except FileNotFoundError:
        return False


def _remove(address: str, files: list[str]) -> int:
    if "://" in address:
        obstore.delete(from_url(address), files)
        return len(files)
    for file in files:
        Path(address, file).unlink(missing_ok=True)
    return len(files)


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
    delta = lake.open(table)
    if table is USAGE:
        return _arrange(delta, where)
    done = delta.optimize.compact(partition_filters=[(name, "=", value) for name, value in where] or None)
    return int(done["numFilesRemoved"]) - int(done["numFilesAdded"])


def _arrange(delta: DeltaTable, where: Partition) -> int:
    """Write a partition anew in its order, and return how many files fewer it has. A load meanwhile is a conflict."""
    before = len(delta.file_uris())
    partition = [(name, "=", value) for name, value in where]
    # Texts repeat: as codes a month takes a fifth of the memory.
    texts = {column.name for column in USAGE.columns if column.type is Type.STRING} - {*USAGE.partitions}
    codes = ds.ParquetReadOptions(dictionary_columns=texts)
    files = delta.to_pyarrow_dataset(file_pruning_predicate=partition, parquet_read_options=codes)
    rows = files.to_table().unify_dictionaries().combine_chunks()
    ranks = pa.table({name: _ranks(rows[name].combine_chunks()) for name in ORDER})
    order = pc.sort_indices(ranks, [(name, "ascending") for name in ORDER])
    slices = (
        rows.take(order[at : at + SLICE]).select(USAGE.names).cast(schema(USAGE)) for at in range(0, len(order), SLICE)
    )
    write_deltalake(
        delta,
        pa.RecordBatchReader.from_batches(schema(USAGE), (batch for part in slices for batch in part.to_batches())),
        mode="overwrite",
        predicate=" AND ".join(f"{name} = '{value}'" for name, value in where),
        writer_properties=LAYOUT,
    )
    return before - len(delta.file_uris())


def _ranks(column: pa.Array) -> pa.Array:
    """What sorts as the column does; codes do not sort as their texts."""
    return pc.rank(column.dictionary).take(column.indices) if pa.types.is_dictionary(column.type) else column
