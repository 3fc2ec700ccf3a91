"""Calls that move films: to the dispatcher's store, and from there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from dispatcher.client.calls import Calls, quoted
from dispatcher.client.transfers import (
    PATIENCE_S,
    OutputInfo,
    Some,
    StoreInfo,
    Told,
    digest_of,
    download,
    ignored,
    output_info,
    some_of,
    store_info,
    upload,
)
from dispatcher.store_urls import StoreUrl

__all__ = ["FilmCalls"]


class FilmCalls(Calls):
    """Calls that move films."""

    async def store(self) -> StoreInfo:
        """Say whether the dispatcher has a store, and how large a file may be."""
        return await store_info(self._connection)

    async def upload(
        self,
        path: Path,
        *,
        name: str | None = None,
        sha256: str | None = None,
        progress: Told = ignored,
        patience_s: float | None = PATIENCE_S,
    ) -> str:
        """Send a file to the store, unless it is there; gives its URL, with the `name`.

        `sha256` is that of the file, if it is known. What was sent by an upload that was cut off is
        not sent again. `progress` is called with the number of bytes that are there, and a
        dispatcher that is away is asked again for `patience_s`; `None`: for ever.
        """
        sha256 = sha256 or await digest_of(path)
        await upload(self._connection, path, sha256, progress, patience_s=patience_s)
        return str(StoreUrl(sha256, path.name if name is None else name))

    async def download(
        self,
        sha256: str,
        target: Path,
        *,
        max_bytes: float | None = None,
        progress: Told = ignored,
        patience_s: float | None = PATIENCE_S,
    ) -> None:
        """Receive a file of the store into `target`, and go on with what is there of it.

        Raises `DamagedError` if it is another file, and nothing of that stays. With a file over
        `max_bytes`, `RequestRefusedError` of the status 413. See `upload` for the rest.
        """
        await download(
            self._connection,
            f"/store/{sha256}",
            target,
            sha256,
            progress,
            max_bytes=max_bytes,
            patience_s=patience_s,
        )

    @asynccontextmanager
    async def some_of(self, sha256: str, first: int, last: int | None) -> AsyncIterator[Some]:
        """Yield the bytes of a file of the store from `first` to `last`, or to its end.

        They can't be checked by the SHA-256. `RequestRefusedError` if there is no such file, or not
        so much of it.
        """
        async with some_of(self._connection, f"/store/{sha256}", sha256, first, last) as found:
            yield found

    async def output_info(self, job_id: str) -> OutputInfo:
        """Say what the output of a job is called, how large it is, and its SHA-256.

        `RequestRefusedError` if it is not in the dispatcher's store.
        """
        return await output_info(self._connection, f"/jobs/{quoted(job_id)}/output")

    async def fetch_output(
        self, job_id: str, info: OutputInfo, target: Path, *, progress: Told = ignored
    ) -> None:
        """Receive the output of a job into `target`; see `download`."""
        path = f"/jobs/{quoted(job_id)}/output"
        await download(self._connection, path, target, info.sha256, progress)
