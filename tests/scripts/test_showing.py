"""The farm that screenshots and measurements are made of, and what they read of a trace."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dispatcher.core.events import EngineLost
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.legality import breach
from dispatcher.log import decoded
from dispatcher.log.sqlite import SqliteLog
from dispatcher.state.replay import replay
from showing.day import Plan, name_of, write
from showing.tracing import Trace

pytestmark = pytest.mark.anyio

END = datetime(2026, 11, 27, 22, tzinfo=UTC)


async def test_a_day_is_one_that_a_dispatcher_could_have_written(db: Path) -> None:
    count = await write(db, Plan(hours=1.5, waiting=30), END)
    fleet = Fleet()
    async with await SqliteLog.open_for_reading(db) as log:
        happened = decoded(await log.page(0, 100_000))
        assert len(happened) == count
        for recorded in happened:
            assert breach(fleet, recorded.event) is None
            evolve(fleet, recorded.event)
        state = await replay(log)
    engines = {engine.engine_id: engine for engine in state.projections.engines.all()}
    assert len(engines) == 12
    assert engines[name_of(5)].drained
    assert not engines[name_of(9)].online
    assert engines[name_of(11)].blocked
    assert any(isinstance(recorded.event, EngineLost) for recorded in happened)
    statuses = [job.status for job in state.projections.jobs.all()]
    assert statuses.count("pending") >= 30
    assert {"assigned", "completed"} <= set(statuses)
    assert END.timestamp() >= happened[-1].at.timestamp() > END.timestamp() - 60


async def test_the_same_plan_gives_the_same_day(tmp_path: Path) -> None:
    logs = []
    for name in ("a", "b"):
        await write(tmp_path / name, Plan(engines=3, hours=0.2), END)
        async with await SqliteLog.open_for_reading(tmp_path / name) as log:
            logs.append(await log.page(0, 100_000))
    assert logs[0] == logs[1]


# Traces

PAGE = {"pid": 7, "tid": 7}
OTHER = {"pid": 8, "tid": 8}
TASK = "ThreadControllerImpl::RunTask"


def begun(url: str, ts: int, **where: int) -> dict[str, Any]:
    data = {"documentLoaderURL": url}
    return {"name": "navigationStart", "ts": ts, "args": {"data": data}, **where}


def task(ts: int, dur: int, tdur: int, **where: int) -> dict[str, Any]:
    return {"name": TASK, "ph": "X", "ts": ts, "dur": dur, "tdur": tdur, **where}


def frame(ts: int, **where: int) -> dict[str, Any]:
    return {"name": "AnimationFrame::Render", "ph": "b", "ts": ts, **where}


def test_of_a_trace_is_told_when_the_page_was_painted_and_what_its_frames_took() -> None:
    events = [
        begun("http://farm/", 1_000_000, **PAGE),
        begun("", 1_000_500, **PAGE),
        begun("http://else/", 2_000_000, **OTHER),
        {"name": "firstContentfulPaint", "ts": 900_000, **PAGE},
        {"name": "firstContentfulPaint", "ts": 1_250_000, **PAGE},
        {"name": "firstContentfulPaint", "ts": 1_001_000, **OTHER},
        task(1_100_000, 30_000, 20_000, **PAGE),
        task(1_200_000, 5_000, 5_000, **PAGE),
        task(1_300_000, 8_000, 7_000, **PAGE),
        task(1_300_000, 99_000, 99_000, pid=7, tid=9),
        task(1_300_000, 99_000, 99_000, **OTHER),
        frame(1_101_000, **PAGE),
        frame(1_301_000, **PAGE),
        frame(1_302_000, **PAGE),
        frame(1_201_000, **OTHER),
    ]
    trace = Trace(events, "http://farm/")
    assert trace.first_paint_ms() == 250
    assert [(it.at_ms, it.took_ms, it.ran_ms) for it in trace.frames()] == [
        (100, 30, 20),
        (300, 8, 7),
    ]
    assert [it.took_ms for it in trace.frames(after_ms=150)] == [8]
    assert [it.took_ms for it in trace.tasks(after_ms=150)] == [5, 8]


def test_a_trace_of_no_such_page_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no page of http://farm"):
        Trace([begun("http://else/", 1, **PAGE)], "http://farm/")
    with pytest.raises(RuntimeError, match="has no firstContentfulPaint"):
        Trace([begun("http://farm/", 1, **PAGE)], "http://farm/").first_paint_ms()
