"""The sensor that heals: it asks again for days that nobody asked for or that failed, while their vendor still tells.

It is stopped until somebody switches it on in the UI. It looks at the published warehouse, asks for little at a time,
and waits longer for a gap the more often it stayed.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.contract.vendor import Account, History
from usage_pipeline.orchestration.schedules import JOB, AssetJob, ranged, selected
from usage_pipeline.pipeline import Place

NAME = "gap_healing"

# Seconds between two looks.
EVERY = 900

# Yesterday is no gap before the daily schedules had their turn, and time to fail and try again.
LATE = timedelta(hours=6)

# What one run asks for, and how many such runs may be under way, over all accounts.
MOST_DAYS = 31
MOST_RUNS = 4

# From the last attempt at a gap to the next one; twice as long every time that the gap stayed.
PATIENCE = timedelta(hours=1)
LONGEST = DAY

# What is scheduled, and what people launch, goes first.
PRIORITY = {"dagster/priority": "-1"}

HOW = (
    "Asks again for days of the past that nobody asked for, or that failed, where the vendor still tells them: at most "
    f"{MOST_DAYS} days a run, {MOST_RUNS} runs at a time and one an account. A gap that stays is asked for again after "
    "an hour, two, four, and so on, at last once a day."
)


@dataclass(frozen=True, slots=True)
class Gap:
    """Days of one endpoint, one after the other, that can still be asked for; `attempted` is the newest attempt."""

    account: str
    endpoint: str
    days: Days
    attempted: datetime | None = None

    @property
    def name(self) -> str:
        """The same while its first day stays, however far it grows."""
        return f"{self.account}/{self.endpoint} {self.days.first}"


@dataclass(frozen=True, slots=True)
class Tried:
    """How often this sensor asked for a gap, and when it did last."""

    times: int
    last: datetime


Memory = Mapping[str, Tried]


def healing(accounts: Sequence[Account], job: AssetJob | None) -> dg.SensorDefinition:
    """Runs of the daily job over gaps; there is none where no vendor tells the past."""

    @dg.sensor(
        name=NAME,
        jobs=[job] if job else [],
        description=HOW,
        minimum_interval_seconds=EVERY,
        default_status=dg.DefaultSensorStatus.STOPPED,
    )
    def look(context: dg.SensorEvaluationContext, place: dg.ResourceParam[Place]) -> dg.SensorResult:
        now = place.clock()
        found = gaps(place, accounts, now)
        if found is None:
            return dg.SensorResult(skip_reason="nothing was published yet: load something first, a single day will do")
        memory = recalled(context.cursor, found)
        busy, under_way = _under_way(context.instance, accounts)
        ripe = [gap for gap in found if now >= due(gap, memory, now)]
        chosen = choose([gap for gap in ripe if gap.account not in busy], memory, MOST_RUNS - under_way)
        memory |= {gap.name: Tried(_times(memory, gap) + 1, now) for gaps in chosen for gap in gaps}
        return dg.SensorResult(
            run_requests=[_request(gaps, now) for gaps in chosen],
            skip_reason=None if chosen else _reason(found, ripe, memory, busy, now),
            cursor=json.dumps({name: [tried.times, tried.last.isoformat()] for name, tried in memory.items()}),
        )

    return look


def gaps(place: Place, accounts: Sequence[Account], now: datetime) -> list[Gap] | None:
    """What the accounts lack by the published warehouse and can ask for, in the order of days; None without one."""
    from usage_pipeline import warehouse
    from usage_pipeline.stages.publish import WAREHOUSE

    if not (place.home / WAREHOUSE).exists():
        return None
    with warehouse.reading(place.home) as session:
        rows = warehouse.ask(session, warehouse.query("healing/askable"), {"through": (now - LATE).date() - DAY}).rows
    starts = {(account.name, slug): account.start_date for account in accounts for slug in account.endpoints}
    found: list[Gap] = []
    for (account, endpoint), of_one in groupby(rows, key=lambda row: (row[0], row[1])):
        # What was published last may tell of an account that has changed since.
        start = starts.get((account, endpoint), date.max)
        tried = {day: attempted for _, _, day, attempted in of_one if day >= start}
        found += (
            Gap(account, endpoint, days, max(filter(None, map(tried.get, days)), default=None))
            for days in pieces(tried)
        )
    return sorted(found, key=lambda gap: gap.days)


def pieces(days: Iterable[date]) -> Iterator[Days]:
    """Sorted days as ranges without gaps, none longer than a run asks for."""
    for whole in Days.runs(days):
        for first in range(0, len(whole), MOST_DAYS):
            start = whole.first + first * DAY
            yield Days(start, min(start + (MOST_DAYS - 1) * DAY, whole.last))


def recalled(cursor: str | None, found: Iterable[Gap]) -> dict[str, Tried]:
    """What the last look wrote down of the gaps that are still there."""
    written = json.loads(cursor) if cursor else {}
    return {
        gap.name: Tried(written[gap.name][0], datetime.fromisoformat(written[gap.name][1]))
        for gap in found
        if gap.name in written
    }


def due(gap: Gap, memory: Memory, now: datetime) -> datetime:
    """When a gap may be asked for: at once where nobody ever did."""
    tried = memory.get(gap.name)
    attempts = [when for when in (gap.attempted, tried and tried.last) if when]
    # A day is reached after five doublings; more would only be a large number.
    return max(attempts) + min(PATIENCE * 2 ** min(max(_times(memory, gap) - 1, 0), 10), LONGEST) if attempts else now


def choose(ripe: Sequence[Gap], memory: Memory, most: int) -> list[list[Gap]]:
    """What to ask for now: one range an account, of all its endpoints that lack the very same days.

    First the gaps that were asked for least often, and of those the newest: that is what people look at.
    """
    ordered = sorted(ripe, key=lambda gap: gap.days, reverse=True)
    chosen: dict[str, list[Gap]] = {}
    for gap in sorted(ordered, key=lambda gap: _times(memory, gap)):
        same = chosen.setdefault(gap.account, [gap])
        if gap is not same[0] and gap.days == same[0].days:
            same.append(gap)
    return list(chosen.values())[: max(0, most)]


def _times(memory: Memory, gap: Gap) -> int:
    return memory[gap.name].times if gap.name in memory else 0


def _request(gaps: Sequence[Gap], now: datetime) -> dg.RunRequest:
    """One run. A look that is made again, because the daemon died in between, makes no second one."""
    account, days = gaps[0].account, gaps[0].days
    slugs = sorted(gap.endpoint for gap in gaps)
    return dg.RunRequest(
        # Patience is an hour at least: an attempt has an hour of its own.
        run_key=f"{account} {' '.join(slugs)} {days} at {now:%Y-%m-%dT%H}",
        job_name=JOB[History.WINDOW],
        asset_selection=selected(account, slugs),
        tags={**ranged(days), **PRIORITY},
    )


def _under_way(instance: dg.DagsterInstance, accounts: Sequence[Account]) -> tuple[set[str], int]:
    """The accounts that are being loaded, or will be by what is queued; and how many runs of this sensor are."""
    runs = instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    asked = BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING])
    keys = [key for run in runs for key in run.asset_selection or ()]
    keys += [key for backfill in instance.get_backfills(asked) for key in backfill.asset_selection or ()]
    busy = {key.path[1] for key in keys if key.path[0] in {"raw", "usage"}}
    # A run of a whole job names no asset: it is of all accounts.
    if any(run.job_name in JOB.values() and not run.asset_selection for run in runs):
        busy |= {account.name for account in accounts}
    return busy, sum(run.tags.get("dagster/sensor_name") == NAME for run in runs)


def _reason(found: Sequence[Gap], ripe: Sequence[Gap], memory: Memory, busy: set[str], now: datetime) -> str:
    """Why nothing is asked for."""
    if not found:
        return "no gap that a vendor can still fill"
    if not ripe:
        first = min(found, key=lambda gap: due(gap, memory, now))
        when = f"{due(first, memory, now):%Y-%m-%d %H:%M} UTC"
        return f"gaps that were asked for lately: {len(found)}; the next is {first.account}/{first.endpoint}, at {when}"
    loading = ", ".join(sorted(busy & {gap.account for gap in ripe}))
    return f"gaps of accounts that are being loaded: {loading}" if loading else f"{MOST_RUNS} runs are under way"
