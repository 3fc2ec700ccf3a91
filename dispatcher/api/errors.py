"""Every error in the form of the protocol: a status and a plain text."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from litestar import Request
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap, HTTPScope

from dispatcher.api.answers import Answer, text_answer
from dispatcher.core.replies import Reason, Refused
from dispatcher.headers import UNDONE_HEADER
from dispatcher.index import IndexFaultError
from dispatcher.log import LogError, TooLargeError
from dispatcher.serving.catching_up import BehindError
from dispatcher.serving.quotas import TooManyError
from dispatcher.serving.tickets import RefusedError, UnavailableError, UndoneError

__all__ = ["HANDLERS", "TOO_LARGE", "HttpError", "answer_to", "status_of", "stopped"]

logger = logging.getLogger(__name__)

TOO_LARGE: Final = "Request Entity Too Large: the body is over the server's limit"

_STATUS: Final = {
    Reason.JOB_NOT_FOUND: 404,
    Reason.ENGINE_NOT_FOUND: 404,
    Reason.JOB_IS_FINAL: 400,
    Reason.JOB_NOT_RETRYABLE: 400,
    Reason.REPORT_TOO_LARGE: 400,
    Reason.JOB_NOT_WAITING: 409,
    Reason.JOB_ID_TAKEN: 409,
    Reason.KEY_REUSED: 409,
    Reason.NOT_THE_HOLDER: 409,
    Reason.INSTANCE_REPLACED: 409,
    Reason.NOT_TO_BE_SPLIT: 409,
    Reason.NO_PREREQUISITE: 400,
    Reason.LOST_PREREQUISITE: 409,
    Reason.NOT_ITS_ENGINE: 403,
}


class HttpError(Exception):
    """The error of a request that can't be carried out: the response's status and text."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


def status_of(refused: Refused) -> int:
    """Return the status of a response that says why a rule refused a command."""
    return _STATUS[refused.reason]


def answer_to(error: Exception, scope: HTTPScope) -> Answer:
    """Turn an error into a response. An unexpected one is logged, and its details are hidden."""
    match error:
        case HttpError():
            return text_answer(error.status, str(error), error.headers)
        case RefusedError():
            return text_answer(status_of(error.refused), str(error))
        case UnavailableError():
            text = f"{error}. Nothing was acknowledged; try again."
            return _retry_later(503, text, is_undone=isinstance(error, UndoneError))
        case TooLargeError():
            return text_answer(413, f"Request Entity Too Large: {error}")
        case LogError() | IndexFaultError():
            return _retry_later(503, str(error))
        case BehindError():
            return _retry_later(503, str(error), is_undone=True)
        case TooManyError():
            return _retry_later(429, str(error))
        case HTTPException():
            return _litestar_error(error, scope)
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


def stopped() -> Answer:
    """Return the answer to a request that the server waits for no longer, since it stops."""
    return _retry_later(503, "the dispatcher is stopping; this may be done or not. Try again.")


def _retry_later(status: int, text: str, *, is_undone: bool = False) -> Answer:
    headers = {"Retry-After": "1"} | ({UNDONE_HEADER: "true"} if is_undone else {})
    return text_answer(status, f"{HTTPStatus(status).phrase}: {text}", headers)


def _litestar_error(error: HTTPException, scope: HTTPScope) -> Answer:
    """Turn Litestar's own errors (routes, methods, sizes) into the protocol's form."""
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
    """The result that Litestar expects of an exception handler: it makes an ASGI application."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def to_asgi_response(self, *_: object, **__: object) -> Answer:
        return self._answer


def _handled(request: Request[Any, Any, Any], error: Exception) -> Any:
    return _Handled(answer_to(error, request.scope))


HANDLERS: Final[ExceptionHandlersMap] = {HTTPException: _handled, Exception: _handled}
