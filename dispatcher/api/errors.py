"""Every error as the protocol wants it: a status and a bare text."""

import logging
from http import HTTPStatus
from typing import Any, Final

from litestar import Request
from litestar.exceptions import ClientException, HTTPException
from litestar.response.base import ASGIResponse
from litestar.types import ExceptionHandlersMap

from dispatcher.decider import Reason
from dispatcher.service import RefusedError, UnavailableError

__all__ = ["HANDLERS", "HttpError", "text_response"]

logger = logging.getLogger(__name__)

_STATUS: Final = {
    Reason.JOB_NOT_FOUND: 404,
    Reason.ENGINE_NOT_FOUND: 404,
    Reason.JOB_IS_FINAL: 400,
    Reason.JOB_NOT_RETRYABLE: 400,
    Reason.JOB_ID_TAKEN: 409,
    Reason.KEY_REUSED: 409,
    Reason.NOT_THE_HOLDER: 409,
}


class HttpError(Exception):
    """A request that can't be carried out, with the status and text to answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def text_response(status: int, text: str, headers: dict[str, str] | None = None) -> ASGIResponse:
    """Make a `text/plain` answer."""
    return ASGIResponse(
        body=text.encode(errors="replace"),
        status_code=status,
        media_type="text/plain",
        headers=headers,
    )


class _Answer:
    """What Litestar wants of an exception handler: something that makes an ASGI application."""

    def __init__(self, response: ASGIResponse) -> None:
        self._response = response

    def to_asgi_response(self, *_: object, **__: object) -> ASGIResponse:
        return self._response


def _http_error(_: Request[Any, Any, Any], error: HttpError) -> Any:
    return _Answer(text_response(error.status, str(error)))


def _refused(_: Request[Any, Any, Any], error: RefusedError) -> Any:
    return _Answer(text_response(_STATUS[error.rejected.reason], str(error)))


def _unavailable(_: Request[Any, Any, Any], error: UnavailableError) -> Any:
    text = f"Service Unavailable: {error}. Nothing was acknowledged; try again."
    return _Answer(text_response(503, text, {"Retry-After": "1"}))


def _litestar(request: Request[Any, Any, Any], error: HTTPException) -> Any:
    """Say in the protocol's way what Litestar itself refuses: routes, methods, sizes."""
    status = error.status_code
    phrase = HTTPStatus(status).phrase
    match status:
        case 404:
            text = f"{phrase}: there is no {request.url.path}"
        case 405:
            text = f"{phrase}: {request.method} does not go with {request.url.path}"
        case 413:
            text = f"{phrase}: the body is over the server's limit"
        case _:
            text = f"{phrase}: {error.detail}"
    return _Answer(text_response(status, text, dict(error.headers or {})))


def _defect(request: Request[Any, Any, Any], error: Exception) -> Any:
    if isinstance(error, ClientException):
        return _litestar(request, error)
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _Answer(text_response(500, "Internal Server Error: see the dispatcher's own log"))


HANDLERS: Final[ExceptionHandlersMap] = {
    HttpError: _http_error,
    RefusedError: _refused,
    UnavailableError: _unavailable,
    HTTPException: _litestar,
    Exception: _defect,
}
