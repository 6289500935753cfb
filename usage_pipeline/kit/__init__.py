"""What several vendors need, once.

Submodules load on first use (`kit.frames` brings pandas): Dagster reads the vendors' facts at every start.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usage_pipeline.kit import auth, fields, frames, http, payload

__all__ = ["auth", "fields", "frames", "http", "payload"]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(name)
    return importlib.import_module(f"{__name__}.{name}")
