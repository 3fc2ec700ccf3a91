"""All tabs of a browser follow one stream, so that no number of them uses up its connections."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx2
import pytest
from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from dispatcher.serving.keys import ApiKeys, Key, Role
from tests.support.browser import Faults, opened
from tests.support.farm import eventually, submitted
from tests.support.past import signed_in
from tests.support.servers import KEY, Running, client_of, running

pytestmark = pytest.mark.anyio

MORE_THAN_CONNECTIONS: Final = 7
ANNA: Final = "the key of anna"
TURN: Final = """(hidden) => {
  Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture
async def server(db: Path) -> AsyncIterator[Running]:
    tester, anna = Key.of("tester", Role.OPERATOR, KEY), Key.of("anna", Role.CLIENT, ANNA)
    async with running(db, keys=ApiKeys([tester, anna])) as dispatcher:
        yield dispatcher


def waiting(page: Page) -> Locator:
    return page.get_by_role("region", name="Waiting")


async def become(client: httpx2.AsyncClient, streams: int) -> None:
    """Wait until the dispatcher has so many streams of events."""

    async def look() -> bool | None:
        text = (await client.get("/metrics")).text
        found = re.search(r"^dispatcher_streams (\d+)", text, re.MULTILINE)
        assert found is not None
        return True if int(found[1]) == streams else None

    await eventually(look)


async def test_more_boards_than_connections_are_live_by_one_stream(
    context: BrowserContext, client: httpx2.AsyncClient
) -> None:
    await submitted(client, source_url="http://media/before.mp4")
    pages = [await signed_in(context)]
    pages += [await context.new_page() for _ in range(MORE_THAN_CONNECTIONS - 1)]
    for page in pages:
        await page.goto("/")
        await expect(waiting(page)).to_contain_text("before.mp4")
    await submitted(client, source_url="http://media/then.mp4")
    for page in pages:
        await expect(waiting(page)).to_contain_text("then.mp4")
    await become(client, streams=1)


async def test_a_hidden_tab_follows_no_feed_and_goes_on_when_it_is_shown(
    context: BrowserContext, client: httpx2.AsyncClient
) -> None:
    await submitted(client, source_url="http://media/before.mp4")
    page = await signed_in(context)
    await page.goto("/")
    await expect(waiting(page)).to_contain_text("before.mp4")
    await become(client, streams=1)
    await page.evaluate(TURN, True)
    await become(client, streams=0)
    await submitted(client, source_url="http://media/meanwhile.mp4")
    await page.evaluate(TURN, False)
    await expect(waiting(page)).to_contain_text("meanwhile.mp4")
    await become(client, streams=1)


async def test_a_tab_that_was_hidden_misses_nothing_while_another_goes_on(
    context: BrowserContext, client: httpx2.AsyncClient
) -> None:
    hidden, shown = await signed_in(context), await context.new_page()
    for page in (hidden, shown):
        await page.goto("/")
        await expect(page.get_by_text("This farm is empty.")).to_be_visible()
    await hidden.evaluate(TURN, True)
    await submitted(client, source_url="http://media/meanwhile.mp4")
    await expect(waiting(shown)).to_contain_text("meanwhile.mp4")
    await hidden.evaluate(TURN, False)
    await expect(waiting(hidden)).to_contain_text("meanwhile.mp4")
    await submitted(client, source_url="http://media/then.mp4")
    for page in (hidden, shown):
        await expect(waiting(page).get_by_role("link", name=re.compile("mp4"))).to_have_count(2)


async def test_tabs_with_different_keys_have_different_streams(
    context: BrowserContext, client: httpx2.AsyncClient
) -> None:
    await submitted(client, source_url="http://media/before.mp4")
    mine = await signed_in(context)
    await mine.goto("/")
    await expect(waiting(mine)).to_contain_text("before.mp4")
    hers = await context.new_page()
    await hers.add_init_script(f"sessionStorage.setItem('dispatcher key', '{ANNA}')")
    await hers.goto("/")
    await expect(hers.get_by_text("key anna")).to_be_visible()
    await become(client, streams=2)
    await submitted(client, source_url="http://media/then.mp4")
    for page in (mine, hers):
        await expect(waiting(page)).to_contain_text("then.mp4")


async def test_where_there_are_no_shared_workers_a_tab_has_its_own(
    browser: Browser, server: Running, faults: Faults
) -> None:
    async with opened(browser, server.url) as context, client_of(server) as client:
        await context.add_init_script("delete globalThis.SharedWorker")
        page = await signed_in(context)
        faults.watch(page)
        await page.goto("/")
        await expect(page.get_by_text("This farm is empty.")).to_be_visible()
        await submitted(client, source_url="http://media/then.mp4")
        await expect(waiting(page)).to_contain_text("then.mp4")
    assert faults.unexpected == []
