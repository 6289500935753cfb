"""The browser, for the test that looks at Dagster's pages."""

from usage_pipeline_tests.browser import browser

__all__ = ["browser"]
