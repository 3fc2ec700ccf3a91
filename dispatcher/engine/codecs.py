"""The table of codecs, with the arguments of ffmpeg for each.

To add a codec, add a row. `Ffmpeg.probe` tries each row to find out what an ffmpeg can really
encode. It uses the first encoder of a row that works. docs/media.md gives the reasons.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from dispatcher.engine.containers import CONTAINERS, Container, SoundCodec
from dispatcher.engine.rates import Rate
from dispatcher.recipes import Recipe, Speed

__all__ = ["CODECS", "Codec", "Device", "Encoder", "Target"]


class Device(msgspec.Struct, frozen=True):
    """What hardware needs that encodes: options of ffmpeg, and of the machine more than software.

    `upload` are the filters that bring a picture to it. `files` are those of devices, which it
    reads and writes, and `reads` are what else it reads.
    """

    options: tuple[str, ...] = ()
    upload: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


class Encoder(msgspec.Struct, frozen=True):
    """An ffmpeg encoder, with options for good quality at a reasonable speed.

    `rate` is how its quality is set; `None` if it can't be. `speeds` are the options for each
    speed; "medium" is the usual one, and those that are not there are as the next towards it.
    `pixels` are the pixel formats to choose from; with none, the encoder takes what comes. An
    `even` encoder needs an even width and height. `ticks` are the parts of a second in which it
    tells the time of a frame; 0 if all frames must be equally long. `shapes` are the shapes of a
    picture, width to height, that it can tell of pixels that are no squares; `None` for any.
    `fields` are the options that keep an interlaced film as it is; `None` if it can't.
    `for_pixels` are options that single pixel formats need. `params` go to the library itself, by
    the option of that name. `least` is the least width and height that it takes. `note` says what
    differs from the first encoder of the row. `device` is what hardware it needs.
    """

    name: str
    rate: Rate | None = None
    speeds: Mapping[Speed, tuple[str, ...]] = {}
    options: tuple[str, ...] = ()
    pixels: tuple[str, ...] = ("yuv420p",)
    even: bool = True
    ticks: int = 90_000
    shapes: frozenset[float] | None = None
    fields: tuple[str, ...] | None = None
    for_pixels: Mapping[str, tuple[str, ...]] = {}
    params: tuple[str, str] | None = None
    least: int = 0
    note: str = ""
    device: Device = Device()

    def at_speed(self, speed: Speed | None = None) -> tuple[str, ...]:
        """Return the options for a speed, or for the usual one."""
        steps = _SPEEDS[speed or "medium"]
        return next((self.speeds[it] for it in steps if it in self.speeds), ())

    def crf_of(self, number: float | None) -> float | None:
        """Return the number that its quality was set by, if that is a CRF."""
        return number if self.rate is not None and self.rate.is_crf else None

    def with_threads(self, threads: int) -> "Encoder":
        """Return it so that it uses so many threads, as far as its library can be told."""
        params = self.params
        if params is not None and params[0] == "-x265-params":  # it has its own pool of threads
            params = (params[0], f"{params[1]}:pools={threads}")
        options = (*self.options, "-threads", str(threads))
        return msgspec.structs.replace(self, options=options, params=params)


_SPEEDS: Final[Mapping[Speed, tuple[Speed, ...]]] = {
    "fastest": ("fastest", "fast", "medium"),
    "fast": ("fast", "medium"),
    "medium": ("medium",),
    "slow": ("slow", "medium"),
    "slowest": ("slowest", "slow", "medium"),
}


class Codec(msgspec.Struct, frozen=True):
    """A video codec with its encoders. Jobs may use any of its `names`.

    `container` is the name of its usual container, `sound` are the codecs of sound that it has in
    any container that takes them, the best first. `tag` is its name in mp4 and mov, if that is not
    ffmpeg's.
    """

    names: tuple[str, ...]
    encoders: tuple[Encoder, ...]
    container: str
    sound: tuple[str, ...]
    tag: str = ""

    def encoder_for(self, width: int, height: int, proven: Encoder) -> Encoder:
        """Return the proven encoder, or the next of the row if a film is too small for that."""
        if min(width, height) >= proven.least or proven not in self.encoders:
            return proven
        behind = self.encoders[self.encoders.index(proven) + 1 :]
        return next((it for it in behind if min(width, height) >= it.least), proven)

    def sound_in(self, container: Container) -> tuple[SoundCodec, ...]:
        """Return the codecs of sound to choose from in a container."""
        own = [it for it in self.sound if it in container.sound] or container.sound[:1]
        return tuple(container.sound_codec(it) for it in own)


class Target(msgspec.Struct, frozen=True):
    """What is to be made of a source: with which encoder of a codec's row, and by which recipe.

    `number` is the CRF, or what the encoder has instead, that was searched for the recipe's VMAF.
    """

    codec: Codec
    encoder: Encoder
    recipe: Recipe = Recipe()
    number: float | None = None

    @property
    def container(self) -> Container:
        """The kind of file that it is in."""
        return CONTAINERS[self.recipe.container or self.codec.container]


def _preset(option: str, *names: str) -> dict[Speed, tuple[str, ...]]:
    """Return the options of the five speeds, the fastest first."""
    speeds: tuple[Speed, ...] = ("fastest", "fast", "medium", "slow", "slowest")
    return {speed: (option, name) for speed, name in zip(speeds, names, strict=True)}


def _deadlines(*used: str) -> dict[Speed, tuple[str, ...]]:
    """Return the options of libvpx; what is made for later can use all of its deadline."""
    return {
        speed: (*option, "-deadline", "good")
        for speed, option in _preset("-cpu-used", *used).items()
    }


_MPEG4_TICKS: Final = 60_000  # it can count to 65,535
_MPEG2_SHAPES: Final = frozenset({4 / 3, 16 / 9, 2.21})
_10_BIT: Final = ("yuv420p", "yuv420p10le")
_ALL_CHROMA: Final = (*_10_BIT, "yuv422p", "yuv422p10le", "yuv444p", "yuv444p10le")
_ALPHA: Final = {"yuva420p": ("-auto-alt-ref", "0")}
_PRORES_4444: Final = ("-profile:v", "4444")
_FIELDS: Final = ("-flags:v", "+ildct+ilme")
_X26X: Final = ("superfast", "faster", "medium", "slow", "veryslow")
# Only the slow ones differ: they decide by the bits that each way would take.
_MPEG_SPEEDS: Final[Mapping[Speed, tuple[str, ...]]] = {
    "slow": ("-mbd", "rd"),
    "slowest": ("-mbd", "rd", "-trellis", "1", "-cmp", "satd", "-subcmp", "satd"),
}
_BITS_ONLY: Final = ("-b:v", "{rate}")
# Without a tolerance of its own it may take 4 Mb more than it should.
_MPEG_BITS: Final = (
    *("-b:v", "{rate}", "-maxrate", "{peak}", "-bufsize", "{buffer}", "-bt", "{rate}"),
)
_MPEG4_ANCHORS: Final = (
    *((97.7, 2.0), (96.0, 4.0), (93.6, 6.0), (89.4, 9.0), (83.2, 14.0), (76.1, 21.0)),
    (68.0, 31.0),
)
_MPEG2_ANCHORS: Final = (
    *((98.0, 2.0), (96.8, 4.0), (95.2, 6.0), (92.4, 9.0), (87.2, 14.0), (81.6, 21.0)),
    (72.6, 31.0),
)
_OPENH264_ANCHORS: Final = (
    *((98.2, 14.0), (96.9, 20.0), (93.3, 26.0), (86.0, 32.0), (72.6, 38.0), (54.8, 44.0)),
    (29.4, 51.0),
)
_KVAZAAR_ANCHORS: Final = (
    *((98.4, 12.0), (96.9, 20.0), (92.2, 26.0), (79.9, 32.0), (62.5, 38.0), (44.8, 44.0)),
    (34.6, 51.0),
)
_THEORA_ANCHORS: Final = (
    *((97.7, 10.0), (97.2, 9.0), (96.7, 8.0), (95.7, 7.0), (90.3, 5.0), (81.5, 3.0)),
    *((67.7, 1.0), (59.0, 0.0)),
)
_RAV1E_ANCHORS: Final = (
    *((98.2, 30.0), (97.2, 60.0), (94.8, 100.0), (88.6, 140.0), (76.6, 180.0), (59.9, 215.0)),
    (45.0, 255.0),
)
_X264_ANCHORS: Final = (
    *((98.1, 14.0), (96.6, 19.0), (93.8, 23.0), (89.1, 27.0), (80.4, 32.0), (62.5, 38.0)),
    *((39.9, 44.0), (21.8, 51.0)),
)
_X265_ANCHORS: Final = (
    *((98.1, 12.0), (96.9, 18.0), (94.1, 23.0), (88.3, 28.0), (78.4, 33.0), (64.2, 38.0)),
    *((45.1, 44.0), (26.6, 51.0)),
)
_VP8_ANCHORS: Final = (
    *((98.5, 4.0), (97.9, 10.0), (97.4, 20.0), (96.4, 30.0), (93.8, 42.0), (89.5, 52.0)),
    (84.0, 63.0),
)
_VP9_ANCHORS: Final = (
    *((98.5, 8.0), (97.5, 20.0), (95.3, 32.0), (90.0, 42.0), (83.1, 50.0), (73.4, 57.0)),
    (61.0, 63.0),
)
_SVT_ANCHORS: Final = (
    *((98.0, 10.0), (97.3, 20.0), (96.1, 28.0), (93.9, 35.0), (89.1, 44.0), (82.0, 53.0)),
    (56.9, 63.0),
)
_AOM_ANCHORS: Final = (
    *((98.2, 8.0), (97.2, 20.0), (94.8, 32.0), (90.0, 42.0), (83.6, 50.0), (74.2, 57.0)),
    (52.0, 63.0),
)

CODECS: Final = (
    Codec(
        ("h264",),
        (
            Encoder("libx264", Rate(("-crf", "{}"), 23, _X264_ANCHORS, whole=False),
                    _preset("-preset", *_X26X), fields=_FIELDS),
            Encoder("libopenh264",
                    Rate(("-rc_mode", "quality", "-b:v", "100M", "-qmin", "{}", "-qmax", "{}"), 25,
                         _OPENH264_ANCHORS, is_crf=False,
                         bits=("-rc_mode", "bitrate", "-b:v", "{rate}", "-maxrate", "{peak}")),
                    note="libopenh264, as libx264 is not there"),
        ),
        "mp4", ("aac",),
    ),
    Codec(
        ("hevc", "h265"),
        (
            Encoder("libx265", Rate(("-crf", "{}"), 28, _X265_ANCHORS, whole=False),
                    _preset("-preset", *_X26X), pixels=_ALL_CHROMA,
                    params=("-x265-params", "log-level=error")),
            Encoder("libkvazaar",
                    Rate(("-kvazaar-params", "qp={}"), 28, _KVAZAAR_ANCHORS,
                         is_crf=False, bits=_BITS_ONLY),
                    note="libkvazaar, as libx265 is not there"),
        ),
        "mp4", ("aac",), tag="hvc1",  # which Apple's players want
    ),
    Codec(
        ("vp8",),
        (
            # It is the quality that decides; the bit rate only bounds it.
            Encoder("libvpx", Rate(("-b:v", "100M", "-crf", "{}"), 30, _VP8_ANCHORS),
                    _deadlines("8", "4", "2", "1", "0"),
                    pixels=("yuv420p", "yuva420p"), even=False, for_pixels=_ALPHA),
        ),
        "webm", ("vorbis",),
    ),
    Codec(
        ("vp9",),
        (
            Encoder("libvpx-vp9", Rate(("-b:v", "0", "-crf", "{}"), 32, _VP9_ANCHORS),
                    _deadlines("6", "5", "3", "2", "1"), ("-row-mt", "1"),
                    (*_ALL_CHROMA, "yuva420p"), even=False, for_pixels=_ALPHA),
        ),
        "webm", ("opus",),
    ),
    Codec(
        ("av1",),
        (
            Encoder("libsvtav1",
                    # With a bit rate it takes no bound.
                    Rate(("-crf", "{}"), 35, _SVT_ANCHORS, least=1,
                         bits=_BITS_ONLY),
                    _preset("-preset", "12", "10", "8", "6", "4"), pixels=_10_BIT,
                    params=("-svtav1-params", ""), least=64),  # until its version 1.5
            Encoder("libaom-av1", Rate(("-b:v", "0", "-crf", "{}"), 32, _AOM_ANCHORS),
                    _preset("-cpu-used", "8", "7", "6", "4", "2"), ("-row-mt", "1"),
                    _ALL_CHROMA, even=False),
            Encoder("librav1e",
                    Rate(("-qp", "{}"), 100, _RAV1E_ANCHORS, is_crf=False,
                         bits=_BITS_ONLY),
                    _preset("-speed", "10", "9", "8", "6", "4"), pixels=_ALL_CHROMA),
        ),
        "webm", ("opus",),
    ),
    Codec(
        ("mpeg4",),
        (Encoder("mpeg4", Rate(("-q:v", "{}"), 4, _MPEG4_ANCHORS, whole=False, is_crf=False,
                      bits=_MPEG_BITS),
                 _MPEG_SPEEDS, ticks=_MPEG4_TICKS, fields=_FIELDS),),
        "mp4", ("aac",),
    ),
    Codec(
        ("mpeg2", "mpeg2video"),
        (Encoder("mpeg2video", Rate(("-q:v", "{}"), 4, _MPEG2_ANCHORS, whole=False, is_crf=False,
                      bits=_MPEG_BITS),
                 _MPEG_SPEEDS, ticks=0, shapes=_MPEG2_SHAPES, fields=_FIELDS),),
        "ts", ("mp2", "ac3"),
    ),
    Codec(
        ("theora",),
        (Encoder("libtheora",
                 Rate(("-q:v", "{}"), 7, _THEORA_ANCHORS, whole=False, is_crf=False,
                      bits=_BITS_ONLY),
                 ticks=0),),
        "ogv", ("vorbis",),
    ),
    Codec(
        ("prores",),
        (
            Encoder("prores_ks", options=("-profile:v", "standard"),
                    pixels=("yuv422p10le", "yuv444p10le", "yuva444p10le"), even=False,
                    fields=("-flags:v", "+ildct"),
                    for_pixels={"yuv444p10le": _PRORES_4444, "yuva444p10le": _PRORES_4444}),
        ),
        "mov", ("pcm",),
    ),
    Codec(
        ("ffv1",),
        (Encoder("ffv1", options=("-level", "3", "-slicecrc", "1"), pixels=(), even=False,
                 fields=()),),
        "mkv", ("flac", "pcm"),
    ),
)  # fmt: skip
