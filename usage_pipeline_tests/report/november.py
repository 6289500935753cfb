"""A small lake as of 21 November 2026, with something of everything that the report shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

from usage_pipeline import report
from usage_pipeline.contract.schema import State
from usage_pipeline.contract.vendor import History
from usage_pipeline.report import Answers
from usage_pipeline_tests.sql.lake import (
    EVENTS,
    INSTANCES,
    MINUTES,
    NODES,
    Row,
    Small,
    allowed,
    changed,
    configured,
    covered,
    small,
)

NOW = datetime(2026, 11, 21, 5, 30, tzinfo=UTC)
TODAY = NOW.date()
TITLES = {"aveva": "AVEVA", "consul": "Consul", "launchdarkly": "LaunchDarkly", "puppet": "Puppet"}


def asked(lake: Small, today: date = TODAY) -> Answers:
    with lake.session() as session:
        return report.answers(session, today)


def page(lake: Small) -> str:
    return report.page(asked(lake), NOW, TITLES)


def november(home: Path) -> Small:
    """Events of two months, the last two days open, one day missing; minutes; nodes near their licence; restatements.

    To 20 November: 20 x 1,200 = 24,000 events beside 20 x 1,000 = 20,000; 312 of 300 nodes; 20 x 1,000 = 20,000 of
    25,000 minutes, which at that pace make 30,000 by the end of the month.
    """
    events = [*EVENTS.each("2026-10-01", "2026-10-31", 1_000), *EVENTS.each("2026-11-01", "2026-11-18", 1_200)]
    events += [EVENTS.day("2026-11-19", 1_200, final=False), EVENTS.day("2026-11-20", 1_200, final=False)]
    nodes = [*NODES.each("2026-11-01", "2026-11-04", 290), *NODES.each("2026-11-06", "2026-11-20", 312)]
    usage: list[Row] = [*events, *nodes, *MINUTES.each("2026-11-01", "2026-11-20", 1_000)]
    return small(
        home,
        usage,
        coverage=[
            *covered(EVENTS, "2026-10-01", "2026-11-18"),
            *covered(EVENTS, "2026-11-19", "2026-11-20", State.PROVISIONAL),
            *covered(NODES, "2026-11-01", "2026-11-04"),
            *covered(NODES, "2026-11-05", state=State.FAILED, reason="the server said 500"),
            *covered(NODES, "2026-11-06", "2026-11-20"),
            *covered(MINUTES, "2026-11-01", "2026-11-20"),
        ],
        accounts=[
            configured("aveva", "tenant_usage", "2026-10-01"),
            configured("puppet", "usage", "2026-11-01"),
            configured("launchdarkly", "service_connections", "2026-11-01"),
            configured("consul", "operator_usage", "2026-11-11", History.SNAPSHOT),
        ],
        entitlements=[allowed(NODES, 300), allowed(MINUTES, 25_000)],
        restatements=[
            changed(EVENTS.day("2026-11-02", 900), 1_200, "2026-11-10"),
            changed(EVENTS.day("2026-11-03", 1_100), 1_200, "2026-11-10"),
        ],
    )


HOSTILE = "<script>alert(1)</script>\n\"=cmd|'/c calc'!A1&amp;\u202e" + "verylong" * 40
"""What a name may hold at worst."""


def hostile(home: Path) -> Small:
    """The same name wherever a vendor or a configuration can put one."""
    unit = replace(EVENTS, unit=HOSTILE, account=HOSTILE)
    metric = replace(EVENTS, endpoint=HOSTILE, metric=HOSTILE, account=HOSTILE)
    part = replace(INSTANCES, account=HOSTILE, dimensions={HOSTILE: HOSTILE}, labels={"name": HOSTILE})
    series = [unit, metric, part]
    rows = [row for each in (unit, metric) for row in each.each("2026-10-01", "2026-11-20", 5)]
    rows += [part.level(f"2026-11-{day:02} 12:00", 7) for day in range(1, 21)]
    return small(
        home,
        rows,
        coverage=[row for each in series for row in covered(each, "2026-11-20", state=State.FAILED, reason=HOSTILE)],
        accounts=[configured(each.vendor, each.endpoint, "2026-11-01", account=HOSTILE) for each in series],
        entitlements=[allowed(each, 10) for each in series],
        restatements=[changed(metric.day("2026-11-02", 900), None, "2026-11-10")],
    )
