"""Recipes on the command line: given as a name, a file, JSON or options, and told in words."""

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from dispatcher.cli.recipes import (
    asked_recipe,
    number_or_text,
    recipe_in_words,
    result_in_words,
)
from dispatcher.client import Client
from dispatcher.recipes import recipe_of
from dispatcher.results import Extent, Result
from dispatcher.serving.named_recipes import NamedRecipes
from tests.support.commands import command
from tests.support.servers import Running, running

pytestmark = pytest.mark.anyio

SOURCE: Final = "http://media/in.mp4"
ASK: Final = ("submit", SOURCE, "--codec", "h264", "--json")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text('quality = 60\naudio = "copy"\n')
    return path


# What is given


def test_options_are_fields_and_replace_those_of_a_file_or_of_json(file: Path) -> None:
    options = {"quality": 70.0, "max_height": 720, "vmaf": None, "clip_to": "1:30"}
    said = {"quality": 70.0, "max_height": 720, "clip": {"to": "1:30"}}
    assert asked_recipe(None, options) == said
    assert asked_recipe(str(file), options) == {"audio": "copy"} | said
    assert asked_recipe('{"fps": 25}', options) == {"fps": 25} | said


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("field", "option"), [("split_s", "--split"), ("crf", "--crf")])
def test_an_option_that_is_no_number_is_refused_and_not_left_out(
    field: str, option: str, value: float
) -> None:
    with pytest.raises(typer.BadParameter, match=f"{option}: must be a number, not {value}"):
        asked_recipe(None, {field: value})


def test_an_option_for_a_part_leaves_the_other_parts_as_they_are() -> None:
    given = (
        '{"clip": {"from": "1:00", "to": "1:30"}, "audio": {"codec": "mp3", "languages": ["de"]}}'
    )
    assert asked_recipe(given, {"clip_from": "1:10", "audio": "aac"}) == {
        "clip": {"from": "1:10", "to": "1:30"},
        "audio": {"codec": "aac", "languages": ["de"]},
    }
    assert asked_recipe('{"audio": {"kbps_per_channel": 96}}', {"audio": "copy"}) == {
        "audio": "copy"
    }


def test_an_option_for_the_quality_takes_the_place_of_any_other() -> None:
    assert asked_recipe('{"quality": 60, "fps": 25}', {"crf": 20}) == {"crf": 20, "fps": 25}


def test_a_file_may_be_json_and_a_name_is_never_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("web").write_text("crf = 20")
    Path("web.json").write_text('{"crf": 20}')
    assert asked_recipe("web", {}) == "web"
    assert asked_recipe("./web", {}) == {"crf": 20}
    assert asked_recipe("web.json", {}) == {"crf": 20}


def test_a_name_is_passed_on_and_nothing_is_none() -> None:
    assert asked_recipe("web", {"quality": None}) == "web"
    assert asked_recipe(None, {"quality": None}) is None
    assert asked_recipe("{}", {}) is None


@pytest.mark.parametrize(
    ("given", "options", "fault"),
    [
        ("web", {"max_height": 720}, "leave out --max-height, or give its fields as a file or as"),
        ("web", {"clip_to": "1:30"}, "leave out --clip-to, or give"),
        ("web", {"split_s": 10}, "leave out --split, or give"),
        ("{quality: 60}", {}, "--recipe: neither JSON nor TOML: JSON is malformed"),
        ("no/such.toml", {}, "--recipe no/such.toml: can't be read: No such file or directory"),
    ],
)
def test_what_can_not_be_read_is_told(given: str, options: dict[str, Any], fault: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        asked_recipe(given, options)
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("given", "value"), [("25", 25), ("23.976", 23.976), ("30000/1001", "30000/1001"), (None, None)]
)
def test_a_number_is_one(given: str | None, value: object) -> None:
    assert number_or_text(given) == value


# In words


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"quality": 60, "max_height": 720}, "quality 60 of 100, at most 720 pixels high"),
        (
            {"crf": 23.5, "speed": "slow", "max_width": 640, "fps": 25},
            "CRF 23.5, speed slow, at most 640 pixels wide, 25 frames a second",
        ),
        ({"bitrate": "2500k", "fps": "30000/1001"}, "2,500 kb/s, 30000/1001 frames a second"),
        ({"vmaf": 93, "container": "mkv"}, "VMAF 93, in mkv"),
        ({"audio": "copy", "subtitles": "none"}, "sound copied, no subtitles"),
        ({"audio": "none"}, "no sound"),
        (
            {
                "audio": {"codec": "opus", "kbps_per_channel": 48, "languages": ["de", "en"]},
                "subtitles": {"languages": ["de"]},
            },
            "sound in opus, 48 kb/s a channel, sound of de and en, subtitles of de",
        ),
        ({"deinterlace": "never", "hdr": "keep"}, "deinterlaced never, HDR kept"),
        ({"hdr": "tonemap", "clip": {"to": 90}}, "HDR tone-mapped, from 0:00 to 1:30"),
        ({"clip": {"from": "1:02:03.5"}}, "from 62:03.500 to the end"),
        ({"split_s": 10}, "split every 10 s"),
        ({"ffmpeg_args": ["-x", "1"]}, "ffmpeg arguments -x 1"),
    ],
)
def test_a_recipe_is_said_in_words(fields: dict[str, Any], words: str) -> None:
    assert recipe_in_words(recipe_of(fields).wire()) == words
    assert recipe_in_words(recipe_of(fields, name="web").wire()) == f"web: {words}"


def test_a_recipe_of_a_newer_dispatcher_is_shown_as_it_is() -> None:
    assert recipe_in_words({"newer": 1}) == '{"newer":1}'


def test_a_result_is_said_in_words() -> None:
    result = Result(
        encoder="libx264",
        crf=23,
        vmaf=93.123,
        source=Extent(7_500_000, 60.0),
        output=Extent(900_000, 59.98),
        kept=("video", "audio 1"),
        left_out=("subtitles 3",),
        speed=2.5,
        warnings=("it was short", "it was dark"),
    )
    assert [*result_in_words(result.wire())] == [
        "Done: encoded with libx264, CRF 23, VMAF 93.12, 2.5 seconds of film a second",
        "Source: 7.50 MB, 60.00 s",
        "Output: 0.90 MB, 59.98 s",
        "Kept: video; audio 1",
        "Left out: subtitles 3",
        "Warning: it was short",
        "Warning: it was dark",
    ]
    assert [*result_in_words({})] == []


# With a dispatcher


async def test_submit_sends_the_recipe_and_prints_the_warning(
    server: Running, tmp_path: Path, file: Path
) -> None:
    arguments = ("--recipe", str(file), "--max-height", "720", "--output-name", "{stem}-{codec}")
    more = ("--bitrate", "4M", "--crf", "25")
    refused = await command(tmp_path, *ASK, *arguments, *more, server=server.url)
    assert refused.status == 4
    assert "'recipe.crf' and 'recipe.bitrate' contradict each other" in refused.err
    done = await command(tmp_path, *ASK, *arguments, server=server.url)
    assert done.status == 0
    (job,) = done.json
    assert job["recipe"] == {"quality": 60.0, "max_height": 720, "audio": {"codec": "copy"}}
    assert job["output_name"] == "{stem}-{codec}"
    assert "Warning: no engine that is known encodes 'h264'; the job waits" in done.err


async def test_job_shows_recipe_and_result_and_engines_what_they_can(
    server: Running, dispatcher: Client, tmp_path: Path
) -> None:
    report = {"abilities": ["recipes"], "encoders": {"h264": "libx264", "vp9": 7}}
    await dispatcher.heartbeat("e", report | {"supported_codecs": ["h264", "vp9"]})
    job = await dispatcher.submit(SOURCE, "h264", recipe={"quality": 60}, output_name="{stem}")
    await dispatcher.assign("e")
    result = Result(encoder="libx264", warnings=("it was\nshort",))
    await dispatcher.complete(job.job_id, "out", result=result)
    shown, engines = await asyncio.gather(
        command(tmp_path, "job", job.job_id, server=server.url),
        command(tmp_path, "engines", server=server.url),
    )
    fields = [line.split("\t") for line in shown.out.splitlines()]
    assert ["recipe", "quality 60 of 100"] in fields
    assert ["output name", "{stem}"] in fields
    assert ["result", "Done: encoded with libx264"] in fields
    assert ["result", "Warning: it was\\nshort"] in fields
    (engine,) = (line.split("\t") for line in engines.out.splitlines())
    assert engine[4] == "h264, vp9"
    assert engine[-2:] == ["recipes", "h264 by libx264"]


async def test_recipes_lists_them(db: Path, tmp_path: Path) -> None:
    path = tmp_path / "recipes.toml"
    path.write_text("[web]\nquality = 60\n")
    async with running(db, recipes=NamedRecipes(path)) as server:
        for_people = await command(tmp_path, "recipes", server=server.url)
        for_scripts = await command(tmp_path, "recipes", "--json", server=server.url)
        named = await command(tmp_path, *ASK, "--recipe", "web", server=server.url)
    assert "web" in for_people.out
    assert "quality 60 of 100" in for_people.out
    assert for_scripts.json == [{"name": "web", "quality": 60.0}]
    assert named.json[0]["recipe"] == {"name": "web", "quality": 60.0}


async def test_without_recipes_it_says_how_to_have_some(server: Running, tmp_path: Path) -> None:
    done = await command(tmp_path, "recipes", server=server.url)
    assert done.out == "The dispatcher has none; `serve --recipes FILE` gives it some.\n"


async def test_serve_refuses_a_bad_file(tmp_path: Path) -> None:
    path = tmp_path / "recipes.toml"
    path.write_text("[web]\nmax_height = 8\n")
    done = await command(tmp_path, "serve", "--no-auth", "--recipes", str(path), key=None)
    assert done.status == 1
    assert f"{path}: recipe 'web': 'recipe.max_height' must be an integer from" in done.err
