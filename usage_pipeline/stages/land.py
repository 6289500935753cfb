"""Land: ask the vendor, and keep every answer before anybody reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from obstore.store import ObjectStore

from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.errors import NotAvailableError, PayloadError, TransientError, UsageError
from usage_pipeline.contract.time import Clock, Days
from usage_pipeline.contract.vendor import Account, Endpoint, History
from usage_pipeline.stages import raw

MOST_PAGES = 10_000


@dataclass(frozen=True, slots=True)
class Landed:
    """What came of asking for some days: where the answers are kept, or why there are none."""

    days: Days
    requests: int
    bytes: int
    error: UsageError | None = None


def land(
    endpoint: Endpoint,
    account: Account,
    days: Iterable[date],
    *,
    ask: Callable[[Request], Answer],
    store: ObjectStore,
    clock: Clock,
    concurrency: int = 4,
) -> list[Landed]:
    """Ask for all of the days, in the fewest pieces that the endpoint allows, some at once, and their requests too.

    Days between them are asked for too where that saves a request. A piece that fails does not keep the others from
    landing.
    """
    now = clock()
    pieces = list(Days.cover(askable(endpoint, days, now.date()), endpoint.max_days))
    if pieces:
        span = Days(pieces[0].first, pieces[-1].last)
        before = raw.find(store, account.vendor, account.name, endpoint.slug, span)
        # The newest landing is the one that is believed: a clock that was set back must not make it the oldest.
        if before and before[-1].at > now:
            now = before[-1].at + timedelta(microseconds=1)

    def one(piece: Days) -> Landed:
        return _piece(endpoint, account, piece, ask=ask, store=store, now=now, concurrency=concurrency)

    with ThreadPoolExecutor(concurrency) as pool:
        return list(pool.map(one, pieces))


def askable(endpoint: Endpoint, days: Iterable[date], today: date) -> list[date]:
    """Those of the days that the vendor can speak of. What it says now is never kept as another day's snapshot."""
    if endpoint.history is History.SNAPSHOT:
        return [day for day in days if day == today]
    return sorted(day for day in days if day <= today)


def _piece(
    endpoint: Endpoint,
    account: Account,
    days: Days,
    *,
    ask: Callable[[Request], Answer],
    store: ObjectStore,
    now: datetime,
    concurrency: int,
) -> Landed:
    answers: list[Answer] = []
    problem: UsageError | None = None
    apart: list[UsageError | None] = []
    with ThreadPoolExecutor(concurrency) as pool:
        try:
            requests = list(endpoint.requests(account, days))
        except UsageError as refused:
            requests, problem = [], refused
        all_told = pool.map(lambda request: _told(endpoint, request, ask), requests)
        for request, (told, error) in zip(requests, all_told, strict=True):
            answers += told
            if request.apart:
                apart.append(error)
            elif error:
                problem = error
                # Without this one the others are of no use.
                pool.shutdown(wait=False, cancel_futures=True)
                break
    if apart and all(apart):
        problem = problem or apart[0]
    if endpoint.history is History.SNAPSHOT and any(answer.fetched_at.date() not in days for answer in answers):
        # Kept as the capture of one day, it would be read as one of another.
        problem = problem or TransientError(f"{days} ended (UTC) while it was asked for: nothing of it is captured")
    landing = Landing(account.vendor, account.name, endpoint.slug, days, tuple(answers), now, account.options)
    # Failures without an answer too: the raw store tells of every attempt.
    raw.write(store, landing, error=str(problem or ""), unavailable=isinstance(problem, NotAvailableError))
    return Landed(days, len(answers), sum(len(answer.body) for answer in answers), problem)


def _told(
    endpoint: Endpoint, request: Request, ask: Callable[[Request], Answer]
) -> tuple[list[Answer], UsageError | None]:
    """A request's answer and those that follow it, up to the one that is an error; and that error."""
    told: list[Answer] = []
    try:
        for answer in _pages(endpoint, request, ask):
            told.append(answer)  # noqa: PERF402 - what came before a failing page is kept too
    except UsageError as error:
        return [*told, *([error.answer] if error.answer else [])], error
    return told, None


def _pages(endpoint: Endpoint, request: Request, ask: Callable[[Request], Answer]) -> Iterator[Answer]:
    """One answer, and those that it says follow it."""
    asked: set[Request] = set()
    onward: Request | None = request
    while onward:
        if onward in asked or len(asked) >= MOST_PAGES:
            raise PayloadError("$", f"the pages of {request.path} never end: {onward.params} comes again")
        asked.add(onward)
        answer = ask(onward)
        yield answer
        onward = endpoint.follow(answer) if endpoint.follow else None
