"""Reading answers: what does not fit is refused, with its path."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer, Request
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline_tests.conftest import NOW
from usage_pipeline_tests.reliability import LONG


def answer(body: bytes) -> Answer:
    return Answer(Request("/"), "https://vendor.example/", 200, {}, body, NOW)


# JSON


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"0.1", Decimal("0.1")),
        (b"-12.345678901234567890123", Decimal("-12.345678901234567890123")),
        (b"1.50", Decimal("1.50")),
        (b"1e3", Decimal("1E+3")),
        (b"1e400", Decimal("1E+400")),
        (b"42", 42),
        (b"9223372036854775808", 9_223_372_036_854_775_808),
        (b"18446744073709551616", 18_446_744_073_709_551_616),
        (b"1234567890123456789012345678901234567890", 1234567890123456789012345678901234567890),
        (b"1234567890123456789012345678901234567890.5", Decimal("1234567890123456789012345678901234567890.5")),
        (b' {"a": [1, null, true, "\\u00e9\xc3\xa9"]}\r\n', {"a": [1, None, True, "éé"]}),
    ],
)
def test_numbers_are_exact(body: bytes, value: Any) -> None:
    found = kit.payload.json(answer(body))
    assert found == value
    assert type(found) is type(value)
    assert str(found) == str(value)


@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"[nan]",
        b"1e99999999999999999999999",
        b"9" * 5000,
        b"01",
        b"1.",
        b"+1",
        b"{'a': 1}",
        b'{"a": 1,}',
        b"{} {}",
        b"",
        b"[1, 2",
        b"<html><body>Sign in</body></html>",
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        b'{"a": "\xff"}',
        b'{"\xff": 1}',
        b'"\\ud800"',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError, match="not JSON") as refused:
        kit.payload.json(answer(body))
    assert refused.value.path == "$"
    assert len(str(refused.value)) < 600


def test_the_refusal_shows_how_the_answer_begins() -> None:
    with pytest.raises(PayloadError, match="<html>Sign in"):
        kit.payload.json(answer(b"<html>Sign in" + b"x" * 10_000))


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"a":1,"a":2}', "a"),
        (b'{"a":1,"a":1}', "a"),
        (b'{"": 1, "": 2}', ""),
        (b'{"a" :1,\n "a"\t: 2}', "a"),
        (b'{"a":1,"\\u0061":2}', "a"),
        (b'{"a":1,"a":"\\u0022"}', "a"),
        (b'{"b":"\\u0022\\u0022","a":1,"a":2}', "a"),
        (b'[{"c":null,"b":"a"},{"b":{"a":1,"c":{},"c":[]}}]', "c"),
        (b'{"b":1e5,"c":"\\/\\"","a":1.50,"d":{"a":2},"a":2}', "a"),
        (b"[" * 500 + b'{"a":1,"a":2}' + b"]" * 500, "a"),
    ],
    ids=lambda told: repr(told[:40]),
)
def test_a_key_that_is_told_twice_is_refused(body: bytes, key: str) -> None:
    with pytest.raises(PayloadError, match=f"tells '{key}' twice"):
        kit.payload.json(answer(body))


@pytest.mark.parametrize(
    "body",
    [
        b'[{"a":1},{"a":1}]',
        b'{"a":{"a":{"a":"a"}}}',
        b'{"a":":","\\"a":"\\"a\\":","\\u0022a\\u0022":"\\u0022","b\\\\":"\\\\u0022"}',
        b'{"\\ud83d\\ude00":"\\u00e9\\/","x":"1.50","y":1.50,"z":1E-7,"n":12345678901234567890123456789}',
    ],
)
def test_what_only_looks_like_a_repeated_key_is_read(body: bytes) -> None:
    assert kit.payload.json(answer(body)) == json.loads(body, parse_float=Decimal)


TEXTS = st.text(st.sampled_from('ab":\\/ \u00e9\U0001f600'), max_size=3)
VALUES = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.lists(st.tuples(TEXTS, inner), max_size=4).map(tuple),
    max_leaves=12,
)


def written(value: Any, escape: bool, space: str) -> str:
    """JSON of a value in which tuples of pairs are objects, keys as they come."""
    if isinstance(value, tuple):
        pairs = [f"{written(key, escape, space)}{space}:{space}{written(inner, escape, space)}" for key, inner in value]
        return f"{{{space}{f'{space},'.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{','.join(written(inner, escape, space) for inner in value)}]"
    if isinstance(value, str) and escape:
        # As UTF-16 in hexadecimal, which says every character by its number.
        units = value.encode("utf-16-be")
        return '"' + "".join(f"\\u{units[n : n + 2].hex()}" for n in range(0, len(units), 2)) + '"'
    return json.dumps(value, ensure_ascii=False)


def repeats(value: Any) -> bool:
    if isinstance(value, tuple):
        return len(dict(value)) < len(value) or any(repeats(inner) for _key, inner in value)
    return isinstance(value, list) and any(map(repeats, value))


@settings(max_examples=20_000 if LONG else 500)
@given(VALUES, st.booleans(), st.sampled_from(["", " ", "\n\t"]))
def test_exactly_what_repeats_a_key_is_refused(value: Any, escape: bool, space: str) -> None:
    body = written(value, escape, space).encode()
    if repeats(value):
        with pytest.raises(PayloadError, match="twice"):
            kit.payload.json(answer(body))
    else:
        kit.payload.json(answer(body))


# XML


def test_xml_is_read() -> None:
    root = kit.payload.xml(answer('<?xml version="1.0"?><usage><units a="1">1.50é</units></usage>'.encode()))
    assert [(child.tag, child.attrib, child.text) for child in root] == [("units", {"a": "1"}, "1.50é")]


LAUGHS = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE a [<!ENTITY l0 "ha">' + LAUGHS + b"]><a>&l9;</a>",
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd"><a/>',
        b"<!DOCTYPE a><a/>",
        b"<a>&unknown;</a>",
        b"<a>",
        b"<a/><b/>",
        b"<a>\x00</a>",
        b"<a>\xff</a>",
        b'<?xml version="1.0" encoding="no-such-encoding"?><a/>',
        b'<?xml version="1.0" encoding="utf-7"?><a/>',
        b'{"a": 1}',
        b"",
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_not_acceptable_xml_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError, match="not acceptable XML") as refused:
        kit.payload.xml(answer(body))
    assert refused.value.path == "/"


# Shapes


WRONG: list[tuple[Any, str]] = [
    (None, "null"),
    (True, "a boolean"),
    (1, "a number"),
    (Decimal("1.5"), "a number"),
    ("a", "text"),
    ([], "an array"),
    ({}, "an object"),
]


@pytest.mark.parametrize(("value", "called"), WRONG)
@pytest.mark.parametrize(
    ("read", "wanted"), [(kit.payload.obj, "an object"), (kit.payload.array, "an array"), (kit.payload.text, "text")]
)
def test_another_shape_is_refused_with_its_path(read: Any, wanted: str, value: Any, called: str) -> None:
    if called == wanted:
        assert read(value, "$.a") is value
        return
    with pytest.raises(PayloadError, match=f"expected {wanted}, found {called}") as refused:
        read(value, "$.a")
    assert refused.value.path == "$.a"


def test_a_member_is_read() -> None:
    assert kit.payload.member({"items": [1]}, "items") == [1]
    assert kit.payload.member({"items": None}, "items") is None


def test_a_missing_member_is_refused() -> None:
    """What is there says what the answer is instead, such as an error that came with status 200."""
    with pytest.raises(PayloadError) as refused:
        kit.payload.member({"code": "unavailable", "mes\nsage": "later"}, "items", "$.page")
    assert str(refused.value) == "$.page: 'items' is missing: there is 'code', 'mes\\nsage'"
    assert refused.value.path == "$.page"
    with pytest.raises(PayloadError, match="'items' is missing: there is nothing"):
        kit.payload.member({}, "items")
    with pytest.raises(PayloadError) as refused:
        kit.payload.member(dict.fromkeys(map(str, range(100_000))), "items")
    assert len(str(refused.value)) < 1300
    with pytest.raises(PayloadError, match="expected an object, found an array"):
        kit.payload.member([], "items")


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"new": 1}, "$.new"),
        ({"new": Decimal("0.5")}, "$.new"),
        ({"new": {"deep": [{"er": "a"}, {"er": 2}]}}, "$.new.deep[1].er"),
        ({"old": 1, "text": "a", "new": [[], [3]]}, "$.new[1][0]"),
    ],
)
def test_an_unknown_number_is_refused_wherever_it_hides(value: dict[str, Any], path: str) -> None:
    with pytest.raises(PayloadError, match="unknown number") as refused:
        kit.payload.refuse_unknown_numbers(value, {"old"}, "$")
    assert refused.value.path == path


def test_what_is_known_or_no_number_is_let_through() -> None:
    value = {"old": {"deep": 1}, "name": "1", "flag": True, "none": None, "list": ["1", {"a": False}]}
    kit.payload.refuse_unknown_numbers(value, ("old",), "$")


# Records


def test_records_are_read_by_column() -> None:
    source = answer(b"")
    found = kit.payload.records(source, [{"a": 1}, {"a": None, "name": "x"}, {}], "$.items", {"a"})
    assert found.answer is source
    assert found.column("a") == [1, None, None]
    assert found.at(2, "a") == "$.items[2].a"
    assert kit.payload.records(source, [], "$", {"a"}).column("a") == []


@pytest.mark.parametrize(
    ("items", "path", "problem"),
    [
        ({"a": 1}, "$.items", "expected an array, found an object"),
        (None, "$.items", "expected an array, found null"),
        ([{"a": 1}, None], "$.items[1]", "expected an object, found null"),
        ([{"a": 1}, {"a": 1}, [1]], "$.items[2]", "expected an object, found an array"),
        ([{"a": 1}, {"a": 1, "b": 2}], "$.items[1].b", "unknown number"),
        ([{"a": 1}, {"b": "text"}, {"b": Decimal("0.1")}], "$.items[2].b", "unknown number"),
        ([{"b": {"c": [1]}}], "$.items[0].b.c[0]", "unknown number"),
        ([{"b": [{"c": "x"}]}, {"d": [[4]]}], "$.items[1].d[0][0]", "unknown number"),
    ],
)
def test_records_that_do_not_fit_are_refused_with_their_place(items: Any, path: str, problem: str) -> None:
    with pytest.raises(PayloadError, match=problem) as refused:
        kit.payload.records(answer(b""), items, "$.items", {"a"})
    assert refused.value.path == path


def test_unknown_fields_without_numbers_are_let_through() -> None:
    items = [{"a": 1, "b": "x"}, {"b": None, "c": True}, {"d": {"e": ["x"]}}]
    assert kit.payload.records(answer(b""), items, "$", ["a"]).items == items
