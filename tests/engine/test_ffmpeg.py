"""Finding ffmpeg, and finding out what it can really do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import imageio_ffmpeg
import pytest

from dispatcher.engine.codecs import CODECS
from dispatcher.engine.containers import CONTAINERS, media_type_of
from dispatcher.engine.ffmpeg import Ffmpeg, FfmpegError, FfmpegMissingError, find_ffmpeg
from tests.support.engines import program
from tests.support.media import FFMPEG
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine

pytest_plugins = ["tests.support.engine_fixtures"]

REFUSING: Final = 'for word in "$@"; do case "$word" in {}) exit 1;; esac; done'

NO_FFMPEG: Final = (
    "found no ffmpeg, neither on PATH nor as a Python package; install one with "
    "`pip install 'transcoding-dispatcher[engine]'` or `apt-get install ffmpeg`, or name one with "
    "--ffmpeg"
)


def refusing(path: Path, *words: str) -> Path:
    """Make an ffmpeg that fails whenever one of these words is among its arguments."""
    return program(path, REFUSING.format("|".join(words)), then=FFMPEG)


# Finding it


def test_the_ffmpeg_that_is_named_is_used(tmp_path: Path) -> None:
    named = program(tmp_path / "my-ffmpeg")
    assert find_ffmpeg(str(named)) == named


def test_a_bare_name_is_looked_up_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = program(tmp_path / "my-ffmpeg")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_ffmpeg("my-ffmpeg") == named


def test_a_named_ffmpeg_that_is_missing_is_an_error_that_names_it(tmp_path: Path) -> None:
    missing = tmp_path / "no-ffmpeg"
    with pytest.raises(FfmpegMissingError) as told:
        find_ffmpeg(str(missing))
    assert str(told.value) == f"--ffmpeg {missing}: there is no such program"


def test_a_file_that_can_not_be_executed_is_no_program(tmp_path: Path) -> None:
    document = tmp_path / "ffmpeg"
    document.write_text("not a program")
    with pytest.raises(FfmpegMissingError, match="there is no such program"):
        find_ffmpeg(str(document))


def test_with_none_named_the_one_on_path_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path = program(tmp_path / "ffmpeg")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_ffmpeg() == on_path


def test_with_none_on_path_the_packaged_one_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_ffmpeg() == Path(imageio_ffmpeg.get_ffmpeg_exe())


def test_with_no_ffmpeg_at_all_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_there() -> str:
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", not_there)
    with pytest.raises(FfmpegMissingError) as told:
        find_ffmpeg()
    assert str(told.value) == NO_FFMPEG


def test_an_engine_without_the_extra_and_without_ffmpeg_says_which_command_installs_it(
    tmp_path: Path,
) -> None:
    code = (
        "import sys; sys.modules['imageio_ffmpeg'] = None; sys.argv[0] = 'dispatcher'; "
        "from dispatcher.cli import main; main()"
    )
    options = ["--work-dir", f"{tmp_path}/work", "--output", f"{tmp_path}/outputs"]
    ended = subprocess.run(
        [sys.executable, "-c", code, "engine", *options],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PATH": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"dispatcher: {NO_FFMPEG}\n"


# The table of codecs


def test_no_two_codecs_share_a_name() -> None:
    names = [name for codec in CODECS for name in codec.names]
    assert len(set(names)) == len(names)


def test_the_containers_have_suffixes_of_their_own() -> None:
    assert [it.name for it in CONTAINERS.values()] == list(CONTAINERS)
    assert media_type_of(".mkv") == "video/x-matroska"
    assert media_type_of(".unknown") == "application/octet-stream"


# Trying it


@pytest.mark.anyio
async def test_the_packaged_ffmpeg_can_encode_every_codec_of_the_table() -> None:
    packaged = await Ffmpeg.probe(FFMPEG)
    assert set(packaged.encoders) == {name for codec in CODECS for name in codec.names}


@pytest.mark.anyio
async def test_every_name_of_a_codec_means_the_same(ffmpeg: Ffmpeg) -> None:
    assert ffmpeg.encoders["h265"] == ffmpeg.encoders["hevc"]
    assert ffmpeg.encoders["mpeg2video"] == ffmpeg.encoders["mpeg2"]


@pytest.mark.anyio
async def test_an_encoder_that_fails_makes_room_for_the_next(tmp_path: Path) -> None:
    probed = await Ffmpeg.probe(refusing(tmp_path / "ffmpeg", "libsvtav1"))
    assert probed.encoders["av1"][1].name == "libaom-av1"


@pytest.mark.anyio
async def test_a_codec_none_of_whose_encoders_works_is_not_declared(tmp_path: Path) -> None:
    probed = await Ffmpeg.probe(refusing(tmp_path / "ffmpeg", "libx265", "libkvazaar", "libvpx"))
    assert not {"hevc", "h265", "vp8"} & set(probed.encoders)
    assert {"h264", "vp9"} <= set(probed.encoders)


@pytest.mark.anyio
async def test_a_codec_whose_audio_can_not_be_encoded_is_not_declared(tmp_path: Path) -> None:
    probed = await Ffmpeg.probe(refusing(tmp_path / "ffmpeg", "libopus"))
    assert not {"vp9", "av1"} & set(probed.encoders)
    assert {"h264", "vp8"} <= set(probed.encoders)


@pytest.mark.anyio
async def test_a_program_that_writes_no_file_has_not_shown_that_it_can_encode(
    tmp_path: Path,
) -> None:
    with pytest.raises(FfmpegMissingError, match="can encode none of the codecs"):
        await Ffmpeg.probe(program(tmp_path / "ffmpeg"))


@pytest.mark.anyio
async def test_an_ffmpeg_that_can_encode_nothing_is_an_error_that_names_it(tmp_path: Path) -> None:
    useless = refusing(tmp_path / "ffmpeg", "lavfi")
    with pytest.raises(FfmpegMissingError) as told:
        await Ffmpeg.probe(useless)
    assert str(told.value) == f"{useless} can encode none of the codecs that engines offer"


@pytest.mark.anyio
async def test_a_program_that_is_no_ffmpeg_is_an_error_that_names_it(tmp_path: Path) -> None:
    stranger = program(tmp_path / "stranger", "echo what is this? >&2", "exit 7")
    with pytest.raises((FfmpegMissingError, FfmpegError), match="what is this"):
        await Ffmpeg.probe(stranger)


@pytest.mark.anyio
async def test_an_ffmpeg_without_http_does_not_stream(tmp_path: Path) -> None:
    lines = (
        'case "$*" in *-protocols) printf "Input:\\n  file\\nOutput:\\n  http\\n"; exit;; esac',
    )
    probed = await Ffmpeg.probe(program(tmp_path / "ffmpeg", *lines, then=FFMPEG))
    assert not probed.streams


@pytest.mark.anyio
async def test_a_real_ffmpeg_streams(each_ffmpeg: Ffmpeg) -> None:
    assert each_ffmpeg.streams


@pytest.mark.anyio
async def test_the_benchmark_is_a_time_in_seconds_and_leaves_no_file(
    ffmpeg: Ffmpeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert await ffmpeg.benchmark() > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
async def test_an_ffmpeg_that_has_gone_since_is_an_error_that_names_it(
    ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    gone = tmp_path / "ffmpeg"
    shutil.copy(program(tmp_path / "copy"), gone)
    away = ffmpeg._replace(path=gone)
    gone.unlink()
    with pytest.raises(FfmpegError) as told:
        await away.benchmark()
    assert str(told.value).startswith(f"{gone} can't be started: ")
    assert "No such file" in str(told.value)
