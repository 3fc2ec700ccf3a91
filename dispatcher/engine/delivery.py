"""Deliver a job's output: into a directory, or to a web server by PUT.

Laws:
- In a directory, an output appears under its final name only when it is complete and on disk, and
  it never replaces another file: if the name that was wished is taken, it gets one of its own.
- A web server can't be asked for that. There an output always has a name of its own.
- An output that the dispatcher refuses is removed again.
- Others may be able to write to a directory of outputs. No link that they put there is followed.
- What is told of a web server has no password of its URL: neither an output's URL, which the
  dispatcher's log keeps for ever, nor an error.
"""

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

import httpx2
import stamina

from dispatcher import files
from dispatcher.client import FailureCause
from dispatcher.errors import DispatcherError
from dispatcher.urls import masked, path_of, web_url_fault

__all__ = ["Delivery", "DeliveryError", "delivery_to"]

PUT_TIMEOUT_S: Final = 60
PUT_TRIES: Final = 5
_CHUNK_BYTES: Final = 1 << 20
_LOOKED_AT: Final = 20


class DeliveryError(DispatcherError):
    """The output can't be delivered; the text says why.

    `cause` is what the engine reports: it is at fault if its own directory can't be written. Why a
    web server refuses an output is not known.
    """

    def __init__(self, text: str, cause: FailureCause = "unknown") -> None:
        super().__init__(text)
        self.cause: FailureCause = cause


class Delivery(Protocol):
    """A place for outputs."""

    async def deliver(
        self, output: Path, name: str, media_type: str, wished: str | None = None
    ) -> str:
        """Store a file and return its URL. Raises `DeliveryError` if that fails.

        `name` is one that nobody else would give a file, `wished` one that it gets if it is free.
        """

    async def discard(self, output_url: str) -> None:
        """Remove what `deliver` stored, as far as possible; its name is the URL's last part."""


def delivery_to(target: str) -> Delivery:
    """Make a delivery to a directory (created if missing) or to an `http(s)://` base URL."""
    if target.startswith(("http://", "https://")):
        if (fault := web_url_fault(target)) is not None:
            raise DeliveryError(f"{masked(target)!r} {fault}")
        return _WebServer(target)
    if "://" in target and not target.startswith("file:///"):
        raise DeliveryError(f"{masked(target)}: outputs go to a directory or an http(s):// URL")
    return _Directory(path_of(target) if target.startswith("file:///") else Path(target))


class _Directory:
    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        try:
            self._path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeliveryError(f"{path}: can't be made: {error.strerror}") from error

    async def deliver(
        self,
        output: Path,
        name: str,
        media_type: str,  # noqa: ARG002
        wished: str | None = None,
    ) -> str:
        own = self._path / name
        names = [own] if wished is None else [self._path / wished, own]
        if not output.exists() and (moved := _moved(output, names)) is not None:
            return moved.as_uri()  # by a process that died before it recorded that
        moving = asyncio.ensure_future(asyncio.to_thread(_move, output, names))
        try:
            final = await asyncio.shield(moving)
        except asyncio.CancelledError:  # a thread can't be stopped: wait for it, then undo it
            with suppress(OSError):
                shutil.move(await moving, output)
            raise
        except OSError as error:
            raise DeliveryError(f"{own}: can't be written: {error.strerror}", "engine") from error
        return final.as_uri()

    async def discard(self, output_url: str) -> None:
        with suppress(OSError):
            (self._path / path_of(output_url).name).unlink()


def _move(output: Path, names: Sequence[Path]) -> Path:
    """Move an output to the first name that is free; gives that name."""
    own = names[-1]
    part = own.with_name(f".{own.name}.part")
    part.unlink(missing_ok=True)
    try:
        try:
            os.rename(output, part)  # noqa: PTH104 - replaces a link, and does not follow it
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with output.open("rb") as source, files.new(part) as copy:
                shutil.copyfileobj(source, copy, _CHUNK_BYTES)
        _write_note(output, _identity(part))
        final = next(it for it in _tried(names) if _placed(part, it))
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    output.unlink(missing_ok=True)
    return final


def _placed(part: Path, final: Path) -> bool:
    """Give a file its name, unless there is another one of that name."""
    if os.path.lexists(final):
        return False
    try:
        files.put(part, final, replace=False)
    except FileExistsError:
        return False
    return True


def _tried(names: Sequence[Path]) -> Iterator[Path]:
    yield from names
    own = names[-1]
    yield from (own.with_stem(f"{own.stem}-{number}") for number in count(2))


def _moved(output: Path, names: Sequence[Path]) -> Path | None:
    """Return the name under which an output that is not there any more has been put."""
    own = names[-1]
    try:
        identity = _note(output).read_text()
    except OSError:
        # Without the note, only a name with the job's id in it is believed: such a wished name
        # differs from the own one by the attempt.
        known = [it for it in names if it == own or own.stem.rpartition("-")[0] == it.stem]
        return next((it for it in reversed(known) if it.is_file()), None)
    found = (it for it in islice(_tried(names), _LOOKED_AT) if it.is_file())
    return next((it for it in found if _identity(it) == identity), None)


def _note(output: Path) -> Path:
    """Return the file that tells which file an output has become, for a later process."""
    return output.with_name(f"{output.name}.moved")


def _write_note(output: Path, identity: str) -> None:
    """Write the note, or none: a full disk shall not cost an output that is made."""
    note = _note(output)
    try:
        note.write_text(identity)
    except OSError:
        with suppress(OSError):
            note.unlink()


def _identity(path: Path) -> str:
    status = path.lstat()
    return f"{status.st_dev} {status.st_ino} {status.st_size}"


class _WebServer:
    """`base_url` may have a name and a password, and a query that authorises the upload."""

    def __init__(self, base_url: str) -> None:
        self._base = urlsplit(base_url)._replace(fragment="")

    def _url(self, quoted_name: str) -> str:
        path = f"{self._base.path.rstrip('/')}/{quoted_name}"
        return self._base._replace(path=path).geturl()

    async def deliver(
        self,
        output: Path,
        name: str,
        media_type: str,
        wished: str | None = None,  # noqa: ARG002
    ) -> str:
        url = self._url(quote(name))
        headers = {"Content-Type": media_type, "Content-Length": str(output.stat().st_size)}
        try:
            async for attempt in stamina.retry_context(
                on=(httpx2.TransportError, _ServerError), attempts=PUT_TRIES, timeout=None
            ):
                with attempt:
                    response = await _put(url, output, headers)
        except (httpx2.HTTPError, httpx2.InvalidURL, _ServerError, OSError) as error:
            why = masked(str(error), [url]) or type(error).__name__
            raise DeliveryError(f"PUT {masked(url)}: {why}") from error
        if not response.is_success:
            raise DeliveryError(f"PUT {masked(url)}: the server answered {response.status_code}")
        return masked(url)

    async def discard(self, output_url: str) -> None:
        url = self._url(urlsplit(output_url).path.rpartition("/")[2])
        with suppress(httpx2.HTTPError):
            async with httpx2.AsyncClient(timeout=PUT_TIMEOUT_S) as http:
                await http.delete(url)


async def _put(url: str, output: Path, headers: dict[str, str]) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=PUT_TIMEOUT_S) as http:
        response = await http.put(url, content=_chunks(output), headers=headers)
    if response.is_server_error:
        raise _ServerError(f"the server answered {response.status_code}")
    return response


class _ServerError(Exception):
    """The server answered with a 5xx status, so a retry may succeed."""


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
