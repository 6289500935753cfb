"""The invented company behind the sandbox: the same seed, vendor and day always give the same numbers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime

from usage_pipeline.contract.time import Clock

EPOCH = date(2025, 1, 1)
WEEKEND = 0.35
GROWTH_A_DAY = 0.0012


@dataclass(frozen=True, slots=True)
class World:
    """A clock and a seed; everything else follows from them."""

    clock: Clock
    seed: int = 1

    @property
    def now(self) -> datetime:
        return self.clock()

    @property
    def today(self) -> date:
        return self.clock().date()

    def fraction(self, *key: object) -> float:
        """A number in [0, 1) that only the seed and the key decide."""
        told = "|".join(map(str, (self.seed, *key)))
        return int.from_bytes(hashlib.blake2b(told.encode(), digest_size=8).digest()) / 2**64

    def daily(self, day: date, *key: object, base: float) -> int:
        """A day's amount around `base`: less at weekends, growing, and a little different every day."""
        week = WEEKEND if day.weekday() >= 5 else 1.0
        growth = 1 + GROWTH_A_DAY * (day - EPOCH).days
        return max(0, round(base * week * growth * (0.9 + 0.2 * self.fraction(day, *key))))

    def gone(self, day: date) -> float:
        """How much of a UTC day is over, 0 to 1."""
        if day != self.today:
            return 1.0 if day < self.today else 0.0
        now = self.now
        return (now.hour * 3600 + now.minute * 60 + now.second) / 86400
