"""The board in real Chromium: a page that is open on a dispatcher, and what went wrong in it.

One browser serves all tests of a process. Each test has a context of its own in it: an empty
profile, which nothing of another test can reach. Where there is no Chromium, the tests are skipped.

    async def test_…(page: Page, faults: Faults) -> None:
        await page.goto("/")
        await expect(page.get_by_role("heading", name="Farm")).to_be_visible()

`page` fails its test if anything was wrong that the test has not expected (`Faults.expect`).
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
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

from tests.support.servers import Running

__all__ = ["Faults", "browser", "chromium", "connected", "context", "faults", "opened", "page"]

START_S: Final = 120
END_S: Final = 30
WAIT_MS: Final = 90_000
"""How long is waited for what must come to be true. It only passes when a test fails."""

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"),
    *("--no-first-run", "--no-default-browser-check", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-breakpad", "--no-proxy-server"),
    *("--disable-features=Translate,OptimizationHints,MediaRouter", "--mute-audio"),
    *("--remote-debugging-port=0", "--force-color-profile=srgb", "--hide-scrollbars"),
)
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


@contextmanager
def started(profile: Path) -> Iterator[str]:
    """Run Chromium until the block ends; the block is given the address of its DevTools."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("there is no Chromium; as root scripts/setup installs it (apt-get)")
    profile.mkdir(parents=True)
    said = profile / "chromium.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield f"http://127.0.0.1:{_port_of(process, profile, said)}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its profile is thrown away
        process.wait(END_S)


def _port_of(process: subprocess.Popen[bytes], profile: Path, said: Path) -> int:
    """Wait until Chromium has written where it listens: the first line of this file."""
    active = profile / "DevToolsActivePort"
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if active.exists() and "\n" in (text := active.read_text()):
            return int(text.partition("\n")[0])
        time.sleep(0.02)
    raise AssertionError(f"Chromium did not start; it said:\n{said.read_text(errors='replace')}")


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


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The browser of this process: the address of its DevTools."""
    with started(tmp_path_factory.mktemp("chromium") / "profile") as endpoint:
        yield endpoint


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
    assert faults.unexpected == []


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    """A page of that profile. It has not gone anywhere yet: `await page.goto("/")`."""
    return await context.new_page()
