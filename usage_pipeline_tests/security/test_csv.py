"""CSV is for programs and for spreadsheets: no text of a vendor's is run, and nothing is lost."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from usage_pipeline import warehouse

RUN = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What OWASP's page on CSV injection lists, with the wide forms that some spreadsheets fold."""

NAMES = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "'=1",
    '=HYPERLINK("http://x","y")',
    "=cmd|' /C calc'!A0",
    "a,b",
    'say "x"',
    "a\nb",
    "",
    "\uff1d1+1",
    "x" * 1_000_000,
]


def told(name: str) -> warehouse.Result:
    with duckdb.connect() as session:
        return warehouse.ask(
            session, "SELECT $name AS name, -5 AS number, -1.50::DECIMAL(9, 2) AS money", {"name": name}
        )


@pytest.fixture(autouse=True)
def _wide_fields() -> Iterator[None]:
    before = csv.field_size_limit(2_000_000)
    yield
    csv.field_size_limit(before)


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_no_text_begins_a_formula(name: str) -> None:
    head, row = csv.reader(io.StringIO(told(name).csv(), newline=""))
    assert head == ["name", "number", "money"]
    assert not row[0].startswith(RUN)
    # Numbers are numbers, for spreadsheets and programs alike.
    assert row[1:] == ["-5", "-1.50"]


@given(st.text() | st.text("=+-@'\"\t\r\n, ;a1"))
@example("a\r=1")
def test_nothing_is_lost(name: str) -> None:
    """One apostrophe less, where there is one, is the text as it was."""
    _head, row = csv.reader(io.StringIO(told(name).csv(), newline=""))
    assert row[0].removeprefix("'") == name
    assert not row[0].startswith(RUN)


def test_names_of_columns_are_texts_too() -> None:
    with duckdb.connect() as session:
        assert warehouse.ask(session, 'SELECT 1 AS "=1+1"').csv() == "'=1+1\n1\n"


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_json_has_the_text_as_it_is(name: str) -> None:
    assert json.loads(told(name).json()) == [{"name": name, "number": -5, "money": -1.5}]


@pytest.mark.parametrize("name", ["[/x]", "[bold]x[/bold]", "[link=http://x]y[/link]", ":smile:"])
def test_a_table_shows_markup_as_text(name: str) -> None:
    assert name in shown(name)


@pytest.mark.parametrize("name", ["\x1b[31mred", "\x1b]0;title\x07", "\x9b31m", "a\x08b", "\u202eabc", "a\rb"])
def test_a_terminal_is_told_nothing_by_a_name(name: str) -> None:
    assert all(letter.isprintable() for letter in shown(name).replace("\n", ""))


def shown(name: str) -> str:
    out = io.StringIO()
    Console(file=out, width=200, force_terminal=False).print(told(name).rich())
    return out.getvalue()
