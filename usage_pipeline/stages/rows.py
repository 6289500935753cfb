"""Rows on their way from the answers to the table: a few bytes each, and on disk where they are many."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from io import FileIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from usage_pipeline.contract.arrow import schema
from usage_pipeline.contract.schema import USAGE

PACKED = pa.schema(
    pa.field(name, pa.dictionary(kind, schema(USAGE).field(name).type) if kind else schema(USAGE).field(name).type)
    for name, kind in {
        **dict.fromkeys(USAGE.names),
        # What a whole block has in common.
        **dict.fromkeys(("vendor", "account", "endpoint", "metric", "role", "aggregation", "temporality"), pa.int8()),
        **dict.fromkeys(("unit", "breakdown", "response_id"), pa.int8()),
        # What is known per month or series.
        **dict.fromkeys(("month", "dimensions", "labels", "series_id"), pa.int32()),
    }.items()
)
"""The schema of `usage` with texts and maps told once and pointed at: 80 bytes a row, not 400."""

BATCH = 16_384
MEMORY = 32 << 20
"""Bytes that are held; what is more goes to a temporary file (in TMPDIR)."""

SEEN = ("usage_date", "role", "period_end", "observed_at")
"""What tells whether a row is an outlook, and of which day."""


@dataclass(slots=True)
class _Landing:
    """`parts` are tables, or where in the file they stand; `outlook` as in `Rows`."""

    parts: list[pa.Table | int] = field(default_factory=list)
    outlook: dict[date, datetime] = field(default_factory=dict)


class Rows:
    """The rows of some landings. Of a day ahead only its newest outlook stands, whatever day it was told on.

    `outlook` says when that was. The answers of one landing arrive one after the other, and are one observation.
    """

    def __init__(self) -> None:
        self._landings: list[_Landing] = []
        self._held = 0
        self._file: FileIO | None = None

    def add(self, tables: Iterable[pa.Table]) -> None:
        """Take in the rows of one landing, or none of them where an error ends the tables."""
        landing = _Landing()
        held, end = self._held, self._file.seek(0, os.SEEK_END) if self._file else 0
        try:
            for table in tables:
                landing.parts.append(self._keep(table))
                for day, seen in newest(table.filter(pa.array(outlook(table)))).items():
                    landing.outlook[day] = max(seen, landing.outlook.get(day, seen))
        except BaseException:
            self._held = held
            if self._file:
                self._file.truncate(end)
            raise
        self._landings.append(landing)

    def __len__(self) -> int:
        """How many landings were taken in."""
        return len(self._landings)

    @property
    def outlook(self) -> dict[date, datetime]:
        return self._outlook(0)

    def _outlook(self, since: int) -> dict[date, datetime]:
        found: dict[date, datetime] = {}
        for landing in self._landings[since:]:
            for day, seen in landing.outlook.items():
                found[day] = max(seen, found.get(day, seen))
        return found

    def tables(
        self, columns: Sequence[str] = PACKED.names, without: Collection[date] = (), since: int = 0
    ) -> Iterator[pa.Table]:
        """The rows, part by part; `without` the outlook on some days; as if the landings `since` one were all."""
        newest_seen = self._outlook(since)
        for landing in self._landings[since:]:
            old = {day for day, seen in landing.outlook.items() if day in without or seen < newest_seen[day]}
            for part in landing.parts:
                for table in self._read(part, {*columns, *SEEN} if old else columns):
                    yield (_without(table, old) if old else table).select(columns)

    def batches(self, without: Collection[date] = ()) -> pa.RecordBatchReader:
        """The rows in the schema of `usage`."""
        return pa.RecordBatchReader.from_batches(schema(USAGE), gathered(self.tables(without=without)))

    def _keep(self, table: pa.Table) -> pa.Table | int:
        if self._held + table.nbytes <= MEMORY:
            self._held += table.nbytes
            return table
        if self._file is None:
            self._file = _nameless()
            weakref.finalize(self, os.close, self._file.fileno())
        start = self._file.seek(0, os.SEEK_END)
        with pa.ipc.new_stream(pa.PythonFile(self._file, "w"), PACKED) as stream:
            stream.write_table(table, max_chunksize=BATCH)
        return start

    def _read(self, part: pa.Table | int, columns: Collection[str]) -> Iterator[pa.Table]:
        if isinstance(part, pa.Table) or self._file is None:
            yield part
            return
        wanted = [n for n, name in enumerate(PACKED.names) if name in columns]
        self._file.seek(part)
        options = pa.ipc.IpcReadOptions(included_fields=wanted)
        with pa.ipc.open_stream(pa.PythonFile(self._file, "r"), options=options) as stream:
            for batch in stream:
                yield pa.Table.from_batches([batch])


def _nameless() -> FileIO:
    """A file that is gone when it is closed, or the process ends."""
    descriptor, path = tempfile.mkstemp(prefix="usage-pipeline-")
    os.unlink(path)  # noqa: PTH108 - as short as it gets
    return FileIO(descriptor, "r+", closefd=False)


def unpacked(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """The rows with every text and map written out."""
    plain = pa.schema([schema(USAGE).field(name) for name in table.column_names])
    for batch in table.to_batches(max_chunksize=BATCH):
        columns = [
            column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column for column in batch.columns
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=plain)


def gathered(tables: Iterable[pa.Table]) -> Iterator[pa.RecordBatch]:
    """The rows of tables with every text and map written out, in batches that are worth a writer's while."""
    small: list[pa.RecordBatch] = []
    for table in tables:
        for batch in unpacked(table):
            small.append(batch)
            if sum(batch.num_rows for batch in small) >= BATCH // 2:
                yield pa.concat_batches(small) if len(small) > 1 else batch
                small = []
    if small:
        yield pa.concat_batches(small)


def outlook(rows: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows report a period that was not over when observed: projections, and allowances for a whole period.

    Of those only the newest observation stands, whatever day it was made on.
    """
    ahead = pc.and_(pc.greater(rows["period_end"], rows["observed_at"]), pc.not_equal(rows["role"], "consumed"))
    found: np.ndarray[tuple[int], np.dtype[np.bool_]] = np.asarray(ahead.combine_chunks())
    return found


def newest(rows: pa.Table) -> dict[date, datetime]:
    """When each day was observed last."""
    grouped = rows.select(["usage_date", "observed_at"]).group_by("usage_date").aggregate([("observed_at", "max")])
    return dict(zip(grouped["usage_date"].to_pylist(), grouped["observed_at_max"].to_pylist(), strict=True))


def _without(rows: pa.Table, days: Collection[date]) -> pa.Table:
    """The rows but for the outlook on some days."""
    there = np.asarray(pc.is_in(rows["usage_date"], pa.array(list(days), pa.date32())).combine_chunks())
    return rows.filter(pa.array(~(there & outlook(rows))))
