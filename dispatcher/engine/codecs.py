"""The table of codecs, with the arguments of ffmpeg for each.

To add a codec, add a row. `Ffmpeg.probe` tries each row to find out what an ffmpeg can really
encode. It uses the first encoder of a row that works. docs/media.md gives the reasons.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["CODECS", "Codec", "Container", "Encoder", "SoundCodec", "media_type_of"]


class Encoder(msgspec.Struct, frozen=True):
    """An ffmpeg encoder, with options for good quality at a reasonable speed.

    `pixels` are the pixel formats to choose from; with none, the encoder takes what comes. An
    `even` encoder needs an even width and height. `ticks` are the parts of a second in which it
    tells the time of a frame; 0 if all frames must be equally long. `shapes` are the shapes of a
    picture, width to height, that it can tell of pixels that are no squares; `None` for any.
    `for_pixels` are options that single pixel formats need. `params` go to the library itself, by
    the option of that name. `least` is the least width and height that it takes. `note` says what
    is worse than with the first encoder of the row.
    """

    name: str
    options: tuple[str, ...] = ()
    pixels: tuple[str, ...] = ("yuv420p",)
    even: bool = True
    ticks: int = 90_000
    shapes: frozenset[float] | None = None
    for_pixels: Mapping[str, tuple[str, ...]] = {}
    params: tuple[str, str] | None = None
    least: int = 0
    note: str = ""


class SoundCodec(msgspec.Struct, frozen=True):
    """An encoder of sound, and the channel layouts that come out of it as they went in.

    Without `layouts`, all do that have at most `most_channels`. `channel_kbps` is the bit rate
    for each channel; 0 if it is lossless or set by its quality. `filters` come before it.
    """

    encoder: str
    options: tuple[str, ...] = ()
    layouts: frozenset[str] | None = None
    most_channels: int = 8
    channel_kbps: int = 0
    filters: tuple[str, ...] = ()


class Container(msgspec.Struct, frozen=True):
    """The file that a codec's output is in.

    Of `sound`, the first that has all channels of a stream is taken. `text` is the codec of
    subtitles that are text, "" if there can be none. `copies` are the codecs of subtitles and
    attachments that are kept as they are.
    """

    muxer: str
    suffix: str
    media_type: str
    sound: tuple[SoundCodec, ...]
    text: str = ""
    copies: frozenset[str] = frozenset()
    has_chapters: bool = True
    options: tuple[str, ...] = ()


class Codec(msgspec.Struct, frozen=True):
    """A video codec with its encoders and its container. Jobs may use any of its `names`."""

    names: tuple[str, ...]
    encoders: tuple[Encoder, ...]
    container: Container

    @property
    def suffix(self) -> str:
        """The suffix of its files."""
        return self.container.suffix

    def encoder_for(self, width: int, height: int, proven: Encoder) -> Encoder:
        """Return the proven encoder, or the next of the row if a film is too small for that."""
        if min(width, height) >= proven.least or proven not in self.encoders:
            return proven
        behind = self.encoders[self.encoders.index(proven) + 1 :]
        return next((it for it in behind if min(width, height) >= it.least), proven)


# The layouts that Vorbis and Opus define. libvorbis takes others, but as if they were these.
_XIPH: Final = frozenset({"mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"})
# Others come out of AAC under a false name, by one version of ffmpeg or another.
_AAC: Final = SoundCodec("aac", layouts=_XIPH | {"2.1", "4.0"}, channel_kbps=64)
_OPUS: Final = SoundCodec("libopus", layouts=_XIPH, channel_kbps=64)
# By quality, as libvorbis refuses at one sample rate the bit rate that is right for another.
_VORBIS: Final = SoundCodec("libvorbis", ("-q:a", "5"), _XIPH)
_MP2: Final = SoundCodec("mp2", (), frozenset({"mono", "stereo"}), 2, 128)
_AC3_LAYOUTS: Final = {"mono", "stereo", "2.1", "3.0", "4.0", "3.1", "quad(side)", "4.1"}
_AC3: Final = SoundCodec("ac3", (), frozenset(_AC3_LAYOUTS | {"5.0(side)", "5.1(side)"}), 6, 64)
# The first frame gives the encoder its size: that of a film that was cut may be too short.
_FLAC: Final = SoundCodec("flac", filters=("asetnsamples=4096:p=0",))
_PCM: Final = SoundCodec("pcm_s24le", most_channels=64)

_FAST_START: Final = ("-movflags", "+faststart")
_MP4: Final = Container(
    "mp4", ".mp4", "video/mp4", (_AAC,), "mov_text", options=_FAST_START,
)  # fmt: skip
_WEBM: Final = Container("webm", ".webm", "video/webm", (_OPUS,), "webvtt")
_TS: Final = Container(
    "mpegts", ".ts", "video/mp2t", (_MP2, _AC3), copies=frozenset({"dvb_subtitle"}),
    has_chapters=False,
)  # fmt: skip
_OGG: Final = Container("ogg", ".ogv", "video/ogg", (_VORBIS,), has_chapters=False)
_MOV: Final = Container("mov", ".mov", "video/quicktime", (_PCM,), "mov_text")
_MATROSKA: Final = Container(
    "matroska", ".mkv", "video/x-matroska", (_FLAC, _PCM), "subrip",
    frozenset({"subrip", "ass", "ssa", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle",
               "dvb_subtitle", "ttf", "otf"}),
)  # fmt: skip

_MPEG4_TICKS: Final = 60_000  # it can count to 65,535
_MPEG2_SHAPES: Final = frozenset({4 / 3, 16 / 9, 2.21})
_10_BIT: Final = ("yuv420p", "yuv420p10le")
_ALL_CHROMA: Final = (*_10_BIT, "yuv422p", "yuv422p10le", "yuv444p", "yuv444p10le")
_ALPHA: Final = {"yuva420p": ("-auto-alt-ref", "0")}
_PRORES_4444: Final = ("-profile:v", "4444")

CODECS: Final = (
    Codec(
        ("h264",),
        (
            Encoder("libx264", ("-preset", "medium", "-crf", "23")),
            Encoder("libopenh264", ("-b:v", "4M"), note="4 Mb/s, as libx264 is not there"),
        ),
        _MP4,
    ),
    Codec(
        ("hevc", "h265"),
        (
            # Apple's players want the tag hvc1.
            Encoder("libx265", ("-preset", "medium", "-crf", "28", "-tag:v", "hvc1"), _ALL_CHROMA,
                    params=("-x265-params", "log-level=error")),
            Encoder("libkvazaar", ("-tag:v", "hvc1"),
                    note="libkvazaar's own quality, as libx265 is not there"),
        ),
        _MP4,
    ),
    Codec(
        ("vp8",),
        (
            # It is the quality that decides; the bit rate only bounds it.
            Encoder("libvpx", ("-b:v", "100M", "-crf", "30", "-deadline", "good", "-cpu-used",
                               "2"),
                    ("yuv420p", "yuva420p"), even=False, for_pixels=_ALPHA),
        ),
        msgspec.structs.replace(_WEBM, sound=(_VORBIS,)),
    ),
    Codec(
        ("vp9",),
        (
            Encoder("libvpx-vp9", ("-b:v", "0", "-crf", "32", "-deadline", "good", "-cpu-used",
                                   "3", "-row-mt", "1"),
                    (*_ALL_CHROMA, "yuva420p"), even=False, for_pixels=_ALPHA),
        ),
        _WEBM,
    ),
    Codec(
        ("av1",),
        (
            Encoder("libsvtav1", ("-preset", "8", "-crf", "35"), _10_BIT,
                    params=("-svtav1-params", ""), least=64),  # until its version 1.5
            Encoder("libaom-av1", ("-b:v", "0", "-crf", "32", "-cpu-used", "6", "-row-mt", "1"),
                    _ALL_CHROMA, even=False),
            Encoder("librav1e", ("-qp", "100", "-speed", "8"), _ALL_CHROMA),
        ),
        _WEBM,
    ),
    Codec(
        ("mpeg4",), (Encoder("mpeg4", ("-q:v", "4"), ticks=_MPEG4_TICKS),), _MP4,
    ),
    Codec(
        ("mpeg2", "mpeg2video"),
        (Encoder("mpeg2video", ("-q:v", "4"), ticks=0, shapes=_MPEG2_SHAPES),),
        _TS,
    ),
    Codec(
        ("theora",), (Encoder("libtheora", ("-q:v", "7"), ticks=0),), _OGG,
    ),
    Codec(
        ("prores",),
        (
            Encoder("prores_ks", ("-profile:v", "standard"),
                    ("yuv422p10le", "yuv444p10le", "yuva444p10le"), even=False,
                    for_pixels={"yuv444p10le": _PRORES_4444, "yuva444p10le": _PRORES_4444}),
        ),
        _MOV,
    ),
    Codec(
        ("ffv1",), (Encoder("ffv1", ("-level", "3", "-slicecrc", "1"), (), even=False),),
        _MATROSKA,
    ),
)  # fmt: skip


def media_type_of(suffix: str) -> str:
    """Return the media type of an output, by the suffix of its name."""
    found = (codec.container.media_type for codec in CODECS if codec.suffix == suffix)
    return next(found, "application/octet-stream")
