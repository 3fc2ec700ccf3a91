"""Keys of low roles, and an operator's own, that take all they can get: questions, polls, answers.

Laws:
- They ask on many connections at once, again and again, and read nothing of what is long.
- An operator with a key of its own asks meanwhile, for what is dear too: it is never refused.
- Nothing is timed, since a busy machine would fail; an answer that does not come in `ANSWER_S` is a
  failure.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from dispatcher.serving.keys import Role
from dispatcher.serving.keys_file import new_key

from . import Outcome, Tell
from .serving import HOST, KEY, Served, findings_in, serving
from .wire import GONE, Wire

__all__ = ["CLIENTS", "LONG", "PAGES", "POLLS", "ROUNDS", "SHORT", "run"]

LONG: Final = 20
SHORT: Final = 1

CLIENTS: Final = 16
"""Connections that ask about the past without a pause."""
POLLS: Final = 1_500
"""Requests for work of one engine that are open at once."""
PAGES: Final = 30
"""Pages of events, and as many lists of jobs, of which nothing is read."""
ROUNDS: Final = 3
"""What the operator asks for in a round of the torture, one after the other."""
FILLED: Final = 150
"""Jobs in the log, with long texts, so that a page is large."""
ANSWER_S: Final = 60
AGAIN_S: Final = 5
"""When a poll or a page that was answered is asked for again."""
GROWTH_KB: Final = 160 << 10
"""What the shares of three keys, so many connections and the allocator may take."""

STARVATION: Final = (
    f"While one key loops questions about the past on {CLIENTS} connections, another holds {POLLS} "
    f"polls of one engine, and a third {2 * PAGES} pages and lists that it does not read, an "
    "operator's questions, pages and heartbeats are all answered, and memory stays bounded."
)
_TEXT: Final = "x" * 30_000
_JOB: Final = {"source_url": f"http://media/{_TEXT}", "target_codec": "vp9", "max_retries": 1}


async def run(rounds: int, seed: int, tell: Tell) -> list[Outcome]:
    """Let the greedy keys in, and ask beside them, so many times `ROUNDS`."""
    del seed  # nothing is left to chance
    begun = time.monotonic()
    with TemporaryDirectory(prefix="torture-") as name:
        db, keys = Path(name, "events.db"), Path(name, "keys.toml")
        client, engine = (new_key(keys, str(role), role) for role in (Role.CLIENT, Role.ENGINE))
        greedy = new_key(keys, "greedy", Role.OPERATOR)
        async with serving(db, "--keys", str(keys)) as server:
            facts, failures = await _starved(
                server, _Greed(server.port, client, engine, greedy), rounds, tell
            )
            failures += await server.health_faults()
            failures += server.defects()
            failures += await server.stop_faults()
        failures += findings_in(db)
    took_s = time.monotonic() - begun
    return [Outcome("Key starvation", STARVATION, rounds, took_s, facts, failures)]


async def _starved(
    server: Served, greed: "_Greed", rounds: int, tell: Tell
) -> tuple[dict[str, Any], list[str]]:
    operator = await Wire.to(server.port, KEY)
    await _fill(operator, tell)
    before_kb = server.resident_kb()
    greedy = [asyncio.create_task(it) for it in greed.everything()]
    answered, failures = 0, list[str]()
    try:
        tell("greedy keys come")
        await greed.is_there.wait()
        for number in range(rounds * ROUNDS):
            tell(f"starved, {number // ROUNDS + 1} of {rounds}")
            failures += await _refusals(server.port, number)
            answered += 1
            if failures:
                break  # the others would fare alike
        grown_kb = server.resident_kb() - before_kb
    finally:
        operator.close()
        for task in greedy:
            task.cancel()
        done = await asyncio.gather(*greedy, return_exceptions=True)
    failures += [f"a greedy key failed: {it!r}" for it in done if isinstance(it, Exception)]
    if grown_kb > GROWTH_KB:
        failures.append(f"memory grew by {grown_kb} KB")
    facts: dict[str, Any] = {"rounds of the operator": answered, "memory grown, KB": grown_kb}
    facts["questions of the client"] = greed.told["question"]
    facts["of these refused"] = greed.told["question refused"]
    facts["polls opened"] = greed.told["poll"]
    facts["pages asked for"] = greed.told["page"]
    return facts, failures


async def _fill(operator: Wire, tell: Tell) -> None:
    """Submit the jobs whose pages are large, and have each fail with a text that is cut."""
    tell("a log is filled")
    for _ in range(FILLED):
        job_id = (await operator.ask("POST", "/jobs/", _JOB)).json()["job_id"]
        await operator.ask("POST", f"/jobs/{job_id}/fail", {"error_message": _TEXT})
    await operator.ask("POST", "/engines/heartbeat", {"engine_id": "e", "benchmark_time": 1})


async def _refusals(port: int, number: int) -> list[str]:
    """Ask for one of each as an operator, and tell what was not answered as it should be."""
    beat = {"engine_id": "e", "cpu_temperature": number}
    asked = (
        ("GET", f"/jobs/?limit=1&as_of={number % 10 + 1}", None),
        ("GET", "/health", None),
        ("POST", "/engines/heartbeat", beat),
        ("GET", "/events?limit=100", None),
        ("POST", "/assign_job/", {"engine_id": "e", "wait_s": 0.01}),
    )
    refused = []
    for method, path, body in asked:
        status: object = "no answer"
        with suppress(TimeoutError, *GONE):
            async with asyncio.timeout(ANSWER_S):
                wire = await Wire.to(port, KEY)
                try:
                    status = (await wire.ask(method, path, body)).status
                finally:
                    wire.close()
        if status not in {200, 204}:
            refused.append(f"round {number}: the operator's {method} {path} got {status}")
    return refused


class _Greed:
    """Three keys that take what they can get; `told` counts what they asked for."""

    def __init__(self, port: int, client: str, engine: str, greedy: str) -> None:
        self.told = Counter[str]()
        self.is_there = asyncio.Event()
        self._port = port
        self._client, self._engine, self._greedy = client, engine, greedy

    def everything(self) -> list[Coroutine[Any, Any, None]]:
        """Return all that goes on at the same time."""
        poll = {"engine_id": "e", "wait_s": 60}
        pages = ("/events?limit=10000", "/jobs/?limit=10000")
        return [
            *(self._again(self._question) for _ in range(CLIENTS)),
            *(self._again(lambda: self._poll(poll)) for _ in range(POLLS)),
            *(self._again(lambda path=path: self._unread(path)) for path in pages * PAGES),  # type: ignore[misc]
        ]

    async def _again(self, ask: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            with suppress(*GONE):
                await ask()
                if self.told["poll"] >= POLLS and self.told["page"] >= 2 * PAGES:
                    self.is_there.set()
            await asyncio.sleep(0)

    async def _question(self) -> None:
        wire = await Wire.to(self._port, self._client)
        try:
            for number in range(FILLED):
                answer = await wire.ask("GET", f"/jobs/?limit=1&as_of={number % 10 + 1}")
                self.told["question"] += 1
                self.told["question refused"] += answer.status == 429  # noqa: PLR2004
        finally:
            wire.close()

    async def _poll(self, body: dict[str, Any]) -> None:
        """Wait for work, and ask again after a while: to be greedy is no flood of requests."""
        wire = await Wire.to(self._port, self._engine)
        try:
            self.told["poll"] += 1
            await wire.ask("POST", "/assign_job/", body)
            await asyncio.sleep(AGAIN_S)
        finally:
            wire.close()

    async def _unread(self, path: str) -> None:
        """Ask for what is long, and read none of it but the first line."""
        reader, writer = await asyncio.open_connection(HOST, self._port, limit=1_024)
        try:
            head = f"GET {path} HTTP/1.1\r\nHost: t\r\nX-API-Key: {self._greedy}\r\n\r\n"
            writer.write(head.encode())
            self.told["page"] += 1
            status = await reader.readline()
            await asyncio.sleep(ANSWER_S if b" 200 " in status else AGAIN_S)
        finally:
            writer.transport.abort()
