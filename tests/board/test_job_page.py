"""The page of a job: what became of it, attempt by attempt, and what can be done about it."""

import re
from pathlib import Path
from typing import Final

import httpx2
import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from dispatcher.core.policy import Policy
from tests.support.browser import Faults, opened
from tests.support.farm import assigned, beat, submitted
from tests.support.past import signed_in
from tests.support.servers import client_of, running

pytestmark = pytest.mark.anyio

RESULT: Final = {
    "encoder": "libx264",
    "vmaf": 94.6,
    "crf": 23.5,
    "source": {"size_bytes": 2_000_000_000, "length_s": 600.0},
    "output": {"size_bytes": 500_000_000, "length_s": 600.0},
    "kept": ["video 0: h264"],
    "left_out": ["subtitle 3: not for mp4"],
}


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    return await signed_in(context)


async def told(page: Page) -> list[str]:
    """What the rows of the timeline say to a screen reader, without their times."""
    rows = page.get_by_role("table", name="Attempts").get_by_role("row")
    await expect(rows.nth(1)).to_be_visible()
    cells = [await row.get_by_role("cell").all() for row in await rows.all()]
    told = []
    for who, _, _, why in filter(None, cells):
        engines = await who.locator("a").all_inner_texts()
        told.append(f"{engines[0] if engines else 'queue'}: {await why.inner_text()}")
    return told


async def fail(
    client: httpx2.AsyncClient, job_id: str, engine: str, attempt: int, **more: str
) -> None:
    fields = {"engine_id": engine, "attempt": attempt} | more
    response = await client.post(f"/jobs/{job_id}/fail", json=fields)
    assert response.status_code == 200


async def complete(client: httpx2.AsyncClient, job_id: str, **more: object) -> None:
    body = {"output_url": "https://media.example/out.mp4", "result": RESULT} | more
    response = await client.post(f"/jobs/{job_id}/complete", json=body)
    assert response.status_code == 200


# What became of it


async def test_a_success_is_told_with_what_went_in_and_came_out(
    page: Page, client: httpx2.AsyncClient
) -> None:
    job = await submitted(client, source_url="https://media.example/Ferien%20Übung.mp4")
    await beat(client, "farm-07", supported_codecs=["h264"])
    await assigned(client, "farm-07")
    await complete(client, job)
    await page.goto(f"/?view=job&id={job}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Done by farm-07")
    assert await told(page) == ["queue: ", "farm-07: completed"]
    out = page.locator(".inout")
    for text in ("500 MB (25.0 % of the source)", "94.6", "libx264", "subtitle 3: not for mp4"):
        await expect(out.get_by_text(text)).to_be_visible()
    link = out.get_by_role("link", name="https://media.example/out.mp4")
    await expect(link).to_have_attribute("rel", "noopener noreferrer")


async def test_a_retry_after_a_failure_is_a_second_lane(
    page: Page, client: httpx2.AsyncClient
) -> None:
    job = await submitted(client)
    await beat(client, "one")
    await assigned(client, "one")
    await fail(
        client, job, "one", 1, error_message="ffmpeg exited\nthe source ends after 6 of 10 s"
    )
    await beat(client, "two")
    await assigned(client, "two")
    await complete(client, job)
    await page.goto(f"/?view=job&id={job}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Done by two after 2 attempts")
    assert await told(page) == [
        "queue: ",
        "one: failed: the source ends after 6 of 10 s",
        "two: completed",
    ]


async def test_a_failure_for_good_says_why_in_its_headline(
    page: Page, client: httpx2.AsyncClient
) -> None:
    job = await submitted(client, max_retries=1)
    await beat(client, "one")
    await assigned(client, "one")
    await page.goto(f"/?view=job&id={job}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("one is at work on it")
    await fail(client, job, "one", 1, error_message="the source ends after 6 of 10 s")
    await expect(page.get_by_role("heading", level=1)).to_have_text(
        "Failed after 1 attempt: the source ends after 6 of 10 s"
    )
    assert await told(page) == ["queue: ", "one: failed: the source ends after 6 of 10 s"]


async def test_a_lost_engine_is_a_lane_that_ends_in_silence(
    browser: Browser, db: Path, faults: Faults
) -> None:
    async with (
        running(db, policy=Policy(lease_s=1.0)) as server,
        client_of(server) as client,
        opened(browser, server.url) as context,
    ):
        context.on("page", faults.watch)
        page = await signed_in(context)
        job = await submitted(client)
        await beat(client, "one")
        await assigned(client, "one")
        await page.goto(f"/?view=job&id={job}")
        lost = page.get_by_role("table", name="Attempts").get_by_role("row", name="one")
        await expect(lost).to_contain_text("lost, the engine fell silent (silent for 1 s)")
        await expect(lost.locator(".lane-silence")).to_be_visible()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Waits again")
    assert faults.unexpected == []


async def test_a_cancelled_job_is_seen_to_end_without_a_reload(
    page: Page, client: httpx2.AsyncClient
) -> None:
    job = await submitted(client)
    await page.goto(f"/?view=job&id={job}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Waits for an engine")
    await client.delete(f"/jobs/{job}")
    await expect(page.get_by_role("heading", level=1)).to_have_text(
        "Cancelled before an engine had it"
    )
    await expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    await expect(page.get_by_role("button", name="Retry")).to_be_visible()


async def test_why_it_waits_is_said_with_what_stands_in_the_way(
    page: Page, client: httpx2.AsyncClient
) -> None:
    for engine in ("old", "older"):
        await beat(client, engine, supported_codecs=["h264"])
    await beat(client, "busy", supported_codecs=["av1"])
    await client.post("/engines/busy/drain")
    job = await submitted(client, target_codec="av1")
    await page.goto(f"/?view=job&id={job}")
    await expect(page.locator(".reason")).to_contain_text("No engine could take it now")
    await expect(page.locator(".obstacles")).to_contain_text(
        "old, older: it does not encode the job's codec"
    )
    await expect(page.locator(".obstacles li")).to_have_count(2)


async def test_a_job_that_is_not_there_is_said_to_be_none(page: Page) -> None:
    await page.goto("/?view=job&id=<b>none</b>")
    await expect(page.get_by_role("heading", level=1)).to_have_text("There is no such job")
    await expect(page.locator(".reason")).to_contain_text("<b>none</b>")


# What can be done about it


async def test_cancelling_asks_and_the_harmless_answer_changes_nothing(
    page: Page, client: httpx2.AsyncClient
) -> None:
    job = await submitted(client)
    await page.goto(f"/?view=job&id={job}")
    cancel = page.get_by_role("button", name="Cancel", exact=True)
    await cancel.click()
    dialog = page.get_by_role("alertdialog", name="Cancel 1 job?")
    await expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    for _ in range(3):  # the focus stays inside
        await page.keyboard.press("Tab")
        assert await dialog.evaluate("(it) => it.contains(document.activeElement)")
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(cancel).to_be_focused()
    assert (await client.get(f"/jobs/{job}")).json()["status"] == "pending"

    await cancel.click()
    await dialog.get_by_role("button", name="Cancel 1 job").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Cancelled")
    assert (await client.get(f"/jobs/{job}")).json()["status"] == "cancelled"


async def test_the_keyboard_cancels_retries_and_sets_the_priority(
    page: Page, client: httpx2.AsyncClient
) -> None:
    job = await submitted(client)
    await page.goto(f"/?view=job&id={job}")
    await expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_visible()
    await page.keyboard.press("c")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Retry")).to_be_visible()
    await page.keyboard.press("r")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Waits for an engine")
    await page.get_by_label("Priority").fill("7")
    await page.keyboard.press("Enter")
    await expect(page.locator(".inout dd", has_text="7")).to_be_visible()
    assert (await client.get(f"/jobs/{job}")).json()["priority"] == 7


async def test_the_markers_are_one_stop_and_the_arrows_go_through_them(
    page: Page, client: httpx2.AsyncClient
) -> None:
    job = await submitted(client)
    await beat(client, "one")
    await assigned(client, "one")
    await complete(client, job)
    await page.goto(f"/?view=job&id={job}")
    markers = page.locator(".lane-marker")
    await expect(markers).to_have_count(3)
    await expect(page.locator(".lane-marker[tabindex='0']")).to_have_count(1)
    await page.locator(".lane-marker[tabindex='0']").focus()
    await page.keyboard.press("Home")
    await expect(page.locator(".lane-detail")).to_contain_text("was submitted")
    await page.keyboard.press("ArrowRight")
    await expect(page.locator(".lane-marker:focus")).to_have_attribute(
        "aria-label", re.compile(f"^one got job {job}, attempt 1, for which it asked, ")
    )
    await page.keyboard.press("End")
    await expect(page.locator(".lane-detail")).to_contain_text("completed")


# What comes from outside

HOSTILE: Final = "<img src=x onerror=\"console.error('ran')\">"


async def test_hostile_texts_are_shown_and_run_nothing(
    page: Page, client: httpx2.AsyncClient
) -> None:
    source = f"javascript:console.error('ran')//{HOSTILE}"
    job = await submitted(client, source_url=source, target_codec=HOSTILE, max_retries=1)
    engine = f"../{HOSTILE}"
    await beat(client, engine, rack=HOSTILE)
    await assigned(client, engine)
    await page.goto(f"/?view=job&id={job}")
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"{engine} is at work on it")
    await expect(page.locator(".inout").get_by_text(source)).to_be_visible()
    await expect(page.locator(".inout a")).to_have_count(0)
    await fail(client, job, engine, 1, error_message=f"broke\n{HOSTILE}")
    await expect(page.get_by_role("heading", level=1)).to_have_text(
        f"Failed after 1 attempt: {HOSTILE}"
    )
    attempts = page.get_by_role("table", name="Attempts")
    await attempts.get_by_role("link", name=engine).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(engine)
    await expect(page.locator(".reports")).to_contain_text(HOSTILE)
    assert await page.locator("main img").count() == 0


# As somebody else


async def test_what_the_role_may_not_do_is_not_offered(
    page: Page, client: httpx2.AsyncClient
) -> None:
    job = await submitted(client)
    await page.goto(f"/?view=job&id={job}&as_of=1")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Waits for an engine")
    await expect(page.locator(".actions button")).to_have_count(0)


async def test_a_hidden_tab_does_not_ask_why(page: Page, client: httpx2.AsyncClient) -> None:
    job_id = await submitted(client)
    await page.goto(f"/?view=job&id={job_id}")
    await expect(page.locator(".reason")).not_to_be_empty()
    asked: list[str] = []
    page.on("request", lambda it: asked.append(it.url) if it.url.endswith("/why") else None)
    hide = "(it) => Object.defineProperty(document, 'hidden', {value: it, configurable: true})"
    await page.evaluate(hide, True)
    await client.post(f"/jobs/{job_id}/priority", json={"priority": 7})
    await expect(page.locator(".events tbody tr")).to_have_count(2)
    assert asked == []
    async with page.expect_request("**/why"):
        await page.evaluate(hide, False)
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
