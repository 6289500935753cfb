"""Puppet Enterprise orchestrator: daily node usage and activity.

Read from the reference page "Usage endpoints" (PE 2019.0 to 2025, 2026-11) and the node counting pages.
A day is 00:00 to 24:00 UTC; changes can take 30 minutes to show, and whether past days are revised is not
documented, so a day counts as settled after a week. Odd: newest day first, missing days are not zero, `pagination`
only echoes the request, and `nodes_affected_by_*` count runs, not nodes. What a node is depends on the server's version
(until 2021.7 the primary server and compilers count, in 2023.7 infrastructure nodes do not), as does whether there are
event fields (since 2021.0). No answer tells the version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.schema import Aggregation, Role, Temporality
from usage_pipeline.contract.time import Clock, Days
from usage_pipeline.contract.vendor import (
    Account,
    Agreement,
    Block,
    Endpoint,
    History,
    Metric,
    Normalised,
    Options,
    Vendor,
)

if TYPE_CHECKING:
    import httpx

DOCUMENTATION = "https://www.puppet.com/docs/pe/latest/orchestrator_api_usage_endpoint"


class PuppetOptions(Options):
    """`ca_bundle`: the Puppet CA's certificate, usually /etc/puppetlabs/puppet/ssl/certs/ca.pem."""

    ca_bundle: str | None = Field(default=None, description="Path of the Puppet CA certificate (ca.pem)")
    events: Literal["include", "exclude"] = Field(
        default="include", description="Whether to ask for changes and runs too"
    )
    pe_version: str | None = Field(
        default=None,
        min_length=1,
        max_length=40,
        description="The server's version, such as 2023.7: a label of the rows, to change with every upgrade",
    )


def _nodes(name: str, aggregation: Aggregation, description: str) -> Metric:
    return Metric(name, "Nodes", description, Role.CONSUMED, aggregation, Temporality.DELTA)


def _count(name: str, unit: str, description: str) -> Metric:
    return Metric(name, unit, description, Role.CONSUMED, Aggregation.SUM, Temporality.DELTA)


# nodes_with_agent is a reading of PuppetDB for the day, not a count of distinct nodes over it.
NODES = {
    "total_nodes": _nodes("nodes", Aggregation.DISTINCT, "Distinct nodes used during the UTC day."),
    "nodes_with_agent": _nodes("nodes_with_agent", Aggregation.LAST, "Nodes in PuppetDB on the UTC day."),
    "nodes_without_agent": _nodes(
        "nodes_without_agent", Aggregation.DISTINCT, "Distinct nodes without an agent used during the UTC day."
    ),
}
EVENTS = {
    "corrective_agent_changes": _count(
        "corrective_agent_changes", "Changes", "Corrective changes made by agent runs during the UTC day."
    ),
    "intentional_agent_changes": _count(
        "intentional_agent_changes", "Changes", "Intentional changes made by agent runs during the UTC day."
    ),
    "nodes_affected_by_task_runs": _count(
        "task_runs_by_node", "Runs", "Task runs during the UTC day, each counted once for every node it ran on."
    ),
    "nodes_affected_by_plan_runs": _count(
        "plan_runs_by_node", "Runs", "Plan runs during the UTC day, each counted once for every node it ran on."
    ),
}
MEASURES = NODES | EVENTS
# What explains a step in a series without making it another one. Both are told here, not by the items.
LABELS = {"pe_version": "#pe_version", "event_fields": "#event_fields"}


def requests(account: Account, days: Days) -> Iterator[Request]:
    """One request for the whole range: both dates are inclusive."""
    yield Request(
        "/orchestrator/v1/usage",
        params=(
            ("start_date", days.first.isoformat()),
            ("end_date", days.last.isoformat()),
            ("events", account.options["events"]),
        ),
        headers=(("Accept", "application/json"),),
    )


def normalise(landing: Landing) -> Normalised:
    """One row a day and field. Event fields are absent before PE 2021 and with events=exclude.

    Labels are the server's version as configured when asking, where it is, and whether the day has event fields.
    """
    version = landing.options.get("pe_version")
    return Normalised(
        usage=tuple(block for answer in landing.answers for block in _blocks(answer, landing.days, version))
    )


def _blocks(answer: Answer, days: Days, version: str | None) -> Iterator[Block]:
    body = kit.payload.json(answer)
    # `pagination` only echoes dates. A number in it would mean pages, and that this answer is not all.
    kit.payload.refuse_unknown_numbers(kit.payload.obj(body, "$"), {"items"}, "$")
    items = kit.payload.records(answer, kit.payload.member(body, "items"), "$.items", {"date", *MEASURES})
    labels: dict[str, list[str | None]] = {
        "#pe_version": [version] * len(items.items),
        "#event_fields": ["absent" if EVENTS.keys().isdisjoint(item) else "present" for item in items.items],
    }
    items = replace(items, ours=labels)
    start = kit.frames.times(items, "date", kit.frames.day)
    kit.frames.within(days, items, "date", start)
    yield from kit.frames.blocks(
        items, MEASURES, start=start, end=start + kit.frames.ONE_DAY, labels=LABELS, optional=EVENTS
    )


def explain(answer: Answer) -> str:
    """Orchestrator errors are {kind, msg, details}; RBAC may answer HTML or nothing."""
    try:
        body = kit.payload.json(answer)
        return f"{body['kind']}: {body['msg']}"
    except (PayloadError, KeyError, TypeError):
        return answer.body[:200].decode(errors="replace").strip()


def auth(_account: Account, secrets: Mapping[str, str], _clock: Clock) -> httpx.Auth:
    return kit.auth.header("X-Authentication", secrets["token"])


PUPPET = Vendor(
    slug="puppet",
    title="Puppet Enterprise",
    provider="Perforce",
    service=("Management and Governance", "Other (Management and Governance)"),
    options=PuppetOptions,
    credentials=(frozenset({"token"}),),
    auth=auth,
    explain=explain,
    endpoints=(
        Endpoint(
            slug="usage",
            title="Orchestrator usage",
            history=History.WINDOW,
            documentation=DOCUMENTATION,
            metrics=tuple(MEASURES.values()),
            requests=requests,
            normalise=normalise,
            settles=timedelta(days=7),
            labels=tuple(LABELS),
            # So in every example of the pages, none of which says that it must be.
            agreements=(Agreement("nodes", ("nodes_with_agent", "nodes_without_agent")),),
            permission="not documented; a token of a user who may see the orchestrator",
        ),
    ),
)
