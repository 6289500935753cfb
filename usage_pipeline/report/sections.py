"""The sections: what each says of its rows, in the words and numbers that the page shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from itertools import groupby
from typing import Any

from usage_pipeline.contract.schema import Aggregation, State, Temporality
from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.report import charts, words
from usage_pipeline.report.questions import Answers, Row

Titles = Mapping[str, str]
Said = dict[str, Any]

# As many as the queries ask for.
DAYS_DRAWN = 62
DAYS_COVERED = 91

KNOWN = {State.COMPLETE, State.PROVISIONAL, State.EMPTY}

STATES = {
    "complete": "known",
    "provisional": "known, may still change",
    "empty": "answered, but nothing was told",
    "failed": "failed",
    "not_available": "not available: the vendor does not tell it",
    charts.NOT_ASKED: "not asked yet",
}

# How a number of a day came about, for one who reads it.
OF_THE_DAY = {
    Aggregation.SUM: "total per day",
    Aggregation.DISTINCT: "different ones per day",
    Aggregation.MAX: "highest of the day",
    Aggregation.AVERAGE: "average of the day",
    Aggregation.LAST: "level",
}
SO_FAR = {
    Aggregation.DISTINCT: "different ones since the period began",
    Aggregation.MAX: "highest since the period began",
    Aggregation.AVERAGE: "average since the period began",
    Aggregation.LAST: "level",
}
RULES = {
    "sum": "total",
    "highest day": "highest day",
    "average": "average",
    "on the day": "on the last day",
    "so far": "so far",
}
COUNTED = {"highest day": " (highest day)", "average of days": " (average of days)"}
PROJECTED_BY = {"vendor": "the vendor's projection", "run rate": "if it goes on like this"}
KINDS = {"changed": "changed", "withdrawn": "withdrawn", "fell": "where the running total fell"}


def facts(answers: Answers) -> list[Said]:
    """What one should know before reading on; nothing where nothing was loaded."""
    if not answers.coverage and not answers.daily:
        return []
    return [_up_to_date(answers), *_unknown(answers), _danger(answers)]


def _up_to_date(answers: Answers) -> Said:
    yesterday = answers.today - DAY
    newest: dict[tuple[str, str, str], date | None] = {}
    for row in answers.coverage:
        source = (row["vendor"], row["account"], row["endpoint"])
        newest[source] = row["usage_date"] if row["state"] in KNOWN else newest.get(source)
    late = sum(day is None or day < yesterday for day in newest.values())
    return {
        "name": "Up to date",
        "value": f"{len(newest) - late} of {words.count(len(newest), 'source')}",
        "text": f"known through {words.day(yesterday, year=True)}",
        "tone": "warn" if late else "good",
    }


def _unknown(answers: Answers) -> Iterator[Said]:
    states = [row["state"] for row in answers.coverage]
    unknown = {state: states.count(state) for state in ("failed", charts.NOT_ASKED, "not_available")}
    parts = [f"{days:,} {state.replace('_', ' ')}" for state, days in unknown.items() if days]
    yield {
        "name": "Not known",
        "value": words.count(sum(unknown.values()), "day"),
        "text": f"{', '.join(parts) or 'nothing is missing'}; {DAYS_COVERED} days of every source",
        "tone": "warn" if parts else "good",
    }
    provisional = states.count(State.PROVISIONAL)
    yield {
        "name": "May still change",
        "value": words.count(provisional, "day"),
        "text": "drawn lighter below" if provisional else "every day is final",
        "tone": "plain",
    }


def _danger(answers: Answers) -> Said:
    tones = [_verdict(row)[0] for row in answers.utilization]
    over, soon = tones.count("bad"), tones.count("warn")
    return {
        "name": "Entitlements",
        "value": f"{over} used up" if over else f"{soon} may run out" if soon else "none in danger",
        "text": f"of {words.count(len(tones), 'entitlement')}{f', {soon} more may run out' if over and soon else ''}",
        "tone": "bad" if over else "warn" if soon else "good",
    }


def utilization(row: Row, titles: Titles) -> Said:
    """One entitlement: what is used, what is to be expected."""
    ratio, projected, unit = row["ratio"], row["projected_ratio"], row["unit"]
    tone, verdict = _verdict(row)
    chart = None
    if ratio is not None and ratio >= 0:
        chart = charts.utilization(float(ratio), None if projected is None else float(projected))
    configured = " (from accounts.yaml)" if row["entitled_by"] == "configuration" else ""
    told = {
        "Used": f"{words.number(row['consumed'])} {unit}{COUNTED.get(row['consumed_rule'], '')}",
        "Entitled": f"{words.number(row['entitled'])} {unit}{configured}",
    }
    if row["remaining"] is not None:
        told["Left"] = f"{words.number(row['remaining'])} {unit}"
    if row["projected"] is not None:
        expected = f"{words.number(words.whole(row['projected']))} {unit}, {words.percent(projected)}"
        told["Projected"] = f"{expected} ({PROJECTED_BY[row['projected_by']]})"
    told["Period"] = words.span(words.utc(row["period_start"]).date(), words.last_day(row["period_end"]))
    told["As of"] = words.moment(row["as_of"])
    return {
        "title": words.metric(row["metric"]),
        "whose": _whose(row, titles),
        "percent": words.percent(ratio),
        "tone": tone,
        "verdict": verdict,
        "chart": chart,
        "facts": told,
    }


def _verdict(row: Row) -> tuple[str, str]:
    """Whether one has to do something, and what is to be expected."""
    consumed, ratio, projected, on = row["consumed"], row["ratio"], row["projected_ratio"], row["exhausted_on"]
    if consumed is None:
        return "plain", "The vendor does not tell what is used"
    if ratio is None:
        return ("bad", "Used, but nothing is entitled") if consumed > 0 else ("plain", "Nothing is entitled")
    if ratio >= 1:
        since = ", first on" if row["consumed_rule"] == "highest day" else " since"
        return "bad", ("Over the entitlement" if ratio > 1 else "Used up") + (f"{since} {words.day(on)}" if on else "")
    end = words.day(words.last_day(row["period_end"]))
    if projected is not None and projected > 1:
        return "warn", f"Expected to run out {f'on {words.day(on)}' if on else f'before {end}'}"
    if on:
        return "warn", f"Stood at the limit on {words.day(on)}"
    return "good", f"Enough through {end}" if projected is not None else "Within the entitlement"


def changes(rows: list[Row], titles: Titles) -> Said:
    """What can be compared; and by status the names of what cannot."""
    compared = [_change(row, titles) for row in rows if row["status"] == "compared"]
    others = {
        status: [f"{words.metric(row['metric'])} ({_whose(row, titles)})" for row in rows if row["status"] == status]
        for status in ("new", "vanished", "unknown")
    }
    return {"compared": compared, **others}


def _change(row: Row, titles: Titles) -> Said:
    length = timedelta(days=row["days"] - 1)
    way = ""
    if row["temporality"] == Temporality.ROLLING:
        way = ", rolling window"
    elif _is_so_far(row):
        way = ", period to date"
    return {
        "title": words.metric(row["metric"]) + way,
        "whose": _whose(row, titles),
        "unit": row["unit"],
        "rule": RULES[row["rule"]],
        "now": words.number(row["value_now"]),
        "before": words.number(row["value_before"]),
        "now_days": words.span(row["first_day"], row["first_day"] + length),
        "before_days": words.span(row["before_first"], row["before_first"] + length),
        "difference": words.signed(row["difference"]),
        "percent": f"{words.signed(row['percent'])} %" if row["percent"] is not None else words.DASH,
        "arrow": "▲" if row["difference"] > 0 else "▼" if row["difference"] < 0 else "=",
        "open": not row["is_final"],
    }


def restatement(row: Row, titles: Titles) -> Said:
    """What a vendor changed of one metric."""
    largest = f"{words.number(row['old_value'])} → {words.number(row['new_value'])} {row['unit']}"
    return {
        "title": words.metric(row["metric"]) + (f", by {words.listed(_parts(row))}" if row["breakdown"] else ""),
        "whose": _whose(row, titles),
        "what": f"{words.count(row['changes'], 'value')} {KINDS[row['kind']]}",
        "days": words.span(row["first_day"], row["last_day"]),
        "largest": f"{words.day(row['largest_day'])}: {largest}",
    }


def vendors(answers: Answers, titles: Titles) -> list[Said]:
    """The metrics of each account, in the order of the query."""
    first = answers.today - timedelta(days=DAYS_DRAWN - 1)
    return [
        {
            "whose": whose,
            "metrics": [_metric(list(group), first, answers.today) for _key, group in groupby(rows, key=_counting)],
        }
        for whose, rows in groupby(answers.daily, key=lambda row: _whose(row, titles))
    ]


def _counting(row: Row) -> tuple[str, ...]:
    """What tells the metrics of an account, and the ways of counting one, apart."""
    return row["metric"], row["unit"], row["aggregation"], row["temporality"]


def _metric(rows: list[Row], first: date, last: date) -> Said:
    oldest, newest, values = rows[0], rows[-1], [row["value"] for row in rows]
    told = {row["usage_date"] for row in rows}
    silent = sum(day not in told for day in Days(oldest["usage_date"], newest["usage_date"]))
    wide = newest["aggregation"] == Aggregation.SUM and any(row["days_covered"] > 1 for row in rows)
    notes = []
    if wide:
        notes.append("Wide bars: several days told at once, at their daily mean")
    if silent:
        notes.append(f"{words.count(silent, 'day')} not known in between")
    days = words.span(oldest["usage_date"], newest["usage_date"])
    return {
        "title": words.metric(newest["metric"]),
        "unit": newest["unit"],
        "way": _way(newest),
        "description": newest["description"] or "",
        "value": words.number(newest["value"]),
        "when": f"on {words.day(newest['usage_date'])}{'' if newest['is_final'] else ', may still change'}",
        "chart": charts.daily(rows, first, last),
        "label": f"{days}: between {words.number(min(values))} and {words.number(max(values))}",
        "notes": notes,
        "rows": [
            {"day": words.day(row["usage_date"]), "value": words.number(row["value"]), "note": _note(row, wide)}
            for row in reversed(rows)
        ],
    }


def _way(row: Row) -> str:
    """How the number of a day came about."""
    if row["temporality"] == Temporality.ROLLING:
        return f"over the last {words.count(row['days_covered'], 'day')}"
    way = (SO_FAR if _is_so_far(row) else OF_THE_DAY)[row["aggregation"]]
    return f"{way}, all {words.listed(_parts(row))} together" if row["breakdown"] else way


def _is_so_far(row: Row) -> bool:
    return bool(row["temporality"] == Temporality.CUMULATIVE and row["aggregation"] != Aggregation.SUM)


def _note(row: Row, wide: bool) -> str:
    spans = [words.count(row["days_covered"], "day")] if wide and row["days_covered"] > 1 else []
    return ", ".join([*spans, *([] if row["is_final"] else ["may change"])])


def _parts(row: Row) -> list[str]:
    return [f"{part.replace('_', ' ')}s" for part in row["breakdown"].split("+")]


def coverage(answers: Answers, titles: Titles) -> list[Said]:
    """A calendar for each source, and what went wrong in words."""
    first = answers.today - timedelta(days=DAYS_COVERED - 1)
    told = []
    for (whose, endpoint), group in groupby(answers.coverage, key=lambda row: (_whose(row, titles), row["endpoint"])):
        rows = list(group)
        states = [row["state"] for row in rows]
        counts = {name: states.count(state) for state, name in STATES.items()}
        told.append(
            {
                "whose": whose,
                "endpoint": words.metric(endpoint),
                "chart": charts.calendar(
                    zip((row["usage_date"] for row in rows), states, strict=True), first, answers.today
                ),
                "states": [f"{words.count(days, 'day')} {name}" for name, days in counts.items() if days],
                "problems": list(_problems(rows)),
            }
        )
    return told


def _problems(rows: list[Row]) -> Iterator[Said]:
    """The days of which something is not known, one entry a state and reason."""
    unknown: dict[tuple[str, str], list[date]] = {}
    for row in rows:
        if row["state"] not in KNOWN:
            unknown.setdefault((row["state"], row["reason"]), []).append(row["usage_date"])
    for (state, reason), days in unknown.items():
        spans = [words.span(run.first, run.last) for run in Days.runs(days)]
        yield {"days": ", ".join(spans), "state": STATES[state], "reason": reason}


def legend() -> list[Said]:
    """What the squares of the calendar mean."""
    return [
        {"fill": fill, "border": border, "sign": sign, "ink": ink, "name": STATES[state]}
        for state, (fill, border, sign, ink) in charts.STATES.items()
    ]


def _whose(row: Row, titles: Titles) -> str:
    return f"{titles.get(row['vendor'], row['vendor'])} · {row['account']}"
