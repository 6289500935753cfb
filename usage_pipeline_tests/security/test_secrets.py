"""No secret is written anywhere: files, debug logs, Dagster's storage, the report, errors, the process list."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response

from usage_pipeline import alerting, config, orchestration, pipeline
from usage_pipeline.cli import Outside, main
from usage_pipeline.contract.time import DAY
from usage_pipeline.contract.vendor import History
from usage_pipeline.orchestration.instance import prepare
from usage_pipeline.sandbox import server
from usage_pipeline.sandbox.world import World
from usage_pipeline_tests.conftest import NOW, TurnableClock
from usage_pipeline_tests.receivers import Post, receiving
from usage_pipeline_tests.security.canaries import CANARIES, SDK_KEYS, found, planted

ROOT = Path(__file__).parents[2]
TODAY = NOW.date()
HOOK = "/services/T0000/B0000/canary-hook+0009"
PASSWORD = "canary-mail+password/0010"
ACCOUNTS = """
accounts:
  - {{name: mesh, vendor: consul, base_url: "{base}/consul", start_date: 2026-03-01,
      credentials: {{token: "${{CONSUL_TOKEN}}"}}, options: {{datacenters: [dc1]}}}}
  - {{name: data, vendor: aveva, base_url: "{base}/aveva", start_date: 2026-03-01,
      credentials: {{client_id: "${{AVEVA_CLIENT_ID}}", client_secret: "${{AVEVA_CLIENT_SECRET}}"}},
      endpoints: [tenant_usage, resource_usage], options: {{tenant_id: 4f7d7a3e-52c0-4b53-9c27-1d1f0f2b6a10}}}}
  - {{name: eyes, vendor: thousandeyes, base_url: "{base}/thousandeyes", start_date: 2026-03-01,
      credentials: {{bearer_token: "${{THOUSANDEYES_BEARER}}"}}}}
  - {{name: eyes-v6, vendor: thousandeyes, base_url: "{base}/thousandeyes", start_date: 2026-03-01,
      credentials: {{email: "${{THOUSANDEYES_EMAIL}}", token: "${{THOUSANDEYES_TOKEN}}"}},
      options: {{api_version: v6, format: xml}}}}
  - {{name: flags, vendor: launchdarkly, base_url: "{base}/launchdarkly", start_date: 2026-03-01,
      credentials: {{access_token: "${{LAUNCHDARKLY_TOKEN}}"}}, endpoints: [service_connections],
      options: {{group_by: {{service_connections: [projectId, environmentId]}}}}}}
  - {{name: nodes, vendor: puppet, base_url: "{base}/puppet", start_date: 2026-03-01,
      credentials: {{token: "${{PUPPET_TOKEN}}"}}}}
"""
COMMANDS = [
    ["check"],
    ["pull", "--from", str(TODAY - DAY), "--to", str(TODAY)],
    ["status"],
    ["replay", "--from", str(TODAY - DAY), "--to", str(TODAY)],
    ["sql", "FROM coverage"],
    ["sql", "FROM inventory"],
    ["sql", "--describe"],
    ["connect"],
    ["compact"],
    ["export-focus", "--from", str(TODAY - DAY), "--to", str(TODAY), "--out", "focus.parquet"],
    ["report", "--out", "report.html"],
    *([name, "--help"] for name in sorted(main.commands)),
    ["--help"],
]


class Gate:
    """The sandbox behind a door that answers as the mode says, and repeats every credential that it hears.

    `heard` are the credentials that came, `beside` the headers of what came to another host, `processes` the command
    lines of the machine while a request was under way, where it is `watched`.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self.mode = "well"
        self.elsewhere = ""
        self.heard: set[str] = set()
        self.beside: list[dict[str, str]] = []
        self.watched = False
        self.processes = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        headers = [value for name, value in request.headers.items() if name not in {"host", "accept", "user-agent"}]
        self.heard |= {request.headers.get("authorization", "").removeprefix("Bearer ")} - {""}
        self.processes += _commands() if self.watched else b""
        # Discovery works, or nothing else would be asked; the token's own answers are broken too.
        if self.mode == "well" or "/.well-known/" in request.url.path:
            await self._app(scope, receive, send)
            return
        form = (await request.body()).decode()
        await self._odd(form, headers)(scope, receive, send)

    def _odd(self, form: str, said: list[str]) -> Response:
        told = f"{' '.join(said)} {form}"
        if self.mode == "refused":
            return JSONResponse(
                {"error": "invalid_client", "error_description": told, "msg": told, "message": told}, 401
            )
        if self.mode == "redirected":
            return RedirectResponse(f"{self.elsewhere}/?told={told.splitlines()[0]}")
        if self.mode == "broken":
            return HTMLResponse(f"<html>{told}")
        return PlainTextResponse(told, 500)

    async def other(self, scope: Any, receive: Any, send: Any) -> None:
        """Another host."""
        self.beside.append(dict(Request(scope, receive).headers))
        await JSONResponse({})(scope, receive, send)


def _commands() -> bytes:
    """The command lines of all processes."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found.append(process.joinpath("cmdline").read_bytes())
    return b"\n".join(found)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, clock: TurnableClock, serve: Callable[[Any], str]) -> Gate:
    planted(monkeypatch)
    gate = Gate(server.app(World(clock)))
    gate.elsewhere = serve(gate.other)
    return gate


@pytest.fixture
def environment(tmp_path: Path, gate: Gate, serve: Callable[[Any], str]) -> dict[str, str]:
    file = tmp_path / "accounts.yaml"
    file.write_text(ACCOUNTS.format(base=serve(gate)))
    return {
        **CANARIES,
        config.ACCOUNTS_VARIABLE: str(file),
        config.HOME_VARIABLE: str(tmp_path / "home"),
        # Nobody lives there: what an alert's delivery says must not tell the address either.
        alerting.WEBHOOK_VARIABLE: f"http://127.0.0.1:9{HOOK}",
        alerting.MAIL_VARIABLE: "smtp://ops@127.0.0.1:9?to=ops@example.com&from=ops@example.com",
        alerting.PASSWORD_VARIABLE: PASSWORD,
    }


@pytest.fixture
def debugging(tmp_path: Path) -> Iterator[None]:
    """Everything that anybody logs, at every level, in a file beside the rest."""
    handler = logging.FileHandler(tmp_path / "debug.log")
    root, before = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield
    root.setLevel(before)
    root.removeHandler(handler)
    handler.close()


def secrets(gate: Gate) -> list[str]:
    """The canaries, and the tokens that were granted for them."""
    assert CANARIES["LAUNCHDARKLY_TOKEN"] in gate.heard
    return [*CANARIES.values(), *SDK_KEYS, *gate.heard, PASSWORD, HOOK.rpartition("/")[2]]


@pytest.mark.usefixtures("debugging")
def test_no_command_writes_a_secret(
    tmp_path: Path, gate: Gate, environment: dict[str, str], clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outside = Outside(environment, clock, lambda _seconds: None)
    for mode in ("well", "refused", "redirected", "broken", "down"):
        gate.mode = mode
        for number, arguments in enumerate(COMMANDS[: None if mode == "well" else 3]):
            result = CliRunner().invoke(main, arguments, obj=outside)
            assert result.exception is None or isinstance(result.exception, SystemExit), (arguments, result.exception)
            told = f"{arguments}\n{result.output}"
            tmp_path.joinpath(f"{mode}-{number}.txt").write_text(told)
            if mode == "well" and arguments[0] in {"check", "pull", "replay", "report", "compact"}:
                assert result.exit_code == 0, told
            if mode != "well" and arguments[0] in {"check", "pull"}:
                assert result.exit_code == 1
        clock.advance(hours=2)
    # What was looked through is what is meant: raw answers with their failures, logs of the HTTP libraries, the page.
    assert list(tmp_path.glob("home/raw/*/*/*/*/*/receipt.json"))
    assert list(tmp_path.glob("home/raw/*/*/*/*/*/failure.json"))
    assert "httpcore" in (tmp_path / "debug.log").read_text() or "HTTP Request" in (tmp_path / "debug.log").read_text()
    assert "***" in (tmp_path / "refused-1.txt").read_text()
    assert (tmp_path / "report.html").exists()
    assert gate.beside == []
    assert found(tmp_path, secrets(gate)) == []


@pytest.mark.usefixtures("debugging")
def test_dagster_keeps_no_secret(
    tmp_path: Path, gate: Gate, environment: dict[str, str], clock: TurnableClock, capfd: pytest.CaptureFixture[str]
) -> None:
    configuration = config.read(config.find(environment))
    assert configuration.problems == ()
    place = pipeline.place(environment, clock, lambda _seconds: None)
    folder = prepare(place.home)
    definitions = orchestration.build(configuration, place)
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        for mode in ("well", "refused", "broken"):
            gate.mode = mode
            # All of one history in one run: a run costs seconds.
            for history, day in ((History.WINDOW, TODAY - DAY), (History.SNAPSHOT, TODAY)):
                chosen = [
                    dg.AssetKey([kind, account.name, slug])
                    for account in configuration.accounts
                    for slug in account.endpoints
                    for kind in ("raw", "usage")
                    if pipeline.endpoint_of(account, slug).history is history
                ]
                result = job.execute_in_process(
                    asset_selection=chosen,
                    partition_key=str(day),
                    instance=instance,
                    raise_on_error=False,
                    run_config={"loggers": {"console": {"config": {"log_level": "DEBUG"}}}},
                )
                assert result.success == (mode == "well")
        repository = definitions.get_repository_def()
        context = dg.build_sensor_context(instance, None, repository_def=repository, resources={"place": place})
        try:
            told = str(repository.get_sensor_def("run_failure_alerts").evaluate_tick(context))
        except Exception:  # noqa: BLE001 - whatever the daemon would log of it
            told = traceback.format_exc()
    shown = capfd.readouterr()
    (tmp_path / "shown.txt").write_text(shown.out + shown.err)
    (tmp_path / "tick.txt").write_text(told)
    assert "STEP_FAILURE" in shown.err
    assert list(tmp_path.glob("home/dagster/history/**/*.db"))
    assert found(tmp_path, secrets(gate)) == []


@pytest.mark.usefixtures("debugging")
def test_an_alert_holds_no_secret_and_its_delivery_is_not_logged(
    tmp_path: Path, clock: TurnableClock, serve: Callable[[Any], str], capfd: pytest.CaptureFixture[str]
) -> None:
    taken: list[str] = []

    async def hook(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        taken.append((await request.body()).decode())
        # It repeats its own address, and refuses.
        await PlainTextResponse(f"no: {request.url}", 500)(scope, receive, send)

    post = Post(password=PASSWORD)
    with receiving(post) as port:
        environment = {
            **CANARIES,
            alerting.WEBHOOK_VARIABLE: f"{serve(hook)}{HOOK}",
            alerting.MAIL_VARIABLE: f"smtp://ops@127.0.0.1:{port}?to=ops@example.com&from=ops@example.com",
            alerting.PASSWORD_VARIABLE: PASSWORD,
        }
        place = pipeline.Place(tmp_path, str(tmp_path), clock, lambda _seconds: None, environment)
        said = alerting.deliver(place, (), "usage-pipeline: 1 run failed")
    assert len(taken) == alerting.ATTEMPTS
    (mail,) = post.mails
    shown = capfd.readouterr()
    (tmp_path / "told.txt").write_text("\n".join([said, shown.out, shown.err, mail.as_string(), *taken]))
    assert found(tmp_path, [PASSWORD, HOOK.rpartition("/")[2]]) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process list in /proc, which only Linux has")
def test_the_process_list_tells_no_secret(gate: Gate, environment: dict[str, str], tmp_path: Path) -> None:
    gate.watched = True
    program = "from usage_pipeline.cli import main; main()"
    days = ["--from", str(TODAY - timedelta(days=2)), "--to", str(TODAY - DAY)]
    subprocess.run(
        [sys.executable, "-c", program, "pull", "--account", "nodes", *days],
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert b"--account\0nodes" in gate.processes
    (tmp_path / "processes").write_bytes(gate.processes)
    assert found(tmp_path, [*CANARIES.values(), PASSWORD, HOOK.rpartition("/")[2]]) == []


@pytest.mark.parametrize("secret", list(CANARIES.values()))
def test_what_looks_for_secrets_finds_them(tmp_path: Path, secret: str) -> None:
    (tmp_path / "log.json").write_text(json.dumps({"said": f"the token {secret}."}))
    assert found(tmp_path, [secret]) == [f"{secret} in log.json"]
