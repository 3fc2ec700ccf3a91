"""The live feed: every stream is a cursor in the log, and nothing more.

    publish ──► ring of the newest events ──► streams that keep up
                log ────────────────────────► streams that have fallen behind, until they have not

Laws:
- A stream gives every selected event after its cursor exactly once, in order, and only what is
  durable and shown by the projections.
- There is no queue per stream. The ring is bounded in events and in bytes, and it is a cache: what
  is not in it is read from the log. So a slow reader costs its cursor and the one piece that it has
  not taken yet, and holds nobody up.
- Whoever begins or ends a stream, and however, the number of `streams` is right.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, NamedTuple

from dispatcher import sse
from dispatcher.core.events import Event, engine_of, job_of
from dispatcher.log import Log, serialization
from dispatcher.log.serialization import LogEntry
from dispatcher.serving.selection import EVERYTHING, Selection, selected
from projections import Projections

__all__ = ["Feed", "TooManyStreamsError"]

MAX_STREAMS: Final = 1_000
PING_S: Final = 15.0
"""The longest that a stream says nothing."""
BUNDLE_S: Final = 0.02
"""How long an event may wait for others that streams are then told of at once."""
RING_EVENTS: Final = 8_192
RING_BYTES: Final = 16 << 20
PIECE_EVENTS: Final = 256
PIECE_BYTES: Final = 64 << 10
"""A piece of the ring ends with the event that reaches this."""


class TooManyStreamsError(Exception):
    """As many streams are open as may be."""

    def __init__(self) -> None:
        super().__init__(
            f"{MAX_STREAMS} streams are open, which is the most; end one, or try again later"
        )


class _Live(NamedTuple):
    """An event in the ring: what selections ask about, and its block."""

    type: str
    job: str | None
    engine: str | None
    block: bytes


class _Piece(NamedTuple):
    """What a stream gives at once.

    `last` is the seq of its last event, and with it all is given that was selected up to `upto`.
    """

    blocks: bytes
    last: int
    upto: int


class Feed:
    """All streams over a log, from which `projections` give what they show."""

    def __init__(
        self, log: Log, projections: Callable[[], Projections], *, ping_s: float | None = None
    ) -> None:
        self.streams = 0
        self._log = log
        self._projections = projections
        self._ping_s = PING_S if ping_s is None else ping_s
        self._ring: list[_Live] = []
        self._ring_bytes = 0
        self._shared = ((0, 0), _Piece(b"", 0, 0))
        self._moved = asyncio.Event()
        self._waking: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()

    @property
    def head(self) -> int:
        """The seq of the newest event that streams show."""
        return self._projections().seq

    def publish(self, event: Event, entry: LogEntry) -> None:
        """Show an event that has become durable: the head. Without streams there is no need to."""
        block = sse.event(entry.seq, serialization.line(entry))
        self._ring.append(_Live(entry.type, job_of(event), engine_of(event), block))
        self._ring_bytes += len(block)
        if len(self._ring) > RING_EVENTS or self._ring_bytes > RING_BYTES:
            del self._ring[: (len(self._ring) + 1) // 2]
            self._ring_bytes = sum(len(live.block) for live in self._ring)
        if self._waking is None:
            self._waking = asyncio.get_running_loop().call_later(BUNDLE_S, self._wake)

    def reset(self) -> None:
        """Go on after events that were not published; what streams lack is read from the log."""
        self._clear()
        self._wake()

    def _clear(self) -> None:
        self._ring.clear()
        self._ring_bytes = 0

    def end(self) -> None:
        """End all streams, and whatever begins from now on."""
        self._ended.set()
        self._wake()

    def _wake(self) -> None:
        """Have all streams look what there is."""
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        self._moved.set()

    async def stream(
        self, selection: Selection = EVERYTHING, after: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Give the selected events after a seq, or from now on, as server-sent events.

        `TooManyStreamsError` if there are too many already.
        """
        if self.streams >= MAX_STREAMS:
            raise TooManyStreamsError
        self.streams += 1
        try:
            cursor = self.head if after is None else after
            yield sse.opening(cursor if after is None else None)
            told = cursor  # what the client would resume from
            ping_at = _now() + self._ping_s
            while not self._ended.is_set():
                async with aclosing(self._pieces(selection, cursor)) as pieces:
                    async for blocks, last, upto in pieces:
                        cursor = upto
                        if blocks:
                            yield blocks
                            told, ping_at = last, _now() + self._ping_s
                        if self._ended.is_set():
                            return
                        if _now() >= ping_at:  # nothing was found for so long
                            break
                if not await self._has_news(cursor, ping_at):
                    yield sse.ping(None if cursor == told else cursor)
                    told, ping_at = cursor, _now() + self._ping_s
        finally:
            self.streams -= 1
            if not self.streams:  # from now on nothing is published
                self._clear()

    async def _pieces(self, selection: Selection, cursor: int) -> AsyncGenerator[_Piece, None]:
        """Give what there is after the cursor."""
        while cursor < self.head:
            if cursor >= self.head - len(self._ring):
                piece = self._piece(selection, cursor)
                cursor = piece.upto
                yield piece
                continue
            pages = selected(
                self._log,
                self._projections().history,
                selection,
                cursor,
                self.head,
                page=PIECE_EVENTS,
            )
            async with aclosing(pages):
                async for entries, upto in pages:
                    blocks = [sse.event(entry.seq, serialization.line(entry)) for entry in entries]
                    last = entries[-1].seq if entries else cursor
                    yield _Piece(b"".join(blocks), last, upto)
                    cursor = upto

    def _piece(self, selection: Selection, cursor: int) -> _Piece:
        """Cut a piece out of the ring. Streams that see everything share theirs."""
        key = (cursor, self.head)
        if selection == EVERYTHING and self._shared[0] == key:
            return self._shared[1]
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
            self._shared = (key, piece)
        return piece

    async def _has_news(self, cursor: int, deadline: float) -> bool:
        """Wait until there is something after the cursor, or the end; not beyond a deadline."""
        if _now() >= deadline:
            return False
        try:
            async with asyncio.timeout_at(deadline):
                while self.head <= cursor and not self._ended.is_set():
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True


def _now() -> float:
    return asyncio.get_running_loop().time()
