"""Publish: build the warehouse of views beside the old one, and put it in its place."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

import duckdb

from usage_pipeline.contract.schema import METRICS
from usage_pipeline.contract.vendor import Vendor
from usage_pipeline.stages.declare import declare
from usage_pipeline.stages.lake import Lake, alone
from usage_pipeline.stages.session import reach
from usage_pipeline.stages.views import fingerprint, quoted, statements, tables, text

WAREHOUSE = "warehouse.duckdb"
OLDEST_READER = "v1.0.0"


def publish(lake: Lake, home: Path, vendors: Collection[Vendor]) -> Path:
    """Make `warehouse.duckdb` show the tables as they are now. Readers of the old file keep it until they open anew.

    Views over views do not change with the tables' files: where the old file has them, it is copied.
    """
    home.mkdir(parents=True, exist_ok=True)
    target = home / WAREHOUSE
    # The tables are looked at within: who publishes last, publishes the newest.
    with alone(home / f".{WAREHOUSE}.lock", "publishing the warehouse"):
        declare(lake, METRICS, _metrics(vendors))
        new = home / f".{WAREHOUSE}.new"
        # What a killed publisher left behind. Its log would be replayed into the new file.
        new.unlink(missing_ok=True)
        new.with_name(f"{new.name}.wal").unlink(missing_ok=True)
        with duckdb.connect() as session:
            reach(session, [lake.root])
            reused = _made_from(session, target) == fingerprint(vendors)
            if reused:
                shutil.copyfile(target, new)
            session.execute(f"ATTACH '{quoted(str(new))}' AS warehouse (STORAGE_VERSION '{OLDEST_READER}')")
            session.execute("USE warehouse")
            session.begin()
            for statement in tables(session, lake):
                session.execute(statement)
            for statement in () if reused else statements(session, vendors):
                session.execute(statement)
            session.commit()
            session.execute("USE memory")
            session.execute("DETACH warehouse")
        new.chmod(0o444)
        new.replace(target)
        # A log that the old file left behind would be replayed into the new one.
        target.with_name(f"{WAREHOUSE}.wal").unlink(missing_ok=True)
    return target


def _made_from(session: duckdb.DuckDBPyConnection, file: Path) -> str | None:
    """The fingerprint of a published file; None where there is none, or none that can be read."""
    if not file.exists():
        return None
    try:
        session.execute(f"ATTACH '{quoted(str(file))}' AS old (READ_ONLY)")
        session.execute("USE old")
        row = session.execute(text("00_made_from_what")).fetchone()
    except duckdb.Error:
        row = None
    session.execute("USE memory")
    session.execute("DETACH DATABASE IF EXISTS old")
    return str(row[0]) if row else None


def _metrics(vendors: Collection[Vendor]) -> list[dict[str, str]]:
    """What the vendor modules declare."""
    return [
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
