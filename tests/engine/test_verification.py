"""Nothing is complete that is not whole: sources that are cut, holed, broken off, and good ones."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from dispatcher.engine.ends import find_pyav
from dispatcher.engine.ffmpeg import (
    Checks,
    Ffmpeg,
    FfmpegError,
    FfmpegStalledError,
    Input,
    VerificationError,
)
from dispatcher.engine.source_errors import SourceError
from dispatcher.engine.sources import FILE_PROTOCOLS, STREAM_FROM_MB
from dispatcher.engine.transcoding import transcode
from tests.support.engines import ANYWHERE, program
from tests.support.media import found_in
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.sources import FAST_START, GOOD, cut, make, make_good, make_mp4
from tests.support.web import Answer, answering, serving, web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio


ENDLESS: Final = {
    "ts": ("-c", "copy"),
    "h264": ("-c", "copy", "-an"),
    "ogv": ("-c:v", "libtheora", "-c:a", "libvorbis"),
    "avi": ("-c:v", "mpeg4", "-c:a", "libmp3lame"),
    "mpg": ("-c:v", "mpeg2video", "-c:a", "mp2"),
    "dv": ("-target", "pal-dv", "-t", "1"),
    "y4m": ("-t", "1"),
    "gif": ("-an",),
    "obu": ("-c:v", "libsvtav1", "-preset", "12", "-an"),
    "ivf": ("-c:v", "libvpx", "-deadline", "realtime", "-an"),
    "wmv": ("-c:v", "wmv2", "-c:a", "wmav2"),
}
"""Formats that declare no duration, or that need not end when it is over."""


@pytest.fixture
def decoding(each_ffmpeg: Ffmpeg) -> Ffmpeg:
    """Each ffmpeg, in an engine that has PyAV."""
    return each_ffmpeg._replace(checks=Checks(pyav=find_pyav()))


def local(path: Path) -> Input:
    return Input(f"file:{path}", FILE_PROTOCOLS)


async def failure_of(ffmpeg: Ffmpeg, source: Path, codec: str = "mpeg4") -> FfmpegError:
    with pytest.raises(FfmpegError) as told:
        await transcode(ffmpeg, local(source), codec, source.with_name("output"))
    return told.value


# What is whole


@pytest.mark.parametrize("name", GOOD)
async def test_an_odd_source_that_is_whole_is_no_failure(
    name: str, decoding: Ffmpeg, tmp_path: Path
) -> None:
    source = make_good(name, tmp_path)
    await transcode(decoding, local(source), "mpeg4", tmp_path / "output")
    assert found_in(tmp_path / "output").video == "mpeg4"


@pytest.mark.parametrize("verify", ["full", "none"])
async def test_whole_films_pass_whatever_is_verified(
    verify: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    ffmpeg = each_ffmpeg._replace(checks=Checks(verify=verify))  # type: ignore[arg-type]
    for name in ("whole mp4", "joined ts", "variable frame rate"):
        source = make_good(name, tmp_path)
        assert await transcode(ffmpeg, local(source), "h264", tmp_path / "output") is not None


async def test_what_was_wrong_with_a_source_that_is_whole_is_told(
    each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = make_good("damaged ts", tmp_path)
    told = await transcode(each_ffmpeg, local(source), "mpeg4", tmp_path / "output")
    assert any(it.startswith("damaged packets or frames: ") for it in told.warnings), told
    clean = make_mp4(tmp_path / "clean.mp4")
    told = await transcode(each_ffmpeg, local(clean), "mpeg4", tmp_path / "output")
    assert told.warnings == ()


# What is not


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
async def test_a_source_that_was_cut_off_fails_and_says_how_much_is_missing(
    suffix: str, part: float, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = tmp_path / f"cut.{suffix}"
    quick = FAST_START if suffix in {"mp4", "mov"} else ()
    make("-i", make_mp4(tmp_path / "film.mp4"), "-c", "copy", *quick, source)
    error = await failure_of(each_ffmpeg, cut(source, part))
    assert isinstance(error, VerificationError)
    assert error.cause == "source_bad"
    assert str(error).startswith("the source ")
    if part < 0.9:
        assert " s of 4" in str(error)


async def test_a_film_whose_index_is_lost_with_its_end_fails(
    each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = tmp_path / "cut.mp4"
    make("-i", make_mp4(tmp_path / "film.mp4"), "-c", "copy", source)
    error = await failure_of(each_ffmpeg, cut(source, 0.9))
    assert error.cause == "source_bad"
    assert str(error).endswith("the source has no index: it was cut off, or is a picture (HEIF)")


async def test_a_hole_in_the_middle_fails(each_ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    source = tmp_path / "holed.ts"
    make("-i", make_mp4(tmp_path / "film.mp4"), "-c", "copy", source)
    data = source.read_bytes()
    packets = len(data) // 188
    source.write_bytes(data[: packets * 3 // 10 * 188] + data[packets * 7 // 10 * 188 :])
    error = await failure_of(each_ffmpeg, source)
    assert error.cause == "source_bad"
    assert "the source has a hole: 1." in str(error)


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
async def test_a_file_that_was_only_begun_in_the_room_kept_for_it_fails(
    suffix: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = tmp_path / f"begun.{suffix}"
    film = make_mp4(tmp_path / "film.mp4")
    make("-i", film, "-c:v", "mpeg2video", "-c:a", "mp2", source)
    data = source.read_bytes()
    part = len(data) * 6 // 10
    source.write_bytes(data[:part] + bytes(len(data) - part))
    error = await failure_of(each_ffmpeg, source)
    assert error.cause == "source_bad"
    assert re.search(r"cut off after [23]\.\d s: its last \d+ bytes are zeros", str(error))


async def test_pictures_that_can_not_be_decoded_are_told(
    each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = make_mp4(tmp_path / "film.mp4")
    data = bytearray(source.read_bytes())
    data[len(data) * 4 // 10 : len(data) * 6 // 10] = bytes(len(data) // 5)
    source.write_bytes(data)
    told = (await transcode(each_ffmpeg, local(source), "mpeg4", tmp_path / "output")).warnings
    assert any(re.match(r"pictures that could not be decoded: 2\d of 100", it) for it in told)


async def test_without_verification_a_cut_source_passes(
    each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = cut(make_mp4(tmp_path / "film.mp4"), 0.6)
    ffmpeg = each_ffmpeg._replace(checks=Checks(verify="none"))
    await transcode(ffmpeg, local(source), "mpeg4", tmp_path / "output")


@pytest.mark.parametrize(("suffix", "codecs"), ENDLESS.items())
@pytest.mark.parametrize("part", [0.31, 0.62, 0.97])
async def test_a_cut_source_is_known_by_its_end(
    suffix: str, codecs: tuple[str, ...], part: float, decoding: Ffmpeg, tmp_path: Path
) -> None:
    source = tmp_path / f"cut.{suffix}"
    make("-i", make_mp4(tmp_path / "film.mp4"), *codecs, source)
    error = await failure_of(decoding, cut(source, part))
    assert error.cause == "source_bad"
    assert re.match(r"the source (was cut off|ends|is not whole)", str(error))


# Servers


async def stream(ffmpeg: Ffmpeg, url: str, output: Path) -> None:
    opening = ANYWHERE.opened(url, STREAM_FROM_MB, output.parent, streams=True)
    async with opening as source:
        assert source.proxy_port is not None
        await transcode(ffmpeg, source, "mpeg4", output)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "flv"])
@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
async def test_a_server_that_breaks_off_is_away(
    suffix: str, chunked: bool, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = tmp_path / f"film.{suffix}"
    made = make_mp4(tmp_path / "made.mp4")
    make("-i", made, "-c", "copy", *(FAST_START if suffix == "mp4" else ()), source)
    data = source.read_bytes()
    half = data[: len(data) * 6 // 10]
    if chunked:
        body = b"%x\r\n" % len(half) + half + b"\r\n"
        answer = Answer(body=body, headers={"Transfer-Encoding": "chunked"})
    else:
        answer = Answer(body=half, length=len(data))
    async with web(answering(answer)) as server:
        with pytest.raises((FfmpegError, SourceError)) as told:
            await stream(each_ffmpeg, f"{server.url}/film.{suffix}", tmp_path / "output")
    assert told.value.cause == "source_away"  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", ["mkv", "ts"])
async def test_a_server_that_goes_silent_is_away(
    suffix: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = tmp_path / f"film.{suffix}"
    make("-i", make_mp4(tmp_path / "made.mp4"), "-c", "copy", source)
    data = source.read_bytes()
    ffmpeg = each_ffmpeg._replace(checks=Checks(stall_s=1.5))
    silent = Answer(body=data[: len(data) * 6 // 10], then_silence=True)
    async with web(answering(silent)) as server:
        with pytest.raises(FfmpegStalledError) as told:
            await stream(ffmpeg, f"{server.url}/film.{suffix}", tmp_path / "output")
    assert str(told.value) == "ffmpeg has stalled: nothing new for 1.5 s (--stall-s)"
    assert told.value.cause == "source_away"


@pytest.mark.parametrize("missing", [None, 0, 1, 3])
async def test_a_playlist_is_whole_only_with_all_its_segments(
    missing: int | None, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    made = make_mp4(tmp_path / "made.mp4")
    make("-i", made, "-c", "copy", "-hls_time", "1", "-hls_list_size", "0", tmp_path / "film.m3u8")
    names = ["film.m3u8", *(f"film{n}.ts" for n in range(4) if n != missing)]
    files: dict[str, Path | str | Answer] = {f"/{name}": tmp_path / name for name in names}
    async with web(serving(files)) as server:
        url = f"{server.url}/film.m3u8"
        if missing is None:
            await stream(each_ffmpeg, url, tmp_path / "output")
            return
        with pytest.raises(FfmpegError) as told:
            await stream(each_ffmpeg, url, tmp_path / "output")
    assert told.value.cause == "source_away"


async def test_a_chunked_answer_that_is_whole_passes(each_ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    source = tmp_path / "film.ts"
    make("-i", make_mp4(tmp_path / "made.mp4"), "-c", "copy", source)
    data = source.read_bytes()
    sizes = (1, 7, 50_000)
    body = b""
    for size in sizes:
        body += b"%x;name=value\r\n" % len(data[:size]) + data[:size] + b"\r\n"
        data = data[size:]
    body += (b"%X\r\n" % len(data) + data + b"\r\n") if data else b""
    whole = Answer(body=body + b"0\r\nA: b\r\n\r\n", headers={"Transfer-Encoding": "chunked"})
    async with web(answering(whole)) as server:
        await stream(each_ffmpeg, f"{server.url}/film.ts", tmp_path / "output")


# The output


@contextmanager
def small_disk(path: Path, size_kb: int) -> Iterator[Path]:
    """Mount a small disk, which only root may."""
    path.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size_kb}k", "small", str(path)]
    mounted = subprocess.run(["mount", *options], capture_output=True, check=False, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.mark.parametrize("codec", ["h264", "vp8", "ffv1", "mpeg2"])
@pytest.mark.parametrize("verify", ["packets", "full"])
async def test_a_full_disk_is_the_engines_fault(
    codec: str, verify: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = make_mp4(tmp_path / "film.mp4")
    ffmpeg = each_ffmpeg._replace(checks=Checks(verify=verify))  # type: ignore[arg-type]
    with small_disk(tmp_path / "disk", 8) as disk, pytest.raises(FfmpegError) as told:
        await transcode(ffmpeg, local(source), codec, disk / "output")
    assert told.value.cause == "engine"


async def test_an_output_that_ends_before_its_source_fails(
    each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = make_mp4(tmp_path / "film.mp4")
    # Of the two outputs of one run, the first, which is the film, is ended after two seconds.
    words = (
        'set -- "$@" END',
        'while [ "$1" != END ]; do case "$1" in -f) [ "$2" = mp4 ] && set -- "$@" -t 2;; esac',
        'set -- "$@" "$1"; shift; done; shift',
    )
    short = each_ffmpeg._replace(
        path=program(tmp_path / "ffmpeg", *words, then=each_ffmpeg.path),
        sandbox=each_ffmpeg.sandbox._replace(readable=("/",)),
    )
    error = await failure_of(short, source)
    assert str(error) == "the output is not whole: its video ends after 2 s of 4 s"
    assert error.cause == "engine"


# Which stream is the film


@pytest.mark.parametrize("codec", ["mjpeg", "png"])
@pytest.mark.parametrize("suffix", ["mkv", "mov"])
async def test_a_still_picture_that_comes_first_is_not_the_film(
    codec: str, suffix: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = tmp_path / f"picture-first.{suffix}"
    picture = ("-f", "lavfi", "-i", "color=red:s=320x240:r=25:d=0.04")
    film = make_mp4(tmp_path / "film.mp4")
    maps = ("-map", "0:v", "-map", "1:v", "-map", "1:a")
    make(*picture, "-i", film, *maps, "-c", "copy", "-c:v:0", codec, source)
    await transcode(each_ffmpeg, local(source), "mpeg4", tmp_path / "output")
    assert found_in(tmp_path / "output").size == "64x48"


async def test_of_two_films_the_first_is_taken(each_ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    source = tmp_path / "two.mkv"
    film = make_mp4(tmp_path / "film.mp4")
    second = ("-f", "lavfi", "-i", "testsrc=s=32x32:r=50:d=4")
    make("-i", film, *second, "-map", "0", "-map", "1", "-c:v:1", "mpeg4", "-c:a", "copy", source)
    await transcode(each_ffmpeg, local(source), "mpeg4", tmp_path / "output")
    assert found_in(tmp_path / "output").size == "64x48"


# What ffmpeg prints, and when it prints nothing


async def test_however_much_ffmpeg_prints_little_is_kept(ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    source = make_mp4(tmp_path / "film.mp4")
    flood = (
        """awk 'BEGIN { while (i++ < 300000) print "[error] no end of it" }' >&2""",
        "exit 3",
    )
    chatty = ffmpeg._replace(path=program(tmp_path / "ffmpeg", *flood))
    error = await failure_of(chatty, source)
    told = ["ffmpeg failed (exit status 3):", *["no end of it"] * 8]
    assert str(error).splitlines() == told


async def test_a_line_without_end_is_read_and_not_kept(ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    source = make_mp4(tmp_path / "film.mp4")
    flood = ("printf 'word ' >&2", "head -c 30000000 /dev/zero | tr '\\0' x >&2", "exit 3")
    chatty = ffmpeg._replace(path=program(tmp_path / "ffmpeg", *flood))
    error = await failure_of(chatty, source)
    assert str(error).splitlines() == ["ffmpeg failed (exit status 3):", "word"]


async def test_an_ffmpeg_that_repeats_itself_has_stalled(ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    source = make_mp4(tmp_path / "film.mp4")
    spin = (
        f'case "$*" in *progress*) ;; *) exec {ffmpeg.path} "$@";; esac',
        "while :; do echo out_time_us=1000000; echo '[error] again' >&2; sleep 0.05; done",
    )
    spinning = ffmpeg._replace(
        path=program(tmp_path / "ffmpeg", *spin),
        sandbox=ffmpeg.sandbox._replace(readable=("/",)),
        checks=Checks(stall_s=1),
    )
    error = await failure_of(spinning, source)
    assert isinstance(error, FfmpegStalledError)
    assert error.cause == "unknown"
