"""Load: what some days say takes the place of what they said before, in one atomic commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from usage_pipeline.contract.arrow import INSTANT, schema
from usage_pipeline.contract.schema import BILLING_PERIODS, COVERAGE, INVENTORY, RESTATEMENTS, USAGE, State, Table
from usage_pipeline.contract.time import DAY, Days, midnight
from usage_pipeline.contract.vendor import Account, Endpoint, History
from usage_pipeline.stages.lake import Lake, on_conflict, upsert
from usage_pipeline.stages.replay import Told
from usage_pipeline.stages.rows import Rows, newest, outlook, unpacked

PERIOD = ["series_id", "period_start", "period_end"]
NEW = pa.schema([schema(USAGE).field(name) for name in (*PERIOD, "value", "response_id")])
FRUGAL = {"batch_readahead": 2, "fragment_readahead": 1}
"""How far a scan of the table reads ahead: by default further than fits into a small machine."""

KNOWN = (State.COMPLETE, State.PROVISIONAL, State.EMPTY)


@on_conflict
def usage(lake: Lake, endpoint: Endpoint, account: Account, tell: Callable[[], Told]) -> Told:
    """Write the rows of what is told, and return it. Days without rows lose theirs: an empty answer is an answer.

    The table is opened before the answers are looked for, and committed to as it was then. So a slower load cannot put
    older answers in the place of newer ones, on whatever machine: the newer ones' commit is a conflict, and the slower
    load finds them when it tries again.

    A window's load claims its days by `usage_date`, a snapshot's by the day of the observation. Rows that look ahead
    (a projection to the end of the billing period) replace older ones of the same day ahead, and yield to newer ones.
    """
    table = lake.open(USAGE)
    told = tell()
    if not told.fetched:
        return told
    whose = f"vendor = '{account.vendor}' AND account = '{account.name}' AND endpoint = '{endpoint.slug}'"
    claim = [_claim(endpoint, span) for span in Days.runs(sorted(told.fetched))]
    ahead = told.rows.outlook
    newer = _newer(table, account, endpoint, ahead)
    if replaced := sorted(ahead.keys() - newer):
        dates = ", ".join(f"DATE '{day}'" for day in replaced)
        claim.append(f"(usage_date IN ({dates}) AND role <> 'consumed' AND period_end > observed_at)")
    if endpoint.history is History.WINDOW:
        # All that a window claims is of these months: files of others need not be looked at.
        whose += f" AND month IN ({', '.join(repr(month) for month in _months([*told.fetched, *replaced]))})"
        # Before the rows: whoever loads again after a crash in between says the same again.
        upsert(lake, RESTATEMENTS, pa.concat_tables(_restated(table, account, endpoint, told, newer)))
    rows = told.rows.batches(without=newer)
    write_deltalake(table, rows, mode="overwrite", predicate=f"{whose} AND ({' OR '.join(claim)})")
    return told


def _restated(
    table: DeltaTable, account: Account, endpoint: Endpoint, told: Told, newer: Collection[date]
) -> Iterator[pa.Table]:
    """What `restated` finds, month by month: all that was said before need not fit into memory."""
    yield schema(RESTATEMENTS).empty_table()
    days = _told_otherwise(table, account, endpoint, told)
    for _, month in groupby(sorted(days), lambda day: (day.year, day.month)):
        of_month = list(month)
        before = pa.Table.from_batches(_before(table, account, endpoint, of_month, USAGE.names))
        wanted = pa.array(of_month, pa.date32())
        rows = [
            batch
            for part in told.rows.tables(["usage_date", *NEW.names], newer)
            for batch in unpacked(part.filter(pc.is_in(part["usage_date"], wanted)).select(NEW.names))
        ]
        yield restated(before, pa.Table.from_batches(rows, NEW), told)


def _told_otherwise(table: DeltaTable, account: Account, endpoint: Endpoint, told: Told) -> set[date]:
    """The days of which the table holds rows of other answers than are told now."""
    columns = ["usage_date", "response_id"]
    before = {pair for batch in _before(table, account, endpoint, told.fetched, columns) for pair in _pairs(batch)}
    if before:
        before -= {pair for part in told.rows.tables(columns) for batch in unpacked(part) for pair in _pairs(batch)}
    return {day for day, _ in before}


def _pairs(batch: pa.RecordBatch) -> Iterable[tuple[date, str]]:
    found = pa.Table.from_batches([batch]).group_by(batch.schema.names).aggregate([]).to_pydict()
    return zip(found["usage_date"], found["response_id"], strict=True)


def _before(
    table: DeltaTable, account: Account, endpoint: Endpoint, days: Iterable[date], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """What the table says of days that are told anew, where the period was over when it was said."""
    of_month = ("month", "in", _months(days))
    rows: Iterator[pa.RecordBatch] = table.to_pyarrow_dataset(
        file_pruning_predicate=[("vendor", "=", account.vendor), of_month]
    ).to_batches(
        columns=list(columns),
        filter=(pc.field("account") == account.name)
        & (pc.field("endpoint") == endpoint.slug)
        & pc.field("usage_date").isin(list(days))
        & (pc.field("period_end") <= pc.field("fetched_at")),
        **FRUGAL,
    )
    return rows


def restated(before: pa.Table, rows: pa.Table, told: Told) -> pa.Table:
    """Rows of `restatements`: the values of periods past that another answer changed or no longer holds.

    The same answer read again says something else only if our reading changed; that is no word of the vendor's.
    """
    if not before.num_rows:
        return schema(RESTATEMENTS).empty_table()
    # Joined without the maps, which joins do not take.
    old = before.select([*PERIOD, "usage_date", "value", "response_id"]).append_column(
        "row", pa.array(range(before.num_rows))
    )
    new = rows.select([*PERIOD, "value", "response_id"]).rename_columns([*PERIOD, "new_value", "new_response_id"])
    both = old.join(new, PERIOD)
    # Of a day that lacks a part nobody knows what was withdrawn.
    lacking = pa.array([day for day, parts in told.missing.items() if parts], pa.date32())
    gone = pc.and_(pc.is_null(both["new_response_id"]), pc.invert(pc.is_in(both["usage_date"], lacking)))
    changed = pc.and_(
        pc.not_equal(both["value"], both["new_value"]), pc.not_equal(both["response_id"], both["new_response_id"])
    )
    both = both.filter(pc.or_(gone, pc.fill_null(changed, False)))
    said = before.take(both["row"])
    columns = {
        **{name: said[name] for name in RESTATEMENTS.names if name in said.column_names},
        "old_value": said["value"],
        "new_value": both["new_value"],
        "was_final": said["is_final"],
        "old_fetched_at": said["fetched_at"],
        "new_fetched_at": pa.array([told.fetched[day] for day in said["usage_date"].to_pylist()], INSTANT),
        "old_response_id": said["response_id"],
        "new_response_id": both["new_response_id"],
    }
    return pa.table({name: columns[name] for name in RESTATEMENTS.names}).cast(schema(RESTATEMENTS))


def _months(days: Iterable[date]) -> list[str]:
    """The partitions that rows on these days are in."""
    return sorted({f"{day:%Y-%m}" for day in days})


def _claim(endpoint: Endpoint, days: Days) -> str:
    if endpoint.history is History.SNAPSHOT:
        return f"(observed_at >= '{days.start:%Y-%m-%dT%H:%M:%SZ}' AND observed_at < '{days.end:%Y-%m-%dT%H:%M:%SZ}')"
    return f"(usage_date >= DATE '{days.first}' AND usage_date <= DATE '{days.last}')"


def _newer(table: DeltaTable, account: Account, endpoint: Endpoint, ahead: Mapping[date, datetime]) -> set[date]:
    """The days ahead of which the table knows a newer outlook."""
    if not ahead:
        return set()
    of_month = ("month", "in", _months(ahead))
    theirs = table.to_pyarrow_dataset(file_pruning_predicate=[("vendor", "=", account.vendor), of_month]).to_table(
        columns=["usage_date", "observed_at", "period_end", "role"],
        filter=(pc.field("account") == account.name)
        & (pc.field("endpoint") == endpoint.slug)
        & pc.field("usage_date").isin(list(ahead))
        & (pc.field("role") != "consumed"),
    )
    return {day for day, seen in newest(theirs.filter(pa.array(outlook(theirs)))).items() if seen > ahead[day]}


def companions(lake: Lake, endpoint: Endpoint, account: Account, told: Told) -> None:
    """What the answers say beside usage: billing periods and inventories. The newest word on a key stands."""
    who = {"vendor": account.vendor, "account": account.name, "endpoint": endpoint.slug}
    periods = _newest_words(told.billing_periods, ["period_start"])
    _upsert(lake, BILLING_PERIODS, periods.assign(**who))
    items = _newest_words(told.inventory, ["item"])
    if len(items):
        seen = pd.concat(told.inventory).groupby("item")["fetched_at"].min()
        items = items.assign(first_seen=items["item"].map(seen), last_seen=items["fetched_at"])
    _upsert(lake, INVENTORY, items.assign(**who))


def _newest_words(frames: Iterable[pd.DataFrame], key: list[str]) -> pd.DataFrame:
    frames = list(frames)
    if not frames:
        return pd.DataFrame()
    return pd.concat(frames).sort_values("fetched_at", kind="stable").drop_duplicates(key, keep="last")


def _upsert(lake: Lake, table: Table, frame: pd.DataFrame) -> None:
    if len(frame):
        rows = pa.Table.from_pandas(frame[table.names], schema(table), preserve_index=False)

        first = {"first_seen": "least(source.first_seen, target.first_seen)"} if table is INVENTORY else {}

        def keep_newer(merger: object) -> None:
            older = "source.fetched_at < target.fetched_at"
            kept = {"fetched_at": "target.fetched_at", **first}
            newer = {**{name: f"source.{name}" for name in table.names if name not in table.key}, **first}
            merger.when_matched_update(kept, predicate=older).when_matched_update(newer)  # type: ignore[attr-defined]

        upsert(lake, table, rows, keep_newer)


def coverage(
    lake: Lake,
    endpoint: Endpoint,
    account: Account,
    *,
    told: Told,
    failed: Mapping[date, str],
    unavailable: Mapping[date, str],
    now: datetime,
) -> dict[date, State]:
    """Say for every day what is known. A failed attempt at a known day leaves it known, and adds the reason.

    `now` is when the `failed` and `unavailable` days were asked for: all else follows from the raw answers alone.
    """
    # A capture has the rows that it had, whatever later ones took the place of.
    found = counts(endpoint, told.rows) | told.captured
    unsettled = _unsettled(endpoint, told.rows)
    rows: list[dict[str, Any]] = []

    def say(day: date, state: State, fetched: datetime | None, reason: str) -> None:
        attempt = now if day in failed or day in unavailable else told.asked.get(day, now)
        who = {"vendor": account.vendor, "account": account.name, "endpoint": endpoint.slug}
        rows.append(
            who
            | {"usage_date": day, "state": state.value, "rows": found.get(day, 0) if state in KNOWN or fetched else 0}
            | {"fetched_at": fetched, "attempted_at": attempt, "reason": reason}
        )

    for day, fetched in told.fetched.items():
        missing = "; ".join(f"{part}: {why}" for part, why in told.missing.get(day, {}).items())
        refused = f"last answer refused: {told.refused[day]}" if day in told.refused else ""
        attempt = f"last attempt failed: {failed[day]}" if day in failed else ""
        reason = "; ".join(filter(None, [missing, refused, attempt, *told.notes.get(day, ())]))
        if missing:
            say(day, State.FAILED, fetched, reason)
        elif not found.get(day) and endpoint.metrics:
            say(day, State.EMPTY, fetched, reason)
        else:
            say(day, State.PROVISIONAL if day in unsettled else State.COMPLETE, fetched, reason)
    for day, error in told.refused.items():
        if day not in told.fetched:
            say(day, State.FAILED, None, str(error))
    for day, why in failed.items():
        if day not in told.fetched and day not in told.refused:
            say(day, State.FAILED, None, why)
    for day, why in unavailable.items():
        say(day, State.NOT_AVAILABLE, None, why)

    known = ", ".join(f"'{state.value}'" for state in KNOWN)

    def keep_known(merger: object) -> None:
        # A slower load of another machine: what it asked before is older than the answer that the day is told by.
        late = "source.attempted_at < target.fetched_at"
        merger.when_matched_update({"attempted_at": "target.attempted_at"}, predicate=late)  # type: ignore[attr-defined]
        lost = f"source.state NOT IN ({known}) AND source.fetched_at IS NULL AND target.state IN ({known})"
        merger.when_matched_update(  # type: ignore[attr-defined]
            {"attempted_at": "source.attempted_at", "reason": "source.reason"}, predicate=lost
        )

    upsert(lake, COVERAGE, pa.Table.from_pylist(rows, schema(COVERAGE)), keep_known)
    return {row["usage_date"]: State(row["state"]) for row in rows}


def _days(endpoint: Endpoint, rows: pa.Table) -> pa.ChunkedArray:
    """The day that each row's load is for."""
    return rows["observed_at"].cast(pa.date32()) if endpoint.history is History.SNAPSHOT else rows["usage_date"]


def counts(endpoint: Endpoint, rows: Rows) -> dict[date, int]:
    """Rows by the day whose load brought them."""
    found: Counter[date] = Counter()
    for part in rows.tables(["usage_date", "observed_at"]):
        days, numbers = pc.value_counts(_days(endpoint, part)).flatten()
        found.update(dict(zip(days.to_pylist(), numbers.to_pylist(), strict=True)))
    return dict(found)


def through(endpoint: Endpoint, rows: Rows) -> dict[date, datetime]:
    """Up to when the usage that the vendor told reaches, by the day whose load brought the rows."""
    found: dict[date, datetime] = {}
    for part in rows.tables(["usage_date", "role", "period_end", "observed_at"]):
        consumed = part.filter(pc.equal(part["role"], "consumed"))
        # The rest of a period that is not over is not told yet.
        end, observed = consumed["period_end"], consumed["observed_at"]
        reach = pc.if_else(pc.less(end, observed), end, observed)
        seen = pa.table({"day": _days(endpoint, consumed), "through": reach})
        latest = seen.group_by("day").aggregate([("through", "max")])
        for day, told in zip(latest["day"].to_pylist(), latest["through_max"].to_pylist(), strict=True):
            found[day] = max(told, found.get(day, told))
    return found


def known_for_good(lake: Lake, endpoint: Endpoint, account: Account, days: Iterable[date]) -> set[date]:
    """Those of the days of which nothing more is to be learned, by `coverage`."""
    found = lake.find(COVERAGE)
    if not found:
        return set()
    rows = found.to_pyarrow_dataset(file_pruning_predicate=[("vendor", "=", account.vendor)]).to_table(
        columns=["usage_date", "state", "fetched_at"],
        filter=(pc.field("account") == account.name)
        & (pc.field("endpoint") == endpoint.slug)
        & pc.field("usage_date").isin(list(days)),
    )
    return {
        row["usage_date"]
        for row in rows.to_pylist()
        if row["state"] in {State.COMPLETE, State.NOT_AVAILABLE}
        # A day on which nothing has happened yet may still fill.
        or (row["state"] == State.EMPTY and row["fetched_at"] >= midnight(row["usage_date"]) + DAY + endpoint.settles)
    }


def _unsettled(endpoint: Endpoint, rows: Rows) -> set[date]:
    """A window's days that the vendor may still change. A snapshot's day is complete once it was captured."""
    if endpoint.history is History.SNAPSHOT:
        return set()
    parts = rows.tables(["usage_date", "is_final"])
    return {
        day for part in parts for day in pc.unique(part["usage_date"].filter(pc.invert(part["is_final"]))).to_pylist()
    }
