"""The page: every section in one HTML file that asks for nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from usage_pipeline import files
from usage_pipeline.report import sections, words
from usage_pipeline.report.questions import Answers


def page(answers: Answers, now: datetime, titles: Mapping[str, str]) -> str:
    """The report as of `now` (UTC). `titles` are the vendors' names for people, by slug."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        as_of=words.moment(now),
        facts=sections.facts(answers),
        utilization=[sections.utilization(row, titles) for row in answers.utilization],
        changes=sections.changes(answers.changes, titles),
        restatements=[sections.restatement(row, titles) for row in answers.restatements],
        vendors=sections.vendors(answers, titles),
        coverage=sections.coverage(answers, titles),
        legend=sections.legend(),
        days_covered=sections.DAYS_COVERED,
    )


def write(html: str, file: Path) -> int:
    """Put the page in its place, whole or not at all; its bytes. Raises OSError where it cannot be written."""
    with files.replacing(file) as new:
        return new.write_bytes(html.encode())
