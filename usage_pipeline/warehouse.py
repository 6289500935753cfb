"""The warehouse as a reader sees it: opened read-only, closed to everything else, answers exact to the last digit."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from string import Template
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table
from rich.text import Text

from usage_pipeline import files
from usage_pipeline.contract.errors import ConfigurationError, UsageError
from usage_pipeline.stages.publish import WAREHOUSE
from usage_pipeline.stages.session import reach
from usage_pipeline.stages.views import SQL, quoted, text

# PIVOT creates a type of its own before it selects; what else is created ends with the session.
READING = {duckdb.StatementType.SELECT, duckdb.StatementType.CREATE}

# In every error of obstore's that reaches DuckDB.
OBSTORE = "Error performing"

# What a spreadsheet takes for the beginning of a formula, and the mark that says it is none.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}",
           "\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip
TEXT_MARK = "'"

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
        """Lines with commas; a text that a spreadsheet would run has an apostrophe before it (decision 0012)."""
        return "".join(map(_line, [tuple(self.names), *self.rows]))

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
            shown.add_column(plain(field.name), justify="right" if right else "left", overflow="fold")
        for row in self.rows:
            shown.add_row(*(plain(_for_people(cell)) for cell in row))
        return shown


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _encode(value).decode().strip('"')


def _line(row: Sequence[Any]) -> str:
    text = io.StringIO()
    # Only what the writer's own end of line holds is quoted, and some readers end a line at a carriage return.
    csv.writer(text, lineterminator="\r\n").writerow(map(_cell, row))
    return text.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: Any) -> str:
    """A text that a spreadsheet would run, or one that has the mark already, gets the mark; numbers are numbers."""
    text = _text(value)
    told = not isinstance(value, int | float | Decimal) and text.startswith((TEXT_MARK, *FORMULA))
    return TEXT_MARK + text if told else text


def plain(text: str) -> Text:
    """A text from outside as it is: no markup, and no sequence that a terminal would obey."""
    return Text("".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text))


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
    # A session of its own, which opens the file: what is locked here is locked for nobody else in this process.
    session = duckdb.connect()
    try:
        session.execute(Template(query("session/open")).substitute(file=quoted(str(file))))
        [(opened,)] = session.execute(query("session/files")).fetchall()
        reach(session, opened or [])
        session.execute(query("session/close"))
    except duckdb.Error as error:
        session.close()
        raise _refused(error) from None
    with session:
        yield session


def ask(session: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, object] | None = None) -> Result:
    """What a query answers. Raises QueryError with DuckDB's words, or where it does more than ask."""
    try:
        # COPY and its like would write to the very files that may be read.
        if not {statement.type for statement in session.extract_statements(query)} <= READING:
            raise QueryError(
                "the warehouse is read-only: ask with SELECT, FROM, WITH, VALUES, PIVOT, DESCRIBE, SUMMARIZE or SHOW"
            )
        answer = session.sql(query, params=parameters)
        return Result(answer.to_arrow_table() if answer is not None else pa.table({}))
    except duckdb.Error as error:
        raise _refused(error) from None


def _refused(error: Exception) -> UsageError:
    """DuckDB's message in one line, without the excerpt of the query or of a library's state that follows it."""
    said = " ".join(str(error).split("\n\nLINE ")[0].split("\n\nDebug source:")[0].split())
    of_store = files.of_store("the object store of the lake", said) if OBSTORE in said else None
    return of_store or QueryError(said)


def query(name: str) -> str:
    """The SQL of a file below sql/, such as `commands/status`."""
    return text(name)


def questions(folder: str) -> Sequence[tuple[str, str]]:
    """The questions that a folder of sql/ answers, each with its query, in the order of their numbers."""
    texts = [file.read_text() for file in sorted((SQL / folder).glob("*.sql"))]
    return [(text.partition("\n")[0].removeprefix("-- "), text.partition("\n")[2].strip()) for text in texts]
