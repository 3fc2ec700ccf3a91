"""What became of a job, as lanes, waits and markers: `timeline.js`, from events alone."""

from typing import Any, Final

import pytest
from playwright.async_api import Page

pytestmark = pytest.mark.anyio

MAKE: Final = """async ({events, engine, now}) => {
  const {timelineOf, withEngine} = await import("/board/timeline.js");
  const made = timelineOf(events, now);
  made.lanes = made.lanes.map((lane) => withEngine(lane, engine));
  return made;
}"""


def at(second: float) -> str:
    """A time of that morning."""
    return f"2026-11-27T09:{int(second) // 60:02}:{second % 60:09.6f}Z"


def ms(second: float) -> int:
    """The same time in milliseconds since 1970."""
    return 1_795_770_000_000 + int(second * 1000)


def happened(*told: tuple[float, str, dict[str, Any]], first: int = 1) -> list[dict[str, Any]]:
    """Events of the job j, by the second at which they happened, their type and their fields."""
    return [
        {"seq": seq, "time": at(second), "type": name, "actor": "it", "job_id": "j"} | fields
        for seq, (second, name, fields) in enumerate(told, first)
    ]


SUBMITTED: Final = (0.0, "job_submitted", {"source_url": "in.mkv", "target_codec": "av1"})


def assigned(second: float, attempt: int, engine: str) -> tuple[float, str, dict[str, Any]]:
    fields = {"engine_id": engine, "attempt": attempt, "rule": "asked by name"}
    return second, "job_assigned", fields


def progressed(second: float, progress: float, engine: str) -> tuple[float, str, dict[str, Any]]:
    return second, "job_progressed", {"engine_id": engine, "progress": progress}


def ended(
    second: float, name: str, engine: str, **fields: Any
) -> tuple[float, str, dict[str, Any]]:
    return second, name, {"engine_id": engine} | fields


async def timeline(
    page: Page, *told: tuple[float, str, dict[str, Any]], now: float = 600, **more: Any
) -> dict[str, Any]:
    await page.goto("/")
    given = {"events": happened(*told), "engine": more.get("engine", []), "now": ms(now)}
    made: dict[str, Any] = await page.evaluate(MAKE, given)
    return made


def lanes(made: dict[str, Any]) -> list[tuple[Any, ...]]:
    names = ("attempt", "engine", "from", "to", "end", "why")
    return [tuple(lane[name] for name in names) for lane in made["lanes"]]


def waits(made: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(wait["kind"], wait["from"], wait["to"]) for wait in made["waits"]]


async def test_a_success_is_one_lane_after_a_wait(page: Page) -> None:
    made = await timeline(
        page,
        SUBMITTED,
        assigned(30, 1, "one"),
        progressed(60, 40, "one"),
        progressed(90, 80, "one"),
        ended(120, "job_completed", "one", attempt=1, output_url="out"),
    )
    assert lanes(made) == [(1, "one", ms(30), ms(120), "completed", "completed")]
    assert waits(made) == [("waiting", ms(0), ms(30))]
    assert made["lanes"][0]["progress"] == [[ms(60), 40], [ms(90), 80]]
    assert (made["from"], made["to"], made["open"]) == (ms(0), ms(120), False)
    told = [(it["type"], it["attempt"], it["time"]) for it in made["markers"]]
    assert told == [
        ("job_submitted", None, ms(0)),
        ("job_assigned", 1, ms(30)),
        ("job_completed", 1, ms(120)),
    ]


async def test_a_failure_is_followed_by_its_pause_and_the_next_attempt(page: Page) -> None:
    made = await timeline(
        page,
        SUBMITTED,
        assigned(10, 1, "one"),
        ended(
            20,
            "job_requeued",
            "one",
            error_message="ffmpeg exited with 1\nthe disk is full\n",
            cause="engine_at_fault",
            not_before=at(50),
        ),
        (50, "job_released", {}),
        assigned(55, 2, "two"),
        ended(80, "job_completed", "two", output_url="out"),
    )
    assert lanes(made) == [
        (1, "one", ms(10), ms(20), "failed", "failed through the engine: the disk is full"),
        (2, "two", ms(55), ms(80), "completed", "completed"),
    ]
    assert waits(made) == [
        ("waiting", ms(0), ms(10)),
        ("pausing", ms(20), ms(50)),
        ("waiting", ms(50), ms(55)),
    ]
    assert made["waits"][1]["until"] == ms(50)


async def test_a_lost_engine_leaves_its_silence_up_to_the_end_of_its_lease(page: Page) -> None:
    heard = [
        {"seq": seq, "time": at(second), "type": "engine_seen", "engine_id": "one"}
        for seq, second in ((3, 20), (4, 30), (5, 40))
    ]
    gone = {"time": at(100.5), "type": "engine_lost", "silent_s": 60.0, "since": at(100)}
    made = await timeline(
        page,
        SUBMITTED,
        assigned(10, 1, "one"),
        engine=[*heard, gone | {"seq": 6, "engine_id": "one"}],
    )
    assert made["lanes"][0]["end"] == "running"
    assert made["open"]
    assert made["to"] == ms(600)

    events = [
        *happened(SUBMITTED, assigned(10, 1, "one")),
        *happened(ended(100.5, "job_requeued", "one", cause="engine_silent"), first=7),
        *happened(assigned(110, 2, "two"), first=8),
    ]
    given = {
        "events": events,
        "engine": [*heard, gone | {"seq": 6, "engine_id": "one"}],
        "now": ms(120),
    }
    lost = await page.evaluate(MAKE, given)
    first, second = lost["lanes"]
    assert (first["end"], first["why"]) == ("lost", "lost, the engine fell silent")
    assert first["heard"] == [ms(20), ms(30), ms(40)]
    assert first["silence"] == {"from": ms(40), "to": ms(100), "s": 60}
    assert (second["end"], second["to"], lost["to"]) == ("running", None, ms(120))


@pytest.mark.parametrize("holder", [None, "one"])
async def test_a_cancelled_job_ends_where_it_was(page: Page, holder: str | None) -> None:
    begun = [] if holder is None else [assigned(10, 1, holder)]
    made = await timeline(
        page, SUBMITTED, *begun, (20, "job_cancelled", {"engine_id": holder, "attempt": 1})
    )
    assert not made["open"]
    assert made["to"] == ms(20)
    if holder is None:
        assert lanes(made) == []
        assert waits(made) == [("waiting", ms(0), ms(20))]
    else:
        assert lanes(made) == [(1, "one", ms(10), ms(20), "cancelled", "cancelled")]
        assert waits(made) == [("waiting", ms(0), ms(10))]


async def test_a_retried_job_waits_again(page: Page) -> None:
    made = await timeline(
        page,
        SUBMITTED,
        assigned(10, 1, "one"),
        ended(20, "job_failed_permanently", "one", error_message="no", cause="source_bad"),
        (40, "job_retried", {}),
    )
    assert lanes(made)[0][4:] == ("failed", "failed, its source is bad: no")
    assert waits(made) == [("waiting", ms(0), ms(10)), ("waiting", ms(40), None)]
    assert made["open"]
    assert made["to"] == ms(600)


async def test_what_is_unknown_is_marked_and_nothing_goes_backwards(page: Page) -> None:
    made = await timeline(
        page,
        (60, "job_submitted", {"source_url": "in.mkv", "target_codec": "av1"}),
        (10, "job_admired", {}),
        assigned(20, 1, "one"),
        (30, "job_progressed", {"engine_id": "one", "progress": "much"}),
        ended(70, "job_completed", "one", output_url="out"),
    )
    assert lanes(made) == [(1, "one", ms(60), ms(70), "completed", "completed")]
    assert [it["time"] for it in made["markers"]] == [ms(60), ms(60), ms(60), ms(70)]
    assert made["markers"][1]["text"] == "job_admired of job j"


async def test_of_nothing_there_is_nothing(page: Page) -> None:
    made = await timeline(page)
    assert (made["lanes"], made["waits"], made["markers"], made["open"]) == ([], [], [], False)
