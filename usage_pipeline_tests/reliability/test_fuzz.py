"""Broken answers: whatever a vendor says, it is read rightly or refused with one of our errors, never read wrongly.

The answers come from the sandbox, over HTTP; they are broken as structures and byte by byte.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from usage_pipeline import kit, pipeline
from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.errors import PayloadError, UsageError
from usage_pipeline.contract.schema import USAGE, Role, Temporality
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Endpoint, History, Normalised
from usage_pipeline.kit import fields
from usage_pipeline.stages import normalise, raw
from usage_pipeline.vendors.launchdarkly import SERIES
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests import contract_world as world
from usage_pipeline_tests.conftest import NOW, TurnableClock
from usage_pipeline_tests.reliability import LONG

TODAY = NOW.date()
DAYS = Days(TODAY - timedelta(days=1), TODAY)
EXAMPLES = 2_500 if LONG else 60
FUZZED = settings(
    max_examples=EXAMPLES,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    print_blob=True,
)

CASES = [
    *(
        pytest.param(vendor, slug, {}, id=f"{vendor}-{slug}")
        for vendor, slug in (case.values for case in world.ENDPOINTS)
    ),
    pytest.param("thousandeyes", "usage", {"api_version": "v6"}, id="thousandeyes-usage-v6"),
    pytest.param("thousandeyes", "usage", {"api_version": "v6", "format": "xml"}, id="thousandeyes-usage-xml"),
    pytest.param("launchdarkly", "service_connections", world.VARIANTS["launchdarkly"][0], id="launchdarkly-split"),
    pytest.param("aveva", "namespace_usage", world.VARIANTS["aveva"][0], id="aveva-split"),
]
# Series of LaunchDarkly that differ in how they are read.
STANDING = ("service_connections", "total_mau", "evaluations", "events", "mau_by_category")
# The time series of LaunchDarkly are read by the same lines: in CI some of them stand for all.
ALIKE = {f"launchdarkly-{series.slug}" for series in SERIES} - {f"launchdarkly-{slug}" for slug in STANDING}
DIFFERENT = [case for case in CASES if LONG or case.id not in ALIKE]
Find = Callable[[str, str, Mapping[str, Any]], Landing]


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Find]:
    """What the sandbox answers to an endpoint's requests, kept and read again as loading does it."""
    clock, found = TurnableClock(), dict[str, Landing]()
    with pytest.MonkeyPatch.context() as patch, world.sandbox(clock) as base:
        world.unlimited(patch)

        def find(vendor: str, slug: str, options: Mapping[str, Any]) -> Landing:
            name = f"{vendor} {slug} {options}"
            if name not in found:
                place = world.place(tmp_path_factory.mktemp("answers"), clock)
                account = world.account(vendor, base, **options)
                assert pipeline.ask(place, account, slug, DAYS).failed == {}
                store = raw.store(place.root)
                found[name] = raw.read(store, raw.find(store, vendor, account.name, slug, DAYS)[-1])
            return found[name]

        yield find


# How answers are broken. Numbers that Python's JSON would spoil stand between marks until the end.
MARK = "\ue000"
NUMBERS = (
    "-1", "-0", "0.5", "1e2", "1e-30", "1e400", "1e999999999", f"1{'0' * 40}", f"1{'0' * 5000}", "NaN", "Infinity",
    "9007199254740993", "9223372036854775808", "18446744073709551616", "0.1234567891", "1e9999999999999999999999",
)  # fmt: skip
TEXTS = (
    "", " ", "0", "NaN", "null", "2026-03-18", "2026-03-18T00:00:00", "2026-03-18T00:00:00+99:00", "2026-W12-3",
    "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2026-02-30", "٢٠٢٦-٠٣-١٨", "../../etc/passwd", "=1+1",
    "<b>", "'; --", "a\0b", "\ud800", "é\u0301\u202e🦄", "x" * 10_000, "Ⅷ", "1_000", "İ", "ß",
)  # fmt: skip
BYTES = (
    b"", b"0", b"-", b"e9", b"e9999999999999999999", b".5", b",", b'"', b"}", b"]", b"null", b"\xff", b"\0", b"\\ud800",
    b"<", b"/>", b"&lt;", b"&x;", b" tests='1'",
)  # fmt: skip
ODD: list[Any] = [None, True, False, [], {}, [[]], {"": 1}, 0, 1, 10**18, *TEXTS]
ODD += [f"{MARK}{number}{MARK}" for number in NUMBERS]


def _parsed(body: bytes) -> Any:
    return json.loads(body, parse_float=lambda text: f"{MARK}{text}{MARK}")


def _written(body: Any) -> bytes:
    return re.sub(r'"\\ue000([^"]*?)\\ue000"', r"\1", json.dumps(body)).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Everything inside a structure: the object or array that it stands in, and its key there."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def _other(value: Any) -> Any:
    """The same as another type: a number as text, a text as a number where it can be one, else as a list of one."""
    if isinstance(value, str):
        return f"{MARK}{value}{MARK}" if re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?", value, re.ASCII) else value.strip(MARK)
    return str(value) if isinstance(value, int) else [value]


def _near(data: st.DataObject, value: Any) -> Any:
    """Another value of the same kind: another day, another instant, another amount, another name."""
    days = data.draw(st.sampled_from((-400, -31, -2, -1, 1, 2, 31)), "days")
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value, re.ASCII):
        with suppress(ValueError, OverflowError):
            return f"{date.fromisoformat(value[:10]) + timedelta(days=days)}{value[10:]}"
    if isinstance(value, int) and not isinstance(value, bool):
        return data.draw(
            st.sampled_from((value + 1, -value, 10 * value, value + days * 86_400, value + days * 86_400_000))
        )
    if isinstance(value, str) and not value.startswith(MARK):
        return data.draw(st.sampled_from((value.swapcase(), f"{value} ", value[:-1], f"{value}{value}")))
    return data.draw(st.sampled_from(ODD[-len(NUMBERS) :]))


def _drawn(data: st.DataObject, whole: list[Any], what: str) -> tuple[Any, Any]:
    """A place: first its name, so that what is told once is met as often as what is told a hundred times."""
    named: dict[str, list[tuple[Any, Any]]] = {}
    for held, key in _places(whole):
        named.setdefault(key if isinstance(key, str) else "", []).append((held, key))
    places = named[data.draw(st.sampled_from(sorted(named)), what)]
    return places[data.draw(st.integers(0, len(places) - 1), what)]


CHANGES = ("near", "odd", "number", "drop", "twice", "other type", "nest", "swap", "rename")


def structurally(data: st.DataObject, answer: Answer) -> Answer:
    whole = [_parsed(answer.body)]
    for _ in range(data.draw(st.integers(1, 3), "changes")):
        if not whole:
            break
        held, key = _drawn(data, whole, "place")
        match data.draw(st.sampled_from(CHANGES), "change"):
            case "near":
                held[key] = _near(data, held[key])
            case "odd":
                # A copy: the next change may be made inside it.
                held[key] = deepcopy(data.draw(st.sampled_from(ODD), "odd"))
            case "number":
                held[key] = f"{MARK}{data.draw(st.sampled_from(NUMBERS), 'number')}{MARK}"
            case "drop":
                del held[key]
            case "twice" if isinstance(held, list):
                held.insert(key, deepcopy(held[key]))
            case "other type":
                held[key] = _other(held[key])
            case "nest":
                held[key] = data.draw(st.sampled_from(([held[key]], {"nested": held[key]})), "nest")
            case "swap":
                there, other = _drawn(data, whole, "other place")
                one, two = deepcopy(held[key]), deepcopy(there[other])
                held[key], there[other] = two, one
            case "rename" if isinstance(held, dict):
                named = ("", "total", "time", "1", key.swapcase(), f"{key} ")
                held[data.draw(st.sampled_from(named), "name")] = held.pop(key)
    return replace(answer, body=_written(whole[0] if whole else None))


def bytewise(data: st.DataObject, answer: Answer) -> Answer:
    body = bytearray(answer.body)
    for _ in range(data.draw(st.integers(1, 3), "changes")):
        start = data.draw(st.integers(0, len(body)), "from")
        end = min(len(body), start + data.draw(st.sampled_from((0, 0, 1, 1, 1, 2, 8, 64, 10**9)), "bytes"))
        put = data.draw(st.sampled_from((*BYTES, bytes(body[start:end]) * 2)), "put")
        body[start:end] = put
    return replace(answer, body=bytes(body))


NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


# What a row must be, whatever was said.
def numbers(answer: Answer) -> Counter[Decimal]:
    """All numbers that stand in an answer, read without our code."""
    if not answer.is_xml:
        found: Counter[Decimal] = Counter()
        pending = [json.loads(answer.body, parse_int=Decimal, parse_float=Decimal)]
        while pending:
            value = pending.pop()
            pending += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
            found.update([value] if isinstance(value, Decimal) else [])
        return found
    told = [text for one in ET.fromstring(answer.body).iter() for text in (one.text, *one.attrib.values())]
    return Counter(Decimal(text.strip()) for text in told if text and re.fullmatch(NUMBER, text.strip()))


def read(endpoint: Endpoint, landing: Landing) -> tuple[list[dict[str, Any]], Normalised]:
    normalised = endpoint.normalise(landing)
    rows: list[dict[str, Any]] = normalise.usage(endpoint, landing, normalised).to_pylist()
    return rows, normalised


def no_wrong_row(endpoint: Endpoint, landing: Landing, rows: list[dict[str, Any]]) -> None:
    """Everything that can be said of rows without reading the answer as the vendor module does."""
    answers = {answer.response_id: answer for answer in landing.answers}
    units = {metric.key: metric.unit for metric in endpoint.metrics}
    last = max([landing.days.last, *(answer.fetched_at.date() for answer in landing.answers)])
    for row in rows:
        assert (row["vendor"], row["account"], row["endpoint"]) == (landing.vendor, landing.account, landing.endpoint)
        assert units[row["metric"], row["role"], row["aggregation"], row["temporality"]] == row["unit"]
        assert {name for name, _ in row["dimensions"]} <= {*endpoint.dimensions}
        assert {name for name, _ in row["labels"]} <= {*endpoint.labels}
        assert row["breakdown"] == "+".join(sorted(name for name, _ in row["dimensions"]))
        start, end, observed, day = row["period_start"], row["period_end"], row["observed_at"], row["usage_date"]
        assert observed == row["fetched_at"] == answers[row["response_id"]].fetched_at
        assert row["month"] == f"{day:%Y-%m}"
        assert start < end or row["temporality"] == Temporality.INSTANT
        assert day == (observed if start == end else end - timedelta(microseconds=1)).date()
        if end > observed:
            assert not row["is_final"]
        if row["role"] == Role.PROJECTED and endpoint.history is History.WINDOW:
            assert day in landing.days or (landing.days.last < day and f"{day:%Y-%m}" <= f"{last:%Y-%m}")
        elif endpoint.history is History.WINDOW:
            assert day in landing.days
        elif row["temporality"] == Temporality.INSTANT:
            assert start == end == observed
        else:
            assert start <= observed
            assert row["role"] != Role.CONSUMED or end <= observed
    assert len({tuple(row[name] for name in USAGE.key) for row in rows}) == len(rows)
    for response_id, answer in answers.items():
        told = Counter(row["value"] for row in rows if row["response_id"] == response_id)
        assert told <= numbers(answer), "values that stand in no answer, or stand there less often"


def holds(endpoint: Endpoint, landing: Landing) -> None:
    """The landing is read rightly, or refused with one of our errors, that says where."""
    try:
        rows, normalised = read(endpoint, landing)
    except PayloadError as error:
        assert re.match(r"[$/]", error.path)  # noqa: PT017 - most answers are refused, and none has to be
        assert len(str(error)) < 2_000  # noqa: PT017
        return
    except UsageError:
        return
    no_wrong_row(endpoint, landing, rows)
    responses = {answer.response_id for answer in landing.answers}
    for frame in normalised.billing_periods:
        assert (frame["period_start"] <= frame["period_end"]).all()
        assert {*frame["response_id"]} <= responses
    for frame in normalised.inventory:
        assert {*frame["response_id"]} <= responses
        for attributes in frame["attributes"]:
            assert all(isinstance(text, str) for pair in attributes for text in pair)


def asides(endpoint: Endpoint, vendor: str, answer: Answer) -> None:
    """What else is read of answers: the next page, what an error says, the names of the fields."""
    with suppress(PayloadError):
        onward = endpoint.follow(answer) if endpoint.follow else None
        assert onward is None or isinstance(onward, Request)
    with suppress(PayloadError):
        fields.of(answer, endpoint.keyed)
    for status in (403, 404, 409):
        refused = replace(answer, status=status)
        assert isinstance(VENDORS[vendor].explain(refused), str)
        unavailable = VENDORS[vendor].unavailable
        assert unavailable is None or isinstance(unavailable(refused), bool)


@pytest.mark.parametrize(("vendor", "slug", "options"), DIFFERENT)
@given(data=st.data())
@FUZZED
def test_broken_answers_are_read_rightly_or_refused(
    landed: Find, vendor: str, slug: str, options: Mapping[str, Any], data: st.DataObject
) -> None:
    landing, endpoint = landed(vendor, slug, options), world.endpoint(vendor, slug)
    index = data.draw(st.integers(0, len(landing.answers) - 1), "answer")
    answer = landing.answers[index]
    how = bytewise if answer.is_xml else data.draw(st.sampled_from((structurally, structurally, bytewise)), "how")
    broken = how(data, answer)
    asides(endpoint, vendor, broken)
    holds(endpoint, replace(landing, answers=(*landing.answers[:index], broken, *landing.answers[index + 1 :])))


@pytest.mark.parametrize(("vendor", "slug", "options"), DIFFERENT)
def test_answers_as_deep_as_can_be_read_are_no_trouble(
    landed: Find, vendor: str, slug: str, options: Mapping[str, Any]
) -> None:
    """The deepest answer that can just be decoded leaves no depth for whoever walks through it."""
    landing, endpoint = landed(vendor, slug, options), world.endpoint(vendor, slug)
    answer = landing.answers[0]
    edge, below = _deepest(answer), 8 if LONG else 3
    for depth in (10, 900, 2_000, 20_000) if answer.is_xml else (10, *range(edge - below, edge + 2), 100_000):
        for body in _deepened(answer, depth):
            broken = replace(answer, body=body)
            asides(endpoint, vendor, broken)
            holds(endpoint, replace(landing, answers=(broken, *landing.answers[1:])))


def _deepest(answer: Answer) -> int:
    """How deep arrays can be that are decoded here; the reading of answers begins a few calls further down."""

    def decodes(depth: int) -> bool:
        try:
            kit.payload.json(replace(answer, body=b"[" * depth + b"]" * depth))
        except PayloadError:
            return False
        return True

    return bisect_left(range(10_000), True, key=lambda depth: not decodes(depth)) - 1


def _deepened(answer: Answer, depth: int) -> Iterator[bytes]:
    """An answer that is deep itself, and with something deep under an unknown name, outermost and innermost."""
    if answer.is_xml:
        yield answer.body.replace(b"</usage>", b"<a>" * depth + b"</a>" * depth + b"</usage>")
        return
    yield b"[" * depth + b"]" * depth
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        whole = [_parsed(answer.body)]
        objects = [held[key] for held, key in _places(whole) if isinstance(held[key], dict)]
        for held in objects[:1] + objects[-1:]:
            held["nobody-knows"] = "here"
        deep = f"{opening * depth}1{closing * depth}"
        yield _written(whole[0]).replace(b'"here"', deep.encode())


OVERLOOKED = {
    "_links": "addresses of other answers",
    "allocations": "ignored by name: their unit is not documented",
    "components": "ignored by name: they repeat the amount",
    "page": "which part of a list an answer is",
    "scope": "what was asked for, which is compared",
}
# Names of projects and environments, in answers that tell no usage.
CATALOGUE = "/api/v2/projects"


@pytest.mark.parametrize(("vendor", "slug", "options"), DIFFERENT)
def test_a_number_that_nobody_knows_is_never_dropped(
    landed: Find, vendor: str, slug: str, options: Mapping[str, Any]
) -> None:
    """A new number, put into each object of an answer in turn, is refused or a row: it might be a part of the usage."""
    landing, endpoint = landed(vendor, slug, options), world.endpoint(vendor, slug)
    for index, answer in enumerate(landing.answers):
        for where, body in _with_a_new_number(answer) if answer.request.path != CATALOGUE else ():
            answers = (*landing.answers[:index], replace(answer, body=body), *landing.answers[index + 1 :])
            try:
                rows, _ = read(endpoint, replace(landing, answers=answers))
            except PayloadError:
                continue
            assert NEW in {row["value"] for row in rows}, f"{where}: a number was dropped"


NEW = Decimal(7_777_777)
ASKED = [int(instant.timestamp()) * 1000 for instant in (DAYS.start, DAYS.end)]


def _with_a_new_number(answer: Answer) -> Iterator[tuple[str, bytes]]:
    """The answer with a new number in one object, and the names of the objects around it."""
    if answer.is_xml:
        for found in re.finditer(rb">(?=\s*<)", answer.body):
            before, after = answer.body[: found.end()], answer.body[found.end() :]
            yield str(before[-40:]), before + b"%d" % NEW + after
        return
    body = _parsed(answer.body)
    for names, held in [((), body), *_objects(body)]:
        # A point of a day that was not asked for is left out as a whole, whatever it tells.
        time = held.get("time") if isinstance(held, dict) else None
        elsewhere = time is not None and not ASKED[0] <= Decimal(str(time).strip(MARK)) < ASKED[1]
        if isinstance(held, dict) and not OVERLOOKED.keys() & names and not elsewhere:
            held["nobodyKnows"] = int(NEW)
            yield "/".join(names), _written(body)
            del held["nobodyKnows"]


def _objects(value: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All objects and arrays inside a structure, each with the names on the way to it."""
    for held, key in _places_of(value):
        yield (*names, str(key)), held[key]
        yield from _objects(held[key], (*names, str(key)))


def _places_of(value: Any) -> list[tuple[Any, Any]]:
    keys = value if isinstance(value, dict) else range(len(value))
    return [(value, key) for key in keys if isinstance(value[key], dict | list)]


# Ids that may be numbers, and name series; so may the value of a variation.
IDS = {"aid", "testId", "agentId", "vagentId", "key"}


@pytest.mark.parametrize(("vendor", "slug", "options"), DIFFERENT)
def test_every_number_is_the_value_of_one_row_at_most(
    landed: Find, vendor: str, slug: str, options: Mapping[str, Any]
) -> None:
    """Where a number is another one, the answer is refused, or nothing changes, or the value of one row alone does."""
    landing, endpoint = landed(vendor, slug, options), world.endpoint(vendor, slug)
    rows = _comparable(read(endpoint, landing)[0])
    for index, answer in enumerate(landing.answers):
        for number, body in _with_another_number(answer):
            answers = (*landing.answers[:index], replace(answer, body=body), *landing.answers[index + 1 :])
            try:
                found = _comparable(read(endpoint, replace(landing, answers=answers))[0])
            except PayloadError:
                continue
            changed = {key for key in found.keys() | rows.keys() if found.get(key) != rows.get(key)}
            assert len(changed) <= 1
            for key in changed:
                # ThousandEyes says with a 0 that agents are not counted: no row.
                assert (rows.get(key, Decimal(0)), found[key]) == (number, NEW)


def _comparable(rows: list[dict[str, Any]]) -> dict[Any, Decimal]:
    """The values, by everything else that a row says but for the name of the answer."""
    others = [name for name in USAGE.names if name not in {"value", "response_id"}]
    return {tuple(str(row[name]) for name in others): row["value"] for row in rows}


def _with_another_number(answer: Answer) -> Iterator[tuple[Decimal, bytes]]:
    if answer.is_xml:
        for found in re.finditer(rb"(?<=>)(?<!Id>)(?<!aid>)\d+(?=<)", answer.body):
            yield Decimal(found[0].decode()), answer.body[: found.start()] + b"%d" % NEW + answer.body[found.end() :]
        return
    whole = [_parsed(answer.body)]
    for held, key in list(_places(whole)):
        was = held[key]
        if key in IDS:
            continue
        fraction = isinstance(was, str) and was.startswith(MARK)
        if fraction or (isinstance(was, int) and not isinstance(was, bool)):
            held[key] = int(NEW)
            yield Decimal(str(was).strip(MARK)), _written(whole[0])
            held[key] = was
