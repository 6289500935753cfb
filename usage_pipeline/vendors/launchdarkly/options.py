"""What an account of LaunchDarkly may be configured with, and which of it fits together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated

from pydantic import Field

from usage_pipeline.contract.vendor import Account, Options
from usage_pipeline.vendors.launchdarkly.asking import needs_project_keys
from usage_pipeline.vendors.launchdarkly.facts import SERIES

Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]


class Flag(Options):
    """A flag in one environment, by keys as they stand in the addresses of LaunchDarkly's pages."""

    project: Key
    environment: Key
    flag: Key


class LaunchDarklyOptions(Options):
    """What is asked for beside each endpoint's usual totals."""

    group_by: dict[str, list[str]] = Field(
        default_factory=dict, description="Endpoint to its groupBy values, asked for beside the total"
    )
    aggregations: dict[str, Annotated[list[str], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Endpoint to its aggregation types (incremental, month_to_date, rolling_30d, average)",
    )
    flags: list[Flag] = Field(
        default_factory=list, description="Flags of the endpoint `evaluations`: each is a request of its own"
    )
    project_keys: list[Key] = Field(
        default_factory=list, max_length=100, description="Projects of data_export_events, where projectId splits it"
    )


def check(account: Account) -> None:
    """Refuse groupings that the endpoint does not offer: the vendor's servers may just overlook them."""
    group_by = account.options["group_by"]
    _offered("group_by", group_by, {series.slug: series.group_by for series in SERIES}, "split by")
    typed = {series.slug: tuple(series.types) if series.dialect.typed else () for series in SERIES}
    _offered("aggregations", account.options["aggregations"], typed, "told as")
    for series in SERIES:
        if needs_project_keys(series, group_by.get(series.slug, [])) and not account.options["project_keys"]:
            raise ValueError(f"group_by: {series.slug}: 'projectId' needs project_keys, a list of 1 to 100 projects")
    if "evaluations" in account.endpoints and not account.options["flags"]:
        raise ValueError("flags: the endpoint evaluations needs a list of {project, environment, flag}")
    flags = ["/".join(flag.values()) for flag in account.options["flags"]]
    if twice := [flag for flag in flags if flags.count(flag) > 1]:
        raise ValueError(f"flags: {twice[0]} is listed twice: it would be asked for, and counted, twice")


def _offered(option: str, given: Mapping[str, list[str]], offered: Mapping[str, Collection[str]], how: str) -> None:
    for slug, values in given.items():
        if slug not in offered:
            raise ValueError(f"{option}: there is no endpoint '{slug}'; there are {', '.join(sorted(offered))}")
        for value in values:
            if value not in offered[slug] or values.count(value) > 1:
                problem = "twice" if value in offered[slug] else "unknown"
                allowed = ", ".join(offered[slug]) or "nothing"
                raise ValueError(f"{option}: {slug}: '{value}' is {problem}; {slug} can be {how} {allowed}")
