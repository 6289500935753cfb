"""What is checked after every load: by which query or look at the raw answers, and what to do when it fails.

A check of an endpoint looks at all of its rows where they must be right whenever they were loaded, else at those since
a day. Nothing here changes anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from usage_pipeline import alerting, kit, stages
from usage_pipeline.contract.errors import UsageError
from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.contract.vendor import Account, Endpoint

if TYPE_CHECKING:
    import duckdb

    from usage_pipeline.pipeline import Place

# What is older was looked at when it was loaded, and is no news.
LATELY = timedelta(days=35)
# Days with answers among which fields are compared.
FIELD_DAYS = 14
SAMPLE = 10


@dataclass(frozen=True, slots=True)
class Check:
    """`says` is what must hold, `faults` what is counted when it does not, `remedy` what to do then.

    `blocking` keeps what is below the asset from being made, `warns` says that it need not be a mistake. In a remedy
    {account}, {endpoint}, {first} and {last} are filled in: the last two are the days of the faults.
    """

    name: str
    says: str
    faults: str
    remedy: str
    blocking: bool = False
    warns: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a check: the rows that tell the faults, or why it could not be made."""

    check: Check
    faults: int = 0
    columns: Sequence[str] = ()
    sample: Sequence[Sequence[Any]] = ()
    said: str = ""
    looked_at: Mapping[str, Any] = field(default_factory=dict)
    warns: bool = False

    @property
    def passed(self) -> bool:
        return not self.said


REPLAY = "usage-pipeline replay --account {account} --endpoint {endpoint} --from {first} --to {last}"
PULL = REPLAY.replace("replay", "pull")

KEYS_UNIQUE = Check(
    "keys_unique",
    "No two rows have one key: a row that stands twice counts twice.",
    "Keys with several rows",
    "No load writes a key twice, so something else wrote to the table. Find out what, then make the days anew from the "
    f"raw answers, asking no vendor: {REPLAY}",
    blocking=True,
)
VALUES_IN_RANGE = Check(
    "values_in_range",
    "No value is negative, periods end after they start, and every row stands on the day and in the month it is of.",
    "Rows that cannot be",
    "response_id names the raw answer. Where it says the same, ask the vendor; where it does not, make the days anew "
    f"from the raw answers, asking no vendor: {REPLAY}",
    blocking=True,
)
PARTS_AGREE = Check(
    "parts_agree_with_totals",
    "Parts add up to the total where the vendor's documentation says or shows that they do.",
    "Totals that are not the sum of their parts",
    f"Ask again: {PULL}. Where they differ still, the total is what is billed: do not report the parts as all there "
    "is, and ask the vendor what is missing",
    warns=True,
)
TOTALS_DO_NOT_FALL = Check(
    "running_totals_do_not_fall",
    "Totals, peaks and distinct counts of a period so far do not fall within it.",
    "Readings below the one before",
    "The vendor took something back: usage_daily shows the day as `restated`, and the view restatements tells from "
    "what to what. Compare with the vendor's own page, and ask the vendor where it was not announced",
    warns=True,
)
NO_SUDDEN_JUMPS = Check(
    "no_sudden_jumps",
    "No day is more than three times, or less than a third of, the median of the same weekday in the weeks before.",
    "Days far from the same weekdays before",
    "See whether anything changed on the day: a rollout, a new datacenter, an option of the account, a field's meaning "
    f"at the vendor. Where nothing did, ask again: {PULL}",
    warns=True,
)
VENDOR_FIELDS = Check(
    "vendor_fields",
    f"The newest answers have the fields that those of the last {FIELD_DAYS} days with answers have.",
    "Fields that appeared or vanished",
    "Read the vendor's release notes. A new field may be a new number to load; one that is gone may leave a metric "
    "without rows, or change what another one means. The warning goes by itself after some days",
    warns=True,
)
COVERAGE = Check(
    "coverage_by_deadline",
    "By the deadline every UTC day that is due is known, and known for good once the vendor's numbers settled.",
    "Days that are due and not known",
    "See the state and the reason below, then: {advice}",
)
EQUAL_TO_TABLE = Check(
    "equal_to_table",
    "By vendor and month the warehouse has as many rows as the table, and their values have the same sum.",
    "Vendor-months that differ",
    "Publish anew: materialise `warehouse`. Where they differ still, do not use the warehouse, and run "
    "`usage-pipeline compact`; the raw answers are all there is to make the table anew from: usage-pipeline replay",
    blocking=True,
)


def of(endpoint: Endpoint) -> list[Check]:
    """The checks of an endpoint. One that tells no numbers has none to check."""
    numbers = [KEYS_UNIQUE, VALUES_IN_RANGE, TOTALS_DO_NOT_FALL, NO_SUDDEN_JUMPS] if endpoint.metrics else []
    agree = [PARTS_AGREE] if endpoint.agreements else []
    return [*numbers, *agree, VENDOR_FIELDS, COVERAGE]


def endpoint(place: Place, account: Account, endpoint: Endpoint, since: date | None = None) -> Iterator[Finding]:
    """All checks of an endpoint, in one session. `since` is the first day of what was just loaded, if anything was.

    Raises ConfigurationError where nothing was published yet.
    """
    from usage_pipeline import warehouse

    today = place.clock().date()
    lately = min(since or today, today - LATELY)
    parameters = {
        "vendor": account.vendor,
        "account": account.name,
        "endpoint": endpoint.slug,
        "lately": lately,
        "today": today,
        "agreements": agreements(account, endpoint),
    }
    with warehouse.reading(place.home) as session:
        looked = _ask(session, "looked_at", parameters)
        seen = {**dict(zip(looked.names, looked.rows[0], strict=True)), "lately is since": lately}
        for check in of(endpoint):
            try:
                if check is VENDOR_FIELDS:
                    finding = _fields(place, account, endpoint)
                elif check is COVERAGE:
                    finding = _coverage(place, account, endpoint)
                elif check is PARTS_AGREE and not parameters["agreements"]:
                    finding = Finding(check)
                else:
                    found = _ask(session, check.name, parameters)
                    finding = _finding(check, account, endpoint, found.names, found.rows)
            except UsageError as error:
                finding = Finding(check, said=f"it could not be checked: {error}")
            yield replace(finding, looked_at={**seen, **finding.looked_at})


def agreements(account: Account, endpoint: Endpoint) -> list[dict[str, str]]:
    """The sums that must come out for this account, as the query takes them."""
    return [
        {
            "total": one.total,
            "part": "+".join(one.parts) or one.total,
            "by": "+".join(sorted(one.by)),
            "endpoint": one.endpoint or endpoint.slug,
        }
        for one in endpoint.agreements
        if not (one.unless and account.options.get(one.unless))
    ]


def steps(seen: Sequence[tuple[date, frozenset[str], frozenset[str]]]) -> list[tuple[date, str, str]]:
    """Fields that appeared or vanished: day, field, and which. `seen` are the fields of days, oldest first, and of
    which objects and arrays the days say nothing because they are empty.

    A field that comes and goes is optional, and no news.
    """
    found = []
    for name in sorted(frozenset().union(*(there for _day, there, _empty in seen))):
        told = [
            (day, name in there)
            for day, there, empty in seen
            if name in there or not any(name.startswith((f"{path}.", f"{path}[")) for path in empty)
        ]
        changes = [(day, now) for (_, before), (day, now) in pairwise(told) if now is not before]
        found += [(day, name, "appeared" if now else "vanished") for day, now in changes if len(changes) == 1]
    return sorted(found, reverse=True)


def warehouse_equal(place: Place) -> Finding:
    """EQUAL_TO_TABLE. It only warns where the table was committed to after the publication: a load may be under way."""
    from usage_pipeline import warehouse
    from usage_pipeline.stages.publish import WAREHOUSE

    check = EQUAL_TO_TABLE
    with warehouse.reading(place.home) as session:
        shown = {(vendor, month): (rows, total) for vendor, month, rows, total in _ask(session, "by_month", {}).rows}
    table, committed = stages.tally.usage(stages.lake.Lake(place.root))
    nothing = (0, 0)
    faults = [
        (*key, *table.get(key, nothing), *shown.get(key, nothing))
        for key in sorted(table.keys() | shown.keys())
        if table.get(key) != shown.get(key)
    ]
    looked_at = {"rows": sum(rows for rows, _total in table.values()), "vendor-months": len(table)}
    columns = ("vendor", "month", "rows of the table", "sum of the table", "rows shown", "sum shown")
    published = datetime.fromtimestamp((place.home / WAREHOUSE).stat().st_mtime, UTC)
    if faults and committed and committed > published:
        said = (
            f"{check.faults}: {len(faults)}. The table was committed to at {committed:%Y-%m-%d %H:%M:%S} UTC, after "
            "the warehouse was published. A load that is under way publishes when it ends; where none is, materialise "
            "`warehouse`"
        )
        return Finding(check, len(faults), columns, faults[:SAMPLE], said, looked_at, warns=True)
    said = f"{check.faults}: {len(faults)}. {check.remedy}." if faults else ""
    return Finding(check, len(faults), columns, faults[:SAMPLE], said, looked_at)


def _ask(session: duckdb.DuckDBPyConnection, name: str, parameters: Mapping[str, object]) -> Any:
    """What a query of sql/checks answers. DuckDB refuses parameters that a query does not name."""
    from usage_pipeline import warehouse

    query = warehouse.query(f"checks/{name}")
    named = set(re.findall(r"\$(\w+)", query.partition("\n")[2]))
    return warehouse.ask(session, query, {key: value for key, value in parameters.items() if key in named})


def _finding(
    check: Check, account: Account, endpoint: Endpoint, columns: Sequence[str], faults: Sequence[Sequence[Any]]
) -> Finding:
    if not faults:
        return Finding(check)
    days = [row[columns.index("usage_date")] for row in faults]
    span = {"first": min(days), "last": max(days)}
    remedy = check.remedy.format(account=account.name, endpoint=endpoint.slug, **span)
    said = f"{check.faults}: {len(faults)}, {Days(span['first'], span['last'])}. {remedy}."
    return Finding(check, len(faults), columns, faults[:SAMPLE], said, warns=check.warns)


def _fields(place: Place, account: Account, endpoint: Endpoint) -> Finding:
    """Fields of the newest landing of each of the last days on which something landed."""
    store = stages.raw.store(place.root)
    today = place.clock().date()
    wanted = Days(today - DAY * FIELD_DAYS, today)
    newest = {
        found.landed_at[:8]: found
        for found in stages.raw.find(store, account.vendor, account.name, endpoint.slug, wanted)
    }
    seen = []
    for landed, reference in sorted(newest.items())[-FIELD_DAYS:]:
        there, empty = set[str](), set[str]()
        for answer in stages.raw.read(store, reference).answers:
            if answer.status < 300:
                fields, unknown = kit.fields.of(answer, endpoint.keyed)
                there |= fields
                empty |= unknown
        seen.append(
            (datetime.strptime(landed, "%Y%m%d").replace(tzinfo=UTC).date(), frozenset(there), frozenset(empty))
        )
    found = steps(seen)
    told = _finding(VENDOR_FIELDS, account, endpoint, ("usage_date", "field", "what"), found)
    return replace(
        told,
        columns=("since", "field", "what"),
        looked_at={"fields": len(seen[-1][1]) if seen else 0, "days with answers": len(seen)},
    )


def _coverage(place: Place, account: Account, endpoint: Endpoint) -> Finding:
    due = alerting.due(place.clock(), place.environment)
    missed = alerting.missed(place, [replace(account, endpoints=(endpoint.slug,))], due)
    if not missed:
        return Finding(COVERAGE, looked_at={"due": due})
    [one] = missed
    said = f"{COVERAGE.faults}: {one.days}, {one.span}. {COVERAGE.remedy.format(advice=one.remedy)}."
    rows = [(one.span.first, one.span.last, one.days, one.state, one.reason)]
    return Finding(COVERAGE, one.days, ("first", "last", "days", "state", "reason"), rows, said, {"due": due})
