"""The demo, short: all five vendors arrive, and the answers are what the sandbox says."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from usage_pipeline import demo, warehouse
from usage_pipeline.contract.errors import ConfigurationError
from usage_pipeline.sandbox import consul, puppet, server

DAYS = 4
# Dagster knows no partitions ahead of the real present.
NOW = datetime.now(UTC).replace(hour=0, minute=5, second=0, microsecond=0)
FIRST, LAST = (NOW - timedelta(days=DAYS)).date(), (NOW - timedelta(days=1)).date()

# Dagster warns of what its own storage leaves open, and that windows and snapshots differ in their backfill policies.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Loaded twice: again is as good as once."""
    home = tmp_path_factory.mktemp("demo")
    demo.run(home, NOW, Console(file=io.StringIO()), days=DAYS)
    demo.run(home, NOW, Console(file=io.StringIO()), days=DAYS)
    return home


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    with server.serving(server.TurnableClock(NOW)) as address:
        yield address


def rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    with warehouse.reading(home) as session:
        return warehouse.ask(session, query).rows


def test_every_vendor_arrives(home: Path) -> None:
    assert {vendor for (vendor,) in rows(home, "SELECT DISTINCT vendor FROM usage")} == set(server.VENDORS)


def test_snapshots_have_a_history(home: Path) -> None:
    found = rows(home, "SELECT DISTINCT CAST(observed_at AS DATE) FROM usage WHERE vendor = 'consul' ORDER BY 1")
    assert [day for (day,) in found] == [FIRST + timedelta(days=n) for n in range(DAYS + 1)]


def test_window_sums_are_those_that_the_sandbox_tells(home: Path, sandbox: str) -> None:
    items = httpx.get(
        f"{sandbox}/puppet/orchestrator/v1/usage",
        params={"start_date": str(FIRST), "end_date": str(LAST)},
        headers={"X-Authentication": puppet.TOKEN},
    ).json()["items"]
    found = rows(home, "SELECT metric, sum(value) FROM usage WHERE vendor = 'puppet' GROUP BY metric")
    assert dict(found) == {
        "nodes": sum(item["total_nodes"] for item in items),
        "nodes_with_agent": sum(item["nodes_with_agent"] for item in items),
        "nodes_without_agent": sum(item["nodes_without_agent"] for item in items),
        "corrective_agent_changes": sum(item["corrective_agent_changes"] for item in items),
        "intentional_agent_changes": sum(item["intentional_agent_changes"] for item in items),
        "task_runs_by_node": sum(item["nodes_affected_by_task_runs"] for item in items),
        "plan_runs_by_node": sum(item["nodes_affected_by_plan_runs"] for item in items),
    }


def test_snapshot_answer_is_what_the_sandbox_tells_now(home: Path, sandbox: str) -> None:
    told = httpx.get(
        f"{sandbox}/consul/v1/operator/usage", params={"global": ""}, headers={"X-Consul-Token": consul.TOKEN}
    ).json()["Usage"]
    answers = {question: answer for question, _query, answer in demo.answers(home)}
    billable = next(answer for question, answer in answers.items() if "billable Consul" in question)
    now = {row[1]: row[2] for row in billable.rows if row[3] == NOW}
    assert now == {name: Decimal(datacenter["BillableServiceInstances"]) for name, datacenter in told.items()}


def test_every_question_has_an_answer(home: Path) -> None:
    empty = [question for question, _query, answer in demo.answers(home) if not answer.rows]
    assert not empty


def test_runs_stand_in_dagsters_history(home: Path) -> None:
    assert (home / "dagster" / "dagster.yaml").exists()
    assert list((home / "dagster" / "history" / "runs").glob("*.db"))


def test_folder_with_other_data_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(ConfigurationError, match="USAGE_PIPELINE_HOME to another folder"):
        demo.run(tmp_path, NOW, Console(file=io.StringIO()), days=1)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
