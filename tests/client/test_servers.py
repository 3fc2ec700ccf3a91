"""A client that knows several dispatchers: which it asks, and what it asks again of another."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final

import httpx2
import msgspec
import pytest

from dispatcher import sse
from dispatcher.client import (
    Client,
    DispatcherAwayError,
    RequestRefusedError,
    Submission,
    connection,
    servers,
)
from dispatcher.client.servers import server_urls
from dispatcher.core.events import EngineSeen, Recorded
from dispatcher.log import serialization
from dispatcher.serving import catching_up
from tests.support.given import START
from tests.support.in_order import in_order  # noqa: F401 - a fixture
from tests.support.servers import KEY, Running, events_in
from tests.support.web import Answer, Asked, Web, answering, forwarding_to, web

pytestmark = pytest.mark.anyio

SOURCE: Final = "http://media/in.mp4"
OUTPUT: Final = "http://media/out.mp4"
JOBS: Final = Answer(body=b"[]")


async def hang_up(_: Asked) -> None:
    return None


async def nobody() -> str:
    """Return a URL at which nobody listens."""
    async with web(hang_up) as gone:
        return gone.url


@contextmanager
def deaf() -> Iterator[str]:
    """Listen at a URL, but accept no connection: it is as if the host were gone."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # they fill the queue of those that want to be accepted
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


# How they are named


@pytest.mark.parametrize(
    ("given", "urls"),
    [
        ("http://a", ["http://a"]),
        ("http://a:8080/", ["http://a:8080"]),
        ("http://a,http://b:81/x , https://c", ["http://a", "http://b:81/x", "https://c"]),
        (["http://a", "http://b,http://c"], ["http://a", "http://b", "http://c"]),
        (["http://a,", "http://b, "], ["http://a", "http://b"]),
        (["http://a", "http://a/", "http://b"], ["http://a", "http://b"]),
        ("http://name:pass,word@a", ["http://name:pass,word@a"]),
        ("http://name:pass,word@a,http://b/x,y", ["http://name:pass,word@a", "http://b/x,y"]),
    ],
)
def test_dispatchers_are_a_list_or_a_text_with_commas(
    given: str | list[str], urls: list[str]
) -> None:
    assert server_urls(given) == urls


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "no dispatcher is named"),
        ("", "'' is no URL of a dispatcher: it does not begin"),
        ("http://a,ftp://b,http://c", "'ftp://b' is no URL of a dispatcher: it does not begin"),
        (["http://a", "b:80"], "'b:80' is no URL of a dispatcher: it does not begin"),
        ("http://a,b:80", "'http://a,b:80' is no URL of a dispatcher: it names several hosts"),
        ("http://a,,http://b", "'http://a,' is no URL of a dispatcher: it names several hosts"),
        (["http://a", "http://u:secret@b:0"], "'http://b:0' is no URL of a dispatcher: it has"),
        (["http://a", "http://[::1"], "'http://[::1' is no URL of a dispatcher: it can't be read"),
    ],
)
def test_the_one_that_is_no_url_is_named(given: str | list[str], told: str) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        Client(given, KEY)
    assert refused.value.text.startswith(told)
    assert "secret" not in refused.value.text


async def test_one_dispatcher_alone_is_asked_as_if_there_could_be_no_other() -> None:
    async with web(answering(Answer(503, b"disk full"))) as one, Client(one.url, KEY) as client:
        for ask in (client.jobs(), client.submit(SOURCE, "h264"), client.submit_many(MANY)):
            with pytest.raises(DispatcherAwayError) as away:
                await ask
            assert str(away.value) == f"{one.url} answered 503: disk full"
    assert len(one.asked) == 3
    assert not any({"x-dispatcher-seq", "idempotency-key"} & set(it.headers) for it in one.asked)
    assert one.asked[-1].body.count(b"idempotency_key") == 1


# Moving on


@pytest.mark.usefixtures("in_order")
@pytest.mark.parametrize("status", [502, 503, 504])
async def test_another_is_asked_when_one_can_not_do_it_and_is_stayed_with(status: int) -> None:
    async with (
        web(answering(Answer(status, b"read-only"))) as first,
        web(answering(JOBS)) as second,
        Client([first.url, second.url], KEY) as client,
    ):
        for _ in range(3):
            assert await client.jobs() == []
    assert (len(first.asked), len(second.asked)) == (1, 3)


@pytest.mark.usefixtures("in_order")
async def test_another_is_asked_when_one_is_not_there_or_hangs_up_or_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dispatcher.client.connection.PATIENCE_S", 0.2)
    async with (
        web(hang_up) as rude,
        web(answering(Answer(then_silence=True))) as silent,
        web(answering(JOBS)) as last,
    ):
        with deaf() as gone:
            urls = [await nobody(), rude.url, silent.url, gone, last.url]
            async with Client(urls, KEY) as client:
                assert await client.jobs() == []
                assert await client.jobs() == []
    assert (len(rude.asked), len(silent.asked), len(last.asked)) == (1, 1, 2)


def test_one_that_is_gone_is_left_within_a_second() -> None:
    assert 0.5 <= servers.CONNECT_S <= 1 - servers.SPREAD_S


@pytest.mark.usefixtures("in_order")
@pytest.mark.parametrize("status", [400, 404, 409, 429, 500])
async def test_what_every_dispatcher_would_say_is_asked_of_one_alone(status: int) -> None:
    async with (
        web(answering(Answer(status, b"no"))) as first,
        web(answering(JOBS)) as second,
        Client([first.url, second.url], KEY) as client,
    ):
        with pytest.raises((RequestRefusedError, DispatcherAwayError)):
            await client.jobs()
    assert (len(first.asked), len(second.asked)) == (1, 0)


async def test_when_all_are_away_the_error_says_of_each_why() -> None:
    async with (
        web(answering(Answer(503, b"no leader"))) as first,
        web(hang_up) as second,
        Client([first.url, second.url, third := await nobody()], KEY) as client,
    ):
        with pytest.raises(DispatcherAwayError) as away:
            await client.jobs()
        told = str(away.value)
        assert f"{first.url} answered 503: no leader" in told
        assert f"{second.url} can't be reached: " in told
        assert f"{third} can't be reached: " in told
        assert not away.value.is_undone
    assert (len(first.asked), len(second.asked)) == (1, 1)


@pytest.mark.usefixtures("in_order")
async def test_requests_that_fail_at_once_all_come_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "CONNECT_S", 60.0)  # on a loaded machine it takes its time
    together = asyncio.Barrier(8)

    async def fail_together(_: Asked) -> Answer:
        await together.wait()
        return Answer(503)

    async with (
        web(fail_together) as first,
        web(answering(JOBS)) as second,
        web(answering(JOBS)) as third,
        Client([first.url, second.url, third.url], KEY) as client,
    ):
        await asyncio.gather(*(client.jobs() for _ in range(8)))
        await client.jobs()
    assert (len(first.asked), len(second.asked), len(third.asked)) == (8, 9, 0)


async def test_clients_spread_over_the_dispatchers_and_over_those_that_are_left() -> None:
    urls = [f"http://host-{n}" for n in range(3)]
    firsts, seconds = dict.fromkeys(urls, 0), dict.fromkeys(urls, 0)
    for _ in range(300):
        known = servers.Servers(urls)
        first, second, _ = known.round()
        firsts[first] += 1
        if first == urls[0]:
            seconds[second] += 1
    assert min(firsts.values()) > 50
    assert seconds[urls[1]] > 10
    assert seconds[urls[2]] > 10


# What is asked again

MANY: Final = [Submission(str(n), "h264", idempotency_key=k) for n, k in enumerate((None, "own"))]
CALLS: Final[dict[str, Callable[[Client], Awaitable[object]]]] = {
    "jobs": lambda client: client.jobs(),
    "job": lambda client: client.job("1"),
    "engines": lambda client: client.engines(),
    "events": lambda client: client.events(),
    "stream": lambda client: anext(client.stream()),
    "submit": lambda client: client.submit(SOURCE, "h264"),
    "submit_many": lambda client: client.submit_many(MANY),
    "submit_many, atomic": lambda client: client.submit_many(MANY, is_atomic=True),
    "heartbeat": lambda client: client.heartbeat("e"),
    "benchmark_result": lambda client: client.benchmark_result("e", 1.0),
    "assign by name, resuming": lambda client: client.assign("e", resume=True),
    "complete": lambda client: client.complete("1", OUTPUT),
    "fail an attempt": lambda client: client.fail("1", "broke", engine_id="e", attempt=1),
    "cancel_matching, counting": lambda client: client.cancel_matching(codec="x", dry_run=True),
}
ONCE: Final[dict[str, Callable[[Client], Awaitable[object]]]] = {
    "assign by name": lambda client: client.assign("e"),
    "assign": lambda client: client.assign(resume=True),
    "fail any attempt": lambda client: client.fail("1", "broke", engine_id="e"),
    "cancel": lambda client: client.cancel("1"),
    "prioritize": lambda client: client.prioritize("1", 7),
    "retry": lambda client: client.retry("1"),
    "drain_engine": lambda client: client.drain_engine("e"),
    "resume_engine": lambda client: client.resume_engine("e"),
    "forget_engine": lambda client: client.forget_engine("e"),
    "cancel_matching": lambda client: client.cancel_matching(codec="x"),
    "prioritize_matching": lambda client: client.prioritize_matching(7, codec="x"),
    "sign_in": lambda client: client.sign_in(),
    "retry_matching": lambda client: client.retry_matching(codec="x"),
}
LOST: Final = {"hangs up": hang_up, "answers 503": answering(Answer(503, b"unclear"))}


async def asked_of_both(
    call: Callable[[Client], Awaitable[object]],
    answer: Callable[[Asked], Awaitable[Answer | None]],
) -> tuple[Web, Web, DispatcherAwayError]:
    """Make a call of two dispatchers which both fail it, once they have taken the connection."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(connection, "CONNECT_S", 60.0)  # on a loaded machine it takes its time
        async with web(answer) as first, web(answer) as second:
            async with Client([first.url, second.url], KEY) as client:
                with pytest.raises(DispatcherAwayError) as away:
                    await call(client)
            return first, second, away.value


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("call", CALLS)
async def test_what_does_no_harm_twice_is_asked_of_another(call: str, lost: str) -> None:
    first, second, _ = await asked_of_both(CALLS[call], LOST[lost])
    (one,), (other,) = first.asked, second.asked
    assert (one.method, one.target) == (other.method, other.target)
    assert one.headers.get("idempotency-key") == other.headers.get("idempotency-key")
    assert one.body == other.body


@pytest.mark.usefixtures("in_order")
@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("call", ONCE)
async def test_what_may_have_been_done_is_not_asked_again_and_the_error_says_so(
    call: str, lost: str
) -> None:
    first, second, away = await asked_of_both(ONCE[call], LOST[lost])
    assert (len(first.asked), len(second.asked)) == (1, 0)
    assert str(away).endswith(". It may have been done; look before you ask for it again")
    assert not away.is_undone


@pytest.mark.usefixtures("in_order")
@pytest.mark.parametrize("call", [*CALLS, *ONCE])
async def test_what_was_not_sent_is_asked_of_another_whatever_it_is(call: str) -> None:
    refused = Answer(409, b"Conflict: seen")
    async with (
        web(answering(refused)) as second,
        Client([await nobody(), second.url], KEY) as client,
    ):
        with pytest.raises(RequestRefusedError):
            await (CALLS | ONCE)[call](client)
    assert len(second.asked) == 1


async def test_each_submission_has_a_key_of_its_own_and_keeps_the_one_it_has() -> None:
    keys = list[str]()
    for _ in range(2):
        first, _, _ = await asked_of_both(CALLS["submit"], hang_up)
        keys.append(first.asked[0].headers["idempotency-key"])
        first, _, _ = await asked_of_both(CALLS["submit_many"], hang_up)
        new, own = msgspec.json.decode(first.asked[0].body, type=list[Submission])
        assert own.idempotency_key == "own"
        assert new.idempotency_key is not None
        keys.append(new.idempotency_key)
    assert len(set(keys)) == 4
    first, _, _ = await asked_of_both(
        lambda client: client.submit(SOURCE, "h264", idempotency_key="mine"), hang_up
    )
    assert first.asked[0].headers["idempotency-key"] == "mine"


@pytest.mark.usefixtures("in_order")
async def test_a_request_that_waits_asks_another_for_what_is_left_of_its_wait() -> None:
    async def hang_up_later(_: Asked) -> None:
        await asyncio.sleep(0.05)  # a part of the wait has to pass

    async with (
        web(hang_up_later) as first,
        web(answering(Answer(204))) as second,
        Client([first.url, second.url], KEY) as client,
    ):
        assert await client.assign("e", resume=True, wait_s=20, instance="i") is None
    asked, again = (msgspec.json.decode(it.asked[0].body) for it in (first, second))
    assert asked == {"engine_id": "e", "instance": "i", "resume": True, "wait_s": 20}
    assert 0 < again["wait_s"] < 20 - 0.04
    assert asked | {"wait_s": again["wait_s"]} == again


# Against a real dispatcher


def answers_lost(url: str) -> Callable[[Asked], Awaitable[None]]:
    """Pass requests on to a dispatcher, and hang up instead of giving its answers."""

    async def pass_on(asked: Asked) -> None:
        await forwarding_to(url, asked)

    return pass_on


@pytest.mark.usefixtures("in_order")
async def test_what_is_asked_twice_is_done_once(server: Running) -> None:
    async with web(answers_lost(server.url)) as lossy, AsyncExitStack() as stack:

        async def anew() -> Client:
            return await stack.enter_async_context(Client([lossy.url, server.url], KEY))

        job = await (await anew()).submit(SOURCE, "h264", max_retries=3)
        both = await (await anew()).submit_many([Submission("a", "h264"), Submission("b", "h264")])
        await (await anew()).heartbeat("e", {"instance": "i"})
        taken = await (await anew()).assign("e", resume=True, wait_s=5, instance="i")
        assert taken is not None
        assert taken.job_id == job.job_id
        holder: dict[str, Any] = {"engine_id": "e", "instance": "i"}
        with pytest.raises(RequestRefusedError, match="comes too late"):
            await (await anew()).fail(job.job_id, "broke", attempt=1, **holder)
        again = await (await anew()).assign("e", resume=True, wait_s=5, instance="i")
        assert again is not None
        await (await anew()).complete(again.job_id, OUTPUT, attempt=again.attempt, **holder)
        assert not any(isinstance(it, Exception) for it in both)
    told = [kind for _, kind, _ in events_in(server.db)]
    once = {it: told.count(it) for it in ("job_submitted", "job_requeued", "job_completed")}
    assert once == {"job_submitted": 3, "job_requeued": 1, "job_completed": 1}
    assert told.count("job_assigned") == 2


# What was seen


def at_seq(seq: int, answer: Answer = JOBS) -> Answer:
    return replace(answer, headers={"X-Dispatcher-Seq": str(seq)})


@pytest.mark.usefixtures("in_order")
async def test_every_request_carries_the_highest_seq_of_all_answers() -> None:
    answers = [at_seq(3), Answer(204), at_seq(9, Answer(404, b"Job not found")), at_seq(5), JOBS]

    async def answer(_: Asked) -> Answer:
        return answers.pop(0)

    async with web(answer) as first, Client([first.url, await nobody()], KEY) as client:
        await client.jobs()
        await client.assign("e")
        with pytest.raises(RequestRefusedError):
            await client.cancel("1")
        await client.jobs()
        await client.jobs()
    assert [it.headers["x-dispatcher-seq"] for it in first.asked] == ["0", "3", "3", "9", "9"]


@pytest.mark.usefixtures("in_order")
@pytest.mark.parametrize("call", [*CALLS, *ONCE])
async def test_what_was_not_done_is_asked_of_another_whatever_it_is(call: str) -> None:
    undone = Answer(503, b"read-only", {"X-Dispatcher-Undone": "true"})
    async with (
        web(answering(undone)) as first,
        web(answering(Answer(409, b"Conflict: seen"))) as second,
        Client([first.url, second.url], KEY) as client,
    ):
        with pytest.raises(RequestRefusedError):
            await (CALLS | ONCE)[call](client)
    assert (len(first.asked), len(second.asked)) == (1, 1)


@pytest.mark.usefixtures("in_order")
async def test_a_log_that_all_have_lost_is_an_error_once() -> None:
    async def behind(asked: Asked) -> Answer:
        is_ahead = int(asked.headers["x-dispatcher-seq"]) > 4
        return at_seq(4, Answer(503, b"behind") if is_ahead else JOBS)

    async with (
        web(behind) as first,
        web(behind) as second,
        Client([first.url, second.url], KEY) as client,
    ):
        client._connection.saw(7)
        with pytest.raises(DispatcherAwayError) as away:
            await client.jobs()
        assert f"{first.url} answered 503: behind; {second.url} answered 503: behind" in str(
            away.value
        )
        assert "No dispatcher has the event 7 that was seen" in str(away.value)
        assert await client.jobs() == []


@pytest.mark.usefixtures("in_order")
async def test_what_was_seen_is_kept_while_one_that_may_have_it_is_away() -> None:
    async with (
        web(answering(at_seq(4, Answer(503, b"behind")))) as first,
        Client([first.url, await nobody()], KEY) as client,
    ):
        client._connection.saw(7)
        for _ in range(2):
            with pytest.raises(DispatcherAwayError, match="answered 503: behind"):
                await client.jobs()
    assert [it.headers["x-dispatcher-seq"] for it in first.asked] == ["7", "7"]


@pytest.mark.usefixtures("in_order")
async def test_a_real_dispatcher_that_is_behind_is_waited_for(
    server: Running, dispatcher: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catching_up, "WAIT_S", 60)
    async with AsyncExitStack() as stack:
        ahead = await stack.enter_async_context(web(answering(at_seq(1))))
        client = await stack.enter_async_context(Client([ahead.url, server.url], KEY))
        assert await client.jobs() == []
        client._connection._servers.leave(ahead.url)
        reading = asyncio.create_task(client.jobs())
        await asyncio.wait({reading}, timeout=0.3)
        assert not reading.done()
        job = await dispatcher.submit(SOURCE, "h264")
        assert [it.job_id for it in await reading] == [job.job_id]


@pytest.mark.usefixtures("in_order")
async def test_who_submits_to_one_sees_the_job_at_another(server: Running) -> None:
    async with (
        web(partial(forwarding_to, server.url)) as first,
        web(partial(forwarding_to, server.url)) as second,
        Client([first.url, second.url], KEY) as client,
    ):
        job = await client.submit(SOURCE, "h264")
        client._connection._servers.leave(first.url)
        assert (await client.job(job.job_id)) == job
    assert second.asked[0].headers["x-dispatcher-seq"] == "1"


# Streams


def streamed(*seqs: int) -> Answer:
    blocks = [
        sse.event(
            seq,
            serialization.line(serialization.encode(Recorded(seq, START, "t", EngineSeen("e")))),
        )
        for seq in seqs
    ]
    return Answer(body=b"".join(blocks))


@pytest.mark.usefixtures("in_order")
async def test_a_stream_that_breaks_goes_on_at_another_after_the_last_event() -> None:
    async with (
        web(answering(streamed(1, 2))) as first,
        web(answering(streamed(2, 3, 4))) as second,
        Client([first.url, second.url], KEY) as client,
        aclosing(client.stream(after=0)) as events,
    ):
        assert [(await anext(events)).seq for _ in range(4)] == [1, 2, 3, 4]
    assert [it.target for it in first.asked] == ["/events/stream?after=0"]
    assert second.asked[0].target == "/events/stream?after=2"
    assert second.asked[0].headers["x-dispatcher-seq"] == "2"


@pytest.mark.usefixtures("in_order")
async def test_a_stream_goes_on_where_another_dispatcher_has_what_it_saw(server: Running) -> None:
    """Through lines to a real one, each of which breaks; nothing is missed or told twice."""

    async def relayed(asked: Asked) -> Answer:
        async def pieces() -> AsyncIterator[bytes]:
            async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
                headers = {"X-API-Key": KEY}
                url = server.url + asked.target
                async with http.stream("GET", url, headers=headers) as response:
                    async for piece in response.aiter_bytes():
                        yield piece
                        if b"data:" in piece:
                            return

        return Answer(pieces=pieces, length=1 << 20)

    seqs = list[int]()
    async with (
        web(relayed) as first,
        web(relayed) as second,
        Client([first.url, second.url], KEY) as client,
        Client(server.url, KEY) as straight,
        aclosing(client.stream(after=0)) as events,
    ):
        for _ in range(6):
            await straight.submit(SOURCE, "h264")
            seqs.append((await anext(events)).seq)
    assert seqs == [1, 2, 3, 4, 5, 6]
    assert min(len(first.asked), len(second.asked)) > 1
