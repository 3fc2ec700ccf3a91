"""Recipes: what a job's output should be like, beside its codec.

Laws:
- A recipe is checked before its job is accepted, and stored with the job. A recipe that was named
  is stored with all that the name stood for, so that a later change of it changes no job.
- What a recipe does not say is as without a recipe.
- A recipe asks for abilities. Only engines that have told all of them get its job, so that an
  engine that knows nothing of recipes gets none.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

__all__ = [
    "AUDIO_CODECS",
    "RATES",
    "VIDEO_CODECS",
    "Audio",
    "Clip",
    "Rates",
    "Recipe",
    "RecipeError",
    "Subtitles",
    "recipe_of",
]

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

    from_s: Annotated[float, msgspec.Meta(ge=0)] = msgspec.field(default=0.0, name="from")
    to_s: Annotated[float, msgspec.Meta(gt=0)] | None = msgspec.field(default=None, name="to")


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an output should be like; docs/recipes.md explains each field to its users.

    At most one of `quality` (0 to 100, of the same meaning for all codecs), `crf` (the encoder's
    own), `bitrate` (bits a second, or a text such as `2500k` or `4M`) and `vmaf` (a score to reach)
    is set. The film is never made larger than it is. `fps` is a number or a fraction such as
    `30000/1001`. `deinterlace` is `auto` for the flagged frames, `always` for all, `never` for an
    output that is interlaced as the source is. `ffmpeg_args` are options of the output.
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
    ffmpeg_args: Annotated[tuple[_Argument, ...], msgspec.Meta(max_length=100)] = ()

    @property
    def needs(self) -> frozenset[str]:
        """The abilities that an engine must have told."""
        needs = {"recipes"}
        if self.vmaf is not None:
            needs.add("vmaf")
        if self.ffmpeg_args:
            needs.add("raw_args")
        return frozenset(needs)


class RecipeError(ValueError):
    """This is no recipe, or it contradicts itself. The text names the field and the rule."""


class Rates(msgspec.Struct, frozen=True):
    """How the quality of a codec can be set, and the largest CRF; 0 if it has none."""

    most_crf: int = 0
    takes_quality: bool = True
    takes_bitrate: bool = True
    has_10_bits: bool = False


RATES: Final[Mapping[str, Rates]] = {
    "h264": Rates(51),
    "hevc": Rates(51, has_10_bits=True),
    "h265": Rates(51, has_10_bits=True),
    "vp8": Rates(63),
    "vp9": Rates(63, has_10_bits=True),
    "av1": Rates(63, has_10_bits=True),
    "mpeg4": Rates(),
    "mpeg2": Rates(),
    "mpeg2video": Rates(),
    "theora": Rates(),
    "prores": Rates(takes_quality=False, takes_bitrate=False, has_10_bits=True),
    "ffv1": Rates(takes_quality=False, takes_bitrate=False, has_10_bits=True),
}
"""By the names of the codecs that this project's engines know. Of others nothing is checked."""

_HEVC: Final = frozenset({"hevc", "h265"})
_MPEG2: Final = frozenset({"mpeg2", "mpeg2video"})
VIDEO_CODECS: Final[Mapping[str, frozenset[str]]] = {
    "mp4": frozenset({"h264", "vp9", "av1", "mpeg4"}) | _HEVC | _MPEG2,
    "mkv": frozenset(RATES),
    "webm": frozenset({"vp8", "vp9", "av1"}),
    "mov": frozenset({"h264", "mpeg4", "prores"}) | _HEVC | _MPEG2,
    "ts": frozenset({"h264", "mpeg4"}) | _HEVC | _MPEG2,
}
"""The codecs of films that each container takes."""
AUDIO_CODECS: Final[Mapping[str, frozenset[str]]] = {
    "mp4": frozenset({"aac", "ac3", "eac3", "mp3", "opus"}),
    "mkv": frozenset({"aac", "ac3", "eac3", "mp2", "mp3", "opus", "vorbis", "flac", "pcm"}),
    "webm": frozenset({"opus", "vorbis"}),
    "mov": frozenset({"aac", "ac3", "eac3", "mp3", "pcm"}),
    "ts": frozenset({"aac", "ac3", "eac3", "mp2", "mp3"}),
}
"""The codecs of sound that each container takes."""

_CLOCK: Final = (3_600, 60, 1)
_LONGEST_S: Final = 1_000_000


def recipe_of(
    fields: Mapping[str, Any], codec: str | None = None, name: str | None = None
) -> Recipe:
    """Return the recipe that these fields, of JSON or TOML, describe.

    Without a codec only what is wrong with any codec is found. `audio` and `subtitles` may be a
    text instead, `clip` may have clock times, `deinterlace` may be a boolean. Raises `RecipeError`.
    """
    if "name" in fields:
        raise RecipeError("'name' can't be set: a recipe is named by the file that it stands in")
    try:
        recipe = msgspec.convert({**_written_out(fields), "name": name}, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(_readable(str(error))) from error
    for contradiction in _contradictions(recipe, codec):
        raise RecipeError(contradiction)
    return recipe


def _written_out(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Replace short forms by what they stand for."""
    written = dict(fields)
    if isinstance(audio := fields.get("audio"), str):
        written["audio"] = {"codec": audio}
    match fields.get("subtitles"):
        case "keep":
            written["subtitles"] = {}
        case "none":
            written["subtitles"] = {"keep": False}
        case _:
            pass
    if isinstance(deinterlace := fields.get("deinterlace"), bool):
        written["deinterlace"] = "auto" if deinterlace else "never"
    if isinstance(clip := fields.get("clip"), Mapping):
        written["clip"] = {
            side: _seconds(f"clip.{side}", at) if isinstance(at, str) else at
            for side, at in clip.items()
        }
    return written


def _seconds(name: str, clock: str) -> float:
    """Return the seconds of a time such as `90`, `1:30` or `0:01:30.5`."""
    parts = clock.split(":")
    try:
        numbers = [*map(int, parts[:-1]), float(parts[-1])]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= len(_CLOCK) or not all(0 <= it < _LONGEST_S for it in numbers):
        raise RecipeError(f"'{name}' must be seconds or a time such as 0:01:30.5, not {clock!r}")
    return sum(it * each for it, each in zip(numbers, _CLOCK[-len(numbers) :], strict=True))


def _readable(text: str) -> str:
    what, _, path = text.partition(" - at `$")
    field = path.rstrip("`").removeprefix(".")
    return f"'{field}': {what}" if field else what


def _contradictions(recipe: Recipe, codec: str | None) -> Iterator[str]:
    ways = [it for it in ("quality", "crf", "bitrate", "vmaf") if getattr(recipe, it) is not None]
    if len(ways) > 1:
        yield f"{' and '.join(map(repr, ways))} contradict each other: give one of them"
    if recipe.clip.to_s is not None and recipe.clip.from_s >= recipe.clip.to_s:
        yield "'clip.to' must be later than 'clip.from'"
    yield from _contradictions_of_sound(recipe.audio, recipe.container)
    if not recipe.subtitles.keep and recipe.subtitles.languages:
        yield "'subtitles.languages' contradicts 'subtitles.keep': false"
    if codec is not None:
        yield from _contradictions_of_codec(recipe, codec)


def _contradictions_of_sound(audio: Audio, container: str | None) -> Iterator[str]:
    known = sorted(frozenset().union(*AUDIO_CODECS.values()))
    match audio.codec:
        case None:
            pass
        case "copy" | "none":
            if audio.kbps_per_channel is not None:
                yield f"'audio.kbps_per_channel' contradicts 'audio.codec': {audio.codec!r}"
            if audio.codec == "none" and audio.languages:
                yield "'audio.languages' contradicts 'audio.codec': 'none'"
        case codec if codec not in known:
            yield f"'audio.codec' must be 'copy', 'none' or one of {', '.join(known)}"
        case codec:
            if container is not None and codec not in AUDIO_CODECS[container]:
                takes = ", ".join(sorted(AUDIO_CODECS[container]))
                yield f"'audio.codec': {container} takes {takes}, not {codec}"
            if codec in {"flac", "pcm"} and audio.kbps_per_channel is not None:
                yield f"'audio.kbps_per_channel': {codec} is lossless and has no bit rate"


def _contradictions_of_codec(recipe: Recipe, codec: str) -> Iterator[str]:
    if (rates := RATES.get(codec)) is None:
        return
    if recipe.container is not None and codec not in VIDEO_CODECS[recipe.container]:
        takes = ", ".join(sorted(VIDEO_CODECS[recipe.container]))
        yield f"'container': {recipe.container} takes {takes}, not {codec}"
    if recipe.crf is not None and recipe.crf > rates.most_crf:
        yield (
            f"'crf' must be at most {rates.most_crf} for {codec}"
            if rates.most_crf
            else f"'crf': {codec} has none"
        )
    if recipe.vmaf is not None and not rates.most_crf:
        yield f"'vmaf': {codec} has no CRF to search for"
    if recipe.quality is not None and not rates.takes_quality:
        yield f"'quality': that of {codec} can't be set"
    if recipe.bitrate is not None and not rates.takes_bitrate:
        yield f"'bitrate': that of {codec} can't be set"
    if recipe.hdr == "keep" and not rates.has_10_bits:
        yield f"'hdr': {codec} has 8 bits here, which can't keep it"
