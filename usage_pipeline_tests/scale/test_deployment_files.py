"""What deploy/ holds, read as Docker, Kubernetes, Dagster and nginx would read it, and held against its promises."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from dagster._core.instance.ref import InstanceRef
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from usage_pipeline.orchestration import instance, serving
from usage_pipeline_tests.conftest import served
from usage_pipeline_tests.scale import hosts
from usage_pipeline_tests.scale.hosts import COMPOSE, DEPLOY
from usage_pipeline_tests.webserver import until

KUBERNETES = DEPLOY / "kubernetes"
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SETTINGS: dict[str, Any] = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
VALUES: dict[str, Any] = yaml.safe_load((KUBERNETES / "values.yaml").read_text())
MANIFESTS: dict[str, dict[str, Any]] = {
    f"{file.stem}-{manifest['kind']}-{manifest['metadata']['name']}": manifest
    for file in sorted(KUBERNETES.glob("*.yaml"))
    if file.stem not in {"values", "run-launcher"}
    for manifest in yaml.safe_load_all(file.read_text())
}

PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+[\w.-]*")
SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|_KEY|BROKER")


def test_only_the_proxy_is_reached_from_outside() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"proxy"}
    assert not any("network_mode" in service for service in SERVICES.values())
    on = {name: set(service["networks"]) for name, service in SERVICES.items()}
    # The webserver knows no password: on its way to the proxy there is nobody else.
    assert {name for name, networks in on.items() if "ui" in networks} == {"webserver", "proxy"}
    assert "inside" not in on["proxy"]
    assert COMPOSE["networks"]["ui"] == {"internal": True}
    # Nor does the code server: it is a socket.
    assert not {"--port", "-p", "--host", "-h"} & set(SERVICES["code"]["command"])
    workspace = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())
    [location] = [entry["grpc_server"] for entry in workspace["load_from"]]
    socket = SERVICES["code"]["command"][SERVICES["code"]["command"].index("--socket") + 1]
    assert location == {"socket": socket, "location_name": serving.LOCATION}


def test_more_hosts_reach_database_and_broker_on_the_private_network_alone() -> None:
    more = yaml.safe_load((DEPLOY / "compose.hosts.yaml").read_text())["services"]
    assert set(more) == {"database", "broker"}
    assert all(port.startswith("${PRIVATE_ADDRESS:?") for service in more.values() for port in service["ports"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_and_confined(name: str) -> None:
    service = SERVICES[name]
    assert PINNED.fullmatch(service["image"])
    if name != "database":  # its image begins as root, and goes on as postgres
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_secret_is_a_file_and_nothing_else(name: str) -> None:
    service = SERVICES[name]
    assert set(service["secrets"]) <= set(COMPOSE["secrets"])
    for variable, value in service.get("environment", {}).items():
        assert not SECRET.search(variable) or str(value).startswith("/run/secrets/"), variable
    words = " ".join([*service.get("command", []), *service.get("entrypoint", [])])
    for secret in re.findall(r"/run/secrets/([\w.]+)", words):
        assert secret in service["secrets"]


def test_secrets_are_references_and_kept_out_of_git() -> None:
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())
    ignored = (DEPLOY / ".gitignore").read_text().split()
    assert {Path(secret["file"]).parts[0] for secret in COMPOSE["secrets"].values()} == {"secrets"}
    assert {"/secrets/", "/accounts.yaml"} <= set(ignored)
    for config in COMPOSE["configs"].values():
        assert (DEPLOY / config["file"]).exists() or config["file"] == "./accounts.yaml"


def test_database_and_broker_want_tls_and_a_password() -> None:
    rules = [line.split() for line in (DEPLOY / "pg_hba.conf").read_text().splitlines() if line[:1] not in {"", "#"}]
    assert {rule[0] for rule in rules} == {"local", "hostssl"}
    assert {rule[-1] for rule in rules} == {"scram-sha-256"}
    broker = SERVICES["broker"]["command"]
    assert broker[broker.index("--port") + 1] == "0"
    assert "/run/secrets/broker.conf" in broker
    assert SETTINGS["storage"]["postgres"]["postgres_db"]["params"] == {"sslmode": "verify-full"}


def leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every value of a document, with its own name."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for name, value in items:
        if isinstance(value, dict | list):
            yield from leaves(value)
        else:
            yield str(name), value


def test_the_settings_hold_no_secret() -> None:
    database = SETTINGS["storage"]["postgres"]["postgres_db"]
    assert database["password"] == {"env": "USAGE_PIPELINE_DATABASE_PASSWORD"}
    launcher = SETTINGS["run_launcher"]["config"]
    assert launcher["broker"] == launcher["backend"] == {"env": "USAGE_PIPELINE_BROKER"}


def test_the_settings_are_those_of_one_machine_but_for_what_more_hosts_need() -> None:
    one = yaml.safe_load(instance.SETTINGS.read_text())
    same = {name for name in SETTINGS.keys() & one.keys() if SETTINGS[name] == one[name]}
    assert same == {"telemetry", "nux", "instance_class", "run_retries", "retention"}
    assert SETTINGS.keys() - one.keys() == {"storage", "run_launcher", "compute_logs"}
    assert one.keys() <= SETTINGS.keys()
    assert SETTINGS["run_monitoring"]["max_runtime_seconds"] == one["run_monitoring"]["max_runtime_seconds"]
    # A run that waits for a process counts as starting.
    worker = SERVICES["worker"]
    processes = int(worker["command"][worker["command"].index("--concurrency") + 1]) * worker["deploy"]["replicas"]
    assert SETTINGS["concurrency"]["runs"]["max_concurrent_runs"] <= processes
    lasts = SETTINGS["run_launcher"]["config"]["config_source"]["result_expires"]
    assert lasts > SETTINGS["run_monitoring"]["max_runtime_seconds"]


def chart(values: dict[str, Any]) -> dict[str, Any]:
    """The dagster.yaml that Dagster's chart makes of values: its templates for what is used here."""
    database = values["postgresql"]
    connection = {
        "hostname": database["postgresqlHost"],
        "username": database["postgresqlUsername"],
        "password": {"env": "DAGSTER_PG_PASSWORD"},
        "db_name": database["postgresqlDatabase"],
        "port": database["service"]["port"],
        "params": database["postgresqlParams"],
        "scheme": database["postgresqlScheme"],
    }
    assert not any(
        values["dagsterDaemon"][part]["enabled"] for part in ("runCoordinator", "runMonitoring", "runRetries")
    )
    kept = {
        kind: {"purge_after_days": values["retention"][name]["purgeAfterDays"]}
        for kind, name in (("schedule", "schedule"), ("sensor", "sensor"), ("auto_materialize", "autoMaterialize"))
    }
    return {
        "storage": {"postgres": {"postgres_db": connection}},
        "run_launcher": values["runLauncher"]["config"]["customRunLauncher"],
        "compute_logs": values["computeLogManager"]["config"]["customComputeLogManager"],
        "telemetry": values["telemetry"],
        "retention": kept,
        **values["additionalInstanceConfig"],
    }


def test_kubernetes_has_the_same_settings() -> None:
    of_chart = chart(VALUES)
    ours = {name: value for name, value in of_chart.items() if name != "storage"}
    assert ours == {name: value for name, value in SETTINGS.items() if name != "storage"}
    here, there = (one["storage"]["postgres"]["postgres_db"] for one in (SETTINGS, of_chart))
    assert here.keys() == there.keys()
    assert {name: here[name] for name in ("scheme", "params", "port")} == {
        name: there[name] for name in ("scheme", "params", "port")
    }


@pytest.mark.parametrize("settings", [SETTINGS, chart(VALUES)], ids=["compose", "kubernetes"])
def test_dagster_takes_the_settings(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = pytest.importorskip("dagster_celery.launcher", reason="needs the packages of the extra `cluster`")
    pytest.importorskip("dagster_postgres", reason="needs the packages of the extra `cluster`")
    broker = "rediss://:drawn-at-random@broker:6379/0?ssl_cert_reqs=required&ssl_ca_certs=/run/secrets/ca.crt"
    for name, value in {
        "USAGE_PIPELINE_BROKER": broker,
        "USAGE_PIPELINE_DATABASE_HOST": "database",
        "USAGE_PIPELINE_DATABASE_PASSWORD": "drawn-at-random",
        "USAGE_PIPELINE_LOGS": str(tmp_path / "logs"),
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    found = InstanceRef.from_dir(str(tmp_path))
    taken = found.run_launcher
    assert isinstance(taken, launcher.CeleryRunLauncher)
    assert taken.celery.conf.broker_url == taken.celery.conf.result_backend == broker
    assert taken.celery.conf.worker_disable_prefetch
    assert found.compute_log_manager
    # What travels in Celery's messages.
    assert "drawn-at-random" not in str(found.to_dict())


def test_values_and_manifests_name_secrets_only() -> None:
    documents = [VALUES, *MANIFESTS.values()]
    for document in documents:
        for name, value in leaves(document):
            assert not SECRET.search(name), name
            assert "drawn" not in str(value)
        assert document.get("kind") != "Secret"
    assert VALUES["postgresql"]["enabled"] is False
    assert "postgresqlPassword" not in VALUES["postgresql"]
    assert VALUES["dagsterWebserver"]["service"]["type"] == "ClusterIP"
    assert "ingress" not in VALUES


@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_is_one(manifest: dict[str, Any]) -> None:
    models = pytest.importorskip("dagster_k8s.models", reason="needs the packages of the extra `kubernetes`")
    client = pytest.importorskip("kubernetes.client")
    if manifest["apiVersion"].startswith("external-secrets.io/"):
        assert manifest["spec"].keys() == {"secretStoreRef", "target"} | (
            manifest["spec"].keys() & {"data", "dataFrom"}
        )
        return
    # Refuses what Kubernetes does not know.
    model = getattr(client, f"V1{manifest['kind']}")
    models.k8s_model_from_dict(model, models.k8s_snake_case_dict(model, manifest))
    for pod in [manifest["spec"]["template"]["spec"]] if "template" in manifest.get("spec", {}) else []:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert PINNED.fullmatch(container["image"])
            assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_the_kubernetes_run_launcher_takes_its_part() -> None:
    k8s = pytest.importorskip("dagster_k8s", reason="needs the packages of the extra `kubernetes`")
    job = pytest.importorskip("dagster_k8s.job")
    part = yaml.safe_load((KUBERNETES / "run-launcher.yaml").read_text())["runLauncher"]
    assert part["type"] == "K8sRunLauncher"
    config = part["config"]["k8sRunLauncher"]
    [deployment] = VALUES["dagster-user-deployments"]["deployments"]
    assert deployment["includeConfigInLaunchedRuns"] == {"enabled": True}
    raw = {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): value for name, value in config["runK8sConfig"].items()}
    taken = job.UserDefinedDagsterK8sConfig.from_dict(raw)
    assert taken.job_spec_config["backoff_limit"] == 0
    assert "run_k8s_config" in k8s.K8sRunLauncher.config_type()


def test_images_are_the_same_everywhere() -> None:
    version = COMPOSE["x-ours"]["image"].partition(":")[2]
    assert f'version = "{version}"' in (hosts.ROOT / "pyproject.toml").read_text()
    assert VALUES["dagsterWebserver"]["image"]["tag"] == version
    found = {
        container["image"].rpartition(":")[2]
        for manifest in MANIFESTS.values()
        for container in manifest.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
        if "usage-pipeline" in container["image"]
    }
    assert found == {version}


def test_the_image_has_what_it_copies() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY "):
            assert all((hosts.ROOT / path).exists() for path in line.split()[1:-1])
    [base] = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert PINNED.fullmatch(base)
    assert "USER 10001" in lines


def entered(secrets: str) -> str:
    """The environment of a process that the entry point starts."""
    told = subprocess.run(
        ["sh", str(DEPLOY / "entrypoint.sh"), "env"],
        env={"SECRETS": secrets, "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
    )
    return told.stdout


def test_secrets_become_variables_of_one_process(tmp_path: Path) -> None:
    (tmp_path / "SOME_TOKEN").write_text("it is $HOME `id` 'quoted'\n")
    (tmp_path / "ca.crt").write_text("no variable")
    told = entered(str(tmp_path))
    assert "SOME_TOKEN=it is $HOME `id` 'quoted'\n" in told
    assert "no variable" not in told
    assert "TOKEN" not in entered("/nowhere")


def test_secrets_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl command to make certificates")
    folder = tmp_path / "secrets"
    make = ["sh", str(DEPLOY / "secrets.sh"), str(folder)]
    subprocess.run(make, check=True, capture_output=True)
    made = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    needed = {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    # The rest is yours: the vendors' credentials, and the UI's certificate and names.
    assert needed - made.keys() == {"ui.crt", "ui.key", "ui.htpasswd", "LAUNCHDARKLY_ACCESS_TOKEN"}
    password = made["broker.conf"].split()[1]
    assert len(password) == 64
    assert made["USAGE_PIPELINE_BROKER"].startswith(
        b"rediss://:" + password + b"@broker:6379/0?ssl_cert_reqs=required&"
    )
    subprocess.run(make, check=True, capture_output=True)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == made


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((hosts.LOOPBACK, port)) == 0


@pytest.fixture
def proxy(tmp_path: Path, certificate: Path) -> Iterator[str]:
    """nginx with the shipped settings, before a UI that tells what it was sent."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not nginx:
        pytest.skip("needs nginx (Debian: apt-get install nginx-light)")

    def tell(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"the UI, {request.headers.get('authorization', 'without a password')}")

    port = hosts.free_port()
    password = subprocess.run(
        ["openssl", "passwd", "-apr1", "opens"], check=True, capture_output=True, text=True
    ).stdout.strip()
    (tmp_path / "ui.htpasswd").write_text(f"alice:{password}\n")
    shutil.copy(certificate / "cert.pem", tmp_path / "ui.crt")
    shutil.copy(certificate / "key.pem", tmp_path / "ui.key")
    with served(Starlette(routes=[Route("/{path:path}", tell, methods=["GET", "POST"])])) as base:
        text = (DEPLOY / "nginx.conf").read_text().replace("/tmp/", f"{tmp_path}/")
        text = text.replace("/run/secrets", str(tmp_path)).replace("http://webserver:3000", base)
        text = text.replace("listen 8443", f"listen {hosts.LOOPBACK}:{port}")
        # As root, nginx would read the names as another user.
        user = "user root;\n" if os.geteuid() == 0 else ""
        (tmp_path / "nginx.conf").write_text(user + text)
        served_by = [nginx, "-c", str(tmp_path / "nginx.conf"), "-e", "stderr", "-g", "daemon off;"]
        process = subprocess.Popen(served_by, stdout=subprocess.DEVNULL)
        try:
            until(lambda: listens(port) or process.poll() is not None, 30, lambda: "nginx does not listen")
            assert process.poll() is None
            yield f"https://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def test_the_proxy_lets_in_who_knows_the_password(proxy: str, certificate: Path) -> None:
    trusted = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    transport = httpx.HTTPTransport(verify=trusted)
    with httpx.Client(transport=transport, base_url=proxy) as client:
        for path in ("/", "/graphql", "/server_info", "/logs"):
            assert client.get(path).status_code == 401
            assert client.post(path, json={}).status_code == 401
            assert client.get(path, auth=("alice", "guessed")).status_code == 401
        entered = client.get("/graphql", auth=("alice", "opens"))
        assert entered.text == "the UI, without a password"
        assert entered.headers["strict-transport-security"]
    with pytest.raises(httpx.HTTPError):
        httpx.get(proxy.replace("https", "http")).raise_for_status()
