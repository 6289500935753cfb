"""The page as text: what it says, that names stay names, and how bars are drawn."""

import re
import stat
from datetime import date, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from usage_pipeline import report
from usage_pipeline.cli import Outside, main
from usage_pipeline.report import charts
from usage_pipeline.report.questions import Row
from usage_pipeline_tests.conftest import TurnableClock
from usage_pipeline_tests.report.november import HOSTILE, NOW, hostile, november, page
from usage_pipeline_tests.sql.lake import small


class Reader(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.values: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.text += " "
        self.values += [value or "" for _name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def said(html: str) -> str:
    return " ".join(Reader(html).text.split())


def test_the_page_says_the_numbers(tmp_path: Path) -> None:
    text = said(page(november(tmp_path)))
    for expected in (
        "As of 21 Nov 2026, 05:30 UTC",
        # All but Consul, of which nothing was captured: ten days from the 11th.
        "3 of 4 sources",
        "11 days 1 failed, 10 not available",
        "2 days drawn lighter below",
        "1 used up of 2 entitlements, 1 more may run out",
        # 312 / 300
        "104 % Over the entitlement, first on 6 Nov",
        "312 Nodes (highest day)",
        "Left \N{MINUS SIGN}12 Nodes",
        # 20 of 30 days used 20,000: 30,000 of 25,000 by the end; the 5,000 left last five days.
        "80 % Expected to run out on 26 Nov",
        "30,000 Minutes, 120 % (if it goes on like this)",
        "24,000 1 Nov \N{EN DASH} 20 Nov 20,000 1 Oct \N{EN DASH} 20 Oct +4,000 ▲ +20 %",
        "2 values changed 2 Nov \N{EN DASH} 3 Nov 2 Nov: 900 → 1,200 Events",
        "1 day not known in between",
        "5 Nov: failed. the server said 500",
    ):
        assert expected in text, expected


def test_an_empty_warehouse_is_said_to_be_empty(tmp_path: Path) -> None:
    text = said(page(small(tmp_path)))
    assert "Nothing was loaded yet" in text
    assert "No entitlement is known" in text
    assert "0 of 0" not in text


def test_names_are_text_whatever_they_hold(tmp_path: Path) -> None:
    html = page(hostile(tmp_path))
    reader = Reader(html)
    assert "script" not in reader.tags
    assert HOSTILE in reader.text
    assert not any(value.startswith("on") for value in re.findall(r"<[a-z]+ (on\w+)=", html))
    # The drawings hold no name at all.
    assert not any("verylong" in drawing for drawing in re.findall(r"<svg.*?</svg>", html, re.DOTALL))


def test_the_page_asks_for_nothing(tmp_path: Path) -> None:
    html = page(november(tmp_path))
    assert "default-src 'none'" in html
    outside = set(re.findall(r"https?://[^\"' <]+", html))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not {"script", "link", "img", "iframe", "object", "a"} & set(Reader(html).tags)


def rows(aggregation: str, *told: tuple[int, int, int, bool]) -> list[Row]:
    """Day of November, value, days covered, final."""
    return [
        {"usage_date": date(2026, 11, day), "value": Decimal(value), "days_covered": days, "is_final": final,
         "aggregation": aggregation}
        for day, value, days, final in told
    ]  # fmt: skip


def bars(svg: str) -> list[tuple[float, float, float, str]]:
    """Left, width, height and colour of each bar."""
    shape = r'<path [^>]*?d="M([\d.]+),[\d.]+h([\d.]+)v([\d.]+)h-[\d.]+Z"[^>]*?fill="(var[^"]+)"'
    return [(float(x), float(w), float(h), fill) for x, w, h, fill in re.findall(shape, svg)]


def test_missing_days_are_gaps_and_days_told_at_once_one_wide_bar() -> None:
    # The 5th is missing; the 6th to the 8th came as 300 at once: three days wide, 100 high.
    told = rows("sum", (3, 100, 1, True), (4, 200, 1, True), (8, 300, 3, True), (9, 100, 1, False))
    third, fourth, wide, open_ = bars(charts.daily(told, date(2026, 11, 1), date(2026, 11, 10)))
    assert fourth[0] - third[0] == pytest.approx(third[1], rel=0.01)
    assert wide[0] - fourth[0] == pytest.approx(2 * third[1], rel=0.01)
    assert wide[1] == pytest.approx(3 * third[1], rel=0.01)
    assert wide[2] == pytest.approx(third[2], rel=0.01)
    assert fourth[2] == pytest.approx(2 * third[2], rel=0.01)
    assert [each[3] for each in (third, fourth, wide, open_)] == [charts.BAR] * 3 + [charts.SOFT]


def test_a_count_to_date_is_never_spread_over_its_days() -> None:
    told = rows("distinct", (3, 90, 3, True), (4, 90, 4, True))
    third, fourth = bars(charts.daily(told, date(2026, 11, 1), date(2026, 11, 10)))
    assert (third[1], third[2]) == pytest.approx((fourth[1], fourth[2]), rel=0.01)


@pytest.mark.parametrize("value", [0, -5, 10**29])
def test_any_number_is_drawn(value: int) -> None:
    assert "NaN" not in charts.daily(rows("sum", (3, value, 1, True)), date(2026, 11, 1), date(2026, 11, 10))


@pytest.mark.parametrize("ratio", [0, 0.3, 1, 7, 4_321])
def test_any_ratio_is_drawn(ratio: float) -> None:
    drawn = charts.utilization(ratio, 2 * ratio)
    assert "NaN" not in drawn
    assert drawn.count("<text") <= 8


def test_states_are_told_apart_without_colour() -> None:
    signs = [sign for _fill, _border, sign, _ink in charts.STATES.values()]
    assert len(set(signs)) == len(signs)
    first = date(2026, 11, 2)
    told = [(first + timedelta(days=n), state) for n, state in enumerate(charts.STATES)]
    drawn = charts.calendar(told, first, first + timedelta(days=13))
    assert all(f">{sign}</text>" in drawn for sign in signs if sign)


def test_the_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")
    assert report.write("né", file) == 3
    assert file.read_text("utf-8") == "né"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError, match=r"report\.html"):
        report.write("new", tmp_path / "report.html")
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def command(home: Path, *arguments: str) -> tuple[int, str]:
    outside = Outside({"USAGE_PIPELINE_HOME": str(home)}, TurnableClock(NOW), lambda _seconds: None)
    result = CliRunner().invoke(main, ["report", *arguments], obj=outside)
    return result.exit_code, result.output


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    november(tmp_path)
    out = tmp_path / "page.html"
    status, told = command(tmp_path, "--out", str(out))
    assert (status, told) == (0, f"{out}: {out.stat().st_size:,} bytes\n")
    assert "As of 21 Nov 2026, 05:30 UTC" in said(out.read_text())


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    status, told = command(tmp_path)
    assert status == 1
    assert "load something first" in told
    small(tmp_path)
    status, told = command(tmp_path, "--out", str(tmp_path / "nowhere" / "page.html"))
    assert status == 1
    assert told.count("\n") == 1
    assert "No such file or directory" in told
