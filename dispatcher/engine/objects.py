"""Buckets at S3, Google Cloud Storage and Azure, as an engine uses them: for sources and outputs.

Laws:
- Without `--source-root s3://…` an engine reads what the credentials in its environment permit;
  with one, of that cloud only what is below a root. Without credentials it reads nothing.
- An object that is replaced while it is read is no source yet: it counts as away.
- An output appears when it is whole. It replaces nothing of another job's: the wished name is
  taken by a claim, an object beside it, which only one engine can create.
- What is told has the object's URL, never the signed one that ffmpeg gets.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Self
from urllib.parse import quote

from dispatcher.buckets import (
    Bucket,
    BucketAwayError,
    BucketError,
    BucketRefusedError,
    Found,
    ObjectChangedError,
    ObjectMissingError,
    ObjectUrl,
    has_credentials,
)
from dispatcher.client import digest_of
from dispatcher.engine.delivery import DeliveryError
from dispatcher.engine.fetching import MB, Bounds, Pace
from dispatcher.engine.source_errors import (
    SourceAwayError,
    SourceError,
    SourceRefusedError,
    SourceTooLargeError,
    SourceTooSlowError,
)

__all__ = ["BucketDelivery", "SourceObject"]

LINK_S: Final = 7 * 86_400.0
"""How long ffmpeg can read a source that is streamed: the longest that S3 permits."""
_PLAYLISTS: Final = (".m3u8", ".mpd")
_DIGEST: Final = "sha256"
_OUTPUT: Final = "output"
"""The metadata of an output: its SHA-256, and the name that nobody else gives."""


class SourceObject(NamedTuple):
    """A source in a bucket, as it is now."""

    url: ObjectUrl
    bucket: Bucket
    found: Found

    @classmethod
    async def at(cls, source_url: str, roots: Sequence[ObjectUrl], bounds: Bounds) -> Self:
        """Find a source. Raises `SourceError`."""
        try:
            url = ObjectUrl.parse(source_url)
        except BucketError as error:
            raise SourceError(str(error)) from error
        assert url is not None  # noqa: S101 - its scheme was looked at
        if not url.key:
            raise SourceError(f"{url}: names a bucket, and no object in it")
        if url.key.lower().endswith(_PLAYLISTS):
            raise SourceError(f"{url}: a playlist is read from a web server only, as it names URLs")
        _require_permission(url, roots)
        try:
            bucket = Bucket(url._replace(key=""))
            found = await bucket.look(url.key)
        except BucketError as error:
            raise _source_error(error) from error
        if found.size > bounds.max_mb * MB:
            raise _too_large(url, bounds)
        return cls(url, bucket, found)

    @property
    def size_mb(self) -> float:
        """Its size."""
        return self.found.size / MB

    async def fetch(self, path: Path, bounds: Bounds) -> None:
        """Fetch it into a new file. Raises `SourceError`."""
        pace, size = Pace(bounds), self.found.size
        try:
            async with asyncio.timeout(bounds.timeout_s):
                since = time.monotonic()
                with path.open("wb") as file:
                    async for piece in self.bucket.read(self.url.key, 0, size, self.found.etag):
                        pace.received(len(piece), time.monotonic() - since)
                        await asyncio.to_thread(file.write, piece)
                        since = time.monotonic()
        except TimeoutError as error:
            raise SourceTooSlowError(
                f"{self.url}: did not arrive within {bounds.timeout_s:g} s (--source-timeout-s)"
            ) from error
        except SourceError as error:
            raise type(error)(f"{self.url}: {error}") from error
        except BucketError as error:
            raise _source_error(error) from error
        except OSError as error:
            raise OSError(f"{self.url}: can't be stored while it is fetched: {error}") from error

    async def link(self) -> str:
        """Return a URL by which it can be streamed. Raises `SourceError`."""
        try:
            return await self.bucket.link(self.url.key, LINK_S)
        except BucketError as error:
            raise _source_error(error) from error

    async def require_unchanged(self) -> None:
        """Raise `SourceAwayError` if it is another object by now."""
        try:
            now = await self.bucket.look(self.url.key)
        except BucketError as error:
            raise _source_error(error) from error
        if (now.size, now.etag) != (self.found.size, self.found.etag):
            raise _changed(self.url)


def _require_permission(url: ObjectUrl, roots: Sequence[ObjectUrl]) -> None:
    of_this_cloud = [root for root in roots if root.scheme == url.scheme]
    if of_this_cloud:
        if not any(url.is_below(root) for root in of_this_cloud):
            raise SourceRefusedError(
                f"{url}: is outside the buckets that this engine reads; its operator can add one "
                f"with --source-root {url.scheme}://{url.bucket}"
            )
    elif not has_credentials(url.scheme):
        raise SourceRefusedError(
            f"{url}: this engine has no credentials for {url.scheme}:// in its environment (see "
            "docs/buckets.md); another engine may have"
        )


def _source_error(error: BucketError) -> SourceError:
    """Word an error of a bucket as one of a source."""
    match error:
        case ObjectChangedError():
            return SourceAwayError(f"{error}; a source must be finished")
        case BucketAwayError() | ObjectMissingError():
            return SourceAwayError(str(error))
        case BucketRefusedError():
            return SourceRefusedError(f"this engine's credentials do not permit it: {error}")
        case _:  # such as no obstore
            return SourceRefusedError(str(error))


def _changed(url: ObjectUrl) -> SourceAwayError:
    return SourceAwayError(f"{url}: was replaced while it was read; a source must be finished")


def _too_large(url: ObjectUrl, bounds: Bounds) -> SourceTooLargeError:
    return SourceTooLargeError(
        f"{url}: has more than {bounds.max_mb:g} MB (--max-source-mb of this engine)"
    )


class BucketDelivery:
    """Delivers outputs to a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def deliver(
        self, output: Path, name: str, media_type: str, wished: str | None = None
    ) -> str:
        """Upload a file, and return its URL. Raises `DeliveryError` if that fails.

        It gets the `wished` name if that is free, and else `name`, which nobody else gives.
        """
        try:
            sha256 = await digest_of(output)
            attributes = {"Content-Type": media_type, _DIGEST: sha256, _OUTPUT: quote(name)}
            if wished is None or wished == name:
                await self._bucket.put(name, output, attributes)
                return str(self._bucket.url.below(name))
            if await self._has(wished, attributes):  # by a process that died since
                await self._bucket.delete(_claim_of(wished))
                return str(self._bucket.url.below(wished))
            chosen = wished if await self._claimed(wished, name) else name
            await self._bucket.put(chosen, output, attributes)
            if chosen == wished:
                await self._bucket.delete(_claim_of(wished))
        except BucketError as error:
            raise DeliveryError(str(error)) from error
        return str(self._bucket.url.below(chosen))

    async def discard(self, output_url: str) -> None:
        """Delete an output, as far as possible."""
        with suppress(BucketError):
            await self._bucket.delete(output_url.rpartition("/")[2])

    async def _claimed(self, wished: str, name: str) -> bool:
        """Whether the wished name is free, and now kept for this output."""
        claim = _claim_of(wished)
        if not (
            await self._bucket.create(claim, name.encode()) or await self._is_held_by(name, claim)
        ):
            return False
        try:
            await self._bucket.look(wished)
        except ObjectMissingError:
            return True
        await self._bucket.delete(claim)
        return False

    async def _is_held_by(self, name: str, claim: str) -> bool:
        """Whether a claim is of this output: of a process that died."""
        try:
            held = await self._bucket.look(claim)
            pieces = [it async for it in self._bucket.read(claim, 0, held.size, held.etag)]
        except (ObjectMissingError, ObjectChangedError):
            return False
        return b"".join(pieces) == name.encode()

    async def _has(self, key: str, attributes: Mapping[str, str]) -> bool:
        """Whether just this output has the name already."""
        try:
            found = await self._bucket.look(key)
        except ObjectMissingError:
            return False
        has = {name.lower(): value for name, value in found.metadata.items()}
        return all(has.get(name) == attributes[name] for name in (_DIGEST, _OUTPUT))


def _claim_of(name: str) -> str:
    return f".{name}.claim"
