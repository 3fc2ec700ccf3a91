"""Requests of every kind, given to the application as its server gives them, and cut off.

An await point is where the task of a request lets others run. `cut_at` counts them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from types import coroutine
from typing import Any, Final, NamedTuple

import msgspec
from litestar.types import ASGIApp

__all__ = ["CUTS", "KINDS", "Cut", "Exchange", "Kind", "Request", "cut_at"]

STREAMED: Final = 2
"""Pieces of an endless answer after which its client has had enough."""


class Request(NamedTuple):
    """What is asked: a path with its query, and a body, if any."""

    method: str
    path: str
    body: Any = None
    key: str | None = None

    @property
    def body_bytes(self) -> bytes:
        """The body as it is sent."""
        return b"" if self.body is None else msgspec.json.encode(self.body)


class Exchange:
    """A request and what came of it: the `status`, once the answer has begun, and its `body`.

    Set `gone` when the client hangs up.
    """

    def __init__(self, request: Request, request_id: str) -> None:
        self.request = request
        self.request_id = request_id
        self.status: int | None = None
        self.body = b""
        self.gone = asyncio.Event()
        self.was_cut = False
        self.task: asyncio.Task[None] | None = None
        self._pieces = 0
        content = request.body_bytes
        half = len(content) // 2
        self._coming = [
            {"type": "http.request", "body": content[:half], "more_body": True},
            {"type": "http.request", "body": content[half:], "more_body": False},
        ]

    def run(self, app: ASGIApp) -> Coroutine[Any, Any, None]:
        """Give the request to the application."""
        path, _, query = self.request.path.partition("?")
        headers = [(b"host", b"torture"), (b"x-request-id", self.request_id.encode())]
        if self.request.key is not None:
            headers.append((b"idempotency-key", self.request.key.encode()))
        scope: Any = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.request.method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": headers,
            "server": ("torture", 80),
            "client": ("torture", 1),
        }
        return app(scope, self._receive, self._send)  # type: ignore[return-value]

    async def _receive(self) -> Any:
        await asyncio.sleep(0)
        if self._coming and not self.gone.is_set():
            return self._coming.pop(0)
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await asyncio.sleep(0)
        if self.gone.is_set():
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.body += message.get("body", b"")
            self._pieces += 1
            if self._pieces >= STREAMED and "/stream" in self.request.path:
                self.gone.set()

    def cancel(self) -> None:
        """End its task, as a stop does at the end of its grace."""
        assert self.task is not None  # noqa: S101 - it has begun
        self.was_cut = True
        self.task.cancel()

    def hang_up(self) -> None:
        """Be gone, as a client whose connection is."""
        self.was_cut = True
        self.gone.set()


Cut = Callable[[Exchange], None]
CUTS: Final[dict[str, Cut]] = {"cancelled": Exchange.cancel, "gone": Exchange.hang_up}


@coroutine
def cut_at(
    running: Coroutine[Any, Any, None], step: int, cut: Callable[[], None]
) -> Generator[Any, Any, None]:
    """Run something to its end, and call `cut` at its await point of this number, from 0."""
    proceed = partial(running.send, None)
    while True:
        try:
            awaited = proceed()
        except StopIteration:
            return
        if step == 0:
            cut()
        step -= 1
        try:
            yield awaited
        except BaseException as error:  # noqa: BLE001 - it is for whoever runs
            proceed = partial(running.throw, error)
        else:
            proceed = partial(running.send, None)


Ask = Callable[[Request], Awaitable[Any]]
"""Asks, as somebody else, and gives the answer."""


async def _nothing(_: Ask, number: int) -> None:
    del number


class Kind(NamedTuple):
    """A kind of request, of which the one of a number needs something `before` it, and `meanwhile`.

    `{n}` stands for the number in what is asked, and `{job}` for what `before` gives.
    """

    name: str
    request: Request
    before: Callable[[Ask, int], Awaitable[str | None]] = _nothing
    meanwhile: Callable[[Ask, int], Coroutine[Any, Any, object]] | None = None

    def of(self, number: int, job_id: str | None) -> Request:
        """Write the request of a number."""

        def filled(text: str) -> str:
            return text.replace("{n}", str(number)).replace("{job}", job_id or "")

        body = self.request.body
        if body is not None:
            body = {name: filled(it) if isinstance(it, str) else it for name, it in body.items()}
        key = None if self.request.key is None else filled(self.request.key)
        return Request(self.request.method, filled(self.request.path), body, key)


JOB: Final = {"source_url": "http://media/in.mp4", "target_codec": "h264"}


async def _submitted(ask: Ask, _: int) -> str:
    job_id: str = (await ask(Request("POST", "/jobs", JOB)))["job_id"]
    return job_id


async def _registered(ask: Ask, number: int) -> None:
    beat = {"engine_id": f"e{number}", "benchmark_time": 1.0}
    await ask(Request("POST", "/engines/heartbeat", beat))


async def _ready(ask: Ask, number: int) -> str:
    await _registered(ask, number)
    return await _submitted(ask, number)


async def _assigned(ask: Ask, number: int) -> str:
    await _registered(ask, number)
    await _submitted(ask, number)
    assigned = await ask(Request("POST", "/assign_job", {"engine_id": f"e{number}"}))
    job_id: str = assigned["job_id"]
    return job_id


async def _submitted_soon(ask: Ask, number: int) -> None:
    for _ in range(12):  # by then the other one waits
        await asyncio.sleep(0)
    await _submitted(ask, number)


_ENGINE: Final = {"engine_id": "e{n}"}
KINDS: Final = (
    Kind("submit", Request("POST", "/jobs", JOB)),
    Kind("submit with a key", Request("POST", "/jobs", JOB, key="key {n}")),
    Kind("heartbeat", Request("POST", "/engines/heartbeat", _ENGINE)),
    Kind(
        "benchmark",
        Request("POST", "/engines/benchmark_result", _ENGINE | {"benchmark_time": 2}),
        _registered,
    ),
    Kind("assign", Request("POST", "/assign_job", _ENGINE), _ready),
    Kind("wait in vain", Request("POST", "/assign_job", _ENGINE | {"wait_s": 0.02}), _registered),
    Kind(
        "wait for a job",
        Request("POST", "/assign_job", _ENGINE | {"wait_s": 60}),
        _registered,
        _submitted_soon,
    ),
    Kind(
        "complete", Request("POST", "/jobs/{job}/complete", {"output_url": "http://out"}), _assigned
    ),
    Kind("fail", Request("POST", "/jobs/{job}/fail", {"error_message": "broke"}), _assigned),
    Kind("cancel", Request("DELETE", "/jobs/{job}"), _assigned),
    Kind("forget", Request("DELETE", "/engines/e{n}"), _assigned),
    Kind("list", Request("GET", "/jobs"), _submitted),
    Kind("show", Request("GET", "/jobs/{job}"), _submitted),
    Kind("show as it was", Request("GET", "/jobs/{job}?as_of=1"), _submitted),
    Kind("explain", Request("GET", "/jobs/{job}/why"), _ready),
    Kind("history of a job", Request("GET", "/jobs/{job}/events"), _submitted),
    Kind("events", Request("GET", "/events?limit=3"), _submitted),
    Kind("stream", Request("GET", "/events/stream?after=0"), _submitted),
    Kind("proof", Request("GET", "/log/proof?seq=1"), _submitted),
    Kind("health", Request("GET", "/health")),
)
