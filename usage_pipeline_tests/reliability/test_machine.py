"""A machine that misbehaves: no space, no right to write, a clock that jumps, a month that ends, zones with DST.

Each ends with a clear line or the right table, and when the cause is gone the next run completes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from usage_pipeline import config, pipeline
from usage_pipeline.cli import Outside, main
from usage_pipeline.contract.errors import TransientError
from usage_pipeline.contract.schema import BILLING_PERIODS, COVERAGE, INVENTORY, RESTATEMENTS, USAGE, State
from usage_pipeline.contract.time import Days
from usage_pipeline.sandbox import server
from usage_pipeline.sandbox.world import World
from usage_pipeline_tests import contract_world as world
from usage_pipeline_tests.conftest import NOW, TurnableClock, served
from usage_pipeline_tests.reliability import LONG
from usage_pipeline_tests.stages.invented import at

ROOT = Path(__file__).parents[2]
NOBODY = 65534
MARCH = Days(date(2026, 3, 10), date(2026, 3, 12))
ACCOUNTS = """\
accounts:
  - name: demo-puppet
    vendor: puppet
    base_url: {address}/puppet
    start_date: 2026-03-01
    credentials: {{token: "${{SANDBOX_PUPPET_TOKEN}}"}}
"""


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with world.sandbox(TurnableClock()) as address:
        yield address


@pytest.fixture(scope="module")
def later() -> Iterator[str]:
    """The same vendors, who tell other numbers."""
    with served(server.app(World(TurnableClock(), seed=2))) as address:
        yield address


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a file system: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@contextmanager
def filled(disk: Path, *, but: int) -> Iterator[None]:
    """No more room than `but` bytes."""
    stat = os.statvfs(disk)
    filler = disk / "filler"
    filler.write_bytes(bytes(max(0, stat.f_bavail * stat.f_frsize - but)))
    try:
        yield
    finally:
        filler.unlink()


def pull_puppet(home: Path, base: str) -> Result:
    """The command, on a real server and a real file system."""
    file = home.parent.parent / "accounts.yaml"
    file.write_text(ACCOUNTS.format(address=base))
    environment = server.environment() | {config.HOME_VARIABLE: str(home), config.ACCOUNTS_VARIABLE: str(file)}
    outside = Outside(environment, lambda: NOW, lambda _seconds: None)
    return CliRunner().invoke(main, ["pull", "--from", str(MARCH.first), "--to", str(MARCH.last)], obj=outside)


def pull(home: Path, base: str, clock: TurnableClock, vendor: str, slug: str, days: Days) -> pipeline.Outcome:
    return pipeline.pull(world.place(home, clock), world.account(vendor, base), slug, days)


def tables(home: Path) -> dict[str, list[dict[str, object]]]:
    return {
        of.name: world.table(home, of, without=["response_id", "new_response_id", "old_response_id"])
        for of in (USAGE, COVERAGE, RESTATEMENTS, INVENTORY, BILLING_PERIODS)
    }


@pytest.fixture
def undisturbed(tmp_path: Path, base: str) -> dict[str, list[dict[str, object]]]:
    home = tmp_path / "undisturbed" / "data"
    home.parent.mkdir()
    assert pull_puppet(home, base).exit_code == 0
    assert len(tables(home)["usage"]) > 10
    return tables(home)


# KiB that are left: not enough for the layout, the answer, the table, coverage, or the warehouse.
ROOMS = [0, 8, 24, 40, 150, 600]


@pytest.mark.parametrize("room", ROOMS if LONG else ROOMS[1::2])
def test_a_full_disk_is_told_and_the_next_run_completes(
    small_disk: Path, base: str, undisturbed: dict[str, list[dict[str, object]]], room: int
) -> None:
    home = small_disk / "data"
    with filled(small_disk, but=room << 10):
        result = pull_puppet(home, base)
        refused(result, f"{home} cannot be written to (No space left on device): free some space")
    result = pull_puppet(home, base)
    assert (result.exit_code, result.stderr) == (0, "")
    assert tables(home) == undisturbed
    assert CliRunner().invoke(main, ["verify"], obj=outside(home)).exit_code == 0


def test_a_disk_that_fills_up_later_leaves_what_was_there(small_disk: Path, base: str, later: str) -> None:
    home = small_disk / "data"
    assert pull_puppet(home, base).exit_code == 0
    before, published = tables(home), (home / "warehouse.duckdb").read_bytes()
    with filled(small_disk, but=8 << 10):
        refused(pull_puppet(home, later), "No space left on device")
        assert tables(home)["usage"] == before["usage"]
        assert (home / "warehouse.duckdb").read_bytes() == published


def test_a_read_only_folder_is_told_and_the_next_run_completes(
    small_disk: Path, base: str, undisturbed: dict[str, list[dict[str, object]]]
) -> None:
    home = small_disk / "data"
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    refused(pull_puppet(home, base), f"{home} cannot be written to (Read-only file system): make it writable")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert pull_puppet(home, base).exit_code == 0
    assert tables(home) == undisturbed


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to run the command as somebody else")
def test_somebody_else_s_folder_is_told(tmp_path: Path, base: str) -> None:
    home = tmp_path / "home" / "data"
    home.parent.mkdir()
    assert pull_puppet(home, base).exit_code == 0
    # What is imported is imported before: the interpreter itself may be for its owner alone.
    program = (
        "import os\n"
        "from usage_pipeline import pipeline, prices, stages, warehouse\n"
        "from usage_pipeline.cli import main\n"
        "for name in stages.__all__:\n"
        "    getattr(stages, name)\n"
        f"os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})\n"
        "main(['replay', '--from', '2026-03-10', '--to', '2026-03-12'])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), config.HOME_VARIABLE: str(home)}
    # As its owner said: for the owner alone.
    home.chmod(0o700)
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 1
    assert "Permission denied" in told.stderr
    assert "Traceback" not in told.stderr
    assert told.stderr.splitlines()[-1].startswith("Error: ")


def refused(result: Result, said: str) -> None:
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert said in result.stderr
    assert all(line.startswith("Error: ") for line in result.stderr.splitlines()), result.stderr


def outside(home: Path, now: datetime = NOW) -> Outside:
    environment = {config.HOME_VARIABLE: str(home), config.ACCOUNTS_VARIABLE: str(config.SANDBOX_ACCOUNTS)}
    return Outside(environment, lambda: now, lambda _seconds: None)


def test_a_clock_set_back_does_not_hide_the_newest_answer(tmp_path: Path, base: str, later: str) -> None:
    """What was asked for last is believed, whatever the clock said; a replay and a rebuild say so too."""
    clock = TurnableClock(NOW)
    pull(tmp_path / "data", base, clock, "puppet", "usage", MARCH)
    clock.advance(days=-2)
    pull(tmp_path / "data", later, clock, "puppet", "usage", MARCH)
    pull(tmp_path / "plain", later, clock, "puppet", "usage", MARCH)
    expected = tables(tmp_path / "plain")["usage"]
    assert tables(tmp_path / "data")["usage"] == expected
    pipeline.replay(world.place(tmp_path / "data", clock), world.account("puppet", later), "usage", MARCH)
    assert tables(tmp_path / "data")["usage"] == expected
    (tmp_path / "data" / "raw").rename(tmp_path / "raw")
    (tmp_path / "again").mkdir()
    (tmp_path / "raw").rename(tmp_path / "again" / "raw")
    assert CliRunner().invoke(main, ["rebuild"], obj=outside(tmp_path / "again")).exit_code == 0
    assert tables(tmp_path / "again")["usage"] == expected


def test_an_answer_of_a_clock_that_was_ahead_yields_to_the_next(tmp_path: Path, base: str, later: str) -> None:
    """A landing of 2030 is no word for years: it is told, and what is asked for next takes its place."""
    home, clock = tmp_path / "data", TurnableClock(datetime(2030, 1, 1, tzinfo=UTC))
    pull(home, base, clock, "puppet", "usage", MARCH)
    clock.now = NOW
    pull(home, later, clock, "puppet", "usage", MARCH)
    pull(tmp_path / "plain", later, clock, "puppet", "usage", MARCH)
    assert tables(home)["usage"] == tables(tmp_path / "plain")["usage"]
    told = CliRunner().invoke(main, ["verify"], obj=outside(home))
    assert told.exit_code == 1
    assert "landed at 2030-01-01 00:00:00 UTC, which is yet to come, so the clock was wrong" in told.stderr


class TickingClock(TurnableClock):
    """A second goes by whenever somebody looks."""

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


MONTH_END = datetime(2026, 3, 31, 23, 59, 58, tzinfo=UTC)


def test_a_month_that_ends_while_a_window_is_asked_for(tmp_path: Path) -> None:
    """The run is of the day on which it began; the next one is of the new month, and both are whole."""
    home, days = tmp_path / "data", Days(date(2026, 3, 30), date(2026, 4, 1))
    clock = TickingClock(MONTH_END)
    with world.sandbox(TurnableClock(at("2026-04-01", 1))) as address:
        assert pull(home, address, clock, "puppet", "usage", days).failures == {}
        assert clock.now >= at("2026-04-01", 0)
        # Nobody was asked for a day that began while the vendor was asked.
        assert [folder.name for folder in home.glob("raw/puppet/*/usage/*")] == ["2026-03-30--2026-03-31"]
        covered = [row["usage_date"] for row in world.table(home, COVERAGE)]
        assert covered == [date(2026, 3, 30), date(2026, 3, 31)]
        assert {row["month"] for row in world.table(home)} == {"2026-03"}

        after = TurnableClock(at("2026-04-01", 1))
        pull(home, address, after, "puppet", "usage", days)
        pull(tmp_path / "plain", address, after, "puppet", "usage", days)
    assert tables(home)["usage"] == tables(tmp_path / "plain")["usage"]
    assert tables(home)["coverage"] == tables(tmp_path / "plain")["coverage"]


def test_a_month_that_ends_while_a_snapshot_is_captured(tmp_path: Path) -> None:
    """An answer of 1 April is no capture of 31 March, and 1 April is still to be captured."""
    home, days = tmp_path / "data", Days(date(2026, 3, 31), date(2026, 4, 1))
    with world.sandbox(TurnableClock(at("2026-04-01", 1))) as address:
        outcome = pull(home, address, TickingClock(MONTH_END), "consul", "operator_usage", days)
        assert isinstance(outcome.failures[date(2026, 3, 31)], TransientError)
        assert "2026-03-31 ended (UTC) while it was asked for" in str(outcome.failures[date(2026, 3, 31)])
        assert world.table(home) == []
        after = TurnableClock(at("2026-04-01", 1))
        place, account = world.place(home, after), world.account("consul", address)
        assert date(2026, 4, 1) in pipeline.incomplete(place, account, "operator_usage", days)
        assert pull(home, address, after, "consul", "operator_usage", days).failures == {}
    rows = world.table(home)
    assert {row["usage_date"] for row in rows} == {date(2026, 4, 1)}
    states = {row["usage_date"]: row["state"] for row in world.table(home, COVERAGE)}
    assert states[date(2026, 4, 1)] == State.COMPLETE


def test_today_is_not_given_up_before_it_was_captured(tmp_path: Path, base: str) -> None:
    """A replay of today, of which nothing is kept, does not say that it cannot be captured any more."""
    place, account = world.place(tmp_path, TurnableClock(NOW)), world.account("consul", base)
    today = Days(NOW.date(), NOW.date())
    pipeline.replay(place, account, "operator_usage", today)
    assert pipeline.incomplete(place, account, "operator_usage", today) == [NOW.date()]


NIGHTS = {
    "America/New_York": datetime(2026, 3, 8, 7, 0, tzinfo=UTC),
    "Europe/Berlin": datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2026, 4, 4, 15, 0, tzinfo=UTC),
}
"""When the clocks of a zone change in 2026, by the time zone database: an hour forwards, and half an hour back."""

PROGRAM = """
import json, sys, time
from datetime import datetime, timedelta
from pathlib import Path
from usage_pipeline import pipeline, warehouse
from usage_pipeline.contract.time import Days
from usage_pipeline_tests import contract_world as world
from usage_pipeline_tests.conftest import TurnableClock

clock = TurnableClock()
told = []
with world.sandbox(clock) as base:
    for number, night in enumerate(map(datetime.fromisoformat, sys.argv[2:])):
        home = Path(sys.argv[1]) / str(number)
        for now in (night - timedelta(minutes=20), night + timedelta(minutes=20)):
            clock.now = now
            for vendor, slug in [
                ("puppet", "usage"), ("consul", "operator_usage"), ("launchdarkly", "service_connections"),
            ]:
                days = Days(now.date() - timedelta(days=1), now.date())
                place = world.place(home, clock)
                assert pipeline.pull(place, world.account(vendor, base), slug, days).failures == {}
        pipeline.publish(place)
        with warehouse.reading(home) as session:
            told.append(warehouse.ask(session, "SELECT * EXCLUDE (response_id) FROM usage ORDER BY ALL").csv())
            told.append(warehouse.ask(session, "SELECT * FROM usage_daily ORDER BY ALL").csv())
            told.append(warehouse.ask(session, "SELECT * FROM coverage ORDER BY ALL").csv())
sys.stderr.write(time.strftime("%z", time.localtime(datetime.fromisoformat(sys.argv[-1]).timestamp())))
print(json.dumps(told))
"""


def told_in(zone: str, home: Path, nights: list[datetime]) -> tuple[list[str], str]:
    """The tables of each night on a machine of a zone, and how far the zone is ahead of UTC in the last of them."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(home), *map(str, nights)],
        env={**os.environ, "TZ": zone, "PYTHONPATH": str(ROOT)},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tables = json.loads(done.stdout)
    return ["\n".join(tables[number : number + 3]) for number in range(0, len(tables), 3)], done.stderr


def test_the_machine_s_zone_changes_nothing(tmp_path: Path) -> None:
    nights = list(NIGHTS.values())
    expected, offset = told_in("UTC", tmp_path / "UTC", nights)
    assert offset == "+0000"
    assert min(tables.count("\n") for tables in expected) > 30
    for (zone, night), tables in zip(NIGHTS.items(), expected, strict=True):
        told, offset = told_in(zone, tmp_path / zone.replace("/", "-"), [night])
        # The zone was really set: its offset in that night says so.
        assert offset != "+0000"
        assert told == [tables], zone
