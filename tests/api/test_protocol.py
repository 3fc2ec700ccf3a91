"""What the protocol promises when all goes well, over real HTTP."""

import asyncio
import re
from typing import Any

import httpx2
import pytest

from tests.support.farm import JOB, beat, submitted
from tests.support.servers import Running, events_in

pytestmark = pytest.mark.anyio

NINE_FIELDS = [
    "job_id",
    "source_url",
    "target_codec",
    "job_size",
    "status",
    "assigned_engine",
    "output_url",
    "retries",
    "max_retries",
]
SEVEN_FIELDS = [
    "engine_id",
    "engine_type",
    "supported_codecs",
    "status",
    "storage_capacity_gb",
    "streaming_support",
    "benchmark_time",
]


async def engines(client: httpx2.AsyncClient) -> dict[str, Any]:
    return {e["engine_id"]: e for e in (await client.get("/engines/")).json()}


async def test_an_empty_farm_shows_empty_lists(client: httpx2.AsyncClient) -> None:
    for path in ("/jobs/", "/engines/"):
        response = await client.get(path)
        assert (response.status_code, response.json()) == (200, [])
        assert response.headers["content-type"] == "application/json"


async def test_a_submitted_job_is_shown_with_the_nine_fields_in_order(
    client: httpx2.AsyncClient,
) -> None:
    response = await client.post("/jobs/", json=JOB | {"job_size": 100.5, "unknown": [1]})
    assert response.headers["content-type"] == "application/json"
    shown = response.json()
    assert list(shown)[:9] == NINE_FIELDS
    assert re.fullmatch(r"\d{16}_\d+", shown["job_id"])
    assert [shown[name] for name in NINE_FIELDS[1:]] == [
        *("http://media/in.mp4", "h264", 100.5, "pending", None, None, 0, 3)
    ]
    assert (await client.get(f"/jobs/{shown['job_id']}")).json() == shown
    assert (await client.get("/jobs/")).json() == [shown]


async def test_the_dispatchers_own_fields_of_a_job_follow_those_of_the_protocol(
    client: httpx2.AsyncClient,
) -> None:
    shown = (await client.post("/jobs/", json=JOB | {"priority": 7})).json()
    own = {name: value for name, value in shown.items() if name not in NINE_FIELDS}
    assert list(shown) == [*NINE_FIELDS, *own]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", own.pop("submitted_at"))
    assert own == {
        "attempt": 0,
        "priority": 7,
        "progress": None,
        "not_before": None,
        "error_message": None,
        "finished_at": None,
        "assigned_at": None,
    }


async def test_the_dispatchers_own_fields_of_an_engine_follow_those_of_the_protocol(
    client: httpx2.AsyncClient,
) -> None:
    await beat(client, "e", hostname="rack", instance="1")
    shown = (await engines(client))["e"]
    own = {name: value for name, value in shown.items() if name not in SEVEN_FIELDS}
    assert list(shown) == [*SEVEN_FIELDS, *own]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", own.pop("last_seen"))
    assert own == {
        "current_job": None,
        "online": True,
        "drained": False,
        "blocked": None,
        "blocked_until": None,
        "fenced_instances": [],
        "failed_jobs": [],
        "hostname": "rack",
        "instance": "1",
    }


async def test_jobs_and_engines_are_listed_in_the_order_in_which_they_came(
    client: httpx2.AsyncClient,
) -> None:
    job_ids = [await submitted(client) for _ in range(5)]
    for engine_id in ("z", "a", "m"):
        await beat(client, engine_id)
    await beat(client, "a", hostname="again")
    assert [job["job_id"] for job in (await client.get("/jobs/")).json()] == job_ids
    assert list(await engines(client)) == ["z", "a", "m"]


async def test_an_engine_is_shown_with_the_fields_of_the_protocol_and_its_own(
    client: httpx2.AsyncClient,
) -> None:
    own = {"hostname": "rack", "encoders": ["x264"], "cpu_temperature": 61.5, "gpu": None}
    await beat(client, "e", storage_capacity_gb=500, **own)
    shown = (await engines(client))["e"]
    assert list(shown)[:7] == SEVEN_FIELDS
    assert shown | own == shown
    assert (shown["status"], shown["storage_capacity_gb"]) == ("idle", 500.0)


async def test_an_engine_written_by_someone_else_works_unchanged(
    client: httpx2.AsyncClient,
) -> None:
    """It says idle in every beat, never names its benchmark there, and counts no attempts."""
    own = {"engine_id": "C++", "status": "idle", "supported_codecs": ["h264"], "hwaccels": ["qsv"]}
    me = {"engine_id": "C++"}
    assert (await client.post("/engines/heartbeat", json=own)).status_code == 200
    response = await client.post("/engines/benchmark_result", json=me | {"benchmark_time": 12})
    assert (response.status_code, response.text) == (
        200,
        "Benchmark result received from engine C++",
    )
    assert (await client.post("/assign_job/", json=me)).status_code == 204
    job_id = await submitted(client, job_size=10)

    given = await client.post("/assign_job/", json=me)
    assert given.status_code == 200
    assert list(given.json())[:9] == NINE_FIELDS
    assert (given.json()["job_id"], given.json()["assigned_engine"]) == (job_id, "C++")

    await client.post("/engines/heartbeat", json=own | {"local_job_queue": [job_id]})
    shown = (await engines(client))["C++"]
    assert (shown["status"], shown["benchmark_time"]) == ("busy", 12.0)
    assert (shown["hwaccels"], shown["local_job_queue"]) == (["qsv"], [job_id])
    assert (await client.post("/assign_job/", json=me)).status_code == 204

    failed = await client.post(f"/jobs/{job_id}/fail", json={"error_message": "x264 died"})
    assert (failed.status_code, failed.text) == (200, f"Job {job_id} re-queued")
    assert (await engines(client))["C++"]["status"] == "idle"
    assert (await client.get(f"/jobs/{job_id}")).json()["assigned_engine"] is None
    assert (await client.post("/assign_job/", json=me)).json()["job_id"] == job_id

    done = await client.post(f"/jobs/{job_id}/complete", json={"output_url": "http://out"})
    assert (done.status_code, done.text) == (200, f"Job {job_id} marked as completed")
    job = (await client.get(f"/jobs/{job_id}")).json()
    assert [job[name] for name in NINE_FIELDS[4:]] == ["completed", "C++", "http://out", 1, 3]
    assert (await engines(client))["C++"]["status"] == "idle"


async def test_a_job_that_has_no_retries_left_fails_permanently(
    client: httpx2.AsyncClient,
) -> None:
    job_id = await submitted(client, max_retries=0)
    response = await client.post(f"/jobs/{job_id}/fail", json={"error_message": ""})
    assert (response.status_code, response.text) == (200, f"Job {job_id} failed permanently")
    job = (await client.get(f"/jobs/{job_id}")).json()
    assert (job["status"], job["retries"], job["max_retries"]) == ("failed_permanently", 1, 0)


async def test_a_repeated_completion_is_accepted_and_writes_nothing(
    client: httpx2.AsyncClient, server: Running
) -> None:
    job_id = await submitted(client)
    answers = [
        await client.post(f"/jobs/{job_id}/complete", json={"output_url": "o"}) for _ in range(3)
    ]
    assert [(a.status_code, a.text) for a in answers] == [
        (200, f"Job {job_id} marked as completed")
    ] * 3
    assert [name for _, name, _ in events_in(server.db)] == ["job_submitted", "job_completed"]


@pytest.mark.parametrize("body", [b"", b"{}", b' {"resume": true}', b'{"other": 1}'])
async def test_a_poll_without_a_name_may_have_any_of_these_bodies(
    client: httpx2.AsyncClient, body: bytes
) -> None:
    await beat(client, "e", benchmark_time=1)
    nothing = await client.post("/assign_job/", content=body)
    assert (nothing.status_code, nothing.content) == (204, b"")
    job_id = await submitted(client)
    assert (await client.post("/assign_job/", content=body)).json()["job_id"] == job_id


async def test_an_engine_resumes_the_job_that_it_holds_and_writes_nothing(
    client: httpx2.AsyncClient, server: Running
) -> None:
    await beat(client, "e")
    job_id = await submitted(client)
    await submitted(client)
    given = await client.post("/assign_job/", json={"engine_id": "e"})
    before = events_in(server.db)
    resumed = await client.post("/assign_job/", json={"engine_id": "e", "resume": True})
    assert (resumed.status_code, resumed.content) == (200, given.content)
    assert resumed.json()["job_id"] == job_id
    for body in ({"engine_id": "e"}, {"engine_id": "e", "resume": False}):
        assert (await client.post("/assign_job/", json=body)).status_code == 204
    assert events_in(server.db) == before


async def test_a_hundred_polls_at_once_hand_out_each_job_once(client: httpx2.AsyncClient) -> None:
    job_ids = [await submitted(client) for _ in range(60)]
    await asyncio.gather(*(beat(client, f"e{n}", benchmark_time=n) for n in range(80)))
    named = [client.post("/assign_job/", json={"engine_id": f"e{n % 50}"}) for n in range(100)]
    given = [a.json() for a in await asyncio.gather(*named) if a.status_code == 200]
    assert len(given) == 50
    unnamed = [client.post("/assign_job/") for _ in range(100)]
    given += [a.json() for a in await asyncio.gather(*unnamed) if a.status_code == 200]
    assert sorted(job["job_id"] for job in given) == sorted(job_ids)
    assert len({job["assigned_engine"] for job in given}) == 60


@pytest.mark.parametrize("slash", ["", "/"])
async def test_every_path_may_end_in_a_slash(client: httpx2.AsyncClient, slash: str) -> None:
    await beat(client, "e")
    response = await client.post(f"/engines/heartbeat{slash}", json={"engine_id": "e"})
    assert response.status_code == 200
    response = await client.post(
        f"/engines/benchmark_result{slash}", json={"engine_id": "e", "benchmark_time": 1}
    )
    assert response.status_code == 200
    assert len((await client.get(f"/engines{slash}")).json()) == 1
    job_id = (await client.post(f"/jobs{slash}", json=JOB)).json()["job_id"]
    assert len((await client.get(f"/jobs{slash}")).json()) == 1
    assert (await client.get(f"/jobs/{job_id}{slash}")).json()["job_id"] == job_id
    assert (await client.post(f"/assign_job{slash}")).json()["job_id"] == job_id
    failed = await client.post(f"/jobs/{job_id}/fail{slash}", json={"error_message": "m"})
    assert failed.text == f"Job {job_id} re-queued"
    done = await client.post(f"/jobs/{job_id}/complete{slash}", json={"output_url": "o"})
    assert done.text == f"Job {job_id} marked as completed"


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", "☃", ""]
)
async def test_any_content_type_is_accepted(client: httpx2.AsyncClient, content_type: str) -> None:
    response = await client.post(
        "/jobs/",
        content=b'{"source_url":"u","target_codec":"c"}',
        headers={b"Content-Type": content_type.encode()},
    )
    assert response.status_code == 200


async def test_odd_text_comes_back_as_it_was_sent(client: httpx2.AsyncClient) -> None:
    odd = "é\u0000\u2028\"\\'🎬</script>" + "\u202e" + "x" * 1000
    await beat(client, odd, supported_codecs=[odd], hostname=odd)
    job_id = await submitted(client, source_url=odd, target_codec=odd)
    given = (await client.post("/assign_job/", json={"engine_id": odd})).json()
    assert (given["job_id"], given["source_url"], given["assigned_engine"]) == (job_id, odd, odd)
    assert (await engines(client))[odd]["hostname"] == odd


@pytest.mark.parametrize(
    ("sent", "shown"),
    [("0", 0.0), ("-0.0", 0.0), ("5", 5.0), ("1e308", 1e308), ("1" + "0" * 30, 1e30)],
)
async def test_any_number_that_is_not_negative_is_a_size(
    client: httpx2.AsyncClient, sent: str, shown: float
) -> None:
    body = f'{{"source_url":"u","target_codec":"c","job_size":{sent}}}'
    response = await client.post("/jobs/", content=body)
    assert response.status_code == 200
    assert repr(response.json()["job_size"]) == repr(shown)


@pytest.mark.parametrize(
    "number", ["18446744073709551615", "18446744073709551616", "-" + "9" * 40, "7" * 4000]
)
async def test_numbers_beyond_64_bits_in_an_engines_own_fields_survive(
    client: httpx2.AsyncClient, number: str
) -> None:
    beat_body = f'{{"engine_id":"e","counter":{number}}}'
    for _ in range(2):
        response = await client.post("/engines/heartbeat", content=beat_body)
        assert response.status_code == 200
    assert f'"counter":{number}' in (await client.get("/engines/")).text


async def test_an_engine_can_not_pass_off_a_field_of_the_dispatcher(
    client: httpx2.AsyncClient,
) -> None:
    forged = {"current_job": "forged", "online": False, "blocked": "forged", "drained": True}
    await beat(client, "e", more="kept", last_seen="forged", **forged)
    shown = (await engines(client))["e"]
    assert (shown["current_job"], shown["more"]) == (None, "kept")
    assert (shown["online"], shown["drained"], shown["blocked"]) == (True, False, None)
    assert shown["last_seen"] != "forged"
