"""Commands that serve: the demo, Dagster for development, the sandbox."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from usage_pipeline.cli.base import Outside, complain, console, main
from usage_pipeline.contract.errors import UsageError


@main.command()
@click.pass_obj
def demo(outside: Outside) -> None:
    """Load 90 days of five invented vendors through Dagster, and show what can be asked. Takes a minute or two."""
    from rich.console import Console

    from usage_pipeline.demo import run

    run(outside.place.home, outside.clock(), console(Console))


@main.command()
@click.option("--port", default=3000, show_default=True, help="Port of the UI on loopback.")
@click.pass_obj
def dev(outside: Outside, port: int) -> None:
    """Serve the Dagster UI on loopback and run its daemon, until Ctrl-C.

    On accounts.yaml, or, where there is none, on the sandbox, which is served too.
    """
    from usage_pipeline import alerting, config, pipeline
    from usage_pipeline.orchestration import serving
    from usage_pipeline.orchestration.instance import prepare
    from usage_pipeline.sandbox import server

    environment = dict(outside.environment)
    home = outside.place.home
    pipeline.upgrade(outside.place)
    with ExitStack() as stack:
        if config.find(environment) == config.SANDBOX_ACCOUNTS:
            click.echo(f"There is no accounts.yaml: this is the sandbox, at {stack.enter_context(_sandbox(outside))}.")
            environment |= server.environment()
        for problem in outside.configuration.problems:
            complain(str(problem))
        pools = [account.name for account in outside.configuration.accounts]
        folder = prepare(home, pools, partial(click.echo, err=True))
        environment |= {"DAGSTER_HOME": str(folder), config.HOME_VARIABLE: str(home)}
        environment.setdefault(alerting.UI_VARIABLE, f"http://127.0.0.1:{port}")
        sockets = Path(stack.enter_context(TemporaryDirectory(prefix="usage-pipeline-")))
        click.echo(f"Dagster is at http://127.0.0.1:{port} in a moment. Ctrl-C ends it.")
        _together(
            serving.code_server(sockets),
            serving.clients(sockets, port),
            environment,
            ready=lambda: serving.answers(sockets),
        )


def _sandbox(outside: Outside) -> AbstractContextManager[str]:
    """The sandbox where its accounts.yaml looks for it."""
    from usage_pipeline.sandbox import server

    return server.serving(outside.clock, server.PORT)


def _together(
    first: Sequence[str], others: Sequence[Sequence[str]], environment: Mapping[str, str], ready: Callable[[], bool]
) -> None:
    """Run the first command, and the others when it is ready, until Ctrl-C or until one ends; then stop all.

    Raises UsageError when one ended by itself.
    """
    import signal
    import subprocess

    def start(command: Sequence[str]) -> subprocess.Popen[bytes]:
        # In a session of its own: Ctrl-C comes here first, and each is told to stop once.
        return subprocess.Popen(command, env=dict(environment), start_new_session=True)  # noqa: S603 - our own programs

    def stop(*_args: object) -> None:
        raise KeyboardInterrupt

    # What service managers send; Ctrl-C raises the same by itself.
    before = signal.signal(signal.SIGTERM, stop)
    children: list[subprocess.Popen[bytes]] = []
    try:
        children.append(start(first))
        while children[0].poll() is None and not ready():
            with suppress(subprocess.TimeoutExpired):
                children[0].wait(0.1)
        children += map(start, others if children[0].poll() is None else ())
        while all(child.poll() is None for child in children):
            with suppress(subprocess.TimeoutExpired):
                children[0].wait(1)
        raise UsageError("one of Dagster's processes ended; its reason stands above")
    except KeyboardInterrupt:
        return
    finally:
        # The first last, and when nobody asks it any more: it would wait for the answers that it owes.
        for ending in (children[1:], children[:1]):
            for child in ending:
                child.terminate()
            for child in ending:
                try:
                    child.wait(20)
                except subprocess.TimeoutExpired:
                    child.kill()
        signal.signal(signal.SIGTERM, before)


@main.command()
@click.option("--port", default=8750, show_default=True, help="Port on loopback.")
@click.option(
    "--fault",
    "told",
    multiple=True,
    metavar="KIND",
    help="What goes wrong, such as '503', or '429-date path=/puppet at=2 times=3'; may repeat. '?' tells the kinds.",
)
@click.pass_obj
def sandbox(outside: Outside, port: int, told: tuple[str, ...]) -> None:
    """Serve the five vendors' APIs on loopback, with invented data, until Ctrl-C."""
    from usage_pipeline.sandbox import faults, server

    try:
        wrong = faults.Faults(map(faults.read, told))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--fault") from None
    with server.serving(outside.clock, port, wrong) as address:
        click.echo(
            f"The sandbox is at {address}. Its accounts are in usage_pipeline/sandbox/accounts.yaml; for them, set"
        )
        for name, value in server.environment().items():
            click.echo(f"export {name}={value}")
        _until_stopped()


def _until_stopped() -> None:
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
