"""Several dispatchers of one log: which of them is asked, and what another may be asked again.

Laws:
- The dispatcher that answered last is asked first. It is left if it takes no connection within
  `CONNECT_S`, breaks off, is silent for `PATIENCE_S` longer than it may be, or answers 502, 503 or
  504. Then the others are asked, each once. If none can do it, the error says of each why. Any
  other answer counts, 429 and 500 too: another dispatcher would give the same.
- Every client asks in an order of its own, drawn by lot, and pauses for up to `SPREAD_S` before it
  asks the next. So the clients of a dispatcher that ends do not all come to the same other one, nor
  at the same moment. None goes back by itself.
- What was certainly not carried out is sent to the next dispatcher, whatever it is: there was no
  connection, or the dispatcher says so (`X-Dispatcher-Undone`), as one that is read-only does. What
  may have been carried out is sent again only if that does no harm, even if the first dispatcher
  still carries it out later:
  - A GET changes nothing. A stream goes on after the last seq received.
  - A submission has an Idempotency-Key, which the client makes once for it if the caller gives
    none. The dispatcher answers the second as it answered the first.
  - A heartbeat and the result of a benchmark tell the values of the engine that sends them. To be
    told them twice changes nothing more; those that come late are replaced by the next heartbeat.
    The orders to an engine follow from what is true at the second one.
  - `assign` is repeated only by name and with `resume`: the engine gets the job that the first one
    gave it. It asks for what is left of its wait. Without `resume`, a second job could be given
    away, and nobody would know of the first.
  - `complete` ends a job for good, and the same output is accepted again.
  - `fail` is repeated only with the number of its attempt. That attempt has ended if the first one
    was carried out, and the dispatcher refuses the second (400 or 409), so no retry is lost.
  - Not what an operator does: `cancel`, `retry`, `prioritize`, `drain_engine`, `resume_engine` and
    `forget_engine`, the same for all that match, `reload` and `sign_in`. A job that was put back in
    between, or an engine that came back, would meet it twice. The error says that it may have been
    done.
- Nobody reads older than he has seen: `seen` is the highest seq of any answer, every request
  carries it, and a dispatcher that has less waits or answers 503. If all of them have less, the log
  they had is gone, replaced by a copy that is older: that is an error once, and then `seen` begins
  anew.
- One dispatcher alone is asked as if there were none of this.
"""

import re
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final
from urllib.parse import urlsplit

import httpx2

from dispatcher.client.errors import DispatcherAwayError, RequestRefusedError
from dispatcher.headers import SEQ_HEADER
from dispatcher.urls import masked, web_url_fault

__all__ = ["CONNECT_S", "PATIENCE_S", "Servers", "seq_of", "server_urls"]

CONNECT_S: Final = 0.75
"""How long a dispatcher may take to accept a connection, if there are others."""
PATIENCE_S: Final = 5.0
"""How long an answer may take, beside its wait, if another dispatcher may be asked the same."""
SPREAD_S: Final = 0.1
"""The longest pause before the next dispatcher is asked."""
_AWAY: Final = frozenset({502, 503, 504})

# A comma may be part of a URL, such as of a password, unless another URL comes after it.
_BETWEEN: Final = re.compile(r"\s*,\s*(?=[A-Za-z][A-Za-z0-9+.-]*://)")


def server_urls(given: str | Sequence[str]) -> list[str]:
    """Return the URLs of dispatchers, given as texts of one or of several with commas between.

    `RequestRefusedError` names the one that is no URL of a dispatcher.
    """
    texts = [given] if isinstance(given, str) else given
    urls = [url for text in texts for url in _BETWEEN.split(text.rstrip(", "))]
    if not urls:
        raise RequestRefusedError(0, "no dispatcher is named; give the URL of at least one")
    for url in urls:
        if (fault := _fault(url)) is not None:
            raise RequestRefusedError(0, f"{masked(url)!r} is no URL of a dispatcher{fault}")
    return list(dict.fromkeys(url.rstrip("/") for url in urls))


def _fault(url: str) -> str | None:
    if (fault := web_url_fault(url)) is not None:
        return f": it {fault}"
    if "," in (urlsplit(url).hostname or ""):
        return ": it names several hosts; give each a URL of its own, with http:// or https://"
    try:
        httpx2.URL(url)
    except httpx2.InvalidURL:
        return ""
    return None


class Servers:
    """The dispatchers that a client knows, at least one."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._random = Random()  # noqa: S311 - nobody gains by guessing it
        self._urls = self._random.sample(urls, len(urls))
        self._first = 0  # the place of the one that is asked first
        self.seen = 0
        self.names = ", ".join(map(masked, urls))

    @property
    def are_several(self) -> bool:
        """Whether there is another one to turn to."""
        return len(self._urls) > 1

    def round(self) -> Iterator[str]:
        """Yield each of them once, from the one to ask first."""
        first = self._first
        yield from (*self._urls[first:], *self._urls[:first])

    def leave(self, url: str) -> None:
        """Ask the one after this first from now on, if this one is asked first now."""
        if self._urls[self._first] == url:
            self._first = (self._first + 1) % len(self._urls)

    def pause_s(self) -> float:
        """Return how long to wait before the next one is asked."""
        return self._random.uniform(0, SPREAD_S)

    def saw(self, seq: int) -> None:
        """Take note of an event that was seen."""
        self.seen = max(self.seen, seq)

    def is_away(self, response: httpx2.Response) -> bool:
        """Whether a response says that the dispatcher can't do it now, but another may."""
        return response.status_code in _AWAY

    def is_behind(self, response: httpx2.Response, asked: int) -> bool:
        """Whether the dispatcher's log has less than the seq it was asked for."""
        return self.is_away(response) and -1 < seq_of(response) < asked

    def none_can(
        self, faults: Sequence[DispatcherAwayError], behind: int, *, repeatable: bool
    ) -> DispatcherAwayError:
        """Return the error that says why none of those that were asked can do it.

        So many of them were `behind`.
        """
        text = "; ".join(map(str, faults))
        is_undone = all(fault.is_undone for fault in faults)
        if behind == len(self._urls):
            text += (
                f". No dispatcher has the event {self.seen} that was seen: their log is another "
                "one now, or an older copy. What is asked next takes it as it is"
            )
            self.seen = 0
        elif not (repeatable or is_undone):
            text += ". It may have been done; look before you ask for it again"
        return DispatcherAwayError(text, is_undone=is_undone)


def seq_of(response: httpx2.Response) -> int:
    """Return the seq that a response tells, or -1."""
    text = response.headers.get(SEQ_HEADER, "")
    return int(text) if text.isascii() and text.isdigit() else -1
