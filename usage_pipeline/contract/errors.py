"""Errors, named by what happens next.

UsageError
├── ConfigurationError   somebody corrects accounts.yaml or the environment
├── CredentialsError     somebody renews a credential or grants a permission
├── RequestError         somebody reads the vendor's documentation: the request was refused
├── PayloadError         somebody reads the vendor's documentation: the answer does not fit
├── TransientError       nobody: wait and ask again
└── NotAvailableError    nobody: the vendor does not tell this, now or for this contract
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usage_pipeline.contract.answer import Answer


class UsageError(Exception):
    """Whatever this project raises on purpose; its text says what to do.

    `answer` is the vendor's answer that led to it, where there is one.
    """

    answer: Answer | None = None


class ConfigurationError(UsageError):
    """accounts.yaml or the environment is wrong."""


class CredentialsError(UsageError):
    """The vendor did not accept the credentials, or they lack a permission."""


class RequestError(UsageError):
    """The vendor refused the request for what it asks."""


class PayloadError(UsageError):
    """The answer is not what the vendor documents.

    `path` is the place in the answer, as a JSONPath such as `$.items[3].total_nodes`. Both repeat what the vendor sent,
    and nobody reads a megabyte of it: in the text, long ones are cut.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{_cut(path, 300)}: {_cut(problem, 1200)}")
        self.path = path


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"


class TransientError(UsageError):
    """The vendor could not answer now: asking again later may help. `wait` are the seconds that it asks for, if any."""

    wait: float | None = None


class NotAvailableError(UsageError):
    """The vendor does not tell this: a past day of a snapshot, or a feature outside the contract."""
