"""The browser, for the tests that look at the page."""

from usage_pipeline_tests.browser import browser

__all__ = ["browser"]
