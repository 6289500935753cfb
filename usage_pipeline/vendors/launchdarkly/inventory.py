"""Lists of SDKs: no numbers, so they go to `inventory`, with the time of the capture as the time they were seen.

The lists are of what connected in some trailing time (an hour-old day, 60 days, seven days) and tell only the present.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account, Endpoint, History, Normalised
from usage_pipeline.vendors.launchdarkly.facts import BETA, DOCUMENTATION, PERMISSION, PREFIX

if TYPE_CHECKING:
    import pandas as pd

TRAIL = timedelta(days=6)

# The vendor's members, and our attributes. Members of `IDENTITY` tell one item from another.
ATTRIBUTES = {
    "sdk": "sdk",
    "name": "sdk",
    "version": "version",
    "type": "type",
    "source": "source",
    "projectId": "project",
    "environmentId": "environment",
    "applicationId": "application",
    "connectionType": "connection_type",
    "relayVersion": "relay_version",
    "projectKey": "project_key",
    "projectName": "project_name",
    "environmentKey": "environment_key",
    "environmentName": "environment_name",
    "ldLatestVersion": "latest_version",
    "latestReleaseUrl": "latest_release_url",
    "eolStatus": "eol_status",
    "relayEolStatus": "relay_eol_status",
    "relayLatestVersion": "relay_latest_version",
    "relayLatestReleaseUrl": "relay_latest_release_url",
}
IDENTITY = (
    "sdk", "version", "type", "source", "project", "environment", "application", "connection_type", "relay_version",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listing:
    """One list. `items` names the member that holds it, empty where the answer is the list itself.

    `paths` are its paths, and what each says of all its items. `windowed` lists take a range, and are asked for the
    seven days up to the present one, which is what they tell by default.
    """

    slug: str
    title: str
    items: str
    paths: tuple[tuple[str, Mapping[str, str]], ...]
    windowed: bool = False


LISTINGS = (
    Listing(
        "mau_sdks",
        "SDKs seen by the deprecated MAU count",
        "sdks",
        (("mau/sdks", {"type": "client"}), ("mau/sdks", {"type": "server"})),
        windowed=True,
    ),
    Listing("sdk_versions_all", "SDK versions in use", "", (("sdk-versions/all", {}),)),
    Listing("sdk_versions_details", "Newest SDK versions in use", "", (("sdk-versions/details", {}),)),
    Listing(
        "streams_sdk_versions",
        "SDK versions that hold streams",
        "sdkVersions",
        tuple((f"streams/{source}/sdkversions", {"source": source}) for source in ("client", "server")),
    ),
)


def _requests(listing: Listing) -> Callable[[Account, Days], Iterator[Request]]:
    def requests(_account: Account, days: Days) -> Iterator[Request]:
        for path, said in listing.paths:
            params: tuple[tuple[str, str], ...] = ()
            if listing.windowed:
                first, end = (int(instant.timestamp()) * 1000 for instant in (days.start - TRAIL, days.end))
                params = (("from", str(first)), ("to", str(end - 1)), ("sdktype", said["type"]))
            yield Request(f"{PREFIX}{path}", params=params, headers=BETA, part=next(iter(said.values()), ""))

    return requests


def _normalise(listing: Listing) -> Callable[[Landing], Normalised]:
    def normalise(landing: Landing) -> Normalised:
        """One row an item, named by what tells it from the others."""
        said = {(f"{PREFIX}{path}", next(iter(more.values()), "")): more for path, more in listing.paths}
        return Normalised(
            inventory=tuple(
                _frame(listing, answer, said[answer.request.path, answer.request.part]) for answer in landing.answers
            )
        )

    return normalise


def _frame(listing: Listing, answer: Answer, said: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

    body, path = kit.payload.json(answer), "$"
    if listing.items:
        kit.payload.refuse_unknown_numbers(kit.payload.obj(body, "$"), {listing.items}, "$")
        body, path = kit.payload.member(body, listing.items), f"$.{listing.items}"
    items = [_attributes(item, f"{path}[{n}]") | dict(said) for n, item in enumerate(kit.payload.array(body, path))]
    return pd.DataFrame(
        {
            "item": [urlencode({name: item[name] for name in IDENTITY if item.get(name)}) for item in items],
            "attributes": [sorted(item.items()) for item in items],
            "response_id": answer.response_id,
        }
    )


def _attributes(item: Any, path: str) -> dict[str, str]:
    """What an item says of itself: it is a name, or an object of texts. What we have no name for keeps its own."""
    if isinstance(item, str):
        return {"sdk": item}
    found = {}
    for name, value in kit.payload.obj(item, path).items():
        if value is not None:
            found[ATTRIBUTES.get(name, name)] = kit.payload.text(value, f"{path}.{name}")
    if not found.get("sdk"):
        raise PayloadError(path, "the name of the SDK is missing")
    return found


ENDPOINTS = tuple(
    Endpoint(
        slug=listing.slug,
        title=listing.title,
        history=History.SNAPSHOT,
        documentation=DOCUMENTATION,
        metrics=(),
        requests=_requests(listing),
        normalise=_normalise(listing),
        default=False,
        permission=PERMISSION,
    )
    for listing in LISTINGS
)
