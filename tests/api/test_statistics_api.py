"""The farm in numbers over HTTP: what happened is counted, now and as of any moment."""

from typing import Any

import httpx2
import pytest

from dispatcher.client import Client
from tests.support.farm import beat

pytestmark = pytest.mark.anyio

ROUTES = ["now", "series", "speeds", "forecast"]


async def submitted(client: httpx2.AsyncClient, codec: str = "h264", **more: Any) -> str:
    body = {"source_url": "http://media/in.mp4", "target_codec": codec, **more}
    job_id: str = (await client.post("/jobs/", json=body)).json()["job_id"]
    return job_id


async def assigned(client: httpx2.AsyncClient, engine_id: str) -> str:
    job_id: str = (await client.post("/assign_job/", json={"engine_id": engine_id})).json()[
        "job_id"
    ]
    return job_id


async def shown(client: httpx2.AsyncClient, name: str, **query: Any) -> dict[str, Any]:
    response = await client.get(f"/statistics/{name}", params=query)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    assert response.headers["X-Dispatcher-Seq"] == str(found["seq"])
    return found


async def test_an_empty_farm_has_numbers_too(client: httpx2.AsyncClient) -> None:
    now = await shown(client, "now")
    assert (now["seq"], now["time"], now["oldest_waiting_since"]) == (0, None, None)
    assert set(now["jobs"].values()) == set(now["engines"].values()) == {0}
    assert (await shown(client, "series"))["submitted"] == []
    assert (await shown(client, "speeds"))["codecs"] == {}
    ahead = await shown(client, "forecast")
    assert (ahead["done_at"], ahead["work_s"], ahead["unplaced"]) == (None, 0.0, 0)


async def test_jobs_and_engines_are_counted_by_their_state(client: httpx2.AsyncClient) -> None:
    first, _, third = [await submitted(client, codec) for codec in ("h264", "av1", "h264")]
    for name in "abc":
        await beat(client, name)
    assert await assigned(client, "a") == first
    await client.post("/engines/b/drain")
    await client.delete(f"/jobs/{third}")
    now = await shown(client, "now")
    assert now["jobs"] == {
        "pending": 1,
        "assigned": 1,
        "completed": 0,
        "failed_permanently": 0,
        "cancelled": 1,
    }
    assert list(now["codecs"]) == ["h264", "av1"]
    assert now["codecs"]["av1"]["pending"] == now["codecs"]["h264"]["assigned"] == 1
    assert now["engines"] == {"working": 1, "idle": 1, "silent": 0, "blocked": 0, "draining": 1}
    (waiting,) = (await client.get("/jobs/?status=pending")).json()
    assert now["oldest_waiting_since"] == waiting["submitted_at"]


async def test_what_happens_shows_in_the_series_and_in_the_speeds(
    client: httpx2.AsyncClient,
) -> None:
    job_id = await submitted(client, job_size=10)
    await beat(client, "a")
    await assigned(client, "a")
    await client.post(f"/jobs/{job_id}/complete", json={"output_url": "http://media/out"})
    await submitted(client)
    series = await shown(client, "series", hours=1)
    assert series["step_s"] == 60
    assert {len(series[name]) for name in ("submitted", "completed", "waiting", "busy")} == {60}
    assert (sum(series["submitted"]), sum(series["completed"])) == (2, 1)
    assert (series["waiting"][-1], series["busy"][-1], series["online"][-1]) == (1, 0, 1)
    speeds = await shown(client, "speeds")
    assert speeds["codecs"]["h264"] == speeds["engines"]["a"]["h264"]
    assert speeds["codecs"]["h264"]["jobs"] == 1
    assert speeds["codecs"]["h264"]["seconds_per_mb"] == pytest.approx(
        speeds["codecs"]["h264"]["seconds"] / 10
    )


async def test_what_waits_is_expected_after_what_runs(client: httpx2.AsyncClient) -> None:
    await beat(client, "a", supported_codecs=["h264"])
    done, runs, waits = [await submitted(client) for _ in range(3)]
    unfit = await submitted(client, "av1")
    assert await assigned(client, "a") == done
    await client.post(f"/jobs/{done}/complete", json={"output_url": "http://media/out"})
    assert await assigned(client, "a") == runs
    ahead = await shown(client, "forecast")
    (running,) = ahead["running"]
    assert (running["job_id"], running["engine_id"], running["how"]) == (runs, "a", "engine")
    placed, unplaced = ahead["waiting"]
    assert (placed["job_id"], placed["place"], placed["how"]) == (waits, 1, "engine")
    assert placed["expected_start"] == running["expected_at"]
    assert ahead["done_at"] == placed["expected_at"] > placed["expected_start"]
    assert (unplaced["job_id"], unplaced["place"], unplaced["how"]) == (unfit, 2, "unplaced")
    assert ahead["unplaced"] == 1
    assert ahead["how"] == (
        "2 by the past of their codec on their engine, 1 wait for an engine that takes them."
    )
    assert (await shown(client, "forecast", limit=1))["waiting"] == [placed]


@pytest.mark.parametrize("name", ROUTES)
async def test_the_numbers_of_a_past_moment_are_those_of_then(
    client: httpx2.AsyncClient, name: str
) -> None:
    await beat(client, "a")
    job_id = await submitted(client, job_size=10)
    await submitted(client, "av1")
    await assigned(client, "a")
    await client.post(f"/jobs/{job_id}/complete", json={"output_url": "http://media/out"})
    await assigned(client, "a")
    then = await shown(client, name)
    await submitted(client)
    await client.delete("/engines/a")
    assert await shown(client, name, as_of=then["seq"]) == then
    assert await shown(client, name) != then


async def test_the_client_has_the_numbers_as_objects(dispatcher: Client) -> None:
    await dispatcher.submit("http://media/in.mp4", "h264")
    assert (await dispatcher.statistics()).jobs["pending"] == 1
    assert (await dispatcher.statistics(as_of=0)).jobs["pending"] == 0
    assert sum((await dispatcher.series(1)).submitted) == 1
    assert (await dispatcher.series()).since is not None
    assert (await dispatcher.speeds()).codecs == {}
    assert [job.how for job in (await dispatcher.forecast()).waiting] == ["unplaced"]
