"""The raw store: every answer byte for byte, with a receipt.

raw/<vendor>/<account>/<endpoint>/<first>--<last>/<landed_at>-<id>/
    000.json.zst ...   the bodies, compressed
    receipt.json       the requests and answers; written last, so that it makes the landing whole
    failure.json       the same for a landing that failed: kept for people, never normalised
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
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


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """A landing in the store, known by its name alone; the order is that of landing."""

    landed_at: str
    path: str
    days: Days


class CorruptError(UsageError):
    """A raw answer is not the one that its receipt describes."""


def store(root: str) -> ObjectStore:
    """The object store at a folder or an address such as s3://bucket/prefix."""
    if "://" in root:
        return from_url(f"{root.rstrip('/')}/raw")
    folder = Path(root).absolute() / "raw"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return LocalStore(folder)


def _folder(landing: Landing) -> str:
    where = f"{landing.vendor}/{landing.account}/{landing.endpoint}/{landing.days.first}--{landing.days.last}"
    named = landing.answers[0].response_id if landing.answers else "none"
    return f"{where}/{landing.landed_at:%Y%m%dT%H%M%S.%fZ}-{named}"


def write(to: ObjectStore, landing: Landing, error: str = "") -> str:
    """Keep a landing, and say where. `error` marks one that failed."""
    folder = _folder(landing)
    compress = zstandard.ZstdCompressor(level=LEVEL).compress
    kept = []
    for number, answer in enumerate(landing.answers):
        file = f"{number:03}.{'xml' if answer.is_xml else 'json'}.zst"
        obstore.put(to, f"{folder}/{file}", compress(answer.body))
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
    )
    obstore.put(to, f"{folder}/{FAILURE if error else RECEIPT}", msgspec.json.format(msgspec.json.encode(receipt)))
    return folder


def find(to: ObjectStore, vendor: str, account: str, endpoint: str, days: Days) -> list[Reference]:
    """The whole landings that cover any of the days, oldest first."""
    found = []
    for path in _list(to, f"{vendor}/{account}/{endpoint}"):
        *_, span, landing, file = path.split("/")
        first, last = map(date.fromisoformat, span.split("--"))
        if file == RECEIPT and first <= days.last and last >= days.first:
            found.append(Reference(landing, path, Days(first, last)))
    return sorted(found)


def _list(to: ObjectStore, prefix: str) -> Iterator[str]:
    for batch in obstore.list(to, prefix):
        for entry in batch:
            yield entry["path"]


def read(to: ObjectStore, reference: Reference) -> Landing:
    """A landing as it was. Raises CorruptError where a body is not the one that was kept."""
    receipt = msgspec.json.decode(_get(to, reference.path), type=Receipt)
    folder = reference.path.rpartition("/")[0]
    return Landing(
        vendor=receipt.vendor,
        account=receipt.account,
        endpoint=receipt.endpoint,
        days=Days(receipt.first, receipt.last),
        answers=tuple(_answer(to, f"{folder}/{kept.file}", kept) for kept in receipt.answers),
        landed_at=receipt.landed_at,
        options=receipt.options,
    )


def _answer(to: ObjectStore, path: str, kept: Kept) -> Answer:
    try:
        body = zstandard.ZstdDecompressor().decompress(_get(to, path))
    except (zstandard.ZstdError, FileNotFoundError) as error:
        raise CorruptError(f"raw/{path}: {error}") from error
    request = Request(kept.path, kept.params, kept.request_headers, kept.part)
    answer = Answer(request, kept.url, kept.status, kept.headers, body, kept.fetched_at)
    if answer.sha256 != kept.sha256:
        raise CorruptError(f"raw/{path} is not the answer that its receipt describes: the hash differs")
    return answer


def _get(to: ObjectStore, path: str) -> bytes:
    return bytes(obstore.get(to, path).bytes())
