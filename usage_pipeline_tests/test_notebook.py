"""The notebook, run on a small published warehouse: what it shows is what is in the views."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from usage_pipeline_tests.sql.lake import MINUTES, NODES, Small, allowed, configured, covered, small

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "explore.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Ten days of minutes, of whose days nobody asked for the fifth, and nodes of which 100 are paid for."""
    minutes = [MINUTES.day(f"2026-03-{n:02}", f"{n}.5") for n in range(1, 11) if n != 5]
    return small(
        tmp_path_factory.mktemp("notebook"),
        minutes + NODES.each("2026-03-01", "2026-03-09", 70) + [NODES.day("2026-03-10", 80)],
        coverage=covered(MINUTES, "2026-03-01", "2026-03-04") + covered(MINUTES, "2026-03-06", "2026-03-10"),
        accounts=[configured("launchdarkly", "service_connections", "2026-03-01")],
        entitlements=[allowed(NODES, 100, "2026-03-01")],
    )


def told(made: Small, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the notebook's cells define, with the choices that it opens with."""
    monkeypatch.setenv("USAGE_PIPELINE_HOME", str(made.home))
    _outputs, defined = runpy.run_path(str(NOTEBOOK))["app"].run()
    defined["warehouse"].close()
    return dict(defined)


def columns(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def test_cells_tell_what_the_views_hold(made: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    defined = told(made, monkeypatch)
    assert columns(defined["metrics"], "metric", "first_seen", "last_seen") == [
        ("service_connections", date(2026, 3, 1), date(2026, 3, 10)),
        ("nodes", date(2026, 3, 1), date(2026, 3, 10)),
    ]
    # The notebook opens with the first metric: 1.5, 2.5 ... 10.5 without the fifth.
    assert columns(defined["daily"], "usage_date", "value") == [
        (date(2026, 3, n), Decimal(f"{n}.5")) for n in range(1, 11) if n != 5
    ]
    # The highest of ten days is 80 of 100 nodes.
    assert columns(defined["used"], "metric", "consumed", "entitled", "ratio") == [
        ("nodes", Decimal(80), Decimal(100), Decimal("0.8"))
    ]
    first, *_later = columns(defined["gaps"], "endpoint", "first_day", "last_day", "state")
    assert first == ("service_connections", date(2026, 3, 5), date(2026, 3, 5), "not_asked")


def test_charts_draw_the_same_numbers(made: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    defined = told(made, monkeypatch)

    def drawn(name: str, field: str) -> list[Any]:
        (rows,) = defined[name].to_dict()["datasets"].values()
        return [row[field] for row in rows]

    assert drawn("days", "value") == [n + 0.5 for n in range(1, 11) if n != 5]
    assert set(drawn("days", "series")) == {"acme service_connections"}
    assert drawn("shares", "ratio") == [0.8]


@pytest.mark.parametrize("filled", [True, False], ids=["filled", "empty"])
def test_runs_as_a_program(made: Small, tmp_path: Path, filled: bool) -> None:
    home = made.home if filled else small(tmp_path).home
    done = subprocess.run(
        [sys.executable, "-W", "error", str(NOTEBOOK)],
        env=os.environ | {"USAGE_PIPELINE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
