"""accounts.yaml: which accounts to read. Wrong parts are named with file, line, key and what is allowed."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from usage_pipeline import document
from usage_pipeline.contract.errors import ConfigurationError
from usage_pipeline.contract.vendor import Account, Entitlement, Vendor
from usage_pipeline.document import MistakeError, Problem, Where, said
from usage_pipeline.vendors.registry import VENDORS

ACCOUNTS_VARIABLE = "USAGE_PIPELINE_ACCOUNTS"
HOME_VARIABLE = "USAGE_PIPELINE_HOME"
LAKE_VARIABLE = "USAGE_PIPELINE_LAKE"

SANDBOX_ACCOUNTS = Path(__file__).parent / "sandbox" / "accounts.yaml"
"""Accounts of the sandbox at its usual address: what there is to see before anything is configured."""

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class EntitlementEntry(BaseModel):
    """An entitlement as written: what the contract allows, where no API tells it."""

    model_config = ConfigDict(extra="forbid")

    metric: str = Field(description="What is counted")
    quantity: Annotated[
        Decimal,
        Field(ge=0, max_digits=29, decimal_places=9, description="How much of it, at once or per billing period"),
    ]
    valid_from: date | None = Field(None, description="First UTC day; the account's start_date when left out")
    valid_to: date | None = Field(None, description="Last UTC day; open when left out")


class Entry(BaseModel):
    """One account as written."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9-]+$", description="Unique name of the account: a-z, 0-9 and -")
    vendor: str = Field(description="Which vendor's API to read")
    base_url: str | None = Field(None, description="Address of the API; the vendor's public one where there is one")
    insecure_http: bool = Field(
        False, description="Whether the credentials may travel unencrypted, to an address with http:// beyond loopback"
    )
    start_date: date = Field(description="First UTC day of interest")
    credentials: dict[str, str] = Field(default_factory=dict, description="Names of secrets, each as ${VARIABLE}")
    endpoints: list[str] | None = Field(None, description="Endpoints to read; the vendor's default set when left out")
    options: dict[str, Any] = Field(default_factory=dict, description="What only this vendor knows")
    entitlements: list[EntitlementEntry] = Field(
        default_factory=list, description="What the contract allows, where no API tells it"
    )


@dataclass(frozen=True, slots=True)
class Configuration:
    """The accounts that are right, and what is wrong with the others."""

    accounts: tuple[Account, ...] = ()
    problems: tuple[Problem, ...] = ()

    def account(self, name: str) -> Account:
        """The account of that name. Raises ConfigurationError where there is none, or a wrong one."""
        for account in self.accounts:
            if account.name == name:
                return account
        wrong = [str(problem) for problem in self.problems if problem.account in {name, None}]
        if wrong:
            raise ConfigurationError("\n".join(wrong))
        names = ", ".join(account.name for account in self.accounts) or "none"
        raise ConfigurationError(f"there is no account '{name}'; configured are: {names}")


def find(environment: Mapping[str, str]) -> Path:
    """The accounts file: the one that the environment names, else ./accounts.yaml, else the sandbox's."""
    named = environment.get(ACCOUNTS_VARIABLE)
    if named:
        return Path(named)
    own = Path("accounts.yaml")
    return own if own.exists() else SANDBOX_ACCOUNTS


def read(file: Path) -> Configuration:
    """Read accounts.yaml. Raises ConfigurationError where it cannot be read at all."""
    return parse(document.read(file, ACCOUNTS_VARIABLE), str(file))


def parse(text: str, file: str) -> Configuration:
    """What a text in the format of accounts.yaml configures."""
    found = document.parse(text, file, "accounts", document.Dates)
    accounts: list[Account] = []
    problems = found.strangers()
    for index, entry in enumerate(found.body):
        name = entry.get("name") if isinstance(entry, dict) and isinstance(entry.get("name"), str) else None
        try:
            accounts.append(_account(entry, {account.name for account in accounts}))
        except ValidationError as errors:
            problems += [
                found.problem(("accounts", index, *detail["loc"]), said(detail, Entry), name)
                for detail in errors.errors()
            ]
        except MistakeError as mistake:
            problems.append(found.problem(("accounts", index, *mistake.where), mistake.text, name))
    return Configuration(tuple(accounts), tuple(problems))


def _account(entry: Any, taken: Collection[str]) -> Account:
    written = Entry.model_validate(entry)
    if written.name in taken:
        raise MistakeError(("name",), f"'{written.name}' is the name of another account; names are unique")
    vendor = VENDORS.get(written.vendor)
    if vendor is None:
        raise MistakeError(("vendor",), f"'{written.vendor}' is unknown; allowed are: {', '.join(VENDORS)}")
    try:
        options = vendor.options.model_validate(written.options).model_dump(mode="json")
    except ValidationError as errors:
        first = errors.errors()[0]
        raise MistakeError(("options", *first["loc"]), said(first, vendor.options)) from None
    account = Account(
        name=written.name,
        vendor=vendor.slug,
        base_url=_base_url(written, vendor),
        start_date=written.start_date,
        credentials=_credentials(written.credentials, vendor),
        endpoints=_endpoints(written.endpoints, vendor),
        options=options,
        entitlements=_entitlements(written, vendor),
    )
    for name, agent in account.options.get("agents", {}).items():
        _encrypted(agent, ("options", "agents", name), written)
    if vendor.check:
        try:
            vendor.check(account)
        except ValueError as error:
            raise MistakeError(("options",), str(error)) from None
    return account


def _base_url(written: Entry, vendor: Vendor) -> str:
    url = written.base_url or vendor.base_url
    if not url:
        raise MistakeError(("base_url",), f"is missing: {vendor.title} has no public address")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise MistakeError(("base_url",), f"'{url}' is no address; it begins with https:// and names a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise MistakeError(
            ("base_url",), "holds more than scheme, host, port and path; secrets belong under credentials"
        )
    _encrypted(url, ("base_url",), written)
    return url.rstrip("/")


def _encrypted(url: str, where: Where, written: Entry) -> None:
    """Refuse an address to which the credentials would travel for everybody on the way to read."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not loopback(parts.hostname or "") and not written.insecure_http:
        raise MistakeError(
            where,
            f"'{url}' is not encrypted, and would carry the credentials readable; begin it with https://, "
            "or set insecure_http: true on the account",
        )


def loopback(host: str) -> bool:
    """Whether what is sent there stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _credentials(written: Mapping[str, str], vendor: Vendor) -> dict[str, str]:
    found = {}
    for name, reference in written.items():
        matched = VARIABLE.fullmatch(reference)
        if not matched:
            raise MistakeError(
                ("credentials", name), "must be ${VARIABLE}: secrets live in the environment, not in this file"
            )
        found[name] = matched[1]
    if frozenset(found) not in vendor.credentials:
        allowed = " or ".join("{" + ", ".join(sorted(names)) + "}" if names else "none" for names in vendor.credentials)
        given = ", ".join(sorted(found)) or "none"
        raise MistakeError(("credentials",), f"{vendor.title} needs {allowed}; given: {given}")
    return found


def _endpoints(written: list[str] | None, vendor: Vendor) -> tuple[str, ...]:
    slugs = [endpoint.slug for endpoint in vendor.endpoints]
    if written is None:
        return tuple(endpoint.slug for endpoint in vendor.endpoints if endpoint.default)
    for index, slug in enumerate(written):
        if slug not in slugs:
            raise MistakeError(("endpoints", index), f"'{slug}' is unknown; allowed are: {', '.join(slugs)}")
    if not written:
        raise MistakeError(("endpoints",), f"is empty; allowed are: {', '.join(slugs)}")
    return tuple(dict.fromkeys(written))


def _entitlements(written: Entry, vendor: Vendor) -> tuple[Entitlement, ...]:
    metrics = sorted({metric.name for endpoint in vendor.endpoints for metric in endpoint.metrics})
    found: list[Entitlement] = []
    for index, entry in enumerate(written.entitlements):
        where = ("entitlements", index)
        if entry.metric not in metrics:
            raise MistakeError((*where, "metric"), f"'{entry.metric}' is unknown; allowed are: {', '.join(metrics)}")
        entitlement = Entitlement(entry.metric, entry.quantity, entry.valid_from or written.start_date, entry.valid_to)
        last = entitlement.valid_to or date.max
        if last < entitlement.valid_from:
            raise MistakeError((*where, "valid_to"), f"{last} is before the first day, {entitlement.valid_from}")
        for other in found:
            if (
                other.metric == entry.metric
                and entitlement.valid_from <= (other.valid_to or date.max)
                and (other.valid_from <= last)
            ):
                raise MistakeError(
                    where, f"overlaps another entitlement of {entry.metric}, from {other.valid_from}: one at a time"
                )
        found.append(entitlement)
    return tuple(found)


def secrets(account: Account, environment: Mapping[str, str]) -> dict[str, str]:
    """The account's secrets, read where they are used. Raises ConfigurationError naming an unset variable."""
    found = {}
    for name, variable in account.credentials.items():
        if not environment.get(variable):
            raise ConfigurationError(f"account '{account.name}': the variable {variable} ({name}) is not set")
        found[name] = environment[variable]
    return found


def json_schema() -> dict[str, Any]:
    """The JSON Schema of accounts.yaml, for editors."""
    models = tuple(
        create_model(
            f"{vendor.slug}_account",
            __base__=Entry,
            vendor=(Literal[vendor.slug], ...),  # type: ignore[arg-type] # made at run time
            endpoints=(list[Literal[tuple(e.slug for e in vendor.endpoints)]] | None, None),  # type: ignore[arg-type,misc]
            options=(vendor.options, Field(default_factory=dict)),
        )
        for vendor in VENDORS.values()
    )
    union: Any = models[0]
    for model in models[1:]:
        union |= model
    document = create_model(
        "accounts.yaml",
        __config__=ConfigDict(extra="forbid"),
        accounts=(list[union], Field(description="Accounts to read")),
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document.model_json_schema()}


if __name__ == "__main__":
    Path(__file__).with_name("accounts.schema.json").write_text(json.dumps(json_schema(), indent=2) + "\n")
