"""The browser's fold of the events shows what the dispatcher shows, at every seq."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx2
import pytest
from msgspec.structs import replace
from playwright.async_api import Browser, Page

from dispatcher.core.events import (
    EngineReported,
    Event,
    JobCancelled,
    JobFailedPermanently,
    JobMadeWhole,
    JobReleased,
    JobRetried,
    JobSplit,
)
from tests.support.browser import opened
from tests.support.farm import beat, submitted
from tests.support.given import assigned, completed, job
from tests.support.histories import genuine, written
from tests.support.past import written_past
from tests.support.servers import Running, child, client_of

pytestmark = pytest.mark.anyio

EVENTS: Final = 600
MOMENTS: Final = 16
LEASE_S: Final = "100000"  # nothing happens in the log while it is looked at

FOLD: Final = """async (given) => {
  const { events, seqs, base } = JSON.parse(given);
  const { apply, emptyState, putEngine, putJob } = await import("/board/fold.js");
  const state = emptyState();
  for (const job of base?.jobs ?? []) putJob(state, job);
  for (const engine of base?.engines ?? []) putEngine(state, engine);
  const shown = {};
  const show = (seq) => {
    shown[seq] = { jobs: [...state.jobs.values()], engines: [...state.engines.values()],
                   counts: { ...state.counts } };
  };
  if (seqs.includes(base?.seq ?? 0)) show(base?.seq ?? 0);
  for (const event of events) {
    const before = JSON.stringify([...state.jobs.values(), ...state.engines.values()]);
    const held = [...state.jobs.values(), ...state.engines.values()];
    apply(state, event);
    if (JSON.stringify(held) !== before) throw new Error(`${event.seq} changed what was shown`);
    if (seqs.includes(event.seq)) show(event.seq);
  }
  return JSON.stringify(shown);
}"""


@pytest.fixture
async def blank(browser: Browser, server: Running) -> AsyncIterator[Page]:
    """A page that runs the board's modules and nothing else."""
    async with opened(browser, server.url) as context:
        page = await context.new_page()
        await page.goto("/board/icon.svg")
        yield page


async def folded_by(page: Page, **given: Any) -> dict[str, Any]:
    """What the browser shows at these seqs. It is told and tells in JSON, as by the dispatcher."""
    shown: dict[str, Any] = json.loads(await page.evaluate(FOLD, json.dumps(given)))
    return shown


async def shown_at(client: httpx2.AsyncClient, seq: int) -> dict[str, Any]:
    """What the dispatcher shows as of a seq."""
    jobs = (await client.get("/jobs/", params={"as_of": seq})).json()
    engines = (await client.get("/engines/", params={"as_of": seq})).json()
    return {"seq": seq, "jobs": jobs, "engines": engines}


async def events_of(client: httpx2.AsyncClient, after: int = 0) -> list[dict[str, Any]]:
    """All events after a seq, as the stream gives them."""
    asked: dict[str, str | int] = {"after": after, "limit": 10_000}
    events: list[dict[str, Any]] = (await client.get("/events", params=asked)).json()
    return events


def comparable(shown: dict[str, Any], *, in_order: bool = True) -> dict[str, Any]:
    """What can be told of two states: the same jobs and engines, in the same order.

    A state that was loaded does not tell which former instances of an engine were not heard again,
    so of those that are heard later the order is unknown.
    """
    engines = shown["engines"]
    if not in_order:
        engines = [it | {"fenced_instances": sorted(it["fenced_instances"])} for it in engines]
    return {"jobs": shown["jobs"], "engines": engines}


@pytest.mark.parametrize("seed", range(4))
async def test_it_shows_what_the_dispatcher_shows_at_every_seq(
    browser: Browser, db: Path, seed: int
) -> None:
    await written(db, genuine(EVENTS, seed))
    async with (
        child(db, "--lease-s", LEASE_S) as server,
        client_of(server) as client,
        opened(browser, server.url) as context,
    ):
        page = await context.new_page()
        await page.goto("/board/icon.svg")
        events = await events_of(client)
        random = Random(seed)
        seqs = sorted({0, 1, *random.sample(range(EVENTS), MOMENTS), len(events)})
        folded = await folded_by(page, events=events, seqs=seqs)
        for seq in seqs:
            expected = await shown_at(client, seq)
            assert comparable(folded[str(seq)]) == comparable(expected), f"as of {seq}"
            statuses = [job["status"] for job in expected["jobs"]]
            counted = {name: n for name, n in folded[str(seq)]["counts"].items() if n}
            assert counted == {name: statuses.count(name) for name in set(statuses)}


SEGMENT: Final = {"kind": "segment"}


def of_a_film(parts: int) -> list[Event]:
    """A film that is split, fails, is retried and done, and one that is made whole."""
    names = tuple(f"part {number}" for number in range(parts))
    of_film: list[Event] = [replace(job(it), parent="film", part=SEGMENT) for it in names]
    first, *others = names
    done = [event for it in others for event in (assigned(it, "x"), completed(it, "x"))]
    return [
        EngineReported("x", {}),
        *(job("film"), assigned("film", "x"), JobSplit("film", "x", 1, names)),
        *of_film,
        replace(job("sequel"), after=("film",), waits_for=("film",)),
        *(*done, JobFailedPermanently(first, None, 0, 1, "broke"), JobCancelled("film", None, 1)),
        *(JobRetried("film", (first,)), JobRetried(first, because_of="film")),
        *(assigned(first, "x"), completed(first, "x"), JobReleased("film")),
        *(assigned("film", "x", 2), completed("film", "x", 2), JobReleased("sequel")),
        *(assigned("sequel", "x"), JobSplit("sequel", "x", 1, ("a", "b"))),
        *(replace(job(name), parent="sequel", part=SEGMENT) for name in "ab"),
        JobMadeWhole("sequel", "it can't be cut exactly"),
    ]


async def test_films_in_parts_are_folded_as_the_dispatcher_does(browser: Browser, db: Path) -> None:
    told = of_a_film(7)
    await written_past(db, *((1.0, event) for event in told))
    async with (
        child(db, "--lease-s", LEASE_S) as server,
        client_of(server) as client,
        opened(browser, server.url) as context,
    ):
        page = await context.new_page()
        await page.goto("/board/icon.svg")
        seqs = list(range(len(told) + 1))
        folded = await folded_by(page, events=await events_of(client), seqs=seqs)
        for seq in seqs:
            expected = await shown_at(client, seq)
            assert comparable(folded[str(seq)]) == comparable(expected), f"as of {seq}"


@pytest.mark.parametrize("seed", range(2))
async def test_it_goes_on_from_what_the_dispatcher_showed(
    browser: Browser, db: Path, seed: int
) -> None:
    await written(db, genuine(EVENTS, seed + 10))
    async with (
        child(db, "--lease-s", LEASE_S) as server,
        client_of(server) as client,
        opened(browser, server.url) as context,
    ):
        page = await context.new_page()
        await page.goto("/board/icon.svg")
        for begin in Random(seed).sample(range(EVENTS - 100), 6):
            base = await shown_at(client, begin)
            events = [it for it in await events_of(client, begin) if it["seq"] <= begin + 100]
            folded = await folded_by(page, events=events, seqs=[begin + 100], base=base)
            expected = await shown_at(client, begin + 100)
            assert comparable(folded[str(begin + 100)], in_order=False) == comparable(
                expected, in_order=False
            ), f"from {begin}"


STRANGE: Final[list[dict[str, Any]]] = [
    {"__proto__": {"online": False}, "constructor": 1, "more": {"a": [1, None]}},
    {"current_job": "mine", "online": False, "drained": 1, "fenced_instances": "all"},
    {"last_seen": "never", "blocked": "by me", "blocked_until": 7, "hasOwnProperty": "x"},
    {"status": "busy", "supported_codecs": ["h264"], "storage_capacity_gb": 1e300},
    {"engine_type": "<b>big</b>", "streaming_support": True, "benchmark_time": 0},
    {"hostname": "\u2028\u0000é", "toString": None, "abilities": ["recipes"]},
]


async def test_whatever_an_engine_reports_is_shown_alike(
    blank: Page, client: httpx2.AsyncClient
) -> None:
    for number, report in enumerate(STRANGE):
        await beat(client, "__proto__", **report)
        await beat(client, f"e{number}", **report)
    await client.post("/assign_job/", json={"engine_id": "__proto__"})
    job_id = await submitted(client, source_url="__proto__", output_name="{stem} & co")
    await client.post("/assign_job/", json={"engine_id": "__proto__"})
    await beat(client, "__proto__", status="idle", current_job=job_id, attempt=1, progress=0.5)
    result = {"speed": 1.5, "warnings": ["__proto__"]}
    await client.post(f"/jobs/{job_id}/complete", json={"output_url": "o", "result": result})
    events = await events_of(client)
    seq = events[-1]["seq"]
    folded = await folded_by(blank, events=events, seqs=[seq])
    assert comparable(folded[str(seq)]) == comparable(await shown_at(client, seq))


async def test_an_unknown_type_of_event_changes_only_seq_and_time(blank: Page) -> None:
    state = await blank.evaluate(
        """async () => {
          const { apply, emptyState } = await import("/board/fold.js");
          const state = emptyState();
          apply(state, { seq: 7, time: "2026-01-01T00:00:00.000000Z", type: "moon_rose",
                         job_id: "j", engine_id: "e" });
          return { ...state, jobs: state.jobs.size, engines: state.engines.size };
        }"""
    )
    assert (state["seq"], state["time"]) == (7, "2026-01-01T00:00:00.000000Z")
    assert (state["jobs"], state["engines"], any(state["counts"].values())) == (0, 0, False)


async def test_a_stream_is_read_rightly_wherever_it_is_cut(
    blank: Page, client: httpx2.AsyncClient
) -> None:
    for name in ("ä", "b", "c\n"):
        await submitted(client, source_url=name)
    events = await events_of(client)
    blocks = "".join(
        f"id: {it['seq']}\ndata: {json.dumps(it)}\n\n: ping\n\nid: {it['seq']}\n\n" for it in events
    )
    read = await blank.evaluate(
        """async (text) => {
          const { parse } = await import("/board/feed.js");
          const found = [];
          for (let cut = 0; cut <= text.length; cut += 7) {
            const first = parse(text.slice(0, cut));
            const rest = parse(first.left + text.slice(cut));
            found.push([...first.events, ...rest.events]);
          }
          return found;
        }""",
        blocks,
    )
    assert all(each == events for each in read)
