"""The FOCUS export: every column of FOCUS 1.2, exact, and nothing in it that the public validator minds."""

from __future__ import annotations

import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from usage_pipeline import focus, prices
from usage_pipeline.cli import Outside, main
from usage_pipeline.contract.errors import UsageError
from usage_pipeline.contract.schema import PRICES
from usage_pipeline.contract.time import Days
from usage_pipeline.stages.declare import declare
from usage_pipeline.stages.lake import Lake
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests.conftest import TurnableClock
from usage_pipeline_tests.sql.lake import EVENTS, INSTANCES, MINUTES, NODES, RUNS, UNITS, USERS, Small, billed, small

VALIDATOR = Path(__file__).parents[1] / ".venv-focus"

KNOWN = {
    # A condition of two clauses is not read, so that the rule holds for every row.
    "CapacityReservationStatus-C-004-C": "https://github.com/finopsfoundation/focus_validator/issues/142",
    # Asks for a status where there is no commitment, against its own words and the rule before it.
    "CommitmentDiscountStatus-C-004-C": "https://github.com/FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec/issues/2393",
    # "When the charge is on an invoice" is no condition that the model has: it asks for an invoice of every row.
    "InvoiceId-C-005-C": "https://github.com/FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec/issues/2394",
}
"""Rules that fail on what the specification allows, each with where it is reported. Once mended, they leave."""

BOOK = """\
prices:
  - {sku: runs, vendor: puppet, metric: task_runs_by_node, included: 2, unit_price: 0.000000001, currency: EUR,
     valid_from: 2024-01-01}
  - {sku: nodes, vendor: puppet, metric: nodes, per: month, unit_price: 9.99, currency: EUR, valid_from: 2024-01-01}
  - {sku: minutes, vendor: launchdarkly, metric: service_connections, breakdown: project, currency: USD,
     tiers: [{from: 0, unit_price: 0.3}, {from: 10, unit_price: 0.2}], valid_from: 2024-01-01}
  - {sku: users, vendor: launchdarkly, metric: total_mau, per: month, unit_price: 0.5, currency: USD,
     valid_from: 2024-01-01}
  - {sku: units, vendor: thousandeyes, endpoint: usage, metric: cloud_units, unit_price: 0.1, currency: USD,
     valid_from: 2024-01-01}
  - {sku: events, vendor: aveva, endpoint: tenant_usage, metric: ingress_events, unit_price: 1, currency: USD,
     valid_from: 2024-01-01}
  - {sku: instances, vendor: consul, metric: billable_service_instances, breakdown: datacenter, per: day,
     unit_price: 1, currency: USD, valid_from: 2024-01-01}
"""
FEBRUARY = Days(date(2024, 2, 1), date(2024, 2, 29))

TEXTS = """
AvailabilityZone BillingAccountId BillingAccountName BillingAccountType BillingCurrency CapacityReservationId
CapacityReservationStatus ChargeCategory ChargeClass ChargeDescription ChargeFrequency CommitmentDiscountCategory
CommitmentDiscountId CommitmentDiscountName CommitmentDiscountStatus CommitmentDiscountType CommitmentDiscountUnit
ConsumedUnit InvoiceId InvoiceIssuerName PricingCategory PricingCurrency PricingUnit ProviderName PublisherName RegionId
RegionName ResourceId ResourceName ResourceType ServiceCategory ServiceName ServiceSubcategory SkuId SkuMeter
SkuPriceDetails SkuPriceId SubAccountId SubAccountName SubAccountType Tags
"""
INSTANTS = "BillingPeriodEnd BillingPeriodStart ChargePeriodEnd ChargePeriodStart"
DECIMALS = """
BilledCost CommitmentDiscountQuantity ConsumedQuantity ContractedCost ContractedUnitPrice EffectiveCost ListCost
ListUnitPrice PricingCurrencyContractedUnitPrice PricingCurrencyEffectiveCost PricingCurrencyListUnitPrice
PricingQuantity
"""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A day or two of each vendor: amounts, levels, counts, tiers, parts, a fallen total, and what has no price."""
    home = tmp_path_factory.mktemp("home")
    declare(Lake(str(home)), PRICES, prices.rows(prices.parse(BOOK, "prices.yaml")))
    shop = replace(MINUTES, dimensions={"project": 'a "shop"'})
    start = "2024-02-05 08:00"
    usage = [
        *RUNS.each("2024-02-28", "2024-03-01", 3),
        *NODES.each("2024-02-01", "2024-02-29", 7),
        shop.day("2024-02-01", 8),
        shop.day("2024-02-02", 8),
        MINUTES.day("2024-02-01", 8),
        *USERS.readings("2024-02-01", {"2024-02-02": 5, "2024-02-03": 9}),
        *UNITS.readings(start, {"2024-02-05 20:00": 8, "2024-02-08 20:00": 6}),
        EVENTS.day("2024-02-29", "0.000000001"),
        INSTANCES.level("2024-02-10 12:00", 4),
    ]
    return small(home, usage, periods=billed("thousandeyes", "usage", start, "2024-03-05 08:00"))


@pytest.fixture(scope="module")
def session(lake: Small) -> Iterator[duckdb.DuckDBPyConnection]:
    with lake.session() as session:
        yield session


@pytest.fixture(scope="module")
def charges(session: duckdb.DuckDBPyConnection) -> pa.Table:
    return focus.rows(session, VENDORS.values(), FEBRUARY)


def of(charges: pa.Table, sku: str) -> list[dict[str, Any]]:
    return [row for row in charges.to_pylist() if row["SkuId"] == sku]


def test_every_column_is_there_with_its_type(charges: pa.Table) -> None:
    kinds = dict.fromkeys(TEXTS.split(), pa.types.is_string) | dict.fromkeys(DECIMALS.split(), pa.types.is_decimal)
    kinds |= dict.fromkeys(INSTANTS.split(), lambda kind: kind == pa.timestamp("us", tz="UTC"))
    assert len(kinds) == 57
    assert charges.column_names == sorted(kinds)
    assert [field.name for field in charges.schema if not kinds[field.name](field.type)] == []


def test_a_charge_says_who_what_when_and_how_much(charges: pa.Table) -> None:
    first, second, third = of(charges, "minutes")
    told = {name: cell for name, cell in second.items() if cell is not None}
    # The second day's 8 minutes: 2 up to 10 at 0.3, 6 above at 0.2.
    assert told == {
        "BilledCost": Decimal("0.6"),
        "BillingAccountId": "acme",
        "BillingAccountName": "acme",
        "BillingAccountType": "Account",
        "BillingCurrency": "USD",
        "BillingPeriodEnd": datetime(2024, 3, 1, tzinfo=UTC),
        "BillingPeriodStart": datetime(2024, 2, 1, tzinfo=UTC),
        "ChargeCategory": "Usage",
        "ChargeDescription": "service_connections: Minutes",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": datetime(2024, 2, 3, tzinfo=UTC),
        "ChargePeriodStart": datetime(2024, 2, 2, tzinfo=UTC),
        "ConsumedQuantity": Decimal(2),
        "ConsumedUnit": "Minutes",
        "ContractedCost": Decimal("0.6"),
        "ContractedUnitPrice": Decimal("0.3"),
        "EffectiveCost": Decimal("0.6"),
        "InvoiceIssuerName": "LaunchDarkly",
        "ListCost": Decimal("0.6"),
        "ListUnitPrice": Decimal("0.3"),
        "PricingCategory": "Standard",
        "PricingCurrency": "USD",
        "PricingCurrencyContractedUnitPrice": Decimal("0.3"),
        "PricingCurrencyEffectiveCost": Decimal("0.6"),
        "PricingCurrencyListUnitPrice": Decimal("0.3"),
        "PricingQuantity": Decimal(2),
        "PricingUnit": "Minutes",
        "ProviderName": "LaunchDarkly",
        "PublisherName": "LaunchDarkly",
        "ServiceCategory": "Developer Tools",
        "ServiceName": "LaunchDarkly",
        "ServiceSubcategory": "Developer Platforms",
        "SkuId": "minutes",
        "SkuMeter": "service_connections",
        "SkuPriceId": "minutes/2024-01-01/0",
        "Tags": '{"launchdarkly/project":"a \\"shop\\""}',
    }
    assert (first["BilledCost"], third["BilledCost"]) == (Decimal("2.4"), Decimal("1.2"))
    assert (third["SkuPriceId"], third["ChargeDescription"]) == (
        "minutes/2024-01-01/10",
        "service_connections: Minutes above 10",
    )


def test_a_price_times_its_quantity_is_the_cost_to_the_last_digit(charges: pa.Table) -> None:
    for row in charges.to_pylist():
        for kind in ("List", "Contracted"):
            assert row[f"{kind}UnitPrice"] * row["PricingQuantity"] == row[f"{kind}Cost"]
    assert [row["BilledCost"] for row in of(charges, "events")] == [Decimal("0.000000001")]


def test_days_asked_for_are_told_and_no_others(session: duckdb.DuckDBPyConnection) -> None:
    day = focus.rows(session, VENDORS.values(), Days(date(2024, 2, 28), date(2024, 2, 29)))
    # The 3 runs of the 28th: 2 included, 1 paid; those of the 29th paid. March stays out.
    assert [(row["ConsumedQuantity"], row["BilledCost"]) for row in of(day, "runs")] == [
        (2, 0),
        (1, Decimal("0.000000001")),
        (3, Decimal("0.000000003")),
    ]


def test_what_has_no_price_is_not_told(charges: pa.Table) -> None:
    # The account's total of the minutes: its parts are what the book prices.
    assert {row["Tags"] is None for row in of(charges, "minutes")} == {False}
    assert set(charges["SkuId"].to_pylist()) == {"runs", "nodes", "minutes", "users", "units", "events", "instances"}


def test_a_charge_lies_within_its_billing_period(charges: pa.Table) -> None:
    first, second = of(charges, "units")
    assert (first["ChargePeriodStart"], first["BillingPeriodStart"]) == (datetime(2024, 2, 5, 8, tzinfo=UTC),) * 2
    # The fall of the 8th was measured over three days.
    assert (second["ChargePeriodStart"], second["ChargePeriodEnd"], second["BilledCost"]) == (
        datetime(2024, 2, 6, tzinfo=UTC),
        datetime(2024, 2, 9, tzinfo=UTC),
        Decimal("-0.2"),
    )


def test_a_month_of_a_level_is_told_in_its_unit(charges: pa.Table) -> None:
    nodes = of(charges, "nodes")
    assert {(row["ConsumedUnit"], row["PricingUnit"], row["ConsumedQuantity"]) for row in nodes} == {
        ("Nodes", "Node-Months", 7)
    }
    # 7 * 9.99, though a day is 7/29 of a month.
    assert sum(row["BilledCost"] for row in nodes) == Decimal("69.93")


def test_nothing_priced_writes_nothing_and_says_what_to_do(session: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    out.write_text("the old one")
    with pytest.raises(
        UsageError, match=r"nothing of 2023-01-01 has a price: write prices\.yaml beside accounts\.yaml"
    ):
        focus.export(session, VENDORS.values(), Days(date(2023, 1, 1), date(2023, 1, 1)), out)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("out.parquet", "the old one")]


def test_the_command_writes_the_file(lake: Small, charges: pa.Table, clock: TurnableClock, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    outside = Outside({"USAGE_PIPELINE_HOME": str(lake.home)}, clock, lambda _seconds: None)
    command = ["export-focus", "--from", "2024-02-01", "--to", "2024-02-29", "--out", str(out)]
    done = CliRunner().invoke(main, command, obj=outside)
    assert (done.exit_code, done.output) == (
        0,
        f"{charges.num_rows} charges of 2024-02-01 to 2024-02-29 are in {out}\n",
    )
    written = pq.read_table(out)
    assert written.schema.metadata == {b"FocusVersion": b"1.2"}
    assert written.equals(charges)
    assert [file.name for file in tmp_path.iterdir()] == ["out.parquet"]


def failures(file: Path, report: Path) -> set[str]:
    """The rules that the validator finds broken, those apart that only gather others."""
    packages = next(VALIDATOR.glob("lib/python*/site-packages"))
    subprocess.run(
        [
            VALIDATOR / "bin" / "focus-validator", "--data-file", file, "--validate-version", focus.VERSION,
            "--block-download", "--applicability-criteria", "ALL",
            "--output-type", "unittest", "--output-destination", report,
        ],
        # It looks for its list of currencies below the folder that it is started in.
        cwd=packages,
        # Whatever it would fetch all the same, it cannot.
        env=os.environ | dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"),
        check=True,
        capture_output=True,
        timeout=300,
    )  # fmt: skip
    suites = ET.parse(report).getroot()
    # Its exit status says nothing: a report that is empty, or that gave up, would look like a good one.
    assert int(suites.attrib["tests"]) > 500
    assert suites.attrib["errors"] == "0"
    found = suites.findall(".//failure")
    assert len(found) == int(suites.attrib["failures"])
    return {rule.attrib["name"] for rule in found if not rule.attrib["message"].startswith("Composite")}


needs_validator = pytest.mark.skipif(
    not (VALIDATOR / "installed").exists(), reason="the validator's own environment is not there: make others"
)


@needs_validator
def test_the_public_validator_finds_nothing_but_its_own_faults(charges: pa.Table, tmp_path: Path) -> None:
    assert set(charges["ProviderName"].to_pylist()) == {vendor.provider or vendor.title for vendor in VENDORS.values()}
    pq.write_table(charges, tmp_path / "charges.parquet")
    assert failures(tmp_path / "charges.parquet", tmp_path / "report.xml") == set(KNOWN)


@needs_validator
def test_the_public_validator_does_find_what_is_wrong(charges: pa.Table, tmp_path: Path) -> None:
    position = charges.column_names.index("ChargeCategory")
    wrong = charges.set_column(position, "ChargeCategory", pa.array(["Use"] * charges.num_rows))
    pq.write_table(wrong, tmp_path / "charges.parquet")
    assert "ChargeCategory-C-003-M" in failures(tmp_path / "charges.parquet", tmp_path / "report.xml")
