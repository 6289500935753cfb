"""Commands that serve: the demo, Dagster for development, the sandbox."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress

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
    from usage_pipeline import config
    from usage_pipeline.orchestration.instance import prepare
    from usage_pipeline.sandbox import server

    environment = dict(outside.environment)
    home = outside.place.home
    with ExitStack() as stack:
        if config.find(environment) == config.SANDBOX_ACCOUNTS:
            click.echo(f"There is no accounts.yaml: this is the sandbox, at {stack.enter_context(_sandbox(outside))}.")
            environment |= server.environment()
        for problem in outside.configuration.problems:
            complain(str(problem))
        pools = [account.name for account in outside.configuration.accounts]
        environment |= {"DAGSTER_HOME": str(prepare(home, pools)), config.HOME_VARIABLE: str(home)}
        code = ["-m", "usage_pipeline.definitions"]
        click.echo(f"Dagster is at http://127.0.0.1:{port}. Ctrl-C ends it.")
        _together(
            [
                [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), *code],
                [sys.executable, "-m", "dagster._daemon", "run", *code],
            ],
            environment,
        )


def _sandbox(outside: Outside) -> AbstractContextManager[str]:
    """The sandbox where its accounts.yaml looks for it."""
    from usage_pipeline.sandbox import server

    return server.serving(outside.clock, server.PORT)


def _together(commands: Sequence[Sequence[str]], environment: Mapping[str, str]) -> None:
    """Run the commands until Ctrl-C or until one ends, and stop all. Raises UsageError when one ended by itself."""
    import signal
    import subprocess

    def stop(*_args: object) -> None:
        raise KeyboardInterrupt

    # What service managers send; Ctrl-C raises the same by itself.
    before = signal.signal(signal.SIGTERM, stop)
    children = []
    try:
        # In a session of their own: Ctrl-C comes here first, and each is told to stop once.
        children = [
            subprocess.Popen(command, env=dict(environment), start_new_session=True)  # noqa: S603 - our own programs
            for command in commands
        ]
        while all(child.poll() is None for child in children):
            with suppress(subprocess.TimeoutExpired):
                children[0].wait(1)
        raise UsageError("the webserver or the daemon ended; its reason stands above")
    except KeyboardInterrupt:
        return
    finally:
        for child in children:
            child.terminate()
        for child in children:
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
        signal.signal(signal.SIGTERM, before)


@main.command()
@click.option("--port", default=8750, show_default=True, help="Port on loopback.")
@click.pass_obj
def sandbox(outside: Outside, port: int) -> None:
    """Serve the five vendors' APIs on loopback, with invented data, until Ctrl-C."""
    from usage_pipeline.sandbox import server

    with server.serving(outside.clock, port) as address:
        click.echo(
            f"The sandbox is at {address}. Its accounts are in usage_pipeline/sandbox/accounts.yaml; for them, set"
        )
        for name, value in server.environment().items():
            click.echo(f"export {name}={value}")
        _until_stopped()


def _until_stopped() -> None:
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
