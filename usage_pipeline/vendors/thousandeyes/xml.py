"""The XML of v6, whose shape is not documented, as the JSON of the same answer."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from usage_pipeline.vendors.thousandeyes.facts import PARTS, TEXTS

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def read(root: Element) -> dict[str, Any]:
    """Arrays are read from repeated elements or from an element around their records."""
    return {"usage": _object(root)} if name(root.tag) == "usage" else _object(root)


def _object(element: Element) -> dict[str, Any]:
    told: dict[str, Any] = {name(key): _scalar(name(key), text) for key, text in element.attrib.items()}
    for child in element:
        key = name(child.tag)
        if key in PARTS:
            told.setdefault(key, []).extend(map(_object, _records(child)))
        else:
            value = _object(child) if len(child) else _scalar(key, child.text)
            told[key] = [told[key], value] if key in told else value
    return told


def _records(element: Element) -> list[Element]:
    if not len(element):
        return []
    return list(element) if all(len(child) for child in element) else [element]


def _scalar(key: str, text: str | None) -> str | Decimal | None:
    if key in TEXTS or text is None or not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text.strip()):
        return text
    return Decimal(text.strip())


def name(tag: str) -> str:
    """A tag without its namespace."""
    return tag.rpartition("}")[2]
