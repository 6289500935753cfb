"""UTC days, and the clock as a parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

Clock = Callable[[], datetime]
"""Tells the present as an aware UTC datetime. Only the entry points make a real one."""

DAY = timedelta(days=1)


def midnight(day: date) -> datetime:
    """The first instant of a UTC day."""
    return datetime.combine(day, time(), UTC)


@dataclass(frozen=True, slots=True, order=True)
class Days:
    """A range of UTC days, both ends included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"the range ends on {self.last}, before it starts on {self.first}")

    @property
    def start(self) -> datetime:
        """First instant of the range."""
        return midnight(self.first)

    @property
    def end(self) -> datetime:
        """First instant after the range."""
        return midnight(self.last) + DAY

    def __iter__(self) -> Iterator[date]:
        return (self.first + timedelta(days=n) for n in range(len(self)))

    def __len__(self) -> int:
        return (self.last - self.first).days + 1

    def __contains__(self, day: object) -> bool:
        return isinstance(day, date) and self.first <= day <= self.last

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"

    @staticmethod
    def cover(days: Iterable[date], most: int | None) -> Iterator[Days]:
        """The fewest ranges that hold all of the sorted days, each of at most `most` days; None allows any length."""
        found: Days | None = None
        for day in days:
            if found and (most is None or (day - found.first).days < most):
                found = Days(found.first, day)
            else:
                if found:
                    yield found
                found = Days(day, day)
        if found:
            yield found

    @staticmethod
    def runs(days: Iterable[date]) -> Iterator[Days]:
        """Sorted days, gathered into ranges without gaps."""
        first = last = None
        for day in days:
            if first is None or last is None:
                first = last = day
            elif day == last + DAY:
                last = day
            else:
                yield Days(first, last)
                first = last = day
        if first is not None and last is not None:
            yield Days(first, last)
