"""The statements that make the warehouse: the tables' files, the views of sql/, and what each column says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from string import Template
from urllib.parse import unquote

import duckdb

from usage_pipeline.contract.arrow import schema
from usage_pipeline.contract.schema import COVERAGE, TABLES, USAGE
from usage_pipeline.contract.vendor import Endpoint, Vendor
from usage_pipeline.stages.lake import Lake

SQL = Path(__file__).parents[2] / "sql"


def fingerprint(vendors: Iterable[Vendor]) -> str:
    """Changes when anything does that the views are made from; the tables' files are not among it."""
    parts = [*views(), *endpoint_views(vendors), text("00_undescribed"), repr(TABLES), duckdb.__version__]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def statements(session: duckdb.DuckDBPyConnection, vendors: Iterable[Vendor]) -> Iterator[str]:
    """All above the tables, in order. Each is to be executed in the session before the next is asked for."""
    yield from views()
    yield from endpoint_views(vendors)
    yield from undescribed(session)
    yield Template(text("00_made_from")).substitute(fingerprint=fingerprint(vendors))


def tables(session: duckdb.DuckDBPyConnection, lake: Lake) -> Iterator[str]:
    """The tables of the lake, in a schema of their own: a view over the files of one snapshot of each."""
    yield text("00_lake")
    # A load writes `coverage` last. Looked at first, it claims nothing that the other tables do not have yet.
    for table in sorted(TABLES, key=lambda table: table is not COVERAGE):
        found = lake.find(table)
        files = sorted(map(_path, found.file_uris())) if found else []
        types = session.from_arrow(schema(table).empty_table()).types
        fields = [f'CAST({{}} AS {kind}) AS "{name}"' for name, kind in zip(table.names, types, strict=True)]
        yield Template(text("00_table" if files else "00_table_empty")).substitute(
            name=table.name,
            grain=quoted(table.grain),
            columns=", ".join(
                field.format(f'"{name}"' if files else "NULL") for field, name in zip(fields, table.names, strict=True)
            ),
            files=_texts(files),
        )
        yield comment("VIEW", f"lake.{table.name}", table.grain)
        for column in table.columns:
            yield comment("COLUMN", f'lake.{table.name}."{column.name}"', column.description)
        if table.name == USAGE.name:
            yield from _held(session, files)
    # When all tables are there: what is entitled is in several.
    metrics, breakdowns = session.execute(text("00_weighed_what")).fetchall()[0]
    yield Template(text("00_weighed")).substitute(
        metrics=_texts(["", *(metrics or [])]), breakdowns=_texts(["", *(breakdowns or [])])
    )


def _held(session: duckdb.DuckDBPyConnection, files: Sequence[str]) -> Iterator[str]:
    """What each file of usage holds. Only those are read that came since the last publication."""
    yield text("00_held")
    known = {file for (file,) in session.execute(text("00_held_files")).fetchall()}
    for change, those in (("00_held_gone", known.difference(files)), ("00_held_new", set(files) - known)):
        if those:
            yield Template(text(change)).substitute(files=_texts(sorted(those)))


def _texts(texts: Iterable[str]) -> str:
    return ", ".join(f"'{quoted(said)}'" for said in texts)


def _path(uri: str) -> str:
    """A file's own name, or that of an object: Delta writes it as an address, with %20 for a space."""
    return unquote(uri)


def views() -> Iterator[str]:
    """What analysts ask, in the order of its number, each with its first line as its comment."""
    for file in sorted(SQL.glob("[1-9]*.sql")):
        statement = file.read_text()
        yield statement
        kind = "MACRO" if "CREATE MACRO" in statement else "VIEW"
        yield comment(kind, file.stem.partition("_")[2], statement.partition("\n")[0].removeprefix("-- "))


def endpoint_views(vendors: Iterable[Vendor]) -> Iterator[str]:
    """One view for each endpoint that tells numbers: its rows of the table, with columns in place of the maps."""
    create, member = Template(text("00_endpoint")), Template(text("00_endpoint_member").rstrip())
    told = [(vendor, endpoint) for vendor in vendors for endpoint in vendor.endpoints if endpoint.metrics]
    for vendor, endpoint in told:
        view, grain = f"{vendor.slug}_{endpoint.slug}", f"{USAGE.grain}, as {vendor.title} tells it: {endpoint.title}"
        members = list(_members(endpoint))
        yield create.substitute(
            grain=quoted(grain),
            view=view,
            vendor=vendor.slug,
            endpoint=endpoint.slug,
            members="".join(member.substitute(held=held, key=key, name=name) for held, key, name in members),
        )
        yield comment("VIEW", f'"{view}"', grain)
        for held, key, name in members:
            said = f"The {held.removesuffix('s')} {key}; NULL where the series has none"
            yield comment("COLUMN", f'"{view}"."{name}"', said)


def _members(endpoint: Endpoint) -> Iterator[tuple[str, str, str]]:
    """Map, key and column of each dimension and label. A name that is taken has its kind behind it: `name_label`."""
    taken = set(USAGE.names)
    for held, keys in (("dimensions", endpoint.dimensions), ("labels", endpoint.labels)):
        for key in keys:
            name = key
            while name in taken:
                name = f"{name}_{held.removesuffix('s')}"
            taken.add(name)
            yield held, key, name


def undescribed(session: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Comments of the columns that have none of their own: a column of one name means one thing everywhere."""
    for view, column, said in session.execute(text("00_undescribed")).fetchall():
        yield comment("COLUMN", f'"{view}"."{column}"', said)


def comment(kind: str, name: str, said: str) -> str:
    return Template(text("00_comment")).substitute(kind=kind, name=name, text=quoted(said))


@cache
def text(name: str) -> str:
    return (SQL / f"{name}.sql").read_text()


def quoted(said: str) -> str:
    return said.replace("'", "''")
