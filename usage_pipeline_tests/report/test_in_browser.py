"""The page in a real browser: on a desk and on a phone, light and dark."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from usage_pipeline import report
from usage_pipeline_tests.report.november import HOSTILE, hostile, november, page
from usage_pipeline_tests.sql.lake import small

MEASURE = Path(__file__).with_name("measure.js").read_text()

SCREENS = {"desk": (1280, 900), "phone": (390, 844), "small phone": (320, 640)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages, by what is on them."""
    made = {}
    for name, lake in (("november", november), ("hostile", hostile), ("empty", small)):
        home = tmp_path_factory.mktemp(name)
        made[name] = home / "report.html"
        report.write(page(lake(home)), made[name])
    return made


@pytest.fixture(params=SCREENS)
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    return SCREENS[request.param]


@pytest.fixture(params=["light", "dark"])
def shown(request: pytest.FixtureRequest, browser: Browser, size: tuple[int, int]) -> Iterator[Page]:
    """An empty tab of that size and scheme."""
    width, height = size
    tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=request.param)
    yield tab
    tab.close()


@pytest.mark.parametrize("name", ["november", "hostile", "empty"])
def test_the_page_is_readable_and_asks_for_nothing(shown: Page, files: dict[str, Path], name: str) -> None:
    asked: list[str] = []
    complaints: list[str] = []
    shown.on("request", lambda request: asked.append(request.url))
    shown.on("console", lambda message: complaints.append(message.text))
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.on("dialog", lambda dialog: complaints.append(dialog.message))
    shown.goto(files[name].as_uri())

    told = shown.evaluate(MEASURE)
    assert asked == [files[name].as_uri()]
    assert complaints == []
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert len(told) > 5
    narrow = shown.viewport_size is not None and shown.viewport_size["width"] < 390
    assert [each for each in told if each["size"] < (9 if narrow else 11)] == []
    assert [each for each in told if each["contrast"] < 4.5] == []


def test_light_and_dark_are_two(browser: Browser, files: dict[str, Path]) -> None:
    colours = set()
    for scheme in ("light", "dark"):
        tab = browser.new_page()
        tab.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        tab.goto(files["november"].as_uri())
        bar = "getComputedStyle(document.querySelector('#daily svg path[fill=\"var(--bar)\"]')).fill"
        colours.add((tab.evaluate("getComputedStyle(document.body).backgroundColor"), tab.evaluate(bar)))
        tab.close()
    assert len({page for page, _bar in colours}) == len({bar for _page, bar in colours}) == 2


def test_every_section_shows_its_numbers(browser: Browser, files: dict[str, Path]) -> None:
    tab = browser.new_page()
    tab.goto(files["november"].as_uri())
    expected = {"#utilization": "104 %", "#changes": "24,000", "#daily": "1,200", "#coverage": "1 day failed"}
    for section, number in expected.items():
        assert number in tab.locator(section).inner_text()
    # 31 days of October and 20 of November, of which two are open.
    bars = tab.locator("#daily article").filter(has_text="Ingress events").locator("svg path")
    assert bars.and_(tab.locator("[fill='var(--bar)']")).count() == 49
    assert bars.and_(tab.locator("[fill='var(--soft)']")).count() == 2
    tab.close()


def test_a_hostile_name_is_shown_as_it_is(browser: Browser, files: dict[str, Path]) -> None:
    tab = browser.new_page()
    tab.goto(files["hostile"].as_uri())
    assert HOSTILE in (tab.locator("#daily h3").first.text_content() or "")
    assert tab.locator("script").count() == 0
    tab.close()
