"""The tables, declared once; every backend's schema is compiled from these columns.

Names follow FOCUS for who, when and unit, and the OpenTelemetry metrics data model for temporality.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a number says about consumption."""

    CONSUMED = "consumed"
    ENTITLED = "entitled"
    PROJECTED = "projected"


class Aggregation(StrEnum):
    """How a value sums up its period."""

    SUM = "sum"
    DISTINCT = "distinct"
    MAX = "max"
    AVERAGE = "average"
    LAST = "last"


class Temporality(StrEnum):
    """How the periods of one series relate."""

    DELTA = "delta"
    CUMULATIVE = "cumulative"
    ROLLING = "rolling"
    INSTANT = "instant"


class State(StrEnum):
    """What is known of one day of one endpoint."""

    COMPLETE = "complete"
    PROVISIONAL = "provisional"
    EMPTY = "empty"
    FAILED = "failed"
    NOT_AVAILABLE = "not_available"


class Type(StrEnum):
    """Column types; `contract.arrow` compiles them."""

    STRING = "string"
    DATE = "date"
    TIMESTAMP = "timestamp"
    DECIMAL = "decimal"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    MAP = "map"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    type: Type
    description: str
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the lake.

    `key` names the columns that identify a row; `partitions` the ones that name its folder.
    """

    name: str
    grain: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partitions: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def only(self, *names: str) -> tuple[Column, ...]:
        """These columns, in this order: what another table says of the same things."""
        known = {column.name: column for column in self.columns}
        return tuple(known[name] for name in names)


_VENDOR = Column("vendor", Type.STRING, "Vendor slug")
_ACCOUNT = Column("account", Type.STRING, "Name of the configured account")
_ENDPOINT = Column("endpoint", Type.STRING, "Slug of the vendor's usage endpoint")
_FETCHED_AT = Column("fetched_at", Type.TIMESTAMP, "When the answer was received")
_RESPONSE_ID = Column("response_id", Type.STRING, "The raw answer that this row was read from")

USAGE = Table(
    "usage",
    "one row per series and period, and per observation where the vendor tells only the present",
    (
        _VENDOR,
        Column("month", Type.STRING, "UTC month of usage_date, YYYY-MM"),
        _ACCOUNT,
        _ENDPOINT,
        Column("usage_date", Type.DATE, "UTC date that the measurement reports on"),
        Column("metric", Type.STRING, "What is counted, without unit or role"),
        Column("role", Type.STRING, "consumed, entitled or projected"),
        Column("aggregation", Type.STRING, "How the value sums up its period: sum, distinct, max, average, last"),
        Column("temporality", Type.STRING, "How periods of one series relate: delta, cumulative, rolling, instant"),
        Column("unit", Type.STRING, "Unit in FOCUS format, plural and capitalised"),
        Column("value", Type.DECIMAL, "The exact number that the vendor reported"),
        Column("breakdown", Type.STRING, "Empty for the account's total, else the dimensions that split it"),
        Column("dimensions", Type.MAP, "Ids that identify the series"),
        Column("labels", Type.MAP, "Names for people, which may change within one series"),
        Column("period_start", Type.TIMESTAMP, "Start of the period, inclusive"),
        Column("period_end", Type.TIMESTAMP, "End of the period, exclusive; equal to the start for an instant"),
        Column("observed_at", Type.TIMESTAMP, "When the value was true by the vendor's word, else when it answered"),
        Column("is_final", Type.BOOLEAN, "False while the vendor may still change the value"),
        Column("series_id", Type.STRING, "Hash of everything that identifies the series"),
        _FETCHED_AT,
        _RESPONSE_ID,
    ),
    key=("series_id", "period_start", "period_end", "observed_at"),
    partitions=("vendor", "month"),
)

COVERAGE = Table(
    "coverage",
    "one row per account, endpoint and UTC day",
    (
        _VENDOR,
        _ACCOUNT,
        _ENDPOINT,
        Column("usage_date", Type.DATE, "UTC day"),
        Column("state", Type.STRING, "complete, provisional, empty, failed or not_available"),
        Column("rows", Type.INTEGER, "Rows of `usage` that report on this day"),
        Column("fetched_at", Type.TIMESTAMP, "When the answer behind the rows was received", nullable=True),
        Column("attempted_at", Type.TIMESTAMP, "When the day was last asked for"),
        Column("reason", Type.STRING, "Why the day, or the last attempt at it, is not what was hoped for"),
    ),
    key=("vendor", "account", "endpoint", "usage_date"),
    partitions=("vendor",),
)

BILLING_PERIODS = Table(
    "billing_periods",
    "one row per account and billing period, as the vendor states it",
    (
        _VENDOR,
        _ACCOUNT,
        _ENDPOINT,
        Column("period_start", Type.TIMESTAMP, "Start of the billing period, inclusive"),
        Column("period_end", Type.TIMESTAMP, "End of the billing period as the vendor states it"),
        _FETCHED_AT,
        _RESPONSE_ID,
    ),
    key=("vendor", "account", "endpoint", "period_start"),
    partitions=("vendor",),
)

INVENTORY = Table(
    "inventory",
    "one row per account, endpoint and item of an answer that holds no number",
    (
        _VENDOR,
        _ACCOUNT,
        _ENDPOINT,
        Column("item", Type.STRING, "What was listed"),
        Column("attributes", Type.MAP, "What the vendor says of the item"),
        Column("first_seen", Type.TIMESTAMP, "When the item was first listed"),
        Column("last_seen", Type.TIMESTAMP, "When the item was last listed"),
        _FETCHED_AT,
        _RESPONSE_ID,
    ),
    key=("vendor", "account", "endpoint", "item"),
    partitions=("vendor",),
)

METRICS = Table(
    "metrics",
    "one row per vendor, endpoint, metric, role, aggregation and temporality that a vendor module declares",
    (
        _VENDOR,
        _ENDPOINT,
        Column("metric", Type.STRING, "What is counted"),
        Column("role", Type.STRING, "consumed, entitled or projected"),
        Column("aggregation", Type.STRING, "How a value sums up its period"),
        Column("temporality", Type.STRING, "How periods of one series relate"),
        Column("unit", Type.STRING, "Unit in FOCUS format"),
        Column("description", Type.STRING, "One sentence on what is counted"),
        Column("documentation", Type.STRING, "Address of the vendor's page"),
        Column("history", Type.STRING, "window: past days can be asked for; snapshot: only the present"),
    ),
    key=("vendor", "endpoint", "metric", "role", "aggregation", "temporality"),
)

ACCOUNTS = Table(
    "accounts",
    "one row per configured account and endpoint",
    (
        _VENDOR,
        _ACCOUNT,
        _ENDPOINT,
        Column("history", Type.STRING, "window: past days can be asked for; snapshot: only the present"),
        Column("start_date", Type.DATE, "First UTC day of interest"),
    ),
    key=("vendor", "account", "endpoint"),
)

ENTITLEMENTS = Table(
    "entitlements",
    "one row per configured account, metric and first day of what the contract allows, where no API tells it",
    (
        _VENDOR,
        _ACCOUNT,
        Column("metric", Type.STRING, "What is counted"),
        Column("quantity", Type.DECIMAL, "How much of it the contract allows at once or per billing period"),
        Column("valid_from", Type.DATE, "First UTC day of the entitlement"),
        Column("valid_to", Type.DATE, "Last UTC day of the entitlement; NULL while no end is known", nullable=True),
    ),
    key=("vendor", "account", "metric", "valid_from"),
)

RESTATEMENTS = Table(
    "restatements",
    "one row per value that a later answer changed or withdrew after its period was over",
    (
        _VENDOR,
        _ACCOUNT,
        _ENDPOINT,
        *USAGE.only("usage_date", "metric", "role", "unit", "breakdown", "dimensions", "period_start", "period_end"),
        Column("observed_at", Type.TIMESTAMP, "When the old value was true by the vendor's word"),
        Column("old_value", Type.DECIMAL, "What the vendor had said"),
        Column("new_value", Type.DECIMAL, "What it says since; NULL where it says nothing any more", nullable=True),
        Column("was_final", Type.BOOLEAN, "Whether the old value was thought to be final"),
        Column("old_fetched_at", Type.TIMESTAMP, "When the old value was received"),
        Column("new_fetched_at", Type.TIMESTAMP, "When the answer that changed it was received"),
        Column("old_response_id", Type.STRING, "The raw answer with the old value"),
        Column("new_response_id", Type.STRING, "The raw answer with the new value, where there is one", nullable=True),
        *USAGE.only("series_id"),
    ),
    key=("series_id", "period_start", "period_end", "observed_at", "new_fetched_at"),
    partitions=("vendor",),
)

PRICES = Table(
    "prices",
    "one row per price, first day of its validity and tier of it, as the price book says",
    (
        Column("sku", Type.STRING, "Identifier of the price"),
        Column("valid_from", Type.DATE, "First UTC day of the price"),
        Column("valid_to", Type.DATE, "Last UTC day of the price; NULL while no end is known", nullable=True),
        _VENDOR,
        Column("account", Type.STRING, "Name of the account that the price is for; NULL for all", nullable=True),
        _ENDPOINT,
        Column("metric", Type.STRING, "What is counted"),
        Column("breakdown", Type.STRING, "Empty where the account's total is priced, else the parts that are"),
        Column("dimensions", Type.MAP, "Dimensions that a series has to have for the price to be its own"),
        Column("basis", Type.STRING, "amount; level of a day; share of a month, by day; count of the month to date"),
        Column("temporality", Type.STRING, "Which of the metric's numbers are priced; NULL for amounts", nullable=True),
        Column("tier_from", Type.DECIMAL, "Quantity above which the tier begins; 0 for the first one"),
        Column("unit_price", Type.DECIMAL, "Price of one unit within the tier"),
        Column("currency", Type.STRING, "ISO 4217 code"),
    ),
    key=("sku", "valid_from", "tier_from"),
)

TABLES = (USAGE, COVERAGE, BILLING_PERIODS, INVENTORY, METRICS, ACCOUNTS, ENTITLEMENTS, PRICES, RESTATEMENTS)
