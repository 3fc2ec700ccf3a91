"""High dynamic range: what a source tells of it, and how it is kept, or made standard.

Law: samples of 8 bits never stand under the tags of a high dynamic range. They would show bands.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from dispatcher.engine.streams import Stream

__all__ = [
    "TONE_MAPPERS",
    "Light",
    "has_private_colours",
    "is_hdr",
    "light_of",
    "parameters_of",
    "tone_mapping",
]

TONE_MAPPERS: Final = frozenset({"zscale", "tonemap"})
"""The filters that `tone_mapping` is made of."""

_HDR: Final = {"smpte2084", "arib-std-b67"}  # PQ, as in HDR10 and Dolby Vision, and HLG
# As a filter names it: what is to be removed, so that no player takes the result for HDR.
_METADATA: Final = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "DYNAMIC_HDR_PLUS")
_ZSCALE_NAMES: Final = {"bt2020nc": "2020_ncl", "bt2020c": "2020_cl", "bt2020": "2020"}
_PRIMARY: Final = re.compile(r" (r|g|b|wp)\(([\d.]+),? ?([\d.]+)\)")
_LUMINANCE: Final = re.compile(r"min_luminance=([\d.]+), max_luminance=([\d.]+)")
_LEVELS: Final = re.compile(r"MaxCLL=(\d+), MaxFALL=(\d+)")


class Light(msgspec.Struct, frozen=True):
    """What is told of the display on which a film was made, and of its brightest light.

    `primaries` are x and y of `r`, `g`, `b` and the white point `wp`; `luminance` is the lowest
    and the highest, in candela per square metre. `levels` are MaxCLL and MaxFALL, in the same.
    """

    primaries: Mapping[str, tuple[float, float]] = {}
    luminance: tuple[float, float] | None = None
    levels: tuple[int, int] | None = None


def is_hdr(film: Stream) -> bool:
    """Whether a film has a high dynamic range, by its tags."""
    return film.transfer in _HDR


def has_private_colours(film: Stream) -> bool:
    """Whether a film is Dolby Vision in colours of its own, with no HDR10 or HLG in it."""
    return any("DOVI" in line and "profile: 5" in line for line in film.side_data)


def light_of(report: str) -> Light:
    """Read what ffmpeg's filter `showinfo` prints of the first picture."""
    line = next((it for it in report.splitlines() if "has_primaries" in it), "")
    luminance, levels = _LUMINANCE.search(line), _LEVELS.search(report)
    return Light(
        {name: (float(x), float(y)) for name, x, y in _PRIMARY.findall(line)}
        if "has_primaries:1" in line
        else {},
        (float(luminance[1]), float(luminance[2]))
        if luminance and "has_luminance:1" in line
        else None,
        (int(levels[1]), int(levels[2])) if levels else None,
    )


def parameters_of(light: Light, encoder: str) -> list[str]:
    """Return the parameters by which an encoder writes what is told of the light.

    Newer ffmpegs do so by themselves; the same values again do no harm.
    """
    match encoder:
        case "libx265":
            # The units of HEVC: 1/50,000 of a coordinate, 1/10,000 candela per square metre.
            display = _display(light, 50_000, 10_000, lambda value: str(round(value)))
            found = [f"master-display={display}"] if display else []
            found += ["max-cll={},{}".format(*light.levels)] if light.levels else []
            return ["hdr10=1", "repeat-headers=1", *found] if found else []
        case "libsvtav1":
            display = _display(light, 1, 1, lambda value: f"{value:.4f}")
            found = [f"mastering-display={display}"] if display else []
            return found + (["content-light={},{}".format(*light.levels)] if light.levels else [])
        case _:
            return []


def tone_mapping(film: Stream) -> list[str]:
    """Return the filters that make a standard dynamic range of a high one, in BT.709."""
    matrix, primaries, transfer = film.colours
    told = {
        "min": matrix if matrix not in {"unknown", "reserved"} else "bt2020nc",
        "pin": primaries if primaries not in {"unknown", "reserved"} else "bt2020",
        "tin": transfer,
        "rin": "pc" if film.full_range else "tv",
    }
    given = ":".join(f"{name}={_ZSCALE_NAMES.get(value, value)}" for name, value in told.items())
    return [
        f"zscale={given}:t=linear:npl=100",
        "format=gbrpf32le",
        "zscale=p=bt709",
        "tonemap=tonemap=hable:desat=0",
        "zscale=t=bt709:m=bt709:r=tv",
        *(f"sidedata=mode=delete:type={name}" for name in _METADATA),
    ]


def _display(light: Light, per_unit: int, per_candela: int, text: Callable[[float], str]) -> str:
    if set(light.primaries) != {"r", "g", "b", "wp"} or light.luminance is None:
        return ""
    points = "".join(
        f"{name.upper()}({text(x * per_unit)},{text(y * per_unit)})"
        for name in ("g", "b", "r", "wp")
        for x, y in [light.primaries[name]]
    )
    low, high = light.luminance
    return f"{points}L({text(high * per_candela)},{text(low * per_candela)})"
