"""Small real clips, made by the real ffmpeg, and what ffmpeg finds in a file."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import imageio_ffmpeg

__all__ = ["FFMPEG", "Clips", "Found", "found_in", "make_clips", "make_long_clip", "playlist_of"]

FFMPEG: Final = Path(imageio_ffmpeg.get_ffmpeg_exe())
"""The ffmpeg of the tests: the packaged one, whatever else is on PATH."""
FFMPEG_TIMEOUT_S: Final = 60

PICTURE: Final = ("-f", "lavfi", "-i", "testsrc=s=96x64:r=25:d=0.4")
TONE: Final = ("-f", "lavfi", "-i", "sine=d=0.4")
SURROUND: Final = ("-f", "lavfi", "-i", "anoisesrc=d=0.4,aformat=channel_layouts=5.1(side)")

_VIDEO = re.compile(r"Stream #0:\d+.*: Video: (\w+).*?, (\w+)(?:\([^)]*\))?, (\d+x\d+)")
_AUDIO = re.compile(r"Stream #0:\d+.*: Audio: (\w+).*? Hz, ([^,]+)")


@dataclass(frozen=True)
class Clips:
    """Files to transcode, or to fail at."""

    plain: Path
    odd: Path
    ten_bit: Path
    surround: Path
    silent: Path
    sound: Path
    cover: Path
    junk: Path
    concat: Path
    playlist: Path


class Found(NamedTuple):
    """What ffmpeg says of a file; of video and audio the first stream."""

    video: str | None
    pixels: str | None
    size: str | None
    audio: str | None
    channels: str | None


def make_clips(folder: Path) -> Clips:
    """Make every clip anew."""
    clips = Clips(
        plain=folder / "plain.mp4",
        odd=folder / "odd.mkv",
        ten_bit=folder / "ten-bit.mkv",
        surround=folder / "surround.mkv",
        silent=folder / "silent.mkv",
        sound=folder / "sound.flac",
        cover=folder / "cover.flac",
        junk=folder / "junk.mp4",
        concat=folder / "concat.ffconcat",
        playlist=folder / "playlist.m3u8",
    )
    h264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac")
    # With its index in front, it can be streamed from any server.
    _ffmpeg(*PICTURE, *TONE, *h264, "-movflags", "+faststart", clips.plain)
    odd = ("-f", "lavfi", "-i", "testsrc=s=97x65:r=25:d=0.4")
    _ffmpeg(*odd, *TONE, "-c:v", "ffv1", "-pix_fmt", "yuv444p", "-c:a", "flac", clips.odd)
    _ffmpeg(
        *PICTURE, *TONE, "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", "-c:a", "flac", clips.ten_bit
    )
    _ffmpeg(*PICTURE, *SURROUND, "-c:v", "mpeg4", "-c:a", "flac", clips.surround)
    _ffmpeg(*PICTURE, "-c:v", "mpeg4", clips.silent)
    _ffmpeg(*TONE, "-c:a", "flac", clips.sound)
    picture = ("-frames:v", "1", "-c:v", "png", "-disposition:v", "attached_pic")
    _ffmpeg("-i", clips.sound, *PICTURE, "-map", "0", "-map", "1", *picture, clips.cover)
    clips.junk.write_bytes(b"this was never a video\n" * 100)
    clips.concat.write_text(f"ffconcat version 1.0\nfile '{clips.plain}'\n")
    clips.playlist.write_text(playlist_of(clips.plain.as_uri()))
    return clips


def make_long_clip(path: Path) -> Path:
    """Make a clip that is long enough to be watched on its way through ffmpeg."""
    picture = ("-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=60")
    _ffmpeg(*picture, "-c:v", "mpeg4", "-g", "25", "-b:v", "400k", path)
    return path


def playlist_of(*segments: str) -> str:
    """Write an HLS playlist."""
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n"
    return head + "".join(f"#EXTINF:0.4,\n{url}\n" for url in segments) + "#EXT-X-ENDLIST\n"


def found_in(path: Path) -> Found:
    """Ask ffmpeg what is in a file, and have it decode all of it, so that it must be playable."""
    decoding = _run("-hide_banner", "-xerror", "-i", path, "-f", "null", "-")
    assert decoding.returncode == 0, decoding.stderr
    told = decoding.stderr.partition("Stream mapping:")[0]
    video, audio = _VIDEO.search(told), _AUDIO.search(told)
    return Found(
        *(video.groups() if video else (None,) * 3), *(audio.groups() if audio else (None,) * 2)
    )


def _ffmpeg(*arguments: str | Path) -> None:
    made = _run("-v", "error", "-y", *arguments)
    assert made.returncode == 0, made.stderr


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FFMPEG, "-nostdin", *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=FFMPEG_TIMEOUT_S,
    )
