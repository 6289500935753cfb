"""Verify: whether raw answers, tables and warehouse still say the same, and what to do where they do not.

Nothing here changes anything, and no vendor is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import obstore
import pyarrow as pa
from deltalake.exceptions import DeltaError
from obstore.store import LocalStore, ObjectStore, from_url

from usage_pipeline import checking, pipeline, stages, warehouse
from usage_pipeline.contract.arrow import INSTANT
from usage_pipeline.contract.errors import UsageError
from usage_pipeline.contract.schema import TABLES, USAGE, Table
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account, Endpoint
from usage_pipeline.stages.raw import FAILURE, RECEIPT, Reference
from usage_pipeline.vendors.registry import VENDORS

if TYPE_CHECKING:
    from usage_pipeline.pipeline import Place

UNDER_WAY = timedelta(hours=1)
"""How long a landing may be without its receipt: it may still be written."""

AHEAD = timedelta(minutes=5)
"""How far clocks of several machines may be apart."""

BACKUP = "restore it from a backup"
REPLAY = "usage-pipeline replay --account {account} --endpoint {endpoint} --from {first} --to {last}"
PULL = REPLAY.replace("replay", "pull")
LANDINGS = pa.schema(
    [(name, pa.string()) for name in ("vendor", "account", "endpoint")]
    + [("usage_date", pa.date32()), ("landed_at", INSTANT)]
)


@dataclass(slots=True)
class Verified:
    """How much was compared, and a line for everything that disagrees."""

    attempts: int = 0
    answers: int = 0
    days: int = 0
    rows: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Kept:
    """What the raw store holds: the days of every landing, and the names of all answers."""

    landings: list[dict[str, Any]] = field(default_factory=list)
    answers: set[str] = field(default_factory=set)
    spans: dict[tuple[str, str, str], Days] = field(default_factory=dict)


@pipeline.on_disk
def verify(place: Place) -> Verified:
    """Compare everything that is kept."""
    done, kept = Verified(), _Kept()
    store = stages.raw.store(place.root)
    done.problems += _layout(place)
    done.problems += _raw(place, store, done, kept)
    lake = stages.lake.Lake(place.root)
    broken = [problem for table in TABLES for problem in _files(lake, table)]
    done.problems += broken
    if not broken:
        # Whatever is asked of a table needs all of its files.
        done.problems += _tables(store, lake, done, kept)
        done.problems += _warehouse(place, lake)
    return done


def _layout(place: Place) -> Iterator[str]:
    try:
        if stages.layout.rebuilding(place.root):
            yield (
                "layout.json: the tables are half made: let the `usage-pipeline rebuild` that is under way end, or "
                "run it again where it was cut short"
            )
    except UsageError as error:
        yield str(error)


def _raw(place: Place, store: ObjectStore, done: Verified, kept: _Kept) -> Iterator[str]:
    """Every landing against its receipt."""
    entries = sorted((entry for batch in obstore.list(store) for entry in batch), key=lambda entry: entry["path"])
    for folder, group in groupby(entries, lambda entry: entry["path"].rpartition("/")[0]):
        files = {entry["path"].rpartition("/")[2]: entry for entry in group}
        try:
            vendor, _account, slug, span, name = folder.split("/")
            days = Days(*map(date.fromisoformat, span.split("--")))
            told = [
                Reference(name, f"{folder}/{file}", days)
                for file in (RECEIPT, FAILURE)
                if file in files and Reference(name, f"{folder}/{file}", days).at
            ]
        except (ValueError, TypeError):
            yield f"raw/{folder}: holds no landing ({', '.join(files)}): nothing reads it; move it out of raw/"
            continue
        if vendor not in VENDORS or slug not in {endpoint.slug for endpoint in VENDORS[vendor].endpoints}:
            yield (
                f"raw/{folder}: is of no endpoint that this program knows: install the version that wrote it, or "
                "move it out of raw/"
            )
        if not told:
            newest = max(entry["last_modified"] for entry in files.values())
            if place.clock() - newest > UNDER_WAY:
                yield (
                    f"raw/{folder}: has no receipt, so its landing was cut short, and nothing reads it: "
                    "usage-pipeline compact removes it after seven days"
                )
        for reference in told:
            done.attempts += 1
            yield from _landing(place, store, reference, files, done, kept)


def _landing(
    place: Place, store: ObjectStore, reference: Reference, files: Mapping[str, Any], done: Verified, kept: _Kept
) -> Iterator[str]:
    folder = reference.path.rpartition("/")[0]
    vendor, account, slug, *_rest = folder.split("/")
    again = PULL.format(account=account, endpoint=slug, first=reference.days.first, last=reference.days.last)
    mend = f"{BACKUP}, or where the vendor still tells these days ask again: {again}"
    try:
        receipt = stages.raw.told(store, reference)
    except UsageError as error:
        yield f"raw/{reference.path}: the receipt cannot be read ({error}): {mend}"
        return
    says = (receipt.vendor, receipt.account, receipt.endpoint, receipt.first, receipt.last, receipt.landed_at)
    if says != (vendor, account, slug, reference.days.first, reference.days.last, reference.at):
        yield f"raw/{reference.path}: tells of another landing than the folder that it lies in: {BACKUP}"
    if receipt.landed_at > place.clock() + AHEAD:
        yield (
            f"raw/{reference.path}: landed at {receipt.landed_at:%Y-%m-%d %H:%M:%S} UTC, which is yet to come, so the "
            f"clock was wrong: set it right, then ask again: {again}; captures of days to come are to be moved out of "
            "raw/, and their tables made anew: usage-pipeline rebuild"
        )
    for one in receipt.answers:
        done.answers += 1
        kept.answers.add(one.response_id)
        try:
            answer = stages.raw.answer(store, f"{folder}/{one.file}", one)
        except UsageError as error:
            yield f"{error}: {mend}"
            continue
        if len(answer.body) != one.bytes or answer.response_id != one.response_id:
            yield f"raw/{folder}/{one.file} has another size or name than its receipt says: {mend}"
    for name in sorted(files.keys() - {one.file for one in receipt.answers} - {RECEIPT, FAILURE}):
        yield f"raw/{folder}/{name}: the receipt does not name it, and nothing reads it: move it out of raw/"
    if not reference.failed:
        who = {"vendor": vendor, "account": account, "endpoint": slug}
        kept.landings += [{**who, "usage_date": day, "landed_at": reference.at} for day in reference.days]
        known = kept.spans.get((vendor, account, slug), reference.days)
        kept.spans[vendor, account, slug] = Days(
            min(known.first, reference.days.first), max(known.last, reference.days.last)
        )


def _files(lake: stages.lake.Lake, table: Table) -> Iterator[str]:
    """The files that the newest snapshot of a table names: there, and as long as they were written."""
    try:
        found = lake.find(table)
        if found is None:
            return
        named = pa.table(found.get_add_actions(flatten=True)).select(["path", "size_bytes"]).to_pylist()
    except (DeltaError, OSError) as error:
        yield f"{table.name}: its log cannot be read ({_short(error)}): {_anew(lake, table)}"
        return
    root = from_url(lake.uri(table)) if "://" in lake.root else LocalStore(Path(lake.uri(table)))
    there = {entry["path"]: entry["size"] for batch in obstore.list(root) for entry in batch}
    for file in named:
        if file["path"] not in there:
            yield f"{table.name}/{file['path']}: the table names it, and it is not there: {_anew(lake, table)}"
        elif there[file["path"]] != file["size_bytes"]:
            yield (
                f"{table.name}/{file['path']}: has {there[file['path']]} bytes, and was written with "
                f"{file['size_bytes']}: {_anew(lake, table)}"
            )


def _anew(lake: stages.lake.Lake, table: Table) -> str:
    anew = "move the tables away, and make them anew: usage-pipeline rebuild"
    return f"restore {lake.uri(table)} from a backup, or {anew}"


def _tables(store: ObjectStore, lake: stages.lake.Lake, done: Verified, kept: _Kept) -> Iterator[str]:
    """Coverage against landings, rows against answers, and rows against what the answers say when read again."""
    with duckdb.connect() as session:
        stages.session.reach(session, [lake.root])
        session.execute("SET TimeZone = 'UTC'")
        for statement in stages.views.tables(session, lake):
            session.execute(statement)
        session.register("landings", pa.Table.from_pylist(kept.landings, LANDINGS))
        session.register("answers", pa.table({"response_id": pa.array(sorted(kept.answers), pa.string())}))
        session.register("endpoints", _endpoints())
        done.days = len({(*row.values(),)[:4] for row in kept.landings})
        for query, what, remedy in (
            ("not_covered", "landed, and coverage does not know of it", REPLAY),
            ("not_landed", "coverage calls told what no kept answer tells", f"restore raw/ from a backup, or {PULL}"),
            ("not_counted", "coverage counts other rows than the table has", REPLAY),
        ):
            found = warehouse.ask(session, warehouse.query(f"verify/{query}")).table.to_pylist()
            for (_vendor, account, slug), rows in groupby(found, lambda row: tuple(row.values())[:3]):
                for days in Days.runs(sorted({row["usage_date"] for row in rows})):
                    yield _line("coverage", account, slug, days, what, remedy)
        for name, vendor, account, slug, count in warehouse.ask(session, warehouse.query("verify/no_answer")).rows:
            yield (
                f"{name}: {account} {slug}: {count} rows name answers that are not in raw/{vendor}/{account}/{slug}: "
                "restore raw/ from a backup"
            )
        for (vendor, account, slug), days in sorted(kept.spans.items()):
            if vendor in VENDORS and slug in {endpoint.slug for endpoint in VENDORS[vendor].endpoints}:
                who = Account(account, vendor, "", date.min)
                yield from _rows(session, store, VENDORS[vendor].endpoint(slug), who, days, done)


def _rows(
    session: duckdb.DuckDBPyConnection,
    store: ObjectStore,
    endpoint: Endpoint,
    account: Account,
    days: Days,
    done: Verified,
) -> Iterator[str]:
    """The rows of an endpoint against its answers, read again."""
    told = stages.replay.tell(store, endpoint, account, days)
    expected = told.rows.batches().read_all()
    done.rows += expected.num_rows
    # What is not the answer that was kept has its own line.
    refused = {day: error for day, error in told.refused.items() if not isinstance(error, stages.raw.CorruptError)}
    for why, group in groupby(sorted((str(error), day) for day, error in refused.items()), lambda one: one[0]):
        for span in Days.runs([day for _why, day in group]):
            what = f"the newest answer cannot be read ({' '.join(why.split())})"
            yield _line("raw", account.name, endpoint.slug, span, what, f"ask again: {PULL}")
    session.register("expected", expected)
    found = warehouse.ask(
        session,
        warehouse.query("verify/other_rows"),
        {
            "vendor": account.vendor,
            "account": account.name,
            "endpoint": endpoint.slug,
            "history": endpoint.history.value,
            "refused": sorted(told.refused),
        },
    )
    session.unregister("expected")
    differ = {day: (lacking, beyond) for day, lacking, beyond in found.rows}
    for span in Days.runs(sorted(differ)):
        lacking, beyond = (sum(count) for count in zip(*(differ[day] for day in span), strict=True))
        what = f"the raw answers tell {lacking} rows that the table lacks, and do not tell {beyond} that it has"
        yield _line(USAGE.name, account.name, endpoint.slug, span, what, REPLAY)


def _line(where: str, account: str, slug: str, days: Days, what: str, remedy: str) -> str:
    then = remedy.format(account=account, endpoint=slug, first=days.first, last=days.last)
    return f"{where}: {account} {slug}: {days}: {what}: {then}"


def _endpoints() -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"vendor": vendor.slug, "endpoint": endpoint.slug, "history": endpoint.history.value}
            for vendor in VENDORS.values()
            for endpoint in vendor.endpoints
        ]
    )


def _warehouse(place: Place, lake: stages.lake.Lake) -> Iterator[str]:
    """What analysts see against the tables."""
    publish = "publish anew: usage-pipeline compact"
    try:
        finding = checking.warehouse_equal(place)
        for row in finding.sample:
            told = ", ".join(f"{name} {value}" for name, value in zip(finding.columns[2:], row[2:], strict=True))
            yield f"warehouse: {row[0]} {row[1]}: differs from the table ({told}): {publish}"
        if finding.faults > len(finding.sample):
            yield f"warehouse: {finding.faults - len(finding.sample)} vendor-months more differ: {publish}"
        with warehouse.reading(place.home) as session:
            shown = dict(warehouse.ask(session, warehouse.query("verify/shown")).rows)
        for table in TABLES:
            found = lake.find(table)
            there = found.to_pyarrow_dataset().count_rows() if found else 0
            if shown[table.name] != there and table is not USAGE:
                yield f"warehouse: {table.name}: shows {shown[table.name]} rows of the table's {there}: {publish}"
    except UsageError as error:
        yield f"warehouse: {_short(error)}: {publish}"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
