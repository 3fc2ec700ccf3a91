"""The page is loaded, and nothing in it is wrong."""

import pytest
from playwright.async_api import Page, expect

from tests.support.browser import Faults, accessible

pytestmark = pytest.mark.anyio


async def test_the_page_loads_without_any_error(page: Page) -> None:
    response = await page.goto("/")
    assert response is not None
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    await expect(page.get_by_role("main")).to_be_visible()


async def test_modules_can_be_tried_where_they_run(page: Page) -> None:
    await page.goto("/")
    assert await page.evaluate('import("/board/main.js").then((it) => typeof it)') == "object"


# What these tests would find


async def test_an_error_of_the_console_would_be_found(page: Page, faults: Faults) -> None:
    await page.goto("/")
    await page.evaluate("console.error('oh')")
    assert faults.unexpected == ["console: oh ()"]
    faults.expect("^console: oh")


async def test_an_error_of_a_script_would_be_found(page: Page, faults: Faults) -> None:
    await page.goto("/")
    async with page.expect_event("pageerror"):
        await page.evaluate("setTimeout(() => { throw new Error('lost') })")
    assert "lost" in faults.unexpected[0]
    faults.expect("^script: .*lost")


async def test_a_breach_of_the_policy_would_be_found(page: Page, faults: Faults) -> None:
    await page.goto("/")
    async with page.expect_console_message(lambda it: it.text.startswith("CSP: ")):
        await page.evaluate("document.body.setAttribute('style', 'color: red')")
    assert any("style-src-attr" in it for it in faults.unexpected)
    faults.expect("style")


async def test_markup_of_a_text_is_refused(page: Page, faults: Faults) -> None:
    await page.goto("/")
    refused = """() => {
      try { document.body.innerHTML = "<b>x</b>"; return "made"; } catch (e) { return e.name; }
    }"""
    assert await page.evaluate(refused) == "TypeError"
    faults.expect("TrustedHTML", "require-trusted-types-for")


async def test_a_request_that_fails_would_be_found(page: Page, faults: Faults) -> None:
    await page.goto("/")
    await page.evaluate("fetch('/health/none').then((it) => it.status)")
    assert any("401" in it for it in faults.unexpected)
    faults.expect("401")


async def test_what_keeps_people_from_using_a_page_would_be_found(page: Page) -> None:
    await page.goto("/")
    await expect(page.get_by_role("main")).to_be_visible()
    await page.evaluate("document.body.append(document.createElement('button'))")
    with pytest.raises(AssertionError, match="button-name"):
        await accessible(page)
