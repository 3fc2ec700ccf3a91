"""`dispatcher serve --log`: three processes over a real cluster of NATS, as clients see them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dispatcher.cluster.messages import Message
from dispatcher.cluster.stream import Stream
from dispatcher.log import serialization
from dispatcher.log.merkle import EMPTY_ROOT
from tests.log.test_log_contract import events
from tests.support.commands import command
from tests.support.dispatchers import children
from tests.support.nats import Nats
from tests.support.servers import Child, child, client_of

pytestmark = pytest.mark.anyio

JOB = {"source_url": "http://media/in.mp4", "target_codec": "h264"}


@pytest.fixture
async def trio(nats: Nats, tmp_path: Path) -> AsyncIterator[list[Child]]:
    async with children(nats.address(), tmp_path) as found:
        for one in found:
            await ready(one)
        yield found


async def ready(one: Child) -> None:
    """Wait as a balancer does."""
    async with client_of(one) as http, asyncio.timeout(60):
        while (await http.get("/health", params={"ready": ""})).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def submit(http: httpx2.AsyncClient, key: str) -> httpx2.Response:
    return await http.post("/jobs/", json=JOB, headers={"Idempotency-Key": key})


async def test_any_of_them_answers_anything_and_shows_what_it_told(trio: list[Child]) -> None:
    async with AsyncExitStack() as stack:
        https = [await stack.enter_async_context(client_of(one)) for one in trio]
        for number, http in enumerate(https):
            job = (await submit(http, f"job-{number}")).json()
            assert (await http.get(f"/jobs/{job['job_id']}")).json()["status"] == "pending"
            assert (await submit(http, f"job-{number}")).json()["job_id"] == job["job_id"]
        asker, submitter, other = https
        engine = {"engine_id": "engine", "supported_codecs": ["h264"]}
        assert (await asker.post("/engines/heartbeat", json=engine)).status_code == 200
        for _ in range(3):
            told = await other.post("/assign_job/", json={"engine_id": "engine"})
            assert told.status_code == 200
            job_id = told.json()["job_id"]
            told = await submitter.post(
                f"/jobs/{job_id}/complete", json={"output_url": "http://media/out.mp4"}
            )
            assert (told.status_code, told.text) == (200, f"Job {job_id} marked as completed")
        wait = asyncio.create_task(
            asker.post("/assign_job/", json={"engine_id": "engine", "wait_s": 30})
        )
        last = (await submit(other, "last")).json()
        assert (await wait).json()["job_id"] == last["job_id"]
        missing = await other.post("/jobs/none/complete", json={"output_url": "http://x/y"})
        assert (missing.status_code, missing.text) == (404, "Job not found")
        lines = (await submitter.post("/jobs/batch", json=[JOB, JOB, {}])).json()
        assert [it["status"] for it in lines] == [200, 200, 400]


async def test_nobody_reads_older_than_he_has_seen(trio: list[Child]) -> None:
    async with client_of(trio[0]) as one, client_of(trio[1]) as other:
        for number in range(20):
            job = (await submit(one, f"job-{number}")).json()
            seen = (await one.get("/jobs/")).headers["X-Dispatcher-Seq"]
            shown = await other.get(f"/jobs/{job['job_id']}", headers={"X-Dispatcher-Seq": seen})
            assert shown.status_code == 200
        far = await other.get("/jobs/", headers={"X-Dispatcher-Seq": "1000000"})
        assert far.status_code == 503
        assert far.text.startswith("Service Unavailable: this dispatcher's log is at seq 20, and")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
async def test_when_a_dispatcher_ends_the_others_go_on(
    nats: Nats, tmp_path: Path, how: signal.Signals
) -> None:
    """The first to start leads. Clients of the others see slow writes, and nothing else."""
    async with children(nats.address(), tmp_path) as trio:
        for one in trio:
            await ready(one)
        async with client_of(trio[1]) as http, client_of(trio[2]) as other:
            answers: list[Any] = []

            async def write(to: httpx2.AsyncClient, name: str) -> None:
                for number in range(60):
                    answers.append(await submit(to, f"{name}-{number}"))  # noqa: PERF401

            writers = [
                asyncio.create_task(write(http, "b")),
                asyncio.create_task(write(other, "c")),
            ]
            while len(answers) < 20:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            os.kill(trio[0].process.pid, how)
            await asyncio.gather(*writers)
            assert [it.status_code for it in answers] == [200] * 120
            seen = {"X-Dispatcher-Seq": "120"}
            jobs = {it["job_id"] for it in (await http.get("/jobs/", headers=seen)).json()}
            assert jobs == {it.json()["job_id"] for it in answers}
            assert len(jobs) == 120
            if how is signal.SIGSTOP:
                os.kill(trio[0].process.pid, signal.SIGCONT)
                await ready(trio[0])
                async with client_of(trio[0]) as first:
                    late = await first.get("/jobs/", headers=seen)
                    assert {it["job_id"] for it in late.json()} == jobs
                    assert (await submit(first, "late")).status_code == 200


async def test_a_dispatcher_without_the_signing_key_of_the_others_does_not_start(
    nats: Nats, tmp_path: Path
) -> None:
    address = nats.address()
    async with children(address, tmp_path, 1) as (one,):
        await ready(one)
    with pytest.raises(AssertionError, match="copy their signing key to it, or name it"):
        async with child(tmp_path / "other.db", "--log", str(address)):
            pass
    assert not (tmp_path / "other.db.key").exists()


async def test_a_dispatcher_that_finds_corruption_answers_nothing_but_its_health(
    nats: Nats, tmp_path: Path
) -> None:
    address = nats.address()
    async with children(address, tmp_path, 2) as both:
        for one in both:
            await ready(one)
        async with client_of(both[0]) as http, client_of(both[1]) as other:
            assert (await submit(http, "job")).status_code == 200
            stream = await Stream.connect(address, "nobody")
            forged = Message(2, 9, "nobody#0", "0", EMPTY_ROOT, serialization.lines(events(2, 2)))
            last = await stream.last()
            await stream.publish(*forged.encode(), last)
            await stream.close()
            for client in (http, other):
                async with asyncio.timeout(60):
                    while (await client.get("/jobs/")).status_code == 200:
                        await submit(client, "other")  # who leads reads no message before it writes
                told = await client.get("/jobs/")
                assert told.status_code == 503
                assert told.text.startswith(f"Service Unavailable: message {last + 1} of {address}")
                assert "move its log away, with its segments, snapshots and index" in told.text
                assert (await submit(client, "other")).status_code == 503
                health = await client.get("/health")
                assert health.status_code == 503
                assert health.json()["fault"] in told.text


async def test_a_new_machine_has_the_signing_key_beside_where_its_replica_will_be(
    nats: Nats, tmp_path: Path
) -> None:
    address = nats.address()
    async with children(address, tmp_path, 1) as (one,):
        await ready(one)
        key = (tmp_path / "farm.key").read_bytes()
        copy = tmp_path / "new.db.key"
        copy.touch(mode=0o600)
        copy.write_bytes(key)
        async with child(tmp_path / "new.db", "--log", str(address)) as new:
            await ready(new)


async def test_several_dispatchers_have_no_store_yet(tmp_path: Path) -> None:
    asked = ("serve", "--no-auth", "--log", "nats://127.0.0.1/farm", "--store", "films")
    done = await command(tmp_path, *asked, key=None)
    assert done.status == 2
    assert "a store is of one dispatcher" in " ".join(done.err.replace("│", " ").split())
    assert not (tmp_path / "films").exists()
