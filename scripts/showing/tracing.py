"""What Chromium's own trace says of a page: when it was first painted, and what a frame took.

A frame is a task of the page's main thread in which animation callbacks, styles, layout and paint
are run. Of each task the trace has how long it took, and for how much of that the thread was really
running: on a busy machine these differ.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from playwright.async_api import Browser

__all__ = ["Task", "Trace", "traced"]

CATEGORIES: Final = ("devtools.timeline", "blink.user_timing", "loading", "toplevel")
TASK: Final = "ThreadControllerImpl::RunTask"
FRAME: Final = "AnimationFrame::Render"
PAINTED: Final = "firstContentfulPaint"
US_PER_MS: Final = 1_000
END_S: Final = 60


class Task(NamedTuple):
    """What the main thread did at a time: from when, for how long, and running for how long."""

    at_ms: float
    took_ms: float
    ran_ms: float


class Trace:
    """The events of a trace in which one page of an address was loaded."""

    def __init__(self, events: list[dict[str, Any]], url: str) -> None:
        loads = [
            event
            for event in events
            if event.get("name") == "navigationStart"
            and event["args"]["data"]["documentLoaderURL"].startswith(url)
        ]
        if not loads:
            raise RuntimeError(f"the trace has no page of {url}")
        self._began = max(loads, key=lambda event: event["ts"])
        pid = self._began["pid"]
        self._events = [event for event in events if event.get("pid") == pid]

    def first_paint_ms(self) -> float:
        """Return the time from the start of the navigation to the first paint of content."""
        return self._since_start(PAINTED)

    def mark_ms(self, name: str) -> float:
        """Return the time from the start of the navigation to a mark of the page's."""
        return self._since_start(name)

    def _since_start(self, name: str) -> float:
        times = [
            event["ts"]
            for event in self._events
            if event.get("name") == name and event["ts"] >= self._began["ts"]
        ]
        if not times:
            raise RuntimeError(f"the trace has no {name}")
        return float(min(times) - self._began["ts"]) / US_PER_MS

    def tasks(self, after_ms: float = 0.0) -> list[Task]:
        """Return what the main thread did, from so long after the start of the navigation on."""
        start = self._began["ts"]
        return sorted(
            Task(at_ms, event.get("dur", 0) / US_PER_MS, event.get("tdur", 0) / US_PER_MS)
            for event in self._events
            if event.get("name") == TASK
            and event["tid"] == event["pid"]
            and (at_ms := (event["ts"] - start) / US_PER_MS) >= after_ms
        )

    def frames(self, after_ms: float = 0.0) -> list[Task]:
        """Return the tasks that made a frame."""
        tasks = self.tasks(after_ms)
        begins = [task.at_ms for task in tasks]
        found: dict[float, Task] = {}
        for event in self._events:
            if event.get("name") == FRAME and event["ph"] == "b":
                at_ms = (event["ts"] - self._began["ts"]) / US_PER_MS
                index = bisect_right(begins, at_ms) - 1
                if index >= 0 and at_ms <= tasks[index].at_ms + tasks[index].took_ms:
                    found[tasks[index].at_ms] = tasks[index]
        return list(found.values())


@asynccontextmanager
async def traced(browser: Browser) -> AsyncIterator[list[dict[str, Any]]]:
    """Trace the browser until the block ends. The list has the events after that."""
    session = await browser.new_browser_cdp_session()
    events: list[dict[str, Any]] = []
    complete = asyncio.Event()
    session.on("Tracing.dataCollected", lambda told: events.extend(told["value"]))
    session.on("Tracing.tracingComplete", lambda _: complete.set())
    config = {"includedCategories": [*CATEGORIES], "recordMode": "recordAsMuchAsPossible"}
    await session.send("Tracing.start", {"transferMode": "ReportEvents", "traceConfig": config})
    try:
        yield events
    finally:
        await session.send("Tracing.end")
        await asyncio.wait_for(complete.wait(), END_S)
        await session.detach()
