"""A target VMAF: what is scored, what is found, and how near the whole film comes to it."""

import asyncio
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from dispatcher.client import Client
from dispatcher.engine.codecs import CODECS
from dispatcher.engine.ffmpeg import Ffmpeg, FfmpegError, FfmpegStalledError, Input
from dispatcher.engine.rates import Rate
from dispatcher.engine.samples import Part
from dispatcher.engine.sources import FILE_PROTOCOLS, STREAM_FROM_MB
from dispatcher.engine.transcoding import transcode
from dispatcher.engine.vmaf import part_of, scale_of
from dispatcher.recipes import Recipe, recipe_of
from tests.support.engines import ANYWHERE, at_work, final, program
from tests.support.media import FFMPEG, playlist_of
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.servers import Running
from tests.support.web import Answer, serving, web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

SIZE: Final = "s=160x90:r=25"
SCORED: Final = (
    "[0:v]settb=1/25,setpts=N[a];[1:v]settb=1/25,setpts=N[b];[a][b]libvmaf=shortest=1:repeatlast=0"
)


def ran(*arguments: str | Path) -> str:
    made = subprocess.run(
        [FFMPEG, "-hide_banner", "-nostdin", "-y", *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert made.returncode == 0, made.stderr
    return made.stderr


def whole_score(made: Path, source: Path) -> float:
    """Score a whole output, as who distrusts the engine would."""
    told = ran("-i", made, "-i", source, "-filter_complex", SCORED, "-f", "null", "-")
    found = re.search(r"VMAF score: ([\d.]+)", told)
    assert found is not None
    return float(found[1])


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a film with grain, one of unlike scenes, one in HDR, and a short one."""
    folder = tmp_path_factory.mktemp("films")
    grain = f"mandelbrot={SIZE}:start_scale=1:end_scale=0.1:end_pts=400,noise=alls=8:allf=t"
    source = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "6", "-g", "50")
    plain = ("-pix_fmt", "yuv420p", *source)
    ran("-f", "lavfi", "-i", grain, "-t", "16", *plain, folder / "grain.mp4")
    ran("-i", folder / "grain.mp4", "-t", "2", "-c", "copy", folder / "short.mp4")
    scenes = (
        *("-f", "lavfi", "-i", f"testsrc2={SIZE}:d=4"),
        *("-f", "lavfi", "-i", f"{grain},trim=duration=6"),
        *("-f", "lavfi", "-i", f"life={SIZE}:mold=10:ratio=0.2:seed=7,trim=duration=2,gblur=2"),
        *("-f", "lavfi", "-i", f"gradients={SIZE}:d=4:n=4:seed=3,noise=alls=20:allf=t"),
    )
    joined = "[0]format=yuv420p,setsar=1[a];[1]format=yuv420p,setsar=1[b];"
    joined += "[2]format=yuv420p,setsar=1[c];[3]format=yuv420p,setsar=1[d];[a][b][c][d]concat=n=4"
    ran(*scenes, "-filter_complex", joined, *plain, folder / "scenes.mp4")
    light = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv"
    deep = ("-vf", f"format=yuv420p10le,noise=alls=6:allf=t,{light}", "-c:v", "libx265")
    params = ("-preset", "ultrafast", "-x265-params", "log-level=error:keyint=50", "-crf", "8")
    bright = ("-f", "lavfi", "-i", f"gradients={SIZE}:d=16:n=5:seed=7:speed=0.05")
    ran(*bright, *deep, *params, folder / "hdr.mp4")
    return folder


def local(path: Path) -> Input:
    return Input(f"file:{path}", FILE_PROTOCOLS)


def wanted(score: float, **fields: object) -> Recipe:
    return recipe_of({"vmaf": score, **fields})


# How near it comes


@pytest.mark.parametrize(
    ("name", "codec"), [("grain", "h264"), ("scenes", "h264"), ("scenes", "av1"), ("hdr", "av1")]
)
async def test_the_whole_film_comes_as_near_as_a_point(
    name: str, codec: str, ffmpeg: Ffmpeg, films: Path, tmp_path: Path
) -> None:
    source, output = films / f"{name}.mp4", tmp_path / "output"
    result = await transcode(ffmpeg, local(source), codec, output, recipe=wanted(93))
    assert result.vmaf == pytest.approx(93, abs=1)
    assert whole_score(output, source) == pytest.approx(93, abs=1)
    assert result.crf is not None
    assert not any("VMAF" in it for it in result.warnings)


async def test_a_short_film_is_searched_as_a_whole(
    ffmpeg: Ffmpeg, films: Path, tmp_path: Path
) -> None:
    source, output = films / "short.mp4", tmp_path / "output"
    result = await transcode(ffmpeg, local(source), "h264", output, recipe=wanted(90))
    assert result.vmaf == pytest.approx(whole_score(output, source), abs=0.3)


async def test_a_film_that_is_made_smaller_is_scored_at_its_new_size(
    ffmpeg: Ffmpeg, films: Path, tmp_path: Path
) -> None:
    source, output = films / "short.mp4", tmp_path / "output"
    recipe = wanted(90, max_height=64)
    result = await transcode(ffmpeg, local(source), "h264", output, recipe=recipe)
    small = tmp_path / "small.mkv"
    ran("-i", source, "-vf", "scale=114:64:flags=bicubic", "-c:v", "ffv1", small)
    assert result.vmaf == pytest.approx(whole_score(output, small), abs=0.5)


@pytest.mark.parametrize("bound", [{"max_height": 16}, {"max_width": 16}])
async def test_very_small_pictures_are_scored_too(
    bound: dict[str, int], ffmpeg: Ffmpeg, films: Path, tmp_path: Path
) -> None:
    source, output = films / "short.mp4", tmp_path / "output"
    result = await transcode(ffmpeg, local(source), "h264", output, recipe=wanted(80, **bound))
    assert result.vmaf is not None


@pytest.mark.parametrize(("score", "side"), [(99, "below"), (20, "above")])
async def test_a_score_that_is_out_of_reach_is_told_and_the_nearest_taken(
    score: float, side: str, ffmpeg: Ffmpeg, films: Path, tmp_path: Path
) -> None:
    codec, encoder = ffmpeg.encoders["h264"]
    assert encoder.rate is not None
    rate = msgspec.structs.replace(encoder.rate, anchors=((60, 30), (50, 34)), least=30)
    narrow = msgspec.structs.replace(encoder, rate=rate)
    ours = ffmpeg._replace(encoders={"h264": (codec, narrow)})
    source, output = films / "short.mp4", tmp_path / "output"
    result = await transcode(ours, local(source), "h264", output, recipe=wanted(score))
    [told] = [it for it in result.warnings if "VMAF" in it]
    assert f"can't reach a VMAF score of {score}" in told
    assert f", {side} it, at {result.crf:g}, its " in told
    assert result.crf == (30 if side == "below" else 34)


# How it goes on, and ends


async def test_the_search_counts_as_progress_and_leaves_nothing_behind(
    ffmpeg: Ffmpeg, films: Path, tmp_path: Path
) -> None:
    told: list[float] = []
    source, output = films / "short.mp4", tmp_path / "output"
    await transcode(ffmpeg, local(source), "h264", output, told.append, wanted(90))
    assert len({it for it in told if 0 < it <= 25}) >= 3
    assert max(told) == 100
    assert list(tmp_path.iterdir()) == [output]


async def test_a_cancelled_search_returns_when_ffmpeg_has_ended(
    ffmpeg: Ffmpeg, films: Path, tmp_path: Path
) -> None:
    searching = asyncio.Event()
    work = asyncio.create_task(
        transcode(
            ffmpeg,
            local(films / "grain.mp4"),
            "h264",
            tmp_path / "output",
            lambda _: searching.set(),
            wanted(90),
        )
    )
    await searching.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    # Processes that were left running would be found by the fixture of all tests.


async def test_a_search_that_stalls_ends(ffmpeg: Ffmpeg, films: Path, tmp_path: Path) -> None:
    stuck = program(
        tmp_path / "ffmpeg", 'case "$*" in *libvmaf*) exec sleep 600;; esac', then=FFMPEG
    )
    ours = ffmpeg._replace(
        path=stuck,
        checks=ffmpeg.checks._replace(stall_s=2),
        sandbox=ffmpeg.sandbox._replace(readable=("/",)),
    )
    with pytest.raises(FfmpegStalledError):
        await transcode(
            ours, local(films / "short.mp4"), "h264", tmp_path / "output", recipe=wanted(90)
        )


# Who can do it


async def test_only_an_ffmpeg_that_has_scored_says_that_it_can(
    ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    assert ffmpeg.scores_vmaf
    lacks_model = 'case "$*" in *libvmaf*) echo no model >&2; exit 1;; esac'
    probed = await Ffmpeg.probe(program(tmp_path / "ffmpeg", lacks_model, then=FFMPEG))
    assert not probed.scores_vmaf


async def test_an_ffmpeg_that_can_not_score_fails_the_job_as_its_engines_fault(
    ffmpeg: Ffmpeg, films: Path, tmp_path: Path
) -> None:
    with pytest.raises(FfmpegError, match="this engine's ffmpeg can't score") as told:
        await transcode(
            ffmpeg._replace(scores_vmaf=False),
            local(films / "short.mp4"),
            "h264",
            tmp_path / "output",
            recipe=wanted(90),
        )
    assert told.value.cause == "engine"
    assert list(tmp_path.iterdir()) == []


async def test_a_codec_without_a_quality_fails_before_any_search(
    ffmpeg: Ffmpeg, films: Path, tmp_path: Path
) -> None:
    with pytest.raises(FfmpegError, match="no quality to search"):
        await transcode(
            ffmpeg, local(films / "short.mp4"), "ffv1", tmp_path / "output", recipe=wanted(90)
        )


async def test_a_target_goes_from_the_submission_to_the_result(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, films: Path, tmp_path: Path
) -> None:
    short = films / "short.mp4"
    async with web(serving({"/short.mp4": short})) as source:
        submitted = await dispatcher.submit(
            f"{source.url}/short.mp4", "h264", job_size=2 * STREAM_FROM_MB, recipe={"vmaf": 85}
        )
        async with at_work(server.url, ffmpeg, tmp_path):
            job = await final(dispatcher, submitted.job_id)
            [engine] = await dispatcher.engines()
        assert len(source.asked) == 1, "it would have been streamed, part by part"
    assert (job.status, job.retries) == ("completed", 0)
    assert isinstance(job.result, dict)
    assert job.result["vmaf"] == pytest.approx(85, abs=1)
    assert 4 <= job.result["crf"] <= 51
    assert "vmaf" in str(engine)


async def test_a_playlist_is_searched_through_its_server(
    ffmpeg: Ffmpeg, films: Path, tmp_path: Path
) -> None:
    segment = tmp_path / "segment.ts"
    ran("-i", films / "short.mp4", "-c", "copy", "-f", "mpegts", segment)
    files: dict[str, Path | str | Answer] = {"/a.ts": segment, "/p.m3u8": playlist_of("a.ts")}
    folder = tmp_path / "job"
    folder.mkdir()
    async with (
        web(serving(files)) as server,
        ANYWHERE.opened(
            f"{server.url}/p.m3u8", 1, folder, streams=True, prefers_file=True
        ) as source,
    ):
        result = await transcode(ffmpeg, source, "h264", folder / "output", recipe=wanted(85))
    assert result.vmaf == pytest.approx(85, abs=1)


# What is searched


def rates() -> Iterator[tuple[str, Rate]]:
    for codec in CODECS:
        for encoder in codec.encoders:
            if encoder.rate is not None:
                yield encoder.name, encoder.rate


@pytest.mark.parametrize(("name", "rate"), list(rates()))
def test_every_encoder_has_numbers_from_its_best_to_its_worst(name: str, rate: Rate) -> None:
    numbers, expected = scale_of(rate)
    assert len(numbers) == len(expected) >= 20, name
    assert len(set(numbers)) == len(numbers)
    assert list(expected) == sorted(expected, reverse=True)
    assert numbers[-1] == rate.anchors[-1][1]


def test_no_crf_is_lossless() -> None:
    assert min(scale_of(rate).numbers[0] for _, rate in rates() if rate.is_crf) > 0


@pytest.mark.parametrize(
    ("clip", "length_s", "part"),
    [
        ({}, 60.0, Part(0, 60)),
        ({}, None, Part(0, None)),
        ({"from": 10}, 60.0, Part(10, 50)),
        ({"from": 10, "to": 30}, 60.0, Part(10, 20)),
        ({"from": 10, "to": 90}, 60.0, Part(10, 50)),
        ({"from": 10, "to": 30}, None, Part(10, 20)),
        ({"from": 70}, 60.0, Part(70, 0)),
    ],
)
def test_of_a_clip_only_the_clip_is_searched(
    clip: dict[str, float], length_s: float | None, part: Part
) -> None:
    assert part_of(wanted(90, clip=clip), length_s) == part
