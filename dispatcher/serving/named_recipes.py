"""Named recipes: those of the file that `serve --recipes` names.

Each table of the file is a recipe (docs/recipes.md):

    [web]
    quality = 60
    max_height = 720

Laws:
- A file is accepted whole or not at all. While it can't be used, the recipes in force stay.
- A change of the file changes no job: a job has all that its recipe said when it was submitted.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from dispatcher.errors import DispatcherError
from dispatcher.recipes import Recipe, RecipeError, recipe_of

__all__ = ["NamedRecipes", "NamedRecipesError"]

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_NAME_RULE: Final = "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -"


class NamedRecipesError(DispatcherError):
    """A file of recipes can't be used; the message says where the fault is and what to do."""


class NamedRecipes(Mapping[str, Recipe]):
    """The recipes in force by their names, in the order of their file, as last read.

    Without a `path` there is none. The constructor and `reload` raise `NamedRecipesError` if the
    file can't be used.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._recipes: dict[str, Recipe] = {}
        self.reload()

    def reload(self) -> None:
        """Read the file again. If it can't be used, the recipes in force don't change."""
        if self.path is not None:
            self._recipes = _parse(_read_text(self.path), self.path)

    def __getitem__(self, name: str) -> Recipe:
        """Return the recipe of this name. Raises `KeyError` if there is none."""
        return self._recipes[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._recipes)

    def __len__(self) -> int:
        return len(self._recipes)


def _read_text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():  # reading a pipe would block
            raise NamedRecipesError(f"{path}: is no regular file, so it can be no file of recipes")
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise NamedRecipesError(
            f"{path}: there is no such file; docs/recipes.md has one to begin with"
        ) from None
    except OSError as error:
        raise NamedRecipesError(f"{path}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise NamedRecipesError(f"{path}: is no text in UTF-8; a file of recipes is TOML") from None


def _parse(text: str, path: Path) -> dict[str, Recipe]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise NamedRecipesError(f"{path}: is no TOML: {error}") from error
    recipes: dict[str, Recipe] = {}
    for name, fields in document.items():
        if not isinstance(fields, dict):
            raise NamedRecipesError(
                f"{path}: '{name}' is in no recipe; each recipe begins with its name, as [web] does"
            )
        if _NAME.fullmatch(name) is None:
            raise NamedRecipesError(f"{path}: recipe {name!r}: its name {_NAME_RULE}")
        try:
            recipes[name] = recipe_of(fields, name=name)
        except RecipeError as error:
            raise NamedRecipesError(f"{path}: recipe '{name}': {error}") from error
    return recipes
