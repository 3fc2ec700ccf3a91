"""Sending a message until it is known what became of it.

Laws:
- A message is sent again as it was, after the same sequence, so it is stored once at most.
- An acknowledgement that is lost is made up for by reading: if the next message of the stream is
  the one that was sent, it is stored. If it is another's, this one never will be.
"""

import asyncio
from typing import Final

from dispatcher.cluster import ClusterError, DeposedError, UnreachableError
from dispatcher.cluster.messages import Message
from dispatcher.cluster.stream import OutOfOrderError, Stream

__all__ = ["PATIENCE_S", "Sending"]

PATIENCE_S: Final = 10.0
"""How long a message is sent until the append fails. An election of NATS takes 4 to 9 s."""
PAUSE_S: Final = 0.05


class Sending:
    """Sends the messages of `member`, one at a time.

    While it `is_unsettled`, it is not known what became of the last one.
    """

    def __init__(self, stream: Stream, member: str, patience_s: float) -> None:
        self.is_unsettled = False
        self._stream = stream
        self._member = member
        self._patience_s = patience_s
        self._now_s = asyncio.get_running_loop().time
        self._acknowledged_s = float("-inf")

    def acknowledged_s_ago(self) -> float:
        """Return how long ago the last message began to be sent that was acknowledged."""
        return self._now_s() - self._acknowledged_s

    def forget(self) -> None:
        """Count no earlier message as acknowledged: another dispatcher leads."""
        self._acknowledged_s = float("-inf")

    async def send(self, message: Message, after: int) -> int:
        """Have a message stored after a sequence, and return its own.

        `TooLargeError` if it can't be sent, `DeposedError` if another's message is there,
        `OutOfOrderError` if an earlier one of this sender is; any other `ClusterError` if it is not
        known by the end of the patience.
        """
        headers, body = message.encode()
        began_s = self._now_s()
        self.is_unsettled = True  # also if this is cancelled
        while True:
            try:
                sequence = await self._try(message, headers, body, after)
            except (OutOfOrderError, DeposedError):
                self.is_unsettled = False
                raise
            except ClusterError as error:
                if self._now_s() - began_s > self._patience_s:
                    raise ClusterError(
                        f"{error}; tried for {self._patience_s:g} s, so it is not known whether it "
                        "was stored"
                    ) from error
                await asyncio.sleep(PAUSE_S)
            else:
                self.is_unsettled, self._acknowledged_s = False, began_s
                return sequence

    async def _try(self, message: Message, headers: dict[str, str], body: bytes, after: int) -> int:
        """Send it once; return its sequence if it is stored, now or by an earlier try.

        `DeposedError` and `OutOfOrderError` as in `send`; any other `ClusterError`: try again.
        """
        try:
            return await self._stream.publish(headers, body, after)
        except OutOfOrderError as error:
            if error.last is not None and error.last < after:
                raise ClusterError(
                    f"{self._stream.address}: the stream has lost messages: it ends at "
                    f"{error.last}, but here is its message {after}; see `dispatcher cluster "
                    "status`, stop the node that is damaged, empty its JetStream folder and start "
                    "it again"
                ) from error
        stored = await self._stream.read(after + 1)
        if stored is None:
            raise UnreachableError(f"{self._stream.address}: a message is still on its way")
        if stored.headers.get("Batch") == message.batch:
            return stored.sequence
        if stored.headers.get("By") == self._member:
            raise OutOfOrderError(stored.sequence)
        raise DeposedError
