"""Files of the reader's machine: they go to the store, and become jobs."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.async_api import BrowserContext, Page, Request, Response, Route, expect

from dispatcher.store import StoreLimits
from tests.support.browser import Faults, accessible
from tests.support.past import signed_in
from tests.support.servers import Running, running
from tests.support.stored import FILM, SHA256

pytestmark = pytest.mark.anyio

MIB = 1 << 20
FIRST_PART = MIB // 4


@pytest.fixture
async def server(db: Path, tmp_path: Path) -> AsyncIterator[Running]:
    limits = StoreLimits(max_file_bytes=2_000_000)
    async with running(db, store=tmp_path / "store", store_limits=limits) as dispatcher:
        yield dispatcher


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    page = await signed_in(context)
    await page.goto("/?view=submit")
    await expect(page.get_by_role("button", name="Upload files")).to_be_visible()
    return page


def film(name: str = "Été 1.mov", content: bytes = FILM) -> Any:
    return {"name": name, "mimeType": "video/quicktime", "buffer": content}


async def choose(page: Page, *files: Any) -> None:
    await page.locator("#submit-files").set_input_files(list(files))


async def submit(page: Page) -> None:
    await page.get_by_role("button", name="Submit").click()


def sent_by(page: Page) -> list[str | None]:
    """The parts that the page sends from now on, each as its `Content-Range`."""
    parts: list[str | None] = []

    def note(request: Request) -> None:
        if request.method == "PUT":
            parts.append(request.headers.get("content-range"))

    page.on("request", note)
    return parts


def taken_from(page: Page) -> list[str]:
    """The parts of the page that the dispatcher takes from now on, each as its `Content-Range`."""
    parts: list[str] = []

    def note(response: Response) -> None:
        if response.request.method == "PUT" and response.ok:
            parts.append(response.request.headers["content-range"])

    page.on("response", note)
    return parts


async def test_a_file_is_uploaded_and_becomes_a_job(page: Page, client: httpx2.AsyncClient) -> None:
    await choose(page, film(), film("b.mov", b"another"))
    await page.get_by_label("Sources").fill("https://media.example/c.mkv")
    await submit(page)
    await expect(page.locator(".submitted h2")).to_have_text("3 jobs submitted")
    made = {it["source_url"]: it for it in (await client.get("/jobs/")).json()}
    other = hashlib.sha256(b"another").hexdigest()
    mine = f"store:{SHA256}/%C3%89t%C3%A9%201.mov"
    assert set(made) == {"https://media.example/c.mkv", mine, f"store:{other}/b.mov"}
    assert made[mine]["job_size"] == pytest.approx(len(FILM) / 1e6)
    assert (await client.get(f"/store/{SHA256}")).content == FILM
    await expect(page.locator(".uploads li")).to_have_count(0)
    await expect(page.get_by_role("link", name="Été 1.mov")).to_be_visible()


async def test_an_upload_goes_on_where_it_broke_off(
    page: Page, client: httpx2.AsyncClient, faults: Faults
) -> None:
    faults.expect("status of 409")  # the dispatcher tells how far it is
    said = {"Content-Range": f"bytes 0-{MIB - 1}/{len(FILM)}"}
    assert (await client.put(f"/store/{SHA256}", content=FILM[:MIB], headers=said)).is_success
    parts = sent_by(page)
    await choose(page, film())
    await expect(page.locator(".upload-state")).to_have_text("uploaded")
    asked, *rest = parts
    assert asked is not None
    assert asked.startswith("bytes 0-")
    assert rest[0] is not None
    assert rest[0].startswith(f"bytes {MIB}-")
    assert (await client.get(f"/store/{SHA256}")).content == FILM


async def test_an_upload_whose_tab_was_closed_goes_on_in_another(
    page: Page, context: BrowserContext, client: httpx2.AsyncClient, faults: Faults
) -> None:
    faults.expect("status of 409")  # the dispatcher tells how far it is
    held = asyncio.Event()

    async def hold_the_second(route: Route) -> None:
        if route.request.headers["content-range"].startswith("bytes 0-"):
            await route.continue_()
        else:
            held.set()  # the tab is closed while this one is under way

    await page.route("**/store/*", hold_the_second)
    await choose(page, film())
    await held.wait()
    await page.close()
    again = await signed_in(context)
    await again.goto("/?view=submit")
    taken = taken_from(again)
    await choose(again, film())
    await submit(again)
    await expect(again.locator(".submitted h2")).to_have_text("1 job submitted")
    first = taken[0].removeprefix("bytes ").partition("-")[0]
    assert int(first) >= FIRST_PART
    assert (await client.get(f"/store/{SHA256}")).content == FILM


async def test_a_file_that_is_there_is_not_sent_again(
    page: Page, client: httpx2.AsyncClient
) -> None:
    await client.put(f"/store/{SHA256}", content=FILM)
    parts = sent_by(page)
    await choose(page, film())
    await expect(page.locator(".upload-state")).to_have_text("uploaded")
    assert len(parts) == 1


async def test_an_upload_waits_while_the_dispatcher_is_away(
    page: Page, client: httpx2.AsyncClient, faults: Faults
) -> None:
    faults.expect("ERR_CONNECTION_RESET", "status of 409")
    is_away = True

    async def cut(route: Route) -> None:
        if is_away:
            await route.abort("connectionreset")
        else:
            await route.continue_()

    await page.route("**/store/*", cut)
    await choose(page, film())
    state = page.locator(".upload-state")
    await expect(state).to_contain_text("waits: The dispatcher can't be reached.")
    await page.get_by_role("link", name="Farm").click()  # it goes on while another view is shown
    await expect(page.get_by_role("heading", name="Submit jobs")).to_be_hidden()
    is_away = False
    await page.get_by_role("link", name="Submit").click()
    await expect(state).to_have_text("uploaded")
    assert (await client.get(f"/store/{SHA256}")).content == FILM


async def test_what_cannot_be_uploaded_says_why_and_holds_the_form_back(
    page: Page, client: httpx2.AsyncClient
) -> None:
    await choose(page, film("large.mov", bytes(2_000_001)), film("empty.mov", b""))
    large, empty = page.locator(".uploads li").nth(0), page.locator(".uploads li").nth(1)
    await expect(large).to_contain_text("The store takes files of up to 2.0 MB.")
    await expect(empty).to_contain_text("This file is empty.")
    await submit(page)
    error = page.locator(".field-source_url .field-error")
    await expect(error).to_contain_text("large.mov is not uploaded")
    await accessible(page)
    await page.get_by_role("button", name="Take large.mov away").click()
    await page.get_by_role("button", name="Take empty.mov away").click()
    await choose(page, film("good.mov", b"good"))
    await submit(page)
    await expect(page.locator(".submitted h2")).to_have_text("1 job submitted")
    assert len((await client.get("/jobs/")).json()) == 1


async def test_files_are_dropped_anywhere_on_the_page(page: Page) -> None:
    await page.evaluate("""() => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File(["a film"], "dropped.mov"));
      for (const type of ["dragover", "drop"]) {
        document.body.dispatchEvent(
          new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
      }
    }""")
    await expect(page.locator(".uploads li")).to_contain_text("dropped.mov")
    await expect(page.locator(".upload-state")).to_have_text("uploaded")


async def test_leaving_the_page_asks_while_something_is_uploaded(page: Page) -> None:
    leaving = """() => !dispatchEvent(new Event("beforeunload", { cancelable: true }))"""
    assert not await page.evaluate(leaving)
    await page.route("**/store/*", lambda _: None)  # it is never answered
    await choose(page, film())
    await expect(page.locator(".upload-state")).to_contain_text("uploading")
    assert await page.evaluate(leaving)
    await page.get_by_role("button", name="Take Été 1.mov away").click()
    assert not await page.evaluate(leaving)


async def test_the_digest_of_pieces_is_that_of_the_whole(page: Page) -> None:
    lengths = [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1_000, 100_000]
    found = await page.evaluate(
        """async (lengths) => {
          const { Sha256 } = await import("/board/sha256.js");
          return lengths.map((length) => {
            const bytes = Uint8Array.from({ length }, (_, at) => (at * 7) % 251);
            const digest = new Sha256();
            for (let at = 0, step = 1; at < length; at += step, step = (step * 3) % 131) {
              digest.update(bytes.subarray(at, Math.min(at + step, length)));
            }
            return digest.hex();
          });
        }""",
        lengths,
    )
    made = [bytes(at * 7 % 251 for at in range(length)) for length in lengths]
    assert found == [hashlib.sha256(it).hexdigest() for it in made]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (StoreLimits(max_bytes=1_000_000), "--store-max-gb"),
        (StoreLimits(reserve_bytes=1 << 60), "disk"),
    ],
    ids=["the store is full", "the disk is full"],
)
class TestWithoutRoom:
    @pytest.fixture
    async def server(self, db: Path, tmp_path: Path, limits: StoreLimits) -> AsyncIterator[Running]:
        async with running(db, store=tmp_path / "store", store_limits=limits) as dispatcher:
            yield dispatcher

    async def test_the_dispatchers_words_stand_at_the_file_which_can_be_tried_again(
        self, page: Page, client: httpx2.AsyncClient, faults: Faults, reason: str
    ) -> None:
        faults.expect("status of 507", "status of 409")  # 409 tells how far it is
        await choose(page, film())
        state = page.locator(".upload-state")
        await expect(state).to_contain_text("Insufficient Storage")
        await expect(state).to_contain_text(reason)
        await accessible(page)
        await submit(page)
        error = page.locator(".field-source_url .field-error")
        await expect(error).to_contain_text("Été 1.mov is not uploaded")
        assert (await client.get("/jobs/")).json() == []
        async with page.expect_response(lambda answer: answer.status == 507):
            await page.get_by_role("button", name="Try again").click()
        await expect(state).to_contain_text(reason)


class TestWithoutAStore:
    @pytest.fixture
    async def server(self, db: Path) -> AsyncIterator[Running]:
        async with running(db) as dispatcher:
            yield dispatcher

    async def test_no_file_is_asked_for(self, context: BrowserContext) -> None:
        page = await signed_in(context)
        async with page.expect_response("**/store"):
            await page.goto("/?view=submit")
        await expect(page.get_by_label("Sources")).to_be_visible()
        await expect(page.get_by_role("button", name="Upload files")).to_have_count(0)
