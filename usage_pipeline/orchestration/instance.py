"""Dagster's own folder: its settings, and where it keeps runs and events."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import dagster as dg

SETTINGS = Path(__file__).with_name("dagster.yaml")


def prepare(home: Path, pools: Iterable[str] = ()) -> Path:
    """Make the folder for DAGSTER_HOME under `home`, and return it. Settings that stand there already are kept.

    `pools` are the accounts' names: Dagster enforces the default limit only on pools that it knows.
    """
    folder = home.absolute() / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / SETTINGS.name
    if not settings.exists():
        shutil.copyfile(SETTINGS, settings)
    if new := set(pools):
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            for pool in sorted(new - instance.event_log_storage.get_concurrency_keys()):
                instance.event_log_storage.initialize_concurrency_limit_to_default(pool)
    return folder
