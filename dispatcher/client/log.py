"""Calls about the log: its events, its stream, and what proves them."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from dispatcher.client.calls import Calls, decode, given, no_dispatcher, quoted
from dispatcher.client.certificates import certificate
from dispatcher.client.stream import follow
from dispatcher.headers import SEQ_HEADER
from dispatcher.log.serialization import LogEntry

__all__ = ["LogCalls"]


class _Path(msgspec.Struct):
    path: list[bytes]  # base64 on the wire


class LogCalls(Calls):
    """Calls about the log."""

    async def checkpoint(self) -> str:
        """Return a signed checkpoint of the log's present size and root; see `checkpoints`."""
        return (await self._connection.call("GET", "/log/checkpoint")).text

    async def log_key(self) -> str:
        """Return the key that checkpoints are verified with."""
        return (await self._connection.call("GET", "/log/key")).text.strip()

    async def inclusion(self, seq: int, size: int) -> dict[str, Any]:
        """Return the proof that the log of `size` events has event `seq`, as it is on the wire."""
        query = {"seq": seq, "size": size}
        response = await self._connection.call("GET", "/log/proof", query=query)
        return decode(response, dict[str, Any])

    async def certificate(self, job_id: str) -> dict[str, Any]:
        """Gather the certificate of a completed job: its events, and proofs that the log has them.

        `RequestRefusedError` if the job is not completed.
        """
        return await certificate(self._connection, job_id)

    async def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the log of `new` events begins with that of `old`."""
        query = {"from": old, "to": new}
        response = await self._connection.call("GET", "/log/consistency", query=query)
        return decode(response, _Path).path

    async def shown(self, path: str, as_of: int | None = None) -> tuple[int, list[Any]]:
        """Return a list as it is on the wire, now or as of a seq; the seq comes first."""
        query = None if as_of is None else {"as_of": as_of}
        response = await self._connection.call("GET", path, query=query)
        try:
            seq = int(response.headers[SEQ_HEADER])
        except (KeyError, ValueError) as error:
            raise no_dispatcher(response, error) from error
        return seq, decode(response, list[Any])

    async def events(
        self,
        *,
        after: int = 0,
        limit: int | None = None,
        event_type: str | None = None,
        job: str | None = None,
        engine: str | None = None,
    ) -> list[LogEntry]:
        """List events after a seq, oldest first: all, or those that match; at most one page."""
        selection = given(type=event_type, job=job, engine=engine)
        return await self._entries("/events", given(after=after, limit=limit) | selection)

    async def job_events(self, job_id: str) -> list[LogEntry]:
        """List all events of a job, oldest first."""
        return await self._entries(f"/jobs/{quoted(job_id)}/events")

    async def engine_events(self, engine_id: str) -> list[LogEntry]:
        """List all events of an engine, oldest first."""
        return await self._entries(f"/engines/{quoted(engine_id)}/events")

    def stream(
        self,
        *,
        after: int | None = None,
        event_type: str | None = None,
        job: str | None = None,
        engine: str | None = None,
    ) -> AsyncGenerator[LogEntry, None]:
        """Yield events as they happen, after a seq or from now on, without an end.

        No event is left out or yielded twice, however often the connection breaks or the dispatcher
        restarts. An unreachable dispatcher is an error only at the very beginning. To stop, close
        the generator (`contextlib.aclosing`).
        """
        return follow(self._connection, given(type=event_type, job=job, engine=engine), after)

    async def _entries(self, path: str, asked: dict[str, Any] | None = None) -> list[LogEntry]:
        lines = decode(await self._connection.call("GET", path, query=asked), list[msgspec.Raw])
        return [self._connection.entry(bytes(line)) for line in lines]
