"""The XML of v6, whose shape is not documented, as the JSON of the same answer."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.vendors.thousandeyes.facts import PARTS, TEXTS

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


BESIDE = "#beside"
"""No element can be called so."""


def read(root: Element) -> dict[str, Any]:
    """Arrays are read from repeated elements or from an element around their records."""
    return {"usage": _object(root)} if name(root.tag) == "usage" else _object(root)


def _object(element: Element) -> dict[str, Any]:
    """An element's attributes and children by name. Numbers that stand beside them are kept, to be refused as unknown.

    Such stand between elements, or at an element that is itself no record: `<tests>2</tests>`, `<tests count="2">`.
    """
    told = _attributes(element)
    beside = _between(element)
    for child in element:
        key = name(child.tag)
        if key in PARTS:
            records = _records(child)
            if not isinstance(told.setdefault(key, []), list):
                raise PayloadError("/", f"{key} is both an attribute and an element of {name(element.tag)}")
            told[key] += map(_object, records)
            beside += [] if records == [child] else [_attributes(child), *_between(child)]
        else:
            value = _object(child) if len(child) else _scalar(key, child.text)
            told[key] = [told[key], value] if key in told else value
            beside += [] if len(child) else [_attributes(child)]
    return {**told, BESIDE: beside}


def _attributes(element: Element) -> dict[str, Any]:
    return {name(key): _scalar(name(key), text) for key, text in element.attrib.items()}


def _between(element: Element) -> list[Any]:
    return [_scalar(BESIDE, text) for text in (element.text, *(child.tail for child in element))]


def _records(element: Element) -> list[Element]:
    if not len(element):
        return []
    return list(element) if all(len(child) for child in element) else [element]


def _scalar(key: str, text: str | None) -> str | Decimal | None:
    if key in TEXTS or text is None or not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text.strip()):
        return text
    try:
        return Decimal(text.strip())
    except InvalidOperation:
        raise PayloadError("/", f"the number {text.strip()[:60]} of {key} is too large") from None


def name(tag: str) -> str:
    """A tag without its namespace."""
    return tag.rpartition("}")[2]
