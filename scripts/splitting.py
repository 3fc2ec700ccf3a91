"""Measure how exact films are that were split and joined, for the table in docs/splitting.md.

    .venv/bin/python scripts/splitting.py [--ffmpeg PATH] [--write]

It makes films of three seconds, splits each into segments of about a second, transcodes these and
the rest as engines do, joins them, and compares the result with a whole encode of the same film.
With `--write` the table in docs/splitting.md is replaced.
"""

import argparse
import asyncio
import subprocess
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from msgspec.structs import replace

from dispatcher.engine.encoding import rest_container
from dispatcher.engine.ffmpeg import Ffmpeg, Input, find_ffmpeg
from dispatcher.engine.joining import Made, join
from dispatcher.engine.parts import plan_for, transcode_segment
from dispatcher.engine.sources import FILE_PROTOCOLS
from dispatcher.engine.transcoding import transcode
from dispatcher.recipes import recipe_of
from dispatcher.segments import Segment

PAGE: Final = Path(__file__).parent.parent / "docs" / "splitting.md"
BEGINS, ENDS = "<!-- splitting -->\n", "<!-- end of splitting -->\n"
CODECS: Final = ("h264", "hevc", "av1", "vp9")
GOP: Final = ("-g", "10", "-keyint_min", "10", "-sc_threshold", "0")
X264: Final = ("-c:v", "libx264", "-preset", "ultrafast", "-x264-params")
X265: Final = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params")
PARAMS: Final = "keyint=10:min-keyint=10:scenecut=0"
CLOSED: Final[Mapping[str, tuple[str, ...]]] = {
    "h264": (*X264, f"{PARAMS}:bframes=0"),
    "hevc": (*X265, f"{PARAMS}:open-gop=0:bframes=0:log-level=error"),
    "av1": ("-c:v", "libsvtav1", "-preset", "12", "-g", "10"),
    "vp9": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "10"),
}
VFR: Final = (
    *("-vf", "select='mod(n\\,7)-3',setpts='PTS+mod(N*7\\,5)*0.006/TB'", "-fps_mode", "vfr"),
    *("-enc_time_base", "1:16000"),
)


class Kind(NamedTuple):
    """A kind of source: the options of its picture and its sound, and its suffix."""

    picture: tuple[str, ...]
    sound: tuple[str, ...] = ("-c:a", "pcm_s16le")
    suffix: str = ".mkv"
    late: tuple[str, ...] = ()


def kinds(codec: str) -> dict[str, Kind]:
    """Return the kinds of sources of a codec; those of AV1 and VP9 have neither GOPs nor B-frames.

    Their films in the last kinds are H.264.
    """
    frames = f"{PARAMS}:bframes=3:b-adapt=0"
    of_h264 = codec != "hevc"
    x26x = X264 if of_h264 else X265
    quiet = "" if of_h264 else ":log-level=error"
    return {
        "CFR": Kind(CLOSED[codec]),
        "VFR": Kind((*CLOSED[codec], *VFR)),
        "open GOP": Kind((*x26x, f"{frames}:open-gop=1{quiet}")),
        "B-frames": Kind((*x26x, f"{frames}:open-gop=0{quiet}"), suffix=".mp4",
                         sound=("-c:a", "aac")),
        "sound with priming, picture late": Kind(
            (*x26x, f"{frames}:open-gop=0{quiet}"), ("-c:a", "aac"), ".mp4", ("-itsoffset", "0.3")
        ),
    }  # fmt: skip


def ran(ffmpeg: Path, *arguments: str | Path) -> str:
    """Run ffmpeg and return what it prints."""
    command = [ffmpeg, "-hide_banner", "-nostdin", "-v", "error", "-y", *arguments]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


class Times(NamedTuple):
    """When each picture is shown, and when sound begins, in seconds."""

    pictures: list[Fraction]
    sound: Fraction

    @property
    def offset_s(self) -> Fraction:
        """How much later sound begins than the picture."""
        return self.sound - self.pictures[0]


def times_in(ffmpeg: Path, film: Path) -> Times:
    """Read the times of a film as they stand in it; those of sound are of what is heard."""
    told = ran(
        ffmpeg,
        *("-copyts", "-i", str(film), "-map", "0:V:0", "-map", "0:a:0"),
        *("-c:v", "copy", "-c:a", "pcm_s16le", "-f", "framecrc", "-"),
    )
    ticks, times = dict[str, Fraction](), dict[str, list[Fraction]]({"0": [], "1": []})
    for line in told.splitlines():
        if line.startswith("#tb "):
            ticks[line[4]] = Fraction(line.split()[-1])
        elif not line.startswith("#"):
            stream, _, pts, *_ = line.split(",")
            times[stream].append(int(pts) * ticks[stream])
    return Times(sorted(times["0"]), times["1"][0])


async def measure(ffmpeg: Ffmpeg, folder: Path, codec: str, name: str, kind: Kind) -> str:
    """Split and join one film, and return a row of the table."""
    film = folder / f"film{kind.suffix}"
    ran(
        ffmpeg.path,
        *kind.late,
        *("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=3.2"),
        *("-f", "lavfi", "-i", "sine=d=3.2", "-pix_fmt", "yuv420p"),
        *kind.picture,
        *kind.sound,
        film,
    )
    source, recipe = Input(f"file:{film}", FILE_PROTOCOLS), recipe_of({"split_s": 1}, codec)
    plain = replace(recipe, split_s=None)
    container = ffmpeg.target(codec, plain).container
    plan = await plan_for(ffmpeg, source, codec, folder, recipe)
    segments, rest = list[tuple[Segment, Path]](), None
    for part in plan.parts:
        if isinstance(part, Segment):
            path = folder / f"segment-{part.number}.mp4"
            await transcode_segment(ffmpeg, source, codec, part, path, recipe=plain)
            segments.append((part, path))
        else:
            rest = folder / f"rest{rest_container(container).suffix}"
            await transcode(ffmpeg, source, codec, rest, recipe=plain, is_rest=True)
    joined, whole = (folder / f"{it}{container.suffix}" for it in ("joined", "whole"))
    await join(ffmpeg, source, codec, Made(segments, rest), joined, recipe=plain)
    await transcode(ffmpeg, source, codec, whole, recipe=plain)
    of_source, made, as_one = (times_in(ffmpeg.path, it) for it in (film, joined, whole))
    off_s = max(
        abs((it - made.pictures[0]) - (wanted - of_source.pictures[0]))
        for it, wanted in zip(made.pictures, of_source.pictures, strict=False)
    )
    apart_s = abs(made.offset_s - as_one.offset_s)
    return (
        f"| {codec} | {name} | {len(segments)} | {len(of_source.pictures)} | {len(made.pictures)} "
        f"| {float(off_s) * 1_000:.3f} ms | {float(apart_s) * 1_000:.3f} ms |"
    )


async def table(ffmpeg: Ffmpeg) -> list[str]:
    """Return the lines of the table."""
    lines = [
        "| codec | source | segments | source frames | output frames | time off | A/V offset off |",
        "|---|---|---|---|---|---|---|",
    ]
    for codec in CODECS:
        for name, kind in kinds(codec).items():
            with TemporaryDirectory() as folder:
                lines.append(await measure(ffmpeg, Path(folder), codec, name, kind))
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Print the table, and put it into the page if that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ffmpeg")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()

    async def measured() -> tuple[str, list[str]]:
        ffmpeg = await Ffmpeg.probe(find_ffmpeg(options.ffmpeg))
        return (ffmpeg.version or "ffmpeg").split(" Copyright")[0], await table(ffmpeg)

    version, lines = asyncio.run(measured())
    if options.write:
        before, _, rest = PAGE.read_text().partition(BEGINS)
        _, _, after = rest.partition(ENDS)
        told = f"Measured by `scripts/splitting.py` with {version}:\n\n" + "\n".join(lines)
        PAGE.write_text(f"{before}{BEGINS}\n{told}\n\n{ENDS}{after}")


if __name__ == "__main__":
    main()
