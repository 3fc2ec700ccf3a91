"""The farm, its jobs and its engines as people see them: live, and by keyboard alone."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Literal

import httpx2
import pytest
from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from dispatcher.serving.keys import ApiKeys, Key, Role
from tests.support.browser import Faults, accessible, opened
from tests.support.farm import beat, eventually, job_shown, submitted
from tests.support.given import completed, failed, job
from tests.support.past import written_past
from tests.support.servers import KEY, Running, client_of, running

pytestmark = pytest.mark.anyio

HOSTILE: Final = (
    '<img src=x onerror="document.title=1">',
    "<script>document.title=1</script>",
    "javascript:document.title=1",
    '"><svg onload=document.title=1>',
    "{{constructor.constructor('document.title=1')()}}",
    "__proto__",
    "%3Cb%3E \u202egpj.exe\u2028",
)
NOT_FOUND: Final = "404"


@pytest.fixture
async def board(context: BrowserContext) -> Page:
    """The board, with the key of the tests in its tab."""
    await sign_in(context)
    return await context.new_page()


async def sign_in(context: BrowserContext, key: str = KEY) -> None:
    """Give the tabs of a profile a key, as if it had been entered in them."""
    keep = f"sessionStorage.setItem('dispatcher key', '{key}')"
    await context.add_init_script(f"if (location.protocol === 'http:') {keep}")


def of_list(page: Page, name: str) -> Locator:
    """A list of the farm's page."""
    return page.get_by_role("region", name=name)


def row(page: Page, text: str | re.Pattern[str]) -> Locator:
    """The row of a table that has a text."""
    return page.get_by_role("row").filter(has_text=text)


async def run_one(client: httpx2.AsyncClient, engine_id: str) -> str:
    """Have an engine take a job; gives the job's id."""
    taken = await client.post("/assign_job/", json={"engine_id": engine_id})
    assert taken.status_code == 200
    job_id: str = taken.json()["job_id"]
    return job_id


# Live


async def test_jobs_appear_and_move_without_a_reload(
    board: Page, client: httpx2.AsyncClient
) -> None:
    await board.goto("/")
    await expect(board.get_by_text("This farm is empty.")).to_be_visible()
    await beat(client, "farm-1", supported_codecs=["h264"])
    await submitted(client, source_url="http://media/in/Ferien%20%C3%9Cbung.mp4")
    await expect(of_list(board, "Waiting").get_by_role("link", name="Ferien Übung")).to_be_visible()
    job_id = await run_one(client, "farm-1")
    running = of_list(board, "Running").get_by_role("row").filter(has_text="Ferien Übung")
    await expect(running).to_contain_text("farm-1")
    await expect(of_list(board, "Waiting")).to_contain_text("Nothing waits.")
    await beat(client, "farm-1", current_job=job_id, attempt=1, progress=64.4)
    await expect(running).to_contain_text(re.compile(r"64\s%"))
    await expect(running.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "64")
    await client.post(f"/jobs/{job_id}/complete", json={"output_url": "http://media/out.mp4"})
    await expect(of_list(board, "Done today")).to_contain_text("Ferien Übung")
    await expect(of_list(board, "Running")).to_contain_text("Nothing runs.")


async def test_a_failed_job_shows_its_error(board: Page, client: httpx2.AsyncClient) -> None:
    job_id = await submitted(client, source_url="http://media/a.mp4", max_retries=1)
    await board.goto("/")
    await expect(of_list(board, "Waiting")).to_contain_text("a.mp4")
    await client.post(f"/jobs/{job_id}/fail", json={"error_message": "the source ends at 6 s"})
    await expect(of_list(board, "Failed today")).to_contain_text("the source ends at 6 s")


async def test_engines_are_counted_and_change_their_state(
    board: Page, client: httpx2.AsyncClient
) -> None:
    for name in ("farm-1", "farm-2", "farm-3"):
        await beat(client, name)
    await board.goto("/?view=engines")
    await expect(board.get_by_role("button", name="3 idle")).to_be_visible()
    await client.post("/engines/farm-2/drain")
    await expect(board.get_by_role("button", name="1 draining")).to_be_visible()
    await expect(row(board, "farm-2")).to_contain_text("draining")


async def test_the_farm_names_what_is_sick_and_why(board: Page, client: httpx2.AsyncClient) -> None:
    await beat(client, "farm-7", supported_codecs=["h264"])
    for name in "abc":
        await submitted(client, source_url=f"http://media/{name}.mp4", max_retries=1)
        failed = {"engine_id": "farm-7", "attempt": 1, "error_message": "no space left"}
        await client.post(f"/jobs/{await run_one(client, 'farm-7')}/fail", json=failed)
    await board.goto("/")
    sick = board.get_by_role("list", name="Engines that need attention")
    await expect(sick).to_contain_text("farm-7Failed 3 different jobs in a row")
    await client.post("/engines/farm-7/resume")
    await expect(sick).to_be_hidden()


async def test_a_head_of_a_column_sorts_where_the_dispatcher_can(
    board: Page, client: httpx2.AsyncClient
) -> None:
    for name in ("a", "b", "c"):
        await submitted(client, source_url=f"http://media/{name}.mp4")
        await beat(client, f"farm-{name}")
    await board.goto("/?view=jobs")
    heads = board.get_by_role("columnheader")
    await expect(heads.filter(has_text="Submitted")).to_have_attribute("aria-sort", "descending")
    await board.get_by_role("button", name="Submitted").click()
    await expect(heads.filter(has_text="Submitted")).to_have_attribute("aria-sort", "ascending")
    links = board.get_by_role("grid").get_by_role("link")
    await expect(links).to_have_text(["a.mp4", "b.mp4", "c.mp4"])
    await board.goto("/?view=engines")
    await board.get_by_role("button", name="Engine", exact=True).click()
    await expect(links).to_have_text(["farm-c", "farm-b", "farm-a"])
    await expect(board).to_have_url(re.compile("sort=-engine"))


async def test_work_of_unknown_length_makes_a_sum_a_least_one(
    board: Page, client: httpx2.AsyncClient
) -> None:
    await beat(client, "farm-1", supported_codecs=["h264", "av1"])
    await submitted(client, target_codec="av1")
    await board.goto("/")
    await expect(board.locator(".totals .queue")).to_contain_text("1 of unknown length")


async def test_jobs_that_come_are_told_of_and_the_order_stays_while_one_works_at_it(
    board: Page, client: httpx2.AsyncClient
) -> None:
    for name in ("a", "b"):
        await submitted(client, source_url=f"http://media/{name}.mp4")
    await board.goto("/?view=jobs")
    await row(board, "a.mp4").focus()
    await board.keyboard.press("x")
    await submitted(client, source_url="http://media/c.mp4")
    await board.get_by_role("button", name="1 new: show").click()
    names = await board.get_by_role("grid").get_by_role("link").all_text_contents()
    assert names == ["c.mp4", "b.mp4", "a.mp4"]
    await expect(row(board, "a.mp4")).to_have_attribute("aria-selected", "true")


async def test_a_restart_of_the_dispatcher_is_survived(
    browser: Browser, db: Path, faults: Faults
) -> None:
    faults.expect("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "Failed to load")
    async with running(db) as server, client_of(server) as client:
        port, url = server.port, server.url
        first = await submitted(client, source_url="http://media/first.mp4")
        context = opened(browser, url)
        made = await context.__aenter__()
        await sign_in(made)
        page = await made.new_page()
        faults.watch(page)
        await page.goto("/")
        await expect(of_list(page, "Waiting")).to_contain_text("first.mp4")
    await expect(page.get_by_text("Lost the connection to the dispatcher")).to_be_visible()
    await expect(of_list(page, "Waiting")).to_contain_text("first.mp4")
    async with running(db, port=port) as server, client_of(server) as client:
        await submitted(client, source_url="http://media/second.mp4")
        await client.delete(f"/jobs/{first}")
        await expect(of_list(page, "Waiting")).to_contain_text("second.mp4")
        await expect(of_list(page, "Waiting")).not_to_contain_text("first.mp4")
        await expect(page.get_by_text("Lost the connection to the dispatcher")).to_be_hidden()
        await context.__aexit__(None, None, None)
    assert faults.unexpected == []


async def test_another_log_behind_the_address_is_loaded_anew(
    browser: Browser, tmp_path: Path, faults: Faults
) -> None:
    faults.expect("ERR_", "Failed to load")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with running(tmp_path / "a" / "events.db") as server, client_of(server) as client:
        port, url = server.port, server.url
        for n in range(5):
            await submitted(client, source_url=f"http://media/old {n}.mp4")
        context = opened(browser, url)
        made = await context.__aenter__()
        await sign_in(made)
        page = await made.new_page()
        faults.watch(page)
        await page.goto("/")
        await expect(of_list(page, "Waiting")).to_contain_text("old 4.mp4")
        await expect(page.locator("#seal .seal-grey")).to_have_attribute(
            "title", re.compile("remembers its 5 events")
        )
        await page.reload()
        await expect(page.locator("#seal .seal-accent")).to_be_visible()
    async with (
        running(tmp_path / "b" / "events.db", port=port, new=True) as server,
        client_of(server) as client,
    ):
        await submitted(client, source_url="http://media/new.mp4")
        await expect(of_list(page, "Waiting")).to_contain_text("new.mp4")
        await expect(of_list(page, "Waiting")).not_to_contain_text("old 4.mp4")
        await expect(page.get_by_text("This is another log than a moment ago")).to_be_visible()
        await expect(page.locator("#seal .seal-red")).to_be_visible()
        await context.__aexit__(None, None, None)
    assert faults.unexpected == []


async def test_a_hidden_tab_follows_no_feed_and_goes_on_when_it_is_shown(
    board: Page, client: httpx2.AsyncClient
) -> None:
    streams: list[str] = []
    board.on("request", lambda it: streams.append(it.url) if it.url.endswith("/stream") else None)
    await submitted(client, source_url="http://media/before.mp4")
    await board.goto("/")
    await expect(of_list(board, "Waiting")).to_contain_text("before.mp4")
    await expect(board.locator("html")).not_to_have_attribute("data-past", "")
    turn = """(hidden) => {
      Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    async with board.expect_event("requestfailed", lambda it: it.url.endswith("/stream")):
        await board.evaluate(turn, True)
    await submitted(client, source_url="http://media/meanwhile.mp4")
    await board.evaluate(turn, False)
    await expect(of_list(board, "Waiting")).to_contain_text("meanwhile.mp4")
    assert len(streams) == 2


MANY: Final = 900


@pytest.fixture
async def many_failed(db: Path) -> AsyncIterator[Running]:
    """A farm on which more jobs have failed than a board loads."""
    told = [(0.1, event) for n in range(MANY) for event in (job(f"j{n}"), failed(f"j{n}", None))]
    await written_past(db, (0.1, job("done")), (0.1, completed("done", None)), *told)
    async with running(db) as server:
        yield server


async def test_many_jobs_that_live_again_are_loaded_together(
    browser: Browser, many_failed: Running, faults: Faults
) -> None:
    asked: list[str] = []
    async with (
        client_of(many_failed) as client,
        opened(browser, many_failed.url, timezone_id="UTC") as made,
    ):
        await sign_in(made)
        page = await made.new_page()
        faults.watch(page)
        page.on("request", lambda it: asked.append(it.url))
        await page.goto("/")
        failed_ones = of_list(page, "Failed today")
        await expect(failed_ones.locator(".count")).to_have_text("the newest 500")
        await expect(of_list(page, "Done today").locator(".count")).to_have_text("1")
        retried = await client.post("/jobs/retry", params={"status": "failed_permanently"})
        assert retried.json()["done"] == MANY
        await expect(of_list(page, "Waiting").locator(".count")).to_have_text(str(MANY))
        await expect(failed_ones).to_contain_text("Nothing failed today.")
    single = [url for url in asked if re.search(r"/jobs/j\d+$", url)]
    assert len(single) < MANY / 4
    assert faults.unexpected == []


async def test_all_that_match_are_retried_also_those_that_are_not_loaded(
    browser: Browser, many_failed: Running, faults: Faults
) -> None:
    async with client_of(many_failed) as client, opened(browser, many_failed.url) as made:
        await sign_in(made)
        page = await made.new_page()
        faults.watch(page)
        await page.goto("/?view=jobs&status=failed_permanently")
        await expect(page.get_by_text("the newest 500 jobs").first).to_be_visible()
        whole = page.get_by_role("button", name="Retry all that match")
        await page.get_by_role("checkbox", name="Select all rows").check()
        await page.get_by_role("checkbox", name="Select j899.mp4").uncheck()
        await expect(whole).to_be_hidden()  # then it is these that are meant
        await page.get_by_role("checkbox", name="Select all rows").check()
        await whole.click()
        question = page.get_by_role("alertdialog")
        await question.get_by_role("button", name="Leave them").click()
        assert await failed_now(client) == MANY
        await whole.click()
        await question.get_by_role("button", name=f"Retry {MANY} jobs").click()
        await expect(page.get_by_text(f"Retried {MANY} jobs.")).to_be_visible()
        assert await failed_now(client) == 0
    assert faults.unexpected == []


async def failed_now(client: httpx2.AsyncClient) -> int:
    counts: dict[str, int] = (await client.get("/statistics/now")).json()["jobs"]
    return counts["failed_permanently"]


# Acting


async def test_cancelling_asks_and_then_cancels(board: Page, client: httpx2.AsyncClient) -> None:
    job_id = await submitted(client, source_url="http://media/a.mp4")
    await board.goto("/?view=jobs")
    await row(board, "a.mp4").focus()
    await board.keyboard.press("c")
    dialog = board.get_by_role("alertdialog")
    await expect(dialog).to_contain_text("Cancel 1 job?")
    await board.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    assert (await job_shown(client, job_id))["status"] == "pending"
    await board.keyboard.press("c")
    await dialog.get_by_role("button", name="Cancel 1 job").click()
    await expect(row(board, "a.mp4")).to_contain_text("cancelled")
    assert (await job_shown(client, job_id))["status"] == "cancelled"


async def test_a_row_of_the_farm_is_cancelled_and_retried_by_keys(
    board: Page, client: httpx2.AsyncClient
) -> None:
    await submitted(client, source_url="http://media/a.mp4")
    await board.goto("/")
    await expect(of_list(board, "Waiting")).to_contain_text("a.mp4")
    await board.keyboard.press("j")
    await board.keyboard.press("r")
    await expect(
        board.get_by_text("Only failed and cancelled jobs can be retried.")
    ).to_be_visible()
    await board.keyboard.press("c")
    await board.get_by_role("alertdialog").get_by_role("button", name="Cancel 1 job").click()
    await expect(of_list(board, "Waiting")).to_contain_text("Nothing waits.")


async def test_many_are_selected_and_retried_at_once(
    board: Page, client: httpx2.AsyncClient
) -> None:
    for n in range(6):
        job_id = await submitted(client, source_url=f"http://media/{n}.mp4", max_retries=1)
        await client.post(f"/jobs/{job_id}/fail", json={"error_message": "broke"})
    await submitted(client, source_url="http://media/waits.mp4")
    await board.goto("/?view=jobs&status=failed_permanently")
    await row(board, "5.mp4").focus()
    await board.keyboard.press("x")
    for _ in range(3):
        await board.keyboard.press("j")
    await board.keyboard.press("Shift+X")
    await expect(board.get_by_text("4 selected")).to_be_visible()
    await board.get_by_role("button", name="Retry 4").click()
    await expect(board.get_by_text("Retried 4 jobs.")).to_be_visible()
    waiting = (await client.get("/jobs/", params={"status": "pending"})).json()
    assert len(waiting) == 5


async def test_priorities_of_many_are_set(board: Page, client: httpx2.AsyncClient) -> None:
    ids = [await submitted(client, source_url=f"http://media/{n}.mp4") for n in range(3)]
    await board.goto("/?view=jobs")
    await expect(row(board, "2.mp4")).to_be_visible()
    await board.get_by_role("checkbox", name="Select all rows").check()
    await board.get_by_role("spinbutton", name="Priority").fill("40")
    await board.get_by_role("button", name="Set priority of 3").click()
    for job_id in ids:

        async def is_set(job_id: str = job_id) -> bool:
            return bool((await job_shown(client, job_id))["priority"] == 40)

        await eventually(is_set)


async def test_engines_are_drained_resumed_and_forgotten(
    board: Page, client: httpx2.AsyncClient
) -> None:
    for name in ("farm-1", "farm-2"):
        await beat(client, name)
    await board.goto("/?view=engines")
    for name in ("farm-1", "farm-2"):
        await row(board, name).get_by_role("checkbox").check()
    await board.get_by_role("button", name="Drain", exact=True).click()
    await expect(board.get_by_role("button", name="2 draining")).to_be_visible()
    await row(board, "farm-1").get_by_role("checkbox").check()
    await board.get_by_role("button", name="Resume").click()
    await expect(board.get_by_role("button", name="1 idle")).to_be_visible()
    await row(board, "farm-2").get_by_role("checkbox").check()
    await board.get_by_role("button", name="Forget").click()
    dialog = board.get_by_role("alertdialog")
    await expect(dialog).to_contain_text("Forget 1 engine?")
    await dialog.get_by_role("button", name="Forget 1 engine").click()
    await expect(board.get_by_role("button", name="0 draining")).to_be_visible()


# Searching


async def test_the_address_keeps_the_filters(board: Page, client: httpx2.AsyncClient) -> None:
    for codec in ("h264", "av1"):
        await submitted(client, source_url=f"http://media/{codec}.mp4", target_codec=codec)
    await board.goto("/")
    await expect(of_list(board, "Waiting")).to_contain_text("av1.mp4")
    await board.keyboard.press("/")
    await board.keyboard.type("AV1")
    await board.keyboard.press("Enter")
    await expect(row(board, "av1.mp4")).to_be_visible()
    await expect(row(board, "h264.mp4")).to_be_hidden()
    assert "view=jobs" in board.url
    assert "text=AV1" in board.url
    await board.get_by_role("button", name="failed").click()
    await expect(board.get_by_text("No job matches these filters.")).to_be_visible()
    assert "status=failed_permanently" in board.url
    await board.reload()
    await expect(board.get_by_text("No job matches these filters.")).to_be_visible()
    await board.get_by_role("button", name="Clear").click()
    await expect(row(board, "h264.mp4")).to_be_visible()


# Who looks


async def test_without_a_key_it_is_asked_for_and_kept_in_the_tab(
    page: Page, client: httpx2.AsyncClient
) -> None:
    await submitted(client, source_url="http://media/a.mp4")
    await page.goto("/")
    await expect(page.get_by_text("This dispatcher asks for a key.")).to_be_visible()
    await page.get_by_label("Key", exact=True).fill("another key")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("The dispatcher does not know this key.")).to_be_visible()
    await page.get_by_label("Key", exact=True).fill(KEY)
    await page.keyboard.press("Enter")
    await expect(of_list(page, "Waiting")).to_contain_text("a.mp4")
    await page.reload()
    await expect(of_list(page, "Waiting")).to_contain_text("a.mp4")
    assert await page.evaluate("localStorage.getItem('dispatcher key')") is None


async def test_a_link_with_a_token_signs_in_once(
    page: Page, client: httpx2.AsyncClient, faults: Faults
) -> None:
    token = (await client.post("/sign_in")).json()["token"]
    await page.goto(f"/?view=jobs#token={token}")
    await expect(page.get_by_text("There are no jobs yet.")).to_be_visible()
    assert page.url.endswith("/?view=jobs")
    faults.expect(NOT_FOUND)
    await page.goto("about:blank")
    await page.goto(f"/?view=jobs#token={token}")  # which does not sign this tab out
    await expect(page.get_by_text("This link was used already or is too old.")).to_be_visible()
    await expect(page.get_by_text("There are no jobs yet.")).to_be_visible()
    await page.evaluate("sessionStorage.clear()")
    await page.goto("about:blank")
    await page.goto(f"/?view=jobs#token={token}")
    await expect(page.get_by_text("This link was used already or is too old.")).to_be_visible()
    assert "token" not in page.url


@pytest.fixture
async def keys() -> dict[str, str]:
    return {"anna": "the key of anna", "seven": "the key of seven", "scraper": "a scraper's key"}


@pytest.fixture
async def with_roles(
    browser: Browser, db: Path, keys: dict[str, str], faults: Faults
) -> AsyncIterator[tuple[BrowserContext, httpx2.AsyncClient]]:
    """A dispatcher with keys of a client, an engine and a monitor."""
    known = ApiKeys(
        [
            Key.of("anna", Role.CLIENT, keys["anna"]),
            Key.of("seven", Role.ENGINE, keys["seven"]),
            Key.of("scraper", Role.MONITOR, keys["scraper"]),
            Key.of("tester", Role.OPERATOR, KEY),
        ]
    )
    async with (
        running(db, keys=known) as server,
        client_of(server) as client,
        opened(browser, server.url) as context,
    ):
        context.on("page", faults.watch)
        yield context, client
    assert faults.unexpected == []


async def test_what_a_role_may_not_do_is_not_offered(
    with_roles: tuple[BrowserContext, httpx2.AsyncClient], keys: dict[str, str]
) -> None:
    context, client = with_roles
    await beat(client, "farm-1")
    await submitted(client, source_url="http://media/a.mp4")
    await sign_in(context, keys["anna"])
    page = await context.new_page()
    await page.goto("/?view=engines")
    await row(page, "farm-1").get_by_role("checkbox").check()
    await expect(page.get_by_role("button", name="Drain", exact=True)).to_be_hidden()
    await page.goto("/?view=jobs")
    await row(page, "a.mp4").get_by_role("checkbox").check()
    await expect(page.get_by_role("button", name="Cancel 1")).to_be_visible()
    await submitted(client, source_url="http://media/b.mp4")
    await expect(page.get_by_role("button", name="1 new: show")).to_be_visible()


async def test_the_form_refuses_a_key_with_which_nothing_could_be_seen(
    with_roles: tuple[BrowserContext, httpx2.AsyncClient], keys: dict[str, str], faults: Faults
) -> None:
    context, _ = with_roles
    page = await context.new_page()
    await page.goto("/")
    faults.expect("status of 403")
    for key, told in (
        (keys["seven"], "The key “seven” has the role “engine”. The board needs the key of"),
        (keys["scraper"], "'monitor'"),
        (keys["anna"], ""),
    ):
        await page.get_by_label("Key", exact=True).fill(key)
        await page.keyboard.press("Enter")
        if told:
            await expect(page.locator("#key-why")).to_contain_text(told)
    await expect(page.get_by_text("This farm is empty.")).to_be_visible()


async def test_an_engines_key_is_told_what_is_missing(
    with_roles: tuple[BrowserContext, httpx2.AsyncClient], keys: dict[str, str]
) -> None:
    context, _ = with_roles
    await sign_in(context, keys["seven"])
    page = await context.new_page()
    await page.goto("/")
    await expect(page.get_by_text("The key “seven” has the role “engine”.")).to_be_visible()


# Hostile texts


@pytest.mark.parametrize("view", ["farm", "jobs", "engines"])
async def test_hostile_texts_are_shown_as_texts(
    board: Page, client: httpx2.AsyncClient, view: str
) -> None:
    for text in HOSTILE:
        await beat(client, text, engine_type=text, supported_codecs=[text])
        await submitted(client, source_url=text, target_codec=text, max_retries=1)
    await run_one(client, HOSTILE[0])
    await client.post("/engines/heartbeat", json={"engine_id": "e"})
    job_id = await submitted(client, source_url="http://media/f.mp4", max_retries=1)
    await client.post(f"/jobs/{job_id}/fail", json={"error_message": HOSTILE[0]})
    await board.goto(f"/?view={view}")
    for text in (HOSTILE[0], HOSTILE[3]):
        await expect(board.get_by_role("grid").get_by_text(text).first).to_be_visible()
    assert "1" not in (await board.title()).split(" · ")[0]
    assert await board.locator("main img, main script").count() == 0
    assert await board.locator('main a[href^="javascript"]').count() == 0


async def test_marks_that_nobody_sees_forge_no_name(
    board: Page, client: httpx2.AsyncClient
) -> None:
    await submitted(client, source_url="http://media/\u202egpj.exe\u202c.mov")
    await submitted(client, source_url="http://media/a\nb%00%E2%80%8F.mov")
    await board.goto("/")
    waiting = of_list(board, "Waiting")
    await expect(waiting).to_contain_text("[U+202E]gpj.exe[U+202C].mov")
    await expect(waiting).to_contain_text("\u2400[U+200F].mov")


# By keyboard


async def test_the_keyboard_reaches_everything(board: Page, client: httpx2.AsyncClient) -> None:
    for n in range(40):
        await submitted(client, source_url=f"http://media/{n:02}.mp4")
    await board.goto("/?view=jobs")
    await expect(row(board, "39.mp4")).to_be_visible()
    await board.keyboard.press("j")
    await expect(row(board, "39.mp4")).to_be_focused()
    await board.keyboard.press("j")
    await board.keyboard.press("j")
    await board.keyboard.press("k")
    await expect(row(board, "38.mp4")).to_be_focused()
    await board.keyboard.press("End")
    await expect(row(board, "00.mp4")).to_be_focused()
    await board.keyboard.press("?")
    await expect(board.get_by_role("dialog", name="Keys")).to_be_visible()
    await board.keyboard.press("Escape")
    await expect(row(board, "00.mp4")).to_be_focused()
    await board.keyboard.press("Control+k")
    await expect(board.get_by_role("searchbox", name="Search jobs")).to_be_focused()
    await board.keyboard.press("Escape")
    await row(board, "00.mp4").focus()
    await board.keyboard.press("Enter")
    await expect(board).to_have_url(re.compile("view=job&id="))


async def test_tab_goes_through_all_that_can_be_pressed(
    board: Page, client: httpx2.AsyncClient
) -> None:
    await submitted(client, source_url="http://media/a.mp4")
    await board.goto("/?view=jobs")
    await expect(row(board, "a.mp4")).to_be_visible()
    reached: set[str] = set()
    for _ in range(60):
        await board.keyboard.press("Tab")
        told = await board.evaluate(
            """() => {
              const at = document.activeElement;
              const style = getComputedStyle(at);
              const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
              const name = at.getAttribute("aria-label") || at.textContent.trim() || at.id;
              return [name, seen || at === document.body];
            }"""
        )
        assert told[1], f"the focus on {told[0]!r} can't be seen"
        reached.add(told[0])
    for name in ("Farm", "Engines", "Search jobs", "running", "waiting", "Codec", "Time"):
        assert any(name in it for it in reached), f"{name} is not reached: {reached}"


async def test_a_state_tells_its_reason(board: Page, client: httpx2.AsyncClient) -> None:
    await submitted(client, source_url="http://media/a.mp4")
    await beat(client, "farm-1", supported_codecs=["av1"])
    await board.goto("/?view=jobs")
    await row(board, "a.mp4").locator("[data-why-job]").hover()
    await expect(board.get_by_role("tooltip")).to_contain_text("No engine could take it now")
    await board.mouse.move(0, 0)
    await board.goto("/?view=engines")
    await expect(row(board, "farm-1")).to_be_visible()
    await board.keyboard.press("j")
    await expect(board.get_by_role("tooltip")).to_contain_text("It has no job and could take one.")


# Many


async def test_of_many_jobs_only_those_in_sight_are_in_the_document(
    board: Page, client: httpx2.AsyncClient
) -> None:
    jobs = [{"source_url": f"http://media/{n}.mp4", "target_codec": "h264"} for n in range(3_000)]
    await client.post("/jobs/batch", json=jobs)
    await board.goto("/?view=jobs&status=pending")
    await expect(row(board, "2999.mp4")).to_be_visible()
    await expect(board.get_by_role("grid")).to_have_attribute("aria-rowcount", "3001")
    assert await board.get_by_role("row").count() < 100
    await board.keyboard.press("j")
    await board.keyboard.press("End")
    await expect(row(board, re.compile(r"^\D*0\.mp4"))).to_be_focused()
    assert await board.get_by_role("row").count() < 100


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["farm", "jobs", "engines"])
async def test_the_views_are_accessible(
    board: Page, client: httpx2.AsyncClient, view: str, scheme: Literal["light", "dark"]
) -> None:
    await busy(client)
    await board.emulate_media(color_scheme=scheme)
    await board.goto(f"/?view={view}")
    await expect(board.get_by_role("grid").get_by_text("runs.mp4")).to_be_visible()
    if view != "farm":
        await board.get_by_role("checkbox", name="Select all rows").check()
        await expect(board.get_by_text(re.compile(r"^\d selected$"))).to_be_visible()
    await accessible(board)


async def test_the_sign_in_form_is_accessible(page: Page) -> None:
    await page.goto("/")
    await expect(page.get_by_text("This dispatcher asks for a key.")).to_be_visible()
    await accessible(page)


async def busy(client: httpx2.AsyncClient) -> None:
    """Have a job and an engine in every state that does not need time to pass."""
    for name in ("works", "idles", "drains"):
        await beat(client, name, supported_codecs=["h264"])
    await client.post("/engines/drains/drain")
    await submitted(client, source_url="http://media/runs.mp4")
    job_id = await run_one(client, "works")
    await beat(client, "works", current_job=job_id, attempt=1, progress=30)
    for name in ("waits", "done", "fails", "goes"):
        told = await submitted(client, source_url=f"http://media/{name}.mp4", max_retries=1)
        if name == "done":
            await client.post(f"/jobs/{told}/complete", json={"output_url": "http://media/o.mp4"})
        if name == "fails":
            await client.post(f"/jobs/{told}/fail", json={"error_message": "broke"})
        if name == "goes":
            await client.delete(f"/jobs/{told}")
