"""Real transcodes: what comes out, what is refused, and how they end."""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from dispatcher.engine.codecs import CODECS
from dispatcher.engine.ffmpeg import Ffmpeg, FfmpegError, Input
from dispatcher.engine.sources import FILE_PROTOCOLS, STREAM_FROM_MB
from dispatcher.engine.transcoding import transcode
from tests.support.engines import ANYWHERE, eventually, lives, program
from tests.support.media import FFMPEG, Clips, found_in, playlist_of
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.web import Answer, answering, serving, web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

MAKES: Final = {  # what ffmpeg calls the video and the audio that are in the output
    "h264": ("h264", "aac"),
    "hevc": ("hevc", "aac"),
    "vp8": ("vp8", "vorbis"),
    "vp9": ("vp9", "opus"),
    "av1": ("av1", "opus"),
    "mpeg4": ("mpeg4", "aac"),
    "mpeg2": ("mpeg2video", "mp2"),
    "theora": ("theora", "vorbis"),
    "prores": ("prores", "pcm_s24le"),
    "ffv1": ("ffv1", "flac"),
}
CODEC_NAMES: Final = [codec.names[0] for codec in CODECS]


def local(path: Path) -> Input:
    return Input(f"file:{path}", FILE_PROTOCOLS)


async def stream(ffmpeg: Ffmpeg, url: str, output: Path) -> None:
    opening = ANYWHERE.opened(url, STREAM_FROM_MB, output.parent, streams=True)
    async with opening as source:
        assert source.url == url
        await transcode(ffmpeg, source, "h264", output)


async def failure_of(ffmpeg: Ffmpeg, source: Input, output: Path) -> str:
    with pytest.raises(FfmpegError) as told:
        await transcode(ffmpeg, source, "h264", output)
    return str(told.value)


# What comes out


@pytest.mark.parametrize("codec", CODEC_NAMES)
async def test_every_codec_is_really_produced_with_the_audio_carried_over(
    codec: str, each_ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    if codec not in each_ffmpeg.encoders:
        pytest.skip(f"the ffmpeg of this machine does not encode {codec}")
    await transcode(each_ffmpeg, local(clips.plain), codec, tmp_path / "output")
    found = found_in(tmp_path / "output")
    assert (found.video, found.audio) == MAKES[codec]
    assert found.size == "96x64"


@pytest.mark.parametrize("codec", CODEC_NAMES)
async def test_every_codec_takes_odd_sides_and_other_pixel_formats(
    codec: str, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    await transcode(ffmpeg, local(clips.odd), codec, tmp_path / "output")
    found = found_in(tmp_path / "output")
    assert found.video == MAKES[codec][0]
    keeps_odd_sides = codec in {"vp8", "vp9", "prores", "ffv1"}
    assert found.size == ("97x65" if keeps_odd_sides else "98x66")


@pytest.mark.parametrize("codec", CODEC_NAMES)
async def test_every_codec_takes_10_bit_sources(
    codec: str, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    await transcode(ffmpeg, local(clips.ten_bit), codec, tmp_path / "output")
    found = found_in(tmp_path / "output")
    assert found.video == MAKES[codec][0]
    keeps_10_bit = codec in {"hevc", "vp9", "av1", "prores", "ffv1"}
    assert found.pixels is not None
    assert found.pixels.endswith("10le") == keeps_10_bit


@pytest.mark.parametrize("codec", CODEC_NAMES)
async def test_every_codec_takes_surround_sound(
    codec: str, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    await transcode(ffmpeg, local(clips.surround), codec, tmp_path / "output")
    found = found_in(tmp_path / "output")
    video, audio = MAKES[codec]
    assert (found.video, found.audio) == (video, "ac3" if audio == "mp2" else audio)
    assert found.channels is not None
    assert found.channels.startswith("5.1")


@pytest.mark.parametrize("codec", CODEC_NAMES)
async def test_every_codec_takes_a_source_without_sound(
    codec: str, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    await transcode(ffmpeg, local(clips.silent), codec, tmp_path / "output")
    found = found_in(tmp_path / "output")
    assert (found.video, found.audio) == (MAKES[codec][0], None)


async def test_a_name_that_looks_like_an_option_is_taken_for_a_file(
    ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = Path("-version: 100%d 'quoted' [brackets].mp4")
    source.write_bytes(clips.plain.read_bytes())
    await transcode(ffmpeg, local(source), "h264", Path("-y"))
    assert found_in(tmp_path / "-y").video == "h264"


# What is refused


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sound", "the source has sound only"),
        ("cover", "the source has sound with a cover picture"),
        ("junk", "the source is no media file"),
    ],
)
async def test_what_is_no_film_fails_in_one_plain_sentence(
    name: str, found: str, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    told = await failure_of(ffmpeg, local(getattr(clips, name)), tmp_path / "output")
    assert told == f"no video stream: {found}"


async def test_of_what_ffmpeg_says_only_the_last_lines_are_told(
    ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    lines = ("i=0; while [ $i -lt 9999 ]; do i=$((i+1)); echo line $i >&2; done", "exit 3")
    chatty = ffmpeg._replace(path=program(tmp_path / "ffmpeg", *lines))
    told = await failure_of(chatty, local(clips.plain), tmp_path / "output")
    last = [f"line {n}" for n in range(9992, 10_000)]
    assert told.splitlines() == ["ffmpeg failed (exit status 3):", *last]


async def test_an_ffmpeg_that_dies_of_a_signal_says_which(
    ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    killed = ffmpeg._replace(path=program(tmp_path / "ffmpeg", "kill -TERM $$"))
    told = await failure_of(killed, local(clips.plain), tmp_path / "output")
    assert told == "ffmpeg failed (SIGTERM):"


async def test_an_ffmpeg_that_writes_nothing_has_failed(
    ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    lazy = ffmpeg._replace(path=program(tmp_path / "ffmpeg"))
    told = await failure_of(lazy, local(clips.plain), tmp_path / "output")
    assert told == "ffmpeg ended well but told nothing of the source"


@pytest.mark.parametrize("name", ["concat", "playlist"])
async def test_a_local_file_can_not_draw_in_other_local_files(
    name: str, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    reference: Path = getattr(clips, name)
    disguised = tmp_path / "innocent.mp4"
    disguised.write_bytes(reference.read_bytes())
    for source in (reference, disguised):
        await failure_of(ffmpeg, local(source), tmp_path / "output")


@pytest.mark.parametrize("name", ["concat", "playlist"])
async def test_a_file_from_the_web_can_not_draw_in_local_files(
    name: str, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    reference: Path = getattr(clips, name)
    async with web(serving({f"/{reference.name}": reference})) as server:
        with pytest.raises(FfmpegError):
            await stream(ffmpeg, f"{server.url}/{reference.name}", tmp_path / "output")
        assert server.asked


async def test_a_redirect_can_not_draw_in_local_files(
    ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    redirect = Answer(302, headers={"Location": clips.plain.as_uri()})
    async with web(answering(redirect)) as server:
        with pytest.raises(FfmpegError):
            await stream(ffmpeg, f"{server.url}/clip.mp4", tmp_path / "output")
        assert server.asked


async def test_a_source_that_no_argument_can_hold_is_an_error(
    ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = Input("file:clip\0.mp4", FILE_PROTOCOLS)
    await failure_of(ffmpeg, source, tmp_path / "output")


# From the web


async def test_a_video_is_read_straight_from_a_web_server(
    ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    async with web(serving({"/plain.mp4": clips.plain})) as server:
        await stream(ffmpeg, f"{server.url}/plain.mp4", tmp_path / "output")
    assert found_in(tmp_path / "output").video == "h264"


async def test_a_playlist_is_read_with_its_segments(
    ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    segment = tmp_path / "segment.ts"
    await transcode(ffmpeg, local(clips.plain), "mpeg2", segment)
    async with web(serving({"/p.m3u8": playlist_of("s.ts"), "/s.ts": segment})) as server:
        await stream(ffmpeg, f"{server.url}/p.m3u8", tmp_path / "output")
    assert found_in(tmp_path / "output").video == "h264"


# How it ends


async def test_a_cancelled_transcode_returns_when_ffmpeg_has_ended(
    ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    told = tmp_path / "pid"
    ours = ffmpeg._replace(
        path=program(tmp_path / "ffmpeg", f"echo $$ > {told}", then=FFMPEG),
        sandbox=ffmpeg.sandbox._replace(readable=("/",)),
    )

    async def begun() -> str | None:
        return told.read_text() or None if told.exists() else None

    async with web(answering(Answer(body=b"\0", then_silence=True))) as server:
        run = asyncio.create_task(stream(ours, f"{server.url}/clip.mp4", tmp_path / "output"))
        pid = int(await eventually(begun))
        assert lives(pid)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert not lives(pid)


async def test_an_ffmpeg_that_will_not_end_is_killed(
    ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    told = tmp_path / "pid"
    deaf = program(
        tmp_path / "ffmpeg",
        "trap '' TERM",
        f"echo $$ > {told}.part && mv {told}.part {told}",
        "exec sleep 60",
    )
    run = asyncio.create_task(
        transcode(ffmpeg._replace(path=deaf), local(clips.plain), "h264", tmp_path / "output")
    )

    async def look() -> int | None:
        return int(told.read_text()) if told.exists() else None

    pid = await eventually(look)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert not lives(pid)
