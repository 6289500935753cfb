"""What an account of ThousandEyes may be configured with, and which version of the API it is read by."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from usage_pipeline.contract.answer import Pairs
from usage_pipeline.contract.vendor import Account, Options

ACCEPT = (("Accept", "application/hal+json, application/json"),)
"""The header of requests of v7."""


class ThousandEyesOptions(Options):
    """`aid` is any account group of the organization to report on: needed where the user sees several."""

    api_version: Literal["v6", "v7"] | None = Field(
        default=None,
        description="v6 (Basic or Bearer) or v7 (Bearer only); v6 where only v6 takes the credentials or the format",
    )
    format: Literal["json", "xml"] = Field(default="json", description="Format to ask for; v7 has JSON only")
    aid: int | str | None = Field(default=None, description="Account group id that picks the organization")


def version(account: Account) -> str:
    """v7, unless v6 is said or something is asked for that only v6 has."""
    asked: str | None = account.options["api_version"]
    return asked or ("v6" if "email" in account.credentials or account.options["format"] == "xml" else "v7")


def aid(account: Account) -> Pairs:
    """The parameter that picks the organization, where one is configured."""
    told = account.options["aid"]
    return () if told is None else (("aid", str(told)),)
