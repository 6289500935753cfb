"""accounts.yaml: which accounts to read. Wrong parts are named with file, line, key and what is allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from usage_pipeline.contract.errors import ConfigurationError
from usage_pipeline.contract.vendor import Account, Vendor
from usage_pipeline.vendors.registry import VENDORS

ACCOUNTS_VARIABLE = "USAGE_PIPELINE_ACCOUNTS"
HOME_VARIABLE = "USAGE_PIPELINE_HOME"
LAKE_VARIABLE = "USAGE_PIPELINE_LAKE"

SANDBOX_ACCOUNTS = Path(__file__).parent / "sandbox" / "accounts.yaml"
"""Accounts of the sandbox at its usual address: what there is to see before anything is configured."""

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

Path_ = tuple[str | int, ...]


class Entry(BaseModel):
    """One account as written."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9-]+$", description="Unique name of the account: a-z, 0-9 and -")
    vendor: str = Field(description="Which vendor's API to read")
    base_url: str | None = Field(None, description="Address of the API; the vendor's public one where there is one")
    start_date: date = Field(description="First UTC day of interest")
    credentials: dict[str, str] = Field(default_factory=dict, description="Names of secrets, each as ${VARIABLE}")
    endpoints: list[str] | None = Field(None, description="Endpoints to read; the vendor's default set when left out")
    options: dict[str, Any] = Field(default_factory=dict, description="What only this vendor knows")


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake in accounts.yaml."""

    file: str
    line: int
    key: str
    text: str
    account: str | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}: {self.text}"


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


class _MistakeError(Exception):
    def __init__(self, where: Path_, text: str) -> None:
        super().__init__(text)
        self.where = where
        self.text = text


def read(file: Path) -> Configuration:
    """Read accounts.yaml. Raises ConfigurationError where it cannot be read at all."""
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{file}: {error.strerror}. Write it, or name another in {ACCOUNTS_VARIABLE}"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: not UTF-8 text ({error.reason})") from None
    return parse(text, str(file))


class _Loader(yaml.SafeLoader):
    """Leaves dates to the model, which knows their line when they are none."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML declares it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def parse(text: str, file: str) -> Configuration:
    """What a text in the format of accounts.yaml configures."""
    try:
        root = yaml.compose(text, _Loader)
        body = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigurationError(f"{file}:{mark.line + 1 if mark else 1}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"{file}: not YAML: {error}") from None
    if root is None or not isinstance(body, dict) or not isinstance(body.get("accounts"), list):
        raise ConfigurationError(f"{file}:1: accounts: a list of accounts must stand under this key")
    accounts: list[Account] = []
    problems: list[Problem] = []
    problems += [
        _problem(file, root, (key,), "unknown; allowed is: accounts", None) for key in body if key != "accounts"
    ]
    for index, entry in enumerate(body["accounts"]):
        name = entry.get("name") if isinstance(entry, dict) and isinstance(entry.get("name"), str) else None
        try:
            accounts.append(_account(entry, {account.name for account in accounts}))
        except ValidationError as errors:
            problems += [
                _problem(file, root, ("accounts", index, *detail["loc"]), _said(detail), name)
                for detail in errors.errors()
            ]
        except _MistakeError as mistake:
            problems.append(_problem(file, root, ("accounts", index, *mistake.where), mistake.text, name))
    return Configuration(tuple(accounts), tuple(problems))


def _account(entry: Any, taken: Collection[str]) -> Account:
    written = Entry.model_validate(entry)
    if written.name in taken:
        raise _MistakeError(("name",), f"'{written.name}' is the name of another account; names are unique")
    vendor = VENDORS.get(written.vendor)
    if vendor is None:
        raise _MistakeError(("vendor",), f"'{written.vendor}' is unknown; allowed are: {', '.join(VENDORS)}")
    try:
        options = vendor.options.model_validate(written.options).model_dump(mode="json")
    except ValidationError as errors:
        first = errors.errors()[0]
        raise _MistakeError(("options", *first["loc"]), _said(first, vendor.options)) from None
    account = Account(
        name=written.name,
        vendor=vendor.slug,
        base_url=_base_url(written.base_url, vendor),
        start_date=written.start_date,
        credentials=_credentials(written.credentials, vendor),
        endpoints=_endpoints(written.endpoints, vendor),
        options=options,
    )
    if vendor.check:
        try:
            vendor.check(account)
        except ValueError as error:
            raise _MistakeError(("options",), str(error)) from None
    return account


def _base_url(written: str | None, vendor: Vendor) -> str:
    url = written or vendor.base_url
    if not url:
        raise _MistakeError(("base_url",), f"is missing: {vendor.title} has no public address")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise _MistakeError(("base_url",), f"'{url}' is no address; it begins with https:// and names a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise _MistakeError(
            ("base_url",), "holds more than scheme, host, port and path; secrets belong under credentials"
        )
    return url.rstrip("/")


def _credentials(written: Mapping[str, str], vendor: Vendor) -> dict[str, str]:
    found = {}
    for name, reference in written.items():
        matched = VARIABLE.fullmatch(reference)
        if not matched:
            raise _MistakeError(
                ("credentials", name), "must be ${VARIABLE}: secrets live in the environment, not in this file"
            )
        found[name] = matched[1]
    if frozenset(found) not in vendor.credentials:
        allowed = " or ".join("{" + ", ".join(sorted(names)) + "}" if names else "none" for names in vendor.credentials)
        given = ", ".join(sorted(found)) or "none"
        raise _MistakeError(("credentials",), f"{vendor.title} needs {allowed}; given: {given}")
    return found


def _endpoints(written: list[str] | None, vendor: Vendor) -> tuple[str, ...]:
    slugs = [endpoint.slug for endpoint in vendor.endpoints]
    if written is None:
        return tuple(endpoint.slug for endpoint in vendor.endpoints if endpoint.default)
    for index, slug in enumerate(written):
        if slug not in slugs:
            raise _MistakeError(("endpoints", index), f"'{slug}' is unknown; allowed are: {', '.join(slugs)}")
    if not written:
        raise _MistakeError(("endpoints",), f"is empty; allowed are: {', '.join(slugs)}")
    return tuple(dict.fromkeys(written))


def _said(error: Any, model: type[BaseModel] = Entry) -> str:
    if error["type"] == "extra_forbidden":
        return f"unknown; allowed are: {', '.join(model.model_fields)}"
    if error["type"] == "missing":
        return "is missing"
    return str(error["msg"])


def _problem(file: str, root: yaml.Node, where: Path_, text: str, account: str | None) -> Problem:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
    return Problem(file, _line(root, where), key, text, account)


def _line(node: yaml.Node, where: Path_) -> int:
    """The line of a key, or of what stands around it where it is missing."""
    line = node.start_mark.line + 1
    for part in where:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


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
