"""The tests of the board see it in a real browser."""

from tests.support.browser import browser, chromium, context, faults, page

__all__ = ["browser", "chromium", "context", "faults", "page"]
