"""The dispatcher's store, as an engine uses it: sources come from there, outputs go there.

Laws:
- A source is fetched whole and checked by its SHA-256 before ffmpeg sees it.
- While the dispatcher is away, the engine waits for it. What has come or gone meanwhile stays.
- An output in the store is never another's: its bytes are its name. So none is removed again; one
  that is not wanted is swept.
"""

from pathlib import Path

from dispatcher.client import Client, DamagedError, DispatcherAwayError, RequestRefusedError
from dispatcher.engine.delivery import DeliveryError
from dispatcher.engine.fetching import MB, Bounds
from dispatcher.engine.source_errors import SourceAwayError, SourceError, SourceTooLargeError
from dispatcher.store_urls import StoreUrl

__all__ = ["TARGET", "StoreDelivery", "fetch_from_store"]

TARGET = "store:"
"""What `--output` says for the dispatcher's store."""
_TOO_LARGE = 413


async def fetch_from_store(client: Client, url: StoreUrl, path: Path, bounds: Bounds) -> None:
    """Fetch a source into a file. Raises `SourceError` if that fails."""
    try:
        await client.download(
            url.sha256, path, max_bytes=bounds.max_mb * MB, patience_s=bounds.timeout_s
        )
    except RequestRefusedError as error:
        if error.status == _TOO_LARGE:
            raise SourceTooLargeError(
                f"{url}: has more than {bounds.max_mb:g} MB (--max-source-mb of this engine)"
            ) from error
        raise SourceError(f"{url}: {error.text}") from error
    except (DamagedError, DispatcherAwayError) as error:
        raise SourceAwayError(f"{url}: {error}") from error


class StoreDelivery:
    """Delivers outputs to the dispatcher's store."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def deliver(
        self,
        output: Path,
        name: str,
        media_type: str,  # noqa: ARG002
        wished: str | None = None,
    ) -> str:
        """Upload a file, and return its URL. Raises `DeliveryError` if the dispatcher refuses it.

        It gets the `wished` name: in the store, two files may have the same.
        """
        try:
            return await self._client.upload(output, name=wished or name, patience_s=None)
        except RequestRefusedError as error:
            raise DeliveryError(f"the dispatcher's store: {error.text}") from error

    async def discard(self, output_url: str) -> None:
        """Leave it to be swept: another job may have the same output."""
