"""Session: what DuckDB needs to read the files of a lake that is no folder."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb


def reach(session: duckdb.DuckDBPyConnection, addresses: Iterable[str]) -> None:
    """Let the session read what is at addresses such as s3://bucket/prefix, as the lake is read elsewhere: by obstore.

    Not by DuckDB's httpfs, which would have to be downloaded, does not know AWS_ENDPOINT_URL, and takes the keys of
    the environment for settings, which every query can read.
    """
    schemes = sorted({address.partition("://")[0] for address in addresses if "://" in address})
    if schemes:
        # DuckDB fetches the result of a query with parameters while it holds Python's lock, for which its other threads
        # wait, as they read through Python: with others, a query now and then never ends.
        session.execute("SET threads = 1")
    for scheme in schemes:
        # Here: fsspec takes a quarter of a second, and most lakes are folders.
        from usage_pipeline.stages.objects import Objects

        session.register_filesystem(Objects(scheme, skip_instance_cache=True))
