"""Fixtures of the engine's tests: a test module asks for them with `pytest_plugins`."""

import pytest

from dispatcher.engine.ffmpeg import Ffmpeg, find_ffmpeg
from tests.support.media import Clips, make_clips

__all__ = ["clips", "ffmpeg"]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Small real clips, made once."""
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
async def ffmpeg() -> Ffmpeg:
    """The ffmpeg of this machine, probed once, with a quick codec first: that is benchmarked."""
    probed = await Ffmpeg.probe(find_ffmpeg())
    quick = {"mpeg4": probed.encoders["mpeg4"]}
    return probed._replace(encoders=quick | dict(probed.encoders))
