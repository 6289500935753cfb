"""Who may connect, what is read over which way, and who may open the files."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from usage_pipeline import config, pipeline
from usage_pipeline.contract.errors import UsageError
from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.orchestration.instance import prepare
from usage_pipeline.sandbox import server
from usage_pipeline.stages import raw
from usage_pipeline_tests import contract_world as world
from usage_pipeline_tests.conftest import NOW, TurnableClock

ROOT = Path(__file__).parents[2]
TODAY = NOW.date()
HANGING = 120.0

ENTRY = """accounts:
  - name: acme
    vendor: consul
    base_url: {url}
    start_date: 2026-01-01{more}
"""


def problems(url: str, more: str = "") -> list[str]:
    return [str(each) for each in config.parse(ENTRY.format(url=url, more=more), "accounts.yaml").problems]


@pytest.mark.parametrize(
    "url",
    [
        "https://consul.example.com",
        "http://127.0.0.1:8500",
        "http://127.9.9.9",
        "http://[::1]:8500",
        "http://localhost",
    ],
)
def test_an_address_is_encrypted_or_on_loopback(url: str) -> None:
    assert problems(url) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://consul.example.com",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://127.1",
        "http://localhost.example.com",
        "http://2130706433",
        "http://[fe80::1]",
    ],
)
def test_an_address_that_is_neither_is_refused_with_its_line(url: str) -> None:
    (said,) = problems(url)
    assert said.startswith(f"accounts.yaml:4: accounts[0].base_url: '{url}' is not encrypted")
    assert "set insecure_http: true" in said
    assert problems(url, "\n    insecure_http: true") == []


def test_an_agent_s_address_is_held_to_the_same() -> None:
    more = "\n    options: {datacenters: [dc1], agents: {dc1: http://consul.dc1.example.com:8500}}"
    (said,) = problems("https://consul.example.com", more)
    assert said.startswith(
        "accounts.yaml:6: accounts[0].options.agents.dc1: 'http://consul.dc1.example.com:8500' is not encrypted"
    )
    assert problems("https://consul.example.com", more + "\n    insecure_http: true") == []


class Elsewhere:
    """Another host: `asked` has the headers of whoever came."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(dict(Request(scope, receive).headers))
        await JSONResponse({"items": []})(scope, receive, send)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("vendor", "slug"),
    [
        ("consul", "operator_usage"),
        ("aveva", "tenant_usage"),
        ("thousandeyes", "usage"),
        ("launchdarkly", "service_connections"),
        ("puppet", "usage"),
    ],
)
def test_a_redirect_to_another_host_is_not_followed(
    tmp_path: Path, clock: TurnableClock, serve: Callable[[Any], str], vendor: str, slug: str, status: int
) -> None:
    elsewhere = Elsewhere()
    there = serve(elsewhere)

    async def away(scope: Any, receive: Any, send: Any) -> None:
        path: str = scope["path"]
        answer: Response = RedirectResponse(f"{there}{path}", status)
        await answer(scope, receive, send)

    with pytest.raises(UsageError) as refused:
        pipeline.check(world.place(tmp_path, clock), world.account(vendor, serve(away)), slug)
    assert elsewhere.asked == []
    assert server.environment()["SANDBOX_PUPPET_TOKEN"] not in str(refused.value)


def test_a_page_elsewhere_is_not_asked_for(tmp_path: Path, clock: TurnableClock, serve: Callable[[Any], str]) -> None:
    """An answer may name its next page: at another host it gets neither a request nor the credential."""
    elsewhere = Elsewhere()
    there = serve(elsewhere)

    async def paged(scope: Any, receive: Any, send: Any) -> None:
        onward = {"next": {"href": f"{there}/v7/usage?page=2"}}
        await JSONResponse({"usage": {"tests": []}, "breakdowns": [], "_links": onward})(scope, receive, send)

    account = world.account("thousandeyes", serve(paged))
    outcome = pipeline.pull(world.place(tmp_path, clock), account, "units_tests", Days(TODAY - DAY, TODAY - DAY))
    assert outcome.failures
    assert elsewhere.asked == []


LAUGHS = '<!DOCTYPE l [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefghi", "bcdefghij", strict=True)
) + "]><l>&j;</l>"  # fmt: skip
BOMBS = {
    "billion laughs": LAUGHS,
    "external entity": '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><l>&a;</l>',
    "entity elsewhere": '<!DOCTYPE l [<!ENTITY a SYSTEM "{there}/x">]><l>&a;</l>',
    "external DTD": '<!DOCTYPE l SYSTEM "{there}/x.dtd"><l/>',
    "parameter entity": '<!DOCTYPE l [<!ENTITY % a SYSTEM "{there}/x.dtd"> %a;]><l/>',
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_xml_with_entities_is_refused(
    tmp_path: Path, clock: TurnableClock, serve: Callable[[Any], str], bomb: str
) -> None:
    elsewhere = Elsewhere()
    text = BOMBS[bomb].replace("{there}", serve(elsewhere))

    async def xml(scope: Any, receive: Any, send: Any) -> None:
        await Response(text, media_type="application/xml")(scope, receive, send)

    account = world.account("thousandeyes", serve(xml), api_version="v6", format="xml")
    outcome = pipeline.pull(world.place(tmp_path, clock), account, "usage", Days(TODAY, TODAY))
    said = str(outcome.failures[TODAY])
    assert "DTD" in said or "XML" in said
    assert "root:" not in said
    assert "haha" not in said
    assert elsewhere.asked == []
    assert world.table(tmp_path) == []


def modes(folder: Path) -> set[tuple[str, str]]:
    """Kind and mode of the folder and of all below it."""
    return {
        ("folder" if path.is_dir() else "file", oct(stat.S_IMODE(path.stat().st_mode)))
        for path in (folder, *folder.rglob("*"))
    }


PRIVATE = {("folder", "0o700"), ("file", "0o600")}


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_raw_answers_are_for_their_owner_alone(tmp_path: Path, clock: TurnableClock, mask: int) -> None:
    before = os.umask(mask)
    try:
        with world.sandbox(clock) as base:
            place, account = world.place(tmp_path, clock), world.account("puppet", base)
            pipeline.pull(place, account, "usage", Days(TODAY - DAY, TODAY))
            account = world.account("puppet", f"{base}/nowhere")
            assert pipeline.pull(place, account, "usage", Days(TODAY - DAY, TODAY)).failures
    finally:
        os.umask(before)
    assert list(tmp_path.glob("raw/*/*/*/*/*/failure.json"))
    assert modes(tmp_path / "raw") == PRIVATE


def test_raw_answers_that_an_older_program_kept_become_private(tmp_path: Path, clock: TurnableClock) -> None:
    with world.sandbox(clock) as base:
        place, account = world.place(tmp_path, clock), world.account("puppet", base)
        pipeline.pull(place, account, "usage", Days(TODAY - DAY, TODAY))
        for path in (tmp_path / "raw").rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        pipeline.replay(place, account, "usage", Days(TODAY - DAY, TODAY))
    assert modes(tmp_path / "raw") == PRIVATE


def test_the_tables_and_the_warehouse_are_for_analysts_to_read(tmp_path: Path, clock: TurnableClock) -> None:
    """They hold no raw answer, and may be opened by other users of the machine, as far as the umask allows."""
    raw.store(str(tmp_path))
    assert modes(tmp_path / "raw") == {("folder", "0o700")}
    assert stat.S_IMODE(pipeline.publish(world.place(tmp_path, clock)).stat().st_mode) == 0o444


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_dagster_s_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir(mode=0o755)
    assert stat.S_IMODE(prepare(tmp_path).stat().st_mode) == 0o700


def listening(processes: set[int]) -> set[str]:
    """Addresses at which any of the processes takes connections, as /proc tells them."""
    inodes = set()
    for process in processes:
        for file in Path(f"/proc/{process}/fd").glob("*"):
            try:
                inodes.add(str(file.readlink()))
            except OSError:
                continue  # closed
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _number, local, _remote, state, *_rest = line.split()
            if state == "0A" and f"socket:[{line.split()[9]}]" in inodes:
                packed = bytes.fromhex(local.partition(":")[0])
                words = [packed[at : at + 4][::-1] for at in range(0, len(packed), 4)]
                found.add(socket.inet_ntop(family, b"".join(words)))
    return found


def family(marker: str) -> set[int]:
    """The processes that have inherited a text in their environment."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in process.joinpath("environ").read_bytes():
                found.add(int(process.name))
        except OSError:
            continue  # gone, or another user's
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads sockets and processes in /proc, which only Linux has")
@pytest.mark.parametrize("command", ["sandbox", "dev"])
def test_servers_take_connections_from_this_machine_alone(tmp_path: Path, command: str) -> None:
    file = tmp_path / "accounts.yaml"
    file.write_text(ENTRY.format(url="http://127.0.0.1:9", more="\n    credentials: {token: '${CANARY}'}"))
    home = tmp_path / "home"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        config.ACCOUNTS_VARIABLE: str(file),
        config.HOME_VARIABLE: str(home),
        "CANARY": "canary-of-the-process-list",
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "log"
    program = "from usage_pipeline.cli import main; main()"
    with log.open("wb") as sink:
        started = subprocess.Popen(
            [sys.executable, "-c", program, command, "--port", str(port)],
            cwd=tmp_path, env=environment, stdout=sink, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + HANGING
        while not answers(port):
            if started.poll() is not None or time.monotonic() > deadline:
                pytest.fail(log.read_text())
            time.sleep(0.3)
        running = family(f"{config.HOME_VARIABLE}={home}\0")
        assert started.pid in running
        assert listening(running) == {"127.0.0.1"}
        commands = b"\0".join(Path(f"/proc/{process}/cmdline").read_bytes() for process in running)
        assert b"canary" not in commands
    finally:
        started.terminate()
        started.wait(60)


def answers(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/server_info", timeout=5)
    except httpx.TransportError:
        return False
    return True


def test_the_json_schema_knows_the_option() -> None:
    shipped = json.loads((ROOT / "usage_pipeline" / "accounts.schema.json").read_text())
    kinds = [kind for name, kind in shipped["$defs"].items() if name.endswith("_account")]
    assert len(kinds) == len(server.VENDORS)
    assert all(kind["properties"]["insecure_http"]["default"] is False for kind in kinds)
