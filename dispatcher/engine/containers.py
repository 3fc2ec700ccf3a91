"""The tables of containers and of codecs of sound, with the arguments of ffmpeg for each.

To add a container, add a row, and its name in a recipe to `dispatcher.recipes`.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from dispatcher.engine.streams import channels_of

__all__ = ["CONTAINERS", "SOUND_CODECS", "Container", "SoundCodec", "media_type_of"]


class SoundCodec(msgspec.Struct, frozen=True):
    """An encoder of sound, and the channel layouts that come out of it as they went in.

    Without `layouts`, all do that have at most `most_channels`. `channel_kbps` is the usual bit
    rate for each channel; 0 if it has none. `bounds_kbps` are the lowest and the highest for each,
    `totals_kbps` those that a whole track can have; with none, any. `qualities` are pairs of
    kilobits for a channel and the quality that gives them, where no bit rate can be set. Sound of
    fewer samples a second than `lowest_rate` is given so many. `most_bits` are those that a sample
    of a channel can have, on average; 0 if there is no such bound. `filters` come before it.
    """

    encoder: str
    layouts: frozenset[str] | None = None
    most_channels: int = 8
    channel_kbps: int = 0
    bounds_kbps: tuple[int, int] = (8, 1_024)
    totals_kbps: tuple[int, ...] = ()
    qualities: tuple[tuple[int, float], ...] = ()
    lowest_rate: int = 0
    most_bits: int = 0
    filters: tuple[str, ...] = ()


class Container(msgspec.Struct, frozen=True):
    """A kind of file.

    `sound` are the codecs of sound that it takes, the best first. `copied_sound` are those, by
    ffmpeg's names, that can be copied into it. `text` is the codec of subtitles that are text, ""
    if there can be none. `copies` are the codecs of subtitles and attachments that are kept as they
    are. A stream of sound has `most_channels`. `has_alpha` tells whether it has a place for
    transparency that is beside the picture.
    """

    muxer: str
    suffix: str
    media_type: str
    sound: tuple[str, ...]
    copied_sound: frozenset[str] = frozenset()
    text: str = ""
    copies: frozenset[str] = frozenset()
    most_channels: int = 64
    has_chapters: bool = True
    has_alpha: bool = True
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name in a recipe: the suffix without the point."""
        return self.suffix.removeprefix(".")

    def sound_codec(self, name: str) -> SoundCodec:
        """Return a codec of sound, with as many channels as there can be here."""
        codec, most = SOUND_CODECS[name], self.most_channels
        if codec.most_channels <= most:
            return codec
        layouts = codec.layouts and frozenset(it for it in codec.layouts if channels_of(it) <= most)
        return msgspec.structs.replace(codec, most_channels=most, layouts=layouts)


# The layouts that Vorbis and Opus define. libvorbis takes others, but as if they were these.
_XIPH: Final = frozenset({"mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"})
_AC3_LAYOUTS: Final = frozenset(
    {"mono", "stereo", "2.1", "3.0", "4.0", "3.1", "quad(side)", "4.1", "5.0(side)", "5.1(side)"}
)
_FLAT: Final = frozenset({"mono", "stereo"})
_AC3_KBPS: Final = (
    *(32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640),
)
_MP2_KBPS: Final = (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_MP3_KBPS: Final = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
# What libvorbis makes of each quality at 44.1 kHz. It refuses at one sample rate the bit rate that
# is right for another.
_VORBIS: Final = (
    *((22, -1.0), (32, 0.0), (40, 1.0), (48, 2.0), (56, 3.0), (64, 4.0), (80, 5.0), (96, 6.0)),
    *((112, 7.0), (128, 8.0), (160, 9.0), (250, 10.0)),
)

SOUND_CODECS: Final[Mapping[str, SoundCodec]] = {
    # Other layouts come out of AAC under a false name, by one version of ffmpeg or another.
    "aac": SoundCodec(
        "aac", _XIPH | {"2.1", "4.0"}, channel_kbps=64, bounds_kbps=(16, 288), most_bits=6
    ),
    "opus": SoundCodec("libopus", _XIPH, channel_kbps=64, bounds_kbps=(8, 256)),
    "vorbis": SoundCodec("libvorbis", _XIPH, channel_kbps=80, qualities=_VORBIS),
    "mp2": SoundCodec("mp2", _FLAT, 2, 128, totals_kbps=_MP2_KBPS, lowest_rate=32_000),
    "mp3": SoundCodec("libmp3lame", _FLAT, 2, 96, totals_kbps=_MP3_KBPS, lowest_rate=32_000),
    "ac3": SoundCodec("ac3", _AC3_LAYOUTS, 6, 64, totals_kbps=_AC3_KBPS),
    "eac3": SoundCodec("eac3", _AC3_LAYOUTS, 6, 64, (32, 512)),
    # The first frame gives the encoder its size: that of a film that was cut may be too short.
    "flac": SoundCodec("flac", filters=("asetnsamples=4096:p=0",)),
    "pcm": SoundCodec("pcm_s24le", most_channels=64),
}
"""By their names in a recipe."""

_PCM: Final = frozenset(
    {"pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_s16be", "pcm_s24be"}
)
_FAST_START: Final = ("-movflags", "+faststart")
CONTAINERS: Final[Mapping[str, Container]] = {
    it.name: it
    for it in (
        Container(
            "mp4", ".mp4", "video/mp4", ("aac", "opus", "ac3", "eac3", "mp3"),
            frozenset({"aac", "ac3", "eac3", "mp3", "opus", "alac"}), "mov_text",
            has_alpha=False, options=_FAST_START,
        ),
        Container(
            "webm", ".webm", "video/webm", ("opus", "vorbis"), frozenset({"opus", "vorbis"}),
            "webvtt",
        ),
        Container(
            "matroska", ".mkv", "video/x-matroska",
            ("aac", "opus", "vorbis", "flac", "pcm", "ac3", "eac3", "mp2", "mp3"),
            _PCM | {"aac", "ac3", "eac3", "mp2", "mp3", "opus", "vorbis", "flac", "alac", "dts",
                    "truehd", "mlp"},
            "subrip",
            frozenset({"subrip", "ass", "ssa", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle",
                       "dvb_subtitle", "ttf", "otf"}),
        ),
        Container(
            "mov", ".mov", "video/quicktime", ("aac", "pcm", "ac3", "eac3", "mp3"),
            _PCM | {"aac", "ac3", "eac3", "mp3", "alac"}, "mov_text", has_alpha=False,
        ),
        Container(
            "mpegts", ".ts", "video/mp2t", ("aac", "mp2", "ac3", "eac3", "mp3"),
            frozenset({"aac", "ac3", "eac3", "mp2", "mp3"}), copies=frozenset({"dvb_subtitle"}),
            most_channels=7,  # ADTS, in which AAC is here, can't tell of eight
            has_chapters=False, has_alpha=False,
        ),
        Container("ogg", ".ogv", "video/ogg", ("vorbis",), has_chapters=False, has_alpha=False),
    )
}  # fmt: skip
"""By their names in a recipe; `ogv`, which recipes don't have, is that of Theora."""


def media_type_of(suffix: str) -> str:
    """Return the media type of an output, by the suffix of its name."""
    found = (it.media_type for it in CONTAINERS.values() if it.suffix == suffix)
    return next(found, "application/octet-stream")
