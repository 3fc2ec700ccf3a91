"""Files to the dispatcher's store, and from it.

Laws:
- What was sent or received once is not sent again: an upload asks how far it is, and a download
  goes on where its file ends, also in another process.
- A download is whole only if its bytes have the SHA-256 that was asked for. If they don't, nothing
  of them stays.
- A store in a bucket sends whom asks to another server. That one is not given the API key, and a
  URL of it that is not good any more is asked for again.
- While the dispatcher is away, it is asked again, for `patience_s` since something last came or
  went. Only a refusal ends a transfer at once.
"""

import asyncio
import hashlib
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote

import httpx2
import msgspec

from dispatcher.client.connection import Connection, DispatcherAwayError, RequestRefusedError
from dispatcher.errors import DispatcherError
from dispatcher.store_urls import is_sha256, sha256_of
from dispatcher.urls import masked

__all__ = [
    "PATIENCE_S",
    "DamagedError",
    "OutputInfo",
    "Some",
    "StoreInfo",
    "Told",
    "digest_of",
    "download",
    "ignored",
    "output_info",
    "some_of",
    "store_info",
    "upload",
]

Told = Callable[[int], None]
"""Is called with the number of bytes that are done."""

PART_BYTES: Final = 64 << 20
"""The most that one request sends: what a proxy may have to keep."""
_CHUNK_BYTES: Final = 1 << 18
SILENCE_S: Final = 600
"""How long the dispatcher may take to sync a large file."""
PATIENCE_S: Final = 120.0
_PAUSES_S: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
BUSY_S: Final = 1.0
_NOT_FOUND: Final = 404
_ELSEWHERE: Final = 307
_EXPIRED: Final = frozenset({401, 403})
_LINKS: Final = 3
"""So many URLs in a row may be refused."""
_WHOLE, _PARTIAL, _CONFLICT, _TOO_LARGE, _BEYOND, _FULL = 200, 206, 409, 413, 416, 507
_OFFSET: Final = "Upload-Offset"
_SOME: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class DamagedError(DispatcherError):
    """What arrived is not what was asked for."""


class StoreInfo(msgspec.Struct, frozen=True):
    """Whether a dispatcher has a store, and how large a file may be, in bytes."""

    enabled: bool = False
    max_file_bytes: int = 0


class OutputInfo(msgspec.Struct, frozen=True):
    """A job's output, as the store has it."""

    sha256: str
    size_bytes: int
    name: str = ""


def ignored(_: int) -> None:
    """Tell nobody."""


async def store_info(connection: Connection) -> StoreInfo:
    """Ask whether there is a store. A dispatcher of an earlier version has none."""
    response = await connection.call("GET", "/store", accept=_NOT_FOUND)
    if response.status_code == _NOT_FOUND:
        return StoreInfo()
    try:
        return msgspec.json.decode(response.content, type=StoreInfo)
    except msgspec.MsgspecError:
        return StoreInfo()


async def output_info(connection: Connection, path: str) -> OutputInfo:
    """Ask for the name and the SHA-256 of a job's output. `path` is the one that it is sent from.

    A refusal has its text only in the answer to a GET, so that is asked for, and not read.
    """
    headers = {"Accept-Encoding": "identity", "Range": "bytes=0-0"}
    asked = {_BEYOND, _ELSEWHERE}
    async with connection.streamed("GET", path, headers, accept=asked) as response:
        sha256 = response.headers.get("ETag", "").strip('"')
        _, _, size = response.headers.get("Content-Range", "").partition("/")
        _, _, name = response.headers.get("Content-Disposition", "").partition("filename*=UTF-8''")
        if response.status_code == _ELSEWHERE:
            told = (await connection.send("HEAD", path)).headers
            size = told.get("Content-Length", "")
            _, _, name = told.get("Content-Disposition", "").partition("filename*=UTF-8''")
        if response.status_code == _BEYOND and size == "0":  # an empty file has no first byte
            sha256 = hashlib.sha256().hexdigest()
        if not is_sha256(sha256) or not size.isdecimal():
            raise RequestRefusedError(
                0, f"{connection.server} did not answer as a dispatcher does: no SHA-256 and size"
            )
        return OutputInfo(sha256, int(size), unquote(name))


async def digest_of(path: Path, progress: Told = ignored) -> str:
    """Hash a file in a thread; `progress` is called there."""
    over, done = threading.Event(), 0

    def tell(size: int) -> None:
        nonlocal done
        done += size
        progress(done)

    hashing = asyncio.to_thread(sha256_of, path, tell, is_over=over.is_set)
    try:
        return await hashing
    finally:
        over.set()


class _Patience:
    """When to give up a dispatcher that is away."""

    def __init__(self, patience_s: float | None) -> None:
        self._patience_s = patience_s
        self.moved()

    def moved(self) -> None:
        """Begin anew: something came or went."""
        self._since = time.monotonic()
        self._pauses_s = iter(_PAUSES_S)

    async def wait(self, error: DispatcherAwayError) -> None:
        """Pause, or raise the error if the dispatcher was away for too long."""
        away_s = time.monotonic() - self._since
        if self._patience_s is not None and away_s > self._patience_s:
            raise error
        await asyncio.sleep(next(self._pauses_s, _PAUSES_S[-1]))


async def upload(
    connection: Connection,
    path: Path,
    sha256: str,
    progress: Told = ignored,
    *,
    patience_s: float | None = PATIENCE_S,
) -> None:
    """Send a file that has this SHA-256, unless it is there."""
    patience = _Patience(patience_s)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        at: int | None = None
        while True:
            try:
                at = await _step(connection, file, sha256, at, size, progress)
            except DispatcherAwayError as error:
                await patience.wait(error)
                at = None
                continue
            if at == size:
                progress(size)
                return
            patience.moved()
            if at is None:
                await asyncio.sleep(BUSY_S)


async def _step(  # noqa: PLR0913, PLR0917 - all that an upload is about
    connection: Connection,
    file: BinaryIO,
    sha256: str,
    at: int | None,
    size: int,
    progress: Told,
) -> int | None:
    """Ask how far an upload is, or send the next part; gives how far it is, if that is known."""
    path = f"/store/{sha256}"
    if at is None:
        asked = await connection.send("HEAD", path, accept={_NOT_FOUND})
        if asked.status_code == _WHOLE:
            return size
        told = asked.headers.get(_OFFSET, "")
        if asked.status_code == _NOT_FOUND and not told:
            raise RequestRefusedError(
                _NOT_FOUND, f"{connection.server} has no store; start it with `serve --store DIR`"
            )
        at = int(told) if told.isdecimal() else 0
    is_longer = at > size  # what has come is of something else; all of the file takes its place
    at, end = (0, size) if is_longer else (at, min(at + PART_BYTES, size))
    headers = {"Content-Length": str(end - at)}
    if end > at and not is_longer:
        headers["Content-Range"] = f"bytes {at}-{end - 1}/{size}"
    elif size and not is_longer:
        headers["Content-Range"] = f"bytes */{size}"
    response = await connection.send(
        "PUT",
        path,
        content=_bytes_of(file, at, end, progress),
        headers=headers,
        silence_s=SILENCE_S,
        accept={_CONFLICT, _FULL},
    )
    match response.status_code:
        case 200 | 201:
            return size
        case 409 if _OFFSET not in response.headers:
            return None  # another request is adding to it
        case 202 | 409:
            return int(response.headers[_OFFSET])
        case status:
            raise RequestRefusedError(status, response.text)


async def _bytes_of(file: BinaryIO, at: int, end: int, progress: Told) -> AsyncIterator[bytes]:
    file.seek(at)
    while at < end and (piece := await asyncio.to_thread(file.read, min(_CHUNK_BYTES, end - at))):
        yield piece
        at += len(piece)
        progress(at)


async def download(  # noqa: PLR0913 - all that a download is about
    connection: Connection,
    path: str,
    target: Path,
    sha256: str,
    progress: Told = ignored,
    *,
    max_bytes: float | None = None,
    patience_s: float | None = PATIENCE_S,
) -> None:
    """Receive a file of the store into `target`, and go on if some of it is there already.

    `path` is that of a route that sends the file. The file is synced at the end. Raises
    `DamagedError` if it is another one, and `RequestRefusedError` with the status 413 if it is
    larger than `max_bytes`.
    """
    patience = _Patience(patience_s)
    for is_last in (False, True):
        with target.open("ab+") as file:
            arriving = _Arriving(file, progress)
            await asyncio.to_thread(arriving.hash_what_is_there)
            while not arriving.is_whole:
                before = arriving.size
                try:
                    await _receive(connection, path, sha256, arriving, max_bytes)
                except DispatcherAwayError as error:
                    if arriving.size != before:
                        patience.moved()
                    await patience.wait(error)
            if arriving.sha256 == sha256:
                await asyncio.to_thread(os.fsync, file.fileno())
                return
            file.truncate(0)
        if is_last:
            raise DamagedError(
                f"{connection.server}{path}: arrived with the SHA-256 {arriving.sha256}, not "
                f"{sha256}, twice; nothing of it was kept"
            )


class Some(msgspec.Struct, frozen=True):
    """Some bytes of a file: from which to which, of how many, and as they come."""

    first: int
    last: int
    total: int
    pieces: AsyncIterator[bytes]


@asynccontextmanager
async def some_of(
    connection: Connection, path: str, sha256: str, first: int, last: int | None
) -> AsyncIterator[Some]:
    """Ask for some bytes of a file of the store, which a route sends. See `FilmCalls.some_of`."""
    wanted = f"bytes={first}-{'' if last is None else last}"
    headers = {"Accept-Encoding": "identity", "Range": wanted, "If-Range": f'"{sha256}"'}
    where = f"{connection.server}{path}"
    async with connection.streamed("GET", path, headers, accept={_ELSEWHERE}) as response:
        if (told := response.headers.get("ETag", "").strip('"')) != sha256:
            raise RequestRefusedError(
                response.status_code, f"{where} offers the SHA-256 {told or '(none)'}"
            )
        if response.status_code != _ELSEWHERE:
            yield _some_in(response, where, first)
            return
        link = response.headers.get("Location", "")
    headers.pop("If-Range")  # as of a whole download
    async with connection.elsewhere(link, headers) as response:
        if response.is_server_error:
            raise DispatcherAwayError(f"{masked(link)} answered {response.status_code}")
        yield _some_in(response, masked(link), first)


def _some_in(response: httpx2.Response, where: str, first: int) -> Some:
    """Return what an answer sends of a file. Raises `RequestRefusedError` if it is no such part."""
    found = _SOME.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code != _PARTIAL or found is None or int(found[1]) != first:
        raise RequestRefusedError(
            response.status_code, f"{where} does not send the part of the file that was asked for"
        )
    begins, ends, total = (int(it) for it in found.groups())
    return Some(begins, ends, total, response.aiter_raw(_CHUNK_BYTES))


class _Arriving:
    """A file that grows, with its digest."""

    def __init__(self, file: BinaryIO, progress: Told) -> None:
        self.is_whole = False
        self.refused = 0
        """How many URLs of another server were refused in a row."""
        self._file = file
        self._progress = progress
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def hash_what_is_there(self) -> None:
        self._file.seek(0)
        while piece := self._file.read(_CHUNK_BYTES):
            self._digest.update(piece)
            self.size += len(piece)

    def begin_anew(self) -> None:
        self._file.truncate(0)
        self._digest, self.size = hashlib.sha256(), 0

    def add(self, piece: bytes) -> None:
        self._file.write(piece)
        self._digest.update(piece)
        self.size += len(piece)
        self._progress(self.size)

    def flush(self) -> None:
        self._file.flush()


async def _receive(
    connection: Connection,
    path: str,
    sha256: str,
    arriving: _Arriving,
    max_bytes: float | None,
) -> None:
    """Ask for what is missing, and take it."""
    headers = {"Accept-Encoding": "identity"}
    if arriving.size:
        headers |= {"Range": f"bytes={arriving.size}-", "If-Range": f'"{sha256}"'}
    asked = {_BEYOND, _ELSEWHERE}
    async with connection.streamed("GET", path, headers, accept=asked) as response:
        told = response.headers.get("ETag", "").strip('"')
        if response.status_code == _BEYOND:
            if response.headers.get("Content-Range") != f"bytes */{arriving.size}":
                arriving.begin_anew()
                return
            arriving.is_whole = True
            return
        if told != sha256:
            raise DamagedError(
                f"{connection.server}{path}: offers the SHA-256 {told or '(none)'}, not {sha256}"
            )
        if response.status_code != _ELSEWHERE:
            await _take(response, f"{connection.server}{path}", arriving, max_bytes)
            return
        link = response.headers.get("Location", "")
    headers.pop("If-Range", None)  # the other server has another tag; the name is the validator
    async with connection.elsewhere(link, headers) as response:
        _require_success(response, masked(link), arriving)
        await _take(response, masked(link), arriving, max_bytes)


def _require_success(response: httpx2.Response, where: str, arriving: _Arriving) -> None:
    """Raise an error if the server that a dispatcher has named does not send the file."""
    status = response.status_code
    if response.is_success:
        arriving.refused = 0
        return
    if status in _EXPIRED and arriving.refused < _LINKS:
        arriving.refused += 1
        raise DispatcherAwayError(f"{where} answered {status}; asking for another URL")
    if response.is_server_error or status == httpx2.codes.TOO_MANY_REQUESTS:
        raise DispatcherAwayError(f"{where} answered {status}")
    raise RequestRefusedError(
        status, f"{where} answered {status}, and the dispatcher sent us there"
    )


async def _take(
    response: httpx2.Response, where: str, arriving: _Arriving, max_bytes: float | None
) -> None:
    """Take a file, or the rest of it, as it comes."""
    if response.status_code != _PARTIAL:
        arriving.begin_anew()
    elif not response.headers.get("Content-Range", "").startswith(f"bytes {arriving.size}-"):
        raise DamagedError(f"{where}: sends another part than was asked for")
    length = response.headers.get("Content-Length", "")
    if max_bytes is not None and length.isdecimal():
        total = arriving.size + int(length)
        if total > max_bytes:
            raise RequestRefusedError(_TOO_LARGE, f"the file has {total:,} bytes")
    try:
        async for piece in response.aiter_raw(_CHUNK_BYTES):
            arriving.add(piece)
    finally:
        arriving.flush()
    arriving.is_whole = True
