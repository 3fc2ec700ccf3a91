"""The demuxers that a source may be read with.

Each reads one file that holds a film or its sound. On no list are demuxers that draw in other
files or addresses (concat, playlists, image sequences), take a single picture, render text or run
scripts (tty, ASCII art, trackers), or take anything for a film (raw samples, devices). What is not
listed is refused, so that a new ffmpeg brings nothing unseen.
"""

from collections.abc import Iterable, Sequence
from typing import Final

__all__ = ["media_demuxers"]

_CONTAINERS: Final = (
    "3gp asf asf_o avi caf cine dhav dv flv gxf iff ivf ivr kux lmlm4 lxf matroska mlv mov "
    "mp4 mpeg mpegts mtv mv mxf nsv nut nuv ogg pva r3d rm ser simbiosis_imx smjpeg "
    "ty webm wtv yuv4mpegpipe"
)
_VIDEO: Final = (
    "apng apv av1 avs2 avs3 cavsvideo dirac dnxhd evc gif h261 h263 h264 hevc ingenient ipu m4v "
    "mjpeg mjpeg_2000 mpegvideo mpjpeg obu pdv vc1 vc1test vvc webp_anim"
)
# ffmpeg takes a stream of pictures, as cameras write it, for these.
_PICTURES: Final = "jpeg_pipe j2k_pipe"
_SOUND: Final = (
    "aac ac3 ac4 aiff amr ape au daud dsf dts dtshd eac3 flac iamf loas mlp mp3 mpc mpc8 oma "
    "s337m sox spdif tak truehd tta voc w64 wav wsd wv"
)
_MEDIA: Final = frozenset(f"{_CONTAINERS} {_VIDEO} {_PICTURES} {_SOUND}".split())
# These open what they name. From the web that goes through the proxy, which judges it.
_PLAYLISTS: Final = frozenset({"hls", "dash", "webvtt"})


def media_demuxers(known: Iterable[str], *, playlists: bool) -> Sequence[str]:
    """Return those of an ffmpeg's demuxers that a source may be read with, for its whitelist.

    `known` are the names as `ffmpeg -demuxers` tells them; one may be several, such as `mov,mp4`.
    """
    allowed = _MEDIA | _PLAYLISTS if playlists else _MEDIA
    return [name for entry in known for name in entry.split(",") if name in allowed]
