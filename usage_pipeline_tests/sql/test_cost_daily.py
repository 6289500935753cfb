"""cost_daily: what a day costs, exactly, by amounts, levels and counts of the month; tiers, months, restatements."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from usage_pipeline import prices
from usage_pipeline.contract.schema import PRICES
from usage_pipeline.stages.declare import declare
from usage_pipeline.stages.lake import Lake
from usage_pipeline_tests.sql.lake import (
    DELTA,
    EVENTS,
    INSTANCES,
    MINUTES,
    NODES,
    ROLLING,
    RUNS,
    SUM,
    UNITS,
    USERS,
    USERS_30_DAYS,
    Row,
    Series,
    Small,
    billed,
    small,
)

COSTS = (
    "SELECT usage_date, tier_from, quantity, unit_price, cost FROM cost_daily ORDER BY usage_date, series_id, tier_from"
)


def price(series: Series, *lines: str, sku: str = "sku", valid_from: str = "2020-01-01") -> str:
    """An entry of a price book, in dollars."""
    told = [
        f"sku: {sku}", f"vendor: {series.vendor}", f"endpoint: {series.endpoint}", f"metric: {series.metric}",
        "currency: USD", f"valid_from: {valid_from}", *lines,
    ]  # fmt: skip
    return "  - " + "\n    ".join(told) + "\n"


def priced(home: Path, usage: Iterable[Row], *entries: str, periods: Iterable[Row] = ()) -> Small:
    book = prices.parse("prices:\n" + "".join(entries), "prices.yaml")
    declare(Lake(str(home)), PRICES, prices.rows(book))
    return small(home, usage, periods=periods)


def costs(home: Path, usage: Iterable[Row], *entries: str) -> list[tuple[Any, ...]]:
    return priced(home, usage, *entries).rows(COSTS)


def monthly(lake: Small) -> list[tuple[Any, ...]]:
    return lake.rows("SELECT period_start, sum(quantity), sum(cost) FROM cost_daily GROUP BY ALL ORDER BY ALL")


def test_an_amount_costs_its_quantity_times_the_price(tmp_path: Path) -> None:
    usage = [RUNS.day("2024-02-29", 3), RUNS.day("2024-03-01", 0), NODES.day("2024-02-29", 9)]
    # What has no price has no row; a day without consumption has one that costs nothing.
    assert costs(tmp_path, usage, price(RUNS, "unit_price: 0.1")) == [
        ("2024-02-29", 0, 3, Decimal("0.1"), Decimal("0.3")),
        ("2024-03-01", 0, 0, Decimal("0.1"), 0),
    ]


def test_no_prices_and_no_usage_cost_nothing(tmp_path: Path) -> None:
    assert small(tmp_path / "a", [RUNS.day("2024-02-29", 3)]).rows("FROM cost_daily") == []
    assert priced(tmp_path / "b", [], price(RUNS, "unit_price: 1")).rows("FROM cost_daily") == []


def test_every_digit_counts(tmp_path: Path) -> None:
    lake = priced(tmp_path, [RUNS.day("2024-03-01", "123456789.987654321")], price(RUNS, "unit_price: 0.000000007"))
    # 123456789987654321 * 7 = 864197529913580247, eighteen places.
    assert lake.one("SELECT cost FROM cost_daily") == Decimal("0.864197529913580247")
    assert lake.one("SELECT typeof(cost) FROM cost_daily") == "DECIMAL(38,18)"


def test_a_cost_that_does_not_fit_is_refused_aloud(tmp_path: Path) -> None:
    # 10^15 * 10^8 = 10^23: with eighteen places that is 41 digits, and 38 fit.
    lake = priced(tmp_path, [RUNS.day("2024-03-01", 10**15)], price(RUNS, "unit_price: 100000000"))
    assert "Overflow" in lake.refusal("SELECT cost FROM cost_daily")


def test_a_tier_is_paid_for_what_lies_in_it(tmp_path: Path) -> None:
    steps = "tiers: [{from: 0, unit_price: 3}, {from: 10, unit_price: 2}, {from: 25, unit_price: 1}]"
    usage = [RUNS.day("2024-01-30", 8), RUNS.day("2024-01-31", 22), RUNS.day("2024-02-01", 12)]
    # To date 8, then 30: 2 up to 10, 15 up to 25, 5 above. February begins anew: 10 and 2.
    assert costs(tmp_path, usage, price(RUNS, steps)) == [
        ("2024-01-30", 0, 8, 3, 24),
        ("2024-01-31", 0, 2, 3, 6),
        ("2024-01-31", 10, 15, 2, 30),
        ("2024-01-31", 25, 5, 1, 5),
        ("2024-02-01", 0, 10, 3, 30),
        ("2024-02-01", 10, 2, 2, 4),
    ]


def test_what_is_included_is_free_until_it_is_used_up(tmp_path: Path) -> None:
    usage = [RUNS.day(f"2024-01-0{day}", value) for day, value in enumerate([6, 4, 0, 5], 1)]
    # Exactly 10 after the second day: nothing of it costs, and the next begins in the next tier.
    assert costs(tmp_path, usage, price(RUNS, "included: 10", "unit_price: 0.5")) == [
        ("2024-01-01", 0, 6, 0, 0),
        ("2024-01-02", 0, 4, 0, 0),
        ("2024-01-03", 10, 0, Decimal("0.5"), 0),
        ("2024-01-04", 10, 5, Decimal("0.5"), Decimal("2.5")),
    ]


def test_a_fallen_total_lowers_the_cost_from_the_tier_it_was_in(tmp_path: Path) -> None:
    start = "2024-03-05 08:00"
    usage = UNITS.readings(start, {"2024-03-05 20:00": 8, "2024-03-06 20:00": 14, "2024-03-07 20:00": 9})
    steps = "tiers: [{from: 0, unit_price: 3}, {from: 10, unit_price: 2}]"
    lake = priced(tmp_path, usage, price(UNITS, steps))
    # 14 falls to 9: the 4 above 10 are given back at 2, and 1 below at 3.
    assert lake.rows(COSTS)[-2:] == [("2024-03-07", 0, -1, 3, -3), ("2024-03-07", 10, -4, 2, -8)]
    # All in all the 9 that stand.
    assert lake.rows("SELECT sum(quantity), sum(cost) FROM cost_daily") == [(9, 27)]


def test_an_amount_below_zero_is_given_back_at_the_first_price(tmp_path: Path) -> None:
    usage = [RUNS.day("2024-01-01", -4), RUNS.day("2024-01-02", 10)]
    # To date -4, then 6: both wholly in the first tier.
    assert costs(tmp_path, usage, price(RUNS, "tiers: [{from: 0, unit_price: 3}, {from: 8, unit_price: 1}]")) == [
        ("2024-01-01", 0, -4, 3, -12),
        ("2024-01-02", 0, 10, 3, 30),
    ]


def test_a_price_that_changes_within_the_month_goes_on_counting(tmp_path: Path) -> None:
    usage = [RUNS.day("2024-01-14", 8), RUNS.day("2024-01-15", 8)]
    old = price(RUNS, "included: 10", "unit_price: 1", "valid_to: 2024-01-14")
    new = price(RUNS, "included: 10", "unit_price: 2", valid_from="2024-01-15")
    # The second day finds 2 of the included 10 left.
    assert costs(tmp_path, usage, old, new) == [
        ("2024-01-14", 0, 8, 0, 0),
        ("2024-01-15", 0, 2, 0, 0),
        ("2024-01-15", 10, 6, 2, 12),
    ]


def test_both_days_of_a_validity_count_and_those_around_do_not(tmp_path: Path) -> None:
    entry = price(RUNS, "unit_price: 1", "valid_to: 2024-03-01", valid_from="2024-02-29")
    found = costs(tmp_path, RUNS.each("2024-02-27", "2024-03-03", 5), entry)
    assert [row[0] for row in found] == ["2024-02-29", "2024-03-01"]


def test_a_price_for_one_account_is_for_that_one(tmp_path: Path) -> None:
    other = replace(RUNS, account="other")
    lake = priced(
        tmp_path,
        [RUNS.day("2024-01-01", 5), other.day("2024-01-01", 7)],
        price(RUNS, "account: acme", "unit_price: 1"),
        price(RUNS, "account: other", "unit_price: 2", sku="theirs"),
    )
    assert lake.rows("SELECT account, sku, cost FROM cost_daily ORDER BY ALL") == [
        ("acme", "sku", 5),
        ("other", "theirs", 14),
    ]


def test_accounts_do_not_use_up_each_others_tiers(tmp_path: Path) -> None:
    other = replace(RUNS, account="other")
    usage = [RUNS.day("2024-01-01", 8), other.day("2024-01-01", 8)]
    lake = priced(tmp_path, usage, price(RUNS, "included: 10", "unit_price: 1"))
    assert lake.one("SELECT sum(cost) FROM cost_daily") == 0


def test_the_total_is_priced_and_not_its_parts(tmp_path: Path) -> None:
    part = replace(MINUTES, dimensions={"project": "shop"})
    lake = priced(tmp_path, [MINUTES.day("2024-01-01", 8), part.day("2024-01-01", 8)], price(MINUTES, "unit_price: 1"))
    assert lake.rows("SELECT breakdown, cost FROM cost_daily") == [("", 8)]


def test_amounts_are_priced_and_not_trailing_windows_of_them(tmp_path: Path) -> None:
    uses = Series("launchdarkly", "vega_ai", "vega_ai", "Uses", SUM, DELTA)
    window = replace(uses, temporality=ROLLING).period("2024-01-01", "2024-01-31", 99)
    lake = priced(tmp_path, [uses.day("2024-01-30", 8), window], price(uses, "unit_price: 1"))
    assert lake.one("SELECT sum(cost) FROM cost_daily") == 8


def test_parts_are_chosen_by_their_dimensions_and_share_the_tiers(tmp_path: Path) -> None:
    parts = [replace(MINUTES, dimensions={"environment": env, "project": "shop"}) for env in ("prod", "test")]
    elsewhere = replace(MINUTES, dimensions={"environment": "prod", "project": "bank"})
    usage = [series.day(f"2024-01-0{day}", 6) for series in (*parts, elsewhere) for day in (1, 2)]
    entry = price(
        MINUTES, "breakdown: project+environment", "dimensions: {project: shop}", "included: 10", "unit_price: 1"
    )
    lake = priced(tmp_path, usage, entry)
    # Two of 6 on each of two days: 12 to date, then 24; 10 of them are free.
    assert lake.rows("SELECT usage_date, sum(quantity), sum(cost) FROM cost_daily GROUP BY ALL ORDER BY ALL") == [
        ("2024-01-01", 12, 2),
        ("2024-01-02", 12, 12),
    ]
    assert lake.one("SELECT count(DISTINCT series_id) FROM cost_daily") == 2


def test_a_level_by_the_day_fills_the_tiers_anew_each_day(tmp_path: Path) -> None:
    usage = [NODES.day("2024-01-01", 12), NODES.day("2024-01-02", 9)]
    entry = price(NODES, "per: day", "included: 10", "unit_price: 0.5")
    assert costs(tmp_path, usage, entry) == [
        ("2024-01-01", 0, 10, 0, 0),
        ("2024-01-01", 10, 2, Decimal("0.5"), 1),
        ("2024-01-02", 0, 9, 0, 0),
    ]


def test_the_levels_of_a_day_share_its_tiers(tmp_path: Path) -> None:
    usage = [replace(INSTANCES, dimensions={"datacenter": dc}).level("2024-01-01 12:00", 6) for dc in ("dc1", "dc2")]
    entry = price(INSTANCES, "per: day", "breakdown: datacenter", "included: 10", "unit_price: 1")
    lake = priced(tmp_path, usage, entry)
    assert lake.rows("SELECT sum(quantity), sum(cost), any_value(pricing_unit) FROM cost_daily") == [
        (12, 2, "Instance-Days")
    ]


def test_a_level_held_for_a_month_costs_the_months_price_exactly(tmp_path: Path) -> None:
    usage = NODES.each("2024-01-01", "2024-03-31", 100)
    lake = priced(tmp_path, usage, price(NODES, "per: month", "unit_price: 9.99"))
    # Of 31, 29 and 31 days: a 31st of 100 is 3.225806451..., and still each month is 100 * 9.99.
    assert lake.rows(
        "SELECT period_start, sum(pricing_quantity), sum(cost) FROM cost_daily GROUP BY ALL ORDER BY ALL"
    ) == [(f"2024-0{month}-01 00:00", 100, 999) for month in (1, 2, 3)]
    days = lake.rows("SELECT pricing_quantity, pricing_unit FROM cost_daily ORDER BY usage_date LIMIT 3")
    # To date 3.2258064516..., 6.4516129032... and 9.6774193548..., rounded to nine digits; days are the differences.
    assert days == [
        (Decimal("3.225806452"), "Node-Months"),
        (Decimal("3.225806451"), "Node-Months"),
        (Decimal("3.225806452"), "Node-Months"),
    ]


def test_a_level_held_for_some_days_costs_their_share(tmp_path: Path) -> None:
    # 15 of the 30 days of April at 10, and 6 on another: (150 + 6) / 30 = 5.2.
    usage = [*NODES.each("2024-04-01", "2024-04-15", 10), NODES.day("2024-04-30", 6)]
    lake = priced(tmp_path, usage, price(NODES, "per: month", "unit_price: 10"))
    assert lake.one("SELECT sum(cost) FROM cost_daily") == 52


def test_a_count_of_the_month_costs_the_months_last_one(tmp_path: Path) -> None:
    usage = [
        *USERS.readings("2024-01-01", {"2024-01-02": 80, "2024-01-03": 120, "2024-01-04": 120, "2024-02-01": 150}),
        *USERS.readings("2024-02-01", {"2024-02-02": 70}),
        # Other numbers of the same metric are not what is priced.
        USERS_30_DAYS.period("2024-01-01", "2024-01-31", 999),
    ]
    lake = priced(tmp_path, usage, price(USERS, "per: month", "included: 100", "unit_price: 2"))
    # January ends at 150, so 50 are paid; each day what the count grew by.
    assert lake.rows(COSTS) == [
        ("2024-01-01", 0, 80, 0, 0),
        ("2024-01-02", 0, 20, 0, 0),
        ("2024-01-02", 100, 20, 2, 40),
        ("2024-01-03", 100, 0, 2, 0),
        ("2024-01-31", 100, 30, 2, 60),
        ("2024-02-01", 0, 70, 0, 0),
    ]
    assert lake.one("SELECT days_covered FROM cost_daily WHERE usage_date = '2024-01-31'") == 28


def test_months_are_the_billing_months_where_the_account_has_them(tmp_path: Path) -> None:
    periods = billed("aveva", "billing_cycles", "2024-01-15", "2024-02-15", "2024-03-15")
    usage = [EVENTS.day(day, 8) for day in ("2024-01-14", "2024-01-15", "2024-02-14", "2024-02-15", "2024-03-16")]
    lake = priced(tmp_path, usage, price(EVENTS, "included: 10", "unit_price: 1"), periods=periods)
    # January's calendar month before the first period: 8, free. Then 8 and 8: 6 paid. Then 8; then 8, both free.
    assert monthly(lake) == [
        ("2024-01-01 00:00", 8, 0),
        ("2024-01-15 00:00", 16, 6),
        ("2024-02-15 00:00", 8, 0),
        ("2024-03-15 00:00", 8, 0),
    ]


def test_a_day_between_two_billing_months_is_of_its_calendar_month(tmp_path: Path) -> None:
    first = billed("aveva", "billing_cycles", "2024-01-15", "2024-02-15")
    later = billed("aveva", "billing_cycles", "2024-03-15", "2024-04-15")
    usage = [EVENTS.day("2024-02-14", 8), EVENTS.day("2024-02-15", 8)]
    lake = priced(tmp_path, usage, price(EVENTS, "unit_price: 1"), periods=[*first, *later])
    assert monthly(lake) == [("2024-01-15 00:00", 8, 8), ("2024-02-01 00:00", 8, 8)]


def test_a_count_of_the_month_is_of_its_own_month(tmp_path: Path) -> None:
    usage = USERS.readings("2024-02-01", {"2024-02-02": 80, "2024-02-29": 90})
    periods = billed("launchdarkly", "billing", "2024-01-15", "2024-02-15", "2024-03-15")
    lake = priced(tmp_path, usage, price(USERS, "per: month", "unit_price: 2"), periods=periods)
    assert lake.rows("SELECT period_start, period_end, sum(cost) FROM cost_daily GROUP BY ALL") == [
        ("2024-02-01 00:00", "2024-03-01 00:00", 180)
    ]


def test_a_day_belongs_to_the_billing_month_that_begins_on_it(tmp_path: Path) -> None:
    first, second, third = "2024-02-05 08:00", "2024-03-05 08:00", "2024-04-05 08:00"
    usage = [
        *UNITS.readings(first, {"2024-03-04 20:00": 90}),
        *UNITS.readings(second, {"2024-03-05 20:00": 7, "2024-03-08 20:00": 20}),
    ]
    periods = billed("thousandeyes", "usage", first, second, third)
    lake = priced(tmp_path, usage, price(UNITS, "unit_price: 1"), periods=periods)
    assert monthly(lake) == [("2024-02-05 08:00", 90, 90), ("2024-03-05 08:00", 20, 20)]
    # 13 units of three days, of which two were missed: one row, which says so.
    assert lake.rows("SELECT quantity, days_covered FROM cost_daily WHERE usage_date = '2024-03-08'") == [(13, 3)]


def test_currencies_stand_apart(tmp_path: Path) -> None:
    usage = [RUNS.day("2024-01-14", 8), RUNS.day("2024-01-15", 8)]
    euro = price(RUNS, "unit_price: 1", valid_from="2024-01-15").replace("USD", "EUR")
    lake = priced(tmp_path, usage, price(RUNS, "unit_price: 1", "valid_to: 2024-01-14"), euro)
    assert lake.rows("SELECT usage_date, currency FROM cost_daily ORDER BY ALL") == [
        ("2024-01-14", "USD"),
        ("2024-01-15", "EUR"),
    ]


def test_a_cost_is_final_once_its_day_and_those_before_it_in_the_month_are(tmp_path: Path) -> None:
    usage = [
        RUNS.day("2024-01-30", 1),
        RUNS.day("2024-01-31", 1, final=False),
        RUNS.day("2024-02-01", 1),
        RUNS.day("2024-02-02", 1, final=False),
        RUNS.day("2024-02-03", 1),
    ]
    lake = priced(tmp_path, usage, price(RUNS, "unit_price: 1"))
    assert lake.rows("SELECT is_final FROM cost_daily ORDER BY usage_date") == [
        (True,), (False,), (True,), (False,), (False,),
    ]  # fmt: skip
