"""The metrics of `usage`, of either version, and the fields they are read from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from usage_pipeline.contract.schema import Aggregation, Role, Temporality
from usage_pipeline.contract.vendor import Metric

# Prefix of the vendor's fields: metric, unit, noun.
UNITS = {
    "cloudUnits": ("cloud_units", "Cloud Units", "Cloud units"),
    "enterpriseUnits": ("enterprise_units", "Enterprise Units", "Enterprise units"),
    "connectedDevicesUnits": ("connected_devices_units", "Connected Devices Units", "Connected devices units"),
}
AGENTS = {
    "endpointAgents": ("endpoint_agents", "Agents", "Endpoint agents"),
    "endpointAgentsEssentials": ("endpoint_agents_essentials", "Agents", "Endpoint agents essentials"),
    "endpointAgentsEmbedded": ("endpoint_agents_embedded", "Agents", "Embedded endpoint agents"),
    "enterpriseAgents": ("enterprise_agents", "Agents", "Enterprise agents"),
}
DEVICES = {"deviceAgents": ("device_agents", "Agents", "Device agents of connected devices")}
Prefixes = Mapping[str, tuple[str, str, str]]


def _metrics(prefixes: Prefixes, suffix: str, role: Role, aggregation: Aggregation, told: str) -> dict[str, Metric]:
    return {
        f"{prefix}{suffix}": Metric(name, unit, f"{noun} {told}.", role, aggregation, Temporality.CUMULATIVE)
        for prefix, (name, unit, noun) in prefixes.items()
    }


PEAK = "enabled in the busiest hour of the billing period so far"
CONTRACT = "that the contract includes in a billing period"
CLOUD = {"cloudUnits": UNITS["cloudUnits"]}
USED = _metrics(UNITS, "Used", Role.CONSUMED, Aggregation.SUM, "consumed in the billing period so far") | _metrics(
    AGENTS, "Used", Role.CONSUMED, Aggregation.MAX, PEAK
)
PROJECTED = _metrics(UNITS, "Projected", Role.PROJECTED, Aggregation.SUM, "projected for the whole billing period")
INCLUDED = _metrics(CLOUD, "Included", Role.ENTITLED, Aggregation.SUM, CONTRACT) | _metrics(
    AGENTS | DEVICES, "Included", Role.ENTITLED, Aggregation.MAX, CONTRACT
)
IGNORED = {
    **dict.fromkeys((f"{prefix}NextBillingPeriod" for prefix in UNITS), "the next period's bounds are not told"),
    "allocations": "the specification says neither what is allocated nor in which unit",
}

GROUP, GROUP_NAME = {"account_group": "aid"}, {"account_group_name": "accountGroupName"}
TEST, TEST_NAMES = {"test": "testId"}, {"test_name": "testName", "test_type": "testType"}
AGENT, AGENT_NAMES = {"agent": "agent"}, {"agent_name": "agentName", "agent_id": "agentId"}
# Array: prefix of its fields, dimensions, labels. The field `agent` is ours, from AGENT_IDS.
PARTS = {
    "tests": ("cloudUnits", GROUP | TEST, GROUP_NAME | TEST_NAMES),
    "enterpriseAgentUnits": ("enterpriseUnits", GROUP | AGENT, GROUP_NAME | AGENT_NAMES),
    **{prefix: (prefix, GROUP, GROUP_NAME) for prefix in AGENTS},
}
# Best first: two agents of the v6 page share an agentId, v7 has no vagentId and may leave agentId out.
AGENT_IDS = ("vagentId", "agentId", "agentName")
TEXTS = {"monthStart", "monthEnd", "aid", "accountGroupName", "testId", "testName", "testType", *AGENT_IDS}


def agent(item: Mapping[str, Any]) -> Any:
    """What tells an agent from others."""
    return next((item[key] for key in AGENT_IDS if item.get(key) not in (None, "")), None)
