"""A browser that has signed in to the board, and waits until a page is drawn."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from dispatcher.client import Client

__all__ = ["browser_at", "drawn", "signed_in"]

WAIT_MS: Final = 60_000

_QUIET: Final = """(quiet) => new Promise((done) => {
  let timer = setTimeout(done, quiet);
  const watcher = new MutationObserver(() => {
    clearTimeout(timer);
    timer = setTimeout(done, quiet);
  });
  watcher.observe(document, {childList: true, subtree: true, attributes: true});
  setTimeout(done, 10 * quiet);
})"""
"""Waits until nothing has changed for so many ms, or at most ten times as long: a farm lives."""


@asynccontextmanager
async def browser_at(endpoint: str) -> AsyncIterator[Browser]:
    """Drive a running Chromium until the block ends."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(endpoint, timeout=WAIT_MS)
        yield browser


@asynccontextmanager
async def signed_in(
    browser: Browser, client: Client, server: str, **settings: Any
) -> AsyncIterator[tuple[BrowserContext, Page]]:
    """Open the board in an empty profile, by a link with a one-time token.

    `settings` are those of `Browser.new_context`.
    """
    context = await browser.new_context(base_url=server, **settings)
    context.set_default_timeout(WAIT_MS)
    try:
        page = await context.new_page()
        await page.goto(f"/#token={(await client.sign_in()).token}")
        await page.wait_for_function("location.hash === ''")
        yield context, page
    finally:
        await context.close()


async def drawn(page: Page, view: str, quiet_ms: int = 300) -> None:
    """Wait until a page has filled the element of its view and has come to rest."""
    await page.wait_for_function(
        "(view) => (document.querySelector(view)?.innerText.length ?? 0) > 80", arg=view
    )
    await page.evaluate("document.fonts.ready")
    await page.evaluate(_QUIET, quiet_ms)
