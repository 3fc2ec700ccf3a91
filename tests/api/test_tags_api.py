"""Tags over HTTP: of a submission, of a job wherever it is shown, and in a warning."""

from typing import Any

import httpx2
import pytest

from tests.support.farm import JOB, assigned, beat, job_shown

pytestmark = pytest.mark.anyio


async def submit(client: httpx2.AsyncClient, **fields: Any) -> httpx2.Response:
    return await client.post("/jobs/", json=JOB | fields)


async def test_tags_are_kept_with_their_job_wherever_it_is_shown(
    client: httpx2.AsyncClient,
) -> None:
    await beat(client, "e", abilities=["tag:gpu", "tag:4k"])
    answer = (await submit(client, tags=["gpu", "4k", "gpu"])).json()
    (listed,) = (await client.get("/jobs/")).json()
    shown = await job_shown(client, answer["job_id"])
    given = await assigned(client, "e")
    assert [it["tags"] for it in (answer, listed, shown, given)] == [["4k", "gpu"]] * 4


async def test_a_job_without_tags_is_as_ever(client: httpx2.AsyncClient) -> None:
    assert (await submit(client, tags=[])).json().keys() == (await submit(client)).json().keys()


async def test_a_batch_has_tags_too(client: httpx2.AsyncClient) -> None:
    lines = (
        await client.post("/jobs/batch", json=[JOB | {"tags": ["gpu"]}, JOB | {"tags": [1]}])
    ).json()
    assert lines[0]["job"]["tags"] == ["gpu"]
    assert lines[1]["error"] == "Bad Request: 'tags' must be an array of strings."


async def test_a_tag_that_no_engine_has_is_warned_of(client: httpx2.AsyncClient) -> None:
    await beat(client, "e", supported_codecs=["h264"], abilities=["recipes"])
    response = await submit(client, tags=["gpu"])
    assert response.headers["X-Dispatcher-Warning"] == (
        "no engine that is known encodes 'h264' and has the tag gpu; the job waits until one does"
    )
    both = await submit(client, tags=["gpu", "4k"], recipe={"vmaf": 93})
    assert both.headers["X-Dispatcher-Warning"] == (
        "no engine that is known encodes 'h264' and can do what the job needs, recipes, vmaf and "
        "has the tags 4k, gpu; the job waits until one does"
    )


@pytest.mark.parametrize(
    ("tags", "fault"),
    [
        ("gpu", "must be an array of strings."),
        ([1], "must be an array of strings."),
        (None, "must be an array of strings."),
        ([""], "must be short names: '' is not 1 to 40 letters"),
        (["a b"], "must be short names: 'a b' is not"),
        (["gpu\n"], "must be short names: 'gpu\\n' is not"),
        (["-x"], "must be short names: '-x' is not"),
        (["é"], "must be short names: "),
        (["x" * 41], "must be short names: "),
        ([f"t{n}" for n in range(17)], "must be at most 16"),
    ],
)
async def test_a_tag_is_a_short_name(client: httpx2.AsyncClient, tags: object, fault: str) -> None:
    response = await submit(client, tags=tags)
    assert response.status_code == 400
    assert response.text.startswith(f"Bad Request: 'tags' {fault}")
    assert (await client.get("/jobs/")).json() == []
