"""Read the files of keys, recipes and the certificate again, while the dispatcher serves.

Law: a file that can't be used changes nothing that is in force, and leaves the others alone.
"""

from pathlib import Path
from typing import NamedTuple, Protocol

from dispatcher.errors import DispatcherError
from dispatcher.serving.keys import ApiKeys, KeysError
from dispatcher.serving.named_recipes import NamedRecipes, NamedRecipesError

__all__ = ["Reloaded", "Renewable", "nothing_to_reload", "reload"]


class Reloaded(NamedTuple):
    """What is in force now, a line for each file that was read, and why others were not."""

    done: list[str]
    faults: list[str]


class Renewable(Protocol):
    """A certificate in a file, as `str` tells what is in force."""

    path: Path

    def reload(self) -> None:
        """Read it again. `DispatcherError` if it can't be used; then nothing changes."""


def nothing_to_reload() -> Reloaded:
    """Stand for `reload` where there are no files."""
    return Reloaded([], [])


def reload(
    keys: ApiKeys | None, recipes: NamedRecipes | None, certificate: Renewable | None = None
) -> Reloaded:
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
    if certificate is not None:
        try:
            certificate.reload()
        except DispatcherError as error:
            reloaded.faults.append(f"{error}; the certificate in force stays, {certificate}")
        else:
            reloaded.done.append(f"Read {certificate.path} again; it is {certificate}.")
    return reloaded
