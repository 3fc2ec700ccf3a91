"""The short form of what clients may send; `scripts/torture.py` has the long one."""

import asyncio

import pytest

from tests.support.outcomes import counted
from tests.support.servers import Running
from torturing import head_flood as flooding
from torturing import input as torture
from torturing import mangled
from torturing.serving import HOST, Served

pytestmark = pytest.mark.anyio


async def test_whatever_comes_in_is_answered_and_the_others_are_served() -> None:
    outcomes = await torture.run(torture.SHORT, 1, print)
    assert [(it.name, it.failures) for it in outcomes] == [
        ("Schema", []),
        ("Mangled", []),
        ("Crowd", []),
        ("Head flood", []),
    ]
    schema, mangled_ones, crowd, head_flood = outcomes
    assert counted(schema, "requests") >= counted(schema, "operations")
    answers = mangled_ones.facts["answers"]
    assert isinstance(answers, str)
    assert "200" in answers
    assert "400" in answers
    assert counted(crowd, "connections") > 3_000
    assert counted(head_flood, "submitted meanwhile") >= head_flood.rounds * flooding.HONEST
    assert counted(head_flood, "connections of strangers") >= len(flooding.FLOODS)
    assert counted(head_flood, "MB sent by them") > 1


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        pytest.param(b"HTTP/1.1 500 Oh\r\n\r\n", "500: b'GET /'", id="a server error"),
        pytest.param(b"", "no end within 0.2 s: b'GET /'", id="a hang"),
    ],
)
async def test_a_server_error_and_a_hang_are_found(
    monkeypatch: pytest.MonkeyPatch, server: Running, answer: bytes, failure: str
) -> None:
    monkeypatch.setattr(mangled, "QUIET_S", 0.05)
    monkeypatch.setattr(mangled, "END_S", 0.2)
    over = asyncio.Event()

    async def answered(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        if not answer:
            await over.wait()
        writer.close()

    async with await asyncio.start_server(answered, HOST, 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        sending = mangled._Sending(Served(server.db, port, None, []))  # type: ignore[arg-type]
        await sending.send([b"GET /"])
        over.set()
    assert sending.failures[0].startswith(failure)


async def test_a_flood_that_stops_the_others_is_found(
    monkeypatch: pytest.MonkeyPatch, server: Running
) -> None:
    monkeypatch.setattr(flooding, "ANSWER_S", 0.1)
    over = asyncio.Event()

    async def flooded(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async with await asyncio.start_server(flooded, HOST, 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        facts, failures = await flooding._flooded(
            Served(server.db, port, None, []),  # type: ignore[arg-type]
            1,
            print,
        )
        over.set()
    assert facts["submitted meanwhile"] == 0
    assert failures == ["a submission was not answered within 0.1 s"]
