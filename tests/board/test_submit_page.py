"""The form that submits: what it sends, what it shows of errors, and that nothing is sent twice."""

from typing import Any

import httpx2
import pytest
from playwright.async_api import BrowserContext, Page, Route, expect

from tests.support.browser import Faults
from tests.support.past import signed_in

pytestmark = pytest.mark.anyio

REFUSED = r"status of 4\d\d"


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    page = await signed_in(context)
    await page.goto("/?view=submit")
    await expect(page.get_by_label("Sources")).to_be_visible()
    return page


async def jobs(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get("/jobs/")).json()
    return found


async def submit(page: Page) -> None:
    await page.get_by_role("button", name="Submit").click()


async def test_a_source_becomes_a_job_and_a_link_to_it(
    page: Page, client: httpx2.AsyncClient
) -> None:
    await page.get_by_label("Sources").fill("https://media.example/one.mkv")
    await page.get_by_label("Codec").fill("av1")
    await page.get_by_label("Priority").fill("7")
    await page.get_by_label("Output name").fill("{stem}")
    await page.get_by_label("Recipe").select_option("its own fields")
    await page.get_by_label("Its fields, as JSON").fill('{"vmaf": 93}')
    await submit(page)
    link = page.get_by_role("link", name="one.mkv")
    await expect(link).to_be_visible()
    await expect(page.locator(".submitted .warning")).to_contain_text("no engine that is known")
    [made] = await jobs(client)
    fields = ("source_url", "target_codec", "priority", "output_name", "recipe")
    assert tuple(made[name] for name in fields) == (
        *("https://media.example/one.mkv", "av1", 7, "{stem}", {"vmaf": 93}),
    )
    await link.click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Waits for an engine")


async def test_each_line_is_a_job_and_those_refused_stay(
    page: Page, client: httpx2.AsyncClient
) -> None:
    await page.get_by_label("Sources").fill("a.mkv\n\n  b.mkv  \n" + "x" * 70_000)
    await submit(page)
    await expect(page.locator(".submitted h2")).to_have_text("2 jobs submitted")
    assert [it["source_url"] for it in await jobs(client)] == ["a.mkv", "b.mkv"]
    await expect(page.locator(".field-source_url .field-error")).to_have_text(
        "Bad Request: 'source_url' must be at most 65536 characters."
    )
    assert await page.get_by_label("Sources").input_value() == "x" * 70_000


@pytest.mark.parametrize(
    ("label", "value", "text"),
    [
        ("Output name", "{nothing}", "'output_name' has no placeholder"),
        ("Its fields, as JSON", '{"max_height": 8}', "'recipe.max_height' must be an integer"),
        ("Its fields, as JSON", '{"crf": 20, "vmaf": 93}', "contradict each other"),
        ("Its fields, as JSON", "{", "This is not JSON: "),
    ],
)
async def test_an_error_stands_at_its_field_in_the_dispatchers_words(
    page: Page, faults: Faults, client: httpx2.AsyncClient, label: str, value: str, text: str
) -> None:
    faults.expect(REFUSED)
    await page.get_by_label("Sources").fill("a.mkv")
    if label.startswith("Its"):
        await page.get_by_label("Recipe").select_option("its own fields")
    field = page.get_by_label(label)
    await field.fill(value)
    await submit(page)
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_be_focused()
    await expect(page.locator(".field", has=field).locator(".field-error")).to_contain_text(text)
    assert await jobs(client) == []


async def test_an_answer_that_was_lost_makes_no_job_twice(
    page: Page, faults: Faults, client: httpx2.AsyncClient
) -> None:
    faults.expect("ERR_CONNECTION_RESET", "net::ERR")
    lost = 0

    async def lose(route: Route) -> None:
        nonlocal lost
        lost += 1
        if lost == 1:
            await route.fetch()
            await route.abort("connectionreset")
        else:
            await route.continue_()

    await page.route(
        "**/jobs/",
        lambda route: lose(route) if route.request.method == "POST" else route.continue_(),
    )
    await page.get_by_label("Sources").fill("a.mkv")
    await submit(page)
    await expect(page.locator("form.submit > .field-error")).to_contain_text("can't be reached")
    await submit(page)
    await expect(page.get_by_role("link", name="a.mkv")).to_be_visible()
    assert len(await jobs(client)) == 1
    await page.get_by_label("Sources").fill("a.mkv")
    await submit(page)
    await expect(page.get_by_label("Sources")).to_have_value("")
    assert len(await jobs(client)) == 2  # another press is another job


async def test_nobody_submits_in_the_past(page: Page) -> None:
    await page.get_by_label("Sources").fill("a.mkv")
    await submit(page)
    await expect(page.get_by_role("link", name="a.mkv")).to_be_visible()
    await page.goto("/?view=submit&as_of=1")
    await expect(page.locator(".reason")).to_contain_text("Nobody submits in the past")
    await expect(page.get_by_label("Sources")).to_be_hidden()
