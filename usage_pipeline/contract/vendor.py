"""Vendor, Endpoint, Metric and Account: a vendor module fills these in, everything else reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.schema import Aggregation, Role, Temporality
from usage_pipeline.contract.time import Clock, Days

if TYPE_CHECKING:
    import httpx
    import numpy as np
    import pandas as pd
    import pyarrow as pa


class History(StrEnum):
    """Whether a vendor can be asked about the past."""

    WINDOW = "window"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class Metric:
    """A row of a vendor's metric table. `unit` is in FOCUS format, `description` one sentence."""

    name: str
    unit: str
    description: str
    role: Role
    aggregation: Aggregation
    temporality: Temporality

    @property
    def key(self) -> tuple[str, Role, Aggregation, Temporality]:
        return self.name, self.role, self.aggregation, self.temporality


class Options(BaseModel):
    """Base of a vendor's `options`: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Entitlement:
    """How much of a metric the contract allows, at once or per billing period; both days are inclusive."""

    metric: str
    quantity: Decimal
    valid_from: date
    valid_to: date | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """One configured account.

    `credentials` maps a credential's name to the environment variable that holds it, never to the secret.
    `options` are valid by the vendor's model and complete, defaults included. `entitlements` are what the contract
    allows where no API tells it.
    """

    name: str
    vendor: str
    base_url: str
    start_date: date
    credentials: Mapping[str, str] = field(default_factory=dict)
    endpoints: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    entitlements: tuple[Entitlement, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of one metric with one set of dimensions, read from one answer.

    `values` is decimal128(38, 9), without nulls. Row i belongs to series `series[i]`, a position in the rows of
    `dimensions` and `labels` (string columns; a missing label is null). `start`, `end`, `observed_at` and `is_final`
    are one value for all rows or one a row; times are UTC, `datetime64[us]` where they are arrays.
    `is_final` None leaves it to the endpoint's settling time.
    """

    metric: Metric
    answer: Answer
    values: pa.Array
    series: np.ndarray[Any, np.dtype[np.int64]]
    dimensions: pd.DataFrame
    labels: pd.DataFrame
    start: Any
    end: Any
    observed_at: Any
    is_final: Any = None


@dataclass(frozen=True, slots=True)
class Normalised:
    """What one landing says.

    `usage` goes to the table; `billing_periods` (frames of period_start, period_end, response_id) and
    `inventory` (of item, attributes, response_id) to theirs. `missing` maps an expected part that the answer lacks
    ("datacenter dc2") to the reason: that part is failed, not zero. `notes` are what a reader of the days should know
    beside the numbers ("data through 2026-11-20T08:00:00Z"): they stand in the days' coverage.
    """

    usage: tuple[Block, ...] = ()
    billing_periods: tuple[pd.DataFrame, ...] = ()
    inventory: tuple[pd.DataFrame, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Agreement:
    """By the vendor's documentation the `parts` add up to the `total`, over the same period.

    Distinct counts have none where one thing may be counted in several parts.
    All are consumed metrics; without `parts` it is the total's own metric, split further. `by` are the dimensions that
    the total itself has, `endpoint` says where it stands when that is another endpoint. `unless` names an option under
    which only some of the parts are asked for.
    """

    total: str
    parts: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    endpoint: str | None = None
    unless: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One usage endpoint: facts, and two pure functions.

    `requests` turns days (at most `max_days` of them) into the requests that together tell their usage.
    `normalise` reads their answers; it needs no network, clock or environment.
    `settles` is how long after the end of a period its value may still change: it decides `is_final` and how far
    back a schedule asks again. `follow` names the next page of an answer, None where there is none. `permission` is
    what the credential must be allowed to do, in the vendor's words. `dimensions` and `labels` are the names that its
    rows can carry, in the order in which they are shown; other ones are refused. `agreements` are sums that must come
    out. `keyed` names the objects in answers whose members are called by data, not by fields, and how deep.
    """

    slug: str
    title: str
    history: History
    documentation: str
    metrics: tuple[Metric, ...]
    requests: Callable[[Account, Days], Iterable[Request]]
    normalise: Callable[[Landing], Normalised]
    settles: timedelta = timedelta(0)
    max_days: int | None = None
    default: bool = True
    follow: Callable[[Answer], Request | None] | None = None
    permission: str = ""
    dimensions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    keyed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Vendor:
    """One vendor: how to reach it, and its endpoints.

    `credentials` lists the accepted sets of credential names, each complete; an empty set means none are needed.
    `auth` turns the secrets into an httpx.Auth. `explain` tells what an error answer says, in the vendor's words.
    `reset_headers` maps headers that tell when to ask again (epoch) to their ticks a second.
    `redacts` names JSON fields that hold secrets of the vendor's: their text is blanked before an answer is kept.
    `rate` is the documented limit, as requests and seconds. `check` refuses accounts whose parts do not fit together
    by raising ValueError. `unavailable` says which refusals mean that the vendor does not tell this account such
    things, as its contract is another: they are no failures, and nobody has to do anything. `provider` is the company
    that bills, where its name is not the title; `service` is the category and subcategory of FOCUS that fit best.
    """

    slug: str
    title: str
    options: type[Options]
    endpoints: tuple[Endpoint, ...]
    credentials: tuple[frozenset[str], ...]
    auth: Callable[[Account, Mapping[str, str], Clock], httpx.Auth | None]
    explain: Callable[[Answer], str]
    base_url: str | None = None
    reset_headers: Mapping[str, int] = field(default_factory=dict)
    rate: tuple[int, int] | None = None
    concurrency: int = 4
    redacts: tuple[str, ...] = ()
    check: Callable[[Account], None] | None = None
    unavailable: Callable[[Answer], bool] | None = None
    provider: str | None = None
    service: tuple[str, str] = ("Other", "Other (Other)")

    def endpoint(self, slug: str) -> Endpoint:
        return next(endpoint for endpoint in self.endpoints if endpoint.slug == slug)
