"""`quotas` (v7): what organizations and account groups may consume in a billing period.

Read from the v7 document and the vendor's page "Setting Quotas". A quota caps the units of cloud and enterprise agent
tests together, in a month-long billing cycle that is not told here, so its value is that of a moment. No quota is no
row. All organizations are told in which the user may edit quotas, whatever `aid` says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.schema import Aggregation, Role, Temporality
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account, Block, Endpoint, History, Metric, Normalised
from usage_pipeline.kit.payload import Records
from usage_pipeline.vendors.thousandeyes import options
from usage_pipeline.vendors.thousandeyes.facts import GROUP

Names = Mapping[str, str]
ORGANIZATION = {"organization": "orgId"}
PATH = "/v7/quotas"
QUOTA = Metric(
    "test_units",
    "Units",
    "Units that cloud and enterprise agent tests may consume in a billing period by the quota that is set.",
    Role.ENTITLED,
    Aggregation.LAST,
    Temporality.INSTANT,
)


def requests(_account: Account, _days: Days) -> Iterator[Request]:
    yield Request(PATH, headers=options.ACCEPT)


def normalise(landing: Landing) -> Normalised:
    """A row an organization and one an account group that has a quota."""
    return Normalised(tuple(block for answer in landing.answers for block in _blocks(answer)))


def _blocks(answer: Answer) -> Iterator[Block]:
    body = kit.payload.obj(kit.payload.json(answer), "$")
    kit.payload.refuse_unknown_numbers(body, {"quotas"}, "$")
    known = {"organizationQuota", "accountGroupQuotas"}
    quotas = kit.payload.records(answer, kit.payload.member(body, "quotas"), "$.quotas", known)
    for index, quota in enumerate(quotas.items):
        organization = None
        if quota.get("organizationQuota") is not None:
            whole = kit.payload.record(
                answer, quota["organizationQuota"], quotas.at(index, "organizationQuota"), {"orgId", "value"}
            )
            organization = whole.items[0].get("orgId")
            yield from _rows(whole, ORGANIZATION, {})
        part = kit.payload.records(
            answer, quota.get("accountGroupQuotas") or [], quotas.at(index, "accountGroupQuotas"), {"aid", "value"}
        )
        part = replace(part, items=[{**item, "orgId": organization} for item in part.items])
        yield from _rows(part, GROUP, ORGANIZATION, optional=("value",))


def _rows(records: Records, dimensions: Names, labels: Names, optional: Collection[str] = ()) -> Iterator[Block]:
    now = records.answer.fetched_at
    return kit.frames.blocks(
        records, {"value": QUOTA}, start=now, end=now, dimensions=dimensions, labels=labels, optional=optional
    )


ENDPOINT = Endpoint(
    slug="quotas",
    title="Quotas of organizations and account groups",
    history=History.SNAPSHOT,
    documentation="https://developer.cisco.com/docs/thousandeyes/get-organization-and-account-group-usage-quota/",
    metrics=(QUOTA,),
    requests=requests,
    normalise=normalise,
    default=False,
    permission="Edit organization and account group quotas",
    dimensions=(*ORGANIZATION, *GROUP),
    labels=tuple(ORGANIZATION),
)
