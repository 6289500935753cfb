"""Load: what some days say takes the place of what they said before, in one atomic commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from usage_pipeline.contract.arrow import INSTANT, schema
from usage_pipeline.contract.schema import BILLING_PERIODS, COVERAGE, INVENTORY, RESTATEMENTS, USAGE, State, Table
from usage_pipeline.contract.time import DAY, Days, midnight
from usage_pipeline.contract.vendor import Account, Endpoint, History
from usage_pipeline.stages.lake import Lake, on_conflict, upsert
from usage_pipeline.stages.normalise import outlook
from usage_pipeline.stages.replay import Told

KNOWN = (State.COMPLETE, State.PROVISIONAL, State.EMPTY)


@on_conflict
def usage(lake: Lake, endpoint: Endpoint, account: Account, told: Told) -> int:
    """Write the rows, and return how many. Days without rows lose theirs: an empty answer is an answer.

    A window's load claims its days by `usage_date`, a snapshot's by the day of the observation. Rows that look ahead
    (a projection to the end of the billing period) replace older ones of the same day ahead, and yield to newer ones.
    """
    if not told.fetched:
        return 0
    table = lake.open(USAGE)
    whose = f"vendor = '{account.vendor}' AND account = '{account.name}' AND endpoint = '{endpoint.slug}'"
    claim = [_claim(endpoint, span) for span in Days.runs(sorted(told.fetched))]
    rows, ahead = _outlook(table, account, endpoint, told.rows)
    if ahead:
        dates = ", ".join(f"DATE '{day}'" for day in ahead)
        claim.append(f"(usage_date IN ({dates}) AND role <> 'consumed' AND period_end > observed_at)")
    if endpoint.history is History.WINDOW:
        # Before the rows: whoever loads again after a crash in between says the same again.
        upsert(lake, RESTATEMENTS, restated(_before(table, account, endpoint, told), rows, told))
    write_deltalake(table, rows, mode="overwrite", predicate=f"{whose} AND ({' OR '.join(claim)})")
    return int(rows.num_rows)


def _before(table: DeltaTable, account: Account, endpoint: Endpoint, told: Told) -> pa.Table:
    """What the table says of the days that are told anew, where the period was over when it was said."""
    return table.to_pyarrow_dataset(file_pruning_predicate=[("vendor", "=", account.vendor)]).to_table(
        filter=(pc.field("account") == account.name)
        & (pc.field("endpoint") == endpoint.slug)
        & pc.field("usage_date").isin(list(told.fetched))
        & (pc.field("period_end") <= pc.field("fetched_at"))
    )


def restated(before: pa.Table, rows: pa.Table, told: Told) -> pa.Table:
    """Rows of `restatements`: the values of periods past that another answer changed or no longer holds.

    The same answer read again says something else only if our reading changed; that is no word of the vendor's.
    """
    if not before.num_rows:
        return schema(RESTATEMENTS).empty_table()
    period = ["series_id", "period_start", "period_end"]
    # Joined without the maps, which joins do not take.
    old = before.select([*period, "usage_date", "value", "response_id"]).append_column(
        "row", pa.array(range(before.num_rows))
    )
    new = rows.select([*period, "value", "response_id"]).rename_columns([*period, "new_value", "new_response_id"])
    both = old.join(new, period)
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


def _claim(endpoint: Endpoint, days: Days) -> str:
    if endpoint.history is History.SNAPSHOT:
        return f"(observed_at >= '{days.start:%Y-%m-%dT%H:%M:%SZ}' AND observed_at < '{days.end:%Y-%m-%dT%H:%M:%SZ}')"
    return f"(usage_date >= DATE '{days.first}' AND usage_date <= DATE '{days.last}')"


def _outlook(table: DeltaTable, account: Account, endpoint: Endpoint, rows: pa.Table) -> tuple[pa.Table, list[date]]:
    """The rows without an outlook that the table knows newer, and the days ahead that the rest replaces."""
    ahead = outlook(rows)
    if not ahead.any():
        return rows, []
    mine = _newest(rows.filter(pa.array(ahead)))
    theirs = table.to_pyarrow_dataset(file_pruning_predicate=[("vendor", "=", account.vendor)]).to_table(
        columns=["usage_date", "observed_at", "period_end", "role"],
        filter=(pc.field("account") == account.name)
        & (pc.field("endpoint") == endpoint.slug)
        & pc.field("usage_date").isin(list(mine))
        & (pc.field("role") != "consumed"),
    )
    newer = [day for day, seen in _newest(theirs.filter(pa.array(outlook(theirs)))).items() if seen > mine[day]]
    drop = ahead & np.asarray(pc.is_in(rows["usage_date"], pa.array(newer, pa.date32())).combine_chunks())
    return rows.filter(pa.array(~drop)), sorted(mine.keys() - set(newer))


def _newest(rows: pa.Table) -> dict[date, datetime]:
    grouped = rows.group_by("usage_date").aggregate([("observed_at", "max")])
    return dict(zip(grouped["usage_date"].to_pylist(), grouped["observed_at_max"].to_pylist(), strict=True))


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

        def keep_newer(merger: object) -> None:
            older = "source.fetched_at < target.fetched_at"
            merger.when_matched_update({"fetched_at": "target.fetched_at"}, predicate=older)  # type: ignore[attr-defined]

        def keep_first_seen(merger: object) -> None:
            everything = {name: f"source.{name}" for name in table.names if name not in table.key}
            merger.when_matched_update(  # type: ignore[attr-defined]
                everything
                | {
                    "first_seen": "least(source.first_seen, target.first_seen)",
                    "last_seen": "greatest(source.last_seen, target.last_seen)",
                }
            )

        upsert(lake, table, rows, keep_first_seen if table is INVENTORY else keep_newer)


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
        lost = f"source.state NOT IN ({known}) AND source.fetched_at IS NULL AND target.state IN ({known})"
        merger.when_matched_update(  # type: ignore[attr-defined]
            {"attempted_at": "source.attempted_at", "reason": "source.reason"}, predicate=lost
        )

    upsert(lake, COVERAGE, pa.Table.from_pylist(rows, schema(COVERAGE)), keep_known)
    return {row["usage_date"]: State(row["state"]) for row in rows}


def _days(endpoint: Endpoint, rows: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    """The day that each row's load is for."""
    column = rows["observed_at"] if endpoint.history is History.SNAPSHOT else rows["usage_date"]
    return np.asarray(column.combine_chunks().cast(pa.timestamp("us"))).astype("datetime64[D]")


def counts(endpoint: Endpoint, rows: pa.Table) -> dict[date, int]:
    """Rows by the day whose load brought them."""
    days, numbers = np.unique(_days(endpoint, rows), return_counts=True)
    return dict(zip(days.tolist(), numbers.tolist(), strict=True))


def through(endpoint: Endpoint, rows: pa.Table) -> dict[date, datetime]:
    """Up to when the usage that the vendor told reaches, by the day whose load brought the rows."""
    consumed = rows.filter(pc.field("role") == "consumed")
    # The rest of a period that is not over is not told yet.
    end, observed = consumed["period_end"], consumed["observed_at"]
    reach = pc.if_else(pc.less(end, observed), end, observed)
    seen = pa.table({"day": pa.array(_days(endpoint, consumed)), "through": reach})
    newest = seen.group_by("day").aggregate([("through", "max")])
    return dict(zip(newest["day"].to_pylist(), newest["through_max"].to_pylist(), strict=True))


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


def _unsettled(endpoint: Endpoint, rows: pa.Table) -> set[date]:
    """A window's days that the vendor may still change. A snapshot's day is complete once it was captured."""
    if endpoint.history is History.SNAPSHOT:
        return set()
    open_rows = ~np.asarray(rows["is_final"].combine_chunks().cast(pa.int8())).astype(bool)
    return set(np.unique(_days(endpoint, rows)[open_rows]).tolist())
