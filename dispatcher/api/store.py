"""The routes of the store: uploads that go on where they broke off, files by their SHA-256.

Laws:
- A body goes to disk as it comes, and a file to its client as that reads. Neither is ever in memory
  as a whole.
- A body may take any time to arrive, as long as it moves: `StoreLimits.stall_s` bounds how long it
  may stand still, or nearly so. What has come stays.
- Whatever is served here is another's file: it is sent as an attachment, and no browser guesses
  what it is.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote

import msgspec
from litestar import Request, get, post, put, route
from litestar.openapi.spec import OpenAPIType, Parameter, Schema
from litestar.params import FromPath
from litestar.types import ASGIApp

from dispatcher.api.answers import Answer, json_answer
from dispatcher.api.auth import ANY_KEY
from dispatcher.api.errors import HttpError
from dispatcher.api.ranges import Taken, span_of, taken_of
from dispatcher.api.requests import asker_of, service_of
from dispatcher.api.routes import declared
from dispatcher.api.streamed import Streamed
from dispatcher.core.replies import Reason
from dispatcher.http_limits import BODY_IS_TIMED
from dispatcher.serving.quotas import Asker
from dispatcher.serving.service import Service
from dispatcher.store import (
    BusyError,
    Progress,
    Store,
    StoreError,
    StoreFullError,
    TooLargeError,
    TooManyPartsError,
    UnknownUploadError,
    WrongOffsetError,
    WrongSha256Error,
    is_upload_id,
)
from dispatcher.store_urls import StoreUrl, is_sha256

__all__ = ["HANDLERS", "StoreShown", "Stored", "UploadBegun"]

OFFSET: Final = "Upload-Offset"
"""The header that says how many bytes of an upload are there (the name is that of tus)."""
NO_STORE: Final = (
    "Not Found: this dispatcher has no store; its operator can give it one with `serve --store DIR`"
)
PAUSE_S: Final = 0.001
"""The pause between two pieces of a file, of a MiB each. The thread that commits needs the
interpreter too, and gets it soon only when the event loop is idle."""
MIN_BYTES_PER_S: Final = 1_024
"""A body that is slower than this, over the time of a stall, stands still."""
_TYPES: Final = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".ts": "video/mp2t",
}
_OTHER: Final = "application/octet-stream"
_GUARDED: Final = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}

_CONTENT_RANGE: Final = Parameter(
    "Content-Range",
    "header",
    description="bytes FIRST-LAST/TOTAL of a part; bytes */TOTAL, without a body, to finish; none "
    "if the body is all of the file",
    schema=Schema(type=OpenAPIType.STRING),
)
_RANGE: Final = Parameter("Range", "header", schema=Schema(type=OpenAPIType.STRING))


class StoreShown(msgspec.Struct, frozen=True):
    """Whether there is a store, and what it takes; sizes are in bytes."""

    enabled: bool
    files: int = 0
    used_bytes: int = 0
    max_bytes: int = 0
    max_file_bytes: int = 0
    keep_s: float = 0.0


class Stored(msgspec.Struct, frozen=True):
    """A file that is there. Its `url` can be the source of a job."""

    sha256: str
    size_bytes: int
    url: str


class UploadBegun(msgspec.Struct, frozen=True):
    """An upload whose SHA-256 is not known: the path to send its bytes to."""

    location: str


@get("/store", **declared(needs=ANY_KEY, answers={200: StoreShown}))
async def show_store(request: Request[Any, Any, Any]) -> ASGIApp:
    """Say whether this dispatcher takes files, and how large they may be."""
    if (store := service_of(request).store) is None:
        return json_answer(StoreShown(enabled=False))
    limits = store.limits
    return json_answer(
        StoreShown(
            enabled=True,
            files=store.count,
            used_bytes=store.used_bytes,
            max_bytes=limits.max_bytes,
            max_file_bytes=limits.max_file_bytes,
            keep_s=limits.keep_s,
        )
    )


@post(
    "/store",
    status_code=201,
    request_max_body_size=None,
    **declared(
        needs=ANY_KEY,
        answers={
            201: Stored,
            202: UploadBegun,
            404: str,
            408: str,
            411: str,
            413: str,
            429: str,
            503: str,
            507: str,
        },
        binary=True,
    ),
)
async def begin_upload(request: Request[Any, Any, Any]) -> ASGIApp:
    """Begin an upload whose SHA-256 is not known; with a body, that is all of the file."""
    store, owner = _store_of(request), asker_of(request).name
    headers = request.scope["state"]["headers"]
    if b"content-range" in headers:
        raise HttpError(400, "Bad Request: 'Content-Range' goes with PUT, not with POST.")
    taken = taken_of(headers)
    try:
        upload = await store.begin(owner)
    except StoreError as error:
        raise _refused(error) from error
    if not taken.length:
        location = f"/store/{upload}"
        said = {"Location": location, OFFSET: "0"}
        return json_answer(UploadBegun(location), status=202, headers=said)
    return _progressed(await _receive(request, store, upload, taken), is_new=True)


@put(
    "/store/{name:str}",
    status_code=201,
    request_max_body_size=None,
    **declared(
        needs=ANY_KEY,
        answers={
            200: Stored,
            201: Stored,
            202: None,
            404: str,
            408: str,
            409: str,
            411: str,
            413: str,
            429: str,
            503: str,
            507: str,
        },
        parameters=[_CONTENT_RANGE],
        binary=True,
    ),
)
async def upload(request: Request[Any, Any, Any], name: FromPath[str]) -> ASGIApp:
    """Send a file, or go on with one, named by its SHA-256 or by the id of an upload.

    200 if it was there already, 201 if it is whole now, 202 if more is to come.
    """
    store = _store_of(request)
    _require_name(name)
    taken = taken_of(request.scope["state"]["headers"])
    there = await _progress(store, name, asker_of(request))
    if there.sha256 is not None:
        return _progressed(there, is_new=False)
    return _progressed(await _receive(request, store, name, taken), is_new=True)


@route(  # Litestar's `head` takes handlers that answer nothing only
    "/store/{name:str}",
    http_method="HEAD",
    **declared(
        needs=ANY_KEY, answers={200: None, 204: None, 404: None, 429: None}, parameters=[_RANGE]
    ),
)
async def upload_progress(request: Request[Any, Any, Any], name: FromPath[str]) -> ASGIApp:
    """Say how far an upload is: 200 it is whole, 204 `Upload-Offset` bytes are there, 404 none."""
    store = _store_of(request)
    _require_name(name)
    there = await _progress(store, name, asker_of(request))
    if there.sha256 is not None:
        headers = _described(there.sha256, there.size, "")
        return Answer(200, headers=headers | {OFFSET: str(there.size)})
    if not there.size and is_sha256(name):
        return Answer(404, headers={OFFSET: "0", "Content-Length": "0"})
    return Answer(204, headers={OFFSET: str(there.size)})


@get(
    "/store/{name:str}",
    **declared(
        needs=ANY_KEY,
        answers={200: bytes, 206: bytes, 404: str, 416: str, 429: str},
        parameters=[_RANGE],
    ),
)
async def download(request: Request[Any, Any, Any], name: FromPath[str]) -> ASGIApp:
    """Return a file, or a part of it."""
    _store_of(request)
    if not is_sha256(name):
        raise HttpError(404, "Not Found: a file of the store is named by its SHA-256.")
    return _file(request, StoreUrl(name))


@get(
    "/jobs/{job_id:str}/output",
    **declared(
        needs=ANY_KEY,
        answers={200: bytes, 206: bytes, 404: str, 409: str, 416: str, 429: str, 503: str},
        parameters=[_RANGE],
    ),
)
async def job_output(request: Request[Any, Any, Any], job_id: FromPath[str]) -> ASGIApp:
    """Return a job's output, or a part of it, if it is in this dispatcher's store."""
    return _file(request, await _output_of(service_of(request), job_id))


@route(
    "/jobs/{job_id:str}/output",
    http_method="HEAD",
    **declared(
        needs=ANY_KEY, answers={200: None, 404: None, 409: None, 503: None}, parameters=[_RANGE]
    ),
)
async def describe_output(request: Request[Any, Any, Any], job_id: FromPath[str]) -> ASGIApp:
    """Say how large a job's output is, and what it is called."""
    url = await _output_of(service_of(request), job_id)
    size = _size_of(request, url)
    return Answer(200, headers=_described(url.sha256, size, url.name))


# Uploads


async def _progress(store: Store, name: str, asker: Asker) -> Progress:
    try:
        return await store.progress(name, asker.name)
    except StoreError as error:
        raise _refused(error) from error


async def _receive(
    request: Request[Any, Any, Any], store: Store, name: str, taken: Taken
) -> Progress:
    asker = asker_of(request)
    with service_of(request).quotas.transfers.holding(asker):
        async with aclosing(_pieces_of(request, store.limits.stall_s)) as pieces:
            try:
                return await store.receive(
                    name, asker.name, pieces, at=taken.at, length=taken.length, total=taken.total
                )
            except StoreError as error:
                raise _refused(error) from error


async def _pieces_of(
    request: Request[Any, Any, Any], stall_s: float
) -> AsyncGenerator[bytes, None]:
    """Yield a body as it comes. The time that it takes to store it is not counted."""
    request.scope["state"][BODY_IS_TIMED] = True
    now_s = asyncio.get_running_loop().time
    waited_s, come = 0.0, 0
    while True:
        since_s = now_s()
        try:
            async with asyncio.timeout(stall_s):
                message = await request.receive()
        except TimeoutError:
            raise _stalled(stall_s) from None
        if message["type"] != "http.request":
            raise HttpError(400, "Bad Request: the body broke off.")  # nobody is there to read it
        waited_s += now_s() - since_s
        come += len(message["body"])
        if message["body"]:
            yield message["body"]
        if not message["more_body"]:
            return
        if waited_s >= stall_s:
            if come < waited_s * MIN_BYTES_PER_S:
                raise _stalled(stall_s)
            waited_s, come = 0.0, 0


def _stalled(stall_s: float) -> HttpError:
    return HttpError(
        408,
        f"Request Timeout: the body stood still for {stall_s:g} s; what has come of it stays, so "
        "ask how far it is, and go on.",
    )


def _progressed(there: Progress, *, is_new: bool) -> Answer:
    if there.sha256 is None:
        return Answer(202, headers={OFFSET: str(there.size), "Content-Length": "0"})
    stored = Stored(there.sha256, there.size, str(StoreUrl(there.sha256)))
    said = {"Location": f"/store/{there.sha256}", OFFSET: str(there.size)}
    return json_answer(stored, status=201 if is_new else 200, headers=said)


def _require_name(name: str) -> None:
    if not is_sha256(name) and not is_upload_id(name):
        raise HttpError(
            404,
            "Not Found: a file of the store is named by its SHA-256, 64 hexadecimal digits in "
            "lower case; an upload without one begins with POST /store.",
        )


def _refused(error: StoreError) -> HttpError:
    """Word an error of the store."""
    match error:
        case WrongOffsetError(size=size):
            return HttpError(409, f"Conflict: {error}.", {OFFSET: str(size)})
        case BusyError():
            return HttpError(409, f"Conflict: {error}.", {"Retry-After": "1"})
        case WrongSha256Error():
            return HttpError(400, f"Bad Request: {error}.")
        case UnknownUploadError():
            return HttpError(404, f"Not Found: {error}.")
        case TooLargeError():
            return HttpError(413, f"Request Entity Too Large: {error}.")
        case TooManyPartsError():
            return HttpError(429, f"Too Many Requests: {error}.", {"Retry-After": "60"})
        case StoreFullError():
            return HttpError(507, f"Insufficient Storage: {error}.")
        case _:
            return HttpError(503, f"Service Unavailable: {error}.", {"Retry-After": "5"})


# Files


async def _output_of(service: Service, job_id: str) -> StoreUrl:
    """Return where a job's output is. Raises `HttpError` if it is not in the store."""
    view = service.projections.jobs.get(job_id)
    if view is None:
        found = await service.memory.job(job_id, service.projections.seq)
        if found is None:
            raise HttpError(404, Reason.JOB_NOT_FOUND.value)
        view = found.view
    if view.output_url is None:
        raise HttpError(409, f"Conflict: job {job_id} is {view.status}, and has no output.")
    if (url := StoreUrl.parse(view.output_url)) is None:
        raise HttpError(
            404,
            f"Not Found: the output of job {job_id} is not in the dispatcher's store; the job's "
            "'output_url' says where its engine put it.",
        )
    return url


def _file(request: Request[Any, Any, Any], url: StoreUrl) -> ASGIApp:
    """Send a file, or the part of it that is asked for."""
    size = _size_of(request, url)
    etag = f'"{url.sha256}"'
    span = span_of(size, etag, request.scope["state"]["headers"])
    if span is None:
        raise HttpError(
            416,
            f"Range Not Satisfiable: the file has {size:,} bytes.",
            {"Content-Range": f"bytes */{size}"},
        )
    headers = _described(url.sha256, span.end - span.first, url.name)
    if span.is_part:
        headers["Content-Range"] = f"bytes {span.first}-{span.end - 1}/{size}"
    pieces = _sent(service_of(request), asker_of(request), url.sha256, span.first, span.end)
    return Streamed(pieces, _type_of(url.name), headers, 206 if span.is_part else 200)


async def _sent(
    service: Service, asker: Asker, sha256: str, first: int, end: int
) -> AsyncGenerator[bytes, None]:
    assert service.store is not None  # noqa: S101 - it has the file
    with service.quotas.transfers.holding(asker):
        async with aclosing(service.store.read(sha256, first, end)) as pieces:
            async for piece in pieces:
                yield piece
                await asyncio.sleep(PAUSE_S)


def _size_of(request: Request[Any, Any, Any], url: StoreUrl) -> int:
    store = service_of(request).store
    size = None if store is None else store.use(url.sha256)
    if size is None:
        raise HttpError(
            404, f"Not Found: the store has no file {url.sha256}; it never had it, or it was swept."
        )
    return size


def _described(sha256: str, length: int, name: str) -> dict[str, str]:
    """Return the headers of a file."""
    named = f"; filename*=UTF-8''{quote(name, safe='')}" if name else ""
    return {
        "Content-Length": str(length),
        "Accept-Ranges": "bytes",
        "ETag": f'"{sha256}"',
        "Content-Disposition": f"attachment{named}",
        **_GUARDED,
    }


def _type_of(name: str) -> str:
    return _TYPES.get(PurePosixPath(name).suffix.lower(), _OTHER)


def _store_of(request: Request[Any, Any, Any]) -> Store:
    if (store := service_of(request).store) is None:
        raise HttpError(404, NO_STORE)
    return store


HANDLERS: Final = (
    show_store,
    begin_upload,
    upload,
    upload_progress,
    download,
    job_output,
    describe_output,
)
