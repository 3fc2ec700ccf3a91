"""Open a job's source: decide what ffmpeg may read, and fetch the source if necessary."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httpx2

from dispatcher.engine.ffmpeg import Input
from dispatcher.errors import DispatcherError
from dispatcher.urls import masked, path_of, web_url_fault

__all__ = ["SourceError", "open_source"]

WEB_PROTOCOLS: Final[Sequence[str]] = ("http", "https", "tcp", "tls", "crypto")
FILE_PROTOCOLS: Final[Sequence[str]] = ("file",)
FETCH_TIMEOUT_S: Final = 30
STREAM_FROM_MB: Final = 100.0
"""From this size a web source is streamed.

The dispatcher has its own number, from which it prefers engines that stream. The two need not
agree: the dispatcher decides which engine gets a job, and the engine, perhaps of another version,
decides how to do it.
"""
_PLAYLISTS: Final = (".m3u8", ".mpd")


class SourceError(DispatcherError):
    """The source can't be opened or fetched; the text says why."""


async def open_source(source_url: str, size_mb: float, folder: Path, *, streams: bool) -> Input:
    """Return an input for ffmpeg, fetching `source_url` into `folder` if necessary.

    A file is read in place. If `streams` is true, a web source is streamed if it is large, or if
    it is a playlist, which is useless without its server. Other web sources are fetched first.
    """
    try:
        url = urlsplit(source_url)
    except ValueError as error:
        raise SourceError(f"{masked(source_url)!r} is no URL") from error
    match url.scheme.lower():
        case "file":
            return Input(f"file:{_local(url)}", FILE_PROTOCOLS)
        case "http" | "https":
            if (fault := web_url_fault(source_url)) is not None:
                raise SourceError(f"{masked(source_url)!r} {fault}")
            is_playlist = url.path.lower().endswith(_PLAYLISTS)
            if streams and (size_mb >= STREAM_FROM_MB or is_playlist):
                return Input(source_url, WEB_PROTOCOLS)
            return Input(f"file:{await _fetch(source_url, folder / 'source')}", FILE_PROTOCOLS)
        case _:
            raise SourceError(
                f"{masked(source_url)!r}: sources are http://, https:// or file:// URLs, nothing "
                "else"
            )


def _local(url: SplitResult) -> Path:
    if url.netloc not in ("", "localhost"):
        raise SourceError(
            f"{masked(f'file://{url.netloc}/')}… is on another machine; use file:///path"
        )
    path = path_of(url.geturl())
    if not path.is_absolute():
        raise SourceError(f"file:{url.path}: use file:///path, from the root on")
    try:
        if not path.is_file():
            raise SourceError(f"{path}: there is no such file on this engine's machine")
    except ValueError as error:
        raise SourceError(f"{path!s}: is no path: {error}") from error
    return path


async def _fetch(url: str, path: Path) -> Path:
    try:
        async with (
            httpx2.AsyncClient(follow_redirects=True, timeout=FETCH_TIMEOUT_S) as http,
            http.stream("GET", url) as response,
        ):
            if not response.is_success:
                raise SourceError(f"{masked(url)}: the server answered {response.status_code}")
            with path.open("wb") as file:
                async for chunk in response.aiter_bytes(1 << 20):
                    file.write(chunk)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        why = masked(str(error), [url]) or type(error).__name__
        raise SourceError(f"{masked(url)}: {why}") from error
    except OSError as error:
        raise SourceError(f"{masked(url)}: can't be stored while it is fetched: {error}") from error
    return path
