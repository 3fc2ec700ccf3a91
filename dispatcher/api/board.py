"""The routes of the board's page: `/`, and the files that it loads. They need no key.

Laws:
- The files are answered from memory. What is not a name among them is 404, however it is spelt.
- The page runs no script and no style but the board's own files, talks to this dispatcher alone,
  is shown in no frame (Content-Security-Policy), and can make no markup of texts (Trusted Types, of
  which the one policy, `workers`, is for the names of the page's own workers).
- A browser asks each time whether a file has changed, so that after an update no old one is used.
- Whoever does not ask for HTML gets the line of text at `/` that health checks know.
"""

from typing import Any, Final

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import ASGIApp

from dispatcher.api.answers import Answer, text_answer
from dispatcher.api.auth import NO_KEY
from dispatcher.api.errors import HttpError
from dispatcher.api.routes import declared
from dispatcher.board import INDEX, Board, File

__all__ = ["HANDLERS"]

GREETING: Final = (
    "This is a transcoding dispatcher. /health says whether it is well; /schema describes its API "
    "to those who have a key.\n"
)
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types workers"
)
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_VARY: Final = {"Vary": "Accept"}
_NEEDS_KEY: Final = {"X-Dispatcher-Auth": "key"}
"""Told to whom all else is closed. So the page need not try what would be refused."""


async def greeting(request: Request[Any, Any, Any]) -> ASGIApp:
    """Give the board's page to whoever asks for HTML, else say that a dispatcher answers here.

    Needs no key: the health checks of some engines ask.
    """
    headers = _VARY | (_NEEDS_KEY if request.scope["state"]["role"] is None else {})
    if _accepts_html(request.headers.getall("Accept", [])):
        return _answer(request, _board(request).files[INDEX], headers)
    return text_answer(200, GREETING, headers)


async def board_file(request: Request[Any, Any, Any], file: FromPath[str]) -> ASGIApp:
    """Give a file of the board's page. Needs no key."""
    if (found := _board(request).files.get(file)) is None:
        raise HttpError(404, "File not found")
    return _answer(request, found)


def _board(request: Request[Any, Any, Any]) -> Board:
    board: Board = request.app.state.board
    return board


def _answer(
    request: Request[Any, Any, Any], file: File, more: dict[str, str] | None = None
) -> Answer:
    headers = _HEADERS | {"ETag": file.etag} | (more or {})
    if _has(request.headers.getall("If-None-Match", []), file.etag):
        return Answer(304, headers=headers)
    return Answer(200, file.content, file.media_type, headers)


def _has(given: list[str], etag: str) -> bool:
    """Whether an `If-None-Match` names what is there. Here weak validators count as well."""
    tags = {tag.strip().removeprefix("W/") for line in given for tag in line.split(",")}
    return etag in tags or "*" in tags


def _accepts_html(given: list[str]) -> bool:
    """Whether an `Accept` names HTML itself, as browsers do. `*/*` is what any program sends."""
    for line in given:
        for offer in line.lower().split(","):
            media_type, *parameters = (part.strip() for part in offer.split(";"))
            if media_type == "text/html":
                return not any(_is_zero(parameter) for parameter in parameters)
    return False


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and not value.strip().strip("0.")


_ROOT: Final = declared(needs=NO_KEY, answers={200: str})
_FILE: Final = declared(needs=NO_KEY, answers={200: str, 404: str})


def _head(path: str, route: dict[str, Any], handler: Any) -> HTTPRouteHandler:
    """Answer HEAD as GET. The server leaves out the body, of which Litestar's `head` has none."""
    return HTTPRouteHandler(path, http_method="HEAD", include_in_schema=False, **route)(handler)


HANDLERS: Final = (
    get("/", **_ROOT)(greeting),
    _head("/", _ROOT, greeting),
    get("/board/{file:str}", **_FILE)(board_file),
    _head("/board/{file:str}", _FILE, board_file),
)
