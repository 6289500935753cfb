"""The drawings: Vega-Lite by Altair, rendered to SVG here and now, without a browser or a network.

Colours are names of the page's CSS variables, so that one drawing is readable in light and dark. No name from a vendor
is ever drawn: names stand in the page, where they are escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import altair as alt
import vl_convert
from markupsafe import Markup

from usage_pipeline.contract.schema import Aggregation
from usage_pipeline.report.questions import Row

WIDTH = 340
"""As wide as a phone leaves room for: one drawing serves every screen."""

INK, MUTED, LINE = "var(--ink)", "var(--muted)", "var(--line)"
BAR, SOFT = "var(--bar)", "var(--soft)"
NOT_ASKED = "not_asked"

# How a day looks: fill, border, sign, colour of the sign. The signs tell the states apart without colours.
STATES: dict[str, tuple[str, str, str, str]] = {
    "complete": ("var(--bar)", "var(--bar)", "", INK),
    "provisional": ("var(--soft)", "var(--bar)", "~", INK),
    "empty": ("var(--card)", "var(--bar)", "∅", INK),
    "failed": ("var(--bad-soft)", "var(--bad)", "\N{MULTIPLICATION SIGN}", "var(--bad)"),
    "not_available": ("var(--card)", "var(--line)", "\N{EN DASH}", MUTED),
    NOT_ASKED: ("var(--card)", "var(--line)", "?", MUTED),
}

# 20M, 1.5B; what is below 1 stays as it is, for an SI prefix would call a half 500m.
SHORT = "abs(datum.value) < 1 ? format(datum.value, '~g') : replace(format(datum.value, '~s'), 'G', 'B')"

Chart = alt.Chart | alt.LayerChart | alt.FacetChart


def utilization(ratio: float, projected: float | None) -> Markup:
    """A bar of what is consumed, its projection behind it, and a mark at 100 %."""
    top = max(1.15, 1.1 * ratio, 1.1 * (projected or 0))
    step = 0.25 if top <= 1.5 else 0.5 if top <= 3 else 1 if top <= 6 else 10 ** len(str(int(top // 2)))
    ticks = [n * step for n in range(1 + int(top / step))]
    x = alt.X(
        "end:Q",
        scale=alt.Scale(domain=[0, top], nice=False),
        axis=alt.Axis(title=None, format="~%", values=ticks, grid=False, domain=False, tickColor=LINE),
    )
    layers: list[alt.Chart] = [_bar(0, top, LINE, x, 14, 0.45)]
    if projected is not None and projected > ratio:
        layers.append(_bar(ratio, projected, SOFT if projected <= 1 else "var(--warn-soft)", x, 14, 1))
    layers.append(_bar(0, ratio, BAR if ratio < 1 else "var(--bad)", x, 14, 1))
    layers.append(
        alt.Chart(_data([{"end": 1}])).mark_rule(color=INK, strokeWidth=2).encode(x=x, y=alt.value(0), y2=alt.value(26))
    )
    return _svg(alt.layer(*layers), 48)


def _bar(start: float, end: float, colour: str, x: alt.X, size: int, opacity: float) -> alt.Chart:
    drawn: alt.Chart = (
        alt.Chart(_data([{"start": start, "end": max(start, end)}]))
        .mark_bar(size=size, color=colour, opacity=opacity)
        .encode(x=x, x2="start", y=alt.value(13))
    )
    return drawn


def daily(rows: Sequence[Row], first: date, last: date) -> Markup:
    """One metric from the first day to the last: amounts as bars, counts, peaks and levels as steps.

    A day without a row is a gap. An amount that was told for several days at once is one bar as wide as they are, at
    their daily mean, so that areas are amounts. What may still change is lighter.
    """
    amounts = rows[0]["aggregation"] == Aggregation.SUM
    start, end = _ms(first), _ms(last + timedelta(days=1))
    drawn = []
    for row in rows:
        width = row["days_covered"] if amounts else 1
        to = _ms(row["usage_date"] + timedelta(days=1))
        since = max(start, to - width * 86_400_000)
        drawn.append({"start": since, "end": to, "value": float(row["value"] / width), "final": row["is_final"]})
    monday = first + timedelta(days=-first.weekday() % 7)
    fortnights = [_ms(day) for day in (monday + timedelta(days=14 * n) for n in range(9)) if day < last]
    x = alt.X(
        "start:T",
        scale=alt.Scale(type="utc", domain=[start, end], nice=False),
        axis=alt.Axis(title=None, format="%-d %b", values=fortnights, grid=False, domainColor=LINE, tickColor=LINE),
    )
    y = alt.Y(
        "value:Q",
        scale=alt.Scale(zero=True, nice=True),
        axis=alt.Axis(title=None, labelExpr=SHORT, tickCount=3, gridColor=LINE, domain=False, ticks=False),
    )
    base = alt.Chart(_data(drawn))
    of_state = alt.condition("datum.final", alt.value(BAR), alt.value(SOFT))
    bars = base.mark_bar(stroke="var(--card)", strokeWidth=0.75).encode(
        x=x, x2="end", y=y, y2=alt.datum(0), color=of_state if amounts else alt.value("var(--faint)")
    )
    if amounts:
        return _svg(bars, 110)
    steps = base.mark_rule(strokeWidth=3).encode(x=x, x2="end", y=y, color=of_state)
    return _svg(alt.layer(bars, steps), 110)


def calendar(states: Iterable[tuple[date, str]], first: date, last: date) -> Markup:
    """A square a day, a column a week that begins on Monday; colour and sign tell the state."""
    monday = first - timedelta(days=first.weekday())
    weeks = (last - monday).days // 7 + 1
    cells = []
    for day, state in states:
        fill, border, sign, ink = STATES[state]
        week, weekday = divmod((day - monday).days, 7)
        cells.append({"week": week, "day": weekday, "fill": fill, "border": border, "sign": sign, "ink": ink})
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    months = [{"week": (day - monday).days // 7, "day": -1, "name": f"{day:%b}"} for day in days if day.day == 1]
    names = [{"week": -2, "day": day, "name": name} for day, name in ((0, "Mon"), (2, "Wed"), (4, "Fri"), (6, "Sun"))]
    x = alt.X("week:Q", scale=alt.Scale(domain=[-1.6, weeks - 0.4], nice=False, zero=False), axis=None)
    y = alt.Y("day:Q", scale=alt.Scale(domain=[6.5, -1.5], nice=False, zero=False), axis=None)
    plain: Any = None
    squares = (
        alt.Chart(_data(cells))
        .mark_square(size=17 * 17, strokeWidth=1.2, opacity=1)
        .encode(x=x, y=y, fill=alt.Fill("fill:N", scale=plain), stroke=alt.Stroke("border:N", scale=plain))
    )
    signs = (
        alt.Chart(_data([cell for cell in cells if cell["sign"]]))
        .mark_text(fontSize=13, fontWeight="bold", baseline="middle")
        .encode(x=x, y=y, text="sign:N", color=alt.Color("ink:N", scale=plain))
    )
    around = (
        alt.Chart(_data([*names, *months]))
        .mark_text(fontSize=12, align="left", color=MUTED, dx=-8)
        .encode(x=x, y=y, text="name:N")
    )
    return _svg(alt.layer(squares, signs, around), 168)


def _data(rows: Iterable[dict[str, Any]]) -> alt.Data:
    return alt.Data(values=list(rows))  # type: ignore[no-untyped-call] # Altair types its charts, not its data


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def _svg(chart: Chart, height: int) -> Markup:
    """The drawing alone: what it says to those who do not see it stands around it in the page."""
    spec = (
        chart.properties(width=WIDTH, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding"))
        .configure(background="transparent", padding=2, font="sans-serif", aria=False)
        .configure_view(stroke=None)
        .configure_axis(labelColor=MUTED, labelFontSize=12)
        .to_dict()
    )
    svg: str = vl_convert.vegalite_to_svg(spec, vl_version=_RENDERER)
    # The page sizes it; fonts are the page's own.
    svg = re.sub(r"<svg ", '<svg aria-hidden="true" ', svg, count=1)
    return Markup(re.sub(r' font-family="[^"]*"', "", svg))  # noqa: S704 - a drawing of ours, without names


_RENDERER = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
