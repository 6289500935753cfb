"""Requests, answers and landings: what passes from a vendor to the raw store and on to normalising."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from usage_pipeline.contract.time import Days

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One GET, without anything secret: credentials are added by the HTTP client.

    `part` says which of an endpoint's requests it is, when normalising must tell them apart. A request that is `apart`
    fails alone: the landing is whole while another of them is answered, and an error answer is kept in it.
    """

    path: str
    params: Pairs = ()
    headers: Pairs = ()
    part: str = ""
    apart: bool = False


@dataclass(frozen=True)  # without slots, for the hashes are kept: bodies may be large
class Answer:
    """One answer, its body byte for byte."""

    request: Request
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    fetched_at: datetime

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    @cached_property
    def response_id(self) -> str:
        """Names this answer: the same answer to the same request at the same instant has one name."""
        told = f"{self.url}\n{self.fetched_at.isoformat()}\n{self.sha256}"
        return hashlib.blake2b(told.encode(), digest_size=12).hexdigest()

    @property
    def is_xml(self) -> bool:
        return "xml" in self.headers.get("content-type", "")


@dataclass(frozen=True, slots=True)
class Landing:
    """The answers that together tell one endpoint's usage of some days.

    `options` are the account's as they were when asking, so that normalising depends on nothing else.
    """

    vendor: str
    account: str
    endpoint: str
    days: Days
    answers: tuple[Answer, ...]
    landed_at: datetime
    options: Mapping[str, Any] = field(default_factory=dict)
