"""The table of vendors and endpoints in the README, out of the registry.

`python -m usage_pipeline.catalogue` writes it anew between its markers.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from usage_pipeline.contract.schema import Role, Temporality
from usage_pipeline.contract.vendor import Endpoint, History, Vendor
from usage_pipeline.vendors.registry import VENDORS

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- endpoints -->", "<!-- /endpoints -->"
HEAD = ("vendor", "endpoint", "counts", "history", "grain", "final", "credentials", "permission")
GRAINS = {
    Temporality.DELTA: "day",
    Temporality.CUMULATIVE: "running total",
    Temporality.ROLLING: "trailing window",
    Temporality.INSTANT: "moment",
}
NO_CREDENTIALS = "none"


def table(vendors: Iterable[Vendor]) -> str:
    """One line an endpoint, in Markdown."""
    lines = [HEAD, ("---",) * len(HEAD)]
    lines += [_line(vendor, endpoint) for vendor in vendors for endpoint in vendor.endpoints]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(vendor: Vendor, endpoint: Endpoint) -> tuple[str, ...]:
    return (
        f"`{vendor.slug}`",
        f"[`{endpoint.slug}`]({endpoint.documentation}){'' if endpoint.default else ' (opt-in)'}",
        _counts(endpoint),
        endpoint.history.value,
        ", ".join(dict.fromkeys(GRAINS[metric.temporality] for metric in endpoint.metrics)) or "list",
        _final(endpoint),
        " or ".join(_credentials(names) for names in vendor.credentials),
        endpoint.permission.replace("|", "\\|"),
    )


def _counts(endpoint: Endpoint) -> str:
    """Metrics by name and unit, with the roles where one is more than consumed."""
    roles: dict[tuple[str, str], set[Role]] = {}
    for metric in endpoint.metrics:
        roles.setdefault((metric.name, metric.unit), set()).add(metric.role)
    return (
        ", ".join(
            f"`{name}` ({'; '.join([unit, *([] if found == {Role.CONSUMED} else [', '.join(sorted(found))])])})"
            for (name, unit), found in roles.items()
        )
        or "no numbers"
    )


def _final(endpoint: Endpoint) -> str:
    """When a value no longer changes, counted from the end of its period."""
    if endpoint.settles:
        days, seconds = divmod(int(endpoint.settles.total_seconds()), 24 * 3600)
        return (
            " ".join(
                f"{count} {unit}{'' if count == 1 else 's'}"
                for count, unit in ((days, "day"), (seconds // 3600, "hour"))
                if count
            )
            + " after"
        )
    return "at once" if endpoint.history is History.SNAPSHOT else "at its end"


def _credentials(names: frozenset[str]) -> str:
    return " and ".join(f"`{name}`" for name in sorted(names)) or NO_CREDENTIALS


def renewed(readme: str, vendors: Iterable[Vendor]) -> str:
    """The text of a README with the table as it should be. Raises ValueError where the markers are missing."""
    before, begin, rest = readme.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the README needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table(vendors)}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(renewed(README.read_text("utf-8"), VENDORS.values()), "utf-8")
