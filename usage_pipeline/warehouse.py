"""The warehouse as a reader sees it: opened read-only, answers exact to the last digit."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table

from usage_pipeline.contract.errors import ConfigurationError, UsageError
from usage_pipeline.stages.publish import WAREHOUSE
from usage_pipeline.stages.views import SQL, text

# Decimals as numbers with all their digits: a float would round them.
_encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode


class QueryError(UsageError):
    """DuckDB refused a query."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a query answered. Arrow keeps decimals, instants and maps exact, where DataFrames make floats of some."""

    table: pa.Table

    @property
    def names(self) -> list[str]:
        return list(self.table.column_names)

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        columns = [column.to_pylist(maps_as_pydicts="strict") for column in self.table.columns]
        return list(zip(*columns, strict=True))

    def csv(self) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(
            [self.names, *([_text(cell) for cell in row] for row in self.rows)]
        )
        return text.getvalue()

    def json(self) -> str:
        """An array with an object a row, one a line."""
        objects = (_encode(dict(zip(self.names, row, strict=True))).decode() for row in self.rows)
        return "[" + ",\n ".join(objects) + "]\n"

    def parquet(self) -> bytes:
        sink = io.BytesIO()
        pq.write_table(self.table, sink)
        return sink.getvalue()

    def rich(self, title: str | None = None) -> Table:
        shown = Table(title=title, title_justify="left")
        for field in self.table.schema:
            right = (
                pa.types.is_integer(field.type) or pa.types.is_decimal(field.type) or pa.types.is_floating(field.type)
            )
            shown.add_column(field.name, justify="right" if right else "left", overflow="fold")
        for row in self.rows:
            shown.add_row(*map(_for_people, row))
        return shown


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _encode(value).decode().strip('"')


def _for_people(value: Any) -> str:
    """Every digit of a decimal that says something, in groups of three."""
    if isinstance(value, Decimal):
        whole, _point, part = f"{value:,f}".partition(".")
        return ".".join(filter(None, [whole, part.rstrip("0")]))
    return _text(value)


@contextmanager
def reading(home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The published warehouse. Raises ConfigurationError where nothing was published yet."""
    file = home / WAREHOUSE
    if not file.exists():
        raise ConfigurationError(
            f"there is no warehouse at {file} yet: load something first, with `usage-pipeline pull`"
        )
    try:
        session = duckdb.connect(str(file), read_only=True)
    except duckdb.Error as error:
        raise QueryError(_one_line(error)) from None
    with session:
        session.execute("SET TimeZone = 'UTC'")
        yield session


def ask(session: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, object] | None = None) -> Result:
    """What a query answers. Raises QueryError with DuckDB's words."""
    try:
        answer = session.sql(query, params=parameters)
        return Result(answer.to_arrow_table() if answer is not None else pa.table({}))
    except duckdb.Error as error:
        raise QueryError(_one_line(error)) from None


def _one_line(error: Exception) -> str:
    """DuckDB's message without the excerpt of the query that follows it."""
    return " ".join(str(error).split("\n\nLINE ")[0].split())


def query(name: str) -> str:
    """The SQL of a file below sql/, such as `commands/status`."""
    return text(name)


def questions(folder: str) -> Sequence[tuple[str, str]]:
    """The questions that a folder of sql/ answers, each with its query, in the order of their numbers."""
    texts = [file.read_text() for file in sorted((SQL / folder).glob("*.sql"))]
    return [(text.partition("\n")[0].removeprefix("-- "), text.partition("\n")[2].strip()) for text in texts]
