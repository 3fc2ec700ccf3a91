"""The client's two kinds of error: a dispatcher that says no, and one that is away.

One dispatcher serves this whole module, which is fair since nothing refused leaves a trace.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import pytest

from dispatcher.client import Client, DispatcherAwayError, RequestRefusedError
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.servers import KEY, Running, running
from tests.support.web import Answer, Asked, answering, web

pytestmark = pytest.mark.anyio

SOURCE: Final = "http://media/in.mp4"
OUTPUT: Final = "http://media/out.mp4"

CALLS: Final[dict[str, Callable[[Client], Awaitable[object]]]] = {
    "submit": lambda client: client.submit(SOURCE, "h264"),
    "job": lambda client: client.job("1"),
    "why": lambda client: client.why("1"),
    "cancel": lambda client: client.cancel("1"),
    "retry": lambda client: client.retry("1"),
    "drain_engine": lambda client: client.drain_engine("e"),
    "resume_engine": lambda client: client.resume_engine("e"),
    "forget_engine": lambda client: client.forget_engine("e"),
    "jobs": lambda client: client.jobs(),
    "heartbeat": lambda client: client.heartbeat("e"),
    "benchmark_result": lambda client: client.benchmark_result("e", 1.0),
    "engines": lambda client: client.engines(),
    "assign": lambda client: client.assign("e"),
    "complete": lambda client: client.complete("1", OUTPUT),
    "fail": lambda client: client.fail("1", "broke"),
}
READING: Final = ["submit", "job", "why", "jobs", "engines", "assign"]


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running(tmp_path_factory.mktemp("refusals") / "events.db") as dispatcher:
        yield dispatcher


async def refusal_of(request: Awaitable[object]) -> tuple[int, str]:
    with pytest.raises(RequestRefusedError) as told:
        await request
    named = f" (HTTP {told.value.status})" if told.value.status else ""
    assert str(told.value) == told.value.text + named
    return told.value.status, told.value.text


# Refusals


@pytest.mark.parametrize("call", CALLS)
async def test_a_wrong_key_is_refused_on_every_route(call: str, server: Running) -> None:
    async with Client(server.url, "another key") as client:
        assert await refusal_of(CALLS[call](client)) == (401, "Unauthorized")


@pytest.mark.parametrize("call", CALLS)
async def test_a_missing_key_is_refused_on_every_route(call: str, server: Running) -> None:
    async with Client(server.url) as client:
        told = await refusal_of(CALLS[call](client))
    assert told == (401, "Unauthorized: Missing 'X-API-Key' header.")


@pytest.mark.parametrize("key", ["señor", "ключ", "a key\n", "a\0key"])
async def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(
    key: str, server: Running
) -> None:
    async def ask() -> None:
        async with Client(server.url, key) as client:
            await client.jobs()

    status, text = await refusal_of(ask())
    assert status in {0, 401}
    assert key.strip() not in text


@pytest.mark.parametrize("call", ["job", "why", "cancel", "retry", "complete", "fail"])
async def test_an_unknown_job_is_refused(call: str, dispatcher: Client) -> None:
    assert await refusal_of(CALLS[call](dispatcher)) == (404, "Job not found")


@pytest.mark.parametrize(
    "call",
    ["benchmark_result", "assign", "drain_engine", "resume_engine", "forget_engine"],
)
async def test_an_unknown_engine_is_refused(call: str, dispatcher: Client) -> None:
    assert await refusal_of(CALLS[call](dispatcher)) == (404, "Engine not found")


async def test_a_broken_rule_is_told_in_the_dispatchers_words(dispatcher: Client) -> None:
    told = await refusal_of(dispatcher.submit(SOURCE, "h264", job_size=-1))
    assert told == (400, "Bad Request: 'job_size' must be a non-negative number.")


# Odd ids


@pytest.mark.parametrize("job_id", ["a/b", "../engines", "a?b#c", "100%", "señor", "a b", "%2F"])
async def test_a_job_id_is_one_part_of_the_path_whatever_it_is(job_id: str) -> None:
    async with (
        web(answering(Answer(404, b"Job not found"))) as server,
        Client(server.url) as client,
    ):
        await refusal_of(client.job(job_id))
        await refusal_of(client.complete(job_id, OUTPUT))
        await refusal_of(client.fail(job_id, "broke"))
    for asked, end in zip(server.asked, ("", "/complete", "/fail"), strict=True):
        middle = asked.target.removeprefix("/jobs/").removesuffix(end)
        assert not set("/?#") & set(middle)


@pytest.mark.parametrize(
    "job_id", ["a/b", "../engines", "a?b#c", "100%", "señor", "a b", "..", "."]
)
async def test_an_odd_job_id_is_not_found(job_id: str, dispatcher: Client) -> None:
    status, _ = await refusal_of(dispatcher.job(job_id))
    assert status == 404


# Who answers


@pytest.mark.parametrize("call", CALLS)
async def test_a_dispatcher_that_is_not_there_is_away(call: str) -> None:
    async with web(answering(Answer())) as nobody:
        pass
    async with Client(nobody.url, KEY) as client:
        with pytest.raises(DispatcherAwayError, match=f"{nobody.url} can't be reached: "):
            await CALLS[call](client)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_dispatcher_that_asks_to_come_back_later_is_away(status: int) -> None:
    disk_full = Answer(status, b"disk full")
    async with web(answering(disk_full)) as server, Client(server.url, KEY) as client:
        for request in (client.jobs(), anext(client.stream())):
            with pytest.raises(DispatcherAwayError) as told:
                await request
            assert str(told.value) == f"{server.url} answered {status}: disk full"


async def test_a_dispatcher_that_hangs_up_is_away() -> None:
    async def hang_up(_: Asked) -> None:
        return None

    async with web(hang_up) as server, Client(server.url, KEY) as client:
        with pytest.raises(DispatcherAwayError):
            await client.jobs()


async def test_a_dispatcher_that_says_nothing_is_away() -> None:
    async with (
        web(answering(Answer(then_silence=True))) as server,
        Client(server.url, KEY, timeout_s=0.2) as client,
    ):
        with pytest.raises(DispatcherAwayError, match="can't be reached: ReadTimeout"):
            await client.jobs()


@pytest.mark.parametrize("call", READING)
@pytest.mark.parametrize(
    "body", [b"<html>Welcome</html>", b"", b"7", b'[{"name": 7}]', b'{"name": 7}', b"\xff"]
)
async def test_a_web_server_that_is_no_dispatcher_is_told_apart(call: str, body: bytes) -> None:
    async with web(answering(Answer(body=body))) as server, Client(server.url, KEY) as client:
        status, text = await refusal_of(CALLS[call](client))
    assert status == 200
    assert "did not answer as a dispatcher does" in text
    assert server.url in text


async def test_an_answer_in_a_broken_encoding_is_no_dispatchers() -> None:
    broken = Answer(body=b"[]", headers={"Content-Encoding": "gzip"})
    async with web(answering(broken)) as server, Client(server.url, KEY) as client:
        with pytest.raises((RequestRefusedError, DispatcherAwayError)):
            await client.jobs()


async def test_a_redirect_is_not_followed_so_that_the_key_goes_nowhere_else() -> None:
    redirect = Answer(302, headers={"Location": "/elsewhere"})
    async with web(answering(redirect)) as server, Client(server.url, KEY) as client:
        assert (await refusal_of(client.jobs()))[0] == 302
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("server", "fault"),
    [
        ("", "does not begin with http:// or https://"),
        ("127.0.0.1:8080", "does not begin with http:// or https://"),
        ("localhost:8080", "does not begin with http:// or https://"),
        ("ftp://127.0.0.1", "does not begin with http:// or https://"),
        ("http://", "names no host"),
        ("http://127.0.0.1:port", "can't be read: "),
        ("http://127.0.0.1:99999", "can't be read: "),
        ("http://127.0.0.1:0", "has port 0"),
        ("http://127.0.0.1\0", "has characters that must be percent-encoded"),
        ("file:///tmp", "does not begin with http:// or https://"),
        ("//", "does not begin with http:// or https://"),
    ],
)
async def test_a_server_that_is_no_url_of_a_dispatcher_is_refused(server: str, fault: str) -> None:
    async def ask() -> None:
        async with Client(server, KEY) as client:
            await client.jobs()

    status, text = await refusal_of(ask())
    assert status == 0
    assert text.startswith(f"{server!r} is no URL of a dispatcher: it {fault}")
