"""<vendor>_<endpoint>: the rows of one endpoint, its dimensions and labels as columns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from usage_pipeline.contract.schema import USAGE
from usage_pipeline.contract.vendor import Endpoint
from usage_pipeline.stages.views import endpoint_views
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests.sql.lake import EVENTS, INSTANCES, MINUTES, NODES, UNITS, Small, small

CHECKOUT = replace(
    UNITS,
    dimensions={"account_group": "11", "test": "1158"},
    labels={"account_group_name": "Ops", "test_name": "Checkout", "test_type": "Page Load"},
)
LONDON = replace(
    UNITS,
    metric="enterprise_units",
    unit="Enterprise Units",
    dimensions={"account_group": "11", "agent": "7"},
    labels={"account_group_name": "Ops", "agent_name": "It's London", "agent_id": "7"},
)
DECLARED = [
    pytest.param(vendor.slug, endpoint, id=f"{vendor.slug}_{endpoint.slug}")
    for vendor in VENDORS.values()
    for endpoint in vendor.endpoints
]


def test_a_row_has_its_dimensions_and_labels_as_columns(tmp_path: Path) -> None:
    """The total has none of them, and a part only its own."""
    start, at = "2024-03-05 08:00", "2024-03-06 12:00"
    lake = small(
        tmp_path, [UNITS.reading(start, at, 30), CHECKOUT.reading(start, at, 20), LONDON.reading(start, at, 7)]
    )
    assert lake.rows(
        "SELECT metric, account_group, account_group_name, test, test_name, test_type, agent, agent_name, agent_id, "
        "value::INTEGER FROM thousandeyes_usage ORDER BY value DESC"
    ) == [
        ("cloud_units", None, None, None, None, None, None, None, None, 30),
        ("cloud_units", "11", "Ops", "1158", "Checkout", "Page Load", None, None, None, 20),
        ("enterprise_units", "11", "Ops", None, None, None, "7", "It's London", "7", 7),
    ]


def test_only_the_endpoint_s_own_rows_are_there(tmp_path: Path) -> None:
    """Two endpoints of one vendor, and one slug of two vendors; every account is."""
    elsewhere = replace(EVENTS, endpoint="namespace_usage", dimensions={"namespace": "plant"})
    rows = [
        EVENTS.day("2024-02-29", 1),
        elsewhere.day("2024-02-29", 2),
        NODES.day("2024-02-29", 4),
        replace(NODES, account="beta").day("2024-02-29", 8),
        UNITS.reading("2024-02-05 08:00", "2024-02-29 12:00", 16),
    ]
    lake = small(tmp_path, rows)
    told = {
        view: lake.rows(f"SELECT account, value::INTEGER FROM {view} ORDER BY ALL")
        for view in ("aveva_tenant_usage", "aveva_namespace_usage", "puppet_usage", "thousandeyes_usage")
    }
    assert told == {
        "aveva_tenant_usage": [("acme", 1)],
        "aveva_namespace_usage": [("acme", 2)],
        "puppet_usage": [("acme", 4), ("beta", 8)],
        "thousandeyes_usage": [("acme", 16)],
    }


def test_a_name_that_is_both_is_told_apart(tmp_path: Path) -> None:
    """A region is a label, and a dimension where options split by it."""
    plant = replace(EVENTS, endpoint="namespace_usage", dimensions={"namespace": "plant"})
    named = replace(plant, labels={"cluster_region": "westus"})
    split = replace(plant, dimensions={"namespace": "plant", "cluster_region": "euno"}, account="split")
    lake = small(tmp_path, [named.day("2024-02-29", 1), split.day("2024-02-29", 2)])
    assert lake.rows(
        "SELECT namespace, cluster_region, cluster_region_label FROM aveva_namespace_usage ORDER BY value"
    ) == [("plant", None, "westus"), ("plant", "euno", None)]


def test_a_name_of_usage_s_own_is_told_apart() -> None:
    """Nothing of the registry is called so today: an endpoint whose dimensions and labels are words of ours."""
    (consul,) = VENDORS["consul"].endpoints
    odd = replace(consul, dimensions=("value", "order", "unit"), labels=("value", "unit_label"))
    with duckdb.connect() as session:
        session.execute("CREATE SCHEMA lake")
        columns = ", ".join(f'"{name}" VARCHAR' for name in USAGE.names if name not in {"dimensions", "labels"})
        maps = "dimensions MAP(VARCHAR, VARCHAR), labels MAP(VARCHAR, VARCHAR)"
        session.execute(f"CREATE TABLE lake.usage ({columns}, {maps})")
        session.execute(
            "INSERT INTO lake.usage (vendor, endpoint, value, unit, dimensions, labels) VALUES ('consul', "
            "'operator_usage', '5', 'Nodes', MAP {'value': 'a', 'order': 'b', 'unit': 'c'}, "
            "MAP {'value': 'd', 'unit_label': 'e'})"
        )
        for statement in endpoint_views([replace(VENDORS["consul"], endpoints=(odd,))]):
            session.execute(statement)
        told = session.execute(
            'SELECT value, unit, value_dimension, "order", unit_dimension, value_label, unit_label '
            "FROM consul_operator_usage"
        ).fetchall()
    assert told == [("5", "Nodes", "a", "b", "c", "d", "e")]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("empty"), everything=True)


@pytest.mark.parametrize(("vendor", "endpoint"), DECLARED)
def test_every_endpoint_that_tells_numbers_has_its_view(empty: Small, vendor: str, endpoint: Endpoint) -> None:
    """Of an empty lake too, with types."""
    view = f"{vendor}_{endpoint.slug}"
    if not endpoint.metrics:
        assert "does not exist" in empty.refusal(f"SELECT * FROM {view}")
        return
    assert empty.one(f"SELECT count(*) FROM {view}") == 0
    types = dict(row[:2] for row in empty.rows(f"DESCRIBE {view}"))
    assert types["value"] == "DECIMAL(38,9)"
    assert set(types) >= {*USAGE.names, *endpoint.dimensions, *endpoint.labels} - {"dimensions", "labels"}
    own = len(USAGE.names) - 2
    assert len(types) == own + len(endpoint.dimensions) + len(endpoint.labels)
    assert {kind for name, kind in types.items() if name in endpoint.dimensions} <= {"VARCHAR"}


def test_views_say_what_they_and_their_columns_are(empty: Small) -> None:
    names = "database_name = current_database() AND schema_name = 'main'"
    grain = empty.one(f"SELECT comment FROM duckdb_views() WHERE {names} AND view_name = 'puppet_usage'")
    assert grain.startswith("one row per series and period")
    assert grain.endswith("Puppet Enterprise tells it: Orchestrator usage")
    told = dict(
        empty.rows(
            f"SELECT column_name, comment FROM duckdb_columns() WHERE {names} AND table_name = 'thousandeyes_quotas'"
        )
    )
    assert told["organization"] == "The dimension organization; NULL where the series has none"
    assert told["organization_label"] == "The label organization; NULL where the series has none"
    assert told["value"] == "The exact number that the vendor reported"
    assert None not in told.values()


def test_names_read_alike_in_usage_and_in_the_view(tmp_path: Path) -> None:
    """The promoted columns of `usage` are the dimensions of the same name."""
    minutes = replace(MINUTES, dimensions={"project": "5f", "environment": "e1"})
    lake = small(tmp_path, [minutes.day("2024-02-29", 1), INSTANCES.level("2024-02-29 12:00", 2)])
    for view, columns in (
        ("launchdarkly_service_connections", "project, environment"),
        ("consul_operator_usage", "datacenter, namespace"),
    ):
        vendor = view.partition("_")[0]
        there = lake.rows(f"SELECT {columns} FROM usage WHERE vendor = '{vendor}'")
        assert lake.rows(f"SELECT {columns} FROM {view}") == there
        assert len(there) == 1
