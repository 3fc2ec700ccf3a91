"""Several dispatchers on one log, which NATS JetStream replicates.

    client → dispatcher B ──commands──► dispatcher A, which leads: decide → one message → JetStream
                  ▲                                                                           │
                  └────── replica, fold, render the answer ◄────── republished, in order ─────┘

JetStream's stream holds the one order. One dispatcher leads: it decides, and appends. Every
dispatcher keeps the whole log in a SQLite file of its own, and answers reads from it. Those that do
not lead forward their commands.

Laws, and where they are kept:
1. A message is one batch, stored whole. `seq` counts events, the stream's sequence counts messages
   (`messages`, `log`).
2. Leadership is a claim in the log itself. Each message is stored only after the one that its
   sender has seen last. So a claim fences the earlier leader without any clock, and a term has one
   leader. What was decided in a term is never appended after a later claim (`log`, `leadership`).
3. The log alone tells what became of a command: a message has its id and its reply, or a later
   claim comes first, and then it never happened and is handed in again (`forwarding`, `desk`).
4. Nobody applies a message that leaves a gap, or that does not lead to the root that it names.
   Every dispatcher checks every message (`log`).
5. An answer without events needs proof that its dispatcher still leads: an append acknowledged a
   moment ago, or else an empty message, a barrier (`log`, `commits`).

Only this package imports NATS, and only those who ask for a cluster import this package.
"""

from typing import Final

from dispatcher.log import LogError

__all__ = ["DEPOSED", "ClusterError", "CorruptionError", "DeposedError", "UnreachableError"]

DEPOSED: Final = "another dispatcher leads by now, so this never happened here"
"""What a command is told that was decided in vain. It is handed in again; see `service`."""


class ClusterError(LogError):
    """NATS can't be reached, or its stream can't be used."""


class UnreachableError(ClusterError):
    """NATS does not answer now, or refuses. It may do so later."""


class DeposedError(LogError):
    """Another dispatcher leads. What was decided here and was not stored never happened."""

    def __init__(self) -> None:
        super().__init__(DEPOSED)


class CorruptionError(LogError):
    """A message and a replica contradict each other. Who finds this answers nothing any more."""
