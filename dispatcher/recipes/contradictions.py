"""What can't be true of a recipe at once, alone or with the codec of its job."""

import re
from collections.abc import Iterator
from typing import Final

from dispatcher.recipes.codecs import AUDIO_CODECS, RATES, VIDEO_CODECS
from dispatcher.recipes.recipe import WAYS, Audio, Recipe
from dispatcher.recipes.wording import RecipeError, shown, wrong

__all__ = ["check"]

_LEAST_BITS: Final = 1_000
_MOST_BITS: Final = 1_000_000_000
_LEAST_FRAMES: Final = 0.001
_MOST_FRAMES: Final = 1_000


def check(recipe: Recipe, codec: str | None = None) -> None:
    """Raise `RecipeError` if a recipe contradicts itself, or the codec if there is one."""
    for contradiction in _contradictions(recipe, codec):
        raise RecipeError(contradiction)


def _contradictions(recipe: Recipe, codec: str | None) -> Iterator[str]:
    ways = [it for it in WAYS if getattr(recipe, it) is not None]
    if len(ways) > 1:
        named = " and ".join(f"'recipe.{way}'" for way in ways)
        yield f"{named} contradict each other: give one of them"
    bits = recipe.bits_per_s
    if bits is not None and not _LEAST_BITS <= bits <= _MOST_BITS:
        yield str(wrong("bitrate", recipe.bitrate))
    if (frames := recipe.frames_per_s) is not None and not _LEAST_FRAMES <= frames <= _MOST_FRAMES:
        yield str(wrong("fps", recipe.fps))
    if recipe.clip.to_s is not None and recipe.clip.from_s >= recipe.clip.to_s:
        yield (
            f"'recipe.clip.to' must be later than 'recipe.clip.from', {recipe.clip.from_s:g} s, "
            f"not {recipe.clip.to_s:g} s"
        )
    if (
        unfit := next((it for it in recipe.ffmpeg_args if not _can_be_passed(it)), None)
    ) is not None:
        yield f"'recipe.ffmpeg_args' must have no NUL and no half characters: {shown(unfit)}"
    if bounds := [it for it in ("max_width", "max_height") if getattr(recipe, it) is not None]:
        options = zip(recipe.ffmpeg_args[::2], recipe.ffmpeg_args[1::2], strict=False)
        chains = [chain for option, chain in options if option in {"-vf", "-filter:v"}]
        if found := next((it for chain in chains if (it := _RESIZING.search(chain))), None):
            yield (
                f"'recipe.ffmpeg_args' and 'recipe.{bounds[0]}' contradict each other: the filter "
                f"'{found[1]}' changes the size after it was bounded"
            )
    if recipe.split_s is not None and (what := _not_in_segments(recipe)) is not None:
        yield (
            f"'recipe.split_s' and 'recipe.{what}' contradict each other: a film that is split is "
            "encoded by quality or CRF, with every picture of the source"
        )
    yield from _contradictions_of_sound(recipe.audio, recipe.container)
    if not recipe.subtitles.keep and recipe.subtitles.languages:
        yield "'recipe.subtitles.languages' contradicts 'recipe.subtitles.keep': false"
    if codec is not None:
        yield from _contradictions_of_codec(recipe, codec)


def _not_in_segments(recipe: Recipe) -> str | None:
    """Name the field that can't be followed in each segment for itself, if there is one."""
    found = (it for it in _OF_WHOLE_FILMS if getattr(recipe, it) != getattr(Recipe(), it))
    return "deinterlace" if recipe.deinterlace == "always" else next(found, None)


_OF_WHOLE_FILMS: Final = ("bitrate", "vmaf", "fps", "clip", "ffmpeg_args")
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
                f"{shown(codec)}"
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
            f"{shown(recipe.bitrate)}"
        )
    if (frames := recipe.frames_per_s) is not None and frames > rates.most_frames:
        yield (
            f"'recipe.fps' must be at most {rates.most_frames} for {codec}, not {shown(recipe.fps)}"
        )
    if recipe.vmaf is not None and not rates.most_crf:
        yield f"'recipe.vmaf': {codec} has no CRF to search for"
    if recipe.quality is not None and not rates.takes_quality:
        yield f"'recipe.quality': that of {codec} can't be set"
    if recipe.bitrate is not None and not rates.takes_bitrate:
        yield f"'recipe.bitrate': that of {codec} can't be set"
    if recipe.hdr == "keep" and not rates.has_10_bits:
        yield f"'recipe.hdr': {codec} has 8 bits here, which can't keep it"
