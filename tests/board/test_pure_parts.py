"""Charts, an engine's day and moments: functions of what they are given, tried in the browser."""

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page

from projections.filters import JobFilter, words_of
from projections.jobs import JobView
from tests.support.browser import Faults, opened
from tests.support.servers import Running

pytestmark = pytest.mark.anyio

HOUR_MS: Final = 3_600_000


@pytest.fixture
async def page(browser: Browser, server: Running, faults: Faults) -> AsyncIterator[Page]:
    """A page of a reader whose clock shows UTC: moments are those of the reader's clock."""
    async with opened(browser, server.url, timezone_id="UTC") as context:
        page = await context.new_page()
        faults.watch(page)
        yield page
    assert faults.unexpected == []


async def tried(page: Page, module: str, expression: str, **given: Any) -> Any:
    """Evaluate an expression of a module `it` and what is `given`."""
    await page.goto("/")
    return await page.evaluate(
        f"async (given) => {{ const it = await import('/board/{module}'); return {expression}; }}",
        given,
    )


# An engine's day


def day(*told: tuple[int, str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"seq": seq, "time": f"2026-11-27T{hour:02}:00:00Z", "type": name, "engine_id": "e"} | more
        for seq, (hour, name, more) in enumerate(told, 1)
    ]


async def bands(page: Page, before: Any, *told: tuple[int, str, dict[str, Any]]) -> list[Any]:
    made = await tried(
        page,
        "day.js",
        "it.bandsOf(given.events, {from: Date.parse('2026-11-27T00:00:00Z'), "
        "to: Date.parse('2026-11-28T00:00:00Z'), before: given.before})",
        events=day(*told),
        before=before,
    )
    begin = 1_795_737_600_000
    for one, next_one in pairwise(made):
        assert one["to"] == next_one["from"]
    return [(it["state"], (it["from"] - begin) / HOUR_MS, it["job"]) for it in made]


FREE: Final = {"online": True, "blocked": None, "drained": False, "current_job": None}


async def test_a_day_is_cut_where_the_state_changes(page: Page) -> None:
    assert await bands(
        page,
        FREE,
        (2, "job_assigned", {"job_id": "a"}),
        (4, "job_completed", {"job_id": "a"}),
        (4, "job_assigned", {"job_id": "b"}),
        (6, "job_requeued", {"job_id": "b"}),
        (6, "engine_blocked", {"reason": "too many"}),
        (8, "engine_unblocked", {}),
        (9, "engine_drained", {}),
        (11, "engine_resumed", {}),
        (12, "engine_forgotten", {}),
        (13, "engine_reported", {"report": {}}),
    ) == [
        ("idle", 0, None),
        ("working", 2, "a"),
        ("working", 4, "b"),
        ("blocked", 6, None),
        ("idle", 8, None),
        ("drained", 9, None),
        ("idle", 11, None),
        ("absent", 12, None),
        ("idle", 13, None),
    ]


async def test_a_silence_is_drawn_from_when_the_engine_was_last_heard(page: Page) -> None:
    assert await bands(
        page,
        FREE | {"current_job": "a"},
        (5, "engine_lost", {"silent_s": 7200.0}),
        (5, "job_requeued", {"job_id": "a"}),
        (7, "engine_seen", {}),
    ) == [("working", 0, "a"), ("silent", 3, None), ("idle", 7, None)]


async def test_a_day_can_begin_after_some_of_its_events(page: Page) -> None:
    told = day(
        (2, "job_assigned", {"job_id": "a"}),
        (4, "engine_lost", {"silent_s": 60.0}),
        (4, "job_requeued", {"job_id": "a"}),
        (5, "engine_drained", {}),
        (6, "engine_seen", {}),
        (7, "job_assigned", {"job_id": "b"}),
        (8, "engine_forgotten", {}),
        (9, "engine_reported", {}),
    )
    after = await tried(
        page,
        "day.js",
        "[0, 1, 3, 4, 5, 6, 7, 8].map((count) => it.engineAfter(given.events.slice(0, count), "
        "given.before)).map((it) => it && [it.online, it.drained, it.current_job])",
        events=told,
        before=FREE,
    )
    assert after == [
        *([True, False, None], [True, False, "a"], [False, False, None], [False, True, None]),
        *([True, True, None], [True, True, "b"], None, [True, False, None]),
    ]


async def test_a_day_of_an_engine_that_was_not_there_begins_when_it_comes(page: Page) -> None:
    assert await bands(page, None, (5, "engine_reported", {})) == [
        ("absent", 0, None),
        ("idle", 5, None),
    ]
    assert await bands(page, None) == [("absent", 0, None)]


# Charts


async def test_a_chart_shows_every_step_of_its_series(page: Page) -> None:
    drawn = await tried(
        page,
        "charts.js",
        "(() => { const node = it.chartOf({series: given.series, from: 0, stepS: 60, width: 238, "
        "height: 124}); return {bars: node.querySelector('.done').getAttribute('d'), "
        "texts: [...node.querySelectorAll('.chart-grid text')].map((it) => it.textContent)}; })()",
        series=[{"name": "done", "kind": "done", "form": "bars", "values": [0, 1, 4, "x", None]}],
    )
    assert drawn["texts"] == ["0", "2.5", "5"]
    assert drawn["bars"].count("M") == 2
    assert drawn["bars"].startswith("M74.5 106V86H113.5V106Z")


async def test_bars_are_stacked_and_the_scale_holds_them(page: Page) -> None:
    texts = await tried(
        page,
        "charts.js",
        "[...it.chartOf({series: given.series, from: 0, stepS: 60, width: 238, height: 124})"
        ".querySelectorAll('.chart-grid text')].map((text) => text.textContent)",
        series=[
            {"name": name, "kind": name, "form": "bars", "values": [6, 6]} for name in ("a", "b")
        ],
    )
    assert texts == ["0", "10", "20"]


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (1, 1), (3, 5), (10, 10), (11, 20), (4_999, 5_000)]
)
async def test_the_scale_ends_at_a_round_number(page: Page, value: float, top: float) -> None:
    assert await tried(page, "charts.js", "it.niceTop(given.value)", value=value) == top


async def test_a_point_of_the_plot_belongs_to_a_step(page: Page) -> None:
    steps = await tried(
        page, "charts.js", "given.at.map((x) => it.stepAt(x, 138, 10))", at=[0, 34, 44, 133, 134]
    )
    assert steps == [None, 0, 1, 9, None]


# Moments


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", None),
        ("", None),
        ("1204", "1204"),
        ("seq 1 204", "1204"),
        ("-10 min", "2026-11-27T11:50:00.000Z"),
        ("- 2h", "2026-11-27T10:00:00.000Z"),
        ("3 days ago", "2026-11-24T12:00:00.000Z"),
        ("09:14", "2026-11-27T09:14:00.000Z"),
        ("as of 09:14 yesterday", "2026-11-26T09:14:00.000Z"),
        ("Yesterday 9:14:30", "2026-11-26T09:14:30.000Z"),
        ("2026-11-22T09:30:00Z", "2026-11-22T09:30:00.000Z"),
        ("2026-11-22 09:30", "2026-11-22T09:30:00.000Z"),
        ("2026-11-22T09:30:00+02:00", "2026-11-22T07:30:00.000Z"),
        ("2026-11-22", "2026-11-22T00:00:00.000Z"),
        ("23:59", None),
        ("soon", "RangeError"),
        ("25:00", "RangeError"),
        ("<b>9</b>", "RangeError"),
    ],
)
async def test_a_moment_is_written_as_people_write_it(
    page: Page, text: str, moment: str | None
) -> None:
    found = await tried(
        page,
        "moment.js",
        "(() => { try { return it.momentOf(given.text, Date.parse('2026-11-27T12:00:00Z')); } "
        "catch (error) { return error.name; } })()",
        text=text,
    )
    assert found == moment


async def test_what_is_due_is_taken_from_the_front(page: Page) -> None:
    times = [f"2026-11-27T09:00:0{second}Z" for second in (1, 2, 2, 5)]
    taken = await tried(
        page,
        "moment.js",
        "(() => { const kept = given.times.map((time) => ({time})); "
        "return [it.due(kept, Date.parse(given.times[1])).length, kept.length, "
        "it.due(kept, 0).length]; })()",
        times=times,
    )
    assert taken == [3, 1, 0]


# Errors of a submission


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("Bad Request: 'source_url' is missing or not a string.", "source_url"),
        ("Bad Request: 'recipe.max_height' must be an integer from 16 to 16384, not 8.", "recipe"),
        ("Bad Request: there is no recipe 'wbe'; there is web.", "recipe"),
        ("Bad Request: 'output_name' has no placeholder {x}; it has …", "output_name"),
        ("Forbidden: this needs the role 'client'", None),
    ],
)
async def test_an_error_belongs_to_the_field_that_it_names(
    page: Page, text: str, field: str | None
) -> None:
    assert await tried(page, "submit.js", "it.fieldIn(given.text)", text=text) == field


# Addresses


@pytest.mark.parametrize("search", ["?view=job", "?view=engine&id=", "?view=none&id=a", ""])
async def test_an_address_that_names_nothing_is_that_of_the_farm(page: Page, search: str) -> None:
    found = await tried(
        page, "address.js", "(({view, id}) => [view, id])(it.read(given.search))", search=search
    )
    assert found == ["farm", None]


# Searching jobs


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://media/100%/Ferien%20%C3%9Cbung.mp4", "Ferien Übung"),
        ("http://media/100%/Ferien%20%C3%9Cbung.mp4", "100%"),
        ("http://media/%zz%20a%C3.mp4", "%zz a\ufffd.mp4"),
        ("http://media/%E2%82%20x.mp4", "\ufffd x"),
        ("http://media/%EF%BB%BFx.mp4", "/\ufeffx"),
        ("http://media/ü%C3%BC%", "üü%"),
        ("http://media/%2525", "%25"),
        ("http://media/%2525", "/%%"),
    ],
)
async def test_a_url_is_searched_as_the_dispatcher_searches_it(
    page: Page, url: str, text: str
) -> None:
    found = await tried(
        page,
        "job_filters.js",
        "it.matcher({text: given.text})({job_id: 'j', source_url: given.url, output_url: null})",
        url=url,
        text=text,
    )
    assert found == JobFilter(words=words_of(text)).admits(
        JobView("j", url, "h264", 0.0, "pending", None, None, 0, 3)
    )


# The feed

FED: Final = """(async () => {
  const told = [];
  const line = (seq) => `data: ${JSON.stringify({seq})}\n\n`;
  const api = {request: async (to, {headers}) => {
    told.push(`after ${headers["Last-Event-ID"]}`);
    return new Response(line(1) + line(2));
  }};
  return new Promise((resolve) => {
    const feed = new it.Feed(api, 0, {
      connected: () => {},
      lost: () => told.push("lost"),
      broken: () => resolve([...told, "anew", feed.after]),
      events: (events) => {
        told.push(`given ${events.length}`);
        throw new Error("the fold broke");
      },
    });
    feed.run();
  });
})()"""


async def test_an_error_of_what_takes_events_is_reported_and_all_is_loaded_anew(
    page: Page, faults: Faults
) -> None:
    faults.expect("^script: .*the fold broke")
    async with page.expect_event("pageerror"):
        found = await tried(page, "feed.js", f"await {FED}")
    assert found == ["after 0", "given 2", "anew", 0]
