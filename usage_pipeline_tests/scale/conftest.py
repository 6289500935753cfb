"""An object store for the tests of this folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from usage_pipeline_tests.scale import buckets


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The address of a bucket, and the variables in this process's environment that open it."""
    pytest.importorskip("moto", reason="needs moto's S3 server, of the dev group")
    with subprocess.Popen(
        [sys.executable, "-m", "usage_pipeline_tests.scale.s3_server"], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout
            variables = buckets.variables(f"http://127.0.0.1:{int(server.stdout.readline())}")
            with pytest.MonkeyPatch.context() as patch:
                for name, value in variables.items():
                    patch.setenv(name, value)
                httpx.put(f"{variables['AWS_ENDPOINT_URL']}/lake").raise_for_status()
                yield "s3://lake"
        finally:
            server.kill()
