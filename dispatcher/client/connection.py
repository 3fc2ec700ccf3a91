"""A connection to a dispatcher: it sends requests, and has two kinds of error."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, ClassVar, Self

import httpx2
import msgspec

from dispatcher.errors import DispatcherError
from dispatcher.log.serialization import LogEntry, UndecodableError, parse_line
from dispatcher.urls import masked, web_url_fault

__all__ = ["Connection", "DispatcherAwayError", "RequestRefusedError", "is_sendable"]


class RequestRefusedError(DispatcherError):
    """The dispatcher refused the request: repeating it unchanged is of no use.

    `status` is that of the response, or 0 if the error has no such status.
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{text} (HTTP {status})" if status else text)
        self.status = status
        self.text = text


class DispatcherAwayError(DispatcherError):
    """The dispatcher can't be reached, or can't do what was asked now: try again later."""

    exit_code: ClassVar[int] = 3


class Connection:
    """Sends requests with an API key. Every method may raise the two errors above."""

    def __init__(self, server: str, api_key: str | None, timeout_s: float) -> None:
        self.server = masked(server.rstrip("/"))  # for errors
        self._timeout_s = timeout_s
        if (fault := web_url_fault(server)) is not None:
            raise RequestRefusedError(
                0, f"{masked(server)!r} is no URL of a dispatcher: it {fault}"
            )
        if api_key is not None and not is_sendable(api_key):
            raise RequestRefusedError(
                0, "the API key has characters that no request can carry; use printable ASCII"
            )
        try:
            self._http = httpx2.AsyncClient(
                base_url=server.rstrip("/"),
                headers={} if api_key is None else {"X-API-Key": api_key},
            )
        except httpx2.InvalidURL as error:
            raise RequestRefusedError(0, f"{self.server!r} is no URL of a dispatcher") from error

    async def __aenter__(self) -> Self:
        """Use as a context manager, so that the connection is closed at the end."""
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        await self._http.__aexit__(kind, error, traceback)

    async def call(  # noqa: PLR0913 - a request has as many parts
        self,
        method: str,
        path: str,
        body: dict[str, Any] | list[Any] | None = None,
        *,
        query: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        wait_s: float = 0,
        accept: int | None = None,
    ) -> httpx2.Response:
        """Send a request and return its response, which is a successful one or has this status."""
        with self._translated_errors():
            response = await self._http.request(
                method,
                path,
                params=query,
                content=None if body is None else msgspec.json.encode(body),
                headers=(headers or {})
                | ({} if body is None else {"Content-Type": "application/json"}),
                timeout=self._timeout_s + wait_s,
            )
        return response if response.status_code == accept else self._checked(response)

    async def send(  # noqa: PLR0913 - a request has as many parts
        self,
        method: str,
        path: str,
        *,
        content: AsyncIterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
        accept: Collection[int] = (),
        silence_s: float = 0,
    ) -> httpx2.Response:
        """Send a request whose body is a file, and return its response, as `call` does.

        The dispatcher may take `silence_s` seconds longer than usual to read and to answer.
        """
        timeout = httpx2.Timeout(self._timeout_s + silence_s, connect=self._timeout_s)
        with self._translated_errors():
            response = await self._http.request(
                method, path, content=content, headers=headers, timeout=timeout
            )
        return response if response.status_code in accept else self._checked(response)

    @asynccontextmanager
    async def streamed(
        self, method: str, path: str, headers: dict[str, str], accept: Collection[int] = ()
    ) -> AsyncIterator[httpx2.Response]:
        """Send a request, and yield its response before its body is read, as `call` does."""
        with self._translated_errors():
            async with self._http.stream(
                method, path, headers=headers, timeout=self._timeout_s
            ) as response:
                if not response.is_success:
                    await response.aread()
                if response.status_code not in accept:
                    self._checked(response)
                yield response

    async def pieces(
        self, path: str, query: dict[str, Any], silence_s: float
    ) -> AsyncGenerator[bytes, None]:
        """Send a request and yield its body as it arrives.

        `DispatcherAwayError` if nothing arrives for `silence_s` seconds.
        """
        timeout = httpx2.Timeout(self._timeout_s, read=silence_s)
        with self._translated_errors():
            async with self._http.stream("GET", path, params=query, timeout=timeout) as response:
                if not response.is_success:
                    await response.aread()
                self._checked(response)
                async for piece in response.aiter_bytes():
                    yield piece

    def entry(self, line: bytes) -> LogEntry:
        """Parse an event's line, as the dispatcher sent it."""
        try:
            return parse_line(line)
        except UndecodableError as error:
            raise RequestRefusedError(
                0, f"{self.server} did not answer as a dispatcher does: an event {error}"
            ) from error

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Turn the errors of the HTTP library into those of this module."""
        try:
            yield
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
            raise RequestRefusedError(0, f"{self.server!r} is no URL of a dispatcher") from error
        except httpx2.DecodingError as error:
            raise RequestRefusedError(
                0, f"{self.server} did not answer as a dispatcher does: {error}"
            ) from error
        except httpx2.TransportError as error:
            detail = masked(str(error)) or type(error).__name__
            raise DispatcherAwayError(f"{self.server} can't be reached: {detail}") from error

    def _checked(self, response: httpx2.Response) -> httpx2.Response:
        is_busy = response.status_code == httpx2.codes.TOO_MANY_REQUESTS
        if response.is_server_error or is_busy:
            raise DispatcherAwayError(
                f"{self.server} answered {response.status_code}: {response.text}"
            )
        if not response.is_success:
            raise RequestRefusedError(response.status_code, response.text)
        return response


def is_sendable(api_key: str) -> bool:
    """Whether a header can carry a key unchanged (RFC 9110, 5.5)."""
    return api_key.isascii() and api_key.isprintable() and api_key == api_key.strip()
