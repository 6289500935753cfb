"""What Dagster loads: definitions without secrets or heavy imports, jobs, schedules, and the instance's settings."""

import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
import yaml

from usage_pipeline import config, orchestration, pipeline
from usage_pipeline.config import SANDBOX_ACCOUNTS, Configuration
from usage_pipeline.contract.schema import USAGE
from usage_pipeline.contract.vendor import Account, History
from usage_pipeline.orchestration import assets, instance
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests import contract_world
from usage_pipeline_tests.conftest import TurnableClock

ROOT = Path(__file__).parents[2]
HEAVY = ("altair", "pandas", "pyarrow", "deltalake", "duckdb", "httpx", "numpy")
WRONG = """
accounts:
  - {name: right, vendor: consul, base_url: http://127.0.0.1:1, start_date: 2026-01-01}
  - {name: wrong, vendor: nobody, start_date: 2026-01-01}
  - {name: also-wrong, vendor: consul, base_url: http://127.0.0.1:1, start_date: soon}
"""


@pytest.fixture
def place(tmp_path: Path, clock: TurnableClock) -> pipeline.Place:
    return contract_world.place(tmp_path, clock)


@pytest.fixture
def accounts() -> tuple[Account, ...]:
    return config.read(SANDBOX_ACCOUNTS).accounts


@pytest.fixture
def defs(accounts: tuple[Account, ...], place: pipeline.Place) -> dg.Definitions:
    return orchestration.build(Configuration(accounts), place)


def loaded(environment: Mapping[str, str]) -> str:
    """Load the definitions in a fresh process without secrets; what it prints of them and of its imports."""
    program = (
        "import sys\n"
        "from usage_pipeline.definitions import defs\n"
        "defs.get_repository_def()\n"
        "print(len(list(defs.resolve_all_asset_specs())), 'assets')\n"
        f"print('heavy:', *sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    ours = ("SANDBOX_", "USAGE_", "DAGSTER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**kept, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_definitions_load_without_secrets_and_heavy_imports() -> None:
    said = loaded({config.ACCOUNTS_VARIABLE: str(SANDBOX_ACCOUNTS)})
    endpoints = sum(len(account.endpoints) for account in config.read(SANDBOX_ACCOUNTS).accounts)
    assert f"{2 * endpoints + 2} assets" in said
    assert "heavy:\n" in said


def test_wrong_accounts_are_logged_and_the_others_load(tmp_path: Path) -> None:
    file = tmp_path / "accounts.yaml"
    file.write_text(WRONG)
    said = loaded({config.ACCOUNTS_VARIABLE: str(file)})
    assert "4 assets" in said
    assert f"{file}:4: accounts[1].vendor: 'nobody' is unknown" in said
    assert f"{file}:5: accounts[2].start_date" in said


def test_an_unreadable_file_is_logged_and_leaves_the_warehouse(tmp_path: Path) -> None:
    said = loaded({config.ACCOUNTS_VARIABLE: str(tmp_path / "none.yaml")})
    assert "2 assets" in said
    assert f"{tmp_path / 'none.yaml'}: No such file or directory" in said


def test_problems_are_one_log_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "accounts.yaml"
    file.write_text(WRONG)
    monkeypatch.setattr(logging.getLogger("dagster"), "propagate", True)
    found = orchestration.configured({config.ACCOUNTS_VARIABLE: str(file)})
    assert [account.name for account in found.accounts] == ["right"]
    assert [record.getMessage() for record in caplog.records] == [str(problem) for problem in found.problems]


def test_assets_say_what_they_are(defs: dg.Definitions, accounts: tuple[Account, ...]) -> None:
    specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
    for account in accounts:
        for slug in account.endpoints:
            raw, usage = (specs[dg.AssetKey([what, account.name, slug])] for what in ("raw", "usage"))
            endpoint = VENDORS[account.vendor].endpoint(slug)
            assert raw.group_name == usage.group_name == account.vendor
            assert [dep.asset_key for dep in usage.deps] == [raw.key]
            assert all(metric.description in (usage.description or "") for metric in endpoint.metrics)
            assert endpoint.documentation in (raw.description or "")
            for spec in (raw, usage):
                assert spec.owners
                assert spec.kinds
                offset = 1 if endpoint.history is History.SNAPSHOT else 0
                assert isinstance(spec.partitions_def, dg.DailyPartitionsDefinition)
                assert (spec.partitions_def.timezone, spec.partitions_def.end_offset) == ("UTC", offset)
            schema = usage.metadata.get("dagster/column_schema")
            assert bool(schema) == bool(endpoint.metrics)
            if schema:
                assert [column.name for column in schema.columns] == USAGE.names
    lineage = {dep.asset_key for dep in specs[assets.WAREHOUSE].deps}
    assert lineage == {key for key in specs if key.path[0] == "usage"}


def test_partitions_start_with_the_earliest_account(accounts: tuple[Account, ...], place: pipeline.Place) -> None:
    early = replace(accounts[0], start_date=date(2025, 5, 1))
    defs = orchestration.build(Configuration((early, *accounts[1:])), place)
    definitions = {spec.partitions_def for spec in defs.resolve_all_asset_specs() if spec.partitions_def}
    assert len(definitions) == 2
    assert {found.get_first_partition_key() for found in definitions} == {"2025-05-01"}


def test_names_with_hyphens_stay_apart(accounts: tuple[Account, ...], place: pipeline.Place) -> None:
    named = tuple(replace(accounts[0], name=name) for name in ("a", "a-", "a-b", "a--b", "7"))
    orchestration.build(Configuration(named), place).get_repository_def()


def test_settings_are_written_once(tmp_path: Path) -> None:
    folder = instance.prepare(tmp_path)
    assert folder == tmp_path / "dagster"
    settings = yaml.safe_load((folder / "dagster.yaml").read_text())
    assert settings["telemetry"] == {"enabled": False}
    assert settings["run_retries"] == {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    instance.prepare(tmp_path)
    assert (folder / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"


def test_an_account_is_asked_by_one_run_at_a_time(tmp_path: Path) -> None:
    folder = instance.prepare(tmp_path, ["acme-flags", "acme"])
    instance.prepare(tmp_path, ["acme-flags", "acme"])
    with dg.DagsterInstance.from_config(str(folder)) as found:
        assert {pool.name: pool.limit for pool in found.event_log_storage.get_pool_limits()} == {
            "acme": 1,
            "acme-flags": 1,
        }
