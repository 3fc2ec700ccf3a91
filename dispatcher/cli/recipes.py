"""`dispatcher recipes`, what `dispatcher submit` makes of its options, and recipes in words."""

import math
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from dispatcher.cli.asking import ask
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, AsJson, Server
from dispatcher.cli.output import print_json, print_text
from dispatcher.cli.tables import Column, print_rows
from dispatcher.client import Client
from dispatcher.recipes import WAYS, Recipe, RecipeError, stored_recipe
from dispatcher.results import Extent, Result

__all__ = [
    "AskedFor",
    "asked_recipe",
    "number_or_text",
    "recipe_in_words",
    "recipes",
    "result_in_words",
]

_BYTES_A_MB: Final = 1_000_000
_MINUTE_S: Final = 60

AskedFor = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE|JSON",
        help="One that the dispatcher has, or the fields of one: FILE.toml, FILE.json, or JSON.",
        show_default=False,
    ),
]


def recipes(
    server: Server = DEFAULT_SERVER, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """List the recipes that a job can name."""
    found = ask(server, api_key, Client.recipes)
    if as_json:
        print_json(found)
    elif not found:
        print_text("The dispatcher has none; `serve --recipes FILE` gives it some.")
    else:
        print_rows(_COLUMNS, found)


_COLUMNS: Final[Sequence[Column[dict[str, Any]]]] = (
    Column("recipe", lambda fields: str(fields.get("name"))),
    Column("what it asks for", lambda fields: recipe_in_words(_unnamed(fields)), cut="wrap"),
)


def _unnamed(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "name"}


def asked_recipe(given: str | None, options: Mapping[str, Any]) -> dict[str, Any] | str | None:
    """Return the recipe to submit: a name, or the fields given, which single options replace.

    An option for a part of `clip` or `audio` leaves the other parts as they are, and one for the
    quality takes the place of any other.
    """
    said = {name: value for name, value in options.items() if value is not None}
    for name, value in said.items():
        if isinstance(value, float) and not math.isfinite(value):  # JSON would have null for it
            raise typer.BadParameter(
                f"--{_option_of({name: value})}: must be a number, not {value}"
            )
    clip = {side: said.pop(f"clip_{side}") for side in ("from", "to") if f"clip_{side}" in said}
    if clip:
        said["clip"] = clip
    fields = _fields(given)
    if fields is None:
        if said:
            raise typer.BadParameter(
                f"--recipe {given}: a named recipe is taken as it is; leave out "
                f"--{_option_of(said)}, or give its fields as a file or as JSON"
            )
        return given
    if any(way in said for way in WAYS):
        fields = {name: value for name, value in fields.items() if name not in WAYS}
    if clip and isinstance(before := fields.get("clip"), dict):
        said["clip"] = before | clip
    is_encoded = said.get("audio") not in {None, "copy", "none"}
    if is_encoded and isinstance(before := fields.get("audio"), dict):
        said["audio"] = before | {"codec": said["audio"]}
    return {**fields, **said} or None


def _option_of(said: Mapping[str, Any]) -> str:
    name = next(iter(said))
    if name == "split_s":
        return "split"
    return f"clip-{next(iter(said[name]))}" if name == "clip" else name.replace("_", "-")


def _fields(given: str | None) -> dict[str, Any] | None:
    """Read the fields of a recipe; `None` if it is a name.

    A file is given by a path with a suffix or a separator: a name is never read as a file.
    """
    if given is None:
        return {}
    path = Path(given)
    try:
        if given.lstrip()[:1] in {"{", "["}:
            return msgspec.json.decode(given, type=dict[str, Any])
        if path.suffix == ".json":
            return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        if path.suffix == ".toml" or os.sep in given:
            return _one_of(given, tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise typer.BadParameter(f"--recipe {given}: can't be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise typer.BadParameter(f"--recipe: neither JSON nor TOML: {error}") from error
    return None


def _one_of(given: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a file's recipe, unless it has several, each a table with a name."""
    tables = [name for name, value in fields.items() if isinstance(value, dict)]
    if tables and len(tables) == len(fields) and not {*tables} & {*Recipe.__struct_fields__}:
        raise typer.BadParameter(
            f"--recipe {given}: has recipes with names ({', '.join(tables)}), as `serve --recipes` "
            "takes them; give a file with the fields of one, or the name of one that is served"
        )
    return fields


def number_or_text(given: str | None) -> int | float | str | None:
    """Return what an option that may be a number stands for."""
    try:
        return given if given is None else msgspec.json.decode(given, type=int | float)
    except msgspec.DecodeError:
        return given


def recipe_in_words(fields: Mapping[str, Any]) -> str:
    """Say what a recipe asks for. One that this version does not know is shown as JSON."""
    try:
        recipe = stored_recipe(fields)
    except RecipeError:
        return msgspec.json.encode(fields).decode()
    words = [*_of_the_rate(recipe), *_of_the_picture(recipe), *_of_the_rest(recipe)]
    named = "" if recipe.name is None else f"{recipe.name}: "
    return f"{named}{', '.join(words) or 'nothing'}"


def _of_the_rate(recipe: Recipe) -> Iterable[str]:
    if recipe.quality is not None:
        yield f"quality {recipe.quality:g} of 100"
    if recipe.crf is not None:
        yield f"CRF {recipe.crf:g}"
    if (bits := recipe.bits_per_s) is not None:
        yield f"{bits / 1_000:,g} kb/s"
    if recipe.vmaf is not None:
        yield f"VMAF {recipe.vmaf:g}"
    if recipe.speed is not None:
        yield f"speed {recipe.speed}"


def _of_the_picture(recipe: Recipe) -> Iterable[str]:
    if recipe.max_width is not None:
        yield f"at most {recipe.max_width} pixels wide"
    if recipe.max_height is not None:
        yield f"at most {recipe.max_height} pixels high"
    if recipe.fps is not None:
        yield f"{recipe.fps if isinstance(recipe.fps, str) else f'{recipe.fps:g}'} frames a second"
    if recipe.deinterlace != "auto":
        yield f"deinterlaced {recipe.deinterlace}"
    if recipe.hdr is not None:
        yield "HDR kept" if recipe.hdr == "keep" else "HDR tone-mapped"


def _of_the_rest(recipe: Recipe) -> Iterable[str]:
    if recipe.container is not None:
        yield f"in {recipe.container}"
    if recipe.split_s is not None:
        yield f"split every {recipe.split_s:g} s"
    audio, subtitles, clip = recipe.audio, recipe.subtitles, recipe.clip
    if audio.codec is not None:
        known = {"none": "no sound", "copy": "sound copied"}
        yield known.get(audio.codec, f"sound in {audio.codec}")
    if audio.kbps_per_channel is not None:
        yield f"{audio.kbps_per_channel} kb/s a channel"
    if audio.languages:
        yield f"sound of {' and '.join(audio.languages)}"
    if not subtitles.keep:
        yield "no subtitles"
    if subtitles.languages:
        yield f"subtitles of {' and '.join(subtitles.languages)}"
    if clip.from_s or clip.to_s is not None:
        yield f"from {_time(clip.from_s)} to {'the end' if clip.to_s is None else _time(clip.to_s)}"
    if recipe.ffmpeg_args:
        yield f"ffmpeg arguments {' '.join(recipe.ffmpeg_args)}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(seconds, _MINUTE_S)
    return f"{minutes:.0f}:{rest:02.0f}" if rest.is_integer() else f"{minutes:.0f}:{rest:06.3f}"


def result_in_words(fields: Mapping[str, Any]) -> Iterable[str]:
    """Yield lines that say what was done."""
    result = msgspec.convert(fields, Result)
    done = []
    if result.encoder is not None:
        done.append(f"encoded with {result.encoder}")
    if result.crf is not None:
        done.append(f"CRF {result.crf:g}")
    if result.vmaf is not None:
        done.append(f"VMAF {result.vmaf:.2f}")
    if result.speed is not None:
        done.append(f"{result.speed:.3g} seconds of film a second")
    if done:
        yield f"Done: {', '.join(done)}"
    for what, extent in (("Source", result.source), ("Output", result.output)):
        if extent is not None and (words := _extent(extent)):
            yield f"{what}: {words}"
    for what, texts in (("Kept", result.kept), ("Left out", result.left_out)):
        if texts:
            yield f"{what}: {'; '.join(texts)}"
    for warning in result.warnings:
        yield f"Warning: {warning}"


def _extent(extent: Extent) -> str:
    words = []
    if extent.size_bytes is not None:
        words.append(f"{extent.size_bytes / _BYTES_A_MB:,.2f} MB")
    if extent.length_s is not None:
        words.append(f"{extent.length_s:,.2f} s")
    if extent.sha256 is not None:
        words.append(f"SHA-256 {extent.sha256}")
    return ", ".join(words)
