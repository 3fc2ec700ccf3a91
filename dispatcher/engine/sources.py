"""Open a job's source: decide what ffmpeg may read, and fetch the source if necessary.

Laws:
- A file is read only below a source root, wherever links lead, and is opened here: ffmpeg gets
  what was judged, though the path may lead elsewhere by then.
- Of files outside the roots nothing is told, not even whether they exist.
- A file that changes while it is read is no source yet: it counts as away.
- What comes from the web comes by `fetch` or through the checking proxy. So does a source in a
  bucket that is streamed, by a signed URL.
- Of a file of the store all is fetched and checked by its SHA-256, unless only some is needed.
"""

import asyncio
import logging
import os
import re
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from dispatcher.buckets import ObjectUrl
from dispatcher.client import Client
from dispatcher.engine.fetching import Bounds, fetch
from dispatcher.engine.ffmpeg import FfmpegError, Input
from dispatcher.engine.looking import is_playlist, look_at
from dispatcher.engine.networks import DEFAULT_NETWORKS, SourceNetworks
from dispatcher.engine.objects import SourceObject
from dispatcher.engine.proxy import checking_proxy
from dispatcher.engine.source_errors import SourceAwayError, SourceError, SourceRefusedError
from dispatcher.engine.store_ranges import gives_some, served_from_store
from dispatcher.engine.storing import fetch_from_store
from dispatcher.store_urls import StoreUrl
from dispatcher.urls import masked, path_of, web_url_fault

__all__ = ["SourceError", "Sources"]

WEB_PROTOCOLS: Final[Sequence[str]] = ("http", "https", "tcp", "tls", "crypto", "httpproxy")
FILE_PROTOCOLS: Final[Sequence[str]] = ("file",)
STREAM_FROM_MB: Final = 100.0
"""From this size a web source is streamed.

The dispatcher has its own number, from which it prefers engines that stream. The two need not
agree: the dispatcher decides which engine gets a job, and the engine, perhaps of another version,
decides how to do it.
"""
_PLAYLISTS: Final = (".m3u8", ".mpd")
_SUFFIX: Final = re.compile(r"\.[a-z0-9]{1,8}")
_OPEN_FILES: Final = "/proc/self/fd"

logger = logging.getLogger(__name__)


class Sources(NamedTuple):
    """The sources that this engine reads: below which directories, and in which networks."""

    roots: Sequence[Path] = ()
    networks: SourceNetworks = SourceNetworks.parse(DEFAULT_NETWORKS)
    bounds: Bounds = Bounds()
    dispatcher: Client | None = None
    """Whose store the sources with `store:` URLs are in."""
    buckets: Sequence[ObjectUrl] = ()
    """What is read of buckets; of a cloud that is not named, all that the credentials permit."""

    @asynccontextmanager
    async def opened(  # noqa: PLR0913 - a source has as many ways
        self,
        source_url: str,
        size_mb: float,
        folder: Path,
        *,
        streams: bool,
        prefers_file: bool = False,
        by_parts: bool = False,
    ) -> AsyncIterator[Input]:
        """Give an input for ffmpeg, fetching `source_url` into `folder` if necessary.

        A file is read in place. If `streams` is true, a web source is streamed if it is large and
        its server can do that, or if it is a playlist, which is useless without its server; with
        `prefers_file` only a playlist is. Other web sources are fetched first. With `by_parts` only
        some of the source is needed: a server that gives out parts is asked for these. Raises
        `SourceError`, also at the end or in the middle of the block: as soon as a streamed source
        breaks a rule, or if a file was written to meanwhile.
        """
        try:
            url = urlsplit(source_url)
        except ValueError as error:
            raise SourceError(f"{masked(source_url)!r} is no URL") from error
        match url.scheme.lower():
            case "file":
                path = _path_of(url)
                file = open_beneath(self.roots, path)
                try:
                    begun = _state_of(file)
                    with _linked(file, path, folder) as source:
                        yield source
                    if _state_of(file) != begun:
                        raise SourceAwayError(
                            f"{path}: was written to while it was read; a source must be finished"
                        )
                finally:
                    os.close(file)
            case "http" | "https":
                if (fault := web_url_fault(source_url)) is not None:
                    raise SourceError(f"{masked(source_url)!r} {fault}")
                fetched = folder / f"source{_suffix_of(url.path)}"
                if streams and (
                    (by_parts and await self.gives_parts(source_url))
                    or await self._is_to_be_streamed(
                        source_url, 0 if prefers_file else size_mb, fetched
                    )
                ):
                    async with self._streamed(
                        source_url, self.networks, masked(source_url)
                    ) as source:
                        yield source
                    return
                if not fetched.exists():
                    await fetch(source_url, fetched, self.networks, self.bounds)
                yield Input(f"file:{fetched}", FILE_PROTOCOLS)
            case "store" if (stored := StoreUrl.parse(source_url)) and self.dispatcher is not None:
                if by_parts and streams and await gives_some(self.dispatcher, stored):
                    async with served_from_store(self.dispatcher, stored, self.bounds) as served:
                        yield Input(served.url, WEB_PROTOCOLS, served.port)
                    return
                fetched = folder / f"source{_suffix_of(stored.name)}"
                await fetch_from_store(self.dispatcher, stored, fetched, self.bounds)
                yield Input(f"file:{fetched}", FILE_PROTOCOLS)
            case "s3" | "gs" | "az":
                there = await SourceObject.at(source_url, self.buckets, self.bounds)
                fetched = folder / f"source{_suffix_of(there.url.key)}"
                is_large = not prefers_file and there.size_mb >= STREAM_FROM_MB
                if streams and (by_parts or is_large):
                    async with self._streamed_from(there) as source:
                        yield source
                    return
                await there.fetch(fetched, self.bounds)
                yield Input(f"file:{fetched}", FILE_PROTOCOLS)
            case _:
                raise SourceError(
                    f"{masked(source_url)!r}: sources are http://, https://, file://, store:, "
                    "s3://, gs:// or az:// URLs, nothing else"
                )

    async def gives_parts(self, source_url: str) -> bool:
        """Whether some of a source can be had without all of it."""
        if not source_url.lower().startswith(("http:", "https:")):
            return True
        look = await look_at(source_url, self.networks)
        return look is not None and look.has_parts and look.must_be_fetched is None

    @asynccontextmanager
    async def _streamed_from(self, there: SourceObject) -> AsyncIterator[Input]:
        """Stream an object. Its server is where the operator's endpoint is, so it is permitted."""
        link = await there.link()
        networks = self.networks.with_server(link)
        async with self._streamed(link, networks, str(there.url)) as source:
            yield source
        await there.require_unchanged()

    async def _is_to_be_streamed(self, url: str, size_mb: float, fetched: Path) -> bool:
        """Whether ffmpeg shall read a web source from its server.

        A small one is fetched for that: only the answer tells whether it is a playlist.
        """
        if urlsplit(url).path.lower().endswith(_PLAYLISTS):
            return True
        if size_mb < STREAM_FROM_MB:
            media_type = await fetch(url, fetched, self.networks, self.bounds)
            if is_playlist(media_type):
                fetched.unlink()
            return is_playlist(media_type)
        look = await look_at(url, self.networks)
        if look is None or is_playlist(look.media_type):
            return True
        if why := look.must_be_fetched:
            logger.info("%s is fetched, not streamed: %s", masked(url), why)
        return why is None

    @asynccontextmanager
    async def _streamed(
        self, url: str, networks: SourceNetworks, told: str
    ) -> AsyncIterator[Input]:
        """Stream a URL, which is `told` in errors."""
        faults: list[SourceError] = []

        def end(fault: SourceError) -> None:
            faults.append(fault)
            if not over.expired():
                over.reschedule(asyncio.get_running_loop().time())

        try:
            async with (
                asyncio.timeout(None) as over,
                checking_proxy(networks, self.bounds, end) as port,
            ):
                yield Input(url, WEB_PROTOCOLS, port)
        except (TimeoutError, FfmpegError):
            if not faults:
                raise
        if faults:
            raise type(faults[0])(f"{told}: {faults[0]}") from faults[0]


def open_beneath(roots: Sequence[Path], path: Path) -> int:
    """Open a regular file below one of the roots, for reading; gives its descriptor.

    Raises `SourceRefusedError` if it is outside, `SourceAwayError` if it is not there, and
    `SourceError` if it can't be read.
    """
    if not roots:
        raise SourceRefusedError(
            f"{path}: this engine reads no files; its operator can permit those below a directory "
            "with --source-root"
        )
    # Dot segments are removed first, as in every URL, so that they can't ask about what is outside.
    named = "/" + os.path.normpath(str(path)).lstrip("/")
    real_roots = [os.path.realpath(root) for root in roots]
    if "\0" not in named and _is_below(named, [*real_roots, *map(os.path.abspath, roots)]):
        try:
            real = os.path.realpath(named)
            for root in real_roots:
                if _is_below(real, [root]):
                    return _walk(root, os.path.relpath(real, root))
        except FileNotFoundError as error:
            raise SourceAwayError(
                f"{path}: there is no such file on this engine's machine"
            ) from error
        except OSError as error:
            why = error.strerror or str(error)
            raise SourceAwayError(f"{path}: can't be read: {why}") from error
    raise SourceRefusedError(
        f"{path}: is outside the directories in which this engine reads files; its operator can "
        "add one with --source-root"
    )


def _state_of(file: int) -> tuple[int, int]:
    """Return what a write changes: the size, and the time of the last change."""
    found = os.fstat(file)
    return found.st_size, found.st_mtime_ns


def _is_below(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def _walk(root: str, relative: str) -> int:
    """Open a file from directory to directory. No link is followed: the path has been resolved."""
    *folders, name = relative.split("/")
    by_path = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
    there = os.open(root, by_path)
    try:
        for folder in folders:
            above, there = there, os.open(folder, by_path | os.O_NOFOLLOW, dir_fd=there)
            os.close(above)
        # To open a pipe or a device has effects, so look before; to open what replaced the file
        # since does not wait, and is noticed.
        if not stat.S_ISREG(os.stat(name, dir_fd=there, follow_symlinks=False).st_mode):
            raise OSError("it is no regular file")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        file = os.open(name, flags, dir_fd=there)
    finally:
        os.close(there)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError("it is no regular file")
    return file


@contextmanager
def _linked(file: int, path: Path, folder: Path) -> Iterator[Input]:
    """Give ffmpeg an open file: on Linux by its number, which can't come to mean another file."""
    if not Path(_OPEN_FILES).is_dir():
        yield Input(f"file:{os.path.realpath(path)}", FILE_PROTOCOLS)
        return
    link = folder / f"source{_suffix_of(path.name)}"
    link.symlink_to(f"{_OPEN_FILES}/{file}")  # of the process that follows it
    try:
        yield Input(f"file:{link}", FILE_PROTOCOLS, inherits=(file,))
    finally:
        link.unlink(missing_ok=True)


def _suffix_of(name: str) -> str:
    """Return the suffix of a name if it is a plain one: some formats are known by it alone."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if _SUFFIX.fullmatch(suffix) else ""


def _path_of(url: SplitResult) -> Path:
    if url.netloc not in ("", "localhost"):
        raise SourceError(
            f"{masked(f'file://{url.netloc}/')}… is on another machine; use file:///path"
        )
    path = path_of(url.geturl())
    if not path.is_absolute():
        raise SourceError(f"file:{url.path}: use file:///path, from the root on")
    return path
