"""A thousand jobs on twenty engines, of which some die, some fail everything and one stalls."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from dispatcher.client import Client, RequestRefusedError
from dispatcher.core.policy import Policy
from projections.jobs import JobView
from tests.support.farm import eventually
from tests.support.servers import KEY, events_in, running

pytestmark = pytest.mark.anyio

JOBS: Final = 1_000
GOOD: Final = [f"good {n}" for n in range(14)]
DYING: Final = [f"dying {n}" for n in range(3)]
BAD: Final = ["bad 0", "bad 1"]
STALLING: Final = "stalling"
LEASE_S: Final = 1.0

Work = Callable[[Client, str, JobView], Awaitable[None]]
"""What an engine does with a job. An engine that raises `DiedError` is never heard again."""


class DiedError(Exception):
    """The engine is no more."""


async def do_well(client: Client, engine_id: str, job: JobView) -> None:
    output = f"http://media/{job.job_id}/{engine_id}/{job.attempt}"
    await client.complete(job.job_id, output, engine_id=engine_id, attempt=job.attempt)


async def fail(client: Client, engine_id: str, job: JobView) -> None:
    await client.fail(job.job_id, "no such file", engine_id=engine_id, attempt=job.attempt)


async def die(_client: Client, _engine_id: str, _job: JobView) -> None:
    raise DiedError


class Engine:
    """An engine that beats, asks and works, until it is cancelled or dies."""

    def __init__(self, client: Client, engine_id: str, work: Work, codecs: list[str]) -> None:
        self.engine_id = engine_id
        self._client = client
        self._work = work
        self._report = {"supported_codecs": codecs}
        self.silent = False

    async def live(self) -> None:
        await self._client.heartbeat(self.engine_id, self._report)
        beating = asyncio.create_task(self._beat())
        try:
            while True:
                job = await self._client.assign(self.engine_id, wait_s=5)
                if job is not None:
                    await self._work(self._client, self.engine_id, job)
        except DiedError:
            return
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 8)
            if not self.silent:
                await self._client.heartbeat(self.engine_id)


class Stalling(Engine):
    """An engine that is silent with its first job for longer than its lease, then answers."""

    def __init__(self, client: Client) -> None:
        super().__init__(client, STALLING, self._stall, ["h264"])
        self.refusal: RequestRefusedError | None = None

    async def _stall(self, client: Client, engine_id: str, job: JobView) -> None:
        if self.refusal is not None:
            await do_well(client, engine_id, job)
            return
        self.silent = True

        async def lost_it() -> bool | None:
            now = await client.job(job.job_id)
            return (now.assigned_engine, now.attempt) != (engine_id, job.attempt) or None

        await eventually(lost_it)
        try:
            await do_well(client, engine_id, job)
        except RequestRefusedError as error:
            self.refusal = error
        self.silent = False


async def test_all_jobs_complete_none_twice_and_why_explains_the_one_that_waits(
    db: Path,
) -> None:
    async with (
        running(db, policy=Policy(lease_s=LEASE_S)) as server,
        Client(server.url, KEY) as client,
        asyncio.TaskGroup() as lives,
    ):
        # Those that meet both bad engines may meet dying ones too: that costs no retry.
        await asyncio.gather(*(client.submit(f"http://media/{n}", "h264") for n in range(JOBS - 1)))
        stalling = Stalling(client)
        engines = [
            *(Engine(client, e, do_well, ["h264"]) for e in GOOD),
            *(Engine(client, e, die, ["h264"]) for e in DYING),
            *(Engine(client, e, fail, ["h264", "av1"]) for e in BAD),
            stalling,
        ]
        tasks = [lives.create_task(engine.live()) for engine in engines]

        await eventually(lambda: both_bad_ones_are_blocked(client))
        waits = await client.submit("http://media/rare", "av1")
        why = await client.why(waits.job_id)
        assert why.status == "pending"
        assert why.because == "no engine could take it now; see what stands in the way of each"
        told = {answer.engine_id: answer.obstacle for answer in why.engines}
        assert told == dict.fromkeys([*GOOD, *DYING, STALLING], "codec") | dict.fromkeys(
            BAD, "blocked"
        )
        newcomer = Engine(client, "newcomer", do_well, ["av1"])
        tasks.append(lives.create_task(newcomer.live()))

        await eventually(lambda: all_are_completed(client))
        await eventually(lambda: only_these_are_offline(client, DYING))
        for task in tasks:
            task.cancel()

    assert stalling.refusal is not None
    assert stalling.refusal.status == 409
    assert "comes too late" in stalling.refusal.text
    assert_the_history_is_sound(db)


async def both_bad_ones_are_blocked(client: Client) -> bool | None:
    blocked = [engine.engine_id for engine in await client.engines() if engine.blocked]
    return set(blocked) == set(BAD) or None


async def all_are_completed(client: Client) -> bool | None:
    for status in ("pending", "assigned"):  # the whole list is long: not at each look
        if await client.jobs(status=status, limit=1):
            return None
    return len(await client.jobs(status="completed")) == JOBS or None


async def only_these_are_offline(client: Client, engine_ids: list[str]) -> bool | None:
    offline = {engine.engine_id for engine in await client.engines() if not engine.online}
    return offline == set(engine_ids) or None


def assert_the_history_is_sound(db: Path) -> None:
    events = [(name, json.loads(data)) for _, name, data in events_in(db)]
    completed = Counter(data["job_id"] for name, data in events if name == "job_completed")
    assert len(completed) == JOBS
    assert set(completed.values()) == {1}
    assert "job_failed_permanently" not in {name for name, _ in events}
    lost = {data["engine_id"] for name, data in events if name == "engine_lost"}
    assert {*DYING, STALLING} <= lost
    refused = [data["engine_id"] for name, data in events if name == "answer_refused"]
    assert STALLING in refused
    holder: dict[str, str] = {}
    for name, data in events:
        if name == "job_assigned":
            assert data["job_id"] not in holder, "a job that is held goes to nobody else"
            assert data["engine_id"] not in holder.values(), "an engine has one job at a time"
            holder[data["job_id"]] = data["engine_id"]
        elif name in {"job_completed", "job_requeued"}:
            with suppress(KeyError):
                del holder[data["job_id"]]
    assert holder == {}
