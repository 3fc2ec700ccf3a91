"""Fixtures of the engine's tests: a test module asks for them with `pytest_plugins`."""

import shutil
from pathlib import Path

import pytest

from dispatcher.engine.ffmpeg import Ffmpeg
from tests.support.media import FFMPEG, Clips, make_clips

__all__ = ["clips", "each_ffmpeg", "ffmpeg"]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Small real clips, made once."""
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
async def ffmpeg() -> Ffmpeg:
    """The packaged ffmpeg, probed once, with a quick codec first: that is benchmarked."""
    return await _with_a_quick_codec_first(FFMPEG)


@pytest.fixture(scope="session", params=["packaged", "installed"])
async def each_ffmpeg(request: pytest.FixtureRequest, ffmpeg: Ffmpeg) -> Ffmpeg:
    """The packaged ffmpeg, and the one that is installed on this machine, if there is one."""
    if request.param == "packaged":
        return ffmpeg
    if (installed := shutil.which("ffmpeg")) is None:
        pytest.skip("no ffmpeg is on PATH; run scripts/setup as root, or: apt-get install ffmpeg")
    return await _with_a_quick_codec_first(Path(installed))


async def _with_a_quick_codec_first(path: Path) -> Ffmpeg:
    probed = await Ffmpeg.probe(path)
    quick = {"mpeg4": probed.encoders["mpeg4"]}
    return probed._replace(encoders=quick | dict(probed.encoders))
