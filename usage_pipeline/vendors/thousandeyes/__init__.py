"""ThousandEyes: units and agents of the current billing period, units of past days, and quotas.

Read from the v6 reference page "Usage" (JSON and XML; v6 is out of support since 2025-05-27) and the v7 OpenAPI
document 7.0.99 (2026-08). `usage` is a reading of a meter, `units_*` tell past days to customers on usage-based
pricing, `quotas` what is set now; the last two are of v7 only. Odd: `aid` picks the organization and filters nothing,
the period is not a calendar month, v6 times have no zone, a new test has no projection, the shape of the XML is not
documented, nor is how an account without usage-based pricing is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.time import Clock
from usage_pipeline.contract.vendor import Account, Vendor
from usage_pipeline.vendors.thousandeyes import options, quotas, units, usage, xml
from usage_pipeline.vendors.thousandeyes.options import ThousandEyesOptions

if TYPE_CHECKING:
    import httpx

__all__ = ["THOUSANDEYES", "ThousandEyesOptions"]

V7_ONLY = (*units.ENDPOINTS, quotas.ENDPOINT)


def explain(answer: Answer) -> str:
    """v6 says {errorMessage}, v7 problem+json or, for 401, {error, error_description}."""
    return ". ".join(filter(None, (_said(answer), _advice(answer))))


def _advice(answer: Answer) -> str:
    path = answer.request.path
    if unavailable(answer):
        return "The vendor tells this to customers on usage-based pricing only"
    if answer.status == 403 and path.startswith(quotas.PATH):
        return "The user's role needs the permission Edit organization and account group quotas"
    if answer.status == 403:
        return "The user's role needs the permission View Billing (in v7: View organization usage)"
    if answer.status in {404, 410} and path.startswith("/v6"):
        return "v6 is out of support since 2025-05-27: set options: api_version to v7, which takes a bearer_token"
    return ""


def _said(answer: Answer) -> str:
    try:
        if answer.is_xml:
            body = {xml.name(element.tag): element.text for element in kit.payload.xml(answer).iter()}
        else:
            body = kit.payload.obj(kit.payload.json(answer), "$")
    except PayloadError:
        body = {}
    keys = ("errorMessage", "title", "detail", "error", "error_description")
    said = [text for text in map(body.get, keys) if isinstance(text, str) and text.strip()]
    return ": ".join(said) or answer.body[:200].decode(errors="replace").strip()


def unavailable(answer: Answer) -> bool:
    """Accounts without usage-based pricing have no units of past days."""
    return units.unavailable(answer, _said(answer))


def auth(_account: Account, secrets: Mapping[str, str], _clock: Clock) -> httpx.Auth:
    """Bearer for OAuth tokens; Basic, of v6 only, for an e-mail address and its API token."""
    if "bearer_token" in secrets:
        return kit.auth.bearer(secrets["bearer_token"])
    return kit.auth.basic(secrets["email"], secrets["token"])


def check(account: Account) -> None:
    """Raises ValueError where one version is asked for something that only the other has."""
    if options.version(account) == "v6":
        wanted = [endpoint.slug for endpoint in V7_ONLY if endpoint.slug in account.endpoints]
        if wanted:
            raise ValueError(
                f"v6 has no {' and no '.join(wanted)}: give the account a bearer_token, JSON as its format "
                "and api_version: v7, or take them out of its endpoints"
            )
        return
    if "bearer_token" not in account.credentials:
        raise ValueError("the v7 API takes a bearer_token only, not email and token")
    if account.options["format"] == "xml":
        raise ValueError("the v7 API answers JSON only: remove format: xml")


THOUSANDEYES = Vendor(
    slug="thousandeyes",
    title="ThousandEyes",
    provider="Cisco",
    service=("Management and Governance", "Observability"),
    options=ThousandEyesOptions,
    credentials=(frozenset({"email", "token"}), frozenset({"bearer_token"})),
    auth=auth,
    explain=explain,
    base_url="https://api.thousandeyes.com",
    reset_headers={"x-organization-rate-limit-reset": 1},
    rate=(240, 60),
    check=check,
    unavailable=unavailable,
    endpoints=(usage.ENDPOINT, *V7_ONLY),
)
