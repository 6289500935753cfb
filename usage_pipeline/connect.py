"""How to open the warehouse elsewhere: for each tool of connect.yaml its lines, with the paths filled in."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from textwrap import wrap
from typing import Any
from urllib.parse import urlsplit

import yaml

from usage_pipeline.stages import views

WIDTH = 120
STORES = {"s3": "s3", "gs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
"""By the scheme of an address: the file of sql/connect/ that opens it."""


@dataclass(frozen=True, slots=True)
class Tool:
    """What a tool needs to open the warehouse. `lines` has placeholders for its paths, see connect.yaml.

    `stored` takes the place of `lines` where the lake is in an object store.
    """

    name: str
    title: str
    needs: str
    republished: str
    documentation: str
    tried: bool
    lines: str
    notes: str = ""
    stored: str = ""


def tools() -> tuple[str, Sequence[Tool]]:
    """What holds for every tool, and the tools."""
    known: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
    return known["before"], [Tool(**tool) for tool in known["tools"]]


def text(tool: Tool, warehouse: Path, table: str, environment: Mapping[str, str]) -> str:
    """The tool's section: what to know of it as comments, then its lines for this warehouse and this Delta table.

    `environment` tells where the object store is, where there is one; no key of it is told.
    """
    opening = opened_by(table.rpartition("/")[0], environment) if "://" in table else []
    filled = Template(tool.stored if opening and tool.stored else tool.lines).substitute(
        file=warehouse,
        shell=shlex.quote(str(warehouse)),
        python=repr(str(warehouse)),
        json=json.dumps(str(warehouse)),
        table=repr(table),
        scheme=repr(table.partition("://")[0]),
        opening=shlex.quote(" ".join(opening)),
        attach=shlex.quote(" ".join([*opening, *_statements("delta", table=views.quoted(table))])),
    )
    begins = [BEGINS, *opening] if opening and not tool.stored else []
    return "".join(f"{line}\n" for line in [*_comments(tool), *(f"# {line}" for line in begins)]) + filled


BEGINS = "The lake is in an object store: let each session begin with (init SQL, bootstrap queries, or the like)"


def opened_by(lake: str, environment: Mapping[str, str]) -> list[str]:
    """The statements that let DuckDB read an object store, by its extensions, with the reader's own credentials."""
    store = STORES.get(urlsplit(lake).scheme)
    if not store:
        return []
    return _statements(
        store,
        lake=views.quoted(lake),
        account=views.quoted(environment.get("AZURE_STORAGE_ACCOUNT_NAME", "")),
        options="".join(f", {name} {value}" for name, value in _options(environment)),
    )


def _statements(file: str, **told: str) -> list[str]:
    """A file of sql/connect/, a statement a line, without the line that says what it is."""
    return Template(views.text(f"connect/{file}").partition("\n")[2]).substitute(told).splitlines()


def _options(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What the AWS variables say of the place: DuckDB knows their keys and region, and not their endpoint."""
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if region:
        yield "REGION", f"'{views.quoted(region)}'"
    endpoint = urlsplit(environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or "")
    if endpoint.hostname:
        # Not a name and a password, which an address may carry before its @.
        where = endpoint.hostname + (f":{endpoint.port}" if endpoint.port else "") + endpoint.path.rstrip("/")
        yield "ENDPOINT", f"'{views.quoted(where)}'"
        yield "URL_STYLE", "'path'"
        yield "USE_SSL", "false" if endpoint.scheme == "http" else "true"


def comment(sentence: str) -> list[str]:
    """A sentence as lines of comment, which a shell, Python and YAML pass over alike."""
    return wrap(sentence, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _comments(tool: Tool) -> Iterator[str]:
    yield f"# {tool.title}"
    yield from comment(f"Needs: {tool.needs}.")
    yield from comment(tool.notes)
    yield from comment(f"When republished: {tool.republished}")
    if not tool.tried:
        yield from comment(f"Not tried with this version; read from {tool.documentation}")
