"""Declare: a companion table equal to what is configured."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from usage_pipeline.contract.schema import ENTITLEMENTS
from usage_pipeline.stages.declare import declare
from usage_pipeline.stages.lake import Lake


def entitled(account: str, quantity: int) -> dict[str, Any]:
    return {
        "vendor": "puppet", "account": account, "metric": "nodes", "quantity": Decimal(quantity),
        "valid_from": date(2026, 1, 1), "valid_to": None,
    }  # fmt: skip


def there(lake: Lake) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lake.open(ENTITLEMENTS).to_pyarrow_table().to_pylist()
    return sorted(found, key=lambda row: str(row["account"]))


def test_rows_take_the_place_of_all_others(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    declare(lake, ENTITLEMENTS, [entitled("b", 2), entitled("a", 1)])
    declare(lake, ENTITLEMENTS, [entitled("c", 3), entitled("a", 4)])
    assert there(lake) == [entitled("a", 4), entitled("c", 3)]
    declare(lake, ENTITLEMENTS, [])
    assert there(lake) == []


def test_accounts_that_are_kept_stay_as_they_are(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    declare(lake, ENTITLEMENTS, [entitled("a", 1), entitled("b", 2)])
    declare(lake, ENTITLEMENTS, [entitled("c", 3)], keep={"a"})
    assert there(lake) == [entitled("a", 1), entitled("c", 3)]


def test_what_is_there_is_not_written_again(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    declare(lake, ENTITLEMENTS, [entitled("a", 1), entitled("b", 2)])
    version = lake.open(ENTITLEMENTS).version()
    declare(lake, ENTITLEMENTS, [entitled("b", 2), entitled("a", 1)])
    assert lake.open(ENTITLEMENTS).version() == version
    declare(lake, ENTITLEMENTS, [entitled("b", 2)], keep={"a"})
    assert lake.open(ENTITLEMENTS).version() == version
