"""The names of the fields in an answer, whatever their values: what a vendor's schema is, as far as answers show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from xml.etree.ElementTree import Element

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.kit.payload import Json

ANY = "*"


def of(answer: Answer, keyed: Mapping[str, int]) -> tuple[frozenset[str], frozenset[str]]:
    """The paths of all fields, and those of the objects and arrays that are empty, of which nothing is known.

    `keyed` as in Endpoint. Numbers as keys are data too, and what links elsewhere (`_links`) is not followed.
    Raises PayloadError where the answer cannot be read.
    """
    there: set[str] = set()
    empty: set[str] = set()
    try:
        body = _xml([kit.payload.xml(answer)]) if answer.is_xml else kit.payload.json(answer)
        _walk([body], "$", 0, keyed, there, empty)
    except RecursionError:
        raise PayloadError("$", "nested too deeply") from None
    return frozenset(there), frozenset(empty)


def _walk(values: list[Json], path: str, data: int, keyed: Mapping[str, int], there: set[str], empty: set[str]) -> None:
    """Take in all values that stand at one path. `data` is how many levels of keys below it are data."""
    arrays = [value for value in values if isinstance(value, list)]
    objects = [value for value in values if isinstance(value, dict)]
    items = [item for array in arrays for item in array]
    if items:
        _walk(items, f"{path}[]", 0, keyed, there, empty)
    if not items and not any(objects):
        if arrays or objects or None in values:
            empty.add(path)
        return
    inner: dict[str, list[Json]] = {}
    below: dict[str, int] = {}
    for key in sorted(set().union(*objects)):
        name = ANY if data or key.isdigit() else key
        inner.setdefault(name, []).extend(value[key] for value in objects if key in value)
        below[name] = data - 1 if data else keyed.get(key, 0)
    for name, found in inner.items():
        there.add(f"{path}.{name}")
        if not name.startswith("_"):
            _walk(found, f"{path}.{name}", below[name], keyed, there, empty)


def _xml(elements: Iterable[Element]) -> Json:
    """Elements by tag, with their attributes; text is a leaf."""
    told: dict[str, Json] = {}
    for element in elements:
        inner = {**element.attrib, **_xml(element)}
        told.setdefault(element.tag.rpartition("}")[2], []).append(inner or element.text)
    return told
