"""The board in real Chromium: a page that is open on a dispatcher, and what went wrong in it.

One browser serves all tests of a process. Each test has a context of its own in it: an empty
profile, which nothing of another test can reach. Where there is no Chromium, the tests are skipped.

    async def test_…(page: Page, faults: Faults) -> None:
        await page.goto("/")
        await expect(page.get_by_role("heading", name="Farm")).to_be_visible()

`page` fails its test if anything was wrong that the test has not expected (`Faults.expect`).
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Request,
    async_playwright,
    expect,
)

from showing.chromium import NoChromiumError, started
from tests.support.servers import Running

__all__ = [
    "Faults",
    "accessible",
    "browser",
    "chromium",
    "connected",
    "context",
    "faults",
    "opened",
    "page",
]

AXE: Final = Path(__file__).parents[2] / ".axe/node_modules/axe-core/axe.min.js"
WAIT_MS: Final = 90_000
"""How long is waited for what must come to be true. It only passes when a test fails."""

_REPORTS: Final = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.violatedDirective} was broken by ${event.blockedURI}`));
"""

expect.set_options(timeout=WAIT_MS)


class Faults:
    """What went wrong in a page: errors of its console and scripts, CSP reports, failed requests.

    A request that the page itself gave up is no fault.
    """

    def __init__(self) -> None:
        self._seen: list[str] = []
        self._expected: list[re.Pattern[str]] = []

    def expect(self, *patterns: str) -> None:
        """Let what matches one of these regular expressions be no fault, whenever it is seen."""
        self._expected += map(re.compile, patterns)

    @property
    def unexpected(self) -> list[str]:
        """All that was seen, in its order, save what was expected."""
        return [it for it in self._seen if not any(known.search(it) for known in self._expected)]

    def watch(self, page: Page) -> None:
        """Note what goes wrong in a page from now on."""
        page.on("console", self._on_console)
        page.on("pageerror", self._on_page_error)
        page.on("requestfailed", self._on_failed_request)
        page.on("crash", lambda _: self._seen.append("the page crashed"))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "assert"}:
            self._seen.append(f"console: {message.text} ({message.location['url']})")

    def _on_page_error(self, error: Error) -> None:
        self._seen.append(f"script: {error.stack or error.message}")

    def _on_failed_request(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":
            self._seen.append(f"request: {request.method} {request.url}: {request.failure}")


@asynccontextmanager
async def connected(endpoint: str) -> AsyncIterator[Browser]:
    """Drive a running Chromium from this event loop until the block ends."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(endpoint, timeout=WAIT_MS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened(browser: Browser, url: str, **settings: Any) -> AsyncIterator[BrowserContext]:
    """Make a context whose addresses begin at `url`; `settings` are those of `new_context`."""
    made = await browser.new_context(base_url=url, reduced_motion="reduce", **settings)
    made.set_default_timeout(WAIT_MS)
    await made.add_init_script(_REPORTS)
    try:
        yield made
    finally:
        await made.close()


async def accessible(page: Page) -> None:
    """Fail if axe-core finds anything on the page that keeps people from using it.

    That is what it calls serious or critical. It knows the rules of WCAG 2.2, level AA.
    """
    if not AXE.exists():
        pytest.skip("there is no axe-core in .axe; scripts/setup puts it there if there is npm")
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    told = [
        f"{rule['id']}: {rule['help']}: {node['html']}"
        for rule in found["violations"]
        if rule["impact"] in {"serious", "critical"}
        for node in rule["nodes"]
    ]
    if told:
        raise AssertionError("axe-core found:\n" + "\n".join(told))


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The browser of this process: the address of its DevTools."""
    try:
        with started(tmp_path_factory.mktemp("chromium") / "profile") as endpoint:
            yield endpoint
    except NoChromiumError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
async def browser(chromium: str, anyio_backend: object) -> AsyncIterator[Browser]:
    """The same browser, driven from the module's event loop."""
    assert anyio_backend, "a module's fixture must ask for its event loop"
    async with connected(chromium) as driven:
        yield driven


@pytest.fixture
def faults() -> Faults:
    """What goes wrong in the pages of the test."""
    return Faults()


@pytest.fixture
async def context(
    browser: Browser, server: Running, faults: Faults
) -> AsyncIterator[BrowserContext]:
    """An empty profile, whose pages are open on `server` and are watched."""
    async with opened(browser, server.url) as made:
        made.on("page", faults.watch)
        yield made
    if faults.unexpected:
        raise AssertionError("wrong in the page:\n" + "\n".join(faults.unexpected))


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    """A page of that profile. It has not gone anywhere yet: `await page.goto("/")`."""
    return await context.new_page()
