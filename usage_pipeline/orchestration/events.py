"""Dagster's instance on one machine: the events of a range are written together, and databases are kept open.

Of a range Dagster tells two events a day and asset, and its SQLite log opens two databases, and waits for the disk a
few times, for each: 8,760 events for a year of six endpoints, which were most of what a year cost. Dagster gathers such
events itself where its storage can take many at once; its SQLite log takes them one by one. For every other event, too,
it opens a database, compiles its statement anew, and closes the database with a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import ASSET_EVENTS
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, QueuePool, create_engine

# A year of one asset.
MOST = 366

# Of a database server: milliseconds for a statement, seconds that a connection is kept, and how many there may be.
STATEMENT, RECYCLE, CONNECTIONS = 600_000, 3600, 20

# Databases of events that stay open: that of all runs, and those of the runs that were written or looked at last.
OPEN = 4


def _kept_open(address: str) -> Engine:
    """Connections that are not closed after each use; as many at once as are asked for, as with Dagster's own."""
    waiting = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
    return create_engine(address, poolclass=QueuePool, pool_size=1, max_overflow=-1, connect_args=waiting)


class RunLog(SqliteRunStorage):
    """Dagster's own list of runs in its own file, which stays open."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engine = _kept_open(conn_string)
        super().__init__(conn_string, inst_data)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A transaction."""
        with self._engine.begin() as connection:
            yield connection


class EventLog(SqliteEventLogStorage):
    """Dagster's own log in its own files, which stay open, where a batch is one transaction a database."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: dict[str, Engine] = {}
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """A transaction in one of the files; one at a time."""
        with self._db_lock:
            engine = self._engines.pop(shard, None) or _kept_open(self.conn_string_for_shard(shard))
            self._engines[shard] = engine
            for oldest in list(self._engines)[:-OPEN]:
                self._engines.pop(oldest).dispose()
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

    def _close(self) -> None:
        while self._engines:
            self._engines.popitem()[1].dispose()

    def dispose(self) -> None:
        """Close the files."""
        super().dispose()
        self._close()

    def wipe(self) -> None:
        """Delete all events, and the files of runs."""
        self._close()
        super().wipe()

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Our checks have no partitions, and are planned once.

        Dagster plans them once a partition of the run that they are in, and nothing ends those plans: a year of six
        endpoints left 12,794 of them.
        """
        happened = event.dagster_event
        planned = happened and happened.event_specific_data
        if happened and isinstance(planned, AssetCheckEvaluationPlanned):
            once = AssetCheckEvaluationPlanned(asset_key=planned.asset_key, check_name=planned.check_name)
            event = event._replace(dagster_event=happened._replace(event_specific_data=once))
        super().store_event(event)

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """What `store_event` does for one event of one asset, for those of a run."""
        together = [event for event in events if event.dagster_event_type in ASSET_EVENTS]
        for event in events:
            if event.dagster_event_type not in ASSET_EVENTS:
                self.store_event(event)
        if not together:
            return
        rows = [self._event_to_row(event) for event in together]
        insert = SqlEventLogStorageTable.insert()
        with self.run_connection(together[0].run_id) as run:
            run.execute(insert, rows)
        with self.index_transaction() as index:
            told = insert.returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)
            numbers = index.execute(told, rows).scalars().all()
            self._store_asset_event_tags(index, together, numbers)
            # The entry of an asset holds its newest event of a kind.
            newest = {(row["asset_key"], row["dagster_event_type"]): at for at, row in enumerate(rows)}
            for at in newest.values():
                self._store_asset_event(index, together[at], numbers[at])


class Instance(dg.DagsterInstance):
    """What dagster.yaml names. A log in another database is left alone, and its connections are kept open."""

    def __init__(self, *, event_storage: Any, run_storage: Any, **others: Any) -> None:
        local = type(event_storage) is SqliteEventLogStorage
        if local:
            event_storage = EventLog(event_storage._base_dir, event_storage.inst_data)
        if type(run_storage) is SqliteRunStorage:
            run_storage = RunLog(run_storage._conn_string, run_storage.inst_data)
        super().__init__(event_storage=event_storage, run_storage=run_storage, **others)
        if not local:
            # Dagster keeps connections for its webserver only: elsewhere each event opens one, with TLS and a password.
            self.optimize_for_webserver(STATEMENT, RECYCLE, CONNECTIONS)

    def dispose(self) -> None:
        """Close the connections too: one process of a worker opens an instance for every run."""
        super().dispose()
        for storage in (self.run_storage, self.event_log_storage, self.schedule_storage):
            engine = getattr(storage, "_engine", None)
            if engine is not None:
                engine.dispose()

    @classmethod
    def config_schema(cls) -> dict[str, Any]:
        """Settings beside Dagster's own."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, ConfigurableClassData | None]:
        """Where things are that no setting names: where Dagster has them."""
        return InstanceRef.config_defaults(base_dir)

    def _get_event_batch_size(self) -> int:
        return MOST
