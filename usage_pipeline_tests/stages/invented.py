"""An invented vendor, so that the stages are tested without any real one.

Its answers are {"<day>": value} for the window endpoint and {"used": n, "ahead": n} for the snapshot endpoint, whose
period is the calendar month.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from obstore.store import ObjectStore

from usage_pipeline import kit, stages
from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.errors import UsageError
from usage_pipeline.contract.schema import Aggregation, Role, State, Temporality
from usage_pipeline.contract.time import Days, midnight
from usage_pipeline.contract.vendor import Account, Block, Endpoint, History, Metric, Normalised

USED = Metric("things", "Things", "Things used.", Role.CONSUMED, Aggregation.SUM, Temporality.DELTA)
METER = Metric("things", "Things", "Things used so far.", Role.CONSUMED, Aggregation.SUM, Temporality.CUMULATIVE)
AHEAD = Metric("things", "Things", "Things by month end.", Role.PROJECTED, Aggregation.SUM, Temporality.CUMULATIVE)

ACCOUNT = Account("acme", "invented", "http://127.0.0.1", date(2026, 1, 1), options={"colour": "red"})


def _requests(_account: Account, days: Days) -> Iterator[Request]:
    yield Request("/usage", (("from", str(days.first)), ("to", str(days.last))))


def _window(landing: Landing) -> Normalised:
    blocks: list[Block] = []
    for answer in landing.answers:
        items = [{"day": day, "things": value} for day, value in kit.payload.json(answer).items()]
        records = kit.payload.records(answer, items, "$", {"day", "things"})
        start = kit.frames.times(records, "day", kit.frames.day)
        kit.frames.within(landing.days, records, "day", start)
        blocks += kit.frames.blocks(records, {"things": USED}, start=start, end=start + kit.frames.ONE_DAY)
    return Normalised(usage=tuple(blocks))


def _snapshot(landing: Landing) -> Normalised:
    (answer,) = landing.answers
    body = kit.payload.json(answer)
    records = kit.payload.records(answer, [body], "$", {"used", "ahead"})
    month = answer.fetched_at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (month + timedelta(days=31)).replace(day=1)
    blocks = [
        *kit.frames.blocks(records, {"used": METER}, start=month, end=answer.fetched_at, is_final=False),
        *kit.frames.blocks(records, {"ahead": AHEAD}, start=month, end=following, is_final=False, optional={"ahead"}),
    ]
    periods = pd.DataFrame({"period_start": [month], "period_end": [following], "response_id": [answer.response_id]})
    missing = {} if body.get("used") else {"part x": "absent from the answer"}
    return Normalised(usage=tuple(blocks), billing_periods=(periods,), missing=missing)


WINDOW = Endpoint(
    "window", "A window", History.WINDOW, "https://vendor.example/window", (USED,), _requests, _window,
    settles=timedelta(days=2), max_days=10,
)  # fmt: skip
SNAPSHOT = Endpoint(
    "snapshot", "A snapshot", History.SNAPSHOT, "https://vendor.example/snapshot", (METER, AHEAD), _requests, _snapshot
)


@dataclass
class Bench:
    """A lake, a raw store, a clock, and what the vendor answers."""

    home: Path
    now: datetime = datetime(2026, 3, 18, 12, tzinfo=UTC)
    answer: Callable[[Request], Any] = lambda _request: {}
    asked: list[Request] = field(default_factory=list)

    @property
    def store(self) -> ObjectStore:
        return stages.raw.store(str(self.home))

    @property
    def lake(self) -> stages.lake.Lake:
        return stages.lake.Lake(str(self.home))

    def ask(self, request: Request) -> Answer:
        self.asked.append(request)
        said = self.answer(request)
        if isinstance(said, Exception):
            raise said
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        return Answer(
            request, f"http://127.0.0.1{request.path}", 200, {"content-type": "application/json"}, body, self.now
        )

    def land(self, endpoint: Endpoint, days: Days) -> list[stages.land.Landed]:
        return stages.land.land(
            endpoint, ACCOUNT, days, ask=self.ask, store=self.store, clock=lambda: self.now, concurrency=2
        )

    def load(
        self, endpoint: Endpoint, days: Days, account: Account = ACCOUNT, failed: dict[date, str] | None = None
    ) -> dict[date, State]:
        tell = stages.replay.teller(self.store, endpoint, account, days)
        told = stages.load.usage(self.lake, endpoint, account, tell)
        stages.load.companions(self.lake, endpoint, account, told)
        return stages.load.coverage(
            self.lake, endpoint, account, told=told, failed=failed or {}, unavailable={}, now=self.now
        )

    def pull(self, endpoint: Endpoint, days: Days) -> dict[date, State]:
        """Land and load, as the pipeline does when all goes well."""
        for piece in self.land(endpoint, days):
            if isinstance(piece.error, UsageError):
                raise piece.error
        return self.load(endpoint, days)


def days_of(request: Request) -> Days:
    """The days that a request asks for."""
    asked = dict(request.params)
    return Days(date.fromisoformat(asked["from"]), date.fromisoformat(asked["to"]))


def on(text: str, last: str | None = None) -> Days:
    return Days(date.fromisoformat(text), date.fromisoformat(last or text))


def at(text: str, hour: int = 12) -> datetime:
    return midnight(date.fromisoformat(text)) + timedelta(hours=hour)
