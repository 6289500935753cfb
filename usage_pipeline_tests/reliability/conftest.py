"""What crashes and concurrency need: the same vendors twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from usage_pipeline_tests import contract_world as world


@pytest.fixture(scope="module")
def vendors() -> Iterator[world.Vendors]:
    with world.twice() as found:
        yield found
