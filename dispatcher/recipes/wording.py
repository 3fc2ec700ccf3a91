"""What is said of a recipe that is wrong: the field, the rule and the value."""

import re
from collections.abc import Mapping
from typing import Any, Final, get_args

import msgspec

from dispatcher.recipes.recipe import Audio, Clip, Container, Recipe, Speed, Subtitles

__all__ = ["RecipeError", "readable", "shown", "wrong"]


class RecipeError(ValueError):
    """This is no recipe, or it contradicts itself. The text names the field and the rule."""


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
    "split_s": "seconds from 1 to 3600",
    "ffmpeg_args": "an array of at most 100 strings, each of at most 4096 characters",
}
"""What each field must be."""


def readable(text: str, fields: Mapping[str, Any]) -> str:
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
    return str(wrong(field, value))


_INDEX: Final = re.compile(r"\[[^]]*\]")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


def _known(field: str) -> str:
    """List the fields of a recipe, or of one of its objects."""
    struct = {"": Recipe, "audio": Audio, "subtitles": Subtitles, "clip": Clip}[field]
    return ", ".join(name for name in struct.__struct_encode_fields__ if name != "name")


def wrong(field: str, value: object) -> RecipeError:
    """Make the error that names a field, what it must be, and what it is."""
    return RecipeError(f"'recipe.{field}' must be {_RULES[field]}, not {shown(value)}")


def shown(value: object) -> str:
    """Return a value as JSON has it, cut off if it is long."""
    text = repr(value) if isinstance(value, float) else _as_json(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _as_json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError):
        return repr(value)
