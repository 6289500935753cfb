"""The alert sensors on a real Dagster instance, with runs that really failed, and a webhook over a real socket."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from deltalake import write_deltalake
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from usage_pipeline import alerting, orchestration
from usage_pipeline.config import Configuration
from usage_pipeline.contract.errors import ConfigurationError
from usage_pipeline.contract.schema import USAGE
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.orchestration import alerts, assets
from usage_pipeline.pipeline import Place
from usage_pipeline.stages.lake import Lake
from usage_pipeline_tests.conftest import TurnableClock
from usage_pipeline_tests.receivers import PATH, Hook

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
TOKEN = "s3cret-token"
WEEK = Days(date(2026, 3, 10), date(2026, 3, 14))


class Puppet:
    """A Puppet that tells every day, or refuses everything with `refusal`, which repeats the token."""

    refusal: int | None = None

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/orchestrator/v1/usage", self.usage)])

    def usage(self, request: Request) -> Response:
        if self.refusal:
            return JSONResponse({"kind": "denied", "msg": f"no\n<!channel> {TOKEN}"}, self.refusal)
        asked = (request.query_params[name] for name in ("start_date", "end_date"))
        days = Days(*map(date.fromisoformat, asked))
        numbers = {"total_nodes": 7, "nodes_with_agent": 5, "nodes_without_agent": 2}
        return JSONResponse({"items": [{"date": str(day), **numbers} for day in days]})


@dataclass
class World:
    """An instance with the accounts' definitions. `cursors` are kept as the daemon does: not when a look fails."""

    instance: dg.DagsterInstance
    place: Place
    accounts: tuple[Account, ...]
    clock: TurnableClock
    cursors: dict[str, str | None]

    @property
    def defs(self) -> dg.Definitions:
        return orchestration.build(Configuration(self.accounts), self.place)

    def run(self, days: Days = WEEK, job: str = "daily", **tags: str) -> dg.ExecuteInProcessResult:
        ends = {alerts.FIRST: str(days.first), alerts.LAST: str(days.last)}
        found = self.defs.resolve_job_def(job)
        return found.execute_in_process(
            instance=self.instance, run_config=QUIET, tags={**ends, **tags}, raise_on_error=False
        )

    def look(self, sensor: str = "run_failure_alerts") -> str:
        """One tick; what the UI shows of it."""
        repository = self.defs.get_repository_def()
        context = dg.build_sensor_context(
            self.instance,
            self.cursors.get(sensor),
            repository_def=repository,
            resources={"place": self.place},
        )
        data = repository.get_sensor_def(sensor).evaluate_tick(context)
        self.cursors[sensor] = data.cursor
        assert not data.run_requests
        return str(data.skip_message)


@pytest.fixture
def puppet() -> Puppet:
    return Puppet()


@pytest.fixture
def hook() -> Hook:
    return Hook()


@pytest.fixture
def started(
    tmp_path: Path, clock: TurnableClock, puppet: Puppet, hook: Hook, serve: Callable[[Any], str]
) -> Iterator[Callable[..., World]]:
    """Make a world, with settings of the instance."""
    account = Account(
        name="puppet",
        vendor="puppet",
        base_url=serve(puppet.app()),
        start_date=date(2026, 3, 1),
        credentials={"token": "PUPPET_TOKEN"},
        endpoints=("usage",),
        options={"ca_bundle": None, "events": "exclude"},
    )
    environment = {
        "PUPPET_TOKEN": TOKEN,
        alerting.WEBHOOK_VARIABLE: serve(hook.app()) + PATH,
        alerting.UI_VARIABLE: "https://dagster.acme.test/",
    }
    place = Place(tmp_path, str(tmp_path), clock, lambda _seconds: None, environment)
    with ExitStack() as stack:

        def start(**settings: Any) -> World:
            folder = tmp_path / "dagster"
            folder.mkdir()
            instance = stack.enter_context(dg.DagsterInstance.local_temp(str(folder), overrides=settings))
            return World(instance, place, (account,), clock, {})

        yield start


@pytest.fixture
def world(started: Callable[..., World]) -> World:
    return started()


def test_sensors_wait_to_be_switched_on(world: World) -> None:
    found = {sensor.name: sensor for sensor in world.defs.get_repository_def().sensor_defs}
    for name in ("run_failure_alerts", "missed_coverage_alerts"):
        assert found[name].default_status is dg.DefaultSensorStatus.STOPPED
        assert alerting.WEBHOOK_VARIABLE in (found[name].description or "")


@pytest.mark.parametrize("sensor", ["run_failure_alerts", "missed_coverage_alerts"])
def test_without_a_receiver_a_look_says_how_to_name_one(world: World, sensor: str) -> None:
    world.place = replace(world.place, environment={})
    assert world.look(sensor) == alerting.HOW
    assert world.cursors[sensor] is None


def test_a_wrong_receiver_fails_the_look(world: World) -> None:
    world.place = replace(world.place, environment={alerting.WEBHOOK_VARIABLE: "http://hooks.acme.test"})
    with pytest.raises(ConfigurationError, match="ALERT_WEBHOOK must be an address"):
        world.look()


def test_a_failed_run_is_told_of_once(world: World, puppet: Puppet, hook: Hook) -> None:
    puppet.refusal = 403
    world.run()
    # What failed before somebody was listening is no news.
    assert world.look() == "from now on, runs that fail are told of"
    assert world.look() == "no run failed"
    assert hook.texts == []

    failed = world.run()
    assert not failed.success
    assert world.look().startswith("told the webhook at 127.0.0.1: usage-pipeline: 1 run failed")
    [text] = hook.texts
    head, line = text.splitlines()
    assert head == "usage-pipeline: 1 run failed"
    assert line.startswith(
        "- puppet/usage, 2026-03-10 to 2026-03-14: 5 of 5 days failed; 2026-03-10 to 2026-03-14: http://127.0.0.1:"
    )
    assert "answered 403: denied: no; (!channel) ***. Check the account's credentials" in line
    assert line.endswith(f" https://dagster.acme.test/runs/{failed.run_id}")
    assert TOKEN not in text
    assert world.look() == "no run failed"


def test_a_check_that_ends_a_run_is_told_with_its_asset(world: World, hook: Hook) -> None:
    world.look()
    world.run()
    table = Lake(world.place.root).open(USAGE)
    write_deltalake(table, table.to_pyarrow_table(), mode="append")
    assert not world.run(Days(WEEK.last, WEEK.last)).success
    world.look()
    [text] = hook.texts
    assert "\n- checks of puppet/usage, 2026-03-14: " in text
    assert "keys_unique" in text


def test_the_same_reason_is_told_once_a_day(world: World, puppet: Puppet, hook: Hook) -> None:
    world.look()
    puppet.refusal = 403
    world.run()
    world.look()
    world.clock.advance(hours=23, minutes=59)
    world.run(Days(WEEK.first, WEEK.first))
    assert world.look() == "told of before, within a day: puppet/usage"
    assert len(hook.texts) == 1
    puppet.refusal = 401
    world.run()
    world.look()
    assert len(hook.texts) == 2
    assert "answered 401" in hook.texts[1]
    puppet.refusal = 403
    world.clock.advance(minutes=1)
    world.run()
    world.look()
    assert len(hook.texts) == 3
    assert "answered 403" in hook.texts[2]


def test_failures_of_one_look_are_one_message(world: World, puppet: Puppet, hook: Hook) -> None:
    world.look()
    puppet.refusal = 403
    runs = [world.run(Days(day, day)).run_id for day in list(WEEK)[:3]]
    puppet.refusal = 401
    runs.append(world.run().run_id)
    world.look()
    [text] = hook.texts
    head, forbidden, unknown = text.splitlines()
    assert head == "usage-pipeline: 4 runs failed"
    assert forbidden.startswith("- puppet/usage, 2026-03-12: 1 of 1 days failed")
    assert forbidden.endswith(f"(and 2 more runs) https://dagster.acme.test/runs/{runs[2]}")
    assert "answered 401" in unknown
    assert unknown.endswith(runs[3])


def test_what_a_look_does_not_take_in_the_next_one_does(
    world: World, puppet: Puppet, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "MOST_RUNS", 1)
    world.look()
    puppet.refusal = 403
    world.run()
    puppet.refusal = 401
    world.run()
    world.look()
    world.look()
    assert ["answered 403" in text for text in hook.texts] == [True, False]
    assert world.look() == "no run failed"


def test_nothing_is_lost_while_nobody_takes_it(world: World, puppet: Puppet, hook: Hook) -> None:
    world.look()
    puppet.refusal = 403
    world.run()
    before = world.cursors["run_failure_alerts"]
    hook.answers = [PlainTextResponse("down", 503) for _ in range(alerting.ATTEMPTS)]
    with pytest.raises(alerting.DeliveryError, match=r"will be sent again: .* answered 503 down"):
        world.look()
    assert world.cursors["run_failure_alerts"] == before
    world.look()
    [text] = hook.texts
    assert "answered 403" in text


def test_a_run_that_is_started_again_is_told_of_at_the_end(
    started: Callable[..., World], puppet: Puppet, hook: Hook
) -> None:
    world = started(run_retries={"enabled": True, "max_retries": 1})
    world.look()
    puppet.refusal = 403
    first = world.run()
    run = world.instance.get_run_by_id(first.run_id)
    assert run is not None
    assert run.tags[alerts.WILL_RETRY] == "true"
    assert world.look() == "no run failed"
    # As the daemon starts it again; this time its process dies.
    job = world.defs.resolve_job_def("daily")
    again = {"dagster/root_run_id": first.run_id, "dagster/parent_run_id": first.run_id}
    last = world.instance.create_run_for_job(job, root_run_id=first.run_id, parent_run_id=first.run_id, tags=again)
    world.instance.report_run_failed(last, "The process of the run is gone")
    world.look()
    [text] = hook.texts
    assert text.startswith("usage-pipeline: 1 run failed\n")
    assert text.endswith(last.run_id)


def test_a_run_that_failed_without_a_step_is_told_of(world: World, hook: Hook) -> None:
    world.look()
    job = world.defs.resolve_job_def("daily")
    keys = frozenset({dg.AssetKey(["raw", "puppet", "usage"]), dg.AssetKey(["usage", "puppet", "usage"])})
    run = world.instance.create_run_for_job(job, asset_selection=keys, tags={alerts.PARTITION: "2026-03-10"})
    world.instance.report_run_failed(run, "The process of the run is gone")
    world.look()
    [text] = hook.texts
    said = "- puppet/usage, 2026-03-10: The process of the run is gone"
    assert text.splitlines()[1:] == [f"{said} https://dagster.acme.test/runs/{run.run_id}"]


def test_an_error_that_is_not_ours_is_told_by_its_cause(
    world: World, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "RETRY", dg.RetryPolicy(max_retries=1))
    world.look()
    # A file where a folder belongs.
    (world.place.home / "raw").write_text("")
    world.run()
    world.look()
    [text] = hook.texts
    assert "puppet/usage" in text
    assert "rror: " in text
    assert len(text.splitlines()) == 2


def test_missing_days_are_told_once_a_day_and_when_they_are_back(world: World, puppet: Puppet, hook: Hook) -> None:
    """Today is 18 March, 12:00, and the account begins on the 1st. Due are 17 days."""
    sensor = "missed_coverage_alerts"
    world.look(sensor)
    assert hook.texts[-1].splitlines()[0] == "usage-pipeline: 1 source with days missing up to 2026-03-17"
    assert "- puppet/usage: 17 days, 2026-03-01 to 2026-03-17: nothing was ever loaded; nobody asked" in hook.texts[-1]

    puppet.refusal = 403
    world.run(Days(date(2026, 3, 1), date(2026, 3, 17)))
    assert world.look(sensor) == "nothing new: 1 sources lack days up to 2026-03-17"
    world.clock.advance(hours=20)  # 08:00: the 18th is not due before 09:00
    world.look(sensor)
    assert len(hook.texts) == 1

    world.clock.advance(hours=1)
    world.look(sensor)
    assert len(hook.texts) == 2
    assert "puppet/usage: 18 days, 2026-03-01 to 2026-03-18" in hook.texts[1]
    assert TOKEN not in hook.texts[1]

    puppet.refusal = None
    world.run(Days(date(2026, 3, 1), date(2026, 3, 18)))
    world.look(sensor)
    assert hook.texts[2:] == [
        "usage-pipeline: 1 source recovered\n- puppet/usage: recovered, nothing that was due is missing"
    ]
    assert world.look(sensor) == "nothing new: 0 sources lack days up to 2026-03-18"
    assert json.loads(world.cursors[sensor] or "") == {}


def test_what_nobody_took_is_said_again(world: World, hook: Hook) -> None:
    sensor = "missed_coverage_alerts"
    hook.answers = [PlainTextResponse("no_service", 404)]
    with pytest.raises(alerting.DeliveryError, match="404 no_service"):
        world.look(sensor)
    assert world.cursors.get(sensor) is None
    world.look(sensor)
    assert len(hook.texts) == 1


def test_a_source_that_is_configured_no_more_does_not_recover(world: World, hook: Hook) -> None:
    sensor = "missed_coverage_alerts"
    world.look(sensor)
    world.accounts = ()
    world.clock.now += timedelta(days=1)
    assert world.look(sensor) == "nothing new: 0 sources lack days up to 2026-03-18"
    assert len(hook.texts) == 1
