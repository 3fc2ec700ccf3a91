"""Whether the end of a file shows that it was cut off, and what becomes of a decoder that fails."""

import logging
from pathlib import Path

import pytest

from dispatcher.cli.engine_notices import tell_of_checks
from dispatcher.engine.demuxers import media_demuxers
from dispatcher.engine.ends import cut_off, find_pyav
from dispatcher.engine.ffmpeg import Checks, Ffmpeg
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.sources import cut, make, make_mp4

pytest_plugins = ["tests.support.engine_fixtures"]


# The decoder in its own process


async def judged(
    ffmpeg: Ffmpeg, source: Path, pyav: Path | None, timeout_s: float = 30
) -> str | None:
    return await cut_off(
        str(source),
        format_="h264",
        pyav=pyav,
        demuxers=media_demuxers(ffmpeg.demuxers, playlists=False),
        sandbox=ffmpeg.sandbox,
        inherits=(),
        timeout_s=timeout_s,
    )


@pytest.fixture
def cut_film(tmp_path: Path) -> Path:
    """A raw stream, which declares nothing, cut in the middle."""
    path = tmp_path / "film.h264"
    make("-i", make_mp4(tmp_path / "film.mp4"), "-an", "-c", "copy", path)
    return cut(path, 0.6)


@pytest.mark.anyio
async def test_pyav_decodes_the_end(ffmpeg: Ffmpeg, cut_film: Path) -> None:
    why = await judged(ffmpeg, cut_film, find_pyav())
    assert why == "the last picture can't be decoded (Invalid data found when processing input)"
    assert await judged(ffmpeg, cut_film.with_name("film.mp4"), find_pyav()) is None


@pytest.mark.anyio
async def test_without_pyav_the_end_is_not_decoded(ffmpeg: Ffmpeg, cut_film: Path) -> None:
    assert await judged(ffmpeg, cut_film, None) is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    "code",
    [
        "import os; os.abort()",
        "raise RuntimeError",
        "print('something else')",
        "print('cut:' * 1_000_000, flush=True)",
        "import time; time.sleep(60)",
    ],
)
async def test_a_decoder_that_fails_blames_no_source(
    code: str, ffmpeg: Ffmpeg, cut_film: Path, tmp_path: Path
) -> None:
    package = tmp_path / "packages" / "av"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(code)
    timeout_s = 1 if "sleep" in code else 30
    assert await judged(ffmpeg, cut_film, package.parent, timeout_s) in {None, ""}


@pytest.mark.anyio
async def test_a_source_that_is_no_film_is_not_said_to_be_cut(
    ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"this was never a film\n" * 999)
    assert await judged(ffmpeg, junk, find_pyav()) is None
    assert await judged(ffmpeg, tmp_path / "none", find_pyav()) is None


# What the operator is told


@pytest.mark.parametrize(
    ("checks", "told"),
    [
        (Checks("packets", pyav=Path("/")), ""),
        (Checks("full", pyav=Path("/")), ""),
        (Checks("packets"), "the ends of sources are not decoded, as PyAV is not installed"),
        (Checks("full"), "the ends of sources are not decoded, as PyAV is not installed"),
        (Checks("none", pyav=Path("/")), "nothing is verified (--verify none)"),
    ],
)
def test_the_operator_is_told_what_is_not_verified(
    checks: Checks, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        tell_of_checks(checks, "engine")
    assert told in caplog.text
    assert bool(told) == bool(caplog.text)
