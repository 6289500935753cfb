"""Rebuild: every table made anew from the raw answers alone, asking no vendor and reading no old table."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from filelock import FileLock, Timeout
from obstore.store import LocalStore, ObjectStore, from_url

from usage_pipeline import config, pipeline, stages
from usage_pipeline.contract.errors import ConfigurationError, UsageError
from usage_pipeline.contract.schema import BILLING_PERIODS, COVERAGE, INVENTORY, RESTATEMENTS, USAGE
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account, Endpoint, History
from usage_pipeline.vendors.registry import VENDORS

if TYPE_CHECKING:
    from usage_pipeline.stages.raw import Reference

FROM_RAW = (USAGE, COVERAGE, BILLING_PERIODS, INVENTORY, RESTATEMENTS)
"""The tables that only loads write. What the others hold is configured, or declared by the vendor modules."""


@dataclass(slots=True)
class Rebuilt:
    """What was read again. `problems` are lines that say what could not be, and what to do."""

    endpoints: int = 0
    attempts: int = 0
    problems: list[str] = field(default_factory=list)


@pipeline.on_disk
def rebuild(
    place: pipeline.Place,
    configuration: config.Configuration | None = None,
    said: Callable[[str], None] = lambda _line: None,
) -> Rebuilt:
    """Make the tables anew, attempt by attempt in the order in which the vendors were asked, and publish.

    Raises ConfigurationError, and changes nothing, where tables stand that no rebuild left half made. Nobody else
    loads meanwhile: `layout.json` says that the tables are half made, until they are whole.
    """
    place.home.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place.home / ".rebuild.lock", timeout=0):
            return _rebuild(place, configuration, said)
    except Timeout:
        raise ConfigurationError(f"{place.root} is being rebuilt by another process: let it end") from None


def _rebuild(place: pipeline.Place, configuration: config.Configuration | None, said: Callable[[str], None]) -> Rebuilt:
    store = stages.raw.store(place.root)
    kept = stages.raw.endpoints(store)
    if not kept:
        raise ConfigurationError(f"there are no raw answers in {place.root}/raw: restore that folder from a backup")
    _make_room(place)
    stages.layout.mark(place.root, rebuilding=True)
    done = Rebuilt()
    for vendor, account, slug in kept:
        known = {endpoint.slug: endpoint for endpoint in VENDORS[vendor].endpoints} if vendor in VENDORS else {}
        if slug not in known:
            done.problems.append(
                f"raw/{vendor}/{account}/{slug} is of no endpoint that this program knows: install the version that "
                "wrote it, or move the folder away"
            )
            continue
        attempts = stages.raw.attempts(store, vendor, account, slug)
        # Raw answers know no configuration: this is all that loading asks of an account.
        who = Account(account, vendor, "", date.min)
        for batch in batches(known[slug], attempts):
            done.problems += _replay(place, store, known[slug], who, attempts, batch)
        done.endpoints += 1
        done.attempts += len(attempts)
        said(f"{account} {slug}: {len(attempts)} attempts")
    stages.layout.mark(place.root, rebuilding=False)
    pipeline.publish(place, configuration)
    return done


def _make_room(place: pipeline.Place) -> None:
    """Remove what a rebuild left half made. Raises ConfigurationError where other tables stand."""
    lake = stages.lake.Lake(place.root)
    standing = [table.name for table in FROM_RAW if lake.find(table)]
    if stages.layout.rebuilding(place.root):
        root = from_url(place.root) if "://" in place.root else LocalStore(Path(place.root))
        for name in standing:
            obstore.delete(root, [entry["path"] for batch in obstore.list(root, f"{name}/") for entry in batch])
    elif standing:
        named = ",".join(standing)
        where = shlex.quote(place.root.rstrip("/"))
        move = f"mkdir {where}.before && mv {where}/{{{named}}} {where}.before/"
        if "://" in place.root or len(standing) == 1:
            move = f"move {', '.join(standing)} elsewhere in the store, or away from it"
        raise ConfigurationError(
            f"tables stand in {place.root} ({', '.join(standing)}), and a rebuild writes over none. Stop whatever "
            f"loads, keep them until the new ones are there, and run this again: {move}"
        )


def batches(endpoint: Endpoint, attempts: Iterable[Reference]) -> list[list[Reference]]:
    """What was loaded together, in order: all pieces of one asking, or all captures of a day.

    A window's older answer has to be loaded before the newer one, for what it changed to be seen. Captures of a day
    stand side by side.
    """
    if endpoint.history is History.SNAPSHOT:
        by_day = sorted(attempts, key=lambda attempt: (attempt.days, attempt))
        return [list(group) for _day, group in groupby(by_day, lambda attempt: attempt.days)]
    return [list(group) for _at, group in groupby(sorted(attempts), lambda attempt: attempt.at)]


def _replay(
    place: pipeline.Place,
    store: ObjectStore,
    endpoint: Endpoint,
    account: Account,
    attempts: list[Reference],
    batch: list[Reference],
) -> list[str]:
    """Load as it was loaded then, from what had landed by then. Returns what could not be read."""
    lake = stages.lake.Lake(place.root)
    landed = [attempt for attempt in batch if not attempt.failed]
    refused: dict[date, UsageError] = {}
    for span in Days.runs(sorted({day for attempt in landed for day in attempt.days})):
        by_then = [one for one in attempts if one <= max(landed)]
        told = stages.load.usage(lake, endpoint, account, partial(stages.replay.read, store, endpoint, by_then, span))
        stages.load.companions(lake, endpoint, account, told)
        stages.load.coverage(lake, endpoint, account, told=told, failed={}, unavailable={}, now=max(landed).at)
        refused |= told.refused
    for attempt in batch:
        # Of a day's captures only a failure after the last one still says something.
        if attempt.failed and not (endpoint.history is History.SNAPSHOT and landed and attempt < max(landed)):
            _fail(store, lake, endpoint, account, attempt)
    return [
        f"{account.name} {endpoint.slug}: {days}: {why}"
        for why, days in sorted((str(error), day) for day, error in refused.items())
    ]


def _fail(store: ObjectStore, lake: stages.lake.Lake, endpoint: Endpoint, account: Account, attempt: Reference) -> None:
    """Write down that the days of an attempt failed, as it was done then."""
    receipt = stages.raw.told(store, attempt)
    why: Mapping[date, str] = dict.fromkeys(attempt.days, receipt.error)
    nothing = stages.replay.Told()
    failed, unavailable = ({}, why) if receipt.unavailable else (why, {})
    stages.load.coverage(lake, endpoint, account, told=nothing, failed=failed, unavailable=unavailable, now=attempt.at)
