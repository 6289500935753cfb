"""How to open the warehouse elsewhere: for each tool of connect.yaml its lines, with the paths filled in."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from textwrap import wrap
from typing import Any

import yaml

WIDTH = 120


@dataclass(frozen=True, slots=True)
class Tool:
    """What a tool needs to open the warehouse. `lines` has placeholders for its paths, see connect.yaml."""

    name: str
    title: str
    needs: str
    republished: str
    documentation: str
    tried: bool
    lines: str
    notes: str = ""


def tools() -> tuple[str, Sequence[Tool]]:
    """What holds for every tool, and the tools."""
    known: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
    return known["before"], [Tool(**tool) for tool in known["tools"]]


def text(tool: Tool, warehouse: Path, table: str) -> str:
    """The tool's section: what to know of it as comments, then its lines for this warehouse and this Delta table."""
    filled = Template(tool.lines).substitute(
        file=warehouse,
        shell=shlex.quote(str(warehouse)),
        python=repr(str(warehouse)),
        json=json.dumps(str(warehouse)),
        table=repr(table),
    )
    return "".join(f"{line}\n" for line in _comments(tool)) + filled


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
