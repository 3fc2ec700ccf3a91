"""Small sources that are whole, and such as are not: made by ffmpeg, then cut and joined."""

import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.support.media import FFMPEG

__all__ = ["FAST_START", "GOOD", "SECONDS", "cut", "make", "make_good", "make_mp4"]

SECONDS: Final = 4
FILM: Final = (
    *("-f", "lavfi", "-i", f"testsrc2=s=64x48:r=25:d={SECONDS}"),
    *("-f", "lavfi", "-i", f"sine=d={SECONDS}"),
)
H264: Final = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-pix_fmt", "yuv420p")
CODED: Final = (*H264, "-g", "25", "-c:a", "aac")
FAST_START: Final = ("-movflags", "+faststart")


def make(*arguments: str | Path) -> None:
    """Run ffmpeg, which must end well."""
    made = subprocess.run(
        [FFMPEG, "-nostdin", "-v", "error", "-y", *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert made.returncode == 0, made.stderr


def make_mp4(path: Path) -> Path:
    """Make a film of four seconds, with sound, and its index in front."""
    path.write_bytes(_film())
    return path


@cache
def _film() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "film.mp4")
        make(*FILM, *CODED, *FAST_START, path)
        return path.read_bytes()


def cut(path: Path, part: float) -> Path:
    """Keep the first part of a file."""
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * part))
    return path


def _copied(film: Path, name: str, *arguments: str) -> Path:
    path = film.with_name(name)
    make("-i", film, "-c", "copy", *arguments, path)
    return path


def _joined(film: Path) -> Path:
    """Two recordings in one file: time begins anew in the middle."""
    path = _copied(film, "joined.ts")
    path.write_bytes(path.read_bytes() * 2)
    return path


def _joined_ahead(film: Path) -> Path:
    """Two recordings in one file: the second was made a quarter of an hour later."""
    path = _copied(film, "ahead.ts")
    later = _copied(film, "later.ts", "-output_ts_offset", "900")
    path.write_bytes(path.read_bytes() + later.read_bytes())
    return path


def _damaged(film: Path) -> Path:
    """A few bytes in the middle are wrong, as a bad disk or a weak signal leaves them."""
    path = _copied(film, "damaged.ts")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    return path


def _damaged_mp4(film: Path) -> Path:
    path = _copied(film, "damaged.mp4", *FAST_START)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(data)
    return path


def _edit_list(film: Path) -> Path:
    """Cut without encoding: the file has more than it shows, before the start and after the end."""
    path = film.with_name("edited.mp4")
    make("-ss", "1.3", "-i", film, "-t", "2", "-c", "copy", path)
    return path


def _variable_rate(film: Path) -> Path:
    path = film.with_name("vfr.mkv")
    dropped = "select='not(between(t,1,2.8))*not(mod(n*n,3))',setpts=PTS"
    make("-i", film, "-vf", dropped, "-fps_mode", "passthrough", *H264, "-c:a", "copy", path)
    return path


def _long_subtitles(film: Path) -> Path:
    words = film.with_name("words.srt")
    words.write_text(
        "1\n00:00:01,000 --> 00:00:02,000\nhere\n\n2\n00:00:08,000 --> 00:00:09,000\ngone\n"
    )
    path = film.with_name("subtitled.mkv")
    make("-i", film, "-i", words, "-map", "0", "-map", "1", "-c", "copy", path)
    return path


def _late_sound(film: Path) -> Path:
    path = film.with_name("late-sound.mkv")
    late = ("-itsoffset", "1.5", "-i", film)
    make("-i", film, *late, "-map", "0:v", "-map", "1:a", "-c", "copy", path)
    return path


def _late_pictures(film: Path) -> Path:
    path = film.with_name("late-pictures.mp4")
    late = ("-itsoffset", "1.5", "-i", film)
    make("-i", film, *late, "-map", "1:v", "-map", "0:a", "-c", "copy", path)
    return path


def _negative_start(film: Path) -> Path:
    path = film.with_name("negative.mkv")
    early = ("-output_ts_offset", "-1", "-avoid_negative_ts", "disabled")
    make("-i", film, "-c", "copy", *early, path)
    return path


def _short_sound(film: Path) -> Path:
    path = film.with_name("short-sound.mp4")
    make("-i", film, "-t", "2", "-i", film, "-map", "0:v", "-map", "1:a", "-c", "copy", path)
    return path


def _mid_gop(film: Path) -> Path:
    """A recording that begins between two key frames."""
    path = _copied(film, "mid-gop.ts")
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 5 // 188 * 188 :])
    return path


def _open_gops(film: Path) -> Path:
    path = film.with_name("open.ts")
    make("-i", film, "-c:v", "mpeg2video", "-bf", "2", "-g", "12", "-c:a", "mp2", path)
    return path


def _fragmented(film: Path) -> Path:
    return _copied(film, "fragments.mp4", "-movflags", "frag_keyframe+empty_moov")


def _unseekable_mkv(film: Path) -> Path:
    """As a recorder writes it that can't go back: no duration, no index."""
    return _copied(film, "live.mkv", "-live", "1", "-f", "matroska")


def _raw(film: Path) -> Path:
    return _copied(film, "raw.h264", "-an")


def _avi(film: Path) -> Path:
    path = film.with_name("old.avi")
    make("-i", film, "-c:v", "mpeg4", "-c:a", "mp2", path)
    return path


def _chapters_beyond(film: Path) -> Path:
    """Chapters that go on when the film is over: ffmpeg 5.1 takes their end for the film's."""
    told = film.with_name("chapters.txt")
    told.write_text(
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=1\n"
        "[CHAPTER]\nTIMEBASE=1/1\nSTART=1\nEND=3600\n"
    )
    path = film.with_name("chapters.mp4")
    maps = ("-map", "0", "-map_chapters", "1", "-c", "copy", *FAST_START)
    make("-i", film, "-i", told, *maps, path)
    return path


def _program_stream(film: Path) -> Path:
    path = film.with_name("program.mpg")
    make("-i", film, "-c:v", "mpeg2video", "-bf", "2", "-c:a", "mp2", path)
    return path


def _windows(film: Path) -> Path:
    path = film.with_name("windows.wmv")
    make("-i", film, "-c:v", "wmv2", "-c:a", "wmav2", path)
    return path


def _without_index(film: Path) -> Path:
    path = _avi(film)
    data = bytearray(path.read_bytes())
    del data[data.rindex(b"idx1") :]
    data[4:8] = (len(data) - 8).to_bytes(4, "little")
    path.write_bytes(data)
    return path


def _with_more_behind(film: Path) -> Path:
    path = _copied(film, "more.ts")
    path.write_bytes(path.read_bytes() + bytes(5_000))
    return path


def _sparse(film: Path) -> Path:
    """Two pictures in four seconds, as of slides."""
    path = film.with_name("slides.mp4")
    make("-i", film, "-r", "0.5", *H264, "-c:a", "copy", path)
    return path


def _long_sound(film: Path) -> Path:
    path = film.with_name("long-sound.mp4")
    make("-i", film, "-c:v", "copy", "-af", "apad=pad_dur=6", path)
    return path


GOOD: Final[dict[str, Callable[[Path], Path]]] = {
    "whole mp4": lambda film: film,
    "whole mkv": lambda film: _copied(film, "whole.mkv"),
    "whole ts": lambda film: _copied(film, "whole.ts"),
    "whole flv": lambda film: _copied(film, "whole.flv"),
    "whole avi": _avi,
    "whole mov": lambda film: _copied(film, "whole.mov"),
    "fragmented mp4": _fragmented,
    "mkv without duration": _unseekable_mkv,
    "raw stream": _raw,
    "joined ts": _joined,
    "joined ts that jumps ahead": _joined_ahead,
    "damaged ts": _damaged,
    "damaged mp4": _damaged_mp4,
    "edit list": _edit_list,
    "variable frame rate": _variable_rate,
    "subtitles that outlast the film": _long_subtitles,
    "late sound": _late_sound,
    "late pictures": _late_pictures,
    "negative start": _negative_start,
    "short sound": _short_sound,
    "recording from the middle of a GOP": _mid_gop,
    "open GOPs": _open_gops,
    "chapters that outlast the film": _chapters_beyond,
    "program stream": _program_stream,
    "windows media": _windows,
    "avi without index": _without_index,
    "something behind a ts": _with_more_behind,
    "slides": _sparse,
    "sound that outlasts the film": _long_sound,
}
"""Sources that are whole, however odd: each makes one from a film, beside it."""


def make_good(name: str, folder: Path) -> Path:
    """Make one of these in a folder."""
    return GOOD[name](make_mp4(folder / "film.mp4"))
