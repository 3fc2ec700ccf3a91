"""The route that has the dispatcher read its files again: keys, recipes, the certificate."""

from typing import Any, Final

from litestar import Request, post

from dispatcher.api.answers import Answer, text_answer
from dispatcher.api.errors import HttpError
from dispatcher.api.routes import declared
from dispatcher.serving.keys import Role
from dispatcher.serving.reloading import Reloaded

__all__ = ["reload_files"]

NO_FILES: Final = (
    "Conflict: there is no keys file and no file of recipes to read again; `serve` takes them with "
    "--keys and --recipes, and a certificate with --tls-cert."
)


@post("/reload", **declared(needs=Role.OPERATOR, answers={200: str, 409: str}))
async def reload_files(request: Request[Any, Any, Any]) -> Answer:
    """Read the files again that `serve` was given with `--keys`, `--recipes` and `--tls-cert`.

    SIGHUP does the same.

    A file that can't be used leaves what is in force, and the response says why.
    """
    reloaded: Reloaded = request.app.state.read_again()
    if reloaded.faults:
        raise HttpError(409, f"Conflict: {'; '.join([*reloaded.faults, *reloaded.done])}")
    if not reloaded.done:
        raise HttpError(409, NO_FILES)
    return text_answer(200, "\n".join(reloaded.done))
