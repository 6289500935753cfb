"""The checks: faults written into small lakes, and Dagster runs against a Puppet that tells what a test decides."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from usage_pipeline import checking, orchestration, pipeline
from usage_pipeline.checking import Finding
from usage_pipeline.config import Configuration
from usage_pipeline.contract.answer import Answer
from usage_pipeline.contract.answer import Request as Asked
from usage_pipeline.contract.schema import USAGE
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.kit import fields
from usage_pipeline.orchestration.assets import WAREHOUSE
from usage_pipeline.stages.lake import Lake
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests.conftest import TurnableClock
from usage_pipeline_tests.sql import lake
from usage_pipeline_tests.sql.lake import (
    ACCOUNT,
    AGENT_NODES,
    EVENTS,
    INSTANCES,
    MINUTES,
    NODES,
    RUNS,
    UNITS,
    USERS,
    Row,
    Series,
    configured,
    covered,
    small,
    when,
)

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
OTHER_NODES = replace(NODES, metric="nodes_without_agent")
BY_PROJECT = {name: replace(MINUTES, dimensions={"project": name}) for name in ("web", "app")}
BY_NAMESPACE = {
    name: replace(EVENTS, endpoint="namespace_usage", dimensions={"namespace": name}) for name in ("a", "b")
}
BY_TENANCY = {
    name: replace(INSTANCES, dimensions={"datacenter": "dc1", "namespace": name, "partition": "default"})
    for name in ("x", "y")
}
START = "2026-03-05 08:00"


def place(home: Path, clock: TurnableClock) -> pipeline.Place:
    return pipeline.Place(home, str(home), clock, lambda _seconds: None, {})


def found(
    home: Path,
    clock: TurnableClock,
    rows: Iterable[Row],
    of: Series,
    since: date | None = None,
    **options: Any,
) -> dict[str, Finding]:
    """The checks of the endpoint that a series is from, by name. Today is 18 March 2026, noon."""
    small(home, rows, accounts=[configured(of.vendor, of.endpoint, "2026-03-17")], coverage=covered(of, "2026-03-17"))
    account = Account(ACCOUNT, of.vendor, "http://127.0.0.1:1", date(2026, 3, 17), {}, (of.endpoint,), options)
    endpoint = VENDORS[of.vendor].endpoint(of.endpoint)
    return {one.check.name: one for one in checking.endpoint(place(home, clock), account, endpoint, since)}


def failed(findings: Mapping[str, Finding]) -> list[str]:
    return [name for name, finding in findings.items() if not finding.passed]


def told(finding: Finding, *columns: str) -> list[tuple[Any, ...]]:
    places = [list(finding.columns).index(name) for name in columns]
    return [tuple(str(row[place]) for place in places) for row in finding.sample]


def test_sound_rows_pass(tmp_path: Path, clock: TurnableClock) -> None:
    rows = [*NODES.each("2026-03-01", "2026-03-17", 7), *AGENT_NODES.each("2026-03-01", "2026-03-17", 5)]
    rows += OTHER_NODES.each("2026-03-01", "2026-03-17", 2)
    findings = found(tmp_path, clock, rows, NODES)
    assert failed(findings) == []
    assert findings["keys_unique"].looked_at["rows"] == 51
    assert list(findings) == [check.name for check in checking.of(VENDORS["puppet"].endpoint("usage"))]


def test_a_key_that_stands_twice_is_found(tmp_path: Path, clock: TurnableClock) -> None:
    twice = NODES.day("2026-01-10", 9)
    findings = found(tmp_path, clock, [*NODES.each("2026-01-01", "2026-01-12", 7), twice], NODES)
    assert failed(findings) == ["keys_unique"]
    finding = findings["keys_unique"]
    assert told(finding, "usage_date", "metric", "rows") == [("2026-01-10", "nodes", "2")]
    assert [(row[-2], row[-1]) for row in finding.sample] == [(Decimal(7), Decimal(9))]
    assert finding.said.startswith("Keys with several rows: 1, 2026-01-10. ")
    command = "usage-pipeline replay --account acme --endpoint usage --from 2026-01-10 --to 2026-01-10"
    assert command in finding.said
    assert finding.check.blocking


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"value": Decimal("-0.000000001")}, "the value is negative"),
        ({"period_end": when("2026-03-09")}, "the period ends before it starts"),
        ({"usage_date": date(2026, 3, 11)}, "usage_date is not the day of the last instant of the period"),
        ({"month": "2026-02"}, "month is not that of usage_date"),
        ({"fetched_at": when("2026-03-09 23:00")}, "consumed on a day that had not begun"),
        ({"fetched_at": when("2026-03-10 23:00")}, "final before its period was over"),
        ({"metric": "knots"}, "the metric is not declared"),
    ],
)
def test_a_row_that_cannot_be_is_found(tmp_path: Path, clock: TurnableClock, wrong: Row, fault: str) -> None:
    findings = found(tmp_path, clock, [NODES.day("2026-03-10", 7) | wrong, NODES.day("2026-03-11", 7)], NODES)
    assert failed(findings) == ["values_in_range"]
    assert told(findings["values_in_range"], "fault") == [(fault,)]
    assert "ask the vendor" in findings["values_in_range"].said


def test_an_instant_has_no_length(tmp_path: Path, clock: TurnableClock) -> None:
    rows = [INSTANCES.level("2026-03-10 12:00", 4), INSTANCES.level("2026-03-11 12:00", 4)]
    rows[0] |= {"period_start": when("2026-03-10 11:00")}
    assert told(found(tmp_path, clock, rows, INSTANCES)["values_in_range"], "fault") == [("an instant with a length",)]


def test_the_nodes_of_puppet_are_those_with_and_without_agent(tmp_path: Path, clock: TurnableClock) -> None:
    """7 = 5 + 2 on the tenth; 7 is not 5 + 1 on the eleventh; of the twelfth one part is not told."""
    days = {"2026-03-10": 2, "2026-03-11": 1}
    rows = [*NODES.each("2026-03-10", "2026-03-12", 7), *AGENT_NODES.each("2026-03-10", "2026-03-12", 5)]
    rows += [OTHER_NODES.day(day, value) for day, value in days.items()]
    findings = found(tmp_path, clock, rows, NODES)
    assert failed(findings) == ["parts_agree_with_totals"]
    finding = findings["parts_agree_with_totals"]
    assert finding.warns
    columns = "usage_date", "metric", "total", "sum_of_parts", "parts"
    assert [row[:2] for row in told(finding, *columns)] == [("2026-03-11", "nodes")]
    assert [row[3:6] for row in finding.sample] == [(Decimal(7), Decimal(6), Decimal(1))]


def test_minutes_of_projects_add_up_once_they_are_final(tmp_path: Path, clock: TurnableClock) -> None:
    """100.5 is not 60 + 40; of the day after, another answer may still tell the rest. Doubles may be off a little."""
    rows = [MINUTES.day("2026-03-10", "100.5"), MINUTES.day("2026-03-11", 100, final=False)]
    rows += [MINUTES.day("2026-03-12", "100.004")]
    for day in ("2026-03-10", "2026-03-11", "2026-03-12"):
        rows += [BY_PROJECT["web"].day(day, 60), BY_PROJECT["app"].day(day, 40)]
    rows[-3:-2] = []  # the app's minutes of the eleventh
    rows = [row | {"response_id": f"{row['response_id']}-{row['breakdown']}"} for row in rows]
    finding = found(tmp_path, clock, rows, MINUTES)["parts_agree_with_totals"]
    assert told(finding, "usage_date", "breakdown", "rows") == [("2026-03-10", "project", "2")]


@pytest.mark.parametrize(("namespaces", "faults"), [([], ["2026-03-10"]), (["a", "b"], [])])
def test_events_of_namespaces_are_those_of_the_tenant(
    tmp_path: Path, clock: TurnableClock, namespaces: list[str], faults: list[str]
) -> None:
    """Of which some are asked for only, they are not."""
    rows = [
        EVENTS.day("2026-03-10", 100),
        BY_NAMESPACE["a"].day("2026-03-10", 60),
        BY_NAMESPACE["b"].day("2026-03-10", 30),
    ]
    rows += [
        EVENTS.day("2026-03-11", 100),
        BY_NAMESPACE["a"].day("2026-03-11", 60),
        BY_NAMESPACE["b"].day("2026-03-11", 40),
    ]
    finding = found(tmp_path, clock, rows, BY_NAMESPACE["a"], namespaces=namespaces)["parts_agree_with_totals"]
    assert [str(row[0]) for row in finding.sample] == faults


def test_instances_by_namespace_are_those_of_the_datacenter(tmp_path: Path, clock: TurnableClock) -> None:
    """dc1: 10 = 6 + 4, an hour later 10 is not 6 + 3. dc2 tells no parts, as the community edition."""
    second = replace(INSTANCES, dimensions={"datacenter": "dc2"})
    rows = [second.level("2026-03-10 12:00", 50)]
    for at, y in (("2026-03-10 12:00", 4), ("2026-03-10 13:00", 3)):
        rows += [INSTANCES.level(at, 10), BY_TENANCY["x"].level(at, 6), BY_TENANCY["y"].level(at, y)]
    finding = found(tmp_path, clock, rows, INSTANCES)["parts_agree_with_totals"]
    assert told(finding, "of_what", "breakdown", "period_start") == [
        ("[dc1]", "datacenter+namespace+partition", "2026-03-10 13:00:00+00:00")
    ]


def test_agreements_are_of_metrics_that_are_declared() -> None:
    for vendor in VENDORS.values():
        for endpoint in vendor.endpoints:
            for one in endpoint.agreements:
                there = {metric.name for metric in vendor.endpoint(one.endpoint or endpoint.slug).metrics}
                assert one.total in there
                assert {*one.parts} <= {metric.name for metric in endpoint.metrics}
                assert {*one.by} <= {*endpoint.dimensions}
                assert one.unless is None or one.unless in vendor.options.model_fields


def test_a_running_total_that_falls_is_found(tmp_path: Path, clock: TurnableClock) -> None:
    """It falls from 20 to 15 on the ninth; a new period begins on the 15th with less, as it should."""
    rows = UNITS.readings(START, {"2026-03-08 12:00": 10, "2026-03-09 06:00": 20, "2026-03-09 18:00": 15})
    rows += UNITS.readings("2026-03-15 08:00", {"2026-03-15 12:00": 1, "2026-03-16 12:00": 2})
    findings = found(tmp_path, clock, rows, UNITS)
    assert failed(findings) == ["running_totals_do_not_fall"]
    finding = findings["running_totals_do_not_fall"]
    assert [row[4:7] for row in finding.sample] == [(Decimal(20), Decimal(15), Decimal(-5))]
    assert finding.warns


def test_the_point_of_a_day_that_is_not_over_may_be_anything(tmp_path: Path, clock: TurnableClock) -> None:
    rows = [USERS.period("2026-03-01", "2026-03-17", 90), USERS.period("2026-03-01", "2026-03-18", 0, final=False)]
    rows[1] |= {"fetched_at": when("2026-03-17 12:00")}
    assert failed(found(tmp_path, clock, rows, USERS)) == []
    rows[1] |= {"fetched_at": when("2026-03-18 01:00")}
    findings = found(tmp_path / "later", clock, rows, USERS)
    assert failed(findings) == ["running_totals_do_not_fall"]


@pytest.mark.parametrize(("since", "faults"), [(None, 0), (date(2026, 1, 1), 1)])
def test_what_is_long_ago_is_no_news_unless_it_was_just_loaded(
    tmp_path: Path, clock: TurnableClock, since: date | None, faults: int
) -> None:
    rows = UNITS.readings("2026-01-05 08:00", {"2026-01-08 12:00": 20, "2026-01-09 12:00": 10})
    assert found(tmp_path, clock, rows, UNITS, since)["running_totals_do_not_fall"].faults == faults


@pytest.mark.parametrize(
    ("value", "jumps"), [(300, False), (301, True), (34, False), (33, True)], ids=lambda value: str(value)
)
def test_a_day_far_from_the_same_weekdays_is_found(
    tmp_path: Path, clock: TurnableClock, value: int, jumps: bool
) -> None:
    """100 runs a day, and 1,000 on Sundays: a Tuesday is compared with Tuesdays."""
    weekdays = [
        RUNS.day(day, 1000 if date.fromisoformat(day).weekday() == 6 else 100)
        for day in lake.days("2026-02-15", "2026-03-16")
    ]
    findings = found(tmp_path, clock, [*weekdays, RUNS.day("2026-03-17", value)], RUNS)
    assert failed(findings) == (["no_sudden_jumps"] if jumps else [])
    finding = findings["no_sudden_jumps"]
    if jumps:
        assert told(finding, "usage_date", "weeks") == [("2026-03-17", "4")]
        assert [row[5:7] for row in finding.sample] == [(Decimal(value), Decimal(100))]


def test_three_weeks_say_nothing_and_little_is_no_jump(tmp_path: Path, clock: TurnableClock) -> None:
    rows = [*RUNS.each("2026-02-24", "2026-03-16", 100), RUNS.day("2026-03-17", 5000)]
    assert failed(found(tmp_path / "short", clock, rows, RUNS)) == []
    rows = [*RUNS.each("2026-02-01", "2026-03-16", 1), RUNS.day("2026-03-17", 10)]
    assert failed(found(tmp_path / "little", clock, rows, RUNS)) == []


def test_a_running_total_jumps_by_what_a_day_adds(tmp_path: Path, clock: TurnableClock) -> None:
    """20 a day since 1 February, 100 on 17 March. The total itself is more than thrice that of the first weeks."""
    days = lake.days("2026-02-01", "2026-03-17")
    shown = {f"{day} 23:00": 20 * n for n, day in enumerate(days, 1)}
    shown["2026-03-17 23:00"] += 80
    finding = found(tmp_path, clock, UNITS.readings("2026-02-01", shown), UNITS)["no_sudden_jumps"]
    assert told(finding, "usage_date") == [("2026-03-17",)]
    assert [row[5:7] for row in finding.sample] == [(Decimal(100), Decimal(20))]


def test_days_that_were_due_are_found(tmp_path: Path, clock: TurnableClock) -> None:
    """The 17th is due at 09:00 of the 18th."""
    small(tmp_path, accounts=[configured("puppet", "usage", "2026-03-15")], coverage=covered(NODES, "2026-03-15"))
    account = Account(ACCOUNT, "puppet", "http://127.0.0.1:1", date(2026, 3, 15), {}, ("usage",), {})
    endpoint = VENDORS["puppet"].endpoint("usage")

    def coverage() -> Finding:
        return list(checking.endpoint(place(tmp_path, clock), account, endpoint))[-1]

    assert coverage().sample == [(date(2026, 3, 16), date(2026, 3, 17), 2, "not_asked", "")]
    assert "pull --account acme --endpoint usage --from 2026-03-16 --to 2026-03-17" in coverage().said
    clock.now = datetime(2026, 3, 18, 8, 59, tzinfo=UTC)
    assert coverage().faults == 1
    clock.now = datetime(2026, 3, 17, 8, 59, tzinfo=UTC)
    assert coverage().passed


def answer(body: str, kind: str = "json") -> Answer:
    headers = {"content-type": f"application/{kind}"}
    return Answer(Asked("/"), "http://127.0.0.1/", 200, headers, body.encode(), when("2026-03-18"))


def test_fields_are_named_whatever_their_values() -> None:
    body = """{"items": [{"a": 1}, {"b": {"c": []}}], "Usage": {"dc1": {"Nodes": 1}, "dc2": {}},
               "series": [{"time": 1, "0": 2, "17": 3}], "none": null, "_links": {"next": {"href": "/"}}}"""
    there, empty = fields.of(answer(body), {"Usage": 1})
    assert {name for name in there if name.startswith("$.items")} == {
        "$.items", "$.items[].a", "$.items[].b", "$.items[].b.c",
    }  # fmt: skip
    assert there >= {"$.Usage.*.Nodes", "$.series[].*", "$.series[].time", "$._links"}
    assert not {name for name in there if "dc1" in name or "href" in name}
    assert empty == {"$.items[].b.c", "$.none"}


def test_fields_of_xml_are_named() -> None:
    body = '<usage><quota monthStart="2026-03-05"/><tests><test><testId>7</testId></test></tests></usage>'
    there, _ = fields.of(answer(body, "xml"), {})
    assert {name.replace("[]", "") for name in there} >= {
        "$.usage.quota.monthStart", "$.usage.tests.test.testId",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "changes"),
    [
        (["a", "a", "ab", "ab"], [("b", "appeared", 3)]),
        (["ab", "ab", "a", "a"], [("b", "vanished", 3)]),
        (["ab", "a", "ab", "a"], []),
        (["ab"], []),
        ([], []),
    ],
    ids=["appeared", "vanished", "optional", "first day", "never asked"],
)
def test_fields_that_come_or_go_for_good_are_found(seen: list[str], changes: list[tuple[str, str, int]]) -> None:
    days = [(date(2026, 3, n), frozenset(there), frozenset[str]()) for n, there in enumerate(seen, 1)]
    assert checking.steps(days) == [(date(2026, 3, day), name, what) for name, what, day in changes]


def test_an_empty_array_says_nothing_of_its_fields() -> None:
    full, none = frozenset({"$.items", "$.items[].a"}), frozenset({"$.items"})
    assert checking.steps([(date(2026, 3, 1), full, frozenset()), (date(2026, 3, 2), none, none)]) == []


class Puppet:
    """A Puppet that tells seven nodes every day, and what a test adds or changes."""

    def __init__(self) -> None:
        self.numbers: dict[str, Any] = {"total_nodes": 7, "nodes_with_agent": 5, "nodes_without_agent": 2}

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/orchestrator/v1/usage", self.usage)])

    def usage(self, request: Request) -> JSONResponse:
        asked = (request.query_params[name] for name in ("start_date", "end_date"))
        days = Days(*map(date.fromisoformat, asked))
        return JSONResponse({"items": [{"date": str(day), **self.numbers} for day in days]})


class World:
    """An instance, and an account of a Puppet that begins on 10 March; today is the 18th."""

    def __init__(self, instance: dg.DagsterInstance, home: Path, clock: TurnableClock, base: str) -> None:
        self.instance, self.clock = instance, clock
        self.place = replace(place(home, clock), environment={"PUPPET_TOKEN": "secret"})
        options = {"ca_bundle": None, "events": "exclude"}
        credentials = {"token": "PUPPET_TOKEN"}
        self.account = Account("puppet", "puppet", base, date(2026, 3, 10), credentials, ("usage",), options)

    @property
    def defs(self) -> dg.Definitions:
        return orchestration.build(Configuration((self.account,)), self.place)

    def load(self, first: str = "2026-03-10", last: str = "2026-03-17", **how: Any) -> dg.ExecuteInProcessResult:
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        return self.run("daily", tags=tags, **how)

    def run(self, job: str, **how: Any) -> dg.ExecuteInProcessResult:
        found = self.defs.resolve_job_def(job)
        return found.execute_in_process(instance=self.instance, run_config=QUIET, raise_on_error=False, **how)


def evaluated(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


@pytest.fixture
def puppet() -> Puppet:
    return Puppet()


@pytest.fixture
def world(tmp_path: Path, clock: TurnableClock, puppet: Puppet, serve: Callable[[Any], str]) -> Iterator[World]:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        yield World(instance, tmp_path / "home", clock, serve(puppet.app()))


EVERY = [*(check.name for check in checking.of(VENDORS["puppet"].endpoint("usage"))), "equal_to_table"]


def test_a_load_is_checked_in_its_run(world: World) -> None:
    result = world.load()
    assert result.success
    made = evaluated(result)
    assert sorted(made) == sorted(EVERY)
    assert [name for name, one in made.items() if not one.passed] == []
    assert made["keys_unique"].asset_key == dg.AssetKey(["usage", "puppet", "usage"])
    assert made["keys_unique"].metadata["rows"].value == 24
    assert made["equal_to_table"].asset_key == WAREHOUSE
    assert made["equal_to_table"].metadata["rows"].value == 24


def test_a_warning_says_what_to_do_and_fails_no_run(world: World, puppet: Puppet) -> None:
    puppet.numbers |= {"total_nodes": 100, "nodes_with_agent": 88, "nodes_without_agent": 2}
    result = world.load()
    assert result.success
    made = evaluated(result)["parts_agree_with_totals"]
    assert not made.passed
    assert made.severity is dg.AssetCheckSeverity.WARN
    said = "Totals that are not the sum of their parts: 8, 2026-03-10 to 2026-03-17. Ask again: usage-pipeline pull"
    assert (made.description or "").startswith(said)
    sample = made.metadata["sample"]
    assert isinstance(sample, dg.TableMetadataValue)
    first = dict(sample.records[0].data)
    assert (first["usage_date"], first["total"], first["sum_of_parts"]) == ("2026-03-17", "100", "90")


def test_rows_that_stand_twice_keep_the_warehouse_from_being_made(world: World) -> None:
    """On 11 March, which the second run does not load anew."""
    assert world.load().success
    table = Lake(world.place.root).open(USAGE)
    rows = table.to_pyarrow_table(filters=[("usage_date", "=", date(2026, 3, 11))])
    assert rows.num_rows == 3
    from deltalake import write_deltalake

    write_deltalake(table, rows, mode="append")
    result = world.load("2026-03-16")
    assert not result.success
    made = evaluated(result)
    assert not made["keys_unique"].passed
    assert made["keys_unique"].metadata["faults"].value == 3
    assert "equal_to_table" not in made
    assert WAREHOUSE not in {event.asset_key for event in result.get_asset_materialization_events()}
    assert world.load().success


def test_a_table_that_went_on_without_the_warehouse_is_found(world: World) -> None:
    assert world.load().success
    pipeline.pull(world.place, world.account, "usage", Days(date(2026, 3, 18), date(2026, 3, 18)))
    made = evaluated(world.run("checks_daily"))["equal_to_table"]
    assert not made.passed
    assert made.severity is dg.AssetCheckSeverity.WARN
    assert "materialise `warehouse`" in (made.description or "")
    # An older warehouse that was put into place afterwards.
    file = world.place.home / "warehouse.duckdb"
    old = file.read_bytes()
    file.unlink()
    file.write_bytes(old)
    made = evaluated(world.run("checks_daily"))["equal_to_table"]
    assert made.severity is dg.AssetCheckSeverity.ERROR
    sample = made.metadata["sample"]
    assert isinstance(sample, dg.TableMetadataValue)
    assert [dict(row.data) for row in sample.records] == [
        {
            "vendor": "puppet", "month": "2026-03", "rows of the table": 27, "sum of the table": "126",
            "rows shown": 24, "sum shown": "112",
        }
    ]  # fmt: skip
    pipeline.publish(world.place)
    assert evaluated(world.run("checks_daily"))["equal_to_table"].passed


def test_a_field_that_appears_is_told_with_its_day(world: World, puppet: Puppet) -> None:
    world.load("2026-03-17")
    world.clock.advance(days=1)
    puppet.numbers |= {"region": "eu"}
    made = evaluated(world.load("2026-03-17", "2026-03-18"))["vendor_fields"]
    assert not made.passed
    assert made.severity is dg.AssetCheckSeverity.WARN
    sample = made.metadata["sample"]
    assert isinstance(sample, dg.TableMetadataValue)
    assert [dict(row.data) for row in sample.records] == [
        {"since": "2026-03-19", "field": "$.items[].region", "what": "appeared"}
    ]


def test_all_are_made_once_a_day_loads_or_no_loads(world: World) -> None:
    result = world.run("checks_daily")
    assert result.success
    assert evaluated(result) == {}
    world.load("2026-03-10", "2026-03-16")
    made = evaluated(world.run("checks_daily"))
    assert sorted(made) == sorted(EVERY)
    assert [name for name, one in made.items() if not one.passed] == ["coverage_by_deadline"]
    assert made["coverage_by_deadline"].metadata["due"].value == "2026-03-17"


def test_raw_answers_alone_are_not_checked(world: World) -> None:
    result = world.load(asset_selection=[dg.AssetKey(["raw", "puppet", "usage"])])
    assert result.success
    assert evaluated(result) == {}


def test_the_schedule_waits_to_be_switched_on(world: World) -> None:
    schedule = world.defs.get_repository_def().get_schedule_def("checks_schedule")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED


def test_whoever_puts_publishing_off_has_no_checks(world: World) -> None:
    defs = orchestration.build(Configuration((world.account,)), world.place, publish=lambda _place: None)
    assert not defs.resolve_asset_graph().asset_check_keys
