"""Read recipes: as people write them, and as jobs have stored them."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from dispatcher.recipes.contradictions import check
from dispatcher.recipes.recipe import Recipe
from dispatcher.recipes.wording import RecipeError, readable, wrong

__all__ = ["MAX_BYTES", "recipe_of", "stored_recipe"]

MAX_BYTES: Final = 16_384
"""The most bytes of a recipe as JSON. Each of its jobs keeps it."""
_CLOCK: Final = (3_600, 60, 1)
_TIME: Final = re.compile(r"([0-9]{1,6}:){0,2}[0-9]{1,6}(\.[0-9]{1,6})?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,6})?", re.ASCII)


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
        raise RecipeError(readable(str(error), fields)) from error
    if (size := len(msgspec.json.encode(recipe))) > MAX_BYTES:
        raise RecipeError(f"'recipe' must be at most {MAX_BYTES} bytes of JSON, not {size:,}")
    check(recipe, codec)
    return recipe


def stored_recipe(fields: Mapping[str, Any]) -> Recipe:
    """Return the recipe that `Recipe.wire` returned.

    Raises `RecipeError` for one that has fields that this version does not know.
    """
    try:
        return msgspec.convert(fields, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(readable(str(error), fields)) from error


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
        raise wrong(name, clock)
    return sum(it * each for it, each in zip(numbers, _CLOCK[-len(numbers) :], strict=True))
