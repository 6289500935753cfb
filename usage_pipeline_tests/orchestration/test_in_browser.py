"""`usage-pipeline dev` as a platform engineer meets it: Dagster's own pages, in Debian's Chromium.

One walk, for each step needs the one before, and a server and a backfill take a minute: the graph of all vendors, a
backfill of five of Puppet's days, and the check that tells on which of them the nodes do not add up.

Where USAGE_PIPELINE_SCREENSHOTS names a folder, the pages are kept there as dagster-*.png, as the README shows them.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest
import yaml
from playwright.sync_api import Browser, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from usage_pipeline import config
from usage_pipeline.checking import KEYS_UNIQUE, PARTS_AGREE, VALUES_IN_RANGE
from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.sandbox import server
from usage_pipeline.sandbox.world import World
from usage_pipeline_tests.conftest import served
from usage_pipeline_tests.orchestration.test_end_to_end import START, Dagster, free_port
from usage_pipeline_tests.webserver import until, up

ROOT = Path(__file__).parents[2]
SCREENSHOTS = "USAGE_PIPELINE_SCREENSHOTS"

SHOWN, BACKFILL = 30_000, 240_000
"""Milliseconds after which a page, and a backfill, count as hanging; the daemon looks for backfills every 30 s."""

TODAY = datetime.now(UTC).date()
START_DATE = TODAY - 60 * DAY
DAYS = Days(TODAY - 40 * DAY, TODAY - 36 * DAY)
ODD = TODAY - 38 * DAY

NODES = {"total_nodes": 240, "nodes_with_agent": 228, "nodes_without_agent": 12}
ODD_NODES = {**NODES, "total_nodes": 250}

# Days in the list of partitions: all, and those whose dot is green.
LISTED = "[class*='AssetEventList'] [data-tooltip]"
GREEN = f"{LISTED}:has(+ [style*='--color-accent-green'])"


def puppet(request: Request) -> JSONResponse:
    """A Puppet of 240 nodes every day; on the odd day its total is ten more than its parts."""
    days = Days(*(date.fromisoformat(request.query_params[name]) for name in ("start_date", "end_date")))
    return JSONResponse({"items": [{"date": str(day), **(ODD_NODES if day == ODD else NODES)} for day in days]})


def vendors() -> Starlette:
    """The sandbox, but for that Puppet."""
    sandbox = server.app(World(lambda: datetime.now(UTC)))
    return Starlette(routes=[Route("/puppet/orchestrator/v1/usage", puppet), Mount("/", app=sandbox)])


def accounts(base: str) -> str:
    """accounts.yaml: the sandbox's accounts, at another address."""
    entries = yaml.safe_load(config.SANDBOX_ACCOUNTS.read_text())["accounts"]
    for entry in entries:
        entry |= {"base_url": f"{base}/{entry['vendor']}", "start_date": START_DATE}
        if entry["vendor"] == "puppet":
            entry["options"] = {"events": "exclude"}
    return yaml.safe_dump({"accounts": entries})


@contextmanager
def running(port: int, accounts: Path, home: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`usage-pipeline dev`; told to end, it ends what it started."""
    environment = {
        **os.environ,
        **server.environment(),
        "PYTHONPATH": str(ROOT),
        config.ACCOUNTS_VARIABLE: str(accounts),
        config.HOME_VARIABLE: str(home),
    }
    program = "from usage_pipeline.cli import main; main()"
    command = [sys.executable, "-c", program, "dev", "--port", str(port)]
    with log.open("wb") as sink:
        started = subprocess.Popen(command, cwd=log.parent, env=environment, stdout=sink, stderr=subprocess.STDOUT)
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(60)


@pytest.fixture
def dagster(browser: Browser, tmp_path: Path) -> Iterator[Dagster]:
    home, file, log, port = tmp_path / "home", tmp_path / "accounts.yaml", tmp_path / "dev.log", free_port()
    found = Dagster(f"http://127.0.0.1:{port}", home)
    with served(vendors()) as base:
        file.write_text(accounts(base))
        with running(port, file, home, log) as process:
            until(lambda: up(found.url) or process.poll() is not None, START, log.read_text)
            assert process.poll() is None, log.read_text()
            yield found


@pytest.fixture
def page(browser: Browser, dagster: Dagster) -> Iterator[Page]:
    tab = browser.new_page(viewport={"width": 1280, "height": 800}, base_url=dagster.url)
    tab.set_default_timeout(SHOWN)
    expect.set_options(SHOWN)
    yield tab
    tab.close()


def keep(page: Page, name: str) -> None:
    """A picture of the page, where pictures are wanted."""
    if folder := os.environ.get(SCREENSHOTS):
        page.screenshot(path=Path(folder) / f"dagster-{name}.png", animations="disabled")


def the_graph_shows_every_vendor_above_the_warehouse(page: Page) -> None:
    page.goto("/asset-groups")
    for group in (*server.VENDORS, "warehouse"):
        # Once in the list at the left, once in the graph.
        expect(page.get_by_text(group, exact=True).filter(visible=True)).to_have_count(2)
    expect(page.get_by_text("fetching statuses")).to_have_count(0)
    keep(page, "assets")


def a_backfill_is_launched(page: Page) -> None:
    """Both assets of Puppet's usage over the five days, from the page that the graph is on."""
    page.locator(".CodeMirror").click()
    page.keyboard.type('group:"puppet"')
    page.keyboard.press("Enter")
    page.get_by_text("Materialize all").click()
    expect(page.get_by_text("Launch runs to materialize 2 assets")).to_be_visible()
    chosen = page.get_by_placeholder("No matching partitions")
    chosen.fill(f"[{DAYS.first}...{DAYS.last}]")
    chosen.press("Enter")
    expect(page.get_by_text("5 partitions", exact=True)).to_be_visible()
    keep(page, "launch")
    page.get_by_role("button", name="Launch backfill").click()


def the_backfill_succeeds(page: Page) -> None:
    page.get_by_text("View", exact=True).click()
    status = page.get_by_text("Status", exact=True).locator("..")
    expect(status).to_contain_text(re.compile("Succeeded|Failed|Cancel"), timeout=BACKFILL)
    expect(status).to_contain_text("Succeeded")


def the_days_of_the_range_are_green(page: Page) -> None:
    for asset in ("raw", "usage"):
        page.goto(f"/assets/{asset}/demo-puppet/usage?view=partitions&partition={DAYS.last}")
        expect(page.get_by_text("Materialized (5)")).to_be_visible()
        expect(page.get_by_text("Failed (0)")).to_be_visible()
        # The others, which are grey.
        page.get_by_text("Missing (").click()
        expect(page.locator(LISTED)).to_have_count(5)
        days = [listed.get_attribute("data-tooltip") for listed in page.locator(GREEN).all()]
        assert sorted(map(str, days)) == [str(day) for day in DAYS]
    # The chart: five of the last 30 days.
    expect(page.get_by_text(re.compile("·█████")).first).to_be_visible()
    keep(page, "partitions")


def the_warehouse_has_the_rows(home: Path) -> None:
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as session:
        rows = session.execute("SELECT usage_date, metric, value FROM usage ORDER BY ALL").fetchall()
    assert rows == [
        (day, metric, value)
        for day in DAYS
        for metric, value in (
            ("nodes", 250 if day == ODD else 240),
            ("nodes_with_agent", 228),
            ("nodes_without_agent", 12),
        )
    ]


def a_failed_check_says_what_to_do(page: Page) -> None:
    """One day's total is not the sum of its parts. What has to hold for every row holds."""
    page.goto(f"/assets/usage/demo-puppet/usage?view=checks&checkDetail={PARTS_AGREE.name}")
    expect(page.get_by_text(PARTS_AGREE.says)).to_be_visible()
    expect(page.get_by_text(f"{PARTS_AGREE.faults}: 1, {ODD}. Ask again: ")).to_contain_text(
        f"usage-pipeline pull --account demo-puppet --endpoint usage --from {ODD} --to {ODD}"
    )
    expect(page.get_by_role("row", name=re.compile(f"^{ODD} nodes .*250 240 10"))).to_be_visible()
    for check, came in ((PARTS_AGREE, "Failed"), (KEYS_UNIQUE, "Succeeded"), (VALUES_IN_RANGE, "Succeeded")):
        # A name is there twice: the other one is only measured, for its width.
        listed = page.locator("div").filter(has_text=re.compile(rf"^({check.name})+{came}$"))
        expect(listed).not_to_have_count(0)
    keep(page, "check")


def test_an_engineer_backfills_from_the_page(page: Page, dagster: Dagster) -> None:
    the_graph_shows_every_vendor_above_the_warehouse(page)
    a_backfill_is_launched(page)
    the_backfill_succeeds(page)
    the_days_of_the_range_are_green(page)
    the_warehouse_has_the_rows(dagster.home)
    a_failed_check_says_what_to_do(page)
