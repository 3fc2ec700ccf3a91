"""Recipes: what a job's output should be like, beside its codec.

Laws:
- A recipe is checked before its job is accepted, and stored with the job. A recipe that was named
  is stored with all that the name stood for, so that a later change of it changes no job.
- What a recipe does not say is as without a recipe.
- A recipe asks for abilities. Only engines that have told all of them get its job, so that an
  engine that knows nothing of recipes gets none.
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Annotated, Any, Final, Literal, Self, get_args

import msgspec

__all__ = [
    "AUDIO_CODECS",
    "MAX_BYTES",
    "RATES",
    "RECIPES",
    "VIDEO_CODECS",
    "WAYS",
    "Audio",
    "Clip",
    "Rates",
    "Recipe",
    "RecipeError",
    "Subtitles",
    "check",
    "recipe_of",
]

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
        needs = {RECIPES}
        if self.vmaf is not None:
            needs.add("vmaf")
        if self.ffmpeg_args:
            needs.add("raw_args")
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

    @classmethod
    def from_wire(cls, fields: Mapping[str, Any]) -> Self:
        """Return the recipe that `wire` returned.

        Raises `RecipeError` for one that has fields that this version does not know.
        """
        try:
            return msgspec.convert(fields, cls)
        except msgspec.ValidationError as error:
            raise RecipeError(_readable(str(error), fields)) from error


class RecipeError(ValueError):
    """This is no recipe, or it contradicts itself. The text names the field and the rule."""


_BITS: Final = {"k": 1_000, "M": 1_000_000}
_LEAST_BITS: Final = 1_000
_MOST_BITS: Final = 1_000_000_000
_LEAST_FRAMES: Final = 0.001
_MOST_FRAMES: Final = 1_000
_UNSAID: Final[Mapping[str, Any]] = {"deinterlace": "auto"}
"""What a field says without being said."""


class Rates(msgspec.Struct, frozen=True):
    """How the quality of a codec can be set, and its bounds.

    `most_crf` is 0 if it has none. `most_bits` and `most_frames` are those of a second.
    """

    most_crf: int = 0
    takes_quality: bool = True
    takes_bitrate: bool = True
    has_10_bits: bool = False
    most_bits: int = _MOST_BITS
    most_frames: int = _MOST_FRAMES


RATES: Final[Mapping[str, Rates]] = {
    "h264": Rates(51),
    "hevc": Rates(51, has_10_bits=True),
    "h265": Rates(51, has_10_bits=True),
    "vp8": Rates(63),
    "vp9": Rates(63, has_10_bits=True),
    # Those of libsvtav1.
    "av1": Rates(63, has_10_bits=True, most_bits=100_000_000, most_frames=240),
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
MAX_BYTES: Final = 16_384
"""The most bytes of a recipe as JSON. Each of its jobs keeps it."""
_SHOWN: Final = 60
"""Characters of a value that an error shows."""

_LANGUAGES: Final = "an array of codes of ISO 639 such as 'de' or 'deu'"
_RULES: Final[Mapping[str, str]] = {
    "name": "a text",
    "quality": "a number from 0 to 100",
    "crf": "a number from 0 to 63",
    "bitrate": "bits a second, from 1000 to 1000000000, or a text such as '2500k' or '4M'",
    "vmaf": "a number from 20 to 99",
    "speed": f"one of {', '.join(map(repr, get_args(Speed)))}",
    "max_width": "an integer from 16 to 16384",
    "max_height": "an integer from 16 to 16384",
    "fps": "a number from 0.001 to 1000, or a fraction such as '30000/1001'",
    "container": f"one of {', '.join(map(repr, get_args(Container)))}",
    "audio": "an object, or a text: 'copy', 'none' or a codec",
    "audio.codec": "a text: 'copy', 'none' or a codec",
    "audio.kbps_per_channel": "an integer from 8 to 1024",
    "audio.languages": _LANGUAGES,
    "subtitles": "an object, or 'keep' or 'none'",
    "subtitles.keep": "a boolean",
    "subtitles.languages": _LANGUAGES,
    "deinterlace": "one of 'auto', 'always', 'never', or a boolean",
    "hdr": "'keep' or 'tonemap'",
    "clip": "an object with 'from', 'to' or both",
    "clip.from": "seconds from 0 to 1000000, or a time such as '0:01:30.5'",
    "clip.to": "seconds above 0 and at most 1000000, or a time such as '0:01:30.5'",
    "ffmpeg_args": "an array of at most 100 strings, each of at most 4096 characters",
}
"""What each field must be."""


def recipe_of(
    fields: Mapping[str, Any], codec: str | None = None, name: str | None = None
) -> Recipe:
    """Return the recipe that these fields, of JSON or TOML, describe.

    Without a codec only what is wrong with any codec is found. `audio` and `subtitles` may be a
    text instead, `clip` may have clock times, `deinterlace` may be a boolean. Raises `RecipeError`.
    """
    if "name" in fields:
        raise RecipeError(
            "'recipe.name' can't be set: a recipe has the name under which the dispatcher's file "
            "of recipes has it"
        )
    written = _written_out(fields)
    try:
        recipe = msgspec.convert({**written, "name": name}, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(_readable(str(error), fields)) from error
    if (size := len(msgspec.json.encode(recipe))) > MAX_BYTES:
        raise RecipeError(f"'recipe' must be at most {MAX_BYTES} bytes of JSON, not {size:,}")
    check(recipe, codec)
    return recipe


def check(recipe: Recipe, codec: str | None = None) -> None:
    """Raise `RecipeError` if a recipe contradicts itself, or the codec if there is one."""
    for contradiction in _contradictions(recipe, codec):
        raise RecipeError(contradiction)


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
    if isinstance(fps := fields.get("fps"), str) and _NUMBER.fullmatch(fps):
        written["fps"] = float(fps)
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
    parts = _TIME.fullmatch(clock)
    numbers = [float(it) for it in clock.split(":")] if parts is not None else []
    if parts is None or any(it >= _CLOCK[1] for it in numbers[1:]):
        raise _wrong(name, clock)
    return sum(it * each for it, each in zip(numbers, _CLOCK[-len(numbers) :], strict=True))


_TIME: Final = re.compile(r"([0-9]{1,6}:){0,2}[0-9]{1,6}(\.[0-9]{1,6})?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,6})?", re.ASCII)
_INDEX: Final = re.compile(r"\[[^]]*\]")


def _readable(text: str, fields: Mapping[str, Any]) -> str:
    """Reword an error of msgspec: name the field, the rule and the value."""
    what, _, path = text.partition(" - at `$")
    field = _INDEX.sub("", path.rstrip("`")).removeprefix(".")
    if (found := _UNKNOWN.fullmatch(what)) is not None:
        return (
            f"'recipe{'.' * bool(field)}{field}' has no field '{found[1]}'; it has {_known(field)}"
        )
    value: Any = fields
    for name in field.split("."):
        value = value.get(name) if isinstance(value, Mapping) else value
    return str(_wrong(field, value))


_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


def _known(field: str) -> str:
    """List the fields of a recipe, or of one of its objects."""
    struct = {"": Recipe, "audio": Audio, "subtitles": Subtitles, "clip": Clip}[field]
    return ", ".join(name for name in struct.__struct_encode_fields__ if name != "name")


def _wrong(field: str, value: object) -> RecipeError:
    return RecipeError(f"'recipe.{field}' must be {_RULES[field]}, not {_shown(value)}")


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, float) else _as_json(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _as_json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError):
        return repr(value)


def _contradictions(recipe: Recipe, codec: str | None) -> Iterator[str]:
    ways = [it for it in WAYS if getattr(recipe, it) is not None]
    if len(ways) > 1:
        named = " and ".join(f"'recipe.{way}'" for way in ways)
        yield f"{named} contradict each other: give one of them"
    bits = recipe.bits_per_s
    if bits is not None and not _LEAST_BITS <= bits <= _MOST_BITS:
        yield str(_wrong("bitrate", recipe.bitrate))
    if (frames := recipe.frames_per_s) is not None and not _LEAST_FRAMES <= frames <= _MOST_FRAMES:
        yield str(_wrong("fps", recipe.fps))
    if recipe.clip.to_s is not None and recipe.clip.from_s >= recipe.clip.to_s:
        yield (
            f"'recipe.clip.to' must be later than 'recipe.clip.from', {recipe.clip.from_s:g} s, "
            f"not {recipe.clip.to_s:g} s"
        )
    if (
        wrong := next((it for it in recipe.ffmpeg_args if not _can_be_passed(it)), None)
    ) is not None:
        yield f"'recipe.ffmpeg_args' must have no NUL and no half characters: {_shown(wrong)}"
    if bounds := [it for it in ("max_width", "max_height") if getattr(recipe, it) is not None]:
        options = zip(recipe.ffmpeg_args[::2], recipe.ffmpeg_args[1::2], strict=False)
        chains = [chain for option, chain in options if option in {"-vf", "-filter:v"}]
        if found := next((it for chain in chains if (it := _RESIZING.search(chain))), None):
            yield (
                f"'recipe.ffmpeg_args' and 'recipe.{bounds[0]}' contradict each other: the filter "
                f"'{found[1]}' changes the size after it was bounded"
            )
    yield from _contradictions_of_sound(recipe.audio, recipe.container)
    if not recipe.subtitles.keep and recipe.subtitles.languages:
        yield "'recipe.subtitles.languages' contradicts 'recipe.subtitles.keep': false"
    if codec is not None:
        yield from _contradictions_of_codec(recipe, codec)


_RESIZING: Final = re.compile(r"(?:^|,)\s*(z?scale|pad|rotate|transpose)(?=\s*(?:[=,@]|\Z))")


def _can_be_passed(argument: str) -> bool:
    return "\0" not in argument and argument.encode("utf-8", "replace").decode() == argument


def _contradictions_of_sound(audio: Audio, container: str | None) -> Iterator[str]:
    known = sorted(frozenset().union(*AUDIO_CODECS.values()))
    match audio.codec:
        case None:
            pass
        case "copy" | "none":
            what = f"'recipe.audio.codec': '{audio.codec}'"
            if audio.kbps_per_channel is not None:
                yield f"'recipe.audio.kbps_per_channel' contradicts {what}"
            if audio.codec == "none" and audio.languages:
                yield f"'recipe.audio.languages' contradicts {what}"
        case codec if codec not in known:
            yield (
                f"'recipe.audio.codec' must be 'copy', 'none' or one of {', '.join(known)}, not "
                f"{_shown(codec)}"
            )
        case codec:
            if container is not None and codec not in AUDIO_CODECS[container]:
                takes = ", ".join(sorted(AUDIO_CODECS[container]))
                yield f"'recipe.audio.codec': {container} takes {takes}, not {codec}"
            if codec in {"flac", "pcm"} and audio.kbps_per_channel is not None:
                yield f"'recipe.audio.kbps_per_channel': {codec} is lossless and has no bit rate"


def _contradictions_of_codec(recipe: Recipe, codec: str) -> Iterator[str]:
    if (rates := RATES.get(codec)) is None:
        return
    if recipe.container is not None and codec not in VIDEO_CODECS[recipe.container]:
        takes = ", ".join(sorted(VIDEO_CODECS[recipe.container]))
        yield f"'recipe.container': {recipe.container} takes {takes}, not {codec}"
    if recipe.crf is not None and recipe.crf > rates.most_crf:
        yield (
            f"'recipe.crf' must be at most {rates.most_crf} for {codec}, not {recipe.crf:g}"
            if rates.most_crf
            else f"'recipe.crf': {codec} has none"
        )
    if (bits := recipe.bits_per_s) is not None and bits > rates.most_bits:
        yield (
            f"'recipe.bitrate' must be at most {rates.most_bits} bits a second for {codec}, not "
            f"{_shown(recipe.bitrate)}"
        )
    if (frames := recipe.frames_per_s) is not None and frames > rates.most_frames:
        yield (
            f"'recipe.fps' must be at most {rates.most_frames} for {codec}, not "
            f"{_shown(recipe.fps)}"
        )
    if recipe.vmaf is not None and not rates.most_crf:
        yield f"'recipe.vmaf': {codec} has no CRF to search for"
    if recipe.quality is not None and not rates.takes_quality:
        yield f"'recipe.quality': that of {codec} can't be set"
    if recipe.bitrate is not None and not rates.takes_bitrate:
        yield f"'recipe.bitrate': that of {codec} can't be set"
    if recipe.hdr == "keep" and not rates.has_10_bits:
        yield f"'recipe.hdr': {codec} has 8 bits here, which can't keep it"
