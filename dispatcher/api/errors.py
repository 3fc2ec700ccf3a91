"""Every error as the protocol wants it: a status and a bare text."""

import logging
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from litestar import Request
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap, HTTPScope

from dispatcher.api.answers import Answer, text_answer
from dispatcher.core.replies import Reason
from dispatcher.log import LogError
from dispatcher.serving.as_of import TooManyError
from dispatcher.serving.feed import TooManyStreamsError
from dispatcher.serving.tickets import RefusedError, UnavailableError

__all__ = ["HANDLERS", "TOO_LARGE", "HttpError", "answer_to"]

logger = logging.getLogger(__name__)

TOO_LARGE: Final = "Request Entity Too Large: the body is over the server's limit"

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


def answer_to(error: Exception, scope: HTTPScope) -> Answer:
    """Put an error into the protocol's words. What nobody foresaw is logged, and hidden."""
    match error:
        case HttpError():
            return text_answer(error.status, str(error))
        case RefusedError():
            return text_answer(_STATUS[error.refused.reason], str(error))
        case UnavailableError():
            return _come_back(503, f"{error}. Nothing was acknowledged; try again.")
        case LogError():
            return _come_back(503, str(error))
        case TooManyError() | TooManyStreamsError():
            return _come_back(429, str(error))
        case HTTPException():
            return _litestar(error, scope)
        case _:
            request_id = scope["state"]["caller"].request_id
            logger.error(
                "%s %s failed, request %s",
                scope["method"],
                scope["path"],
                request_id,
                exc_info=error,
            )
            return text_answer(500, "Internal Server Error: see the dispatcher's own log")


def _come_back(status: int, text: str) -> Answer:
    return text_answer(status, f"{HTTPStatus(status).phrase}: {text}", {"Retry-After": "1"})


def _litestar(error: HTTPException, scope: HTTPScope) -> Answer:
    """Say in the protocol's way what Litestar itself refuses: routes, methods, sizes."""
    status = error.status_code
    phrase = HTTPStatus(status).phrase
    match status:
        case 404:
            text = f"{phrase}: there is no {quote(scope['path'])}"
        case 405:
            text = f"{phrase}: {scope['method']} does not go with {quote(scope['path'])}"
        case 413:
            text = TOO_LARGE
        case _:
            text = f"{phrase}: {error.detail}"
    return text_answer(status, text, dict(error.headers or {}))


class _Handled:
    """What Litestar wants of an exception handler: something that makes an ASGI application."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def to_asgi_response(self, *_: object, **__: object) -> Answer:
        return self._answer


def _handled(request: Request[Any, Any, Any], error: Exception) -> Any:
    return _Handled(answer_to(error, request.scope))


HANDLERS: Final[ExceptionHandlersMap] = {HTTPException: _handled, Exception: _handled}
