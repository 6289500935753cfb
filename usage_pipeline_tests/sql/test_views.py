"""All views: described, typed also when empty, and one row per key of their grain."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from usage_pipeline.contract.schema import Role, State
from usage_pipeline.stages.publish import WAREHOUSE
from usage_pipeline.stages.views import SQL
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests.sql.lake import (
    AGENTS,
    EVENTS,
    INSTANCES,
    MINUTES,
    MINUTES_SO_FAR,
    NODES,
    RUNS,
    STREAMS,
    UNITS,
    USERS,
    USERS_30_DAYS,
    Small,
    allowed,
    billed,
    changed,
    configured,
    covered,
    days,
    small,
)

FILES = sorted(SQL.glob("[1-9]*.sql"))
START, END = "2024-03-05 08:00", "2024-04-05 08:00"

KEYS = {
    "usage": "series_id, period_start, period_end, observed_at",
    "usage_daily": "series_id, usage_date",
    "usage_monthly": "series_id, calendar, period_start",
    "utilization": "vendor, account, metric, unit, period_start",
    "puppet_burst_days": "account, usage_date",
    "coverage": "vendor, account, endpoint, usage_date",
    "coverage_gaps": "vendor, account, endpoint, first_day",
    "freshness": "vendor, account, endpoint",
    "restatements": "series_id, period_start, period_end, new_fetched_at",
    "billing_periods": "vendor, account, endpoint, period_start",
    "metrics": "vendor, endpoint, metric, role, aggregation, temporality",
    "accounts": "vendor, account, endpoint",
    "entitlements": "vendor, account, metric, valid_from",
    "inventory": "vendor, account, endpoint, item",
}
FILLED = sorted(set(KEYS) - {"inventory"})


def full(home: Path) -> Small:
    """Something of everything, of two accounts, over a leap February and a reset in the middle of a day."""
    february = days("2024-02-20", "2024-02-29")
    whole = replace(UNITS, role=Role.ENTITLED), replace(UNITS, role=Role.PROJECTED)
    usage = [
        *UNITS.readings("2024-02-05 08:00", {f"{day} 12:00": 10 * n for n, day in enumerate(february)}),
        *UNITS.readings("2024-02-05 08:00", {f"{day} 18:00": 10 * n + 5 for n, day in enumerate(february)}),
        *UNITS.readings("2024-02-05 08:00", {"2024-03-04 12:00": 80, "2024-03-05 07:00": 95}),
        *UNITS.readings(START, {"2024-03-05 12:00": 7, "2024-03-08 12:00": 20}),
        *(series.ahead(START, END, 100 + n, "2024-03-08 12:00") for n, series in enumerate(whole)),
        *AGENTS.readings(START, {"2024-03-05 12:00": 4, "2024-03-08 12:00": 9}),
        *NODES.each("2024-02-20", "2024-03-03", 15),
        *RUNS.each("2024-02-20", "2024-03-03", 2),
        *replace(RUNS, account="beta").each("2024-02-20", "2024-03-03", 3),
        *MINUTES.each("2024-02-20", "2024-03-03", 5),
        *replace(MINUTES, dimensions={"project": "p"}, labels={"project_name": "shop"}).each(
            "2024-02-20", "2024-03-03", 5
        ),
        *MINUTES_SO_FAR.readings("2024-03-01", {"2024-03-02": 5, "2024-03-03": 10}),
        *USERS.readings("2024-02-01", {"2024-02-29": 38, "2024-03-01": 40}),
        USERS_30_DAYS.period("2024-01-31", "2024-03-01", 70),
        *EVENTS.each("2024-02-20", "2024-03-03", 10),
        STREAMS.level("2024-03-03 12:00", 400),
        replace(STREAMS, role=Role.ENTITLED).level("2024-03-03 12:00", 500),
        INSTANCES.level("2024-03-03 06:00", 30),
        INSTANCES.level("2024-03-03 12:00", 31),
    ]
    return small(
        home,
        usage,
        periods=[
            *billed("thousandeyes", "usage", "2024-02-05 08:00", START, END),
            *billed("aveva", "billing_cycles", "2024-01-31", "2024-02-29"),
        ],
        coverage=[
            *covered(RUNS, "2024-02-20", "2024-03-03"),
            *covered(UNITS, "2024-02-20", "2024-02-29"),
            *covered(UNITS, "2024-03-03", state=State.FAILED, reason="busy"),
        ],
        accounts=[configured("puppet", "usage", "2024-02-20"), configured("thousandeyes", "usage", "2024-02-01")],
        entitlements=[allowed(NODES, 10, "2024-02-01", "2024-02-25"), allowed(NODES, 12, "2024-02-26")],
        restatements=[changed(RUNS.day("2024-02-20", 3), 2, "2024-03-05")],
        everything=True,
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return full(tmp_path_factory.mktemp("filled"))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("empty"), everything=True)


def views(lake: Small) -> list[str]:
    return [
        name
        for (name,) in lake.rows(
            "SELECT view_name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main' ORDER BY view_name"
        )
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_makes_the_one_thing_that_it_is_named_after_and_begins_with_its_grain(file: Path) -> None:
    text = file.read_text()
    assert re.match(r"\d\d_", file.name)
    assert re.match(r"-- \S", text)
    made = re.findall(r"^CREATE (?:VIEW|MACRO) (\w+)", text, re.MULTILINE)
    assert made == [file.stem.partition("_")[2]]
    assert text.upper().count("CREATE ") == 1


def test_every_view_and_column_is_described(filled: Small) -> None:
    assert filled.rows("SELECT view_name FROM duckdb_views() WHERE NOT internal AND coalesce(comment, '') = ''") == []
    assert filled.rows(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND coalesce(comment, '') = ''"
    ) == []  # fmt: skip
    assert len(views(filled)) > len(KEYS)


def test_a_view_s_description_is_the_first_line_of_its_file(filled: Small) -> None:
    said = dict(
        filled.rows("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal AND schema_name = 'main'")
    )
    for file in FILES:
        name = file.stem.partition("_")[2]
        if name in said:
            assert said[name] == file.read_text().partition("\n")[0].removeprefix("-- ")


def test_the_views_of_the_contract_are_there(filled: Small) -> None:
    assert set(KEYS) <= set(views(filled))


def test_there_is_a_view_for_every_endpoint_that_tells_numbers(filled: Small) -> None:
    endpoints = {f"{vendor.slug}_{end.slug}" for vendor in VENDORS.values() for end in vendor.endpoints if end.metrics}
    assert endpoints <= set(views(filled))


def test_an_endpoint_s_view_has_its_rows_and_the_dimensions_as_columns(filled: Small) -> None:
    assert filled.rows(
        "SELECT project, project_name, count(*), sum(value) FROM launchdarkly_service_connections "
        "WHERE metric = 'service_connections' AND temporality = 'delta' GROUP BY ALL ORDER BY ALL NULLS FIRST"
    ) == [(None, None, 13, 65), ("p", "shop", 13, 65)]  # 10 days of February, 3 of March
    assert filled.rows("SELECT DISTINCT endpoint, datacenter FROM consul_operator_usage") == [("operator_usage", "dc1")]


def test_every_view_is_empty_and_typed_on_an_empty_lake(empty: Small, filled: Small) -> None:
    assert views(empty) == views(filled)
    for view in views(empty):
        described = f'DESCRIBE SELECT * FROM "{view}"'
        assert empty.rows(described) == filled.rows(described), view
        if view != "metrics":
            assert empty.one(f'SELECT count(*) FROM "{view}"') == 0, view


def test_numbers_and_instants_have_their_types(empty: Small) -> None:
    told = empty.rows(
        "SELECT table_name || '.' || column_name, data_type FROM duckdb_columns() WHERE schema_name = 'main' "
        "AND NOT internal"
    )
    types = dict(told)
    for column in (
        "usage.value", "usage_daily.value", "usage_monthly.value", "utilization.consumed", "utilization.entitled",
        "utilization.projected", "utilization.remaining", "restatements.old_value", "restatements.new_value",
        "restatements.difference", "puppet_burst_days.entitled", "puppet_burst_days.over", "puppet_burst_days.nodes",
    ):  # fmt: skip
        assert types[column] == "DECIMAL(38,9)", column
    for column in (
        "usage_daily.covers_from", "usage_daily.covers_to", "usage_monthly.period_start", "usage_monthly.period_end",
        "utilization.as_of", "freshness.last_fetched_at", "restatements.new_fetched_at",
    ):  # fmt: skip
        assert types[column] == "TIMESTAMP WITH TIME ZONE", column
    for column in ("usage_daily.days_covered", "usage_monthly.days_known", "freshness.days_behind"):
        assert types[column] == "INTEGER", column
    for column in ("usage_daily.usage_date", "utilization.exhausted_on", "coverage_gaps.first_day"):
        assert types[column] == "DATE", column
    assert types["utilization.ratio"] == "DECIMAL(18,4)"


@pytest.mark.parametrize("view", sorted(KEYS))
def test_a_view_has_one_row_a_key(filled: Small, view: str) -> None:
    key = KEYS[view]
    assert filled.rows(f"SELECT {key}, count(*) FROM {view} GROUP BY {key} HAVING count(*) > 1") == []


@pytest.mark.parametrize("view", FILLED)
def test_a_view_shows_something_of_a_full_lake(filled: Small, view: str) -> None:
    assert filled.one(f"SELECT count(*) FROM {view}") > 0


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_a_reader_s_time_zone_changes_no_day(filled: Small, zone: str) -> None:
    """Days are UTC's, whatever the session says."""
    queries = [
        f"SELECT * EXCLUDE (dimensions, labels) FROM {view} ORDER BY ALL" for view in ("usage_daily", "usage_monthly")
    ] + ["SELECT * FROM utilization ORDER BY ALL", "SELECT * FROM puppet_burst_days ORDER BY ALL"]
    for query in queries:
        with filled.session() as session:
            expected = session.sql(query).to_arrow_table().to_pylist()
        with duckdb.connect(str(filled.home / WAREHOUSE), read_only=True) as session:
            session.execute(f"SET TimeZone = '{zone}'")
            assert session.sql(query).to_arrow_table().to_pylist() == expected
