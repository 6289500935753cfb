"""Publish: build the warehouse of views beside the old one, and put it in its place."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from string import Template

import duckdb
import pyarrow as pa
from deltalake import write_deltalake
from filelock import FileLock

from usage_pipeline.contract.arrow import schema
from usage_pipeline.contract.schema import METRICS, TABLES
from usage_pipeline.contract.vendor import Vendor
from usage_pipeline.stages.lake import Lake, on_conflict

SQL = Path(__file__).parents[2] / "sql"
WAREHOUSE = "warehouse.duckdb"
OLDEST_READER = "v1.0.0"


def publish(lake: Lake, home: Path, vendors: Iterable[Vendor]) -> Path:
    """Make `warehouse.duckdb` show the tables as they are now. Readers of the old file keep it until they open anew."""
    home.mkdir(parents=True, exist_ok=True)
    target = home / WAREHOUSE
    with FileLock(home / f".{WAREHOUSE}.lock"):
        _metrics(lake, vendors)
        new = home / f".{WAREHOUSE}.new"
        new.unlink(missing_ok=True)
        with duckdb.connect() as session:
            session.execute(f"ATTACH '{_quoted(str(new))}' AS warehouse (STORAGE_VERSION '{OLDEST_READER}')")
            session.execute("USE warehouse")
            for statement in statements(session, lake):
                session.execute(statement)
            session.execute("USE memory")
            session.execute("DETACH warehouse")
        new.chmod(0o444)
        new.replace(target)
        # A log that the old file left behind would be replayed into the new one.
        target.with_name(f"{WAREHOUSE}.wal").unlink(missing_ok=True)
    return target


def statements(session: duckdb.DuckDBPyConnection, lake: Lake) -> Iterable[str]:
    """What makes the warehouse: the tables' files, then the views of sql/ in the order of their numbers."""
    yield (SQL / "00_lake.sql").read_text()
    for table in TABLES:
        found = lake.find(table)
        files = sorted(found.file_uris()) if found else []
        empty = schema(table).empty_table()
        types = session.from_arrow(empty).types
        fields = [f'CAST({{}} AS {kind}) AS "{name}"' for name, kind in zip(table.names, types, strict=True)]
        template = Template((SQL / ("00_table.sql" if files else "00_table_empty.sql")).read_text())
        yield template.substitute(
            name=table.name,
            grain=_quoted(table.grain),
            columns=", ".join(
                field.format(f'"{name}"' if files else "NULL") for field, name in zip(fields, table.names, strict=True)
            ),
            files=", ".join(f"'{_quoted(file)}'" for file in files),
        )
    for file in sorted(SQL.glob("[1-9]*.sql")):
        yield file.read_text()


def _quoted(text: str) -> str:
    return text.replace("'", "''")


@on_conflict
def _metrics(lake: Lake, vendors: Iterable[Vendor]) -> None:
    """Keep `metrics` equal to what the vendor modules declare."""
    rows = [
        {
            "vendor": vendor.slug,
            "endpoint": endpoint.slug,
            "metric": metric.name,
            "role": metric.role.value,
            "aggregation": metric.aggregation.value,
            "temporality": metric.temporality.value,
            "unit": metric.unit,
            "description": metric.description,
            "documentation": endpoint.documentation,
            "history": endpoint.history.value,
        }
        for vendor in vendors
        for endpoint in vendor.endpoints
        for metric in endpoint.metrics
    ]
    declared = pa.Table.from_pylist(rows, schema(METRICS)).sort_by([(name, "ascending") for name in METRICS.key])
    table = lake.open(METRICS)
    there = table.to_pyarrow_table().cast(schema(METRICS)).sort_by([(name, "ascending") for name in METRICS.key])
    if not there.equals(declared):
        write_deltalake(table, declared, mode="overwrite")
