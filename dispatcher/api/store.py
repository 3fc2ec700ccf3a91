"""The routes by which films come into the store: uploads that go on where they broke off.

Laws:
- A body goes to disk as it comes, and is never in memory as a whole.
- A body may take any time to arrive, as long as it moves: `StoreLimits.stall_s` bounds how long it
  may stand still, or nearly so. What has come stays.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import msgspec
from litestar import Request, get, post, put, route
from litestar.openapi.spec import OpenAPIType, Parameter, Schema
from litestar.params import FromPath
from litestar.types import ASGIApp

from dispatcher.api.answers import Answer, json_answer
from dispatcher.api.auth import ANY_KEY
from dispatcher.api.errors import HttpError
from dispatcher.api.ranges import Taken, taken_of
from dispatcher.api.requests import asker_of, service_of
from dispatcher.api.routes import declared
from dispatcher.api.stored import OFFSET, RANGE, described, refused, store_of
from dispatcher.http_limits import BODY_IS_TIMED
from dispatcher.serving.quotas import Asker
from dispatcher.store import (
    Progress,
    Store,
    StoreError,
    is_upload_id,
)
from dispatcher.store_urls import StoreUrl, is_sha256

__all__ = ["HANDLERS", "StoreShown", "Stored", "UploadBegun"]

MIN_BYTES_PER_S: Final = 1_024
"""A body that is slower than this, over the time of a stall, stands still."""
_CONTENT_RANGE: Final = Parameter(
    "Content-Range",
    "header",
    description="bytes FIRST-LAST/TOTAL of a part; bytes */TOTAL, without a body, to finish; none "
    "if the body is all of the file",
    schema=Schema(type=OpenAPIType.STRING),
)


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
    store, owner = store_of(request), asker_of(request).name
    headers = request.scope["state"]["headers"]
    if b"content-range" in headers:
        raise HttpError(400, "Bad Request: 'Content-Range' goes with PUT, not with POST.")
    taken = taken_of(headers)
    try:
        upload = await store.begin(owner)
    except StoreError as error:
        raise refused(error) from error
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
    store = store_of(request)
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
        needs=ANY_KEY, answers={200: None, 204: None, 404: None, 429: None}, parameters=[RANGE]
    ),
)
async def upload_progress(request: Request[Any, Any, Any], name: FromPath[str]) -> ASGIApp:
    """Say how far an upload is: 200 it is whole, 204 `Upload-Offset` bytes are there, 404 none."""
    store = store_of(request)
    _require_name(name)
    there = await _progress(store, name, asker_of(request))
    if there.sha256 is not None:
        headers = described(there.sha256, there.size, "")
        return Answer(200, headers=headers | {OFFSET: str(there.size)})
    if not there.size and is_sha256(name):
        return Answer(404, headers={OFFSET: "0", "Content-Length": "0"})
    return Answer(204, headers={OFFSET: str(there.size)})


# Uploads


async def _progress(store: Store, name: str, asker: Asker) -> Progress:
    try:
        return await store.progress(name, asker.name)
    except StoreError as error:
        raise refused(error) from error


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
                raise refused(error) from error


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


HANDLERS: Final = (
    show_store,
    begin_upload,
    upload,
    upload_progress,
)
