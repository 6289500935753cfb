"""The HTTP client of every vendor: bounded in time, size and rate, and careful with credentials.

Retried are timeouts, connection errors, 408, 429 and 5xx, and nothing else (`retriable`).
"""

from __future__ import annotations

import base64
import logging
import math
import random
import re
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from queue import Empty, LifoQueue
from types import TracebackType
from typing import Any, Self

import httpx
from pyrate_limiter import Duration, Limiter, Rate
from tenacity import RetryCallState, Retrying, retry_if_exception

from usage_pipeline.contract.answer import Answer, Request
from usage_pipeline.contract.errors import (
    ConfigurationError,
    CredentialsError,
    NotAvailableError,
    PayloadError,
    RequestError,
    TransientError,
    UsageError,
)
from usage_pipeline.contract.time import Clock

KEPT_HEADERS = {"content-type", "date", "retry-after", "operation-id", "x-request-id", "deprecation", "sunset"}
SHORTEST_SECRET = 6
LONGEST_REASON = 500
KEPT_PREFIXES = ("x-consul-", "x-ratelimit-", "x-organization-rate-limit-")
OPENED = ("connect_tcp.complete", "start_tls.complete")

Trace = Callable[[str, Mapping[str, Any]], None]
"""What httpcore tells of an event in a connection, by its name."""


def _without_headers(record: logging.LogRecord) -> bool:
    return "response_headers.complete" not in record.getMessage()


# At debug level it tells all headers of answers, in which vendors set cookies and repeat credentials.
logging.getLogger("httpcore.http11").addFilter(_without_headers)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one request, in seconds and bytes.

    `wait` caps the sum of the pauses between its attempts, `whole` the time that one attempt takes, or one body to
    arrive, and the time after which no further attempt is made. `size` is that of the unpacked body.
    """

    connect: float = 10
    read: float = 60
    whole: float = 600
    size: int = 512 * 2**20
    attempts: int = 6
    wait: float = 180
    first_pause: float = 1
    longest_pause: float = 30


def retriable(status: int) -> bool:
    """The one rule on which answers are asked for again."""
    return status in {408, 429} or status >= 500


def asked_wait(headers: Mapping[str, str], reset_headers: Mapping[str, int], now: datetime) -> float | None:
    """Seconds that a refusing server asks us to wait, the longest of what its headers say; None where none does.

    `Retry-After` comes as seconds or as a date, the vendors' reset headers as an epoch in their own ticks a second.
    """
    waits = []
    for name, ticks in {"retry-after": 0, **reset_headers}.items():
        said = headers.get(name, "").strip()
        try:
            waits.append(float(said) / ticks - now.timestamp() if ticks else _seconds(said, now))
        except (ValueError, OverflowError):
            continue
    waits = [wait for wait in waits if math.isfinite(wait)]
    return max(0.0, *waits) if waits else None


def _seconds(said: str, now: datetime) -> float:
    try:
        return float(said)
    except ValueError:
        until = parsedate_to_datetime(said)
        return ((until if until.tzinfo else until.replace(tzinfo=UTC)) - now).total_seconds()


class _RetriableError(Exception):
    """An attempt that may be repeated."""

    def __init__(self, problem: str, answer: Answer | None = None, wait: float | None = None) -> None:
        super().__init__(problem)
        self.answer = answer
        self.wait = wait


class _Body(httpx.SyncByteStream):
    """A body as it arrives, unpacked here so that a compressed bomb, or one that drips, stops at the bounds."""

    def __init__(self, response: httpx.Response, limits: Limits, timer: Callable[[], float]) -> None:
        coding = response.headers.pop("content-encoding", "identity").strip().lower()
        if coding not in {"gzip", "x-gzip", "identity", ""}:
            raise PayloadError("$", f"the answer of {response.url} is packed as {coding}, which was not asked for")
        self._gzip = coding.endswith("gzip")
        self._url = response.url
        self._packed = response.stream
        self._limits = limits
        self._timer = timer

    def __iter__(self) -> Iterator[bytes]:
        until = self._timer() + self._limits.whole
        size = 0
        for chunk in self._unpacked():
            size += len(chunk)
            if size > self._limits.size:
                raise PayloadError("$", f"the answer of {self._url} is larger than {self._limits.size} bytes")
            if self._timer() > until:
                raise TransientError(f"{self._url} took longer than {self._limits.whole:g} s")
            yield chunk

    def _unpacked(self) -> Iterator[bytes]:
        """A piece for every chunk that arrives, even an empty one; members of gzip may follow one another."""
        packed: Iterator[bytes] = iter(self._packed)  # type: ignore[arg-type]
        if not self._gzip:
            yield from packed
            return
        member, began = zlib.decompressobj(31), False
        try:
            for chunk in packed:
                began = True
                yield member.decompress(chunk)
                while rest := member.unused_data:
                    member = zlib.decompressobj(31)
                    yield member.decompress(rest)
        except zlib.error as error:
            raise httpx.DecodingError(f"the gzip stream is damaged ({error})") from error
        if began and not member.eof:
            raise httpx.DecodingError("the gzip stream ends early")

    def close(self) -> None:
        self._packed.close()  # type: ignore[union-attr]


class Client:
    """Asks one account's vendor. Safe to share between threads: `concurrency` requests run at a time, others wait.

    `timer` counts seconds for the bound on one body; without one the clock does, which may be set while it runs.

    `explain` reads the vendor's error answers. Errors carry the last answer, where there was one, as `answer`.
    `unavailable` says which error answers, but for those that are retried, mean that there is nothing to be had.
    `origins` are further addresses that the user trusts with the credential; requests name them in full. Texts under
    the names in `redacts`, and the credential itself, are blanked in every answer. `permission` is what the credential
    must be allowed to do.

    `retries` and `waited` count attempts after the first, and the seconds, summed over threads, that rate limits cost:
    the vendor's documented one, kept here, and the pauses after a 429.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: httpx.Auth | None,
        explain: Callable[[Answer], str],
        clock: Clock,
        sleep: Callable[[float], None],
        timer: Callable[[], float] | None = None,
        reset_headers: Mapping[str, int] | None = None,
        rate: tuple[int, int] | None = None,
        ca_bundle: str | None = None,
        concurrency: int = 4,
        limits: Limits | None = None,
        origins: Collection[str] = (),
        redacts: Collection[str] = (),
        unavailable: Callable[[Answer], bool] | None = None,
        permission: str = "",
    ) -> None:
        self._explain = explain
        self._unavailable = unavailable
        self._permission = f" ({permission})" if permission else ""
        self._clock = clock
        self._sleep = sleep
        self._timer = timer or (lambda: clock().timestamp())
        self._reset_headers = {name.lower(): ticks for name, ticks in (reset_headers or {}).items()}
        self._limits = limits or Limits()
        self._limiter = Limiter(Rate(rate[0], rate[1] * Duration.SECOND)) if rate else None
        self._origins = {_origin(httpx.URL(_address(address))) for address in (base_url, *origins)}
        self._secret_texts = _texts_of(redacts) if redacts else None
        self.retries = 0
        self.waited = 0.0
        self._counting = threading.Lock()
        self._base_url = _address(base_url)
        trust = _trust(ca_bundle)
        self._lines = [
            httpx.Client(
                base_url=self._base_url,
                auth=auth,
                verify=trust,
                timeout=httpx.Timeout(self._limits.read, connect=self._limits.connect),
                limits=httpx.Limits(max_connections=1),
                follow_redirects=False,
                headers={"User-Agent": "usage-pipeline", "Accept": "application/json", "Accept-Encoding": "gzip"},
                event_hooks={"response": [self._bound]},
            )
            for _ in range(concurrency)
        ]
        self._sockets: dict[httpx.Client, socket.socket] = {}
        self._free: LifoQueue[httpx.Client] = LifoQueue()
        for line in self._lines:
            self._free.put(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for line in self._lines:
            line.close()
        if self._limiter:
            self._limiter.close()

    def ask(self, request: Request) -> Answer:
        """The answer to a request, status 200 to 299.

        Raises CredentialsError (401, 403), RequestError (other 4xx, redirects), NotAvailableError (what the vendor
        refuses for good), PayloadError (too large), TransientError (still refused after the retries) or
        ConfigurationError (TLS, what no header can hold).
        """
        attempts = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, _RetriableError)),
            wait=self._pause,
            stop=self._enough,
            sleep=self._sleep,
            before_sleep=self._count,
            reraise=True,
        )
        try:
            answer: Answer = attempts(self._attempt, request)
        except _RetriableError as gave_up:
            asked = f"; it asks to wait {math.ceil(gave_up.wait)} s" if gave_up.wait else ""
            raise _carry(TransientError(f"{gave_up}{asked}. Ask again later"), gave_up.answer) from gave_up
        return answer

    def _count(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        limited = isinstance(error, _RetriableError) and error.answer and error.answer.status == 429
        with self._counting:
            self.retries += 1
            self.waited += state.upcoming_sleep if limited else 0.0

    def _queue(self, limiter: Limiter) -> None:
        """Wait until the vendor's documented limit leaves room for one more request."""
        since = self._timer()
        limiter.try_acquire("vendor", blocking=True)
        with self._counting:
            self.waited += self._timer() - since

    def _pause(self, state: RetryCallState) -> float:
        """Full jitter, after what the server asks for."""
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait if isinstance(error, _RetriableError) and error.wait else 0.0
        grown = min(self._limits.longest_pause, self._limits.first_pause * 2 ** (state.attempt_number - 1))
        return asked + random.uniform(0, grown)  # noqa: S311 - jitter, not a secret

    def _enough(self, state: RetryCallState) -> bool:
        waited: float = state.idle_for + state.upcoming_sleep
        taken = state.seconds_since_start or 0.0
        return state.attempt_number >= self._limits.attempts or waited > self._limits.wait or taken > self._limits.whole

    def _attempt(self, request: Request) -> Answer:
        if self._limiter:
            self._queue(self._limiter)
        there = request.path if "://" in request.path else f"{self._base_url}{request.path}"
        host = request.path if "://" in request.path else self._base_url
        try:
            with self._line() as line, self._in_time(line, there) as trace:
                answer, location, secrets = self._send(line, request, trace)
        except TransientError as error:
            raise _RetriableError(str(error), wait=error.wait) from error
        except (httpx.LocalProtocolError, UnicodeError):
            # What httpx says of it quotes the header.
            raise ConfigurationError(
                f"the request to {there} cannot be sent: is there a line break, or "
                "something else that no header can hold, in a credential?"
            ) from None
        except httpx.ConnectError as error:
            if _untrusted(error):
                raise ConfigurationError(
                    f"{host} has a certificate that is not trusted here ({error}). "
                    "Set options: ca_bundle to the certificate of its CA"
                ) from error
            raise _RetriableError(f"{host} cannot be reached ({error})") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _RetriableError(f"{there}: {type(error).__name__} {error}") from error
        if 200 <= answer.status < 300:
            return answer
        told = f"{answer.url} answered {answer.status}"
        if location:
            told = _without(secrets, f"{told}, a redirect to {location}, not followed. Correct base_url")
            raise _carry(RequestError(told), answer)
        said = _without(secrets, self._explained(answer))[:LONGEST_REASON]
        told += f": {said}" if said else " without a reason"
        if retriable(answer.status):
            # Some vendors tell in every answer when their window resets: it asks for a wait only where it is used up.
            resets = self._reset_headers if answer.status == 429 else {}
            raise _RetriableError(told, answer, asked_wait(answer.headers, resets, self._clock()))
        if self._unavailable and self._unavailable(answer):
            raise _carry(NotAvailableError(told), answer)
        if answer.status in {401, 403}:
            needed = f" and their permission{self._permission}" if answer.status == 403 else ""
            raise _carry(CredentialsError(f"{told.rstrip('.')}. Check the account's credentials{needed}"), answer)
        raise _carry(RequestError(told), answer)

    def _explained(self, answer: Answer) -> str:
        """The vendor's words; an answer that is not even a proper error still tells its status."""
        try:
            return self._explain(answer)
        except (UsageError, LookupError, TypeError, ValueError, AttributeError):
            return answer.body[:LONGEST_REASON].decode(errors="replace").strip()

    @contextmanager
    def _line(self) -> Iterator[httpx.Client]:
        """A client of one connection, for one thread at a time.

        Threads that share a pool of httpcore's close each other's connections: one looks whether an idle socket can be
        read, as it can once the server has closed it, while another has begun a request there and its answer comes in
        (https://github.com/encode/httpcore/issues/1110).
        """
        try:
            line = self._free.get(timeout=self._limits.whole)
        except Empty:
            raise httpx.PoolTimeout("no connection became free") from None
        try:
            yield line
        finally:
            self._free.put(line)

    @contextmanager
    def _in_time(self, line: httpx.Client, there: str) -> Iterator[Trace]:
        """Cuts the line's connection where an attempt takes longer than `whole`. Yields what has to trace its requests.

        All other timeouts begin anew with every byte, so that headers that drip, or interim answers, would never end.
        """
        over = threading.Event()

        def trace(event: str, told: Mapping[str, Any]) -> None:
            if event.endswith(OPENED):
                self._sockets[line] = told["return_value"].get_extra_info("socket")
                if over.is_set():
                    cut()

        def cut() -> None:
            over.set()
            # Not closed: that would not wake the thread that reads. Below TLS, which is not to be spoken from here.
            with suppress(OSError, KeyError):
                socket.socket.shutdown(self._sockets[line], socket.SHUT_RDWR)

        bound = threading.Timer(self._limits.whole, cut)
        bound.daemon = True
        bound.start()
        try:
            yield trace
        except httpx.TransportError as error:
            if over.is_set():
                raise TransientError(f"{there} took longer than {self._limits.whole:g} s") from error
            raise
        finally:
            bound.cancel()

    def _send(self, line: httpx.Client, request: Request, trace: Trace) -> tuple[Answer, str | None, set[str]]:
        """One attempt, redirects on the same origin followed: the answer, where else it points, what auth added."""
        sent = line.build_request(
            "GET",
            request.path,
            params=list(request.params) or None,
            headers=dict(request.headers),
            extensions={"trace": trace},
        )
        if _origin(sent.url) not in self._origins:
            raise RequestError(f"{sent.url} is not at {self._base_url}: the credential stays here")
        url = str(sent.url)
        bare = httpx.Headers(sent.headers)
        for _hop in range(6):
            response = line.send(sent)
            onward = response.next_request
            if onward is None or _origin(onward.url) != _origin(sent.url):
                break
            sent = onward
        headers = {
            name: value
            for name, value in response.headers.items()
            if name in KEPT_HEADERS or name.startswith(KEPT_PREFIXES)
        }
        location = response.headers.get("location") if response.is_redirect else None
        secrets = {value for name, value in response.request.headers.items() if bare.get(name) != value}
        body = response.content
        if self._secret_texts:
            body = self._secret_texts.sub(rb'\1"***"', body)
        for told in _forms(secrets):
            body = body.replace(told.encode(), b"***")
        return Answer(request, url, response.status_code, headers, body, self._clock()), location, secrets

    def _bound(self, response: httpx.Response) -> None:
        """Every body is bounded, those that the authentication reads too."""
        response.stream = _Body(response, self._limits, self._timer)


def _carry(error: UsageError, answer: Answer | None) -> UsageError:
    error.answer = answer
    return error


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _texts_of(fields: Collection[str]) -> re.Pattern[bytes]:
    """Matches the text of JSON fields of these names."""
    names = "|".join(map(re.escape, fields))
    return re.compile(rf'("(?:{names})"\s*:\s*)"(?:[^"\\]|\\.)*"'.encode())


@cache  # reading the system's certificates takes 50 ms
def _trust(ca_bundle: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_bundle)
    except OSError as error:
        raise ConfigurationError(f"ca_bundle {ca_bundle}: {error}") from None


def _untrusted(error: BaseException | None) -> bool:
    while error:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _without(secrets: set[str], text: str) -> str:
    """The text without credentials, which some vendors repeat in what they answer."""
    for told in _forms(secrets):
        text = text.replace(told, "***")
    return text


def _forms(secrets: set[str]) -> list[str]:
    """What of the values of authentication headers somebody may repeat, the longest first."""
    forms = set()
    for secret in secrets:
        scheme, _, value = secret.rpartition(" ")
        forms |= {secret, value}
        if scheme == "Basic":
            forms.add(base64.b64decode(value).decode(errors="replace").partition(":")[2])
    return sorted((form for form in forms if len(form) >= SHORTEST_SECRET), key=len, reverse=True)


def _address(base_url: str) -> str:
    """A base URL without anything that would get lost, or leak, when paths are joined to it."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"base_url is no address ({error})") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigurationError(f"base_url {url!r} must be http(s)://host, with a port and a path where needed")
    if url.userinfo or url.query or url.fragment:
        raise ConfigurationError(f"base_url of {url.host} must hold no user, password, query or fragment")
    return base_url.rstrip("/")
