"""A month of an endpoint as we have it, and the same questions asked by the vendor's own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from usage_pipeline import pipeline, stages
from usage_pipeline.contract.answer import Answer
from usage_pipeline.contract.schema import INVENTORY
from usage_pipeline.contract.time import Days
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests import contract_world as world
from usage_pipeline_tests.conftest import NOW, TurnableClock
from usage_pipeline_tests.oracle import documents

# From the first of the month: projections tell the whole of it.
MONTH = Days(NOW.date().replace(day=1), NOW.date())


@dataclass(frozen=True)
class Loaded:
    """What the tables hold of an endpoint's month, and the answers that it was read from."""

    rows: list[dict[str, Any]]
    inventory: list[dict[str, Any]]
    answers: list[Answer]

    def of(self, answer: Answer) -> list[dict[str, Any]]:
        """The rows of either table that were read from an answer."""
        return [row for row in self.rows + self.inventory if row["response_id"] == answer.response_id]


Load = Callable[[str], Loaded]


@contextmanager
def loading(vendor: str, options: Mapping[str, Any], home: Path) -> Iterator[tuple[str, Load]]:
    """The sandbox's address of a vendor, and how to load an endpoint's month from it: each once, when it is needed."""
    clock, loaded = TurnableClock(), dict[str, Loaded]()
    with world.sandbox(clock) as base:
        found = world.account(vendor, base)
        account = replace(found, options=VENDORS[vendor].options(**{**found.options, **options}).model_dump())

        def load(slug: str) -> Loaded:
            if slug not in loaded:
                loaded[slug] = pull(slug)
            return loaded[slug]

        def pull(slug: str) -> Loaded:
            assert pipeline.pull(world.place(home / slug, clock), account, slug, MONTH).failures == {}
            store = stages.raw.store(str(home / slug))
            kept = stages.raw.find(store, vendor, account.name, slug, MONTH)
            answers = [answer for each in kept for answer in stages.raw.read(store, each).answers]
            return Loaded(world.table(home / slug), world.table(home / slug, INVENTORY), answers)

        yield f"{base}/{vendor}", load


def ask_again(client: Any, vendor: str, answer: Answer) -> Any:
    """What the vendor's client makes of the question that this is an answer to, as JSON."""
    operation = documents.find(vendor, answer.request.path)
    place = operation and operation.matches(answer.request.path)
    assert operation and place, f"{answer.request.path} is not documented"  # noqa: PT018
    types = {each["name"]: each["schema"].get("type") for each in operation.parameters}
    said: dict[str, Any] = dict(answer.request.params) | place.groupdict()
    for name, kind in types.items():
        if name in said and kind in {"integer", "array"}:
            said[name] = int(said[name]) if kind == "integer" else said[name].split(",")
    return plain(getattr(client, operation.method)(**{keyword(name): value for name, value in said.items()}))


def keyword(name: str) -> str:
    return "var_from" if name == "from" else documents.snake(name)


def plain(told: Any) -> Any:
    """A client's models as the JSON that they stand for."""
    if isinstance(told, list):
        return [plain(each) for each in told]
    return told.model_dump(mode="json", by_alias=True, exclude_none=True)


def faults(vendor: str, answer: Answer, body: Any) -> list[str]:
    """What the vendor's document does not know of a question and its answer."""
    operation = documents.find(vendor, answer.request.path)
    if operation is None:
        return [f"{answer.request.path} is not documented"]
    unknown = {name for name, _ in answer.request.params} - {*operation.names("query")}
    return [
        *(f"{name} is no parameter of {operation.path}" for name in sorted(unknown)),
        *operation.faults(answer.status, answer.headers["content-type"], body),
    ]
