"""What the report asks: one query of sql/report/ a section, each answered in rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb

from usage_pipeline import warehouse

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answers:
    """The rows of each section as of `today`; the grain of each stands on the first line of its query."""

    today: date
    utilization: list[Row]
    daily: list[Row]
    changes: list[Row]
    restatements: list[Row]
    coverage: list[Row]


def answers(session: duckdb.DuckDBPyConnection, today: date) -> Answers:
    """Ask all questions. `today` is the UTC day that is not over yet."""
    _ask(session, "account_daily", today)
    return Answers(
        today=today,
        utilization=_ask(session, "utilization", today),
        daily=_ask(session, "daily", today),
        changes=_ask(session, "changes", today),
        restatements=_ask(session, "restatements", today),
        coverage=_ask(session, "coverage", today),
    )


def _ask(session: duckdb.DuckDBPyConnection, name: str, today: date) -> list[Row]:
    result = warehouse.ask(session, warehouse.query(f"report/{name}"), {"today": today})
    return [dict(zip(result.names, row, strict=True)) for row in result.rows]
