"""The page of the log: whether it was only added to, and what happened last."""

from pathlib import Path
from shutil import copyfile

import httpx2
import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route, expect

from tests.support.browser import Faults, opened
from tests.support.farm import beat, submitted
from tests.support.past import signed_in
from tests.support.servers import client_of, running

pytestmark = pytest.mark.anyio


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    return await signed_in(context)


async def test_a_log_is_remembered_at_first_and_verified_from_then_on(
    page: Page, client: httpx2.AsyncClient
) -> None:
    await submitted(client)
    await page.goto("/?view=log")
    verdict = page.locator(".verdict")
    await expect(verdict).to_contain_text("for the first time, and remembers its 1 event")
    await expect(page.locator(".seal-grey")).not_to_have_count(0)
    for number in range(4):
        await submitted(client, source_url=f"{number}.mkv")
    await page.get_by_role("button", name="Verify", exact=True).click()
    await expect(verdict).to_contain_text("has only grown, by 4 events, since this browser saw 1")
    await expect(page.locator("#seal .seal-accent")).to_be_visible()
    root = (await client.get("/log/checkpoint")).text.split("\n")[2]
    await expect(page.locator(".proof code", has_text=root)).to_be_visible()

    await submitted(client)
    await page.reload()
    await expect(page.locator("#seal .seal-accent")).to_be_visible()
    await expect(verdict).to_contain_text("by 1 event, since this browser saw 5")


async def test_an_empty_log_is_said_to_be_empty(page: Page) -> None:
    await page.goto("/?view=log")
    await expect(page.locator(".verdict")).to_contain_text("The log has no events yet")


async def test_a_checkpoint_that_was_kept_is_verified(
    page: Page, client: httpx2.AsyncClient
) -> None:
    await submitted(client)
    kept = (await client.get("/log/checkpoint")).text
    for number in range(3):
        await submitted(client, source_url=f"{number}.mkv")
    await page.goto("/?view=log")
    await page.get_by_text("Verify against a checkpoint that I kept").click()
    await page.get_by_label("The checkpoint, a signed note").fill(kept.replace("\n", "\r\n"))
    await page.get_by_role("button", name="Verify against this checkpoint").click()
    await expect(page.locator(".verdict-of-pasted")).to_have_text(
        "The log has only grown, by 3 events, since the checkpoint of 1 event."
    )
    await expect(page.locator(".verdict")).to_contain_text("remembers its 4 events")


@pytest.mark.parametrize("pasted", ["nonsense", "<script>console.error('ran')</script>"])
async def test_what_is_no_checkpoint_decides_nothing(
    page: Page, client: httpx2.AsyncClient, pasted: str
) -> None:
    await submitted(client)
    await page.goto("/?view=log")
    await expect(page.locator(".verdict")).to_contain_text("remembers its 1 event")
    await page.reload()
    await expect(page.locator("#seal .seal-accent")).to_be_visible()
    await page.get_by_text("Verify against a checkpoint that I kept").click()
    await page.get_by_label("The checkpoint, a signed note").fill(pasted)
    await page.get_by_role("button", name="Verify against this checkpoint").click()
    await expect(page.locator(".verdict-of-pasted")).to_contain_text(
        "could not be verified: what was pasted has not the form of a signed checkpoint"
    )
    await expect(page.locator("#seal .seal-accent")).to_be_visible()
    await expect(page.locator(".verdict")).to_contain_text("is the one of 1 event that")


@pytest.mark.parametrize("path", ["key", "checkpoint", "consistency*"])
async def test_what_a_proxy_answers_instead_decides_nothing(
    page: Page, client: httpx2.AsyncClient, path: str
) -> None:
    await submitted(client)
    await page.goto("/?view=log")
    await expect(page.locator(".verdict")).to_contain_text("remembers its 1 event")
    await submitted(client, source_url="two.mkv")
    await page.route(
        f"**/log/{path}", lambda route: route.fulfill(body="<html>Please sign in.</html>")
    )
    verify = page.get_by_role("button", name="Verify", exact=True)
    await verify.click()
    await expect(page.locator(".verdict")).to_contain_text("could not be verified: ")
    await expect(page.locator("#seal .seal-grey")).to_be_visible()
    await page.unroute(f"**/log/{path}")
    await verify.click()
    await expect(page.locator(".verdict")).to_contain_text("by 1 event, since this browser saw 1")
    await expect(page.locator("#seal .seal-accent")).to_be_visible()


async def test_a_log_that_is_shorter_than_before_is_told_and_taken_after_a_question(
    browser: Browser, tmp_path: Path, faults: Faults
) -> None:
    """A log was restored from its backup, with its key."""
    db = tmp_path / "true.db"
    async with running(db) as server, client_of(server) as client:
        port = server.port
        for number in range(2):
            await submitted(client, source_url=f"{number}.mkv")
    copyfile(db, tmp_path / "restored.db")
    copyfile(tmp_path / "true.db.key", tmp_path / "restored.db.key")
    (tmp_path / "restored.db.key").chmod(0o600)
    async with (
        running(db, port=port) as server,
        client_of(server) as client,
        opened(browser, server.url) as context,
    ):
        await submitted(client, source_url="lost.mkv")
        page = await signed_in(context)
        await page.goto("/?view=log")
        await expect(page.locator(".verdict")).to_contain_text("remembers its 3 events")
        kept = await context.storage_state()
    async with (
        running(tmp_path / "restored.db", port=port) as server,
        client_of(server) as client,
        opened(browser, server.url, storage_state=kept) as context,
    ):
        page = await signed_in(context)
        faults.watch(page)
        await page.goto("/?view=log")
        verdict = page.locator(".verdict")
        await expect(verdict).to_contain_text("has 2 events, fewer than the 3 that this browser")
        await expect(page.locator("#seal .seal-grey")).to_be_visible()
        begin = page.get_by_role("button", name="Begin with this log")
        await begin.click()
        await page.get_by_role("alertdialog").get_by_role("button", name="Keep").click()
        await expect(verdict).to_contain_text("fewer than the 3")
        await begin.click()
        await page.get_by_role("button", name="Begin with 2 events").click()
        await expect(verdict).to_contain_text("remembers the log as it is, with 2 events")
        await expect(begin).to_be_hidden()
        await submitted(client, source_url="after.mkv")
        await page.reload()
        await expect(verdict).to_contain_text("by 1 event, since this browser saw 2")
    assert faults.unexpected == []


async def test_a_log_that_was_replaced_together_with_its_key_is_red_until_it_is_taken(
    browser: Browser, tmp_path: Path, faults: Faults
) -> None:
    async with (
        running(tmp_path / "true.db") as server,
        client_of(server) as client,
        opened(browser, server.url) as context,
    ):
        port = server.port
        await submitted(client)
        page = await signed_in(context)
        await page.goto("/?view=log")
        await expect(page.locator(".verdict")).to_contain_text("remembers its 1 event")
        kept = await context.storage_state()
    async with (
        running(tmp_path / "other.db", port=port, new=True) as server,
        client_of(server) as client,
        opened(browser, server.url, storage_state=kept) as context,
    ):
        page = await signed_in(context)
        faults.watch(page)
        await submitted(client)
        await page.goto("/?view=log")
        for _ in range(2):
            await expect(page.locator("#seal .seal-red")).to_be_visible()
            await expect(page.locator(".verdict")).to_contain_text(
                "somebody has replaced it together with its key"
            )
            await page.reload()
        await page.get_by_role("button", name="Take this log as the right one").click()
        await page.get_by_role("button", name="Take this log", exact=True).click()
        await expect(page.locator("#seal .seal-red")).to_be_hidden()
        await page.reload()
        await expect(page.locator("#seal .seal-accent")).to_be_visible()
    assert faults.unexpected == []


@pytest.mark.parametrize("events", [5, 9], ids=["as long", "longer"])
async def test_a_forged_log_is_red_with_both_roots_and_stays_so(
    browser: Browser, tmp_path: Path, faults: Faults, events: int
) -> None:
    """Somebody with the log's own key has written another history."""
    true, forged = tmp_path / "true.db", tmp_path / "forged.db"
    async with running(true) as server:
        port = server.port
        async with opened(browser, server.url) as context:
            page = await signed_in(context)
            faults.watch(page)
            faults.expect("ERR_CONNECTION", "Failed to load", "ERR_INCOMPLETE", "net::ERR")
            async with client_of(server) as client:
                for number in range(5):
                    await submitted(client, source_url=f"{number}.mkv")
                before = (await client.get("/log/checkpoint")).text.split("\n")[2]
            await page.goto("/?view=log")
            await expect(page.locator(".verdict")).to_contain_text("remembers its 5 events")
            kept = await context.storage_state()
    copyfile(tmp_path / "true.db.key", tmp_path / "forged.db.key")
    (tmp_path / "forged.db.key").chmod(0o600)
    async with (
        running(forged, port=port, new=True) as server,
        client_of(server) as client,
        opened(browser, server.url, storage_state=kept) as context,
    ):
        page = await signed_in(context)
        faults.watch(page)
        for number in range(events):
            await submitted(client, source_url=f"forged-{number}.mkv")
        after = (await client.get("/log/checkpoint")).text.split("\n")[2]
        await page.goto("/?view=log")
        for _ in range(2):  # a reload does not take it away
            await expect(page.locator("#seal .seal-red")).to_be_visible()
            await expect(page.locator("#seal")).to_contain_text(before[:12])
            await expect(page.locator("#seal")).to_contain_text(after[:12])
            alert = page.get_by_role("alert").filter(has_text="This is not the log that it was")
            await expect(alert).to_contain_text(before)
            await expect(alert).to_contain_text(after)
            await page.reload()
        await page.get_by_role("button", name="Verify", exact=True).click()
        await page.get_by_role("link", name="Jobs").click()
        await expect(page.locator("#seal .seal-red")).to_be_visible()
    assert faults.unexpected == []


async def test_a_proof_that_was_tampered_with_on_the_way_is_red(
    page: Page, client: httpx2.AsyncClient
) -> None:
    await submitted(client)
    await page.goto("/?view=log")
    await expect(page.locator(".verdict")).to_contain_text("remembers its 1 event")
    await submitted(client, source_url="two.mkv")

    async def forged(route: Route) -> None:
        answer = await route.fetch()
        proof = await answer.json()
        proof["path"] = [
            it[::-1] if not it.endswith("=") else "A" * 43 + "=" for it in proof["path"]
        ]
        await route.fulfill(response=answer, json=proof)

    await page.route("**/log/consistency*", forged)
    await page.get_by_role("button", name="Verify", exact=True).click()
    await expect(page.locator("#seal .seal-red")).to_be_visible()
    await expect(page.locator(".verdict")).to_contain_text("the proof does not lead from 1 events")


# What happened last


async def test_rows_that_gave_way_to_newer_ones_are_found_again(
    page: Page, client: httpx2.AsyncClient
) -> None:
    for number in range(3):
        await submitted(client, source_url=f"old-{number}.mkv")
    await page.goto("/?view=log")
    rows = page.locator(".events tbody tr")
    await expect(rows).to_have_count(3)
    jobs = [{"source_url": f"{number}.mkv", "target_codec": "h264"} for number in range(500)]
    assert (await client.post("/jobs/batch", json=jobs)).is_success
    await expect(rows).to_have_count(500)
    await expect(page.get_by_text("Searched back to seq 4.")).to_be_visible()
    await page.get_by_role("button", name="Look for older events").click()
    await expect(rows).to_have_count(503)
    seqs = await rows.locator("td:first-child").all_inner_texts()
    assert [int(it) for it in seqs] == list(range(503, 0, -1))


async def test_events_are_sentences_with_filters(page: Page, client: httpx2.AsyncClient) -> None:
    job = await submitted(client, source_url="https://media.example/one.mkv")
    await beat(client, "farm-07")
    await client.post("/engines/farm-07/drain")
    await page.goto("/?view=log")
    rows = page.locator(".events tbody tr")
    await expect(rows).to_have_count(2)  # heartbeats are left out
    await expect(rows.nth(0)).to_contain_text("farm-07 was drained")
    await expect(rows.nth(1)).to_contain_text("was submitted: https://media.example/one.mkv")
    await client.post("/engines/farm-07/resume")
    await expect(rows.nth(0)).to_contain_text("farm-07 was resumed")
    await page.get_by_label("What happened").select_option("all")
    await expect(rows).to_have_count(4)
    await page.get_by_label("Job", exact=True).fill(job)
    await page.keyboard.press("Enter")
    await expect(rows).to_have_count(1)
    assert f"job={job}" in page.url
    await rows.nth(0).get_by_role("button", name="Line of seq 1").press("Enter")
    await expect(rows.nth(0).locator("pre")).to_contain_text('"type": "job_submitted"')


async def test_the_log_of_a_moment_ends_there(page: Page, client: httpx2.AsyncClient) -> None:
    for number in range(3):
        await submitted(client, source_url=f"{number}.mkv")
    await page.goto("/?view=log&as_of=2")
    rows = page.locator(".events tbody tr")
    await expect(rows).to_have_count(2)
    await expect(rows.nth(0)).to_contain_text("1.mkv")
