"""The contract suite: what holds for every endpoint of every vendor, on the sandbox, over real HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usage_pipeline import pipeline, stages
from usage_pipeline.contract.errors import CredentialsError
from usage_pipeline.contract.schema import COVERAGE, USAGE, State, Temporality
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import History
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests import contract_world as world
from usage_pipeline_tests.conftest import NOW, TurnableClock

TODAY = NOW.date()
WEEK = Days(TODAY - timedelta(days=6), TODAY)


@pytest.fixture(scope="module")
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture(scope="module")
def base(clock: TurnableClock) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, world.sandbox(clock) as address:
        # All of the suite happens within one minute: the present stands still.
        world.unlimited(patch)
        yield address


@pytest.fixture(autouse=True)
def _present(clock: TurnableClock) -> None:
    clock.now = NOW


def pull(home: Path, base: str, clock: TurnableClock, vendor: str, slug: str, days: Days) -> pipeline.Outcome:
    outcome = pipeline.pull(world.place(home, clock), world.account(vendor, base), slug, days)
    assert outcome.failures == {}
    return outcome


@pytest.mark.parametrize(("vendor", "slug"), world.ENDPOINTS)
def test_metrics_are_declared_well(vendor: str, slug: str) -> None:
    endpoint = world.endpoint(vendor, slug)
    assert endpoint.documentation.startswith("https://")
    assert len({metric.key for metric in endpoint.metrics}) == len(endpoint.metrics)
    for metric in endpoint.metrics:
        assert metric.name == metric.name.lower()
        assert metric.unit[:1].isupper()
        assert metric.description.endswith(".")


@pytest.mark.parametrize(("vendor", "slug"), world.ENDPOINTS)
def test_a_week_arrives_with_every_day_accounted_for(
    tmp_path: Path, base: str, clock: TurnableClock, vendor: str, slug: str
) -> None:
    endpoint = world.endpoint(vendor, slug)
    outcome = pull(tmp_path, base, clock, vendor, slug, WEEK)
    assert set(outcome.states) == set(WEEK)
    coverage = {row["usage_date"]: row for row in world.table(tmp_path, COVERAGE)}
    assert set(coverage) == set(WEEK)
    rows = world.table(tmp_path)
    if endpoint.metrics:
        assert rows
    if endpoint.history is History.SNAPSHOT:
        past = {day: coverage[day]["state"] for day in WEEK if day != TODAY}
        assert set(past.values()) == {State.NOT_AVAILABLE}
        assert {row["observed_at"] for row in rows} <= {NOW}
    else:
        counted = sum(int(str(row["rows"])) for row in coverage.values())
        inside = [row for row in rows if row["usage_date"] in WEEK]
        assert counted == len(inside)


@pytest.mark.parametrize(("vendor", "slug"), world.ENDPOINTS)
def test_rows_keep_the_schema_s_promises(
    tmp_path: Path, base: str, clock: TurnableClock, vendor: str, slug: str
) -> None:
    pull(tmp_path, base, clock, vendor, slug, WEEK)
    declared = {metric.key: metric.unit for metric in world.endpoint(vendor, slug).metrics}
    for row in world.table(tmp_path):
        key = (row["metric"], row["role"], row["aggregation"], row["temporality"])
        assert declared[key] == row["unit"]  # type: ignore[index]
        start, end, observed = row["period_start"], row["period_end"], row["observed_at"]
        assert isinstance(start, datetime)
        assert isinstance(end, datetime)
        assert isinstance(observed, datetime)
        if row["temporality"] == Temporality.INSTANT:
            assert start == end == observed
            assert row["usage_date"] == observed.date()
        else:
            assert start < end
            assert row["usage_date"] == (end - timedelta(microseconds=1)).date()
        assert row["month"] == str(row["usage_date"])[:7]
        assert row["breakdown"] == "+".join(sorted(dict(row["dimensions"])))  # type: ignore[call-overload]
        if end > observed:
            assert not row["is_final"]


UNSEEN = {
    "aveva-tenant_community_usage": {"cluster_region"},
    "aveva-community_usage": {"cluster_region"},
}
"""Labels that the sandbox does not tell: its communities are of no region."""


@pytest.mark.parametrize(("vendor", "slug"), world.ENDPOINTS)
def test_every_declared_dimension_and_label_is_told_and_no_other(
    tmp_path: Path, base: str, clock: TurnableClock, vendor: str, slug: str
) -> None:
    endpoint = world.endpoint(vendor, slug)
    seen: dict[str, set[str]] = {"dimensions": set(), "labels": set()}
    for number, options in enumerate([{}, *world.VARIANTS.get(vendor, [])]):
        home = tmp_path / str(number)
        account = world.account(vendor, base, **options)
        assert pipeline.pull(world.place(home, clock), account, slug, Days(TODAY, TODAY)).failures == {}
        for row in world.table(home):
            for held, names in seen.items():
                names.update(dict(row[held]))  # type: ignore[call-overload]
    assert seen["dimensions"] == set(endpoint.dimensions)
    assert seen["labels"] == set(endpoint.labels) - UNSEEN.get(f"{vendor}-{slug}", set())


@pytest.mark.parametrize(("vendor", "slug"), world.ENDPOINTS)
def test_dimensions_and_labels_are_declared_well(vendor: str, slug: str) -> None:
    endpoint = world.endpoint(vendor, slug)
    for names in (endpoint.dimensions, endpoint.labels):
        assert len(set(names)) == len(names)
        assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in (vendor, slug, *names))


@pytest.mark.parametrize(("vendor", "slug"), world.ENDPOINTS)
def test_loading_twice_and_replaying_equal_loading_once(
    tmp_path: Path, base: str, clock: TurnableClock, vendor: str, slug: str
) -> None:
    pull(tmp_path, base, clock, vendor, slug, WEEK)
    once = world.table(tmp_path)
    pull(tmp_path, base, clock, vendor, slug, WEEK)
    assert world.table(tmp_path) == once
    pipeline.replay(world.place(tmp_path, clock), world.account(vendor, base), slug, WEEK)
    assert world.table(tmp_path) == once


@pytest.mark.parametrize(
    ("vendor", "slug"),
    [
        pytest.param(vendor.slug, endpoint.slug, id=f"{vendor.slug}-{endpoint.slug}")
        for vendor in VENDORS.values()
        for endpoint in vendor.endpoints
        if endpoint.default and endpoint.metrics
    ],
)
@given(data=st.data())
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_split_and_order_of_loads_give_the_same_table(
    tmp_path_factory: pytest.TempPathFactory,
    base: str,
    clock: TurnableClock,
    vendor: str,
    slug: str,
    data: st.DataObject,
) -> None:
    """Windows are cut into ranges, asked in any order and some twice; snapshots are replayed in any order."""
    whole, parts = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("parts")
    days = Days(date(2026, 2, 26), date(2026, 3, 8))
    if world.endpoint(vendor, slug).history is History.SNAPSHOT:
        for home in (whole, parts):
            for day in days:
                clock.now = datetime(day.year, day.month, day.day, 9, tzinfo=UTC)
                pull(home, base, clock, vendor, slug, Days(day, day))
        clock.now = NOW
        order = data.draw(st.permutations(list(days)))
        for day in order:
            pipeline.replay(world.place(parts, clock), world.account(vendor, base), slug, Days(day, day))
        assert world.table(parts) == world.table(whole)
        return
    clock.now = NOW
    pull(whole, base, clock, vendor, slug, days)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(days) - 1), max_size=3)))
    edges = [0, *cuts, len(days)]
    pieces = [Days(days.first + timedelta(days=a), days.first + timedelta(days=b - 1)) for a, b in pairwise(edges)]
    again = data.draw(st.lists(st.sampled_from(pieces), max_size=1))
    for piece in data.draw(st.permutations(pieces + again)):
        pull(parts, base, clock, vendor, slug, piece)
    accidents = sorted(world.ACCIDENTS)
    key = lambda row: str(sorted(row.items(), key=str))  # noqa: E731 - sorts rows of two tables alike
    assert sorted(world.table(parts, without=accidents), key=key) == sorted(
        world.table(whole, without=accidents), key=key
    )


@pytest.mark.parametrize("vendor", list(VENDORS))
def test_wrong_credentials_are_named_and_lose_nothing(
    tmp_path: Path, base: str, clock: TurnableClock, vendor: str
) -> None:
    account = world.account(vendor, base)
    slug = next(endpoint.slug for endpoint in VENDORS[vendor].endpoints if endpoint.metrics)
    pull(tmp_path, base, clock, vendor, slug, WEEK)
    before, known = world.table(tmp_path), world.table(tmp_path, COVERAGE)
    good = world.place(tmp_path, clock)
    wrong = dict.fromkeys(account.credentials.values(), "canary-3f9c")
    bad = pipeline.place({**good.environment, **wrong}, clock, good.sleep)
    outcome = pipeline.pull(bad, account, slug, Days(TODAY, TODAY))
    assert set(outcome.failures) == {TODAY}
    assert isinstance(outcome.failures[TODAY], CredentialsError)
    assert world.table(tmp_path) == before
    after = world.table(tmp_path, COVERAGE)
    assert [row["state"] for row in after] == [row["state"] for row in known]
    today = next(row for row in after if row["usage_date"] == TODAY)
    assert str(outcome.failures[TODAY]) in str(today["reason"])
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"canary-3f9c" not in written


def test_the_warehouse_shows_every_vendor_and_the_empty_lake_shows_types(
    tmp_path: Path, base: str, clock: TurnableClock
) -> None:
    place = world.place(tmp_path, clock)
    with duckdb.connect(str(pipeline.publish(place)), read_only=True) as warehouse:
        empty = warehouse.execute("DESCRIBE usage").fetchall()
        assert warehouse.execute("SELECT count(*) FROM usage").fetchall() == [(0,)]
    for vendor in VENDORS.values():
        for endpoint in vendor.endpoints:
            if endpoint.default:
                pull(tmp_path, base, clock, vendor.slug, endpoint.slug, WEEK)
    file = pipeline.publish(place)
    with duckdb.connect() as session:
        session.execute(f"ATTACH '{file}' AS elsewhere (READ_ONLY)")
        assert session.execute("DESCRIBE elsewhere.usage").fetchall() == empty
        told = session.execute("SELECT vendor, count(*) FROM elsewhere.usage GROUP BY 1").fetchall()
        declared = session.execute(
            "SELECT count(*) FROM elsewhere.usage ANTI JOIN elsewhere.metrics "
            "USING (vendor, endpoint, metric, role, aggregation, temporality, unit)"
        ).fetchall()
    assert {vendor for vendor, _ in told} == set(VENDORS)
    assert sum(count for _, count in told) == len(world.table(tmp_path))
    assert declared == [(0,)]
    assert file.stat().st_mode & 0o777 == 0o444
    assert [column for column, *_ in empty][: len(USAGE.names)] == USAGE.names
    assert stages.views.SQL.is_dir()
