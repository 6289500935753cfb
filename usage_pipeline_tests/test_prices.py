"""prices.yaml: exact decimals, mistakes with line and key, nothing billed twice, nothing that is no bill's business."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import usage_pipeline
from usage_pipeline import config, prices
from usage_pipeline.contract.errors import ConfigurationError
from usage_pipeline.contract.schema import PRICES

BASE = {
    "sku": "runs",
    "vendor": "puppet",
    "metric": "task_runs_by_node",
    "unit_price": "0.1",
    "currency": "EUR",
    "valid_from": "2026-01-01",
}


def book(*entries: dict[str, str]) -> str:
    """A price book; each entry changes BASE, and an empty value takes its line away."""
    lines = [[f"{key}: {value}" for key, value in (BASE | entry).items() if value] for entry in entries]
    return "prices:\n" + "".join("  - " + "\n    ".join(entry) + "\n" for entry in lines)


def refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        prices.parse(text, "f")
    return str(caught.value)


def tiers(**entry: str) -> dict[Decimal, Decimal]:
    (price,) = prices.parse(book(entry), "f")
    return dict(price.tiers)


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("0.000000001", "0.000000001"),
        ("123456789.987654321", "123456789.987654321"),
        ("'0.3'", "0.3"),
        ("7", "7"),
        ("1e-5", "0.00001"),
    ],
)
def test_a_price_keeps_every_digit_that_was_written(text: str, exact: str) -> None:
    (row,) = prices.rows(prices.parse(book({"unit_price": text}), "f"))
    assert row["unit_price"] == Decimal(exact)


def test_rows_have_the_tables_columns_one_row_a_tier() -> None:
    text = book(
        {"unit_price": "", "tiers": "[{from: 0, unit_price: 2}, {from: 100, unit_price: 1}]", "account": "acme"}
    )
    rows = prices.rows(prices.parse(text, "f"))
    assert [list(row) for row in rows] == [PRICES.names, PRICES.names]
    assert [(row["tier_from"], row["unit_price"]) for row in rows] == [(0, 2), (100, 1)]
    assert {(row["account"], row["endpoint"], row["basis"], row["valid_from"]) for row in rows} == {
        ("acme", "usage", "amount", date(2026, 1, 1))
    }


def test_what_is_included_is_a_tier_that_costs_nothing() -> None:
    assert tiers(included="50") == {Decimal(0): Decimal(0), Decimal(50): Decimal("0.1")}
    steps = "[{from: 0, unit_price: 2}, {from: 100, unit_price: 1}]"
    # The first 50 free, then 2 each up to 100, then 1.
    assert tiers(unit_price="", tiers=steps, included="50") == {
        Decimal(0): Decimal(0),
        Decimal(50): Decimal(2),
        Decimal(100): Decimal(1),
    }


# An entry begins in line 2: sku, vendor, metric, unit_price, currency, valid_from; what is added follows in line 8.
@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"sku": "a b"}, "f:2: prices[0].sku: String should match pattern"),
        ({"vendor": "pupet"}, "f:3: prices[0].vendor: 'pupet' is unknown; allowed are: consul, aveva, "),
        ({"metric": "runs"}, "f:4: prices[0].metric: 'runs' is unknown; allowed are: corrective_agent_changes, "),
        ({"unit_price": "cheap"}, "f:5: prices[0].unit_price: Input should be a valid decimal"),
        ({"unit_price": "-1"}, "f:5: prices[0].unit_price: Input should be greater than or equal to 0"),
        ({"unit_price": "0.0000000001"}, "f:5: prices[0].unit_price: Decimal input should have no more than 9 decimal"),
        ({"unit_price": "nan"}, "f:5: prices[0].unit_price: Input should be a finite number"),
        ({"unit_price": ""}, "f:2: prices[0].unit_price: write either unit_price or tiers"),
        ({"tiers": "[{from: 0, unit_price: 1}]"}, "f:5: prices[0].unit_price: write either unit_price or tiers"),
        ({"currency": "EUO"}, "f:6: prices[0].currency: 'EUO' is no national currency of ISO 4217"),
        ({"valid_from": "2026-02-30"}, "f:7: prices[0].valid_from: Input should be a valid date"),
        ({"valid_to": "2025-12-31"}, "f:8: prices[0].valid_to: 2025-12-31 is before the first day, 2026-01-01"),
        ({"include": "5"}, "f:8: prices[0].include: unknown; allowed are: sku, vendor, metric, "),
        ({"endpoint": "nodes"}, "f:8: prices[0].endpoint: 'nodes' does not tell task_runs_by_node; allowed are: usage"),
        ({"per": "day"}, "f:8: prices[0].per: task_runs_by_node is an amount, which adds up"),
        ({"breakdown": "host"}, "f:8: prices[0].breakdown: 'host' is unknown; allowed are those of usage: none"),
        ({"dimensions": "{host: a}"}, "f:8: prices[0].dimensions.host: is not in the breakdown ''"),
        (
            {"unit_price": "", "tiers": "[{from: 1, unit_price: 1}]"},
            "f:7: prices[0].tiers: must begin with the tier from 0",
        ),
        (
            {"unit_price": "", "tiers": "[{from: 0, unit_price: 1}, {from: 0, unit_price: 2}]"},
            "f:7: prices[0].tiers[1].from: 0 is not above 0, where the tier before it begins",
        ),
        (
            {"unit_price": "", "tiers": "[{from: 0, unit_price: 1}, {from: 5, unit_price: 2}]", "included": "5"},
            "f:7: prices[0].tiers[1].from: 5 is not above 5, up to which all is included",
        ),
        (
            {"unit_price": "", "tiers": "[{from: 0, price: 1}]"},
            "f:7: prices[0].tiers[0].unit_price: is missing",
        ),
    ],
)
def test_a_mistake_names_line_key_and_what_is_allowed(entry: dict[str, str], said: str) -> None:
    assert refusal(book(entry)).splitlines()[0].startswith(said)


MAU = {"vendor": "launchdarkly", "metric": "total_mau"}
NODES = {"metric": "nodes"}
AGENTS = {"vendor": "thousandeyes", "metric": "endpoint_agents"}


@pytest.mark.parametrize(
    ("entry", "basis", "temporality"),
    [
        ({}, "amount", None),
        (NODES | {"per": "day"}, "day", "delta"),
        (NODES | {"per": "month"}, "share of month", "delta"),
        ({"vendor": "aveva", "metric": "streams", "per": "month"}, "share of month", "instant"),
        # The month's count is told, so it is what a month's price is of.
        (MAU | {"per": "month"}, "count of month", "cumulative"),
        (AGENTS | {"per": "month"}, "count of month", "cumulative"),
    ],
)
def test_the_metric_decides_what_a_price_multiplies(entry: dict[str, str], basis: str, temporality: str | None) -> None:
    (row,) = prices.rows(prices.parse(book(entry), "f"))
    assert (row["basis"], row["temporality"]) == (basis, temporality)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (NODES, "per: is missing: nodes is a count, a peak or a level, no amount; write per: day or per: month"),
        (AGENTS | {"per": "day"}, "per: endpoint_agents counts the month to date, not a day: only per: month"),
        (
            {"vendor": "launchdarkly", "metric": "mau_by_category", "per": "month"},
            "metric: mau_by_category is told of trailing windows only, which overlap",
        ),
        (
            MAU | {"per": "month", "breakdown": "project"},
            "breakdown: parts of a count of the month to date do not add up to it",
        ),
        (
            {"vendor": "aveva", "metric": "ingress_events"},
            "endpoint: is missing: ingress_events is told by several, of which one is billed: tenant_usage, ",
        ),
    ],
)
def test_what_cannot_be_a_bill_is_refused_with_the_reason(entry: dict[str, str], said: str) -> None:
    assert f"prices[0].{said}" in refusal(book(entry))


CONSUL = {"vendor": "consul", "metric": "nodes", "per": "day", "breakdown": "datacenter"}


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({}, {}, "valid_from: overlaps the price 'runs' from 2026-01-01: one at a time"),
        ({}, {"sku": "other"}, "metric: task_runs_by_node is billed by 'runs' from 2026-01-01 too"),
        ({}, {"sku": "other", "account": "acme"}, "metric: task_runs_by_node is billed by 'runs'"),
        ({"valid_to": "2026-02-01"}, {"valid_from": "2026-02-01"}, "valid_from: overlaps the price 'runs'"),
        ({}, NODES | {"per": "day", "valid_from": "2027-01-01"}, "sku: 'runs' is the price of something else"),
        (CONSUL, CONSUL | {"sku": "dc1", "dimensions": "{datacenter: dc1}"}, "metric: nodes is billed by 'runs'"),
        # The events of a namespace are in the tenant's.
        (
            {"vendor": "aveva", "metric": "egress_events", "endpoint": "tenant_usage"},
            {
                "sku": "ns", "vendor": "aveva", "metric": "egress_events", "endpoint": "namespace_usage",
                "breakdown": "namespace",
            },
            "metric: egress_events is billed by 'runs' from 2026-01-01 too: its total or its parts, once",
        ),
    ],
)  # fmt: skip
def test_nothing_is_billed_twice(first: dict[str, str], second: dict[str, str], said: str) -> None:
    assert f"prices[1].{said}" in refusal(book(first, second))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"valid_to": "2026-01-31"}, {"valid_from": "2026-02-01", "unit_price": "0.2"}),
        ({"account": "acme"}, {"account": "other", "sku": "other"}),
        ({}, {"sku": "plans", "metric": "plan_runs_by_node"}),
        (
            CONSUL | {"dimensions": "{datacenter: dc1}"},
            CONSUL | {"dimensions": "{datacenter: dc2}", "sku": "dc2"},
        ),
    ],
)
def test_prices_of_other_things_days_and_accounts_stand_side_by_side(
    first: dict[str, str], second: dict[str, str]
) -> None:
    assert len(prices.parse(book(first, second), "f")) == 2


def test_every_mistake_is_told_at_once() -> None:
    said = refusal("discount: 5\n" + book({"currency": "euro"}, {"metric": "x"}))
    assert [line.split(": ")[1] for line in said.splitlines()] == ["discount", "prices[0].currency", "prices[1].metric"]


def test_the_book_is_the_named_one_else_the_one_beside_the_accounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert prices.find({}) == config.SANDBOX_ACCOUNTS.with_name("prices.yaml")
    Path("accounts.yaml").write_text("accounts: []")
    assert prices.find({}) is None
    assert prices.configured({}) == ()
    Path("prices.yaml").write_text(book({}))
    assert [price.sku for price in prices.configured({})] == ["runs"]
    assert prices.find({"USAGE_PIPELINE_PRICES": "/elsewhere.yaml"}) == Path("/elsewhere.yaml")
    with pytest.raises(ConfigurationError, match=r"none\.yaml: No such file or directory.*USAGE_PIPELINE_PRICES"):
        prices.configured({"USAGE_PIPELINE_PRICES": "none.yaml"})


def test_the_sandboxs_book_is_right() -> None:
    found = prices.configured({"USAGE_PIPELINE_ACCOUNTS": str(config.SANDBOX_ACCOUNTS)})
    assert {price.vendor for price in found} == {
        account.vendor for account in config.read(config.SANDBOX_ACCOUNTS).accounts
    }
    assert {price.basis for price in found} == set(prices.Basis)


def test_shipped_json_schema_is_current_and_takes_the_sandboxs_book() -> None:
    """Write it anew with `python -m usage_pipeline.prices`."""
    shipped = json.loads(Path(usage_pipeline.__file__).with_name("prices.schema.json").read_text())
    assert shipped == prices.json_schema()
    right = {
        "sku": "a",
        "vendor": "puppet",
        "metric": "nodes",
        "unit_price": 0.5,
        "currency": "EUR",
        "valid_from": "2026-01-01",
    }
    check = Draft202012Validator(shipped)
    assert check.is_valid({"prices": [right]})
    assert check.is_valid({"prices": [right | {"unit_price": "0.5"}]})
    assert not check.is_valid({"prices": [right | {"currency": "EUO"}]})
    assert not check.is_valid({"prices": [right | {"unit_prize": 1}]})
