"""Numbers, days and names as people write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


def number(value: Decimal | int | None) -> str:
    """Every digit that says something, in groups of three; a dash for what is not known."""
    if value is None:
        return DASH
    whole, _point, part = f"{abs(value):,f}".partition(".")
    return (MINUS if value < 0 else "") + ".".join(filter(None, [whole, part.rstrip("0")]))


def signed(value: Decimal | None) -> str:
    return f"+{number(value)}" if value is not None and value > 0 else number(value)


def percent(ratio: Decimal | None) -> str:
    """A ratio in percent: whole ones, and hundredths where a whole one would say 0 or 100 of what is neither."""
    if ratio is None:
        return DASH
    hundred = ratio * 100
    rounded = whole(hundred)
    if rounded in {0, 100} and hundred != rounded:
        rounded = hundred.quantize(Decimal("0.01"), ROUND_HALF_UP)
    return f"{number(rounded)} %"


def whole(value: Decimal) -> Decimal:
    return value.quantize(Decimal(1), ROUND_HALF_UP)


def metric(name: str) -> str:
    """The name of a metric: `total_mau` is Total MAU."""
    words = ["MAU" if word == "mau" else word for word in name.split("_")]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def day(value: date | None, *, year: bool = False) -> str:
    if value is None:
        return DASH
    return f"{value.day} {value:%B %Y}" if year else f"{value.day} {value:%b}"


def moment(value: datetime) -> str:
    """UTC, to the minute."""
    value = utc(value)
    return f"{day(value.date())} {value:%Y, %H:%M} UTC"


def span(first: date, last: date) -> str:
    return day(first) if first == last else f"{day(first)} {DASH} {day(last)}"


def last_day(end: datetime) -> date:
    """The last day of a period that ends, exclusive, at an instant."""
    return (utc(end) - timedelta(microseconds=1)).date()


def count(number_of: int, one: str, many: str = "") -> str:
    return f"{number_of:,} {one if number_of == 1 else many or one + 's'}"


def listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def utc(value: datetime) -> datetime:
    return value.astimezone(UTC)
