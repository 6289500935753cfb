"""Faults that the sandbox can be told to make: at a chosen request, on a chosen path, for a chosen number of times.

`KINDS` says what there is. Some are answers that are wrong, some are connections that misbehave below HTTP, and some
are requests that the vendor does not get as they were sent.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from functools import cache
from http import HTTPStatus
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from usage_pipeline.contract.time import Clock

WAIT = timedelta(seconds=2)
PAUSE = 0.02
RESET = {"thousandeyes": ("X-Organization-Rate-Limit-Reset", 1), "launchdarkly": ("X-Ratelimit-Reset", 1000)}
"""The header in which a vendor says when its window begins anew, and its ticks a second."""
CREDENTIALS = {b"authorization", b"x-consul-token", b"x-authentication"}
PAGES = {"cursor", "offset"}
MEGABYTE = 2**20

NUMBER = rb"-?\d[\d.eE+-]*"
JSON_NUMBER = re.compile(rb'(?P<before>"[^"\\]*"\s*:\s*)(?P<value>' + NUMBER + rb")(?P<after>)")
JSON_VALUE = re.compile(rb'(?P<before>"[^"\\]*"\s*:\s*)(?P<value>"[^"\\]*"|' + NUMBER + rb")(?P<after>)")
XML_NUMBER = re.compile(rb"(?P<before><\w+>)(?P<value>" + NUMBER + rb")(?P<after></\w+>)")
NEXT = re.compile(rb'("next"\s*:\s*{\s*"href"\s*:\s*)"[^"]*"')
ZONE = re.compile(rb"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?)(?:Z|[+-]\d\d:?\d\d)")


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault, from the request number `at` on, `times` times, where 0 is for ever.

    Counted are the requests whose path holds `path`. `pick` says which of the places in an answer is spoilt, where
    there are several.
    """

    kind: str
    path: str = ""
    at: int = 1
    times: int = 1
    pick: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: what the vendor says, or what becomes of it. `request` is what was asked, `now` when."""

    request: Request
    now: datetime
    status: int
    headers: dict[str, str]
    body: bytes
    pick: int = 0

    @property
    def is_xml(self) -> bool:
        return "xml" in self.headers.get("content-type", "")


def read(text: str) -> Fault:
    """A fault as it is written: the kind, and what is not as usual, such as `503 path=/puppet at=2 times=3`.

    Raises ValueError saying what is allowed.
    """
    kind, *said = text.split() or [""]
    if kind not in KINDS:
        raise ValueError(f"'{kind}' is no fault; there are: {', '.join(sorted(KINDS))}")
    path, numbers = "", {"at": 1, "times": 1, "pick": 0}
    for name, _, value in (part.partition("=") for part in said):
        if name == "path" and value:
            path = value
        elif name in numbers and value.isdecimal() and (name != "at" or int(value)):
            numbers[name] = int(value)
        else:
            raise ValueError(
                f"'{name}={value}' says nothing; write path=TEXT, at=NUMBER (from 1), times=NUMBER or pick=NUMBER"
            )
    return Fault(kind, path, **numbers)


# Answers


def refusing(status: int, headers: Callable[[Told], dict[str, str]] = lambda _told: {}) -> Callable[[Told], Told]:
    def refuse(told: Told) -> Told:
        body = json.dumps({"message": HTTPStatus(status).phrase}).encode()
        return replace(told, status=status, headers={"content-type": "application/json"} | headers(told), body=body)

    return refuse


def _reset(told: Told) -> dict[str, str]:
    """The vendor's own header; none where it has none."""
    until = (told.now + WAIT).timestamp()
    found = RESET.get(told.request.scope["path"].split("/")[1])
    return {found[0]: str(int(until * found[1]))} if found else {}


def saying(body: bytes, kind: str = "application/json") -> Callable[[Told], Told]:
    return lambda told: replace(told, status=200, headers={"content-type": kind}, body=body)


ERROR = (
    b'{"code":"internal_error","error":"internal_error","message":"Something went wrong","errorMessage":"Try again"}'
)
PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form>Sign in</form></body></html>"


def _truncated(told: Told) -> Told:
    return replace(told, body=told.body[: len(told.body) // 2])


def _other_type(told: Told) -> Told:
    kind = "application/json" if told.is_xml else "application/xml"
    return replace(told, headers=told.headers | {"content-type": kind})


@cache
def _zeros() -> bytes:
    """A gigabyte, packed: 64 members of 16 MB each."""
    return gzip.compress(bytes(16 * MEGABYTE)) * 64


def _bomb(told: Told) -> Told:
    return replace(told, headers=told.headers | {"content-encoding": "gzip"}, body=_zeros())


def _spoilt(told: Told, kind: re.Pattern[bytes], spoil: Callable[[re.Match[bytes]], bytes]) -> Told:
    """The answer with one of the places spoilt, if it has any."""
    places = list(kind.finditer(told.body))
    if not places:
        return told
    place = places[told.pick % len(places)]
    return replace(told, body=told.body[: place.start()] + spoil(place) + told.body[place.end() :])


def numbered(value: bytes) -> Callable[[Told], Told]:
    """One number is another text."""

    def spoil(told: Told) -> Told:
        kind = XML_NUMBER if told.is_xml else JSON_NUMBER
        return _spoilt(told, kind, lambda place: place["before"] + value + place["after"])

    return spoil


def _twice(told: Told) -> Told:
    """One member of an object, or element, comes again with another value."""

    def again(place: re.Match[bytes]) -> bytes:
        other = b'"other"' if place["value"].startswith(b'"') else b"7"
        return place[0] + (b"" if told.is_xml else b",") + place["before"] + other + place["after"]

    return _spoilt(told, XML_NUMBER if told.is_xml else JSON_VALUE, again)


def _zoneless(told: Told) -> Told:
    return replace(told, body=ZONE.sub(rb"\1", told.body))


def _loop(told: Told) -> Told:
    """The next page is the first one."""
    first = json.dumps(str(told.request.url.remove_query_params(sorted(PAGES)))).encode()
    return replace(told, body=NEXT.sub(lambda link: link[1] + first, told.body))


ANSWERS: dict[str, Callable[[Told], Told]] = {
    "429": refusing(429),
    "429-seconds": refusing(429, lambda _told: {"Retry-After": f"{WAIT.total_seconds():.0f}"}),
    "429-date": refusing(429, lambda told: {"Retry-After": format_datetime(told.now + WAIT, usegmt=True)}),
    "429-reset": refusing(429, _reset),
    "429-tomorrow": refusing(429, lambda _told: {"Retry-After": "86400"}),
    "500": refusing(500),
    "503": refusing(503),
    "error": saying(ERROR),
    "html": saying(PAGE, "text/html"),
    "empty": saying(b""),
    "truncated": _truncated,
    "content-type": _other_type,
    "bomb": _bomb,
    "duplicate": _twice,
    "nan": numbered(b"NaN"),
    "infinity": numbered(b"-Infinity"),
    "digits": numbered(b"1234567890" * 4),
    "fraction": numbered(b"0." + b"1234567890" * 4),
    "zoneless": _zoneless,
    "loop": _loop,
}


# Requests


def _without_credentials(scope: Scope) -> Scope:
    """As of somebody whose token has expired."""
    return {**scope, "headers": [header for header in scope["headers"] if header[0] not in CREDENTIALS]}


def _first_page(scope: Scope) -> Scope:
    """As of somebody who turns no page."""
    asked = [pair for pair in parse_qsl(scope["query_string"].decode(), True) if pair[0] not in PAGES]
    return {**scope, "query_string": urlencode(asked).encode()}


REQUESTS: dict[str, Callable[[Scope], Scope]] = {"expired": _without_credentials, "same-page": _first_page}


# Connections


class Wire(H11Protocol):
    """HTTP whose handlers may write past it: `state` has the connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


def _head(told: Told, length: int) -> bytes:
    headers = {**told.headers, "content-length": str(length), "connection": "close"}
    lines = [f"HTTP/1.1 {told.status} Told", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("latin-1")


async def _silent(_told: Told, _wire: asyncio.Transport) -> None:
    """Nothing comes, and the connection stays."""


async def _reset_connection(_told: Told, wire: asyncio.Transport) -> None:
    # Not lingering: what is under way is thrown away, and the other side is told so.
    wire.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.abort()


async def _close(_told: Told, wire: asyncio.Transport) -> None:
    wire.close()


async def _drip(wire: asyncio.Transport, begin: bytes, drop: bytes) -> None:
    while not wire.is_closing():
        wire.write(begin)
        begin = drop
        await asyncio.sleep(PAUSE)


async def _drip_body(told: Told, wire: asyncio.Transport) -> None:
    await _drip(wire, _head(told, MEGABYTE) + b"\r\n\r\n", b" ")


async def _drip_head(told: Told, wire: asyncio.Transport) -> None:
    await _drip(wire, _head(told, 0) + b"\r\nx-drip: ", b"x")


async def _slow(told: Told, wire: asyncio.Transport) -> None:
    """The whole answer, in ten pieces."""
    whole = _head(told, len(told.body)) + b"\r\n\r\n" + told.body
    size = -(-len(whole) // 10)
    for begin in range(0, len(whole), size):
        if not wire.is_closing():
            wire.write(whole[begin : begin + size])
            await asyncio.sleep(PAUSE)
    wire.close()


async def _too_long(told: Told, wire: asyncio.Transport) -> None:
    """More is announced than comes."""
    wire.write(_head(told, len(told.body) + 10) + b"\r\n\r\n" + told.body)
    wire.close()


async def _too_short(told: Told, wire: asyncio.Transport) -> None:
    """Less is announced than comes."""
    wire.write(_head(told, len(told.body) // 2) + b"\r\n\r\n" + told.body)
    wire.close()


CONNECTIONS: dict[str, Callable[[Told, asyncio.Transport], Awaitable[None]]] = {
    "silent": _silent,
    "reset": _reset_connection,
    "close": _close,
    "drip": _drip_body,
    "drip-head": _drip_head,
    "slow": _slow,
    "too-long": _too_long,
    "too-short": _too_short,
}

KINDS = frozenset({*ANSWERS, *REQUESTS, *CONNECTIONS})


class Faults:
    """What is to go wrong, in order, and how far it has come. `made` counts the faults since they were told."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.tell(*faults)

    def tell(self, *faults: Fault) -> None:
        """These, and no others, counted anew."""
        self._seen = dict.fromkeys(faults, 0)
        self.made = 0

    def due(self, path: str) -> Fault | None:
        """What is to go wrong with the next request on a path."""
        found = None
        for fault in self._seen:
            if fault.path in path:
                self._seen[fault] += 1
                nth = self._seen[fault] - fault.at
                if nth >= 0 and (nth < fault.times or not fault.times):
                    found = found or fault
        self.made += found is not None
        return found


class Faulty:
    """The application, with faults. Served by `Wire`."""

    def __init__(self, app: ASGIApp, clock: Clock, faults: Faults) -> None:
        self._app = app
        self._clock = clock
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._faults.due(scope["path"]) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.kind in REQUESTS:
            await self._app(REQUESTS[fault.kind](scope), receive, send)
        else:
            told = await self._told(scope, receive, fault.pick)
            if fault.kind in ANSWERS:
                told = ANSWERS[fault.kind](told)
                await Response(told.body, told.status, told.headers)(scope, receive, send)
            else:
                await CONNECTIONS[fault.kind](told, scope["state"]["transport"])
                # Until the other side has left: the server would answer in our place.
                while (await receive())["type"] != "http.disconnect":
                    pass

    async def _told(self, scope: Scope, receive: Receive, pick: int) -> Told:
        """What the vendor would have answered."""
        said: list[Message] = []

        async def keep(message: Message) -> None:
            said.append(message)

        await self._app(scope, receive, keep)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in said[0]["headers"]}
        headers.pop("content-length", None)
        body = b"".join(message.get("body", b"") for message in said)
        return Told(Request(scope), self._clock(), said[0]["status"], headers, body, pick)
