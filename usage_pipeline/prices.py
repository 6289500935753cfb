"""prices.yaml, the optional price book: what a unit costs. Wrong parts are named with file, line, key and why.

What may be priced is what adds up to the vendor's bill: amounts; levels, by the day or by the month; and counts of the
month to date, by the month, of which the month's last one is billed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from usage_pipeline import config, document
from usage_pipeline.contract.errors import ConfigurationError
from usage_pipeline.contract.schema import Aggregation, Role, Temporality
from usage_pipeline.contract.vendor import Endpoint, Metric
from usage_pipeline.document import MistakeError, Problem, said
from usage_pipeline.vendors.registry import VENDORS

PRICES_VARIABLE = "USAGE_PIPELINE_PRICES"
NAME = "prices.yaml"

CURRENCIES = (  # noqa: SIM905 - as a list it would be twice as long
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY "
    "COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR "
    "ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK "
    "MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF "
    "SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU "
    "UZS VED VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG"
).split()
"""National currencies of ISO 4217."""

Quantity = Annotated[Decimal, Field(ge=0, max_digits=29, decimal_places=9)]
UnitPrice = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=9)]


class Basis(StrEnum):
    """What a price multiplies."""

    AMOUNT = "amount"
    DAY = "day"
    SHARE = "share of month"
    COUNT = "count of month"


READ_OF_A_DAY = {Temporality.DELTA, Temporality.INSTANT}


class Tier(BaseModel):
    """A step of a graduated price: it is paid for what lies above `from`, up to the next step."""

    model_config = ConfigDict(extra="forbid")

    from_: Quantity = Field(alias="from", description="Quantity above which the step begins; 0 for the first one")
    unit_price: UnitPrice = Field(description="Price of one unit within the step")


class Entry(BaseModel):
    """One price as written."""

    model_config = ConfigDict(extra="forbid")

    sku: str = Field(pattern=r"^[A-Za-z0-9._-]+$", description="Identifier of the price; one at a time has it")
    vendor: str = Field(description="Whose usage is priced")
    metric: str = Field(description="What is counted")
    endpoint: str | None = Field(
        None, description="Which endpoint's numbers are billed; needed where several tell them"
    )
    account: str | None = Field(None, description="Only this account; all of the vendor's when left out")
    breakdown: str = Field("", description="Dimensions that split what is billed, joined by +; empty for the total")
    dimensions: dict[str, str] = Field(default_factory=dict, description="Only series with these dimensions")
    per: Literal["day", "month"] | None = Field(None, description="For levels and counts, which are no amounts")
    unit_price: UnitPrice | None = Field(None, description="Price of one unit")
    tiers: list[Tier] | None = Field(None, description="Graduated prices, in place of unit_price")
    included: Quantity = Field(
        Decimal(0), description="Quantity that is free: of a billing month, or of each day for levels"
    )
    currency: str = Field(description="ISO 4217 code", json_schema_extra={"enum": [*CURRENCIES]})
    valid_from: date = Field(description="First UTC day")
    valid_to: date | None = Field(None, description="Last UTC day; open when left out")


@dataclass(frozen=True, slots=True)
class Price:
    """A price of the book. `tiers` maps where each begins to its unit price; the first begins at 0."""

    sku: str
    vendor: str
    account: str | None
    endpoint: str
    metric: str
    breakdown: str
    dimensions: Mapping[str, str]
    basis: Basis
    temporality: Temporality | None
    tiers: Mapping[Decimal, Decimal]
    currency: str
    valid_from: date
    valid_to: date | None

    @property
    def last(self) -> date:
        return self.valid_to or date.max

    @property
    def thing(self) -> tuple[str, str, str, str, Basis]:
        """What the price is of."""
        return self.vendor, self.endpoint, self.metric, self.breakdown, self.basis

    def meets(self, other: Price) -> bool:
        """Whether both hold on some day."""
        return self.valid_from <= other.last and other.valid_from <= self.last

    def bills(self, other: Price) -> bool:
        """Whether the same consumption could be billed by both: a total and its parts are the same."""
        if (self.vendor, self.metric) != (other.vendor, other.metric):
            return False
        if None not in {self.account, other.account} and self.account != other.account:
            return False
        apart = any(
            self.dimensions[name] != other.dimensions[name] for name in self.dimensions.keys() & other.dimensions.keys()
        )
        return not (self.thing == other.thing and apart)


def find(environment: Mapping[str, str]) -> Path | None:
    """The price book: the file that the environment names, else prices.yaml beside accounts.yaml where there is one."""
    named = environment.get(PRICES_VARIABLE)
    if named:
        return Path(named)
    beside = config.find(environment).with_name(NAME)
    return beside if beside.exists() else None


def configured(environment: Mapping[str, str]) -> tuple[Price, ...]:
    """The prices that the environment leads to; none without a price book."""
    file = find(environment)
    return read(file) if file else ()


def problems(environment: Mapping[str, str]) -> list[str]:
    """What is wrong with the price book, a line each."""
    try:
        configured(environment)
    except ConfigurationError as error:
        return str(error).splitlines()
    return []


def read(file: Path) -> tuple[Price, ...]:
    """Read a price book. Raises ConfigurationError with every mistake in it: a price that is wrong prices nothing."""
    return parse(document.read(file, PRICES_VARIABLE), str(file))


def parse(text: str, file: str) -> tuple[Price, ...]:
    """The prices that a text in the format of prices.yaml holds."""
    found = document.parse(text, file, "prices", document.Texts)
    prices: list[Price] = []
    problems: list[Problem] = found.strangers()
    for index, entry in enumerate(found.body):
        try:
            price = _price(Entry.model_validate(entry))
            _alone(price, prices)
            prices.append(price)
        except ValidationError as errors:
            for detail in errors.errors():
                model = Tier if detail["loc"][:1] == ("tiers",) else Entry
                problems.append(found.problem(("prices", index, *detail["loc"]), said(detail, model)))
        except MistakeError as mistake:
            problems.append(found.problem(("prices", index, *mistake.where), mistake.text))
    if problems:
        raise ConfigurationError("\n".join(map(str, problems)))
    return tuple(prices)


def _price(written: Entry) -> Price:
    if written.valid_to and written.valid_to < written.valid_from:
        raise MistakeError(("valid_to",), f"{written.valid_to} is before the first day, {written.valid_from}")
    if written.currency not in CURRENCIES:
        raise MistakeError(
            ("currency",), f"'{written.currency}' is no national currency of ISO 4217, such as EUR or USD"
        )
    endpoint, told = _told(written)
    basis, temporality = _basis(written, told)
    return Price(
        sku=written.sku,
        vendor=written.vendor,
        account=written.account,
        endpoint=endpoint.slug,
        metric=written.metric,
        breakdown=_breakdown(written, endpoint, basis),
        dimensions=written.dimensions,
        basis=basis,
        temporality=temporality,
        tiers=_tiers(written),
        currency=written.currency,
        valid_from=written.valid_from,
        valid_to=written.valid_to,
    )


def _told(written: Entry) -> tuple[Endpoint, list[Metric]]:
    """The endpoint that tells the metric, and how it tells it."""
    vendor = VENDORS.get(written.vendor)
    if vendor is None:
        raise MistakeError(("vendor",), f"'{written.vendor}' is unknown; allowed are: {', '.join(VENDORS)}")
    metrics: dict[str, dict[str, list[Metric]]] = {}
    for endpoint in vendor.endpoints:
        for metric in endpoint.metrics:
            if metric.role is Role.CONSUMED:
                metrics.setdefault(metric.name, {}).setdefault(endpoint.slug, []).append(metric)
    if written.metric not in metrics:
        raise MistakeError(("metric",), f"'{written.metric}' is unknown; allowed are: {', '.join(sorted(metrics))}")
    endpoints = metrics[written.metric]
    slugs = ", ".join(endpoints)
    if written.endpoint is None and len(endpoints) > 1:
        raise MistakeError(
            ("endpoint",), f"is missing: {written.metric} is told by several, of which one is billed: {slugs}"
        )
    slug = written.endpoint or next(iter(endpoints))
    if slug not in endpoints:
        raise MistakeError(("endpoint",), f"'{slug}' does not tell {written.metric}; allowed are: {slugs}")
    return vendor.endpoint(slug), endpoints[slug]


def _basis(written: Entry, told: list[Metric]) -> tuple[Basis, Temporality | None]:
    """What the price multiplies, and which of the metric's numbers that needs."""
    levels = [metric for metric in told if metric.aggregation is not Aggregation.SUM]
    of_days = [metric.temporality for metric in levels if metric.temporality in READ_OF_A_DAY]
    to_date = [
        metric.temporality
        for metric in levels
        if metric.temporality is Temporality.CUMULATIVE
        and metric.aggregation in {Aggregation.DISTINCT, Aggregation.MAX}
    ]
    if len(levels) < len(told) and written.per is None:
        return Basis.AMOUNT, None
    if not levels:
        raise MistakeError(("per",), f"{written.metric} is an amount, which adds up: its price needs no time")
    if written.per is None:
        kind = "a count, a peak or a level"
        raise MistakeError(("per",), f"is missing: {written.metric} is {kind}, no amount; write per: day or per: month")
    if written.per == "month" and to_date:
        return Basis.COUNT, to_date[0]
    if of_days:
        return (Basis.SHARE if written.per == "month" else Basis.DAY), of_days[0]
    if to_date:
        raise MistakeError(
            ("per",), f"{written.metric} counts the month to date, not a day: only per: month can be billed"
        )
    raise MistakeError(
        ("metric",), f"{written.metric} is told of trailing windows only, which overlap: nothing of it can be billed"
    )


def _breakdown(written: Entry, endpoint: Endpoint, basis: Basis) -> str:
    parts = sorted(filter(None, written.breakdown.split("+")))
    allowed = f"allowed are those of {endpoint.slug}: {', '.join(endpoint.dimensions) or 'none'}"
    for part in parts:
        if part not in endpoint.dimensions:
            raise MistakeError(("breakdown",), f"'{part}' is unknown; {allowed}")
    for name in written.dimensions:
        if name not in parts:
            raise MistakeError(
                ("dimensions", name), f"is not in the breakdown '{written.breakdown}': name it there to price a part"
            )
    if parts and basis is Basis.COUNT:
        raise MistakeError(
            ("breakdown",), "parts of a count of the month to date do not add up to it: only its total can be billed"
        )
    return "+".join(parts)


def _tiers(written: Entry) -> dict[Decimal, Decimal]:
    """Where each tier begins, and its unit price; what is included is a tier that costs nothing."""
    if (written.unit_price is None) == (written.tiers is None):
        raise MistakeError(("unit_price",), "write either unit_price or tiers")
    steps = written.tiers or [Tier.model_validate({"from": 0, "unit_price": written.unit_price})]
    if written.tiers is not None and (not written.tiers or steps[0].from_ != 0):
        raise MistakeError(("tiers",), "must begin with the tier from 0")
    for index, (step, after) in enumerate(pairwise(steps), 1):
        if after.from_ <= max(step.from_, written.included):
            floor = f"{step.from_}, where the tier before it begins"
            if written.included > step.from_:
                floor = f"{written.included}, up to which all is included"
            raise MistakeError(("tiers", index, "from"), f"{after.from_} is not above {floor}")
    free = {Decimal(0): Decimal(0)} if written.included else {}
    return free | {max(step.from_, written.included): step.unit_price for step in steps}


def _alone(price: Price, others: Iterable[Price]) -> None:
    """Refuse a price that bills what another bills, or whose sku is another's."""
    for other in others:
        if price.sku == other.sku and price.thing != other.thing:
            raise MistakeError(("sku",), f"'{price.sku}' is the price of something else, from {other.valid_from}")
        if not price.meets(other):
            continue
        if price.sku == other.sku:
            raise MistakeError(
                ("valid_from",), f"overlaps the price '{other.sku}' from {other.valid_from}: one at a time"
            )
        if price.bills(other):
            raise MistakeError(
                ("metric",),
                f"{price.metric} is billed by '{other.sku}' from {other.valid_from} too: its total or its parts, once",
            )


def rows(prices: Iterable[Price]) -> list[dict[str, Any]]:
    """The rows of the table `prices`."""
    return list(_rows(prices))


def _rows(prices: Iterable[Price]) -> Iterator[dict[str, Any]]:
    for price in prices:
        for tier_from, unit_price in price.tiers.items():
            yield {
                "sku": price.sku,
                "valid_from": price.valid_from,
                "valid_to": price.valid_to,
                "vendor": price.vendor,
                "account": price.account,
                "endpoint": price.endpoint,
                "metric": price.metric,
                "breakdown": price.breakdown,
                "dimensions": sorted(price.dimensions.items()),
                "basis": price.basis.value,
                "temporality": price.temporality and price.temporality.value,
                "tier_from": tier_from,
                "unit_price": unit_price,
                "currency": price.currency,
            }


def json_schema() -> dict[str, Any]:
    """The JSON Schema of prices.yaml, for editors."""
    book = create_model(
        NAME,
        __config__=ConfigDict(extra="forbid"),
        prices=(list[Entry], Field(description="What a unit costs")),
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **book.model_json_schema()}


if __name__ == "__main__":
    Path(__file__).with_name("prices.schema.json").write_text(json.dumps(json_schema(), indent=2) + "\n")
