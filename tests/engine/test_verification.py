"""Nothing is complete that is not whole: sources that are cut, holed, broken off, and good ones."""

from pathlib import Path

import pytest

from dispatcher.engine.ffmpeg import (
    Checks,
    Ffmpeg,
    FfmpegError,
    Input,
    VerificationError,
)
from dispatcher.engine.sources import FILE_PROTOCOLS
from tests.support.media import found_in
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.sources import FAST_START, GOOD, cut, make, make_good, make_mp4

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio


def local(path: Path) -> Input:
    return Input(f"file:{path}", FILE_PROTOCOLS)


async def failure_of(ffmpeg: Ffmpeg, source: Path, codec: str = "mpeg4") -> FfmpegError:
    with pytest.raises(FfmpegError) as told:
        await ffmpeg.transcode(local(source), codec, source.with_name("output"))
    return told.value


# What is whole


@pytest.mark.parametrize("name", GOOD)
async def test_an_odd_source_that_is_whole_is_no_failure(
    name: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = make_good(name, tmp_path)
    await each_ffmpeg.transcode(local(source), "mpeg4", tmp_path / "output")
    assert found_in(tmp_path / "output").video == "mpeg4"


@pytest.mark.parametrize("verify", ["full", "none"])
async def test_whole_films_pass_whatever_is_verified(
    verify: str, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    ffmpeg = each_ffmpeg._replace(checks=Checks(verify=verify))  # type: ignore[arg-type]
    for name in ("whole mp4", "joined ts", "variable frame rate"):
        source = make_good(name, tmp_path)
        assert await ffmpeg.transcode(local(source), "h264", tmp_path / "output") is not None


async def test_what_was_wrong_with_a_source_that_is_whole_is_told(
    each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = make_good("damaged ts", tmp_path)
    remarks = await each_ffmpeg.transcode(local(source), "mpeg4", tmp_path / "output")
    assert any(remark.startswith("damaged packets or frames: ") for remark in remarks), remarks
    clean = make_mp4(tmp_path / "clean.mp4")
    assert await each_ffmpeg.transcode(local(clean), "mpeg4", tmp_path / "output") == []


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
