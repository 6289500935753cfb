"""The raw store: every answer byte for byte, with a receipt.

raw/<vendor>/<account>/<endpoint>/<first>--<last>/<landed_at>-<id>/
    000.json.zst ...   the bodies, compressed
    receipt.json       the requests and answers; written last, so that it makes the landing whole
    failure.json       the same for a landing that failed: kept for people, never normalised
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import obstore
import zstandard
from obstore.store import LocalStore, ObjectStore, from_url

from usage_pipeline.contract.answer import Answer, Landing, Pairs, Request
from usage_pipeline.contract.errors import UsageError
from usage_pipeline.contract.time import Days

RECEIPT, FAILURE = "receipt.json", "failure.json"
LEVEL = 3
PRIVATE_FOLDER, PRIVATE_FILE, OTHERS = 0o700, 0o600, 0o077
STAMP = "%Y%m%dT%H%M%S.%fZ"


class Kept(msgspec.Struct):
    """One answer in a receipt."""

    file: str
    response_id: str
    path: str
    params: Pairs
    request_headers: Pairs
    part: str
    url: str
    status: int
    headers: dict[str, str]
    fetched_at: datetime
    sha256: str
    bytes: int


class Receipt(msgspec.Struct):
    """What was asked, and what came back."""

    vendor: str
    account: str
    endpoint: str
    first: date
    last: date
    landed_at: datetime
    options: dict[str, Any]
    answers: list[Kept]
    error: str = ""
    unavailable: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """A landing or a failure in the store, known by its name alone; the order is that of landing."""

    landed_at: str
    path: str
    days: Days

    @property
    def failed(self) -> bool:
        return self.path.endswith(f"/{FAILURE}")

    @property
    def at(self) -> datetime:
        """When it was asked for."""
        return datetime.strptime(self.landed_at.partition("-")[0], STAMP).replace(tzinfo=UTC)


class CorruptError(UsageError):
    """A raw answer is not the one that its receipt describes."""


def store(root: str) -> ObjectStore:
    """The object store at a folder or an address such as s3://bucket/prefix."""
    if "://" in root:
        return from_url(f"{root.rstrip('/')}/raw")
    folder = Path(root).absolute() / "raw"
    folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    _make_private(folder)
    return LocalStore(folder)


def _make_private(folder: Path) -> None:
    """What an older program kept for others to read becomes its owner's alone; one look a vendor where it is that."""
    for kept in (*folder.iterdir(), folder):
        if not kept.stat().st_mode & OTHERS:
            continue
        for path in kept.rglob("*"):
            with suppress(FileNotFoundError):  # one that was being written has its own name by now
                path.chmod(PRIVATE_FOLDER if path.is_dir() else PRIVATE_FILE)
        # Last: if this is cut short, it begins anew.
        kept.chmod(PRIVATE_FOLDER)


def _make_folder(to: ObjectStore, folder: str) -> None:
    """The folders of a landing, each for its owner alone; an object store has none."""
    if isinstance(to, LocalStore):
        at = Path(str(to.prefix))
        for name in folder.split("/"):
            at /= name
            at.mkdir(exist_ok=True, mode=PRIVATE_FOLDER)


def _put(to: ObjectStore, path: str, body: bytes) -> None:
    obstore.put(to, path, body)
    if isinstance(to, LocalStore):
        (Path(str(to.prefix)) / path).chmod(PRIVATE_FILE)


def _folder(landing: Landing) -> str:
    where = f"{landing.vendor}/{landing.account}/{landing.endpoint}/{landing.days.first}--{landing.days.last}"
    named = landing.answers[0].response_id if landing.answers else "none"
    return f"{where}/{landing.landed_at.strftime(STAMP)}-{named}"


def write(to: ObjectStore, landing: Landing, error: str = "", *, unavailable: bool = False) -> str:
    """Keep a landing, and say where. `error` marks one that failed, `unavailable` one that the vendor does not tell."""
    folder = _folder(landing)
    compress = zstandard.ZstdCompressor(level=LEVEL).compress
    kept = []
    _make_folder(to, folder)
    for number, answer in enumerate(landing.answers):
        file = f"{number:03}.{'xml' if answer.is_xml else 'json'}.zst"
        _put(to, f"{folder}/{file}", compress(answer.body))
        kept.append(
            Kept(
                file=file,
                response_id=answer.response_id,
                path=answer.request.path,
                params=answer.request.params,
                request_headers=answer.request.headers,
                part=answer.request.part,
                url=answer.url,
                status=answer.status,
                headers=dict(answer.headers),
                fetched_at=answer.fetched_at,
                sha256=answer.sha256,
                bytes=len(answer.body),
            )
        )
    receipt = Receipt(
        vendor=landing.vendor,
        account=landing.account,
        endpoint=landing.endpoint,
        first=landing.days.first,
        last=landing.days.last,
        landed_at=landing.landed_at,
        options=dict(landing.options),
        answers=kept,
        error=error,
        unavailable=unavailable,
    )
    _put(to, f"{folder}/{FAILURE if error else RECEIPT}", msgspec.json.format(msgspec.json.encode(receipt)))
    return folder


def find(to: ObjectStore, vendor: str, account: str, endpoint: str, days: Days) -> list[Reference]:
    """The whole landings that cover any of the days, oldest first."""
    return [
        found
        for found in attempts(to, vendor, account, endpoint)
        if not found.failed and found.days.first <= days.last and found.days.last >= days.first
    ]


def attempts(to: ObjectStore, vendor: str, account: str, endpoint: str) -> list[Reference]:
    """The whole landings of an endpoint and the failures, oldest first."""
    found = []
    for path in _list(to, f"{vendor}/{account}/{endpoint}"):
        *_, span, landing, file = path.split("/")
        if file in {RECEIPT, FAILURE}:
            found.append(Reference(landing, path, Days(*map(date.fromisoformat, span.split("--")))))
    return sorted(found)


def endpoints(to: ObjectStore) -> list[tuple[str, str, str]]:
    """Vendor, account and endpoint of everything that is kept."""
    return [
        (vendor, account, endpoint)
        for vendor in _folders(to, "")
        for account in _folders(to, vendor)
        for endpoint in _folders(to, f"{vendor}/{account}")
    ]


def _folders(to: ObjectStore, prefix: str) -> list[str]:
    found = obstore.list_with_delimiter(to, prefix)["common_prefixes"]
    return sorted(path.rpartition("/")[2] for path in found)


def _list(to: ObjectStore, prefix: str) -> Iterator[str]:
    for batch in obstore.list(to, prefix):
        for entry in batch:
            yield entry["path"]


def read(to: ObjectStore, reference: Reference) -> Landing:
    """A landing as it was. Raises CorruptError where a body is not the one that was kept."""
    receipt = told(to, reference)
    folder = reference.path.rpartition("/")[0]
    return Landing(
        vendor=receipt.vendor,
        account=receipt.account,
        endpoint=receipt.endpoint,
        days=Days(receipt.first, receipt.last),
        answers=tuple(answer(to, f"{folder}/{kept.file}", kept) for kept in receipt.answers),
        landed_at=receipt.landed_at,
        options=receipt.options,
    )


def told(to: ObjectStore, reference: Reference) -> Receipt:
    """The receipt of a landing, or of a failure. Raises CorruptError where it cannot be read."""
    try:
        return msgspec.json.decode(_get(to, reference.path), type=Receipt)
    except (msgspec.MsgspecError, FileNotFoundError) as error:
        raise CorruptError(f"raw/{reference.path}: {error}") from error


def answer(to: ObjectStore, path: str, kept: Kept) -> Answer:
    """An answer as it was. Raises CorruptError where the body is not the one that was kept."""
    try:
        body = zstandard.ZstdDecompressor().decompress(_get(to, path))
    except (zstandard.ZstdError, FileNotFoundError) as error:
        raise CorruptError(f"raw/{path}: {error}") from error
    request = Request(kept.path, kept.params, kept.request_headers, kept.part)
    found = Answer(request, kept.url, kept.status, kept.headers, body, kept.fetched_at)
    if found.sha256 != kept.sha256:
        raise CorruptError(f"raw/{path} is not the answer that its receipt describes: the hash differs")
    return found


def _get(to: ObjectStore, path: str) -> bytes:
    return bytes(obstore.get(to, path).bytes())
