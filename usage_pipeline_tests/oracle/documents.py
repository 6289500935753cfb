"""The vendors' OpenAPI documents, reduced to shapes: operations to ask, and whether an answer is as documented."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

SHAPES = Path(__file__).with_name("shapes")
VENDORS = ("launchdarkly", "thousandeyes")
Json = dict[str, Any]


def _is_instant(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


FORMATS = FormatChecker(formats=())
FORMATS.checks("date-time", raises=ValueError)(_is_instant)


@dataclass(frozen=True, eq=False)
class Operation:
    """One path that can be read. `name` is what the document calls it, and the vendor's client in snake case."""

    vendor: str
    path: str
    name: str
    parameters: tuple[Json, ...]
    responses: Json

    @property
    def method(self) -> str:
        return snake(self.name)

    def names(self, place: str, *, required: bool = False) -> list[str]:
        """Parameters in the `path` or the `query`, all or the required ones."""
        return [each["name"] for each in self.parameters if each["in"] == place and each["required"] >= required]

    def matches(self, path: str) -> re.Match[str] | None:
        """Whether this is a path of the operation; the match's groups are the path parameters."""
        return re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path), path)

    def faults(self, status: int, content_type: str, body: Any) -> list[str]:
        """What the document does not allow in an answer: status, content type, and the body with no field too many."""
        if str(status) not in self.responses:
            return [f"{status} is not among {', '.join(self.responses)}: {str(body)[:200]}"]
        kinds = self.responses[str(status)]
        kind = content_type.partition(";")[0]
        if kind not in kinds:
            return [f"{status} comes as {kind}, not as {', '.join(kinds)}"]
        root = kinds[kind] | {"components": {"schemas": _closed(self.vendor)}}
        errors = Draft202012Validator(root, format_checker=FORMATS).iter_errors(body)
        return [f"{status} {error.json_path}: {error.message[:200]}" for error in errors]


def snake(name: str) -> str:
    """getMAUTotalUsage as get_mau_total_usage."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@cache
def read(vendor: str) -> Json:
    found: Json = json.loads((SHAPES / f"{vendor}.json").read_text())
    return found


@cache
def operations(vendor: str) -> tuple[Operation, ...]:
    return tuple(
        Operation(vendor, path, told["operationId"], tuple(told["parameters"]), told["responses"])
        for path, told in read(vendor)["paths"].items()
    )


def find(vendor: str, path: str) -> Operation | None:
    """The operation that a path belongs to. No two of them fit one path."""
    return next((each for each in operations(vendor) if each.matches(path)), None)


@cache
def _closed(vendor: str) -> Json:
    """The schemas, allowing only the properties that they name: a field that the vendor does not tell of is a mistake.

    Those that others are made of stay open, as the others add to them.
    """
    schemas = read(vendor)["components"]["schemas"]
    bases = {part.get("$ref") for told in schemas.values() for part in told.get("allOf", ())}
    return {name: _close(told, f"#/components/schemas/{name}" in bases) for name, told in schemas.items()}


def _close(told: Json, base: bool = False) -> Json:
    closed = dict(told)
    if "properties" in told:
        closed["properties"] = {name: _close(each) for name, each in told["properties"].items()}
    if "items" in told:
        closed["items"] = _close(told["items"])
    if not base and "additionalProperties" not in told and {"properties", "allOf"} & told.keys():
        closed["unevaluatedProperties"] = False
    return closed
