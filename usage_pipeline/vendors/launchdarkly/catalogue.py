"""The catalogue of projects and environments: keys and names for the ids that usage is split by.

It is asked for beside usage that is split by one of them, and kept with it, so that reading needs nothing else.
Read from the vendor's API overview and its client: pages by limit and offset, environments where `expand` asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer, Request

if TYPE_CHECKING:
    import pandas as pd

LIMIT = 20
PATH = "/api/v2/projects"
FIRST = Request(
    PATH,
    params=(("limit", str(LIMIT)), ("offset", "0"), ("expand", "environments")),
    headers=(("LD-API-Version", "20240415"),),
    part="catalogue",
)


def follow(answer: Answer) -> Request | None:
    """The next page of the catalogue; answers on usage have none. How many items there are need not be told."""
    if answer.request.path != PATH:
        return None
    body = kit.payload.json(answer)
    params = dict(answer.request.params)
    told = len(kit.payload.array(kit.payload.member(body, "items"), "$.items"))
    offset = int(params["offset"]) + told
    total = body.get("totalCount")
    if not told or (offset >= total if isinstance(total, int) else told < LIMIT):
        return None
    return replace(FIRST, params=tuple((params | {"offset": str(offset)}).items()))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Key and name by id. `notes` say whose environments the vendor did not list in full."""

    projects: dict[str, tuple[str, str]]
    environments: dict[str, tuple[str, str]]
    notes: tuple[str, ...] = ()

    def labelled(self, dimensions: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
        """The labels, with those of the ids among the dimensions; an id that is gone, or not to be seen, has none."""
        found: dict[str, Any] = {}
        for name, known in (("project", self.projects), ("environment", self.environments)):
            if name in dimensions:
                told = [known.get(value, (None, None)) for value in dimensions[name]]
                found |= {f"{name}_key": [key for key, _ in told], f"{name}_name": [called for _, called in told]}
        return labels.assign(**found)


def read(answers: Iterable[Answer]) -> Catalogue:
    """The pages of the catalogue among the answers."""
    projects: dict[str, tuple[str, str]] = {}
    environments: dict[str, tuple[str, str]] = {}
    notes = []
    for answer in answers:
        if answer.request.path != PATH:
            continue
        for place, project in _items(kit.payload.json(answer), "$"):
            projects |= _named(project, place)
            inner = kit.payload.member(project, "environments", place)
            items = list(_items(inner, f"{place}.environments"))
            for where, environment in items:
                environments |= _named(environment, where)
            total = inner.get("totalCount")
            if isinstance(total, int) and total != len(items):
                notes.append(f"{len(items)} of {total} environments of project {project['key']} have labels")
    return Catalogue(projects, environments, tuple(notes))


def _items(value: Any, path: str) -> Iterable[tuple[str, Any]]:
    items = kit.payload.array(kit.payload.member(value, "items", path), f"{path}.items")
    return ((f"{path}.items[{n}]", item) for n, item in enumerate(items))


def _named(item: Any, path: str) -> dict[str, tuple[str, str]]:
    told = [kit.payload.text(kit.payload.member(item, name, path), f"{path}.{name}") for name in ("_id", "key", "name")]
    return {told[0]: (told[1], told[2])}
