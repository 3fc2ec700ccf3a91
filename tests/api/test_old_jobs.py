"""A finished job that has left memory is answered for as before, to the byte."""

import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx2
import pytest

from dispatcher.index.file import index_path
from dispatcher.log.sqlite import SqliteLog
from dispatcher.state.replay import replay
from tests.support.farm import JOB, OUTPUT, assigned, beat, submitted
from tests.support.histories import genuine, written
from tests.support.sealing import seal_all
from tests.support.servers import client_of, running

pytestmark = pytest.mark.anyio

JOBS: Final = 5
_TIME: Final = re.compile(r"20[0-9-]{8}T[0-9:.]+Z|req-[0-9a-z-]+|\"request_id\":\"[^\"]*\"")
ASKED: Final = [
    *("/jobs/", "/jobs/?limit=2", "/jobs/?status=completed", "/jobs/?status=pending&limit=1"),
    *("/jobs/?codec=h264&limit=3", "/jobs/?engine=e", "/jobs/?engine=e&status=cancelled"),
    *("/engines/", "/engines/e/events", "/engines/e/events?limit=3&after=4", "/jobs/nobody"),
    *("/events?engine=e&limit=4", "/jobs/?after=nobody", "/jobs/nobody/events"),
]
OF_ONE: Final = ["/jobs/{}", "/jobs/{}/why", "/jobs/{}/events", "/jobs/?after={}", "/events?job={}"]


async def lived(client: httpx2.AsyncClient) -> list[str]:
    """Let jobs be completed (two), cancelled, failed for good, and one wait; gives their ids."""
    await client.post("/engines/heartbeat", json={"engine_id": "e", "supported_codecs": ["h264"]})
    ids = []
    for number in range(JOBS):
        body = {"source_url": f"http://m/{number}", "target_codec": "h264", "max_retries": 1}
        answer = await client.post("/jobs/", json=body, headers={"Idempotency-Key": f"k{number}"})
        ids.append(str(answer.json()["job_id"]))
    for number in range(2):
        assert (await client.post("/assign_job/", json={"engine_id": "e"})).status_code == 200
        await client.post(f"/jobs/{ids[number]}/complete", json={"output_url": f"o{number}"})
    await client.delete(f"/jobs/{ids[2]}")
    await client.post("/assign_job/", json={"engine_id": "e"})
    await client.post(f"/jobs/{ids[3]}/fail", json={"error_message": "broke", "engine_id": "e"})
    return ids


async def answers(client: httpx2.AsyncClient, ids: list[str]) -> dict[str, Any]:
    asked = [*ASKED, *(path.format(job_id) for path in OF_ONE for job_id in ids)]
    found = {path: await client.get(path) for path in asked}
    return {path: (it.status_code, it.headers.get("Link"), it.text) for path, it in found.items()}


async def test_what_is_asked_of_old_jobs_is_answered_as_when_they_were_in_memory(db: Path) -> None:
    async with running(db) as server, client_of(server) as client:
        ids = await lived(client)
        before = await answers(client, ids)
    async with running(db) as server, client_of(server) as client:
        assert await answers(client, ids) == before
    assert index_path(db).exists()


async def granted(client: httpx2.AsyncClient, ids: list[str]) -> list[tuple[int, str]]:
    """Wish for this and that about finished jobs; gives the answers, without what differs."""
    body = {"source_url": "http://m/0", "target_codec": "h264", "max_retries": 1}
    key = {"Idempotency-Key": "k0"}
    told = [
        await client.post("/jobs/", json=body, headers=key),
        await client.post("/jobs/", json=body | {"target_codec": "vp9"}, headers=key),
    ]
    for path, sent in (
        *((f"/jobs/{ids[1]}/complete", {"output_url": it}) for it in ("o1", "other", 1)),
        ("/jobs/nobody/complete", {"output_url": 1}),
        ("/jobs/nobody/fail", {"error_message": ""}),
        (f"/jobs/{ids[3]}/fail", {"error_message": "", "engine_id": "e", "attempt": 1}),
        (f"/jobs/{ids[0]}/retry", {}),
        (f"/jobs/{ids[3]}/retry", {}),
    ):
        told.append(await client.post(path, json=sent))
    told += [await client.delete(f"/jobs/{job_id}") for job_id in (ids[2], ids[1], "nobody")]
    told += [await client.get(path) for path in ("/jobs/", f"/jobs/{ids[3]}", "/jobs/?limit=4")]
    head = int(told[-1].headers["X-Dispatcher-Seq"])
    for as_of in (str(head - 1), str(head - 2), "12"):
        for path in ("/jobs/", f"/jobs/{ids[3]}", f"/jobs/{ids[3]}/why", f"/jobs/{ids[3]}/events"):
            told.append(await client.get(path, params={"as_of": as_of}))
    told.append(await client.post(f"/jobs/{ids[0]}/priority", json={"priority": 3}))
    told += [await client.delete(f"/jobs/{ids[3]}"), await client.post(f"/jobs/{ids[3]}/retry")]
    told.append(await client.post(f"/jobs/{ids[3]}/priority", json={"priority": 3}))
    told.append(await client.post(f"/jobs/{ids[2]}/priority", json={"priority": 3}))
    batch = [body | {"idempotency_key": "k0"}, body | {"idempotency_key": "k1"}]
    for query in ("", "?atomic=true"):
        told.append(await client.post(f"/jobs/batch{query}", json=batch))
        told.append(await client.post(f"/jobs/batch{query}", json=[*batch, "no job"]))
    for query in ("retry?codec=h264&dry_run=true", "cancel?status=completed", "retry?codec=h264"):
        told.append(await client.post(f"/jobs/{query}"))
    told += [await client.get(path) for path in ("/jobs/", f"/jobs/{ids[2]}/events")]
    texts = [it.text for it in told]
    for number, job_id in enumerate(ids):
        texts = [text.replace(job_id, f"job {number}") for text in texts]
    return [(it.status_code, _TIME.sub("then", text)) for it, text in zip(told, texts, strict=True)]


async def test_what_is_wished_of_old_jobs_is_granted_or_refused_as_when_they_were_new(
    db: Path,
) -> None:
    new = db.with_name("new.db")
    async with running(new) as server, client_of(server) as client:
        expected = await granted(client, await lived(client))
    async with running(db) as server, client_of(server) as client:
        ids = await lived(client)
    async with running(db) as server, client_of(server) as client:
        assert await granted(client, ids) == expected
    assert {200, 400, 404, 409} <= {status for status, _ in expected}


async def test_an_old_film_in_parts_and_a_chain_of_old_jobs_come_back_as_a_whole(
    db: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    async with running(db, store=store) as server, client_of(server) as client:
        film = await submitted(client)
        after = await submitted(client, after=[film])
        await beat(client, "e", abilities=["recipes", "split"])
        await assigned(client, "e")
        segment = {"kind": "segment", "lasts": 5, "frames": 5, "time_base": "1/5"}
        segment |= {"times_sha256": "0" * 64}
        plan = [segment | {"number": n, "begins": 5 * n} for n in range(2)]
        body = {"engine_id": "e", "attempt": 1, "parts": plan}
        assert (await client.post(f"/jobs/{film}/split", json=body)).status_code == 200
        first, second = (await client.get(f"/jobs/{film}")).json()["parts"]
        await client.post(f"/jobs/{first}/complete", json=OUTPUT)
        await assigned(client, "e")
        bad = {"error_message": "cut off", "cause": "source_bad", "engine_id": "e", "attempt": 1}
        assert (await client.post(f"/jobs/{second}/fail", json=bad)).status_code == 200
        statuses = {job["job_id"]: job["status"] for job in (await client.get("/jobs/")).json()}
        failed = "failed_permanently"
        assert statuses == {film: failed, after: failed, first: "completed", second: failed}
    async with running(db, store=store) as server, client_of(server) as client:
        assert (await client.post(f"/jobs/{after}/retry")).status_code == 200
        statuses = {job["job_id"]: job["status"] for job in (await client.get("/jobs/")).json()}
        pending = "pending"
        assert statuses == {film: pending, after: pending, first: "completed", second: pending}
        assert (await client.get(f"/jobs/{film}")).json()["progress"] == 50.0
        late = await client.post("/jobs/", json={**JOB, "after": [first, film]})
        assert late.status_code == 200
        for job_id in (second, film, after):
            await client.post(f"/jobs/{job_id}/complete", json=OUTPUT)
        why = (await client.get(f"/jobs/{late.json()['job_id']}/why")).json()
        assert "number 1 in the queue" in why["because"]


async def test_a_batch_that_repeats_the_key_of_an_old_job_gets_that_job(db: Path) -> None:
    async with running(db) as server, client_of(server) as client:
        ids = await lived(client)
    lines = [
        {"source_url": f"http://m/{n}", "target_codec": "h264", "max_retries": 1}
        | {"idempotency_key": f"k{n}"}
        for n in (3, 9, 1, 1)
    ]
    for query in ("", "?atomic=true"):
        async with running(db) as server, client_of(server) as client:
            answer = (await client.post(f"/jobs/batch{query}", json=lines)).json()
            assert [it["status"] for it in answer] == [200] * 4
            told = [it["job"]["job_id"] for it in answer]
            assert told == [ids[3], told[1], ids[1], ids[1]]
            assert answer[0]["job"]["status"] == "pending", "as it was submitted"
            assert len((await client.get("/jobs/")).json()) == JOBS + 1


async def test_a_filter_finds_and_puts_back_jobs_that_are_in_the_index_only(db: Path) -> None:
    async with running(db) as server, client_of(server) as client:
        ids = await lived(client)
    async with running(db) as server, client_of(server) as client:
        found = await client.post("/jobs/retry?codec=h264&dry_run=true")
        assert found.json() == {"count": JOBS}
        answer = (await client.post(f"/jobs/retry?codec=h264&after={ids[1]}")).json()
        assert (answer["count"], answer["done"]) == (3, 2)
        listed = (await client.get("/jobs/")).json()
        assert [it["status"] for it in listed] == ["completed"] * 2 + ["pending"] * 3


async def test_the_history_of_an_old_job_is_read_from_a_sealed_segment(db: Path) -> None:
    happened = genuine(600)
    await written(db, happened)
    async with await SqliteLog.open(db) as log:
        await seal_all(log)
        ended = [it.job_id for it in (await replay(log, 500)).fleet.jobs.values() if it.final]
    for _ in range(2):
        async with running(db) as server, client_of(server) as client:
            for job_id in ended[:9]:
                answer = await client.get(f"/jobs/{quote(job_id)}/events?limit=1000")
                seqs = [it.seq for it in happened if getattr(it.event, "job_id", None) == job_id]
                assert set(seqs) <= {it["seq"] for it in answer.json()}
                assert min(seqs) <= 512, "it is in a segment"
    assert index_path(db).exists()


async def test_an_index_that_can_not_be_written_is_a_warning_and_all_stays_in_memory(
    db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index_path(db).mkdir()
    (index_path(db) / "something").touch()
    async with running(db) as server, client_of(server) as client:
        ids = await lived(client)
        before = await answers(client, ids)
    assert "can't be made anew" in caplog.text
    async with running(db) as server, client_of(server) as client:
        assert await answers(client, ids) == before
