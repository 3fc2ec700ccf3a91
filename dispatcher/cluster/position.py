"""Where a replica stands in the stream.

Law: it is found by what the messages themselves say, `First`, `Count` and `Root`, and kept nowhere
else. So a replica can be any log of the same events, such as a backup.
"""

from dispatcher.cluster import ClusterError, CorruptionError
from dispatcher.cluster.messages import Message
from dispatcher.cluster.stream import Stream
from dispatcher.log.sqlite import SqliteLog

__all__ = ["find_position"]


async def find_position(stream: Stream, replica: SqliteLog) -> tuple[int, int]:
    """Return the sequence and the term of the last message that a replica has; 0, 0 for none.

    `ClusterError` if the replica has events that the stream lacks, `CorruptionError` if it has
    others.
    """
    low, low_message = 0, None
    high = last = await stream.last()
    while low < high:
        middle = (low + high + 1) // 2
        message = await _message(stream, middle)
        if message.upto <= replica.head:
            low, low_message = middle, message
        else:
            high = middle - 1
    reached = 0 if low_message is None else low_message.upto
    if reached < replica.head and low == last:
        raise ClusterError(
            f"{replica.path}: has {replica.head:,} events, but {stream.address} only {reached:,}; "
            "name the right log, or put these events there with `dispatcher log publish`"
        )
    if low_message is None:
        return 0, 0
    if reached == replica.head and low_message.root != replica.tree.root():
        raise CorruptionError(
            f"{replica.path}: is no replica of {stream.address}: after message {low}, at seq "
            f"{reached}, the root there is {low_message.root.hex()}, and here "
            f"{replica.tree.root().hex()}; name another file with --db, or move this one away"
        )
    return low, low_message.term


async def _message(stream: Stream, sequence: int) -> Message:
    stored = await stream.read(sequence)
    if stored is None:
        raise ClusterError(
            f"{stream.address}: lacks its message {sequence}; see `dispatcher cluster status`"
        )
    return Message.decode(stored.headers, stored.body)
