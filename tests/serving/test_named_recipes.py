"""The file of named recipes: accepted whole or not at all, and what its errors say."""

import re
from pathlib import Path

import pytest

from dispatcher.output_names import PLACEHOLDERS
from dispatcher.recipes import Audio, Recipe, Subtitles
from dispatcher.results import Result
from dispatcher.serving.named_recipes import NamedRecipes, NamedRecipesError

GOOD = """
[web]
quality = 60
max_height = 720
audio = {codec = "opus", languages = ["de", "en"]}

[archive]
vmaf = 95
clip.to = "1:30"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recipes.toml"


def error_of(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(NamedRecipesError) as caught:
        NamedRecipes(path)
    return str(caught.value)


def test_without_a_file_there_are_none() -> None:
    recipes = NamedRecipes()
    recipes.reload()
    assert dict(recipes) == {}


def test_recipes_are_listed_in_the_order_of_the_file(path: Path) -> None:
    path.write_text(GOOD)
    recipes = NamedRecipes(path)
    assert [*recipes] == ["web", "archive"]
    assert len(recipes) == 2
    assert isinstance(recipes["web"], Recipe)
    assert recipes["archive"].wire() == {"name": "archive", "vmaf": 95.0, "clip": {"to": 90.0}}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[web", "is no TOML: "),
        ("quality = 60", "'quality' is in no recipe; each recipe begins with its name, as [web]"),
        ("[[web]]\nquality = 60", "'web' is in no recipe; each recipe begins with its name"),
        ('["we b"]', "recipe 'we b': its name must be 1 to 64 of the characters"),
        ("[web]\nheight = 9", "recipe 'web': 'recipe' has no field 'height'; it has quality, "),
        ("[web]\nmax_height = 9", "recipe 'web': 'recipe.max_height' must be an integer from 16"),
        ("[web]\nname = 'x'", "recipe 'web': 'recipe.name' can't be set"),
        ("[a]\n[web]\ncrf = 1\nvmaf = 90", "recipe 'web': 'recipe.crf' and 'recipe.vmaf' contra"),
    ],
)
def test_a_bad_file_is_told_with_recipe_and_field(path: Path, text: str, fault: str) -> None:
    assert error_of(path, text).startswith(f"{path}: {fault}")


def test_what_is_no_text_file_is_told(path: Path) -> None:
    with pytest.raises(NamedRecipesError, match="there is no such file"):
        NamedRecipes(path)
    path.write_bytes(b"\xff")
    with pytest.raises(NamedRecipesError, match="no text in UTF-8"):
        NamedRecipes(path)
    with pytest.raises(NamedRecipesError, match="no regular file"):
        NamedRecipes(path.parent)


def test_a_file_that_went_bad_changes_nothing(path: Path) -> None:
    path.write_text(GOOD)
    recipes = NamedRecipes(path)
    path.write_text("[web]\nquality = 70\n[other]\nquality = 1000\n")
    with pytest.raises(NamedRecipesError):
        recipes.reload()
    assert [*recipes] == ["web", "archive"]
    assert recipes["web"].quality == 60.0
    path.write_text("[web]\nquality = 70\n")
    recipes.reload()
    assert {name: recipe.quality for name, recipe in recipes.items()} == {"web": 70.0}


# The manual


MANUAL = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()


def test_the_example_of_the_manual_can_be_used(path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", MANUAL, re.DOTALL)
    path.write_text(example)
    assert [*NamedRecipes(path)] == ["web", "archive", "preview"]


def test_the_manual_has_every_field_every_ability_and_every_placeholder() -> None:
    told = set(re.findall(r"`([\w.{}]+)`(?=[^|]*\|)", MANUAL))
    fields = set(Recipe.__struct_encode_fields__) - {"name", "clip"} | {"clip.from", "clip.to"}
    fields |= {f"audio.{it}" for it in Audio.__struct_encode_fields__}
    fields |= {f"subtitles.{it}" for it in Subtitles.__struct_encode_fields__}
    abilities = Recipe(vmaf=90, ffmpeg_args=("-x",)).needs
    placeholders = {f"{{{it}}}" for it in PLACEHOLDERS}
    assert fields | abilities | placeholders | set(Result.__struct_fields__) <= told
