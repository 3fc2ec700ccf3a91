"""Encoders that a graphics card or a processor has: how each is reached, and its encoders.

Law: what a device needs beyond an encode without one, files of devices too, is asked for by the
rows of that device only.

None of the devices was at hand when this was written. The arguments are those of ffmpeg's own
documentation; a row is offered only after a real encode with it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from dispatcher.engine.codecs import Codec, Device, Encoder
from dispatcher.engine.rates import Rate
from dispatcher.recipes import Speed

__all__ = ["Hardware", "HwAccel", "candidates"]

Hardware = Literal["nvenc", "qsv", "vaapi", "videotoolbox", "amf"]
HwAccel = Literal["none", "auto", "nvenc", "qsv", "vaapi", "videotoolbox", "amf"]
"""Which of them an engine uses: none, the first that works, or a certain one."""


class _Kind(NamedTuple):
    """How hardware is reached, on any machine.

    `options` are as those of a device, with "{node}" for the first file that `nodes` find.
    `upload` and `reads` are as those of a device.
    """

    options: tuple[str, ...] = ()
    upload: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()

    def on(self, root: Path) -> Device:
        """Return the device that is there, with its files below a root."""
        files = tuple(str(path) for it in self.nodes for path in sorted(root.glob(it)))
        first = files[0] if files else ""
        options = tuple(word.replace("{node}", first) for word in self.options)
        return Device(options, self.upload, files, self.reads)


_DRI: Final = ("dev/dri/renderD*", "dev/dri/card*")
# How a driver finds out which device a file stands for.
_SYSFS: Final = ("/sys/dev/char", "/sys/devices", "/sys/class/drm", "/sys/bus/pci", "/etc/drirc")
_KINDS: Final[Mapping[Hardware, _Kind]] = {
    "nvenc": _Kind(
        nodes=("dev/nvidiactl", "dev/nvidia[0-9]*", "dev/nvidia-uvm*", "dev/nvidia-modeset",
               "dev/nvidia-caps/*", "dev/dxg"),
        reads=("/sys/bus/pci", "/sys/devices", "/sys/module/nvidia", "/etc/nvidia"),
    ),
    "qsv": _Kind(
        ("-init_hw_device", "qsv=gpu:hw,child_device={node}", "-filter_hw_device", "gpu"),
        nodes=_DRI, reads=_SYSFS,
    ),
    "vaapi": _Kind(
        ("-init_hw_device", "vaapi=gpu:{node}", "-filter_hw_device", "gpu"), ("hwupload",),
        _DRI, _SYSFS,
    ),
    "videotoolbox": _Kind(),
    "amf": _Kind(nodes=(*_DRI, "dev/kfd"),
                  reads=(*_SYSFS, "/opt/amdgpu", "/opt/amdgpu-pro", "/etc/vulkan")),
}  # fmt: skip

_8_BIT: Final = ("nv12",)
_10_BIT: Final = ("nv12", "p010le")
# What each scale means was not measured: it is taken to be as that of the software of its codec.
_QP_51: Final = ((98.0, 14.0), (93.0, 23.0), (87.0, 28.0), (78.0, 33.0), (60.0, 38.0), (20.0, 51.0))
_CQ_63: Final = ((98.0, 15.0), (93.0, 30.0), (85.0, 40.0), (60.0, 55.0), (30.0, 63.0))
_QP_255: Final = ((98.0, 40.0), (93.0, 100.0), (85.0, 140.0), (60.0, 200.0), (30.0, 255.0))
_Q_100: Final = ((98.0, 85.0), (93.0, 65.0), (85.0, 50.0), (60.0, 30.0), (20.0, 1.0))

_NVENC_BITS: Final = (
    *("-rc", "vbr", "-b:v", "{rate}", "-maxrate", "{peak}", "-bufsize", "{buffer}"),
)  # fmt: skip
_VAAPI_BITS: Final = (
    *("-rc_mode", "VBR", "-b:v", "{rate}", "-maxrate", "{peak}", "-bufsize", "{buffer}"),
)  # fmt: skip
_AMF_BITS: Final = (
    *("-rc", "vbr_peak", "-b:v", "{rate}", "-maxrate", "{peak}", "-bufsize", "{buffer}"),
)  # fmt: skip
_NVENC_SPEEDS: Final[Mapping[Speed, tuple[str, ...]]] = {
    "fastest": ("-preset", "p1"),
    "fast": ("-preset", "p3"),
    "medium": ("-preset", "p5"),
    "slow": ("-preset", "p6"),
    "slowest": ("-preset", "p7"),
}
_QSV_SPEEDS: Final[Mapping[Speed, tuple[str, ...]]] = {
    "fastest": ("-preset", "veryfast"),
    "fast": ("-preset", "faster"),
    "medium": ("-preset", "medium"),
    "slow": ("-preset", "slower"),
    "slowest": ("-preset", "veryslow"),
}
_AMF_SPEEDS: Final[Mapping[Speed, tuple[str, ...]]] = {
    "fastest": ("-quality", "speed"),
    "medium": ("-quality", "balanced"),
    "slow": ("-quality", "quality"),
}


def _rate(arguments: str, usual: float, anchors: tuple[tuple[float, float], ...],
          *bits: str) -> Rate:  # fmt: skip
    words = tuple(arguments.split())
    made = Rate(words, usual, anchors, is_crf=False)
    return msgspec.structs.replace(made, bits=bits) if bits else made


def _nvenc(codec: str, usual: float, anchors: tuple[tuple[float, float], ...],
           pixels: tuple[str, ...]) -> Encoder:  # fmt: skip
    return Encoder(
        f"{codec}_nvenc",
        _rate("-rc vbr -b:v 0 -cq {}", usual, anchors, *_NVENC_BITS),
        _NVENC_SPEEDS,
        ("-tune", "hq"),
        pixels,
    )


def _qsv(codec: str, usual: float, pixels: tuple[str, ...]) -> Encoder:
    rate = _rate("-global_quality {}", usual, _QP_51)
    return Encoder(f"{codec}_qsv", rate, _QSV_SPEEDS, (), pixels)


def _vaapi(codec: str, rate: Rate, pixels: tuple[str, ...]) -> Encoder:
    return Encoder(f"{codec}_vaapi", rate, {}, (), pixels)


def _videotoolbox(codec: str, pixels: tuple[str, ...]) -> Encoder:
    rate = _rate("-q:v {}", 65, _Q_100, "-b:v", "{rate}")
    return Encoder(f"{codec}_videotoolbox", rate, {}, (), pixels)


def _amf(codec: str, arguments: str, usual: float, anchors: tuple[tuple[float, float], ...],
         pixels: tuple[str, ...]) -> Encoder:  # fmt: skip
    rate = _rate(f"-rc cqp {arguments}", usual, anchors, *_AMF_BITS)
    return Encoder(f"{codec}_amf", rate, _AMF_SPEEDS, (), pixels)


_VAAPI_QP: Final = _rate("-rc_mode CQP -qp {}", 23, _QP_51, *_VAAPI_BITS)
_VAAPI_Q: Final = _rate("-rc_mode CQP -global_quality {}", 100, _QP_255, *_VAAPI_BITS)
_AMF_QP: Final = "-qp_i {} -qp_p {}"

_ENCODERS: Final[Mapping[str, Mapping[Hardware, Encoder]]] = {
    "h264": {
        "nvenc": _nvenc("h264", 23, _QP_51, _8_BIT),
        "qsv": _qsv("h264", 23, _8_BIT),
        "vaapi": _vaapi("h264", _VAAPI_QP, _8_BIT),
        "videotoolbox": _videotoolbox("h264", _8_BIT),
        "amf": _amf("h264", f"{_AMF_QP} -qp_b {{}}", 23, _QP_51, _8_BIT),
    },
    "hevc": {
        "nvenc": _nvenc("hevc", 26, _QP_51, _10_BIT),
        "qsv": _qsv("hevc", 26, _10_BIT),
        "vaapi": _vaapi("hevc", _VAAPI_QP, _10_BIT),
        "videotoolbox": _videotoolbox("hevc", _10_BIT),
        "amf": _amf("hevc", _AMF_QP, 26, _QP_51, _10_BIT),
    },
    "av1": {
        "nvenc": _nvenc("av1", 32, _CQ_63, _10_BIT),
        "qsv": _qsv("av1", 26, _10_BIT),
        "vaapi": _vaapi("av1", _VAAPI_Q, _10_BIT),
        "amf": _amf("av1", _AMF_QP, 100, _QP_255, _10_BIT),
    },
    "vp9": {"qsv": _qsv("vp9", 26, _10_BIT), "vaapi": _vaapi("vp9", _VAAPI_Q, _10_BIT)},
}


def candidates(
    codec: Codec, hwaccel: HwAccel, listed: frozenset[str], root: Path = Path("/")
) -> Iterator[Encoder]:
    """Give the encoders of a codec to try, the best first: the hardware's, then the others.

    `listed` are the encoders that an ffmpeg says it has. Files of devices are looked for below
    `root`.
    """
    if hwaccel != "none":
        for kind, encoder in _ENCODERS.get(codec.names[0], {}).items():
            if encoder.name in listed and hwaccel in {"auto", kind}:
                yield msgspec.structs.replace(
                    encoder, device=_KINDS[kind].on(root), note=f"{kind}, the machine's hardware"
                )
    yield from codec.encoders
