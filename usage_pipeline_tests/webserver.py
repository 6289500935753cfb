"""Dagster's webserver, as a test asks it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

LAUNCH = """
mutation ($asked: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $asked) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
STATUS = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status error { message } }
    ... on PythonError { message }
  }
}
"""


def ask(url: str, query: str, **variables: Any) -> dict[str, Any]:
    """What GraphQL answers; fails where it tells an error."""
    body = httpx.post(f"{url}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
    assert "errors" not in body, body
    data: dict[str, Any] = body["data"]
    return data


def up(url: str) -> bool:
    """Whether it answers."""
    try:
        return httpx.get(f"{url}/server_info", timeout=5).is_success
    except httpx.TransportError:
        return False


def until(happened: Callable[[], bool], seconds: float, hanging: Callable[[], str]) -> None:
    """Look every half second. Fails with what hangs when the time is over."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            pytest.fail(f"after {seconds:.0f} s: {hanging()}")
        time.sleep(0.5)
