"""The page of an engine: its day, its failures, its speed, and what an operator may do."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route, expect

from dispatcher.core.events import (
    EngineDrained,
    EngineLost,
    EngineReported,
    EngineResumed,
    EngineSeen,
)
from tests.support.browser import Faults, opened
from tests.support.farm import assigned as take
from tests.support.farm import beat, submitted
from tests.support.given import assigned, completed, job, requeued
from tests.support.past import signed_in, written_past
from tests.support.servers import Running, client_of, running

pytestmark = pytest.mark.anyio

DAY: Any = (
    (1600, EngineReported("one", {"supported_codecs": ["h264", "av1"], "rack": "4"})),
    (1300, job("a")),
    (1300, assigned("a", "one")),
    (1000, completed("a", "one")),
    (900, job("b", codec="av1")),
    (900, assigned("b", "one")),
    (800, EngineLost("one", 3600.0)),
    (800, requeued("b", "one", cause="engine_silent", losses=1, retries=0)),
    (700, EngineSeen("one")),
    (600, EngineDrained("one")),
    (400, EngineResumed("one")),
    (300, assigned("b", "one", 2)),
    (200, requeued("b", "one", attempt=2, error="ffmpeg exited\nno space left")),
)


@pytest.fixture
async def page(browser: Browser, db: Path, faults: Faults) -> Any:
    await written_past(db, *DAY)
    async with (
        running(db) as server,
        opened(browser, server.url, viewport={"width": 1280, "height": 900}) as context,
    ):
        page = await signed_in(context)
        faults.watch(page)
        yield page
    assert faults.unexpected == []


async def test_its_day_is_one_band(page: Page) -> None:
    await page.goto("/?view=engine&id=one")
    band = page.get_by_role("slider", name="Its day")
    await expect(band.locator("g")).to_have_count(10)
    states = await band.locator("g").evaluate_all("(all) => all.map((it) => it.classList[0])")
    assert states == [
        *("day-idle", "day-working", "day-idle", "day-working", "day-silent", "day-idle"),
        *("day-drained", "day-idle", "day-working", "day-idle"),
    ]
    await expect(band.locator("g").nth(1)).to_contain_text("h264")
    await expect(page.locator(".legend")).to_contain_text("working h264 5 h")
    await expect(page.locator(".legend")).to_contain_text("silent 2 h 40 min")
    await expect(page.locator(".legend")).to_contain_text("drained 3 h 20 min")
    await band.focus()
    await page.keyboard.press("Home")
    await page.keyboard.press("ArrowRight")
    await expect(page.locator(".told")).to_contain_text("5 h: working (h264) on job a")
    await expect(band).to_have_attribute("aria-valuetext", await page.locator(".told").inner_text())


async def test_its_failures_and_its_speed_are_told(page: Page) -> None:
    await page.goto("/?view=engine&id=one")
    failures = page.locator(".failures li")
    await expect(failures).to_have_count(2)
    await expect(failures.nth(0)).to_contain_text("b failed: no space left")
    await expect(failures.nth(1)).to_contain_text("b lost, the engine fell silent")
    row = page.locator(".speeds tr", has_text="h264")
    await expect(row).to_contain_text("5 h")
    await expect(row).to_contain_text("as fast")
    await expect(page.locator(".reports")).to_contain_text("rack")


async def test_its_day_at_a_moment_ends_there(page: Page) -> None:
    await page.goto("/?view=engine&id=one&as_of=6")
    await expect(page.locator(".reason")).to_contain_text("It has b.mp4 (av1)")
    await expect(page.locator(".day-silent")).to_have_count(0)
    await expect(page.locator(".day-working")).to_have_count(1)
    await expect(page.locator(".actions button")).to_have_count(0)


def last_band(page: Page) -> Any:
    return page.locator(".day-plot g").last


async def test_a_silent_engine_that_is_heard_again_is_seen_to_be(
    browser: Browser, db: Path, faults: Faults
) -> None:
    await written_past(db, *DAY, (100, EngineLost("one", 1800.0)))
    async with (
        running(db) as server,
        client_of(server) as client,
        opened(browser, server.url) as context,
    ):
        page = await signed_in(context)
        faults.watch(page)
        await page.goto("/?view=engine&id=one")
        await expect(last_band(page)).to_have_class("day-silent ")
        await beat(client, "one", supported_codecs=["h264", "av1"], rack="4")
        told = (await client.get("/engines/one/events")).json()
        assert told[-1]["type"] == "engine_seen"
        await expect(last_band(page)).to_have_class("day-idle ")
    assert faults.unexpected == []


async def test_what_happens_while_its_day_is_loaded_is_in_it(
    context: BrowserContext, server: Running
) -> None:
    page = await signed_in(context)
    asked, answer = asyncio.Event(), asyncio.Event()

    async def late(route: Route) -> None:
        got = await route.fetch()
        asked.set()
        await answer.wait()
        await route.fulfill(response=got)

    async with client_of(server) as client:
        await beat(client, "one")
        await page.route("**/events?*type=engine_drained*", late)
        await page.goto("/?view=engine&id=one")
        await asked.wait()
        await client.post("/engines/one/drain")
        await expect(page.locator(".reason")).to_contain_text("It is drained")
        answer.set()
        await expect(last_band(page)).to_have_class("day-drained ")


async def test_its_day_is_loaded_again_after_an_error(
    context: BrowserContext, server: Running, faults: Faults
) -> None:
    faults.expect("503")
    page = await signed_in(context)
    failures = 1

    async def fail(route: Route) -> None:
        nonlocal failures
        failures -= 1
        if failures < 0:
            await route.continue_()
        else:
            await route.fulfill(status=503, body="not now")

    async with client_of(server) as client:
        await beat(client, "one")
        await page.route("**/engines/?as_of=*", fail)
        await page.goto("/?view=engine&id=one")
        await expect(page.locator(".told")).to_contain_text("not now")
        await expect(last_band(page)).to_have_class("day-idle ")


async def test_an_operator_drains_resumes_and_forgets(
    context: BrowserContext, server: Running
) -> None:
    page = await signed_in(context)
    async with client_of(server) as client:
        await submitted(client)
        await beat(client, "one")
        await take(client, "one")
        await page.goto("/?view=engine&id=one")
        await page.get_by_role("button", name="Drain").click()
        await expect(page.locator(".reason")).to_contain_text(
            "it finishes this job and gets no more"
        )
        await page.get_by_role("button", name="Resume").click()
        await expect(page.get_by_role("button", name="Drain")).to_be_visible()
        await page.get_by_role("button", name="Forget").click()
        dialog = page.get_by_role("alertdialog")
        await expect(dialog).to_contain_text("goes back to the queue")
        await dialog.get_by_role("button", name="Forget 1 engine").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("There is no such engine")
        assert (await client.get("/engines/")).json() == []


async def test_an_engine_that_no_route_can_address_is_shown_without_orders(
    context: BrowserContext, server: Running
) -> None:
    page = await signed_in(context)
    async with client_of(server) as client:
        for engine in ("..", "a/b", "heartbeat"):
            await beat(client, engine)
            await page.goto("/?view=engine&id=" + engine.replace("/", "%2F"))
            await expect(page.get_by_role("heading", level=1)).to_have_text(engine)
            await expect(page.locator(".reason")).to_contain_text("It is free")
            await expect(page.locator(".actions button")).to_have_count(0)


async def test_an_engine_that_rests_says_why(browser: Browser, db: Path, faults: Faults) -> None:
    async with (
        running(db) as server,
        client_of(server) as client,
        opened(browser, server.url, viewport={"width": 1280, "height": 900}) as context,
    ):
        await beat(client, "two", status="busy", resting="outside its hours until 19:00")
        page = await signed_in(context)
        faults.watch(page)
        await page.goto("/?view=engine&id=two")
        await expect(page.get_by_text("It takes no new jobs now: ")).to_contain_text("19:00")
        counted = (await client.get("/statistics/now")).json()["engines"]
        assert (counted["draining"], counted["working"]) == (1, 0)
    assert faults.unexpected == []
