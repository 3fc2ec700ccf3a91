"""The routes by which a film leaves the store: by its SHA-256, or as the output of a job.

Laws:
- A file goes to its client as that reads, and is never in memory as a whole.
- If the store is in a bucket, a file comes from there: who asks is sent to a signed URL, which is
  good for some minutes, with the SHA-256 as `ETag`.
- Whatever is served here is another's file: it is sent as an attachment, and no browser guesses
  what it is.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import PurePosixPath
from typing import Any, Final

from litestar import Request, get, route
from litestar.params import FromPath
from litestar.types import ASGIApp

from dispatcher.api.answers import Answer
from dispatcher.api.auth import ANY_KEY
from dispatcher.api.errors import HttpError
from dispatcher.api.ranges import span_of
from dispatcher.api.requests import asker_of, service_of
from dispatcher.api.routes import declared
from dispatcher.api.stored import RANGE, described, refused, store_of
from dispatcher.api.streamed import Streamed
from dispatcher.core.replies import Reason
from dispatcher.serving.quotas import Asker
from dispatcher.serving.service import Service
from dispatcher.store import Store, StoreError
from dispatcher.store_urls import StoreUrl, is_sha256

__all__ = ["HANDLERS"]

PAUSE_S: Final = 0.001
"""The pause between two pieces of a file, of a MiB each. The thread that commits needs the
interpreter too, and gets it soon only when the event loop is idle."""
_TYPES: Final = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".ts": "video/mp2t",
}
_OTHER: Final = "application/octet-stream"


@get(
    "/store/{name:str}",
    **declared(
        needs=ANY_KEY,
        answers={200: bytes, 206: bytes, 307: None, 404: str, 416: str, 429: str, 503: str},
        parameters=[RANGE],
    ),
)
async def download(request: Request[Any, Any, Any], name: FromPath[str]) -> ASGIApp:
    """Return a file, or a part of it."""
    store_of(request)
    if not is_sha256(name):
        raise HttpError(404, "Not Found: a file of the store is named by its SHA-256.")
    return await _file(request, StoreUrl(name))


@get(
    "/jobs/{job_id:str}/output",
    **declared(
        needs=ANY_KEY,
        answers={
            200: bytes,
            206: bytes,
            307: None,
            404: str,
            409: str,
            416: str,
            429: str,
            503: str,
        },
        parameters=[RANGE],
    ),
)
async def job_output(request: Request[Any, Any, Any], job_id: FromPath[str]) -> ASGIApp:
    """Return a job's output, or a part of it, if it is in this dispatcher's store."""
    return await _file(request, await _output_of(service_of(request), job_id))


@route(
    "/jobs/{job_id:str}/output",
    http_method="HEAD",
    **declared(
        needs=ANY_KEY, answers={200: None, 404: None, 409: None, 503: None}, parameters=[RANGE]
    ),
)
async def describe_output(request: Request[Any, Any, Any], job_id: FromPath[str]) -> ASGIApp:
    """Say how large a job's output is, and what it is called."""
    url = await _output_of(service_of(request), job_id)
    size = await _size_of(request, url)
    return Answer(200, headers=described(url.sha256, size, url.name))


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


async def _file(request: Request[Any, Any, Any], url: StoreUrl) -> ASGIApp:
    """Send a file, or the part of it that is asked for, or say where it is."""
    size = await _size_of(request, url)
    etag = f'"{url.sha256}"'
    span = span_of(size, etag, request.scope["state"]["headers"])
    if span is None:
        raise HttpError(
            416,
            f"Range Not Satisfiable: the file has {size:,} bytes.",
            {"Content-Range": f"bytes */{size}"},
        )
    if (link := await _link_to(store_of(request), url.sha256)) is not None:
        said = {"Location": link, "ETag": etag, "Cache-Control": "no-store", "Content-Length": "0"}
        return Answer(307, headers=said)
    headers = described(url.sha256, span.end - span.first, url.name)
    if span.is_part:
        headers["Content-Range"] = f"bytes {span.first}-{span.end - 1}/{size}"
    pieces = _sent(service_of(request), asker_of(request), url.sha256, span.first, span.end)
    return Streamed(pieces, _type_of(url.name), headers, 206 if span.is_part else 200)


async def _link_to(store: Store, sha256: str) -> str | None:
    try:
        return await store.link(sha256)
    except StoreError as error:
        raise refused(error) from error


async def _sent(
    service: Service, asker: Asker, sha256: str, first: int, end: int
) -> AsyncGenerator[bytes, None]:
    assert service.store is not None  # noqa: S101 - it has the file
    with service.quotas.transfers.holding(asker):
        async with aclosing(service.store.read(sha256, first, end)) as pieces:
            async for piece in pieces:
                yield piece
                await asyncio.sleep(PAUSE_S)


async def _size_of(request: Request[Any, Any, Any], url: StoreUrl) -> int:
    store = service_of(request).store
    try:
        size = None if store is None else await store.use_if_there(url.sha256)
    except StoreError as error:
        raise refused(error) from error
    if size is None:
        raise HttpError(
            404,
            f"Not Found: the store has no file {url.sha256}; it never had it, or it was swept, "
            "deleted or damaged.",
        )
    return size


def _type_of(name: str) -> str:
    return _TYPES.get(PurePosixPath(name).suffix.lower(), _OTHER)


HANDLERS: Final = (download, job_output, describe_output)
