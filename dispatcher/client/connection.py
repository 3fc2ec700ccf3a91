"""A connection to a dispatcher, or to several of one log: it sends requests.

`servers` says which of several is asked, and `errors` what goes wrong.
"""

import asyncio
import ssl
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Collection,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx2
import msgspec

from dispatcher.client.errors import DispatcherAwayError, RequestRefusedError
from dispatcher.client.servers import (
    CONNECT_S,
    PATIENCE_S,
    Servers,
    seq_of,
    server_urls,
)
from dispatcher.headers import SEQ_HEADER, UNDONE_HEADER
from dispatcher.log.serialization import LogEntry, UndecodableError, parse_line
from dispatcher.urls import masked

__all__ = ["Connection", "DispatcherAwayError", "RequestRefusedError", "is_sendable"]

_UNSENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
"""The errors of a request of which nothing was sent."""


class _Request(msgspec.Struct, frozen=True):
    """A request, whichever dispatcher gets it. `repeatable` if more than one may."""

    method: str
    path: str
    body: dict[str, Any] | list[Any] | None
    query: dict[str, Any] | None
    headers: dict[str, str]
    timeout: httpx2.Timeout
    repeatable: bool
    stream: bool = False

    def content(self, waited_s: float) -> bytes | None:
        """Return the body of a request of which so much of its wait is over."""
        body = self.body
        if waited_s and isinstance(body, dict) and "wait_s" in body:
            body = body | {"wait_s": max(0.0, body["wait_s"] - waited_s)}
        return None if body is None else msgspec.json.encode(body)


class Connection:
    """Sends requests with an API key. Every method may raise the two errors of `errors`."""

    def __init__(
        self,
        server: str | Sequence[str],
        api_key: str | None,
        timeout_s: float,
        ca: Path | None = None,
    ) -> None:
        self._servers = Servers(server_urls(server))
        self.server = self._servers.names  # for errors
        self._timeout_s = timeout_s
        if api_key is not None and not is_sendable(api_key):
            raise RequestRefusedError(
                0, "the API key has characters that no request can carry; use printable ASCII"
            )
        headers = {} if api_key is None else {"X-API-Key": api_key}
        self._http = (
            httpx2.AsyncClient(headers=headers)
            if ca is None
            else httpx2.AsyncClient(headers=headers, verify=_trusting(ca))
        )

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

    @property
    def asks_several(self) -> bool:
        """Whether a request may come to more than one dispatcher."""
        return self._servers.are_several

    @property
    def asked_first(self) -> str:
        """The URL of the dispatcher that is asked first: the one that answered last."""
        return next(self._servers.round())

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
        repeatable: bool | None = None,
    ) -> httpx2.Response:
        """Send a request and return its response, which is a successful one or has this status.

        `repeatable` if it does no harm to carry it out twice, as with every GET (see `servers`). A
        `wait_s` in its body is shortened when another dispatcher is asked later.
        """
        request = _Request(
            method,
            path,
            body,
            query,
            (headers or {}) | ({} if body is None else {"Content-Type": "application/json"}),
            httpx2.Timeout(self._timeout_s + wait_s),
            method == "GET" if repeatable is None else repeatable,
        )
        url, response = await self._answered(request, wait_s)
        return response if response.status_code == accept else _checked(url, response)

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

        The dispatcher may take `silence_s` seconds longer than usual to read and to answer. Of
        several one is asked, and the next time another if this one is away.
        """
        timeout = httpx2.Timeout(self._timeout_s + silence_s, connect=self._timeout_s)
        with self._left_if_away() as url:
            response = await self._http.request(
                method, url + path, content=content, headers=headers, timeout=timeout
            )
            return response if response.status_code in accept else _checked(url, response)

    @asynccontextmanager
    async def streamed(
        self, method: str, path: str, headers: dict[str, str], accept: Collection[int] = ()
    ) -> AsyncIterator[httpx2.Response]:
        """Send a request, and yield its response before its body is read, as `send` does."""
        with self._left_if_away() as url:
            async with self._http.stream(
                method, url + path, headers=headers, timeout=self._timeout_s
            ) as response:
                if not response.is_success:
                    await response.aread()
                if response.status_code not in accept:
                    _checked(url, response)
                yield response

    @asynccontextmanager
    async def elsewhere(self, url: str, headers: dict[str, str]) -> AsyncIterator[httpx2.Response]:
        """Ask a server that a dispatcher has named, without the API key, and follow it no further.

        The response may be of any status. `DispatcherAwayError` if the server can't be reached.
        """
        limits = httpx2.Timeout(self._timeout_s)
        with _translated_errors(url):
            async with (
                httpx2.AsyncClient(timeout=limits) as http,
                http.stream("GET", url, headers=headers) as response,
            ):
                yield response

    @contextmanager
    def _left_if_away(self) -> Iterator[str]:
        """Ask the first dispatcher, whose URL this yields, and not first again if it is away."""
        url = next(self._servers.round())
        try:
            with _translated_errors(url):
                yield url
        except DispatcherAwayError:
            self._servers.leave(url)
            raise

    async def pieces(
        self, path: str, query: dict[str, Any], silence_s: float
    ) -> AsyncGenerator[bytes, None]:
        """Send a request and yield its body as it arrives.

        `DispatcherAwayError` if nothing arrives for `silence_s` seconds.
        """
        timeout = httpx2.Timeout(self._timeout_s, read=silence_s)
        request = _Request("GET", path, None, query, {}, timeout, repeatable=True, stream=True)
        url, response = await self._answered(request, silence_s)
        try:
            _checked(url, response)
            with _translated_errors(url):
                async for piece in response.aiter_bytes():
                    yield piece
            self._servers.leave(url)  # none but a dispatcher that stops ends a stream
        except DispatcherAwayError:
            self._servers.leave(url)
            raise
        finally:
            await response.aclose()

    def entry(self, line: bytes) -> LogEntry:
        """Parse an event's line, as the dispatcher sent it."""
        try:
            return parse_line(line)
        except UndecodableError as error:
            raise RequestRefusedError(
                0, f"{self.server} did not answer as a dispatcher does: an event {error}"
            ) from error

    def saw(self, seq: int) -> None:
        """Take note of a seq that was seen."""
        self._servers.saw(seq)

    def spread_s(self) -> float:
        """Return a pause for a client that many others may be cut off with."""
        return self._servers.pause_s() if self._servers.are_several else 0.0

    async def _answered(self, request: _Request, wait_s: float) -> tuple[str, httpx2.Response]:
        """Ask one dispatcher after the other; return whose answer counts, and the answer."""
        if not self._servers.are_several:
            (url,) = self._servers.round()
            return url, await self._sent(request, url, request.timeout)
        clock = asyncio.get_running_loop().time
        begin_s, faults, behind = clock(), list[DispatcherAwayError](), 0
        urls = [*self._servers.round()]
        for url in urls:
            if faults:
                await asyncio.sleep(self._servers.pause_s())
            waited_s = clock() - begin_s if faults else 0.0
            is_last = url == urls[-1]
            limits = self._limits(request, wait_s, waited_s, is_last=is_last)
            seen = self._servers.seen
            try:
                response = await self._sent(request, url, limits, waited_s)
                self._servers.saw(seq_of(response))
                if not self._servers.is_away(response):
                    return url, response
                fault = _away(url, response)
                behind += self._servers.is_behind(response, seen)
            except DispatcherAwayError as error:
                fault = error
            self._servers.leave(url)
            faults.append(fault)
            if not (fault.is_undone or request.repeatable):
                break
        raise self._servers.none_can(faults, behind, repeatable=request.repeatable)

    def _limits(
        self, request: _Request, wait_s: float, waited_s: float, *, is_last: bool
    ) -> httpx2.Timeout:
        """Return how long one of several dispatchers may take."""
        parts = request.timeout.as_dict() | {"connect": CONNECT_S}
        # Many submissions and questions about the past may take long, and again at the next one.
        is_long = isinstance(request.body, list) or "as_of" in (request.query or ())
        if request.repeatable and not (is_last or is_long or request.stream):
            read_s = min(self._timeout_s, PATIENCE_S) + max(0.0, wait_s - waited_s)
            parts |= {"read": read_s, "write": read_s}
        return httpx2.Timeout(**parts)

    async def _sent(
        self, request: _Request, url: str, limits: httpx2.Timeout, waited_s: float = 0.0
    ) -> httpx2.Response:
        """Ask one dispatcher."""
        headers = request.headers
        if self._servers.are_several:
            headers = headers | {SEQ_HEADER: str(self._servers.seen)}
        with _translated_errors(url):
            response = await self._http.send(
                self._http.build_request(
                    request.method,
                    url + request.path,
                    params=request.query,
                    content=request.content(waited_s),
                    headers=headers,
                    timeout=limits,
                ),
                stream=request.stream,
            )
            if request.stream and not response.is_success:
                await response.aread()
            return response


def _trusting(ca: Path) -> ssl.SSLContext:
    """Return a context that trusts the authorities in a file alone."""
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # an `SSLError` is one
        raise RequestRefusedError(
            0,
            f"{ca}: can't be used as a file of certificates that are trusted (PEM): "
            f"{error.strerror or error}",
        ) from error


def is_sendable(api_key: str) -> bool:
    """Whether a header can carry a key unchanged (RFC 9110, 5.5)."""
    return api_key.isascii() and api_key.isprintable() and api_key == api_key.strip()


@contextmanager
def _translated_errors(url: str) -> Iterator[None]:
    """Turn the errors of the HTTP library into those of `errors`."""
    server = masked(url)
    try:
        yield
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        raise RequestRefusedError(0, f"{server!r} is no URL of a dispatcher") from error
    except httpx2.DecodingError as error:
        raise RequestRefusedError(
            0, f"{server} did not answer as a dispatcher does: {error}"
        ) from error
    except httpx2.TransportError as error:
        detail = masked(str(error)) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in detail:
            detail += (
                "; if its certificate is of an authority of your own, name the file of that one "
                "with --ca or DISPATCHER_CA"
            )
        raise DispatcherAwayError(
            f"{server} can't be reached: {detail}", is_undone=isinstance(error, _UNSENT)
        ) from error


def _checked(url: str, response: httpx2.Response) -> httpx2.Response:
    is_busy = response.status_code == httpx2.codes.TOO_MANY_REQUESTS
    if response.is_server_error or is_busy:
        raise _away(url, response)
    if not response.is_success:
        raise RequestRefusedError(response.status_code, response.text)
    return response


def _away(url: str, response: httpx2.Response) -> DispatcherAwayError:
    text = f"{masked(url)} answered {response.status_code}: {response.text}"
    return DispatcherAwayError(text, is_undone=response.headers.get(UNDONE_HEADER) == "true")
