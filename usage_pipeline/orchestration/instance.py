"""Dagster's own folder: its settings, where it keeps runs and events, and both when the program is newer than they."""

from __future__ import annotations

import io
import sqlite3
import sys
from collections.abc import Callable, Iterable
from contextlib import closing, redirect_stdout
from hashlib import sha256
from pathlib import Path

import dagster as dg
import yaml
from alembic.script import ScriptDirectory
from filelock import FileLock

from usage_pipeline.contract.errors import ConfigurationError

SETTINGS = Path(__file__).with_name("dagster.yaml")
SHIPPED = "dagster.shipped.yaml"

# The settings of the versions that kept no copy of them: a file with this SHA-256 is as they wrote it.
FIRST = "624ca60a386943249e7dc10dd406ef73fffb2f0b2859123a0699a0a87157b1fc"

# Settings under which Dagster's storage is elsewhere than in the folder.
ELSEWHERE = {"storage", "run_storage", "event_log_storage", "schedule_storage"}

REVISIONS = Path(dg.__file__).parent / "_core" / "storage" / "alembic"

Tell = Callable[[str], object]


def prepare(home: Path, pools: Iterable[str] = (), tell: Tell = print) -> Path:
    """Make the folder for DAGSTER_HOME under `home`, or bring an older one up to date, and return it.

    `pools` are the accounts' names: Dagster enforces the default limit only on pools that it knows. `tell` gets what
    somebody should know. Raises ConfigurationError, with the command to run, where the folder cannot be used as it is.
    """
    folder = home.absolute() / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    # What vendors said stands in the runs' events and logs; only those who run Dagster have to read them.
    folder.chmod(0o700)
    with FileLock(folder / ".prepare.lock"):
        _settings(folder, tell)
        try:
            instance = dg.DagsterInstance.from_config(str(folder))
        except dg.DagsterInvalidConfigError as error:
            raise ConfigurationError(f"{folder / SETTINGS.name}: {' '.join(str(error).split())}") from None
        with instance:
            _migrate(instance, folder, tell)
            limit(instance, pools)
    return folder


def limit(instance: dg.DagsterInstance, pools: Iterable[str]) -> None:
    """Give the default limit to the pools that have none; limits that somebody set stay."""
    for pool in sorted(set(pools) - instance.event_log_storage.get_concurrency_keys()):
        instance.event_log_storage.initialize_concurrency_limit_to_default(pool)


def _settings(folder: Path, tell: Tell) -> None:
    """Bring the shipped settings into a file that nobody changed; next to one that somebody did, say what is new."""
    shipped = SETTINGS.read_text()
    mine, base = folder / SETTINGS.name, folder / SHIPPED
    text = mine.read_text() if mine.exists() else None
    before = base.read_text() if base.exists() else None
    if text is None or text == before or (before is None and sha256(text.encode()).hexdigest() == FIRST):
        mine.write_text(shipped)
    elif shipped not in (text, before):
        tell(f"{mine} was changed by you and is left alone; the program's own settings are new: compare with {base}")
    base.write_text(shipped)


def _migrate(instance: dg.DagsterInstance, folder: Path, tell: Tell) -> None:
    """Bring the schema of Dagster's storage to this Dagster, after a copy."""
    storages = instance.run_storage, instance.event_log_storage, instance.schedule_storage
    versions = [version for storage in storages if storage and (version := storage.alembic_version())]
    behind = sorted({str(found) for found, newest in versions if found != newest})
    if not behind:
        return
    known = {script.revision for script in ScriptDirectory(str(REVISIONS)).walk_revisions()}
    if unknown := sorted(set(behind) - known):
        raise ConfigurationError(
            f"{folder} was written by a newer Dagster (schema {', '.join(unknown)}) than this one, {dg.__version__}: "
            "install the version of usage-pipeline that was here before, or restore the folder from a backup"
        )
    if ELSEWHERE & set(yaml.safe_load((folder / SETTINGS.name).read_text()) or {}):
        raise ConfigurationError(
            f"Dagster's storage was made by an older Dagster, and is not in {folder}: stop all that uses it, back it "
            f"up, and run DAGSTER_HOME={folder} {Path(sys.executable).with_name('dagster')} instance migrate"
        )
    backup = _back_up(folder, f"backup-{'-'.join(behind)}")
    tell(f"Dagster's storage was made by an older Dagster: it is migrated; as it was, it stands in {backup}")
    with redirect_stdout(io.StringIO()):  # its progress
        instance.upgrade()


def _back_up(folder: Path, name: str) -> Path:
    """Copy the databases, each as one snapshot, and return where to. A whole copy is there, or none.

    One that is there already is of an attempt that did not end: it holds what was before, and is kept.
    """
    target, part = folder / name, folder / f".{name}.part"
    if not target.exists():
        for file in [*folder.glob("history/**/*.db"), *folder.glob("schedules/*.db")]:
            copy = part / file.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as sink:
                source.backup(sink)
        part.rename(target)
    return target
