"""`Client.stream`: whoever follows misses nothing, whatever happens to the dispatcher."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from dispatcher import sse
from dispatcher.client import Client, DispatcherAwayError, RequestRefusedError
from dispatcher.core.events import EngineSeen, Recorded
from dispatcher.log import serialization
from tests.support.flood import flood
from tests.support.given import START
from tests.support.in_flight import until
from tests.support.servers import KEY, running
from tests.support.web import Answer, Asked, web

pytestmark = pytest.mark.anyio


async def test_a_client_follows_through_restarts_of_the_dispatcher(db: Path) -> None:
    seqs: list[int] = []

    async def follow(url: str) -> None:
        async with Client(url, KEY) as client, aclosing(client.stream(after=0)) as events:
            async for entry in events:
                seqs.append(entry.seq)  # noqa: PERF401 - it never ends

    port, following = 0, None
    for count in (50, 100, 150):
        async with running(db, port=port) as server:
            port = server.port
            following = following or asyncio.create_task(follow(server.url))
            await flood(server, 50)
            await until(lambda count=count: len(seqs) >= count)  # type: ignore[misc]
    assert following is not None
    following.cancel()
    with pytest.raises(asyncio.CancelledError):  # it has found no fault until then
        await following
    assert seqs == list(range(1, 151))


async def test_a_client_that_is_told_to_come_back_comes_back() -> None:
    """Which is what it is told when many whom a restart has cut off come back at once."""

    def streamed(seq: int) -> Answer:
        entry = serialization.encode(Recorded(seq, START, "t", EngineSeen("e")))
        return Answer(body=sse.event(seq, serialization.line(entry)))

    answers = [streamed(1), Answer(429), Answer(503), streamed(2)]

    async def answer(asked: Asked) -> Answer:
        targets.append(asked.target)
        return answers.pop(0)

    targets: list[str] = []
    async with (
        web(answer) as server,
        Client(server.url, KEY) as client,
        aclosing(client.stream(after=0)) as events,
    ):
        assert [(await anext(events)).seq for _ in (1, 2)] == [1, 2]
    assert targets == ["/events/stream?after=0", *["/events/stream?after=1"] * 3]


async def test_a_client_sees_only_what_it_asked_for(dispatcher: Client) -> None:
    job = await dispatcher.submit("http://media/in.mp4", "h264")
    await dispatcher.heartbeat("e")
    await dispatcher.assign("e")
    for asked, seqs in (
        ({"job": job.job_id}, [1, 3]),
        ({"engine": "e"}, [2, 3]),
        ({"event_type": "job_assigned"}, [3]),
    ):
        async with aclosing(dispatcher.stream(after=0, **asked)) as events:
            assert [(await anext(events)).seq for _ in seqs] == seqs


async def test_a_client_is_told_at_once_when_it_can_not_follow(dispatcher: Client) -> None:
    with pytest.raises(RequestRefusedError, match="it is of another log"):
        await anext(dispatcher.stream(after=1))
    with pytest.raises(RequestRefusedError, match="'type' must be one of"):
        await anext(dispatcher.stream(event_type="job_teleported"))
    async with Client("http://127.0.0.1:1", KEY) as nobody:
        with pytest.raises(DispatcherAwayError):
            await anext(nobody.stream())
