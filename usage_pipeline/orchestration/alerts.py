"""Two sensors that alert people, without a paid service: of runs that failed, and of days that are missing.

Both are stopped until somebody switches them on in the UI, and skip while nobody is configured to be told. They are
plain sensors with cursors of their own: Dagster's run-failure sensor moves on when its function fails, and calls it
once a run.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from usage_pipeline import alerting
from usage_pipeline.alerting import RunFailure
from usage_pipeline.contract.time import DAY
from usage_pipeline.contract.vendor import Account
from usage_pipeline.pipeline import Place

# Seconds between two looks.
FAILURES_EVERY = 60
COVERAGE_EVERY = 900

# Failed runs that one look takes in; the next look goes on from there.
MOST_RUNS = 200

# Dagster writes it when a run fails: whether it will start the run again.
WILL_RETRY = "dagster/will_retry"
PARTITION, FIRST, LAST = (
    "dagster/partition",
    "dagster/asset_partition_range_start",
    "dagster/asset_partition_range_end",
)


def sensors(
    accounts: Sequence[Account], assets: Iterable[dg.AssetsDefinition], checks: Iterable[dg.AssetChecksDefinition] = ()
) -> list[dg.SensorDefinition]:
    """Both sensors. `assets` and `checks` are those whose steps have names for people."""
    names = {step.node_def.name: _source(min(step.keys)) for step in assets}
    names |= {step.node_def.name: f"checks of {_source(min(step.check_keys).asset_key)}" for step in checks}
    return [run_failures(accounts, names), missed_coverage(accounts)]


def run_failures(accounts: Sequence[Account], names: Mapping[str, str]) -> dg.SensorDefinition:
    """One message a look with the runs that failed since. `names` are the sources of the steps.

    A run that Dagster starts again is told of when its last attempt failed, and the same reason of the same source not
    more than once in 24 hours. Failures from before the sensor was switched on are not told of.
    """

    @dg.sensor(
        name="run_failure_alerts",
        description="Tells a webhook or a mailbox which runs failed, why, and where to look. " + alerting.HOW,
        minimum_interval_seconds=FAILURES_EVERY,
        default_status=dg.DefaultSensorStatus.STOPPED,
    )
    def look(context: dg.SensorEvaluationContext, place: dg.ResourceParam[Place]) -> dg.SkipReason:
        if not alerting.receivers(place.environment):
            return dg.SkipReason(alerting.HOW)
        if context.cursor is None:
            context.update_cursor(json.dumps({"after": _newest(context.instance), "told": {}}))
            return dg.SkipReason("from now on, runs that fail are told of")
        cursor = json.loads(context.cursor)
        now = place.clock()
        told = {kind: when for kind, when in cursor["told"].items() if now - datetime.fromisoformat(when) < DAY}
        after, failures = _failures(context, cursor["after"], names, alerting.secrets(accounts, place.environment))
        news = [failure for failure in failures if _digest(failure) not in told]
        said = "no run failed"
        if news:
            text = alerting.failures_text(news, place.environment.get(alerting.UI_VARIABLE) or alerting.UI)
            said = f"told {alerting.deliver(place, accounts, text)}: {text}"
        elif failures:
            said = f"told of before, within a day: {', '.join(sorted({failure.source for failure in failures}))}"
        # Not reached when nobody took the message: the next look finds the same failures.
        told |= {_digest(failure): now.isoformat() for failure in news}
        context.update_cursor(json.dumps({"after": after, "told": told}))
        return dg.SkipReason(said)

    return look


def missed_coverage(accounts: Sequence[Account]) -> dg.SensorDefinition:
    """One message a day and source while days that were due are missing, and one when they are not any more."""

    @dg.sensor(
        name="missed_coverage_alerts",
        description=(
            "Tells a webhook or a mailbox which endpoints lack days by the deadline "
            f"({alerting.DEADLINE:%H:%M} UTC, or {alerting.DEADLINE_VARIABLE}), and which lack them no more. "
            + alerting.HOW
        ),
        minimum_interval_seconds=COVERAGE_EVERY,
        default_status=dg.DefaultSensorStatus.STOPPED,
    )
    def look(context: dg.SensorEvaluationContext, place: dg.ResourceParam[Place]) -> dg.SkipReason:
        if not alerting.receivers(place.environment):
            return dg.SkipReason(alerting.HOW)
        due = alerting.due(place.clock(), place.environment)
        # The source, and the day up to which it was told of.
        told: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
        missed = alerting.missed(place, accounts, due)
        news = [one for one in missed if told.get(one.source) != str(due)]
        configured = {f"{account.name}/{slug}" for account in accounts for slug in account.endpoints}
        recovered = sorted(told.keys() & configured - {one.source for one in missed})
        said = f"nothing new: {len(missed)} sources lack days up to {due}"
        if news or recovered:
            text = alerting.coverage_text(news, recovered, due)
            said = f"told {alerting.deliver(place, accounts, text)}: {text}"
        context.update_cursor(json.dumps({one.source: str(due) for one in missed}))
        return dg.SkipReason(said)

    return look


def _newest(instance: dg.DagsterInstance) -> int:
    """The id of the newest failure of a run; -1 where there is none."""
    records = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1).records
    return records[0].storage_id if records else -1


def _failures(
    context: dg.SensorEvaluationContext, after: int, names: Mapping[str, str], hidden: Sequence[str]
) -> tuple[int, list[RunFailure]]:
    """The failures after an event, the oldest first, and the event up to which they were read."""
    events = context.instance.fetch_run_status_changes(
        dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_FAILURE, after_storage_id=after),
        limit=MOST_RUNS,
        ascending=True,
    ).records
    found: list[RunFailure] = []
    for record in events:
        after = record.storage_id
        run = context.instance.get_run_by_id(record.run_id)
        if run and run.tags.get(WILL_RETRY) != "true" and _location(run) == _here(context):
            reasons = _reasons(context.instance, run, record.event_log_entry, names)
            days = _days(run.tags)
            found += [RunFailure(source, days, alerting.line(reason, hidden), run.run_id) for source, reason in reasons]
    return after, found


def _reasons(
    instance: dg.DagsterInstance, run: dg.DagsterRun, failure: dg.EventLogEntry, names: Mapping[str, str]
) -> list[tuple[str, str]]:
    """What failed, and why: step by step, or the run as a whole where it did not get to one."""
    steps = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    if steps:
        return [(names.get(step.step_key or "", step.step_key or run.job_name), _reason(step)) for step in steps]
    selected = sorted({_source(key) for key in run.asset_selection or ()})
    return [(", ".join(selected) or run.job_name, _reason(failure))]


def _reason(entry: dg.EventLogEntry) -> str:
    """Our own words where the step raised Failure, else those of the first error, else Dagster's."""
    event = entry.dagster_event
    data: Any = event.event_specific_data if event else None
    ours = getattr(data, "user_failure_data", None)
    if ours and ours.description:
        return str(ours.description)
    error = getattr(data, "error", None)
    while error and error.cause:
        error = error.cause
    return str(error.message if error else (event and event.message) or entry.user_message)


def _source(key: dg.AssetKey) -> str:
    """`account/endpoint`, without saying of which of its two assets."""
    return "/".join(key.path[1:]) if key.path[0] in {"raw", "usage"} else key.to_user_string()


def _days(tags: Mapping[str, str]) -> str:
    """The days that a run was asked for; empty for what has no days."""
    ends = tags.get(FIRST) or tags.get(PARTITION), tags.get(LAST) or tags.get(PARTITION)
    return " to ".join(dict.fromkeys(filter(None, ends)))


def _location(run: dg.DagsterRun) -> str | None:
    """The code location that a run is from; None where it ran in the process that made it."""
    origin = run.remote_job_origin
    return origin.repository_origin.code_location_origin.location_name if origin else None


def _here(context: dg.SensorEvaluationContext) -> str | None:
    return context.code_location_origin.location_name if context.code_location_origin else None


def _digest(failure: RunFailure) -> str:
    return hashlib.sha256(failure.kind.encode()).hexdigest()[:16]
