"""Objects in buckets: at S3, Google Cloud Storage, Azure, and whatever speaks their protocols.

    s3://bucket/folder/film.mov    gs://bucket/folder/film.mov    az://container/folder/film.mov

Laws:
- Credentials and endpoints come from the environment (AWS_…, GOOGLE_…, AZURE_…), never from a URL.
  None of them is in an error.
- A key stands in a URL as it is: nothing in it is percent-encoded.
- An object appears when all of it is there, or not at all. One that is replaced while it is read
  is noticed.
- obstore, which does the work, is imported when a bucket is first opened.
"""

import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from dispatcher.errors import DispatcherError
from dispatcher.urls import masked

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Store

__all__ = [
    "SCHEMES",
    "Bucket",
    "BucketAwayError",
    "BucketError",
    "BucketRefusedError",
    "Found",
    "ObjectChangedError",
    "ObjectMissingError",
    "ObjectUrl",
    "has_credentials",
]

SCHEMES: Final = ("s3", "gs", "az")
PATIENCE_S: Final = 120.0
"""How long a request is tried again while its server is away or at fault."""
MIB: Final = 1 << 20
READ_BYTES: Final = 64 * MIB
"""The most that one request reads."""
PART_BYTES: Final = 16 * MIB
PARTS_AT_ONCE: Final = 4
_PARTS: Final = 9_000
"""An object of S3 has at most 10,000 parts."""
_BUCKET: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,220}[A-Za-z0-9])?")
_URL: Final = re.compile(r"(s3|gs|az)://([^/]*)(?:/(.*))?", re.IGNORECASE | re.DOTALL)
_GIVEN_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "s3": (
        *("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE"),
        *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ),
    "gs": (
        *("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_SERVICE_ACCOUNT_KEY"),
        *("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_BEARER_TOKEN", "GOOGLE_SKIP_SIGNATURE"),
    ),
    "az": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_USE_EMULATOR"),
}
"""Variables of the environment, any of which says that there are credentials."""
_ENDPOINTS: Final = (
    *("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    *("GOOGLE_BASE_URL", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
)
_SECRET: Final = re.compile(r"(?:AWS|AZURE|GOOGLE)_.*(?:KEY|SECRET|TOKEN|SAS|PASSWORD)")
_NO_BUCKET: Final = re.compile("NoSuchBucket|ContainerNotFound|specified bucket does not exist")
_SHORTEST: Final = 4
_LONGEST_REASON: Final = 300


class BucketError(DispatcherError):
    """The bucket can't do it; the text says why."""


class BucketAwayError(BucketError):
    """The bucket's server can't be reached, or is at fault."""


class BucketRefusedError(BucketError):
    """The credentials do not permit it."""


class ObjectMissingError(BucketError):
    """There is no such object, or no such bucket."""


class ObjectChangedError(BucketError):
    """The object is another one than it was."""


class ObjectUrl(NamedTuple):
    """An object, or the beginning of keys; `key` is empty for a whole bucket."""

    scheme: str
    bucket: str
    key: str = ""

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a URL; `None` if it has another scheme. Raises `BucketError` if it is a bad one."""
        if (found := _URL.fullmatch(text)) is None:
            return None
        scheme, bucket, key = found[1].lower(), found[2], found[3] or ""
        if _BUCKET.fullmatch(bucket) is None or ".." in bucket:
            raise BucketError(
                f"{masked(text)}: names no bucket; use {scheme}://BUCKET/KEY, with nothing but the "
                "bucket's name before the key"
            )
        if key and (any(it in {"", ".", ".."} for it in key.split("/")) or not key.isprintable()):
            raise BucketError(
                f"{masked(text)}: a key has no empty parts, no . and no .. between its slashes, "
                "and no control characters"
            )
        return cls(scheme, bucket, key)

    @classmethod
    def parse_prefix(cls, text: str) -> Self | None:
        """Read a URL that stands for all below it, as `parse` does; a last / means nothing."""
        return cls.parse(text.rstrip("/") if _URL.fullmatch(text) else text)

    def __str__(self) -> str:
        """Return the URL."""
        return f"{self.scheme}://{self.bucket}" + (f"/{self.key}" if self.key else "")

    def below(self, name: str) -> "ObjectUrl":
        """Return the URL of a name below this one."""
        return self._replace(key=f"{self.key}/{name}" if self.key else name)

    def is_below(self, other: "ObjectUrl") -> bool:
        """Whether this is below another one."""
        is_there = (self.scheme, self.bucket) == (other.scheme, other.bucket)
        return is_there and (not other.key or self.key.startswith(f"{other.key}/"))


class Found(NamedTuple):
    """An object that is there. `etag` is `None` where its server tells none."""

    key: str
    size: int
    etag: str | None
    metadata: Mapping[str, str]


def has_credentials(scheme: str) -> bool:
    """Whether the environment has credentials for a cloud."""
    return any(os.environ.get(name) for name in _GIVEN_BY[scheme])


class Bucket:
    """A bucket, or what is below a prefix in it. All methods may raise `BucketError`.

    `patience_s` is how long a request is tried again while the server is away.
    """

    def __init__(self, url: ObjectUrl, patience_s: float = PATIENCE_S) -> None:
        self.url = url
        try:
            import obstore  # noqa: PLC0415 - who has no bucket needs no obstore
        except ImportError as error:
            raise BucketError(
                f"{url}: buckets need obstore; pip install 'transcoding-dispatcher[cloud]'"
            ) from error
        self._obstore = obstore
        with self._translated(""):
            self._store = _opened(url, patience_s)

    async def look(self, key: str) -> Found:
        """Return what an object is. Raises `ObjectMissingError` if it is not there."""
        with self._translated(key):
            got = await self._obstore.get_async(self._store, key, options={"head": True})
            return Found(key, got.meta["size"], got.meta["e_tag"], dict(got.attributes))

    async def read(
        self, key: str, first: int, end: int, etag: str | None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of an object from `first` to before `end`.

        Raises `ObjectChangedError` if it has not the `etag`. If it breaks off it goes on from
        there.
        """
        while first < end:
            before = first
            try:
                with self._translated(key):
                    part: GetOptions = {"range": (first, min(end, first + READ_BYTES))}
                    if etag is not None:
                        part["if_match"] = etag
                    got = await self._obstore.get_async(self._store, key, options=part)
                    async for piece in got.stream(MIB):
                        first += len(piece)
                        yield bytes(piece)
                    if first == before:
                        raise ObjectChangedError(f"{self.url.below(key)}: is shorter than it was")
            except BucketAwayError:
                if first == before:
                    raise

    async def put(self, key: str, file: Path, attributes: Mapping[str, str]) -> None:
        """Store a file, in parts. What has that key is replaced."""
        size = file.stat().st_size
        part = max(PART_BYTES, -(-size // _PARTS // MIB) * MIB)
        with self._translated(key):
            await self._obstore.put_async(
                self._store,
                key,
                file,
                attributes=dict(attributes),
                chunk_size=part,
                max_concurrency=PARTS_AT_ONCE,
            )

    async def create(self, key: str, data: bytes) -> bool:
        """Store a few bytes, unless there is an object of that key; gives whether it was stored."""
        try:
            with self._translated(key):
                await self._obstore.put_async(self._store, key, data, mode="create")
        except _ExistsError:
            return False
        return True

    async def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error."""
        try:
            with self._translated(key):
                await self._obstore.delete_async(self._store, key)
        except ObjectMissingError:
            pass

    async def all(self) -> AsyncIterator[Found]:
        """Yield all objects."""
        with self._translated(""):
            async for part in self._obstore.list(self._store, chunk_size=1_000):
                for it in part:
                    yield Found(it["path"], it["size"], it["e_tag"], {})

    async def link(self, key: str, life_s: float) -> str:
        """Return a URL by which anybody can read an object for so long."""
        with self._translated(key):
            life = timedelta(seconds=int(life_s))
            return await self._obstore.sign_async(self._store, "GET", key, life)

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Turn the errors of obstore into ours."""
        from obstore import exceptions  # noqa: PLC0415 - as above

        told = str(self.url.below(key) if key else self.url)
        try:
            yield
        except FileNotFoundError as error:
            what = "bucket" if _NO_BUCKET.search(str(error)) else "object"
            raise ObjectMissingError(f"{told}: there is no such {what}") from None
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise BucketRefusedError(f"{told}: {_why(error)}") from None
        except exceptions.PreconditionError:
            raise ObjectChangedError(f"{told}: is another object than it was") from None
        except exceptions.AlreadyExistsError as error:
            raise _ExistsError(f"{told}: is there already") from error
        except exceptions.GenericError as error:
            if _NO_BUCKET.search(str(error)):
                raise ObjectMissingError(f"{told}: there is no such bucket") from None
            raise BucketAwayError(f"{told}: {_why(error)}") from None
        except (exceptions.BaseError, ValueError, TypeError) as error:
            raise BucketError(f"{told}: {_why(error)}") from None


class _ExistsError(BucketError):
    """There is an object of that key."""


def _opened(url: ObjectUrl, patience_s: float) -> "S3Store | GCSStore | AzureStore":
    from obstore.store import AzureStore, GCSStore, S3Store  # noqa: PLC0415 - as above

    retries: RetryConfig = {
        "max_retries": 1_000,
        "retry_timeout": timedelta(seconds=patience_s),
        "backoff": {
            "init_backoff": timedelta(seconds=0.1),
            "max_backoff": timedelta(seconds=8),
            "base": 2,
        },
    }
    client: ClientConfig = {
        # One part or one piece; a server that is silent is given up sooner.
        "timeout": timedelta(hours=1),
        "read_timeout": timedelta(seconds=60),
        # Only who has named such an endpoint himself sends anything over a plain connection.
        "allow_http": any(
            os.environ.get(name, "").lower().startswith("http://") for name in _ENDPOINTS
        )
        or "AZURE_STORAGE_USE_EMULATOR" in os.environ,
    }
    options: Any = {"client_options": client, "retry_config": retries}
    match url.scheme:
        case "s3":
            return S3Store(url.bucket, prefix=url.key or None, **options)
        case "gs":
            return GCSStore(url.bucket, prefix=url.key or None, **options)
        case _:
            return AzureStore(url.bucket, prefix=url.key or None, **options)


def _why(error: Exception) -> str:
    """Word an error of obstore in one line, without credentials."""
    text = " ".join(str(error).partition("\n\nDebug source")[0].split())
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and _SECRET.match(name):
            text = text.replace(value, "***")
    return masked(text)[:_LONGEST_REASON]
