"""Files that people write: YAML, with the line of every mistake."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from usage_pipeline.contract.errors import ConfigurationError

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:  # PyYAML was built without it; the other takes ten times as long
    from yaml import SafeLoader  # type: ignore[assignment]

Where = tuple[str | int, ...]
"""The way to a key: names and positions from the top."""


class MistakeError(Exception):
    """What is wrong, and where below the entry that is being read."""

    def __init__(self, where: Where, text: str) -> None:
        super().__init__(text)
        self.where = where
        self.text = text


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake in a file."""

    file: str
    line: int
    key: str
    text: str
    account: str | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}: {self.text}"


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content, and the nodes that know its lines. `body` is a list under the file's one key."""

    file: str
    root: yaml.Node
    key: str
    body: list[Any]
    others: tuple[str, ...]

    def problem(self, where: Where, text: str, account: str | None = None) -> Problem:
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
        return Problem(self.file, _line(self.root, where), key, text, account)

    def strangers(self) -> list[Problem]:
        """Keys beside the one that is allowed."""
        return [self.problem((key,), f"unknown; allowed is: {self.key}") for key in self.others]


class Dates(SafeLoader):
    """Leaves dates to the model, which knows their line when they are none."""


class Texts(SafeLoader):
    """Leaves numbers too: a decimal keeps every digit that was written."""


def _leave(loader: type[SafeLoader], kinds: Collection[str]) -> None:
    tags = {f"tag:yaml.org,2002:{kind}" for kind in kinds}
    loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in tags]
        for first, resolvers in SafeLoader.yaml_implicit_resolvers.items()
    }


_leave(Dates, {"timestamp"})
_leave(Texts, {"timestamp", "float", "int"})


def read(file: Path, variable: str) -> str:
    """The file's text. Raises ConfigurationError where there is none; `variable` names another file."""
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}. Write it, or name another in {variable}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: not UTF-8 text ({error.reason})") from None


def parse(text: str, file: str, key: str, loader: type[SafeLoader]) -> Document:
    """The list under the key. Raises ConfigurationError where the text is no YAML, or has no such list."""
    try:
        root = yaml.compose(text, loader)
        body = yaml.load(text, loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigurationError(f"{file}:{mark.line + 1 if mark else 1}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"{file}: not YAML: {error}") from None
    if root is None or not isinstance(body, dict) or not isinstance(body.get(key), list):
        raise ConfigurationError(f"{file}:1: {key}: a list of {key} must stand under this key")
    return Document(file, root, key, body[key], tuple(other for other in body if other != key))


def said(error: Any, model: type[BaseModel]) -> str:
    """What a model found wrong, for people."""
    if error["type"] == "extra_forbidden":
        return f"unknown; allowed are: {', '.join(model.model_fields)}"
    if error["type"] == "missing":
        return "is missing"
    return str(error["msg"]).removeprefix("Value error, ")


def _line(node: yaml.Node, where: Where) -> int:
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
