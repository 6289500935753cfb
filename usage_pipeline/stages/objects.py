"""Objects: the files of a lake in an object store, as DuckDB reads them, with few questions to the store."""

from __future__ import annotations

from datetime import datetime
from glob import has_magic
from typing import Any

from obstore.fsspec import FsspecStore


class Objects(FsspecStore):
    """Objects that are named by a table's log: they are there, and never change.

    DuckDB asks whether, how long and how old with every mention of every file, a hundred times for one view.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._known: dict[str, dict[str, Any]] = {}

    async def _glob(self, path: str, **kwargs: Any) -> Any:
        return await super()._glob(path, **kwargs) if has_magic(path) else [path]

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        if path not in self._known:
            self._known[path] = await super()._info(path, **kwargs)
        return self._known[path]

    def _open(self, path: str, *args: Any, **kwargs: Any) -> Any:
        # First: a file of obstore's that was not opened complains when it is thrown away.
        self.info(path)
        return super()._open(path, *args, **kwargs)

    def modified(self, path: str) -> datetime:
        """When it was written."""
        written: datetime = self.info(path)["last_modified"]
        return written
