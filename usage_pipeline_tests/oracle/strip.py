"""Reduce a vendor's OpenAPI document to its shapes: what can be asked, and what the answers look like.

    python -m usage_pipeline_tests.oracle.strip DOCUMENT > usage_pipeline_tests/oracle/shapes/VENDOR.json

Kept are names, types, formats, enumerations and what is required, of what can be read; the vendor's prose, examples and
writing operations are not. Schemas come out as JSON Schema, which says `nullable` by a type.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

PLAIN = ("$ref", "enum", "required", "minimum", "maximum")
Json = dict[str, Any]


def shapes(document: Json) -> Json:
    """Operations by path, and the schemas that they use. Paths begin where the vendor's host ends."""
    prefix = re.sub(r"^https?://[^/]+", "", document["servers"][0]["url"]).rstrip("/")
    paths = {
        prefix + path: operation(document, methods["get"])
        for path, methods in document["paths"].items()
        if "get" in methods
    }
    every = {name: schema(told) for name, told in document["components"]["schemas"].items()}
    used: set[str] = set()
    found = referred(paths)
    while new := found - used:
        used |= new
        found = set().union(*(referred(every[name]) for name in new))
    return {"paths": paths, "components": {"schemas": {name: every[name] for name in sorted(used)}}}


def operation(document: Json, told: Json) -> Json:
    return {
        "operationId": told["operationId"],
        "parameters": [parameter(resolved(document, each)) for each in told.get("parameters", ())],
        "responses": {
            status: {kind: schema(body["schema"]) for kind, body in resolved(document, answer)["content"].items()}
            for status, answer in told["responses"].items()
        },
    }


def parameter(told: Json) -> Json:
    return {
        "name": told["name"],
        "in": told["in"],
        "required": told.get("required", False),
        "schema": schema(told["schema"]),
    }


def schema(told: Json) -> Json:
    shape = {key: told[key] for key in PLAIN if key in told}
    if "type" in told:
        shape["type"] = [told["type"], "null"] if told.get("nullable") else told["type"]
    if told.get("format", told.get("type")) != told.get("type"):
        shape["format"] = told["format"]  # one vendor says that its strings are in the format "string"
    if "properties" in told:
        shape["properties"] = {name: schema(each) for name, each in told["properties"].items()}
    if "items" in told:
        shape["items"] = schema(told["items"])
    if "additionalProperties" in told:
        shape["additionalProperties"] = schema(told["additionalProperties"])
    if "allOf" in told:
        shape["allOf"] = [schema(each) for each in told["allOf"]]
    return shape


def resolved(document: Json, told: Json) -> Json:
    if "$ref" in told:
        for step in told["$ref"].removeprefix("#/").split("/"):
            document = document[step]
        return document
    return told


def referred(told: Any) -> set[str]:
    return set(re.findall(r"#/components/schemas/(\w+)", json.dumps(told)))


if __name__ == "__main__":
    # JSON is YAML.
    print(json.dumps(shapes(yaml.safe_load(Path(sys.argv[1]).read_text())), indent=1))
