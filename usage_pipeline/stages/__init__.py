"""What is the same for all vendors, in the order in which data takes it: land, normalise, load, publish, compact.

Submodules load on first use (`stages.load` brings pyarrow and deltalake): Dagster reads definitions at every start.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usage_pipeline.stages import (
        compact,
        declare,
        lake,
        land,
        layout,
        load,
        normalise,
        objects,
        publish,
        raw,
        replay,
        rows,
        session,
        tally,
        views,
    )

__all__ = [
    "compact",
    "declare",
    "lake",
    "land",
    "layout",
    "load",
    "normalise",
    "objects",
    "publish",
    "raw",
    "replay",
    "rows",
    "session",
    "tally",
    "views",
]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(name)
    return importlib.import_module(f"{__name__}.{name}")
