"""Layout: what the lake was written as, so that a program of another version does not write beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from uuid import uuid4

import msgspec
import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore, ObjectStore, from_url

from usage_pipeline.contract.errors import ConfigurationError
from usage_pipeline.contract.schema import TABLES

FILE = "layout.json"

VERSION = 1
"""Rises when folders, file names or the meaning of a column change; columns that come are seen without it.

Lakes that have no file were written before there was one: they are of version 1.
"""


class Layout(msgspec.Struct, frozen=True):
    """What `layout.json` says: the version, a hash of the tables as they were declared, whether they are half made."""

    version: int
    tables: str
    rebuilding: bool = False


def agree(root: str) -> None:
    """Bring an older lake to what this program writes; one small read where it is that already.

    Columns that may be empty are added. Raises ConfigurationError, with what to do, and changes nothing, where the
    lake is of a newer program, or a table cannot hold what is declared now.
    """
    store = _store(root)
    ours = _ours()
    found = _read(store, root)
    if found == ours:
        return
    if found and found.version > VERSION:
        raise ConfigurationError(
            f"{root} was written by a newer usage-pipeline (layout {found.version}; this one writes {VERSION}): "
            "install that version, or set USAGE_PIPELINE_HOME to another folder"
        )
    if found and found.rebuilding:
        raise ConfigurationError(
            f"the tables in {root} are half made: let the `usage-pipeline rebuild` that is under way end, or run it "
            "again where it was cut short"
        )
    if {table.name for table in TABLES} & set(obstore.list_with_delimiter(store)["common_prefixes"]):
        # Here, so that whoever only looks need not load deltalake.
        from usage_pipeline.stages.lake import Lake, lacking, widen

        lake = Lake(root)
        for table in [table for table in TABLES if lacking(lake, table)]:
            widen(lake, table)
    if found is None and "://" in root:
        _decides(store, root)
    obstore.put(store, FILE, msgspec.json.encode(ours))


def _decides(store: ObjectStore, root: str) -> None:
    """Make sure that of two that write under one name the second is refused: commits rely on nothing else.

    Raises ConfigurationError where it is not. Some stores that speak S3's language pass over the condition in silence.
    """
    probe = f"probe-{uuid4()}"
    try:
        for _ in range(2):
            obstore.put(store, probe, b"", mode="create")
    except AlreadyExistsError:
        return
    finally:
        obstore.delete(store, probe)
    raise ConfigurationError(
        f"{root} is in a store without conditional writes (If-None-Match), in which loads would overwrite each other: "
        "keep the lake in one that has them; docs/storage.md names some"
    )


def rebuilding(root: str) -> bool:
    """Whether the tables are being made anew, or that was cut short."""
    found = _read(_store(root), root)
    return bool(found and found.rebuilding)


def mark(root: str, *, rebuilding: bool) -> None:
    """Write down whether the tables are half made: until they are whole, nobody else writes to them."""
    obstore.put(_store(root), FILE, msgspec.json.encode(msgspec.structs.replace(_ours(), rebuilding=rebuilding)))


def _ours() -> Layout:
    return Layout(VERSION, hashlib.sha256(repr(TABLES).encode()).hexdigest())


def _read(store: ObjectStore, root: str) -> Layout | None:
    try:
        return msgspec.json.decode(bytes(obstore.get(store, FILE).bytes()), type=Layout)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{root}/{FILE} cannot be read ({error}): restore it from a backup") from None


def _store(root: str) -> ObjectStore:
    return from_url(root) if "://" in root else LocalStore(Path(root).absolute(), mkdir=True)
