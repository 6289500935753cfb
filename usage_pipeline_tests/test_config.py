"""accounts.yaml: mistakes are named with line, key and what is allowed, and stay with the account that has them."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

import usage_pipeline
from usage_pipeline import config
from usage_pipeline.contract.errors import ConfigurationError
from usage_pipeline.contract.vendor import Entitlement
from usage_pipeline.sandbox import server
from usage_pipeline.vendors.registry import VENDORS

RIGHT = """\
  - name: right
    vendor: puppet
    base_url: https://puppet.example:8143
    start_date: 2026-01-01
    credentials: {token: "${PUPPET_TOKEN}"}
"""


def wrong(**changes: str) -> str:
    """A second account, with some of its lines changed; an empty change takes the line away."""
    lines = {
        "name": "name: other",
        "vendor": "vendor: puppet",
        "base_url": "base_url: https://other.example",
        "start_date": "start_date: 2026-01-01",
        "credentials": 'credentials: {token: "${OTHER_TOKEN}"}',
    } | changes
    kept = [line for line in lines.values() if line]
    return "accounts:\n" + RIGHT + "  - " + "\n    ".join(kept) + "\n"


# Lines 2 to 6 hold the account that is right, lines 7 to 11 the one that is not.
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (wrong(vendor="vendor: pupet"), "f:8: accounts[1].vendor: 'pupet' is unknown; allowed are: consul, aveva, "),
        (
            wrong(extra="endpoint: [usage]"),
            "f:12: accounts[1].endpoint: unknown; allowed are: name, vendor, base_url, ",
        ),
        (
            wrong(extra="endpoints: [usage, use]"),
            "f:12: accounts[1].endpoints[1]: 'use' is unknown; allowed are: usage",
        ),
        (wrong(extra="endpoints: []"), "f:12: accounts[1].endpoints: is empty; allowed are: usage"),
        (
            wrong(extra="options: {event: include}"),
            "f:12: accounts[1].options.event: unknown; allowed are: ca_bundle, events",
        ),
        (
            wrong(extra="options: {events: some}"),
            "f:12: accounts[1].options.events: Input should be 'include' or 'exclude'",
        ),
        (
            wrong(extra="entitlements: [{metric: node, quantity: 1}]"),
            "f:12: accounts[1].entitlements[0].metric: 'node' is unknown; allowed are: corrective_agent_changes, ",
        ),
        (
            wrong(extra="entitlements: [{metric: nodes, quantity: -1}]"),
            "f:12: accounts[1].entitlements[0].quantity: Input should be greater than or equal to 0",
        ),
        (
            wrong(extra="entitlements: [{metric: nodes}]"),
            "f:12: accounts[1].entitlements[0].quantity: is missing",
        ),
        (
            wrong(extra="entitlements: [{metric: nodes, quantity: 5, valid_to: 2025-12-31}]"),
            "f:12: accounts[1].entitlements[0].valid_to: 2025-12-31 is before the first day, 2026-01-01",
        ),
        (
            wrong(
                extra="entitlements: [{metric: nodes, quantity: 5, valid_to: 2026-03-31}, "
                "{metric: nodes, quantity: 6, valid_from: 2026-03-31}]"
            ),
            "f:12: accounts[1].entitlements[1]: overlaps another entitlement of nodes, from 2026-01-01: one at a time",
        ),
        (wrong(name="name: right"), "f:7: accounts[1].name: 'right' is the name of another account"),
        (wrong(name="name: Other"), "f:7: accounts[1].name: String should match pattern"),
        (wrong(start_date="start_date: 2026-02-30"), "f:10: accounts[1].start_date: Input should be a valid date"),
        (wrong(start_date=""), "f:7: accounts[1].start_date: is missing"),
        (wrong(base_url=""), "f:7: accounts[1].base_url: is missing: Puppet Enterprise has no public address"),
        (wrong(base_url="base_url: other.example"), "f:9: accounts[1].base_url: 'other.example' is no address"),
        (
            wrong(base_url="base_url: https://u:p@other.example"),
            "f:9: accounts[1].base_url: holds more than scheme, host",
        ),
        (
            wrong(credentials="credentials: {}"),
            "f:11: accounts[1].credentials: Puppet Enterprise needs {token}; given: none",
        ),
    ],
)
def test_mistake_names_line_key_and_what_is_allowed(text: str, said: str) -> None:
    found = config.parse(text, "f")
    assert [account.name for account in found.accounts] == ["right"]
    assert len(found.problems) == 1
    assert str(found.problems[0]).startswith(said)


def test_literal_secret_is_refused_and_not_repeated() -> None:
    found = config.parse(wrong(credentials="credentials: {token: hunter2-hunter2}"), "f")
    assert [str(problem) for problem in found.problems] == [
        "f:11: accounts[1].credentials.token: must be ${VARIABLE}: secrets live in the environment, not in this file"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accounts: [\n", "f:2: not YAML"),
        ("account: []\n", "f:1: accounts: a list of accounts must stand under this key"),
        ("", "f:1: accounts: a list of accounts must stand under this key"),
        ("accounts: {}\n", "f:1: accounts: a list of accounts must stand under this key"),
    ],
)
def test_file_that_is_no_list_of_accounts_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config.parse(text, "f")
    assert str(caught.value).startswith(said)


def test_unknown_key_beside_accounts_is_named() -> None:
    found = config.parse("acounts: []\naccounts:\n" + RIGHT, "f")
    assert [str(problem) for problem in found.problems] == ["f:1: acounts: unknown; allowed is: accounts"]
    assert [account.name for account in found.accounts] == ["right"]


def test_entry_that_is_no_account_is_named() -> None:
    found = config.parse("accounts:\n" + RIGHT + "  - puppet\n", "f")
    assert str(found.problems[0]).startswith("f:7: accounts[1]: ")
    assert [account.name for account in found.accounts] == ["right"]


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml: No such file or directory.*USAGE_PIPELINE_ACCOUNTS"):
        config.read(tmp_path / "none.yaml")


def test_unset_variable_names_variable_and_account_and_stops_only_that_account() -> None:
    first, second = config.parse(wrong(), "f").accounts
    environment = {"OTHER_TOKEN": "a-secret"}
    with pytest.raises(ConfigurationError) as caught:
        config.secrets(first, environment)
    assert str(caught.value) == "account 'right': the variable PUPPET_TOKEN (token) is not set"
    assert config.secrets(second, environment) == {"token": "a-secret"}


def test_asking_for_a_wrong_account_says_what_is_wrong_with_it() -> None:
    found = config.parse(wrong(vendor="vendor: pupet"), "f")
    with pytest.raises(ConfigurationError, match=r"f:8: .*'pupet' is unknown"):
        found.account("other")
    with pytest.raises(ConfigurationError, match="there is no account 'third'; configured are: right"):
        found.account("third")


def test_sandbox_accounts_are_right_and_their_variables_are_told() -> None:
    found = config.read(config.SANDBOX_ACCOUNTS)
    assert not found.problems
    assert {account.vendor for account in found.accounts} == set(server.VENDORS) == set(VENDORS)
    for account in found.accounts:
        config.secrets(account, server.environment())


def test_accounts_file_is_the_named_one_else_the_own_else_the_sandboxs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert config.find({}) == config.SANDBOX_ACCOUNTS
    Path("accounts.yaml").write_text("accounts: []")
    assert config.find({}) == Path("accounts.yaml")
    assert config.find({"USAGE_PIPELINE_ACCOUNTS": "/elsewhere.yaml"}) == Path("/elsewhere.yaml")


def test_shipped_json_schema_is_current() -> None:
    """Write it anew with `python -m usage_pipeline.config`."""
    shipped = Path(usage_pipeline.__file__).with_name("accounts.schema.json")
    assert json.loads(shipped.read_text()) == config.json_schema()


def test_entitlements_follow_each_other_and_begin_with_the_account() -> None:
    text = wrong(
        extra="entitlements: [{metric: nodes, quantity: 0.5, valid_to: 2026-03-31}, "
        "{metric: nodes, quantity: 600, valid_from: 2026-04-01}, {metric: task_runs_by_node, quantity: 9}]"
    )
    other = config.parse(text, "f").account("other")
    assert other.entitlements == (
        Entitlement("nodes", Decimal("0.5"), date(2026, 1, 1), date(2026, 3, 31)),
        Entitlement("nodes", Decimal(600), date(2026, 4, 1)),
        Entitlement("task_runs_by_node", Decimal(9), date(2026, 1, 1)),
    )
