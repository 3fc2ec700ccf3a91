"""Films of many kinds, as cameras, recorders and encoders make them: three seconds each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.films import make

__all__ = ["KINDS", "Kind"]

_X264: Final = (
    *("-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-keyint_min", "10"),
    *("-sc_threshold", "0"),
)
_B: Final = ("-bf", "3", "-x264-params", "b-pyramid=normal")
_OPEN: Final = (
    *("-c:v", "libx264", "-preset", "ultrafast", "-bf", "3"),
    *("-x264-params", "open-gop=1:keyint=10:min-keyint=10:scenecut=0:b-adapt=0"),
)
_X265: Final = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params")
_X265_GOP: Final = "keyint=10:min-keyint=10:scenecut=0:log-level=error:bframes=3"
_VP9: Final = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "10")
_SVT: Final = ("-c:v", "libsvtav1", "-preset", "12", "-g", "10", "-svtav1-params", "scd=0")
_MPEG2: Final = ("-c:v", "mpeg2video", "-q:v", "3", "-g", "10", "-bf", "2")
_VFR: Final = (
    *("-vf", "select='mod(n\\,7)-3',setpts='PTS+mod(N*7\\,5)*0.006/TB'", "-fps_mode", "vfr"),
    *("-enc_time_base", "1:16000"),
)
_AAC: Final = ("-c:a", "aac")
_OPUS: Final = ("-c:a", "libopus")


class Kind(NamedTuple):
    """How a film is made: its name's suffix, options of its picture and of the whole."""

    suffix: str
    picture: tuple[str, ...]
    sound: tuple[str, ...] = _AAC
    rate: str = "25"
    before: tuple[str, ...] = ()
    late: tuple[str, ...] = ()

    def made_in(self, folder: Path, name: str) -> Path:
        """Make the film."""
        picture = f"testsrc2=s=96x64:r={self.rate}:d=3.2,noise=alls=6:allf=t:all_seed=1"
        return make(
            *(*self.late, "-f", "lavfi", "-i", picture),
            *("-f", "lavfi", "-i", "sine=f=440:d=3.2"),
            *("-pix_fmt", "yuv420p", *self.picture, *self.sound, *self.before),
            folder / f"{name}{self.suffix}",
        )


KINDS: Final[Mapping[str, Kind]] = {
    "h264 mp4": Kind(".mp4", (*_X264, *_B)),
    "h264 without B-frames": Kind(".mp4", (*_X264, "-bf", "0")),
    "h264 mkv": Kind(".mkv", (*_X264, *_B)),
    "h264 ts": Kind(".ts", (*_X264, *_B)),
    "h264 fragmented": Kind(
        ".mp4", (*_X264, *_B), before=("-movflags", "+frag_keyframe+empty_moov")
    ),
    "h264 NTSC": Kind(".mp4", (*_X264, *_B), rate="30000/1001"),
    "h264 NTSC ts": Kind(".ts", (*_X264, *_B), rate="30000/1001"),
    "h264 open GOP": Kind(".mp4", _OPEN),
    "h264 open GOP mkv": Kind(".mkv", _OPEN),
    "h264 open GOP ts": Kind(".ts", _OPEN),
    "h264 VFR": Kind(".mp4", (*_X264, *_B, *_VFR)),
    "h264 VFR mkv": Kind(".mkv", (*_X264, *_B, *_VFR)),
    "h264 VFR ts": Kind(".ts", (*_X264, *_B, *_VFR)),
    "h264 VFR open GOP": Kind(".mp4", (*_OPEN, *_VFR)),
    "h264 late picture": Kind(".mp4", (*_X264, *_B), late=("-itsoffset", "0.3")),
    "h264 late picture ts": Kind(".ts", (*_X264, *_B), late=("-itsoffset", "0.3")),
    "h264 offset ts": Kind(".ts", (*_X264, *_B), before=("-output_ts_offset", "50")),
    "h264 offset mkv": Kind(".mkv", (*_X264, *_B), before=("-output_ts_offset", "7")),
    "h264 Opus": Kind(".mkv", (*_X264, *_B), _OPUS),
    "h264 silent": Kind(".mp4", (*_X264, *_B), ("-an",)),
    "h264 intra refresh": Kind(
        ".mp4",
        ("-c:v", "libx264", "-preset", "fast", "-bf", "0", "-x264-params",
         "intra-refresh=1:keyint=10:scenecut=0"),
    ),
    "hevc": Kind(".mp4", (*_X265, f"{_X265_GOP}:open-gop=0")),
    "hevc open GOP": Kind(".mp4", (*_X265, f"{_X265_GOP}:open-gop=1")),
    "hevc open GOP ts": Kind(".ts", (*_X265, f"{_X265_GOP}:open-gop=1")),
    "hevc VFR": Kind(".mkv", (*_X265, f"{_X265_GOP}:open-gop=1", *_VFR)),
    "vp9": Kind(".webm", _VP9, _OPUS),
    "vp9 VFR": Kind(".webm", (*_VP9, *_VFR), _OPUS),
    "vp9 mp4": Kind(".mp4", _VP9),
    "av1": Kind(".mp4", _SVT),
    "av1 VFR": Kind(".webm", (*_SVT, *_VFR), _OPUS),
    "mpeg2 ts": Kind(".ts", _MPEG2, ("-c:a", "mp2")),
    "mpeg2 PS": Kind(".mpg", _MPEG2, ("-c:a", "mp2")),
    "mpeg4 avi": Kind(".avi", ("-c:v", "mpeg4", "-bf", "2", "-g", "10"), ("-c:a", "mp3")),
    "mjpeg": Kind(".mkv", ("-c:v", "mjpeg", "-q:v", "3")),
}  # fmt: skip
