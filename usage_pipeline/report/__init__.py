"""The report: questions to the warehouse, drawn as charts, on one page that needs nothing else."""

from usage_pipeline.report.page import page, write
from usage_pipeline.report.questions import Answers, answers

__all__ = ["Answers", "answers", "page", "write"]
