"""uvicorn's HTTP/1.1 on one connection, with bounds on what its client can use up.

uvicorn and httptools bound neither the size of a head nor the time it takes, parse everything that
they are sent at once, and lose the body of a request that asks for another protocol.

Laws:
- The size of what is not a body is counted between two parts of a body: a head, trailers, the
  extensions of a chunk, blank lines. Nothing of it grows beyond the limit.
- While requests of the connection wait for the answer to an earlier one, no more is parsed and none
  is read. So at most `PIECE` bytes of requests wait, parsed, and one read of the socket, unparsed.
- What is certainly of a body is parsed at once, however much it is: its length is declared.
- A request that says in its state that its body is timed (`BODY_IS_TIMED`) may take any time to
  arrive. Its handler sees to it that it does not take for ever.
- Trailers are no headers (RFC 9110, 6.5.1): they never reach the application.
- No protocol but HTTP/1.1 is spoken. A request for another one (`Upgrade: h2c`) is answered as if
  it had not asked.
- An error is never written into an answer. Where one is under way the connection is aborted.
- Each connection is looked at once a second; there is no timer for a request, as uvicorn has one.
  That pays for what is counted: a request takes no more time than with uvicorn alone.

`on_body`, `on_message_complete` and `on_response_complete` replace those of uvicorn, the others add
to them. This depends on names of uvicorn that are not documented, so pyproject.toml permits one
minor version of it, and `tests/test_http_protocol.py` names what it must have.
"""

from collections.abc import Callable
from typing import Any, Final

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from dispatcher.http_limits import BODY_IS_TIMED, Entrance, Refusal

__all__ = ["LimitedProtocol"]

PIECE: Final = 1_024
"""How many bytes are parsed at a time. The shortest request has 18."""

_FRAMING: Final = {b"connection", b"content-length", b"transfer-encoding"}


# Which part of a request comes next. An enumeration's members take twice as long to look up.
_BEGINNING: Final = 0
_HEAD: Final = 1
_BODY: Final = 2


class _TooManyHeadersError(Exception):
    """A request has more headers than permitted."""


class LimitedProtocol(HttpToolsProtocol):
    """A connection whose client is bounded by the limits of an `Entrance`.

    `is_admitted` if the entrance has let the client in already.
    """

    def __init__(self, entrance: Entrance, *, is_admitted: bool = False, **given: Any) -> None:
        super().__init__(**given)
        self.has_begun = False
        """Whether there is or was a connection; the entrance is told when it ends."""
        self._is_admitted = is_admitted
        self._entrance = entrance
        self._head_bytes = entrance.limits.head_bytes
        self._max_headers = entrance.limits.headers
        self._address: str | None = None
        self._stage = _BEGINNING
        self._size = 0
        """Bytes parsed since the last part of a body or the last end of a head or request."""
        self._body_bytes = 0
        """Bytes of the present request's body."""
        self._running: RequestResponseCycle | None = None
        """The request that was started last; those in `pipeline` wait for it."""
        self._is_held = False
        self._unparsed = b""
        self._since: int | None = None
        """Since when the client owes a request or the rest of one."""
        self._unsent = 0
        self._unread_since = 0

    # What the transport calls

    def connection_made(self, transport: Any) -> None:
        """Let the client in, or close the connection at once."""
        self.transport = transport
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        self.has_begun = True
        if not (self._is_admitted or self._entrance.admit(address, len(self.connections))):
            transport.abort()
            return
        self._address = address
        self._since = self._entrance.now
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request under way, too: uvicorn tells the last one that was parsed."""
        if self._address is not None:
            self._entrance.leave(self._address)
            self._address = None
        self._unparsed = b""
        self._give_up()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse it, in pieces, as far as requests don't have to wait."""
        if len(data) <= PIECE and not self._is_held:
            self._parse(data)
            if self.pipeline:
                self._hold()
        else:
            self._unparsed += data
            if not self._is_held:
                self._parse_on()

    # What the parser calls

    def on_message_begin(self) -> None:
        """Start to count the time."""
        self._stage = _HEAD
        self._since = self._entrance.now
        HttpToolsProtocol.on_message_begin(self)

    def on_headers_complete(self) -> None:
        """Start the request, with the headers that it has now and no others."""
        if len(self.headers) > self._max_headers:
            raise _TooManyHeadersError
        self._stage = _BODY
        self._size = self._body_bytes = 0
        HttpToolsProtocol.on_headers_complete(self)
        if not self.pipeline:
            self._running = self.cycle
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._size = 0
        self._body_bytes += len(body)
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        """End the request, unless it asks for another protocol: then its body is still to come."""
        if self.parser.should_upgrade():
            return
        self._stage = _BEGINNING
        self._size = 0
        cycle = self.cycle
        if cycle.response_complete:
            self._since = self._entrance.now
        else:
            self._since = None
            cycle.more_body = False
            cycle.message_event.set()

    # What the answer calls

    def on_response_complete(self) -> None:
        """Start the next request if there is one, and parse on when none waits any more."""
        if self.transport.is_closing():
            return
        self._since = self._entrance.now
        self.flow.resume_reading()
        if self.pipeline:
            self._running, app = self.pipeline.pop()
            self._start_asgi_task(self._running, app)
            if self._is_held and not self.pipeline:
                self._parse_on()

    # What the entrance calls

    def end_if_late(self) -> None:
        """End the connection if its client does not send or read in time."""
        now, limits = self._entrance.now, self._entrance.limits
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent, self._unread_since = unsent, now
        elif now - self._unread_since > limits.unread_s:
            self._entrance.refuse(Refusal.UNREAD)
            self._abort()
            return
        if self._since is None or self.transport.is_closing():
            return
        running = self._running
        if running is not None and not running.response_complete:
            if not running.more_body:
                return  # it is the server's turn, and whatever else was sent waits for it
            if running.scope["state"].get(BODY_IS_TIMED):
                return
        is_between = self._stage == _BEGINNING and running is not None
        if now - self._since <= (self.timeout_keep_alive if is_between else limits.receive_s):
            return
        if self._stage != _BEGINNING:
            text = f"the request did not arrive within {limits.receive_s:g} s"
            self._refuse(Refusal.SLOW, 408, text)
            return
        if not is_between:
            self._entrance.refuse(Refusal.SILENT)
        self.transport.close()

    # Parsing

    def _parse(self, piece: bytes) -> None:
        self._size += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._parse_without_upgrade(piece[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _TooManyHeadersError):
                text = f"the request has more than {self._max_headers} headers"
                self._refuse(Refusal.TOO_MANY, 431, text)
            else:
                self._refuse(Refusal.INVALID, 400, "invalid HTTP request")
        else:
            if self._size > self._head_bytes:
                text = f"the request's head is over {self._head_bytes} bytes"
                self._refuse(Refusal.TOO_LARGE, 431, text)

    def _parse_on(self) -> None:
        """Parse what was kept, until a request must wait or nothing is left."""
        data, at = self._unparsed, 0
        while at < len(data) and not self.pipeline and not self.transport.is_closing():
            step = PIECE if self._stage != _BODY else max(PIECE, self._left_of_body())
            self._parse(data[at : at + step])
            at += step
        self._unparsed = data[at:]
        if self.pipeline:
            self._hold()
        elif self._is_held:
            self._is_held = False
            self.transport.resume_reading()

    def _left_of_body(self) -> int:
        """Return how much of the body is still to come; 0 if its head does not say."""
        fields = dict(self.scope["headers"])
        length = fields.get(b"content-length", b"")
        if b"transfer-encoding" in fields or not length.isdigit():
            return 0
        return int(length) - self._body_bytes

    def _hold(self) -> None:
        """Read no more until all waiting requests have been started."""
        self._is_held = True
        # Otherwise the application's next look at a body would go on reading.
        self.flow.read_paused = False
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Go on after the head of a request that asks for another protocol.

        The parser believes that HTTP is over. A new one is told where the body ends.
        """
        lines = [
            b"%b: %b\r\n" % (name, value if name != b"connection" else _without_upgrade(value))
            for name, value in self.scope["headers"]
            if name in _FRAMING
        ]
        version = self.parser.get_http_version().encode()
        self.parser = httptools.HttpRequestParser(_AfterHead(self))
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._parse(b"POST / HTTP/%b\r\n%b\r\n" % (version, b"".join(lines)))
        self._size = 0
        if rest and not self.transport.is_closing():
            self._parse(rest)

    # Ending

    def _refuse(self, refusal: Refusal, status: int, text: str) -> None:
        """Answer with an error and close, or abort if that would get into another answer."""
        self._entrance.refuse(refusal)
        running = self._running
        if self._stage == _BODY:
            is_free = running is self.cycle and not self.cycle.response_started
        else:
            is_free = running is None or running.response_complete
        if not is_free:
            self._abort()
            return
        self._give_up()
        reason = STATUS_LINE[status].split(b" ", 2)[2].strip()
        body = reason + b": " + text.encode()
        dates = b"".join(b"%b: %b\r\n" % header for header in self.server_state.default_headers)
        self.transport.write(
            b"%b%bcontent-type: text/plain; charset=utf-8\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%b"
            % (STATUS_LINE[status], dates, len(body), body)
        )
        self.transport.close()

    def _abort(self) -> None:
        self._give_up()
        self.transport.abort()

    def _give_up(self) -> None:
        """Tell the request under way that its client is gone, and forget those that wait."""
        self.pipeline.clear()
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()


class _AfterHead:
    """Passes on what a parser calls, but not for the head that is repeated to it first."""

    def __init__(self, protocol: LimitedProtocol) -> None:
        self._protocol = protocol
        self._is_repeated = True

    def __getattr__(self, name: str) -> Callable[..., None]:
        callback = getattr(self._protocol, name)

        def call(*given: bytes) -> None:
            if not self._is_repeated:
                callback(*given)
            elif name == "on_headers_complete":
                self._is_repeated = False

        return call


def _without_upgrade(value: bytes) -> bytes:
    """Take the word out of a `Connection` header."""
    return b",".join(it for it in value.split(b",") if it.strip().lower() != b"upgrade")
