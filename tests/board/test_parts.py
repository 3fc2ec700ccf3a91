"""Films in parts: the strip of their parts, the ways between both, and what lists leave out."""

from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from playwright.async_api import BrowserContext, Page, expect

from dispatcher.core.events import EngineReported, Event, JobProgressed, JobSplit
from tests.support.browser import accessible
from tests.support.given import assigned, completed, job
from tests.support.past import signed_in, written_past
from tests.support.servers import running

pytestmark = pytest.mark.anyio

PARTS = tuple(f"part-{number}" for number in range(4))
SEGMENT: dict[str, Any] = {"kind": "segment"}


def part(number: int) -> Event:
    told = {"kind": "rest"} if number == len(PARTS) - 1 else SEGMENT | {"number": number}
    made = msgspec.structs.replace(job(PARTS[number]), source_url="http://media/film.mp4")
    return msgspec.structs.replace(made, parent="film", part=told)


HISTORY: tuple[tuple[float, Event], ...] = (
    (50, EngineReported("one", {"supported_codecs": ["h264"]})),
    (49, EngineReported("two", {"supported_codecs": ["h264"]})),
    (40, job("film")),
    (30, assigned("film", "one")),
    (25, JobSplit("film", "one", 1, PARTS)),
    *((25.0, part(number)) for number in range(len(PARTS))),
    (24, assigned(PARTS[0], "one")),
    (23, assigned(PARTS[1], "two")),
    (20, completed(PARTS[0], "one")),
    (10, JobProgressed(PARTS[1], "two", 1, 40.0)),
    (5, msgspec.structs.replace(job("sequel"), after=("film",), waits_for=("film",))),
)


@pytest.fixture
async def server(db: Path) -> Any:
    await written_past(db, *HISTORY)
    async with running(db) as dispatcher:
        yield dispatcher


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    return await signed_in(context)


def cells(page: Page) -> Any:
    return page.get_by_role("list", name="Parts of the film").get_by_role("link")


async def test_a_film_shows_its_parts_as_they_are_and_live(
    page: Page, client: httpx2.AsyncClient
) -> None:
    await page.goto("/?view=job&id=film")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Is done in 4 parts")
    await expect(page.get_by_text("4 parts: 1 running, 2 waiting and 1 done")).to_be_visible()
    told = [await it.get_attribute("aria-label") for it in await cells(page).all()]
    assert told == [
        "part 1: done",
        "part 2: running on two, 40\u202f%",
        "part 3: waiting",
        "the rest: waiting",
    ]
    await accessible(page)
    done = {"engine_id": "two", "attempt": 1, "output_url": "http://media/2.mp4"}
    assert (await client.post(f"/jobs/{PARTS[1]}/complete", json=done)).is_success
    await expect(cells(page).nth(1)).to_have_attribute("aria-label", "part 2: done")


async def test_a_part_leads_to_its_film_and_a_job_to_what_it_waits_for(page: Page) -> None:
    await page.goto("/?view=job&id=film")
    await cells(page).nth(2).click()
    await expect(page.locator(".crumb")).to_contain_text("part 3 of film.mp4")
    await page.locator(".crumb").get_by_role("link", name="film.mp4").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Is done in 4 parts")
    await page.goto("/?view=job&id=sequel")
    await page.locator(".inout").get_by_role("link", name="film.mp4").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Is done in 4 parts")


async def test_lists_leave_parts_out_until_they_are_asked_for(page: Page) -> None:
    await page.goto("/?view=jobs")
    links = page.get_by_role("grid").locator("[data-cell=source] a")
    await expect(links).to_have_text(["sequel.mp4", "film.mp4"])
    await expect(page.get_by_role("grid")).to_contain_text("25\u202f% of 4 parts")
    await page.get_by_role("button", name="with parts").click()
    await expect(links).to_have_count(6)
    await expect(links.filter(has_text="film.mp4 · part 2")).to_have_count(1)
    await page.goto("/?view=job&id=film")
    await page.get_by_role("link", name="as a table").click()
    await expect(links).to_have_count(4)
    await page.goto("/")
    await expect(page.get_by_role("region", name="Running")).to_contain_text("film.mp4 · part 2")
    await expect(page.get_by_role("region", name="Waiting").get_by_role("link")).to_have_text(
        ["all", "film.mp4", "sequel.mp4"]
    )


async def test_the_parts_are_shown_as_they_were(page: Page) -> None:
    at = next(seq for seq, (_, event) in enumerate(HISTORY, 1) if isinstance(event, JobProgressed))
    await page.goto(f"/?view=job&id=film&as_of={at - 2}")
    await expect(cells(page).nth(0)).to_have_attribute("aria-label", "part 1: running on one")


async def test_the_engine_that_split_it_has_an_attempt_that_says_so(page: Page) -> None:
    await page.goto("/?view=job&id=film")
    attempts = page.get_by_role("table", name="Attempts")
    await expect(attempts).to_contain_text("split the film into 4 parts")
    await expect(page.locator(".events")).to_contain_text("one split job film into 4 parts")
