"""`POST /jobs/batch`: many submissions in one request, and one answer to each.

A batch is a JSON array, or NDJSON: one submission a line. The answer has the same form and the same
order. Each of its lines has the status and the job, or the text of the error, that the submission
would get as a request of its own.

Laws:
- What the answer may weigh is held of the key's share before anything is done, so a batch that was
  carried out is never answered with 429.
- Parsing is done in parts, and others use the event loop in between.
"""

import asyncio
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec
from litestar import Request, post
from litestar.types import ASGIApp

from dispatcher.api import bodies, queries
from dispatcher.api.answers import JSON, NDJSON, Answer
from dispatcher.api.errors import HttpError, status_of
from dispatcher.api.replies import error_line, render_each
from dispatcher.api.requests import holding_of, service_of
from dispatcher.api.routes import declared
from dispatcher.api.schemas import ATOMIC, BATCH, BATCH_LINE
from dispatcher.api.sources import (
    is_sent_again,
    lacks_source,
    no_place_for_parts,
    no_source,
)
from dispatcher.core.commands import SubmitJob
from dispatcher.core.replies import Refused
from dispatcher.core.submissions import refusals
from dispatcher.recipes import Recipe
from dispatcher.serving.batches import NoneSubmittedError
from dispatcher.serving.callbacks import Callbacks
from dispatcher.serving.keys import Role
from dispatcher.serving.quotas import PIECE_BYTES
from dispatcher.serving.service import Service
from projections.jobs import JobView

__all__ = ["BODIES", "HANDLERS", "MAX_SUBMISSIONS", "BatchLine"]

MAX_SUBMISSIONS: Final = 10_000
BODIES: Final = 8
"""A batch may have so many times the bytes that any other body may have."""
ANSWER_BYTES: Final = 512
"""What an answer has at most beside the texts of its submission."""
COMMAS: Final = 50
"""More commas for each job than any array of 10,000 jobs has."""
PART: Final = 250
"""Submissions that are parsed at a time."""
NOT_DONE: Final = "Failed Dependency: this line is right, but others are not, so nothing was done."
KEYS_ARE_FIELDS: Final = (
    "'Idempotency-Key' is for a single job; in a batch each has its own 'idempotency_key'."
)
_NDJSON_TYPES: Final = frozenset({NDJSON, b"application/ndjson", b"application/jsonl"})
_SPACE: Final = b" \t\r\n"

_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


class BatchLine(msgspec.Struct, omit_defaults=True):
    """The answer to one submission of a batch: its `job`, or if it was refused the `error`.

    The `warning` is what the header `X-Dispatcher-Warning` tells of a single one.
    """

    status: int
    job: JobView | None = None
    error: str | None = None
    warning: str | None = None


class _Form(NamedTuple):
    """How a batch and its answer are written: what stands before, between and after its lines."""

    media_type: bytes
    begin: bytes
    between: bytes
    end: bytes

    def answer(self, status: int, lines: list[bytes]) -> Answer:
        body = self.begin + self.between.join(lines) + (self.end if lines or self.begin else b"")
        return Answer(status, body, self.media_type)


_ARRAY: Final = _Form(JSON, b"[", b",", b"]")
_LINES: Final = _Form(NDJSON, b"", b"\n", b"\n")


@post(
    "/jobs/batch",
    status_code=200,
    request_max_body_size=None,  # `_body` has a limit of its own
    **declared(
        needs=Role.CLIENT,
        answers={200: list[BatchLine], 409: list[BatchLine], 429: str},
        body=BATCH,
        line=BATCH_LINE,
        parameters=[ATOMIC],
        writes=True,
    ),
)
async def submit_batch(request: Request[Any, Any, Any]) -> ASGIApp:
    """Submit up to 10,000 jobs, each by itself, or with `atomic=true` all or none.

    The body is a JSON array, or NDJSON (application/x-ndjson); the answer has the same form. A
    submission may have an `idempotency_key`, which means what the header means for a single one.
    """
    queries.only(request.query_params, {"atomic"})
    is_atomic = queries.flag(request.query_params, "atomic")
    if request.scope["state"]["headers"].get(b"idempotency-key"):
        raise HttpError(400, f"Bad Request: {KEYS_ARE_FIELDS}")
    form, texts = await _texts(request)
    service, caller = service_of(request), request.scope["state"]["caller"]
    parsed: list[SubmitJob | HttpError] = []
    for first in range(0, len(texts), PART):
        if first:
            await asyncio.sleep(0)
        part = texts[first : first + PART]
        parsed += (_parsed(text, service.recipes, service.callbacks) for text in part)
    parsed = [await _checked(service, it) for it in parsed]
    submissions = [it for it in parsed if isinstance(it, SubmitJob)]
    holding_of(request.scope).at_least(
        sum(map(len, texts)) + _answers_bytes(submissions, len(texts))
    )
    if is_atomic and len(submissions) < len(parsed):
        await service.memory.complete(*submissions)
        refused = await service.explain(lambda fleet: refusals(fleet, submissions))
        return form.answer(409, _none_submitted(parsed, refused))
    try:
        answers = await service.submit_all(submissions, caller, render_each, is_atomic=is_atomic)
    except NoneSubmittedError as error:
        return form.answer(409, _none_submitted(parsed, error.refusals))
    if len(answers) == len(parsed):
        return form.answer(200, answers)
    rest = iter(answers)
    lines = [
        error_line(it.status, str(it)) if isinstance(it, HttpError) else next(rest) for it in parsed
    ]
    return form.answer(200, lines)


async def _texts(request: Request[Any, Any, Any]) -> tuple[_Form, list[bytes]]:
    """Read the body, and split it into the texts of its submissions."""
    body = await _body(request)
    told = request.scope["state"]["headers"].get(b"content-type", b"").partition(b";")[0]
    media_type = told.strip().lower()
    if media_type in _NDJSON_TYPES or (media_type != JSON and body.lstrip(_SPACE)[:1] == b"{"):
        form, texts = _LINES, _lines_of(body)
    else:
        form, texts = _ARRAY, _elements_of(body)
    if len(texts) > MAX_SUBMISSIONS:
        raise _too_many(f"{len(texts):,}")
    holding_of(request.scope).at_least(len(body) + _answers_bytes([], len(texts)))
    return form, texts


async def _body(request: Request[Any, Any, Any]) -> bytes:
    limit: int = request.app.state.batch_limit_bytes
    too_large = _too_large(f"a batch has at most {limit:,} bytes; send it in parts")
    declared_bytes = request.scope["state"]["headers"].get(b"content-length", b"")
    if declared_bytes.isdigit() and int(declared_bytes) > limit:
        raise too_large
    holding, body = holding_of(request.scope), bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            raise too_large
        if len(body) > PIECE_BYTES:
            holding.at_least(len(body))
    return bytes(body)


def _too_large(text: str) -> HttpError:
    return HttpError(413, f"Request Entity Too Large: {text}")


def _too_many(has: str) -> HttpError:
    return _too_large(f"a batch has at most {MAX_SUBMISSIONS:,} jobs, and this one has {has}")


def _lines_of(body: bytes) -> list[bytes]:
    if body.count(b"\n") > 2 * MAX_SUBMISSIONS:  # some may be empty
        raise _too_many("many more lines")
    return [it for it in body.split(b"\n") if it and not it.isspace()]


def _elements_of(body: bytes) -> list[bytes]:
    if not body:
        raise HttpError(400, "Invalid JSON: the body is empty")
    if body.count(b",") > COMMAS * MAX_SUBMISSIONS:  # it would be parsed for too long
        raise _too_many("many more elements")
    try:
        return [bytes(it) for it in _decode_array(body)]
    except msgspec.ValidationError as error:
        raise HttpError(
            400, "Bad Request: a batch must be an array of jobs, or NDJSON (application/x-ndjson)."
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HttpError(400, f"Invalid JSON: {error}") from error
    except RecursionError as error:
        raise HttpError(400, "Invalid JSON: nested too deeply") from error


def _answers_bytes(submissions: list[SubmitJob], answers: int) -> int:
    """Return what the answers have at most beside the texts of the submissions.

    A recipe may stand in a submission by its name alone, and is whole in the answer.
    """
    recipes = (it.recipe for it in submissions if it.recipe is not None)
    return ANSWER_BYTES * answers + sum(len(msgspec.json.encode(it)) for it in recipes)


async def _checked(service: Service, it: SubmitJob | HttpError) -> SubmitJob | HttpError:
    """Return a submission, or the error of one that lacks what it needs of the store."""
    if isinstance(it, HttpError):
        return it
    if lacks_source(service, it) and not await is_sent_again(service, it):
        return no_source(service, it)
    return no_place_for_parts(service, it) or it


def _parsed(
    text: bytes, recipes: Mapping[str, Recipe], callbacks: Callbacks | None
) -> SubmitJob | HttpError:
    try:
        return bodies.submission_of_batch(text, recipes, callbacks)
    except HttpError as error:
        return error


def _none_submitted(
    parsed: list[SubmitJob | HttpError], refused: Sequence[Refused | None]
) -> list[bytes]:
    """Word the answers to a batch of which nothing was done."""
    rest, lines = iter(refused), []
    for it in parsed:
        match it if isinstance(it, HttpError) else next(rest):
            case HttpError(status=status) as error:
                lines.append(error_line(status, str(error)))
            case Refused() as why:
                lines.append(error_line(status_of(why), why.text))
            case None:
                lines.append(error_line(HTTPStatus.FAILED_DEPENDENCY, NOT_DONE))
    return lines


HANDLERS: Final = (submit_batch,)
