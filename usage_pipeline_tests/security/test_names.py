"""What vendors tell is data: whatever a name holds, it is text in the table, and nothing anywhere else."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from usage_pipeline import pipeline, report, warehouse
from usage_pipeline.config import Configuration
from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.orchestration import metadata
from usage_pipeline.sandbox import server
from usage_pipeline.sandbox.world import World
from usage_pipeline_tests import contract_world as world
from usage_pipeline_tests.conftest import NOW, TurnableClock
from usage_pipeline_tests.reliability import LONG
from usage_pipeline_tests.report.november import NOW as NOVEMBER
from usage_pipeline_tests.report.november import TITLES, hostile, november

TODAY = NOW.date()
EACH = {
    "formula": "=cmd|' /C calc'!A0",
    "path": "../../../../escaped/%2e%2e/\\..\\",
    "sql": "'); DROP VIEW usage; ATTACH '/escaped' AS x; --\"",
    "page": '"><script>alert(1)</script><img src=x onerror=alert(1)>&amp;',
    "lines": "a\nb\r\nc\td\u2028e\x1b[31m\u202e",
    "markup": "[/x] | `y` | [z](javascript:alert(1)) $name {name} %s",
}
LONG_NAME = "=" + "x" * 1_000_000
# In the long test each by itself, so that none hides another.
NAMES = {"worst": "".join(EACH.values()), "long": LONG_NAME} | (EACH if LONG else {})
# Vendor, endpoint, day, options, and the texts in the sandbox's answers that another text takes the place of.
TOLD: list[Any] = [
    pytest.param("consul", "operator_usage", TODAY, {}, ["payments", "edge"], id="consul"),
    pytest.param("aveva", "namespace_usage", TODAY - DAY, {}, ["plant-operations"], id="aveva"),
    pytest.param(
        "thousandeyes", "usage", TODAY, {}, ["Shop", "https://shop.example/", "Web - Page Load"], id="thousandeyes"
    ),
    pytest.param(
        "launchdarkly",
        "service_connections",
        TODAY - DAY,
        {"group_by": {"service_connections": ["projectId", "environmentId"]}},
        ["5f1a00000000000000000001", "Payments", "production", "Test"],
        id="launchdarkly",
    ),
    # It tells no names: a day may be one.
    pytest.param("puppet", "usage", TODAY - DAY, {}, ["2026-03-17"], id="puppet"),
]


class Renaming:
    """An application whose answers have another text in place of some."""

    def __init__(self, app: Any, old: list[str], new: str) -> None:
        self._app, self._old, self._new = app, old, new

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        sent: list[Any] = []

        async def hold(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, hold)
        body = b"".join(message.get("body", b"") for message in sent)
        for old in self._old:
            body = body.replace(json.dumps(old).encode(), json.dumps(self._new).encode())
        start = sent[0]
        kept = [(name, value) for name, value in start["headers"] if name != b"content-length"]
        await send({**start, "headers": [*kept, (b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})


class Elements(HTMLParser):
    """How often each element and attribute stands in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.update([tag, *(f"{tag} {name}" for name, _value in attrs)])


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize(("vendor", "slug", "day", "options", "old"), TOLD)
def test_a_name_is_text_wherever_it_goes(
    tmp_path: Path,
    clock: TurnableClock,
    serve: Callable[[Any], str],
    vendor: str,
    slug: str,
    day: date,
    options: dict[str, Any],
    old: list[str],
    kind: str,
) -> None:
    name, home = NAMES[kind], tmp_path / "home"
    # A megabyte in every row is a test of patience: one name is enough.
    base = serve(Renaming(server.app(World(clock)), old[:1] if kind == "long" else old, name))
    place, account = world.place(home, clock), world.account(vendor, base, **options)
    outcome = pipeline.pull(place, account, slug, Days(day, day))
    published = pipeline.publish(place, Configuration((account,)))

    # Paths: ours alone, and all below the home.
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    odd = [path for path in home.rglob("*") if not re.fullmatch(r"[\w.=-]+", path.name)]
    assert odd == []

    # SQL: every view is there, and the name stands in the table as it was told, or the answer was refused.
    with warehouse.reading(home) as session:
        told = warehouse.ask(session, "SELECT dimensions, labels FROM usage").rows
        assert warehouse.ask(session, f"FROM {pipeline.view_of(account, slug)}").rows or outcome.failures
        everything = warehouse.ask(session, f"FROM {pipeline.view_of(account, slug)}")
        coverage = warehouse.ask(session, "FROM coverage")
        answers = report.answers(session, TODAY)
    texts = {text for maps in told for each in maps for text in each.values()}
    folded = {text.lower() for text in texts}
    assert outcome.failures or name in texts or name.lower() in folded
    assert not outcome.failures or vendor == "puppet"

    # CSV: no cell begins a formula.
    before = csv.field_size_limit(10_000_000)
    for cells in csv.reader(io.StringIO(everything.csv() + coverage.csv(), newline="")):
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r"))]
    csv.field_size_limit(before)

    # Pages: no element of the name's, and room for the rest.
    html = report.page(answers, NOW, TITLES)
    assert not {"script", "img", "iframe"} & set(Elements(html).found)
    assert len(html) < 1_000_000

    # Dagster: Markdown holds our own words alone; names stand in the sample, which is data.
    shown = metadata.published(published, account, slug, day)
    for value in shown.values():
        if isinstance(value, dg.MarkdownMetadataValue):
            assert name not in str(value.md_str)


def page(home: Path) -> str:
    with warehouse.reading(home) as session:
        return report.page(report.answers(session, NOVEMBER.date()), NOVEMBER, TITLES)


def test_a_page_has_the_elements_that_it_has_with_harmless_names(tmp_path: Path) -> None:
    """Names at their worst in every place where a vendor, a configuration or an error can put one."""
    harmless, worst = tmp_path / "harmless", tmp_path / "worst"
    november(harmless)
    hostile(worst)
    known, found = (Elements(page(home)).found for home in (harmless, worst))
    assert set(found) <= set(known)
    assert "script" not in found
    assert not [name for name in found if " on" in name]
