"""The live feed: a stream is only a cursor in the log.

    publish ──► ring of the newest events ──► streams that keep up
                log ────────────────────────► streams that have fallen behind, until they catch up

Laws:
- A stream sends every selected event after its cursor exactly once, in order. It sends only events
  that are durable and that the projections include.
- There is no queue per stream. The ring is a cache, bounded in events and in bytes; events that are
  not in it are read from the log. So a slow reader costs its cursor and the one piece that it has
  not taken yet, and delays no other reader.
- `streams` is the number of open streams, however a stream begins or ends. Each holds a place of
  its caller's key.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, NamedTuple

from dispatcher import sse
from dispatcher.core.events import Event, engine_of, job_of
from dispatcher.log import Log, serialization
from dispatcher.log.serialization import LogEntry
from dispatcher.serving.quotas import PIECE_BYTES, Asker, Quota, Quotas
from dispatcher.serving.selection import EVERYTHING, Selection, Trail, selected
from projections import Projections

__all__ = ["Feed"]

PING_S: Final = 15.0
"""The longest time for which a stream sends nothing."""
BUNDLE_S: Final = 0.02
"""How long an event may wait for others, so that streams wake up once for all of them."""
RING_EVENTS: Final = 8_192
RING_BYTES: Final = 16 << 20
PIECE_EVENTS: Final = 256
"""A piece also ends with the event that reaches `PIECE_BYTES`."""
SOMEBODY: Final = Asker("somebody", is_operator=True)


class _Live(NamedTuple):
    """An event in the ring: the fields that selections test, and its block."""

    type: str
    job: str | None
    engine: str | None
    block: bytes


class _Piece(NamedTuple):
    """What a stream sends at once.

    `last` is the seq of its last event. It completes the selected events up to seq `upto`.
    """

    blocks: bytes
    last: int
    upto: int


class Feed:
    """All streams over a log. They send the events that the current `projections` include."""

    def __init__(
        self,
        log: Log,
        projections: Callable[[], Projections],
        *,
        trail: Trail | None = None,
        ping_s: float | None = None,
        places: Quota | None = None,
    ) -> None:
        self._places = Quotas().streams if places is None else places
        self._log = log
        self._projections = projections
        self._trail: Trail = trail or (lambda: (projections().history.shared(), None))
        self._ping_s = PING_S if ping_s is None else ping_s
        self._ring: list[_Live] = []
        self._ring_bytes = 0
        self._shared_piece = ((0, 0), _Piece(b"", 0, 0))
        self._wake_event = asyncio.Event()
        self._wake_timer: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()

    @property
    def streams(self) -> int:
        """How many are open."""
        return self._places.held

    @property
    def head(self) -> int:
        """The seq of the newest event that streams may send."""
        return self._projections().seq

    def publish(self, event: Event, entry: LogEntry) -> None:
        """Add a newly durable event, the head, to the ring. Not needed while no stream is open."""
        block = sse.event(entry.seq, serialization.line(entry))
        self._ring.append(_Live(entry.type, job_of(event), engine_of(event), block))
        self._ring_bytes += len(block)
        if len(self._ring) > RING_EVENTS or self._ring_bytes > RING_BYTES:
            del self._ring[: (len(self._ring) + 1) // 2]
            self._ring_bytes = sum(len(live.block) for live in self._ring)
        if self._wake_timer is None:
            self._wake_timer = asyncio.get_running_loop().call_later(BUNDLE_S, self._wake)

    def reset(self) -> None:
        """Continue after events that were not published. Streams read these from the log."""
        self._clear()
        self._wake()

    def _clear(self) -> None:
        self._ring.clear()
        self._ring_bytes = 0

    def end(self) -> None:
        """End all streams, including those that begin later."""
        self._ended.set()
        self._wake()

    def _wake(self) -> None:
        """Wake all streams, so that they look for new events."""
        if self._wake_timer is not None:
            self._wake_timer.cancel()
            self._wake_timer = None
        self._wake_event.set()

    async def stream(
        self,
        selection: Selection = EVERYTHING,
        after: int | None = None,
        asker: Asker = SOMEBODY,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the selected events after a seq, or from now on, as server-sent events.

        `TooManyError` if too many streams are open.
        """
        self._places.take(asker)
        try:
            cursor = self.head if after is None else after
            opening: bytes = sse.opening(cursor if after is None else None)
            last_id = cursor  # the id from which the client would resume
            ping_at = _now() + self._ping_s
            while not self._ended.is_set():
                if opening and cursor >= self.head - len(self._ring):
                    yield opening
                    opening = b""
                async with aclosing(self._pieces(selection, cursor)) as pieces:
                    async for blocks, last, upto in pieces:
                        cursor = upto
                        if blocks or opening:
                            # Only now: if the log can't be read, the request gets an error.
                            yield opening + blocks
                            opening = b""
                        if blocks:
                            last_id, ping_at = last, _now() + self._ping_s
                        if self._ended.is_set():
                            return
                        if _now() >= ping_at:  # a long scan has found nothing
                            break
                if not await self._has_news(cursor, ping_at):
                    yield sse.ping(None if cursor == last_id else cursor)
                    last_id, ping_at = cursor, _now() + self._ping_s
        finally:
            self._places.give_back(asker)
            if not self.streams:  # nothing is published from now on
                self._clear()

    async def _pieces(self, selection: Selection, cursor: int) -> AsyncGenerator[_Piece, None]:
        """Yield the pieces after the cursor, up to the head."""
        while cursor < self.head:
            if cursor >= self.head - len(self._ring):
                piece = self._piece(selection, cursor)
                cursor = piece.upto
                yield piece
                continue
            pages = selected(
                self._log,
                self._trail,
                selection,
                cursor,
                self.head,
                page=PIECE_EVENTS,
                page_bytes=PIECE_BYTES,
            )
            async with aclosing(pages):
                async for entries, upto in pages:
                    blocks = [sse.event(entry.seq, serialization.line(entry)) for entry in entries]
                    last = entries[-1].seq if entries else cursor
                    yield _Piece(b"".join(blocks), last, upto)
                    cursor = upto

    def _piece(self, selection: Selection, cursor: int) -> _Piece:
        """Cut a piece out of the ring. Streams that select everything share one."""
        key = (cursor, self.head)
        if selection == EVERYTHING and self._shared_piece[0] == key:
            return self._shared_piece[1]
        start = cursor - (self.head - len(self._ring))
        blocks, size, last = [], 0, cursor
        for live in self._ring[start : start + PIECE_EVENTS]:
            cursor += 1
            if selection.admits(live.type, live.job, live.engine):
                blocks.append(live.block)
                size += len(live.block)
                last = cursor
                if size >= PIECE_BYTES:
                    break
        piece = _Piece(b"".join(blocks), last, cursor)
        if selection == EVERYTHING:
            self._shared_piece = (key, piece)
        return piece

    async def _has_news(self, cursor: int, deadline: float) -> bool:
        """Wait for an event after the cursor, or for `end`. `False` if the deadline passes."""
        if _now() >= deadline:
            return False
        try:
            async with asyncio.timeout_at(deadline):
                while self.head <= cursor and not self._ended.is_set():
                    self._wake_event.clear()
                    await self._wake_event.wait()
        except TimeoutError:
            return False
        return True


def _now() -> float:
    return asyncio.get_running_loop().time()
