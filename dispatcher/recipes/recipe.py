"""A recipe, field by field.

Law: what a recipe does not say is as without a recipe.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Final, Literal

import msgspec

from dispatcher import segments

__all__ = ["RECIPES", "WAYS", "Audio", "Clip", "Container", "Recipe", "Speed", "Subtitles"]

WAYS: Final = ("quality", "crf", "bitrate", "vmaf")
"""The fields that say how good the output is; a recipe has at most one of them."""
RECIPES: Final = "recipes"
"""The ability of an engine that follows recipes and output names."""

Container = Literal["mp4", "mkv", "webm", "mov", "ts"]
Speed = Literal["fastest", "fast", "medium", "slow", "slowest"]

_Language = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,3}\Z")]
_BitRate = (
    Annotated[int, msgspec.Meta(ge=1_000, le=1_000_000_000)]
    | Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,7}(\.[0-9]{1,3})?[kM]\Z")]
)
_Rate = (
    Annotated[float, msgspec.Meta(gt=0, le=1_000)]
    | Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,5}/[1-9][0-9]{0,5}\Z")]
)
_Side = Annotated[int, msgspec.Meta(ge=16, le=16_384)]
_Argument = Annotated[str, msgspec.Meta(max_length=4_096)]


class Audio(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The sound. `codec` may also be `copy`: as it is, where the container takes it; or `none`.

    `kbps_per_channel` is the bit rate of each channel. `languages` are those of the tracks that are
    kept, by their codes of ISO 639; with none, all tracks are.
    """

    codec: str | None = None
    kbps_per_channel: Annotated[int, msgspec.Meta(ge=8, le=1_024)] | None = None
    languages: tuple[_Language, ...] = ()


class Subtitles(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The subtitles. `languages` as of `Audio`; with `keep` false there are none."""

    keep: bool = True
    languages: tuple[_Language, ...] = ()


class Clip(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of the film, in seconds from its beginning; to its end without `to_s`."""

    from_s: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] = msgspec.field(
        default=0.0, name="from"
    )
    to_s: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] | None = msgspec.field(
        default=None, name="to"
    )


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an output should be like; docs/recipes.md explains each field to its users.

    At most one of `quality` (0 to 100, of the same meaning for all codecs), `crf` (the encoder's
    own), `bitrate` (bits a second, or a text such as `2500k` or `4M`) and `vmaf` (a score to reach)
    is set. The film is never made larger than it is. `fps` is a number or a fraction such as
    `30000/1001`. `deinterlace` is `auto` for the flagged frames, `always` for all, `never` for an
    output that is interlaced as the source is. `split_s` is about how long the segments are that
    several engines encode at once. `ffmpeg_args` are options of the output.
    """

    name: str | None = None
    quality: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    crf: Annotated[float, msgspec.Meta(ge=0, le=63)] | None = None
    bitrate: _BitRate | None = None
    vmaf: Annotated[float, msgspec.Meta(ge=20, le=99)] | None = None
    speed: Speed | None = None
    max_width: _Side | None = None
    max_height: _Side | None = None
    fps: _Rate | None = None
    container: Container | None = None
    audio: Audio = Audio()
    subtitles: Subtitles = Subtitles()
    deinterlace: Literal["auto", "always", "never"] = "auto"
    hdr: Literal["keep", "tonemap"] | None = None
    clip: Clip = Clip()
    split_s: Annotated[float, msgspec.Meta(ge=1, le=3_600)] | None = None
    ffmpeg_args: Annotated[tuple[_Argument, ...], msgspec.Meta(max_length=100)] = ()

    @property
    def needs(self) -> frozenset[str]:
        """The abilities that an engine must have told."""
        needs = {RECIPES}
        if self.vmaf is not None:
            needs.add("vmaf")
        if self.ffmpeg_args:
            needs.add("raw_args")
        if self.split_s is not None:
            needs.add(segments.ABILITY)
        return frozenset(needs)

    @property
    def bits_per_s(self) -> int | None:
        """The bit rate in bits a second, if there is one."""
        if isinstance(self.bitrate, str):
            return int(Fraction(self.bitrate[:-1]) * _BITS[self.bitrate[-1]])
        return self.bitrate

    @property
    def frames_per_s(self) -> Fraction | None:
        """The frame rate, if there is one."""
        return None if self.fps is None else Fraction(self.fps)

    def wire(self) -> dict[str, Any]:
        """Return what the recipe says, as JSON has it: the form in which a job's is stored."""
        fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return {name: it for name, it in fields.items() if it != {} and it != _UNSAID.get(name)}


_BITS: Final = {"k": 1_000, "M": 1_000_000}
_UNSAID: Final[Mapping[str, Any]] = {"deinterlace": "auto"}
"""What a field says without being said."""
