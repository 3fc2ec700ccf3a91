"""Recipes, output names, results and warnings over HTTP, from submission to completion."""

import os
import signal
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from dispatcher.client import Client
from dispatcher.results import Extent, Result
from dispatcher.serving.keys import ApiKeys, Role
from dispatcher.serving.keys_file import new_key
from dispatcher.serving.named_recipes import NamedRecipes
from tests.support.farm import JOB, OUTPUT, assigned, beat, engine_shown, job_shown, submitted
from tests.support.in_flight import until
from tests.support.servers import client_of, events_in, running

pytestmark = pytest.mark.anyio

WARNING: Final = "X-Dispatcher-Warning"
ABLE: Final = {"abilities": ["recipes", "vmaf"], "encoders": {"h264": "libx264"}}
RECIPES: Final = '[web]\nquality = 60\nmax_height = 720\n\n[film]\nvmaf = 95\ncontainer = "mkv"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipes.toml"
    path.write_text(RECIPES)
    return path


async def submit(client: httpx2.AsyncClient, **fields: Any) -> httpx2.Response:
    return await client.post("/jobs/", json=JOB | fields)


async def refusal(client: httpx2.AsyncClient, **fields: Any) -> str:
    response = await submit(client, **fields)
    assert response.status_code == 400
    return response.text


# Submission


async def test_a_recipe_is_kept_with_its_job_wherever_that_is_shown(
    client: httpx2.AsyncClient,
) -> None:
    await beat(client, "e", **ABLE)
    recipe = {"quality": 60, "audio": "copy", "deinterlace": True}
    kept = {"quality": 60.0, "audio": {"codec": "copy"}}
    answer = (await submit(client, recipe=recipe, output_name="{stem}-{codec}")).json()
    job_id = answer["job_id"]
    assert (answer["recipe"], answer["output_name"]) == (kept, "{stem}-{codec}")
    (listed,) = (await client.get("/jobs/")).json()
    then = (await client.get(f"/jobs/{job_id}?as_of=2")).json()
    (event, *_) = (await client.get(f"/jobs/{job_id}/events")).json()
    given = await assigned(client, "e")
    for shown in (listed, then, event, given):
        assert (shown["recipe"], shown["output_name"]) == (kept, "{stem}-{codec}")
    await client.delete(f"/jobs/{job_id}")
    await client.post(f"/jobs/{job_id}/retry")
    assert (await job_shown(client, job_id))["recipe"] == kept
    assert (await assigned(client, "e"))["recipe"] == kept


async def test_a_job_without_a_recipe_is_as_ever(client: httpx2.AsyncClient, db: Path) -> None:
    job = (await submit(client)).json()
    assert not {"recipe", "output_name", "result", "needs"} & job.keys()
    for nothing in ({}, {"subtitles": "keep"}):
        assert (await submit(client, recipe=nothing)).json().keys() == job.keys()
    assert all("recipe" not in data for _, _, data in events_in(db))


async def test_jobs_with_recipes_go_to_engines_that_tell_so(client: httpx2.AsyncClient) -> None:
    await beat(client, "old")
    await beat(client, "new", **ABLE)
    job_id = await submitted(client, recipe={"vmaf": 93})
    assert (await client.post("/assign_job/", json={"engine_id": "old"})).status_code == 204
    why = (await client.get(f"/jobs/{job_id}/why")).json()
    assert why["engines"][0] == {
        "engine_id": "old",
        "obstacle": "ability",
        "because": "it lacks what the job needs: recipes, vmaf",
    }
    assert (await assigned(client, "new"))["job_id"] == job_id
    shown = await engine_shown(client, "new")
    assert {name: shown[name] for name in ABLE} == ABLE


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"recipe": 7}, "'recipe' must be an object, or the name of one."),
        ({"recipe": None}, "'recipe' must be an object, or the name of one."),
        ({"recipe": []}, "'recipe' must be an object, or the name of one."),
        (
            {"recipe": {"max_height": 8}},
            "'recipe.max_height' must be an integer from 16 to 16384, not 8.",
        ),
        (
            {"recipe": {"container": "webm"}},
            "'recipe.container': webm takes av1, vp8, vp9, not h264.",
        ),
        ({"output_name": 7}, "'output_name' must be a string."),
        ({"output_name": ""}, "'output_name' must not be empty."),
        ({"output_name": "../x"}, "'output_name' must be the name of a file, without '/'."),
        (
            {"recipe": "web"},
            (
                "there is no recipe 'web'; this dispatcher has none. Give the recipe's fields as "
                "an object, or have its operator name a file of recipes with `serve --recipes "
                "FILE`."
            ),
        ),
    ],
)
async def test_what_is_no_recipe_is_refused(
    client: httpx2.AsyncClient, fields: dict[str, Any], text: str
) -> None:
    assert await refusal(client, **fields) == f"Bad Request: {text}"


async def test_a_key_stands_for_one_recipe(client: httpx2.AsyncClient) -> None:
    key = {"Idempotency-Key": "k"}
    body = JOB | {"recipe": {"quality": 60}}
    first = await client.post("/jobs/", json=body, headers=key)
    again = await client.post("/jobs/", json=JOB | {"recipe": {"quality": 60.0}}, headers=key)
    other = await client.post("/jobs/", json=JOB | {"recipe": {"quality": 61}}, headers=key)
    assert again.json() == first.json()
    assert other.status_code == 409


@pytest.mark.parametrize("abilities", ["recipes", {"recipes": True}, ["recipes", 7], None, 1])
async def test_abilities_are_an_array_of_strings(
    client: httpx2.AsyncClient, abilities: Any
) -> None:
    body = {"engine_id": "odd", "abilities": abilities}
    response = await client.post("/engines/heartbeat", json=body)
    assert (response.status_code, response.text) == (
        400,
        "Bad Request: 'abilities' must be an array of strings.",
    )


# Named recipes


async def test_a_job_may_name_a_recipe_and_keeps_it_when_the_file_changes(
    db: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    web = {"name": "web", "quality": 60.0, "max_height": 720}
    film = {"name": "film", "vmaf": 95.0, "container": "mkv"}
    async with (
        running(db, recipes=NamedRecipes(file)) as server,
        client_of(server) as client,
    ):
        assert (await client.get("/recipes/")).json() == [web, film]
        job_id = await submitted(client, recipe="web")
        assert (await job_shown(client, job_id))["recipe"] == web
        assert await refusal(client, recipe="wéb") == (
            "Bad Request: there is no recipe 'wéb'; there is web, film."
        )
        assert await refusal(client, recipe="film", target_codec="ffv1") == (
            "Bad Request: recipe 'film': 'recipe.vmaf': ffv1 has no CRF to search for."
        )
        file.write_text("[web]\nquality = 200\n")
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: bool(caplog.messages))
        told = "recipe 'web': 'recipe.quality' must be a number from 0 to 100, not 200"
        assert caplog.messages == [f"{file}: {told}; the recipes in force stay what they were"]
        assert len((await client.get("/recipes")).json()) == 2
        file.write_text("[web]\nquality = 70\n")
        before = len(server.said)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: len(server.said) > before)
        assert server.said[-1] == f"Read {file} again; recipes in force: 1."
        later = await submitted(client, recipe="web")
        assert (await job_shown(client, later))["recipe"]["quality"] == 70.0
        assert (await job_shown(client, job_id))["recipe"] == web


async def test_keys_and_recipes_are_read_again_even_if_one_is_bad(
    db: Path, file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.toml"
    anna = new_key(path, "anna", Role.CLIENT)
    keys = ApiKeys(path=path)
    async with (
        running(db, keys=keys, recipes=NamedRecipes(file)) as server,
        client_of(server, anna) as client,
    ):
        path.write_text("[[key]]")
        file.write_text("[new]\nquality = 70\n")
        before = len(server.said)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: len(server.said) > before)
        assert len(caplog.messages) == 1
        assert [it["name"] for it in (await client.get("/recipes/")).json()] == ["new"]


async def test_every_role_but_a_monitor_may_read_recipes_and_a_stranger_may_not(
    db: Path, file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "keys.toml"
    secrets = [new_key(path, role.value, role) for role in Role]
    async with running(db, keys=ApiKeys(path=path), recipes=NamedRecipes(file)) as server:
        statuses = [403 if role is Role.MONITOR else 200 for role in Role]
        for secret, status in zip([*secrets, "none"], [*statuses, 401], strict=True):
            async with client_of(server, secret) as client:
                assert (await client.get("/recipes/")).status_code == status


async def test_without_a_file_the_list_is_empty(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/recipes/")).json() == []


# Warnings


async def test_a_codec_that_no_engine_encodes_is_warned_of(client: httpx2.AsyncClient) -> None:
    async def warning(**fields: Any) -> str | None:
        response = await submit(client, **fields)
        assert response.status_code == 200
        text: str | None = response.headers.get(WARNING)
        return text

    waits = "; the job waits until one does"
    assert await warning() == f"no engine that is known encodes 'h264'{waits}"
    await beat(client, "e", supported_codecs=["h264"])
    assert await warning() is None
    assert await warning(target_codec="vp9") == f"no engine that is known encodes 'vp9'{waits}"
    needs = "no engine that is known encodes 'h264' and can do what the job needs, recipes"
    assert await warning(recipe={"quality": 60}) == needs + waits
    assert await warning(output_name="{stem}") == needs + waits
    await beat(client, "e", abilities=["recipes"])
    assert await warning(recipe={"quality": 60}) is None
    assert await warning(recipe={"vmaf": 93}) == f"{needs}, vmaf{waits}"
    await beat(client, "f", supported_codecs=["vp9"], abilities=["recipes", "vmaf"])
    assert await warning(recipe={"vmaf": 93}) == f"{needs}, vmaf{waits}"
    assert await warning(recipe={"vmaf": 93}, target_codec="vp9") is None
    await client.delete("/engines/f")
    assert await warning(target_codec="vp9") is not None
    await beat(client, "any")
    assert await warning(target_codec="vp9") is None


@pytest.mark.parametrize("codec", ["\r\nX-Evil: 1", "ü🎬", "x" * 4_000, ""])
async def test_a_warning_is_a_header_whatever_the_codec_is_called(
    client: httpx2.AsyncClient, codec: str
) -> None:
    response = await submit(client, target_codec=codec)
    assert response.status_code == 200
    assert len(response.headers[WARNING]) < 300
    assert "X-Evil" not in response.headers


async def test_the_client_is_told_of_a_warning(dispatcher: Client) -> None:
    warnings: list[str] = []
    await dispatcher.submit("u", "h264", on_warning=warnings.append)
    assert len(warnings) == 1
    await dispatcher.heartbeat("e")
    await dispatcher.submit("u", "h264", on_warning=warnings.append)
    assert len(warnings) == 1


# Results


async def test_what_was_done_stands_in_the_completion(dispatcher: Client) -> None:
    await dispatcher.heartbeat("e")
    job = await dispatcher.submit("u", "h264")
    await dispatcher.assign("e")
    result = Result(
        encoder="libx264",
        crf=23,
        vmaf=93.1,
        source=Extent(1_000, 10.0),
        output=Extent(100, 10.0),
        kept=("video", "audio 1"),
        warnings=("it was short",),
    )
    await dispatcher.complete(job.job_id, "out", engine_id="e", result=result)
    await dispatcher.complete(job.job_id, "out", engine_id="e", result=Result(encoder="other"))
    done = await dispatcher.job(job.job_id)
    assert done.result == {
        "encoder": "libx264",
        "crf": 23.0,
        "vmaf": 93.1,
        "source": {"size_bytes": 1_000, "length_s": 10.0},
        "output": {"size_bytes": 100, "length_s": 10.0},
        "kept": ["video", "audio 1"],
        "warnings": ["it was short"],
    }
    entries = await dispatcher.job_events(job.job_id)
    assert [entry.type for entry in entries] == ["job_submitted", "job_assigned", "job_completed"]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (7, "'result' must be an object."),
        (None, "'result' must be an object."),
        ({"encoder": 7}, "'result.encoder' must be a string."),
        ({"crf": -1}, "'result.crf' must be a non-negative number."),
        ({"vmaf": True}, "'result.vmaf' must be a non-negative number."),
        ({"output": [1]}, "'result.output' must be an object."),
        (
            {"output": {"size_bytes": 1.5}},
            "'result.output.size_bytes' must be a non-negative integer.",
        ),
        ({"kept": "all"}, "'result.kept' must be an array of strings."),
        ({"warnings": ["a", 1]}, "'result.warnings' must be an array of strings."),
    ],
)
async def test_a_result_of_the_wrong_type_is_refused(
    client: httpx2.AsyncClient, result: Any, text: str
) -> None:
    job_id = await submitted(client)
    body = OUTPUT | {"result": result}
    response = await client.post(f"/jobs/{job_id}/complete", json=body)
    assert (response.status_code, response.text) == (400, f"Bad Request: {text}")
    assert (await job_shown(client, job_id))["status"] == "pending"


async def test_a_result_is_bounded_and_what_is_not_known_is_left_out(
    client: httpx2.AsyncClient,
) -> None:
    job_id = await submitted(client)
    result = {"encoder": "x" * 5_000, "warnings": ["\0é" * 100] * 1_000, "later": {"x": 1}}
    await client.post(f"/jobs/{job_id}/complete", json=OUTPUT | {"result": result})
    kept = (await job_shown(client, job_id))["result"]
    assert kept.keys() == {"encoder", "warnings"}
    assert len(kept["encoder"]) <= 1_000
    assert kept["warnings"][-1] == f"… and {1_000 - len(kept['warnings']) + 1:,} more"


async def test_a_result_that_says_nothing_is_none(client: httpx2.AsyncClient) -> None:
    job_id = await submitted(client)
    await client.post(f"/jobs/{job_id}/complete", json=OUTPUT | {"result": {"later": 1}})
    assert "result" not in await job_shown(client, job_id)
