"""A thousand accounts: their definitions load in bounded memory, ask nobody, read no secret, and hold few jobs.

Nothing here is timed: what made loading slow was one job an account, as Dagster looks at all assets for every job.
benchmarks/scale.py measures it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from benchmarks.scale import fleet
from usage_pipeline import config, orchestration, pipeline
from usage_pipeline.config import Configuration
from usage_pipeline.contract.vendor import History
from usage_pipeline.orchestration import metadata
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests.conftest import TurnableClock

ROOT = Path(__file__).parents[2]
ACCOUNTS = 1000
MEMORY = 1 << 30
"""Bytes of address space, of which the interpreter and Dagster take a part."""

PROGRAM = """
import json, os, socket
from collections.abc import Mapping

asked, read = [], []

class Watched(dict):
    def __getitem__(self, name):
        read.append(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        read.append(name)
        return super().get(name, default)

def refuse(*arguments, **named):
    asked.append(repr(arguments))
    raise OSError("nobody is to be asked")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
os.environ = Watched(os.environ)
from usage_pipeline.definitions import defs

repository = defs.get_repository_def()
print(json.dumps({
    "asked": asked,
    "secrets": [name for name in read if name.startswith("SANDBOX_")],
    "assets": len(list(defs.resolve_all_asset_specs())),
    "jobs": sorted(repository.job_names),
    "schedules": len(repository.schedule_defs),
}))
"""


def loaded(environment: Mapping[str, str]) -> dict[str, Any]:
    """What a fresh process tells that loads the definitions within MEMORY."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **environment},
        cwd=ROOT,
        preexec_fn=partial(resource.setrlimit, resource.RLIMIT_AS, (MEMORY, MEMORY)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_a_thousand_accounts_load_in_bounded_memory_and_ask_nobody(tmp_path: Path) -> None:
    file = tmp_path / "accounts.yaml"
    file.write_text(fleet(ACCOUNTS))
    accounts = config.read(file).accounts
    assert len(accounts) == ACCOUNTS
    told = loaded({config.ACCOUNTS_VARIABLE: str(file), config.HOME_VARIABLE: str(tmp_path)})
    assert told["asked"] == []
    assert told["secrets"] == []
    endpoints = [pipeline.endpoint_of(account, slug) for account in accounts for slug in account.endpoints]
    # The raw answers and the rows of each, the warehouse and the report.
    assert told["assets"] == 2 * len(endpoints) + 2
    of_both = {
        (account.name, pipeline.endpoint_of(account, slug).history)
        for account in accounts
        for slug in account.endpoints
    }
    # Compaction, the checks and the report have one each.
    assert told["schedules"] == len(of_both) + 3
    assert len(told["jobs"]) < 10


def test_jobs_do_not_grow_with_the_accounts(tmp_path: Path, clock: TurnableClock) -> None:
    place = pipeline.place({config.HOME_VARIABLE: str(tmp_path)}, clock, lambda _seconds: None)
    names = [
        set(orchestration.build(config.parse(fleet(number), "fleet"), place).get_repository_def().job_names)
        for number in (len(VENDORS), 8 * len(VENDORS))
    ]
    assert names[0] == names[1]
    assert {"daily", "hourly"} <= names[0]


@pytest.mark.parametrize("history", list(History))
def test_a_run_is_of_one_account(history: History, tmp_path: Path, clock: TurnableClock) -> None:
    """The job is of all accounts: what a schedule asks for is its own account's, and the warehouse."""
    place = pipeline.place({config.HOME_VARIABLE: str(tmp_path)}, clock, lambda _seconds: None)
    accounts = config.parse(fleet(10), "fleet").accounts
    repository = orchestration.build(Configuration(accounts), place).get_repository_def()
    kind = {History.WINDOW: "daily", History.SNAPSHOT: "hourly"}[history]
    seen = set()
    for account in accounts:
        slugs = {slug for slug in account.endpoints if pipeline.endpoint_of(account, slug).history is history}
        name = f"{account.name}_{kind}_schedule".replace("-", "_")
        assert repository.has_schedule_def(name) == bool(slugs)
        if not slugs:
            continue
        schedule = repository.get_schedule_def(name)
        assert schedule.job_name == kind
        with dg.build_schedule_context(scheduled_execution_time=clock(), repository_def=repository) as context:
            requests = schedule.evaluate_tick(context).run_requests or []
        keys = {tuple(key.path) for request in requests for key in request.asset_selection or ()}
        assert keys == {(what, account.name, slug) for what in ("raw", "usage") for slug in slugs} | {("warehouse",)}
        seen |= keys
    assert len(seen) > len(VENDORS)


def test_lineage_does_not_grow_without_end() -> None:
    lineage = metadata.lineage(dg.AssetKey(["usage", f"account-{n}", "usage"]) for n in range(ACCOUNTS))
    assert {len(deps) for deps in lineage.deps_by_column.values()} == {metadata.MOST_LINEAGE}
