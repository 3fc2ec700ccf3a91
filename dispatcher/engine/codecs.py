"""The table of codecs, with the arguments of ffmpeg for each.

To add a codec, add a row. `Ffmpeg.probe` tries each row to find out what an ffmpeg can really
encode. It uses the first encoder of a row that works.
"""

from typing import Final

import msgspec

__all__ = ["CODECS", "Codec", "Encoder", "media_type_of"]


class Encoder(msgspec.Struct, frozen=True):
    """An ffmpeg encoder, with options for good quality at a reasonable speed."""

    name: str
    options: tuple[str, ...] = ()


class Codec(msgspec.Struct, frozen=True):
    """A video codec with the container and audio that go with it.

    `names` are the names that jobs may use for it. `pixels` are the pixel formats that players
    accept. `muxer` and `suffix` describe the container.
    """

    names: tuple[str, ...]
    encoders: tuple[Encoder, ...]
    pixels: str
    muxer: str
    suffix: str
    media_type: str
    audio: tuple[str, ...]
    container_options: tuple[str, ...] = ()


_AAC: Final = ("-c:a", "aac", "-b:a", "160k")
# libopus refuses some channel layouts of decoders, such as 5.1(side). It accepts these.
_OPUS: Final = (
    "-c:a",
    "libopus",
    "-b:a",
    "128k",
    "-af",
    "aformat=channel_layouts=7.1|5.1|stereo|mono",
)
_VORBIS: Final = ("-c:a", "libvorbis", "-q:a", "5")
_FAST_START: Final = ("-movflags", "+faststart")
_8_BIT: Final = "yuv420p"
_8_OR_10_BIT: Final = "yuv420p|yuv420p10le"

CODECS: Final = (
    Codec(
        ("h264",),
        (
            Encoder("libx264", ("-preset", "medium", "-crf", "23")),
            Encoder("libopenh264", ("-b:v", "4M")),
        ),
        _8_BIT, "mp4", ".mp4", "video/mp4", _AAC, _FAST_START,
    ),
    Codec(
        ("hevc", "h265"),
        (
            Encoder("libx265", ("-preset", "medium", "-crf", "28", "-x265-params",
                                "log-level=error")),
            Encoder("libkvazaar"),
        ),
        # Apple's players want the tag hvc1.
        _8_OR_10_BIT, "mp4", ".mp4", "video/mp4", _AAC, ("-tag:v", "hvc1", *_FAST_START),
    ),
    Codec(
        ("vp8",),
        (Encoder("libvpx", ("-b:v", "2M", "-crf", "10", "-deadline", "good", "-cpu-used", "2")),),
        _8_BIT, "webm", ".webm", "video/webm", _VORBIS,
    ),
    Codec(
        ("vp9",),
        (Encoder("libvpx-vp9", ("-b:v", "0", "-crf", "32", "-deadline", "good", "-cpu-used", "3",
                                "-row-mt", "1")),),
        _8_OR_10_BIT, "webm", ".webm", "video/webm", _OPUS,
    ),
    Codec(
        ("av1",),
        (
            Encoder("libsvtav1", ("-preset", "8", "-crf", "35")),
            Encoder("libaom-av1", ("-b:v", "0", "-crf", "32", "-cpu-used", "6", "-row-mt", "1")),
            Encoder("librav1e", ("-qp", "100", "-speed", "8")),
        ),
        _8_OR_10_BIT, "webm", ".webm", "video/webm", _OPUS,
    ),
    Codec(
        ("mpeg4",), (Encoder("mpeg4", ("-q:v", "4")),),
        _8_BIT, "mp4", ".mp4", "video/mp4", _AAC, _FAST_START,
    ),
    Codec(
        ("mpeg2", "mpeg2video"), (Encoder("mpeg2video", ("-q:v", "4")),),
        _8_BIT, "mpegts", ".ts", "video/mp2t", ("-c:a", "mp2", "-b:a", "256k"),
    ),
    Codec(
        ("theora",), (Encoder("libtheora", ("-q:v", "7")),),
        _8_BIT, "ogg", ".ogv", "video/ogg", _VORBIS,
    ),
    Codec(
        ("prores",), (Encoder("prores_ks", ("-profile:v", "standard")),),
        "yuv422p10le", "mov", ".mov", "video/quicktime", ("-c:a", "pcm_s16le"),
    ),
    Codec(
        ("ffv1",), (Encoder("ffv1", ("-level", "3", "-slicecrc", "1")),),
        "yuv420p|yuv422p|yuv444p|yuv420p10le|yuv422p10le|yuv444p10le",
        "matroska", ".mkv", "video/x-matroska", ("-c:a", "flac"),
    ),
)  # fmt: skip


def media_type_of(suffix: str) -> str:
    """Return the media type of an output, by the suffix of its name."""
    found = (codec.media_type for codec in CODECS if codec.suffix == suffix)
    return next(found, "application/octet-stream")
