"""deploy/ on several hosts: Postgres, Redis, Dagster's services, and two workers of which one is killed on the way."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy
import yaml
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES, DagsterRunStatus

from usage_pipeline import config, pipeline
from usage_pipeline.contract.schema import USAGE
from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.contract.vendor import Account, History
from usage_pipeline.orchestration import sensors, serving
from usage_pipeline.sandbox import server
from usage_pipeline.sandbox.world import World
from usage_pipeline_tests import contract_world
from usage_pipeline_tests.conftest import TurnableClock
from usage_pipeline_tests.reliability import LONG
from usage_pipeline_tests.scale import hosts
from usage_pipeline_tests.scale.hosts import COMPOSE, DEPLOY, Network, running
from usage_pipeline_tests.webserver import LAUNCH, STATUS, ask, until, up

redis = pytest.importorskip("redis", reason="needs the packages of the extra `cluster`: redis is not installed")
for needed in ("dagster_celery", "dagster_postgres"):
    pytest.importorskip(needed, reason=f"needs the packages of the extra `cluster`: {needed} is not installed")
if not hosts.POSTGRES:
    pytest.skip("needs PostgreSQL in /usr/lib/postgresql (Debian: apt-get install postgresql)", allow_module_level=True)
for program in ("redis-server", "openssl"):
    if not shutil.which(program):
        pytest.skip(f"needs {program} (Debian: apt-get install {program})", allow_module_level=True)

PATIENCE = 150.0
"""Seconds after which a step of the test counts as hanging."""

START_SENSOR = """
mutation ($selector: SensorSelector!) {
  startSensor(sensorSelector: $selector) { __typename ... on PythonError { message } }
}
"""

# The daemon's own clock, faster: it looks for backfills every 30 s.
DAEMON = (
    "import dagster._daemon.controller as c; c.DEFAULT_DAEMON_INTERVAL_SECONDS = 5; import dagster._daemon.cli as d"
)


class Held:
    """The sandbox, which lets a request to some addresses wait until it is let go, and says which do."""

    def __init__(self, clock: TurnableClock) -> None:
        self.app = server.app(World(clock))
        self.hold: set[str] = set()
        self.waiting: set[str] = set()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        for part in [part for part in self.hold if part in scope["path"]]:
            self.waiting.add(part)
            while part in self.hold:  # noqa: ASYNC110 - it is let go by another thread
                await asyncio.sleep(0.05)
        await self.app(scope, receive, send)


@dataclass
class Deployment:
    """What compose would have started, piece by piece."""

    network: Network
    folder: Path
    environment: dict[str, str]
    ports: dict[str, int]
    replaced: dict[str, str]
    stack: ExitStack
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def start(self, host: str, service: str, name: str = "", command: list[str] | None = None) -> Any:
        """A service of compose on a host, by the image's own entry point."""
        entered = ["sh", str(DEPLOY / "entrypoint.sh"), *(command or hosts.command(service, self.replaced))]
        started = running(self.network.hosts[host], entered, self.environment, self.log(name or service))
        return self.stack.enter_context(started)

    def done(self, service: str) -> None:
        """A service that ends by itself, and well."""
        process = self.start("control", service)
        assert process.wait(PATIENCE) == 0, self.log(service).read_text()

    def work(self, host: str) -> None:
        # Celery asks for names that differ; namespaces share the host's.
        name = ["--hostname", f"{host}@%h"]
        self.workers[host] = self.start(host, "worker", host, [*hosts.command("worker", self.replaced), *name])

    @property
    def url(self) -> str:
        return f"http://{self.network.hosts['control'].address}:{self.ports['ui']}"

    def said(self) -> str:
        """The last words of all processes."""
        return "\n".join(f"{log.name}: {log.read_text()[-2500:]}" for log in sorted(self.folder.glob("*.log")))


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that PostgreSQL's user may enter, as pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="usage-pipeline-hosts-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="module")
def deployment(place: Path) -> Iterator[Deployment]:
    """Database and broker on a host of their own, set up with deploy/'s files and secrets."""
    with ExitStack() as stack:
        network = stack.enter_context(hosts.network(["data", "control", "one", "two"]))
        ports = {"database": 5432, "broker": 6379, "ui": 3000}
        if not network.apart:
            ports = {name: hosts.free_port() for name in ports}
        yield made(place, network, ports, stack)


def made(folder: Path, network: Network, ports: dict[str, int], stack: ExitStack) -> Deployment:
    secrets, home, settings, run = (folder / name for name in ("secrets", "home", "settings", "run"))
    for new in (home, settings, run, home / "logs"):
        new.mkdir()
    address = network.hosts["data"].address
    make = ["sh", str(DEPLOY / "secrets.sh"), str(secrets), address, address]
    subprocess.run(make, check=True, env={**os.environ, "CA": str(secrets / "ca.crt")})
    broker = secrets / "USAGE_PIPELINE_BROKER"
    broker.write_text(broker.read_text().replace(":6379/", f":{ports['broker']}/"))
    for name, value in server.environment().items():
        (secrets / name).write_text(value)
    shipped = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    shipped["storage"]["postgres"]["postgres_db"]["port"] = ports["database"]
    shipped["run_monitoring"]["poll_interval_seconds"] = 2
    (settings / "dagster.yaml").write_text(yaml.safe_dump(shipped))
    workspace = (DEPLOY / "workspace.yaml").read_text().replace("/run/usage-pipeline", str(run))
    (settings / "workspace.yaml").write_text(workspace)
    named = COMPOSE["x-ours"]["environment"]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("USAGE_", "DAGSTER_", "PG"))},
        **dict.fromkeys(named, ""),
        "PYTHONPATH": str(hosts.ROOT),
        "SECRETS": str(secrets),
        "DAGSTER_HOME": str(settings),
        "PGSSLROOTCERT": str(secrets / "ca.crt"),
        "USAGE_PIPELINE_ACCOUNTS": str(folder / "accounts.yaml"),
        "USAGE_PIPELINE_DATABASE_HOST": address,
        "USAGE_PIPELINE_HOME": str(home),
        "USAGE_PIPELINE_LOGS": str(home / "logs"),
    }
    assert [name for name in named if not environment[name]] == ["USAGE_PIPELINE_LAKE"]
    replaced = {
        "/run/secrets": str(secrets),
        "/run/usage-pipeline": str(run),
        "/opt/usage-pipeline/deploy/workspace.yaml": str(settings / "workspace.yaml"),
        "0.0.0.0": network.hosts["control"].address,
        "3000": str(ports["ui"]),
        "6379": str(ports["broker"]),
    }
    found = Deployment(network, folder, environment, ports, replaced, stack)
    database(found, secrets)
    found.start("data", "broker", command=[*hosts.command("broker", replaced), "--dir", str(run)])
    return found


def database(deployment: Deployment, secrets: Path) -> None:
    """PostgreSQL as the image would set it up: superuser with the password of the secret, and compose's settings."""
    assert hosts.POSTGRES
    folder, address = deployment.folder / "database", deployment.network.hosts["data"].address
    folder.mkdir()
    for name in ("database.crt", "database.key", "USAGE_PIPELINE_DATABASE_PASSWORD"):
        shutil.copy(secrets / name, folder / name)
    shutil.copy(DEPLOY / "pg_hba.conf", folder)
    hosts.own(folder, "postgres")
    service = COMPOSE["services"]["database"]
    user, password = service["environment"]["POSTGRES_USER"], str(folder / "USAGE_PIPELINE_DATABASE_PASSWORD")
    init = [str(hosts.POSTGRES.with_name("initdb")), "-D", str(folder / "data"), "-U", user, "--pwfile", password]
    init += [service["environment"]["POSTGRES_INITDB_ARGS"], "--no-sync", "-E", "UTF8"]
    as_postgres = hosts.as_user("postgres")
    subprocess.run([*as_postgres, *init], check=True, capture_output=True, cwd="/")
    paths = {
        "/run/secrets": str(folder),
        "/run/database.key": str(folder / "database.key"),
        "/etc/pg_hba.conf": str(folder / "pg_hba.conf"),
    }
    serve = [*as_postgres, *hosts.command("database", paths), "-D", str(folder / "data"), "-p"]
    serve += [str(deployment.ports["database"]), "-c", f"listen_addresses={address}", "-k", str(folder)]
    # It is killed at the end, and its disk is a test's.
    serve += ["-c", "fsync=off"]
    deployment.start("data", "database", command=serve)
    word = (secrets / "USAGE_PIPELINE_DATABASE_PASSWORD").read_text()
    until(lambda: psql(deployment, word, "CREATE DATABASE dagster", socket=True) == "", 60, deployment.said)


def psql(deployment: Deployment, password: str, query: str, socket: bool = False, mode: str = "verify-full") -> str:
    """What the server says to a query that does not go well; nothing where it does."""
    host = str(deployment.folder / "database") if socket else deployment.network.hosts["data"].address
    parts = [f"host={host}", f"port={deployment.ports['database']}", "user=usage_pipeline", "connect_timeout=5"]
    parts += ["dbname=postgres"] if socket else ["dbname=dagster", f"sslmode={mode}"]
    environment = {**deployment.environment, "PGPASSWORD": password}
    asked = subprocess.run(
        ["psql", " ".join(parts), "-c", query], env=environment, check=False, capture_output=True, text=True
    )
    return asked.stderr if asked.returncode else ""


def test_nobody_enters_without_password_and_tls(deployment: Deployment) -> None:
    secrets = Path(deployment.environment["SECRETS"])
    password = (secrets / "USAGE_PIPELINE_DATABASE_PASSWORD").read_text()
    until(lambda: psql(deployment, password, "SELECT 1") == "", 60, deployment.said)
    assert "password authentication failed" in psql(deployment, "guessed", "SELECT 1")
    assert "no pg_hba.conf entry" in psql(deployment, password, "SELECT 1", mode="disable")
    # Not even on the machine itself.
    assert "password authentication failed" in psql(deployment, "guessed", "SELECT 1", socket=True)
    deployment.environment["PGSSLROOTCERT"] = str(secrets / "broker.crt")
    try:
        assert "certificate verify failed" in psql(deployment, password, "SELECT 1")
    finally:
        deployment.environment["PGSSLROOTCERT"] = str(secrets / "ca.crt")

    url = (secrets / "USAGE_PIPELINE_BROKER").read_text()
    known = url.partition("@")[0] + "@"
    host = url.partition("@")[2].partition("/")[0]
    until(lambda: entered(url), 30, deployment.said)
    for wrong, why in [
        (url.replace(known, "rediss://"), redis.exceptions.AuthenticationError),
        (url.replace(known, "rediss://:guessed@"), redis.exceptions.AuthenticationError),
        (f"{known.replace('rediss', 'redis')}{host}/0", redis.exceptions.ConnectionError),
        (f"{known}{host}/0?ssl_cert_reqs=required", redis.exceptions.ConnectionError),
    ]:
        with pytest.raises(why):
            redis.Redis.from_url(wrong, socket_timeout=5).ping()


def entered(url: str) -> bool:
    try:
        return bool(redis.Redis.from_url(url, socket_timeout=5).ping())
    except redis.exceptions.ConnectionError:
        return False


YESTERDAY = datetime.now(UTC).date() - DAY
RANGE = Days(YESTERDAY - (364 if LONG else 30) * DAY, YESTERDAY)

# Parts of the addresses at which one step of several of a run asks.
IN_AVEVA, IN_LAUNCHDARKLY = "/billingcycles", "/total-mau"
AVEVA, LAUNCHDARKLY = "demo-aveva", "demo-launchdarkly"


def accounts(deployment: Deployment, base: str) -> tuple[Account, ...]:
    """The sandbox's accounts, with all that they tell by default, as accounts.yaml for all hosts."""
    written = yaml.safe_load(config.SANDBOX_ACCOUNTS.read_text())["accounts"]
    for entry in written:
        # That Consul's datacenters come and go is not the matter here.
        options = {**entry.get("options", {}), **({"datacenters": []} if entry["vendor"] == "consul" else {})}
        entry |= {"base_url": f"{base}/{entry['vendor']}", "options": options, "start_date": RANGE.first}
    file = Path(deployment.environment["USAGE_PIPELINE_ACCOUNTS"])
    file.write_text(yaml.safe_dump({"accounts": written}))
    found = config.read(file)
    assert not found.problems
    return found.accounts


def asked(account: Account, slug: str, clock: TurnableClock) -> Days:
    today = clock().date()
    return RANGE if pipeline.endpoint_of(account, slug).history is History.WINDOW else Days(today, today)


def undisturbed(home: Path, accounts: tuple[Account, ...], clock: TurnableClock) -> None:
    """What the backfills ask for, in one process and without Dagster."""
    place = contract_world.place(home, clock)
    for account in accounts:
        for slug in account.endpoints:
            pipeline.pull(place, account, slug, asked(account, slug, clock))


def backfill(deployment: Deployment, account: Account, clock: TurnableClock) -> str:
    """Launch, by the UI's own means, what `undisturbed` asks for of one account; gives the backfill's id."""
    selected = [
        {
            "assetKey": {"path": [what, account.name, slug]},
            "partitions": {"range": {"start": str(days.first), "end": str(days.last)}},
        }
        for slug in account.endpoints
        for days in [asked(account, slug, clock)]
        for what in ("raw", "usage")
    ]
    # The run whose worker goes is not started again where the gap sensor is to find what is missing.
    tags = [{"key": "dagster/max_retries", "value": "0"}] if account.name == LAUNCHDARKLY and not LONG else []
    told = ask(deployment.url, LAUNCH, asked={"partitionsByAssets": selected, "tags": tags})["launchPartitionBackfill"]
    assert told["__typename"] == "LaunchBackfillSuccess", told
    return str(told["backfillId"])


def rows(home: Path) -> list[dict[str, object]]:
    """The table without its accidents, and so without the moment at which the present was captured."""
    found = contract_world.table(home, USAGE, sorted(contract_world.ACCIDENTS - {"observed_at"}))
    return [
        {name: None if value == row["observed_at"] else value for name, value in row.items() if name != "observed_at"}
        for row in found
    ]


def loads(instance: dg.DagsterInstance, account: str, *statuses: DagsterRunStatus) -> list[dg.DagsterRun]:
    """The runs of an account, the oldest first."""
    found = instance.get_runs(dg.RunsFilter(statuses=list(statuses) or None))
    return [run for run in reversed(found) if any(key.path[1:2] == [account] for key in run.asset_selection or ())]


def process_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int:
    """Its number, which Dagster tells when it starts."""
    (told,) = [
        int(match[1])
        for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        if (match := re.search(r"Started process for run \(pid: (\d+)\)", entry.message))
    ]
    return told


def later(instance: dg.DagsterInstance, run: dg.DagsterRun, seconds: int) -> None:
    """That much time passes for one run."""
    storage: Any = instance.run_storage
    with storage.connect() as connection:
        connection.execute(
            sqlalchemy.text("UPDATE runs SET start_time = start_time - :seconds WHERE run_id = :run"),
            {"seconds": seconds, "run": run.run_id},
        )


@pytest.fixture
def instance(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage as the deployment has it."""
    secrets = Path(deployment.environment["SECRETS"])
    named = {name: value for name, value in deployment.environment.items() if name.startswith(("USAGE_", "PGSSL"))}
    named |= {file.name: file.read_text() for file in secrets.iterdir() if file.name.isupper()}
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_config(deployment.environment["DAGSTER_HOME"]) as found:
        yield found


def test_connections_are_kept_open(instance: dg.DagsterInstance) -> None:
    """Dagster itself opens one for each event, with a handshake and a password."""
    storage: Any = instance.event_log_storage
    opened: list[object] = []
    sqlalchemy.event.listen(storage._engine, "connect", lambda connection, _record: opened.append(connection))
    run = instance.create_run_for_job(dg.job(name="speaks")(lambda: None))
    for _event in range(20):
        instance.report_engine_event("a word", run)
    assert len(opened) <= 1
    instance.delete_run(run.run_id)


def test_a_backfill_ends_with_the_same_table_though_workers_die(
    deployment: Deployment, instance: dg.DagsterInstance, place: Path
) -> None:
    clock = TurnableClock(datetime.now(UTC))
    vendors = Held(clock)
    with hosts.on_loopback(vendors, list(deployment.network.hosts.values())) as base:
        configured = accounts(deployment, base)
        start(deployment)
        vendors.hold |= {IN_AVEVA, IN_LAUNCHDARKLY}
        launched = {account.name: backfill(deployment, account, clock) for account in configured}

        # Nobody has taken a run yet: what waits in the broker holds no secret.
        until(lambda: bool(messages(deployment)), PATIENCE, deployment.said)
        (kept,) = {name for text in messages(deployment) for name in secrets_in(deployment, text)} or {""}
        assert not kept

        deployment.work("one")
        deployment.work("two")
        until(lambda: IN_AVEVA in vendors.waiting, PATIENCE, deployment.said)

        # A process dies: Celery sees it, run monitoring asks Celery, and the run is started again.
        (run,) = loads(instance, AVEVA, DagsterRunStatus.STARTED)
        os.kill(process_of(instance, run), signal.SIGKILL)
        vendors.hold.remove(IN_AVEVA)
        until(lambda: status(instance, run) is DagsterRunStatus.FAILURE, PATIENCE, deployment.said)
        until(lambda: not loads(instance, AVEVA, *NOT_FINISHED_STATUSES), PATIENCE, deployment.said)
        assert loads(instance, AVEVA)[-1].parent_run_id == run.run_id

        # A whole worker dies, its processes too: for Celery, and so for Dagster, the run goes on.
        until(lambda: IN_LAUNCHDARKLY in vendors.waiting, PATIENCE, deployment.said)
        (run,) = loads(instance, LAUNCHDARKLY, DagsterRunStatus.STARTED)
        group = os.getpgid(process_of(instance, run))
        (lost,) = [name for name, worker in deployment.workers.items() if worker.pid == group]
        os.killpg(group, signal.SIGKILL)
        vendors.hold.clear()
        others = [account.name for account in configured if account.name != LAUNCHDARKLY]
        until(
            lambda: not any(loads(instance, name, *NOT_FINISHED_STATUSES) for name in others), PATIENCE, deployment.said
        )
        assert instance.run_launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
        assert status(instance, run) is DagsterRunStatus.STARTED

        # Its time is over: it is ended.
        later(instance, run, instance.run_monitoring_max_runtime_seconds)
        until(lambda: status(instance, run) is DagsterRunStatus.FAILURE, PATIENCE, deployment.said)
        if LONG:
            until(lambda: len(loads(instance, LAUNCHDARKLY)) > 1, PATIENCE, deployment.said)
            assert loads(instance, LAUNCHDARKLY)[-1].parent_run_id == run.run_id
        else:
            heal(deployment, instance, launched[LAUNCHDARKLY])
        until(lambda: not loads(instance, LAUNCHDARKLY, *NOT_FINISHED_STATUSES), PATIENCE, deployment.said)
        assert loads(instance, LAUNCHDARKLY)[-1].status is DagsterRunStatus.SUCCESS, deployment.said()
        assert lost in deployment.workers

        undisturbed(place / "undisturbed", configured, clock)
    expected, found = rows(place / "undisturbed"), rows(place / "home")
    assert len({row["vendor"] for row in found}) == 5
    assert found == expected


def start(deployment: Deployment) -> None:
    """All services but the workers."""
    deployment.done("migrate")
    deployment.done("setup")
    deployment.start("control", "code")
    until(lambda: serving.answers(deployment.folder / "run"), PATIENCE, deployment.said)
    deployment.start("control", "webserver")
    quick = [sys.executable, "-c", f"{DAEMON}; d.main()", *hosts.command("daemon", deployment.replaced)[1:]]
    deployment.start("control", "daemon", command=quick)
    until(lambda: up(deployment.url), PATIENCE, deployment.said)


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found
    return found.status


def messages(deployment: Deployment) -> list[str]:
    """What waits in the broker, as it is kept there, with what it holds in base64."""
    secrets = Path(deployment.environment["SECRETS"])
    broker = redis.Redis.from_url((secrets / "USAGE_PIPELINE_BROKER").read_text())
    lists = [key for key in broker.keys("dagster*") if broker.type(key) == b"list"]
    kept = [text.decode() for key in lists for text in broker.lrange(key, 0, -1)]
    return [text + base64.b64decode(json.loads(text)["body"]).decode() for text in kept]


def secrets_in(deployment: Deployment, text: str) -> list[str]:
    files = [file for file in Path(deployment.environment["SECRETS"]).iterdir() if file.name.isupper()]
    return [file.name for file in files if file.read_text() in text]


def heal(deployment: Deployment, instance: dg.DagsterInstance, launched: str) -> None:
    """Switch the gap sensor on once the backfill is over, and wait until it has asked for what is missing."""

    def over() -> bool:
        told = ask(deployment.url, STATUS, id=launched)["partitionBackfillOrError"]["status"]
        return str(told).startswith(("COMPLETED", "FAILED"))

    until(over, PATIENCE, deployment.said)
    selector = {
        "repositoryName": "__repository__",
        "repositoryLocationName": "usage_pipeline",
        "sensorName": sensors.NAME,
    }
    told = ask(deployment.url, START_SENSOR, selector=selector)["startSensor"]
    assert told["__typename"] == "Sensor", told
    by_sensor = dg.RunsFilter(tags={"dagster/sensor_name": sensors.NAME})
    until(lambda: bool(instance.get_runs(by_sensor)), PATIENCE, deployment.said)
