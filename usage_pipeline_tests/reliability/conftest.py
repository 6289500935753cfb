"""What crashes and concurrency need: the same vendors twice, who tell different numbers for the same days."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from usage_pipeline.sandbox import server
from usage_pipeline.sandbox.world import World
from usage_pipeline_tests import contract_world as world
from usage_pipeline_tests.conftest import TurnableClock, served


@dataclass(frozen=True, slots=True)
class Vendors:
    """The clock is that of both, and a test sets it first."""

    clock: TurnableClock
    bases: tuple[str, str]


@pytest.fixture(scope="module")
def vendors() -> Iterator[Vendors]:
    clock = TurnableClock()
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        world.unlimited(patch)
        first, second = (stack.enter_context(served(server.app(World(clock, seed=seed)))) for seed in (1, 2))
        yield Vendors(clock, (first, second))
