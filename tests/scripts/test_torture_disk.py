"""The short form of what is done to the disk; `scripts/torture.py` has the long one."""

import asyncio
from pathlib import Path
from random import Random

import httpx2
import pytest

from tests.support.outcomes import counted
from torturing import disk, serving, submitting

pytestmark = pytest.mark.anyio


async def test_whatever_the_disk_does_nothing_acknowledged_is_lost() -> None:
    outcomes = await disk.run(disk.SHORT, 1, print)
    assert [(it.name, it.failures) for it in outcomes] == [
        ("Full disk", []),
        ("I/O errors", []),
        ("Read-only", []),
    ]
    full, broken, _ = outcomes
    for outcome in (full, broken):
        assert counted(outcome, "refused") > 0
        assert counted(outcome, "reads meanwhile") > 0
    assert counted(full, "snapshots given up") > 0
    assert counted(broken, "I/O errors") > 0


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        pytest.param(httpx2.Response(500, text="oh"), "a submission got 500: oh", id="500"),
        pytest.param(httpx2.Response(503, text="no"), "a submission got 503: no", id="no header"),
    ],
)
async def test_an_answer_that_breaks_the_promise_is_a_failure(
    answer: httpx2.Response, failure: str
) -> None:
    answers = [answer]

    async def answered(_: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(0)
        return answers.pop() if answers else httpx2.Response(200, json={"job_id": "a"})

    transport = httpx2.MockTransport(answered)
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
        load = submitting.Load(client, Random(1))
        async with load.running():
            await load.goes_on()
    assert load.failures == [failure]


async def test_what_was_acknowledged_and_is_not_in_the_log_is_a_failure(db: Path) -> None:
    async with serving.serving(db) as server, serving.client_of(server) as client:
        load = submitting.Load(client, Random(1))
        async with load.running():
            await load.goes_on()
        await server.stop()
    load.check_log(db)
    assert load.failures == []
    load.acknowledged.add("1_0")
    load.check_log(db)
    assert load.failures == ["acknowledged and lost: ['1_0'], 1 in all"]
