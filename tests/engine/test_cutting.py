"""Where a clip ends: with its last frame and sample, whatever the source and its key frames."""

import subprocess
from pathlib import Path
from typing import Final

import pytest

from dispatcher.engine.cutting import WHOLE, Cut
from dispatcher.engine.ffmpeg import Ffmpeg, Input
from dispatcher.engine.ffmpeg_errors import VerificationError
from dispatcher.engine.messages import Messages
from dispatcher.engine.scan import PacketScan
from dispatcher.engine.sources import FILE_PROTOCOLS
from dispatcher.engine.transcoding import transcode
from dispatcher.engine.verification import check_output
from dispatcher.recipes import recipe_of
from tests.support.media import FFMPEG
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

FILM: Final = ("-f", "lavfi", "-i", "testsrc2=s=48x32:r=25:d=56", "-f", "lavfi", "-i", "sine=d=56")
UNEVEN: Final = ("-vf", "select='lt(mod(n,100),30)+not(mod(n,23))'", "-fps_mode", "vfr")
"""Some seconds have all frames, and some have one or two."""
EVEN: Final = [(46.3, 46.5), (45.1, 47.1), (35.0, 37.0), (2.0, 4.0)]
SPARSE: Final = [(45.1, 47.1), (2.02, 5.3)]


def ran(*arguments: str | Path, ffmpeg: Path = FFMPEG) -> bytes:
    command = [ffmpeg, "-hide_banner", "-nostdin", "-v", "error", "-y", *arguments]
    made = subprocess.run(command, capture_output=True, check=True, timeout=120)
    return made.stdout


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a film of each kind in each container, with sound."""
    folder = tmp_path_factory.mktemp("films")
    h264 = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-sc_threshold", "0")
    mpeg2 = ("-c:v", "mpeg2video", "-bf", "2", "-sc_threshold", "1000000000", "-c:a", "mp2")
    for kind, options in {
        "short": ("-g", "50", "-keyint_min", "50"),
        "long": ("-g", "400", "-keyint_min", "400"),
        "uneven": ("-g", "50", *UNEVEN),
    }.items():
        first = folder / f"{kind}.mp4"
        ran(*FILM, *h264, *options, "-c:a", "aac", first)
        for suffix in (".mkv", ".ts"):
            ran("-i", first, "-c", "copy", folder / f"{kind}{suffix}")
        if kind == "uneven":
            for suffix in ("mp4", "mkv", "ts"):
                ran("-i", first, "-c", "copy", "-an", folder / f"silent.{suffix}")
        else:
            ran("-i", first, *mpeg2, *options, "-f", "vob", folder / f"{kind}.mpg")
    return folder


def frames_of(film: Path, ffmpeg: Path) -> list[float]:
    """Return when each frame is shown, in seconds since the film began, as an ffmpeg has it."""
    shown = ("-map", "0:v", "-fps_mode", "passthrough", "-enc_time_base", "1:90000")
    sound = ("-map", "0:a?", "-f", "null", "-")  # the film may begin with it
    told = ran("-i", film, *shown, "-f", "framecrc", "-", *sound, ffmpeg=ffmpeg).decode()
    assert "#tb 0: 1/90000" in told
    lines = [line for line in told.splitlines() if not line.startswith("#")]
    return sorted(int(line.split(",")[2]) / 90_000 for line in lines)


@pytest.mark.parametrize(
    ("name", "clips"),
    [
        *((f"{kind}.{suffix}", EVEN) for kind in ("short", "long")
          for suffix in ("ts", "mpg", "mp4", "mkv")),
        *((f"uneven.{suffix}", SPARSE) for suffix in ("ts", "mp4", "mkv")),
        *((f"silent.{suffix}", SPARSE) for suffix in ("ts", "mp4", "mkv")),
    ],
)  # fmt: skip
async def test_a_clip_ends_with_its_last_frame_and_sound(
    name: str,
    clips: list[tuple[float, float]],
    each_ffmpeg: Ffmpeg,
    films: Path,
    tmp_path: Path,
) -> None:
    source = films / name
    shown, output = frames_of(source, each_ffmpeg.path), tmp_path / "output.mkv"
    for begins, ends in clips:
        recipe = recipe_of(
            {"clip": {"from": begins, "to": ends}, "container": "mkv", "audio": "flac"}
        )
        reading = Input(f"file:{source}", FILE_PROTOCOLS)
        await transcode(each_ffmpeg, reading, "h264", output, recipe=recipe)
        # A container with milliseconds rounds the times.
        wanted = [it for it in shown if begins - 0.0006 <= it < ends - 0.0006]
        assert len(frames_of(output, each_ffmpeg.path)) == len(wanted), (begins, ends)
        if name.startswith("silent"):
            continue
        sound = ran("-i", output, "-map", "0:a", "-ac", "1", "-ar", "10000", "-f", "u8", "-")
        assert abs(len(sound) / 10_000 - (ends - begins)) <= 0.03, (begins, ends)


def test_an_output_that_goes_on_after_its_clip_fails() -> None:
    said, of = Messages(), Messages()
    for told in (said, of):
        told.mapped = [(0, 0, 0)]
    cut = Cut(seek_s=10, run_up_s=30, length_s=2)
    source = scanned(49 * 25, cut)
    check_output(said, source, of, scanned(50), cut)
    with pytest.raises(VerificationError, match=r"too long .*: its video ends after 2\.4"):
        check_output(said, source, of, scanned(60), cut)


def scanned(frames: int, cut: Cut = WHOLE) -> PacketScan:
    scan = PacketScan(["0:v"], part_s=cut.part_s)
    scan.read("#tb 0: 1/25")
    scan.read("#media_type 0: video")
    for n in range(frames):
        scan.read(f"0, {n}, {n}, 1, 100, 0x1")
    return scan
