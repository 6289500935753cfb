"""What tests know of an object store: its keys, made up, and to be found nowhere, and what it holds."""

from __future__ import annotations

from pathlib import Path

import obstore
from obstore.store import from_url

KEY, SECRET = "CANARYKEY0021", "canary-s3+secret/0022"


def variables(url: str) -> dict[str, str]:
    """The variables that open the store, as on any machine but for the unencrypted connection."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ALLOW_HTTP": "true",
    }


def names(address: str) -> set[str]:
    """Every object below an address."""
    return {entry["path"] for batch in obstore.list(from_url(address)) for entry in batch}


def copy(address: str, folder: Path) -> None:
    """Every object below an address, as files below a folder."""
    store = from_url(address)
    for name in names(address):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(obstore.get(store, name).bytes()))


def delete(address: str) -> None:
    """Every object below an address."""
    obstore.delete(from_url(address), sorted(names(address)))
