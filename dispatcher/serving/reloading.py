"""Read the files of keys and recipes again, while the dispatcher serves.

Law: a file that can't be used changes nothing that is in force, and is none to the other.
"""

from typing import NamedTuple

from dispatcher.serving.keys import ApiKeys, KeysError
from dispatcher.serving.named_recipes import NamedRecipes, NamedRecipesError

__all__ = ["Reloaded", "nothing_to_reload", "reload"]


class Reloaded(NamedTuple):
    """What is in force now, a line for each file that was read, and why others were not."""

    done: list[str]
    faults: list[str]


def nothing_to_reload() -> Reloaded:
    """Stand for `reload` where there are no files."""
    return Reloaded([], [])


def reload(keys: ApiKeys | None, recipes: NamedRecipes | None) -> Reloaded:
    """Read the files again that there are; both lists are empty if there is none."""
    files: dict[str, ApiKeys | NamedRecipes | None] = {"keys": keys, "recipes": recipes}
    reloaded = Reloaded([], [])
    for what, file in files.items():
        if file is None or file.path is None:
            continue
        try:
            file.reload()
        except (KeysError, NamedRecipesError) as error:
            reloaded.faults.append(f"{error}; the {what} in force stay what they were")
        else:
            reloaded.done.append(f"Read {file.path} again; {what} in force: {len(file)}.")
    return reloaded
