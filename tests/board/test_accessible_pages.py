"""The pages of one thing, the form and the past, as axe-core sees them, in light and dark."""

from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.board.test_engine_page import DAY
from tests.support.browser import Faults, accessible, opened
from tests.support.past import signed_in, written_past
from tests.support.servers import running

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[("light", 1280), ("dark", 360)], ids=["light", "dark, on a phone"])
async def page(request: pytest.FixtureRequest, browser: Browser, db: Any, faults: Faults) -> Any:
    await written_past(db, *DAY)
    scheme, width = request.param
    view = {"width": width, "height": 800}
    async with (
        running(db) as server,
        opened(browser, server.url, viewport=view, color_scheme=scheme) as context,
    ):
        page = await signed_in(context)
        faults.watch(page)
        yield page
    assert faults.unexpected == []


@pytest.mark.parametrize(
    ("address", "there"),
    [
        ("/", ".chart-bars"),
        ("/?view=job&id=b", ".lane-bar"),
        ("/?view=job&id=b&as_of=6", ".lane-bar"),
        ("/?view=engine&id=one", ".day-working"),
        ("/?view=log", ".events tbody tr"),
        ("/?view=submit", "form.submit"),
    ],
)
async def test_nothing_keeps_anybody_from_using_the_page(
    page: Page, address: str, there: str
) -> None:
    await page.goto(address)
    await expect(page.locator(there).first).to_be_attached()
    await accessible(page)
    width = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert width <= 0, "the page is wider than the screen"
