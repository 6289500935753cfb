"""The README's table of endpoints is the registry's."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from usage_pipeline.catalogue import README, renewed, table
from usage_pipeline.contract.schema import Role
from usage_pipeline.contract.vendor import History
from usage_pipeline.vendors.consul import CONSUL
from usage_pipeline.vendors.puppet import PUPPET
from usage_pipeline.vendors.registry import VENDORS


def test_the_readme_is_current() -> None:
    """Else: python -m usage_pipeline.catalogue."""
    text = README.read_text("utf-8")
    assert renewed(text, VENDORS.values()) == text


def test_every_endpoint_has_a_line() -> None:
    lines = table(VENDORS.values()).splitlines()
    endpoints = [(vendor, endpoint) for vendor in VENDORS.values() for endpoint in vendor.endpoints]
    assert len(lines) == 2 + len(endpoints)
    for line, (vendor, endpoint) in zip(lines[2:], endpoints, strict=True):
        assert line.startswith(f"| `{vendor.slug}` | [`{endpoint.slug}`](https://")
        assert line.replace("\\|", "").count("|") == lines[0].count("|")
        assert ("(opt-in)" in line) is not endpoint.default
        for metric in endpoint.metrics:
            assert f"`{metric.name}` ({metric.unit}" in line


@pytest.mark.parametrize(
    ("vendor", "slug"), [(vendor.slug, endpoint.slug) for vendor in VENDORS.values() for endpoint in vendor.endpoints]
)
def test_every_endpoint_says_what_permission_it_needs(vendor: str, slug: str) -> None:
    assert VENDORS[vendor].endpoint(slug).permission


def test_puppets_line_says_it_all() -> None:
    few = replace(PUPPET, endpoints=(replace(PUPPET.endpoints[0], metrics=PUPPET.endpoints[0].metrics[:1]),))
    (line,) = table([few]).splitlines()[2:]
    assert line == (
        "| `puppet` | [`usage`](https://www.puppet.com/docs/pe/latest/orchestrator_api_usage_endpoint) "
        "| `nodes` (Nodes) | window | day | 7 days after | `token` "
        f"| {PUPPET.endpoints[0].permission} |"
    )


def test_alternatives_roles_and_times_are_told() -> None:
    (endpoint,) = CONSUL.endpoints
    services, *_ = endpoint.metrics
    made = replace(
        endpoint, slug="made", metrics=(services, replace(services, role=Role.ENTITLED)), settles=timedelta(hours=25)
    )
    empty = replace(endpoint, slug="empty", metrics=(), history=History.WINDOW, default=False)
    told = table([replace(CONSUL, endpoints=(endpoint, made, empty))]).splitlines()[2:]
    cells = [[cell.strip() for cell in line.split("|")][3:8] for line in told]
    assert cells[0][1:] == ["snapshot", "moment", "at once", "none or `token`"]
    assert cells[1][0] == "`services` (Services; consumed, entitled)"
    assert cells[1][3] == "1 day 1 hour after"
    assert cells[2] == ["no numbers", "window", "list", "at its end", "none or `token`"]


def test_a_readme_without_the_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="<!-- endpoints -->"):
        renewed("# usage-pipeline", [])
