"""Reading answers strictly: what does not fit is refused with its path, what is unknown is never dropped."""

from __future__ import annotations

import json as standard
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from operator import itemgetter
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import msgspec
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from usage_pipeline.contract.answer import Answer
from usage_pipeline.contract.errors import PayloadError

Json = Any
NUMBERS = (int, Decimal)
NAMES = ((bool, "a boolean"), (NUMBERS, "a number"), (str, "text"), (list, "an array"), (dict, "an object"))
PLAIN = {str, bool, type(None)}

# Fractions are taken from the text, so that no digit is lost in a double.
_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def json(answer: Answer) -> Json:
    """The body as JSON: integers as int, fractions as Decimal. A key that an object tells twice is refused."""
    try:
        value = _DECODER.decode(answer.body)
        if _may_repeat(answer.body, value):
            standard.loads(answer.body, object_pairs_hook=_refuse_repeated, parse_int=str, parse_float=str)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError) as error:
        raise PayloadError("$", f"not JSON ({error}); it begins {answer.body[:80]!r}") from None
    return value


def _may_repeat(body: bytes, value: Json) -> bool:
    """Whether an object may tell a key twice, of which the decoder keeps the last: written back, fewer texts are there.

    Each text has its two quotes, and those within it that are escaped, written `\\"` in both. Only `\\u0022` would add
    some. Decoding pairs would cost several times as much (docs/decisions/0011-no-key-twice.md).
    """
    escaped = b"\\" in body and rb"\u0022" in body  # the first is found, or not, several times as fast
    return escaped or body.count(b'"') != _ENCODER.encode(value).count(b'"')


def _refuse_repeated(pairs: list[tuple[str, Json]]) -> None:
    seen: set[str] = set()
    for key, _value in pairs:
        if key in seen:
            raise PayloadError("$", f"an object tells {key[:60]!r} twice, and which of the two holds nobody knows")
        seen.add(key)


def xml(answer: Answer) -> Element:
    """The root element of an XML body; entities, DTDs and external references are refused."""
    try:
        root: Element = fromstring(answer.body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise PayloadError("/", f"not acceptable XML ({error}); it begins {answer.body[:80]!r}") from None
    return root


def name(value: Json) -> str:
    """A value's JSON type, for people."""
    if value is None:
        return "null"
    for kind, called in NAMES:
        if isinstance(value, kind):
            return called
    return type(value).__name__


def is_number(value: Json) -> bool:
    return isinstance(value, NUMBERS) and not isinstance(value, bool)


def _expect(value: Json, kind: type, path: str, wanted: str) -> Json:
    if not isinstance(value, kind):
        raise PayloadError(path, f"expected {wanted}, found {name(value)}")
    return value


def obj(value: Json, path: str) -> dict[str, Json]:
    """The value, which must be an object."""
    found: dict[str, Json] = _expect(value, dict, path, "an object")
    return found


def array(value: Json, path: str) -> list[Json]:
    """The value, which must be an array."""
    found: list[Json] = _expect(value, list, path, "an array")
    return found


def text(value: Json, path: str) -> str:
    """The value, which must be text."""
    found: str = _expect(value, str, path, "text")
    return found


def member(value: Json, key: str, path: str = "$") -> Json:
    """A member that the vendor documents as always there."""
    if key not in obj(value, path):
        # What is there says more of an error that came with status 200.
        there = ", ".join(map(repr, value)) or "nothing"
        raise PayloadError(path, f"'{key}' is missing: there is {there}")
    return value[key]


def _numbers(value: Json, path: str) -> Iterator[str]:
    """Where numbers stand, in order. Without recursion: what could just be decoded may be too deep to walk so."""
    pending = [(value, path)]
    while pending:
        value, path = pending.pop()
        if is_number(value):
            yield path
        elif isinstance(value, dict):
            pending += [(inner, f"{path}.{key}") for key, inner in reversed(value.items())]
        elif isinstance(value, list):
            pending += [(inner, f"{path}[{index}]") for index, inner in reversed(list(enumerate(value)))]


def refuse_unknown_numbers(value: Mapping[str, Json], known: Collection[str], path: str) -> None:
    """Refuse a number under a key that the vendor module neither reads nor lists as ignored."""
    for key in value:
        if key in known:
            continue
        for place in _numbers(value[key], f"{path}.{key}"):
            raise PayloadError(place, "an unknown number: the vendor module neither reads it nor lists it as ignored")


@dataclass(frozen=True, slots=True)
class Records:
    """Objects in an answer, and where they stand: an array of them, or one that is `alone`.

    `ours` are columns that take the place of the objects' own fields.
    """

    answer: Answer
    items: list[dict[str, Json]]
    path: str
    alone: bool = False
    ours: Mapping[str, list[Json]] = field(default_factory=dict)

    def at(self, index: int, key: str) -> str:
        return f"{self.path}.{key}" if self.alone else f"{self.path}[{index}].{key}"

    def column(self, key: str) -> list[Json]:
        """One field of every record; None where a record lacks it."""
        if key in self.ours:
            return self.ours[key]
        try:
            return list(map(itemgetter(key), self.items))
        except KeyError:
            return [item.get(key) for item in self.items]

    def firsts(self, keys: Iterable[str]) -> list[int]:
        """The first record of each combination of some fields: what depends on them alone is checked once."""
        told = list(zip(*(map(repr, self.column(key)) for key in keys), strict=True)) or [()] * len(self.items)
        found = dict(zip(reversed(told), range(len(told) - 1, -1, -1), strict=True))
        return sorted(found.values())


def record(answer: Answer, value: Json, path: str, known: Collection[str]) -> Records:
    """Check that `value` is an object without unknown numbers: `known` are the fields that are read or ignored."""
    refuse_unknown_numbers(obj(value, path), known, path)
    return Records(answer, [value], path, alone=True)


def records(answer: Answer, value: Json, path: str, known: Collection[str]) -> Records:
    """Check that `value` is an array of objects without unknown numbers; `known` as in `record`."""
    items = array(value, path)
    if set(map(type, items)) - {dict}:
        index = next(i for i, item in enumerate(items) if not isinstance(item, dict))
        raise PayloadError(f"{path}[{index}]", f"expected an object, found {name(items[index])}")
    found = Records(answer, items, path)
    unknown = set().union(*items) - set(known)
    if any(set(map(type, found.column(key))) - PLAIN for key in unknown):
        for index, item in enumerate(items):
            refuse_unknown_numbers(item, known, f"{path}[{index}]")
    return found
