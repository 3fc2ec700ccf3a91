"""A job with a recipe, from its submission to its result: real dispatcher, real ffmpeg."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import pytest
from msgspec import UNSET

from dispatcher.client import Client
from dispatcher.engine.codecs import CODECS
from dispatcher.engine.containers import CONTAINERS, SOUND_CODECS
from dispatcher.engine.ffmpeg import Ffmpeg
from dispatcher.engine.journal import Journal
from dispatcher.engine.naming import names_of
from dispatcher.recipes import AUDIO_CODECS, RATES, VIDEO_CODECS
from projections.jobs import JobView
from tests.support.engines import at_work, final
from tests.support.media import Clips, found_in
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.servers import Running

pytest_plugins = ["tests.support.engine_fixtures"]


# The tables


def test_recipes_know_what_the_tables_of_engines_have() -> None:
    rows = {name: codec for codec in CODECS for name in codec.names}
    assert set(RATES) == set(rows)
    for name, codec in rows.items():
        first = codec.encoders[0]
        assert RATES[name].takes_quality == RATES[name].takes_bitrate == (first.rate is not None)
        assert (RATES[name].most_crf > 0) == (first.rate is not None and first.rate.is_crf), name
        deep = not first.pixels or any("10le" in it for it in first.pixels)
        assert RATES[name].has_10_bits == deep, name
        taking = {it for it, codecs in VIDEO_CODECS.items() if name in codecs}
        assert taking <= set(CONTAINERS)
        assert codec.container in taking | {"ogv"}
    for container, sounds in AUDIO_CODECS.items():
        assert sounds == set(CONTAINERS[container].sound), container
        assert sounds <= set(SOUND_CODECS)


def test_the_anchors_of_a_quality_fall_and_are_undone() -> None:
    for codec in CODECS:
        for encoder in codec.encoders:
            if (rate := encoder.rate) is None:
                continue
            qualities = [quality for quality, _ in rate.anchors]
            assert qualities == sorted(qualities, reverse=True), encoder.name
            assert rate.number_for(100) == rate.anchors[0][1]
            assert rate.number_for(0) == rate.anchors[-1][1]
            for quality, number in rate.anchors:
                assert abs(rate.quality_at(number) - quality) < 0.01, encoder.name


# Names


def job(source: str, **more: Any) -> JobView:
    fields: dict[str, Any] = {
        "job_id": "j1",
        "source_url": source,
        "target_codec": "h264",
        "job_size": 1.0,
        "status": "in_progress",
        "assigned_engine": None,
        "output_url": None,
        "retries": 0,
        "max_retries": 3,
        "attempt": 2,
    }
    told = {name: it for name, it in more.items() if it is not UNSET}
    return msgspec.convert(fields | told, JobView)


@pytest.mark.parametrize(
    ("source", "name", "wished", "own"),
    [
        ("file:///films/My%20film.mov", UNSET, "My film-j1.mp4", "My film-j1-2.mp4"),
        ("https://a:b@c/x/film.mp4?sig=s", "{stem}", "film.mp4", "film-j1-2.mp4"),
        ("file:///films/..%2F..%2Fetc", "{stem}", "etc.mp4", "etc-j1-2.mp4"),
        ("http://c/", "{stem}-{codec}", "-h264.mp4", "-h264-j1-2.mp4"),
    ],
)
def test_an_output_is_named_after_its_source_within_its_place(
    source: str, name: Any, wished: str, own: str
) -> None:
    assert names_of(job(source, output_name=name), "{stem}-{job_id}", ".mp4") == (wished, own)


# Jobs


@pytest.mark.anyio
async def test_a_recipe_is_followed_and_what_was_done_is_told(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    submitted = await dispatcher.submit(
        clips.plain.as_uri(),
        "h264",
        recipe={"crf": 30, "max_width": 48, "container": "mkv", "clip": {"to": 0.2}},
        output_name="{stem} small",
    )
    async with at_work(server.url, ffmpeg, tmp_path) as engine:
        done = await final(dispatcher, submitted.job_id)
        [known] = await dispatcher.engines()
    assert done.status == "completed", done.error_message
    assert done.output_url == (engine.outputs / "plain small.mkv").as_uri()
    output = Path(unquote(urlsplit(done.output_url).path))
    assert found_in(output).size == "48x32"
    assert done.result is not UNSET
    told = dict(done.result)
    assert told["output"]["size_bytes"] == output.stat().st_size
    assert abs(told["output"]["length_s"] - 0.2) < 0.05
    assert told["source"]["size_bytes"] == clips.plain.stat().st_size
    assert (told["encoder"], told["crf"]) == ("libx264", 30)
    assert told["kept"] == ["video stream 0: h264", "audio stream 1: aac"]
    assert told["warnings"] == ["scaled to 48x32 from 96x64"]
    assert told["speed"] > 0
    assert known is not None


@pytest.mark.anyio
async def test_a_second_job_does_not_replace_the_output_of_the_first(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    async with at_work(server.url, ffmpeg, tmp_path) as engine:
        first = await dispatcher.submit(clips.plain.as_uri(), "mpeg4", output_name="film")
        await final(dispatcher, first.job_id)
        second = await dispatcher.submit(clips.silent.as_uri(), "mpeg4", output_name="film")
        done = await final(dispatcher, second.job_id)
    assert done.output_url == (engine.outputs / f"film-{second.job_id}-1.mp4").as_uri()
    assert found_in(engine.outputs / "film.mp4").audio is not None


@pytest.mark.anyio
async def test_a_recipe_that_can_not_be_followed_fails_in_a_plain_sentence(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    submitted = await dispatcher.submit(
        clips.plain.as_uri(), "vp9", max_retries=0, recipe={"clip": {"from": 60}}
    )
    async with at_work(server.url, ffmpeg, tmp_path):
        done = await final(dispatcher, submitted.job_id)
    assert done.status == "failed_permanently"
    assert done.error_message is not None
    assert "the recipe's clip begins at 60 s, and the source ends after 0.4 s" in done.error_message


def test_a_journal_of_an_engine_before_there_were_results_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    held = msgspec.to_builtins(job("file:///a.mp4"))
    path.write_text(json.dumps({"job": held, "stage": "delivered", "result": "file:///out.mp4"}))
    entry = Journal(path).read()
    assert entry is not None
    assert (entry.result, entry.outcome) == ("file:///out.mp4", None)
