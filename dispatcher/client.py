"""The dispatcher's API from Python: one method a route, typed results.

async with Client("http://127.0.0.1:8080", api_key) as client:
    job = await client.submit("file:///videos/clip.mov", "vp9")
"""

from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from projections.engines import EngineView
from projections.jobs import JobView

T = TypeVar("T")

__all__ = ["Client", "DispatcherAwayError", "RequestRefusedError"]


class RequestRefusedError(Exception):
    """The dispatcher said no: to ask again in the same way is of no use."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{text} (HTTP {status})")
        self.status = status
        self.text = text


class DispatcherAwayError(Exception):
    """The dispatcher can't be reached, or can't write its log now: ask again later."""


class Client:
    """A connection to a dispatcher. Every method may raise the two errors above."""

    def __init__(self, server: str, api_key: str | None = None, *, timeout_s: float = 30) -> None:
        self.server = server.rstrip("/")
        try:
            self._http = httpx2.AsyncClient(
                base_url=self.server,
                headers={} if api_key is None else {"X-API-Key": api_key},
                timeout=timeout_s,
            )
        except httpx2.InvalidURL as error:
            raise RequestRefusedError(0, f"{server!r} is no URL of a dispatcher") from error

    async def __aenter__(self) -> Self:
        """Use as a context manager, so that the connections are closed at the end."""
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self._http.__aexit__(kind, error, traceback)

    async def submit(
        self, source_url: str, target_codec: str, *, job_size: float = 0.0, max_retries: int = 3
    ) -> JobView:
        """Submit a job (protocol.md 1.1). `job_size` is in MB."""
        body = {
            "source_url": source_url,
            "target_codec": target_codec,
            "job_size": job_size,
            "max_retries": max_retries,
        }
        return _decode(await self._call("POST", "/jobs/", body), JobView)

    async def job(self, job_id: str) -> JobView:
        """Show one job (protocol.md 1.2)."""
        return _decode(await self._call("GET", f"/jobs/{_quoted(job_id)}"), JobView)

    async def jobs(self) -> list[JobView]:
        """List all jobs, in order of submission (protocol.md 1.3)."""
        return _decode(await self._call("GET", "/jobs/"), list[JobView])

    async def heartbeat(self, engine_id: str, report: dict[str, Any] | None = None) -> None:
        """Register an engine, or refresh what it says of itself (protocol.md 2.1)."""
        await self._call("POST", "/engines/heartbeat", {**(report or {}), "engine_id": engine_id})

    async def benchmark_result(self, engine_id: str, benchmark_time: float) -> None:
        """Tell how many seconds an engine's benchmark took."""
        body = {"engine_id": engine_id, "benchmark_time": benchmark_time}
        await self._call("POST", "/engines/benchmark_result", body)

    async def engines(self) -> list[EngineView]:
        """List all engines, in order of first heartbeat (protocol.md 2.2)."""
        wires = _decode(await self._call("GET", "/engines/"), list[dict[str, Any]])
        return [EngineView.from_wire(wire) for wire in wires]

    async def assign(self, engine_id: str | None = None, *, resume: bool = False) -> JobView | None:
        """Ask for a job; `None` if there is none to be had (protocol.md 2.5).

        With `resume`, an engine that holds a job is told that one again.
        """
        body: dict[str, Any] = {} if engine_id is None else {"engine_id": engine_id}
        if resume:
            body["resume"] = True
        response = await self._call("POST", "/assign_job/", body)
        return (
            None if response.status_code == httpx2.codes.NO_CONTENT else _decode(response, JobView)
        )

    async def complete(self, job_id: str, output_url: str) -> None:
        """Report a job's output (protocol.md 2.3)."""
        path = f"/jobs/{_quoted(job_id)}/complete"
        await self._call("POST", path, {"output_url": output_url})

    async def fail(self, job_id: str, error_message: str) -> str:
        """Report that an attempt failed (protocol.md 2.4); gives the dispatcher's verdict."""
        path = f"/jobs/{_quoted(job_id)}/fail"
        return (await self._call("POST", path, {"error_message": error_message})).text

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> httpx2.Response:
        try:
            response = await self._http.request(
                method,
                path,
                content=None if body is None else msgspec.json.encode(body),
                headers=None if body is None else {"Content-Type": "application/json"},
            )
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
            raise RequestRefusedError(0, f"{self.server!r} is no URL of a dispatcher") from error
        except httpx2.TransportError as error:
            detail = str(error) or type(error).__name__
            raise DispatcherAwayError(f"{self.server} can't be reached: {detail}") from error
        if response.is_server_error:
            raise DispatcherAwayError(
                f"{self.server} answered {response.status_code}: {response.text}"
            )
        if not response.is_success:
            raise RequestRefusedError(response.status_code, response.text)
        return response


def _quoted(job_id: str) -> str:
    return quote(job_id, safe="")


def _decode(response: httpx2.Response, of_type: type[T]) -> T:
    try:
        return msgspec.json.decode(response.content, type=of_type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestRefusedError(
            response.status_code, f"{response.url} did not answer as a dispatcher does: {error}"
        ) from error
