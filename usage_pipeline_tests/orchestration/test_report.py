"""The report in Dagster: below the warehouse, once a day, written under the place's home."""

from pathlib import Path

import dagster as dg

from usage_pipeline.config import Configuration
from usage_pipeline.orchestration import location
from usage_pipeline.orchestration.assets import WAREHOUSE
from usage_pipeline.orchestration.report import daily_report, report_asset
from usage_pipeline.pipeline import Place
from usage_pipeline_tests.conftest import TurnableClock
from usage_pipeline_tests.report.november import NOW, november


def place(home: Path) -> Place:
    return Place(home, str(home), TurnableClock(NOW), lambda _seconds: None, {})


def test_materialising_writes_the_page(tmp_path: Path) -> None:
    november(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([report_asset()], resources={"place": place(tmp_path)}, instance=instance)
    (written,) = result.asset_materializations_for_node("report")
    file = tmp_path / "report.html"
    assert written.metadata["path"] == dg.MetadataValue.path(file)
    assert written.metadata["bytes"] == dg.MetadataValue.int(file.stat().st_size)
    assert "As of 21 Nov 2026, 05:30 UTC" in file.read_text()


def test_the_report_stands_below_the_warehouse_and_is_switched_on_by_hand(tmp_path: Path) -> None:
    definitions = location.build(Configuration(), place(tmp_path))
    assert definitions.resolve_asset_graph().get(dg.AssetKey("report")).parent_keys == {WAREHOUSE}
    schedule = definitions.resolve_schedule_def("report_schedule")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    assert schedule.cron_schedule == daily_report(report_asset()).cron_schedule == "15 4 * * *"
