"""Secrets that are looked for: made up, accepted by the sandbox, and found again in whatever form they were written."""

from __future__ import annotations

import base64
import html
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, quote_plus

import pyarrow.parquet as pq
import pytest
import zstandard

from usage_pipeline.sandbox import aveva, consul, launchdarkly, puppet, thousandeyes
from usage_pipeline.sandbox.launchdarkly import lists

# Characters that addresses and base64 write otherwise.
CANARIES = {
    "CONSUL_TOKEN": "canary-consul+token/0001",
    "AVEVA_CLIENT_ID": "canary-aveva+client/0002",
    "AVEVA_CLIENT_SECRET": "canary-aveva+secret/0003",
    "THOUSANDEYES_EMAIL": "canary-0004@sandbox.example",
    "THOUSANDEYES_TOKEN": "canary-thousandeyes+token/0005",
    "THOUSANDEYES_BEARER": "canary-thousandeyes+bearer/0006",
    "LAUNCHDARKLY_TOKEN": "canary-launchdarkly+token/0007",
    "PUPPET_TOKEN": "canary-puppet+token/0008",
}
"""By the variable that holds it."""

SDK_KEYS = ("canary-sdk-key-0011", "canary-mobile-key-0012")
"""What LaunchDarkly tells of its own."""


def planted(patch: pytest.MonkeyPatch) -> None:
    """Make the sandbox accept the canaries, and nothing else."""
    patch.setattr(consul, "TOKEN", CANARIES["CONSUL_TOKEN"])
    patch.setattr(aveva, "CLIENT_ID", CANARIES["AVEVA_CLIENT_ID"])
    patch.setattr(aveva, "CLIENT_SECRET", CANARIES["AVEVA_CLIENT_SECRET"])
    patch.setattr(thousandeyes, "EMAIL", CANARIES["THOUSANDEYES_EMAIL"])
    patch.setattr(thousandeyes, "TOKEN", CANARIES["THOUSANDEYES_TOKEN"])
    patch.setattr(thousandeyes, "BEARER_TOKEN", CANARIES["THOUSANDEYES_BEARER"])
    patch.setattr(launchdarkly, "TOKEN", CANARIES["LAUNCHDARKLY_TOKEN"])
    patch.setattr(puppet, "TOKEN", CANARIES["PUPPET_TOKEN"])
    told = lists.environment

    def environment(project: str, key: str) -> dict[str, object]:
        return told(project, key) | {"apiKey": SDK_KEYS[0], "mobileKey": SDK_KEYS[1]}

    patch.setattr(lists, "environment", environment)


def forms(secret: str) -> set[bytes]:
    """How a secret may stand in what was written: as it is, in an address, in a page, in base64 at any offset."""
    texts = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), html.escape(secret)}
    packed = set()
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + secret.encode()).decode()
        # The ends depend on what stands beside it.
        inner = coded[4 if before else 0 : -4]
        packed |= {inner, quote(inner, safe=""), inner.replace("+", "-").replace("/", "_")}
    return {text.encode() for text in texts | packed}


def written(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, and what is in those that pack their content."""
    for file in sorted(folder.rglob("*")):
        if not file.is_file():
            continue
        body = file.read_bytes()
        name = str(file.relative_to(folder))
        yield name, name.encode() + b"\n" + body
        if file.suffix == ".zst":
            yield f"{name} unpacked", zstandard.ZstdDecompressor().decompress(body)
        elif file.suffix == ".parquet":
            yield f"{name} unpacked", str(pq.read_table(file).to_pylist()).encode()
        elif body.startswith(b"SQLite format 3\0"):
            with closing(sqlite3.connect(file)) as session:
                yield f"{name} unpacked", "\n".join(session.iterdump()).encode()


def found(folder: Path, secrets: list[str]) -> list[str]:
    """Where a secret was written, in whatever form."""
    looked_for = {form: secret for secret in secrets for form in forms(secret)}
    return [
        f"{secret} in {name}" for name, text in written(folder) for form, secret in looked_for.items() if form in text
    ]
