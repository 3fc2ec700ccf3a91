"""Checking what was proved about a log, offline: from notes, proofs and lines that were kept.

A proof is what `GET /log/proof` and `GET /log/consistency` answer, and what
`scripts/verify_proof.py` takes, which shares none of this code.

Laws:
- Nothing is believed but the key. A note that it has not signed is no checkpoint.
- What is not proved is a `NotProvedError`, which says what is missing or differs.
"""

from base64 import b64encode
from typing import TypeVar

import msgspec

from dispatcher.errors import DispatcherError
from dispatcher.log.checkpoints import Checkpoint, CheckpointError, verify_checkpoint
from dispatcher.log.merkle import leaf_hash, verify_consistency, verify_inclusion

__all__ = [
    "ConsistencyProof",
    "InclusionProof",
    "NotProvedError",
    "check_checkpoint",
    "check_consistency",
    "check_inclusion",
    "is_consistency",
]


T = TypeVar("T")


class NotProvedError(DispatcherError):
    """What was shown does not prove it."""


class InclusionProof(msgspec.Struct, frozen=True):
    """Proof that the log of `size` events has event `seq`. Hashes are base64 on the wire."""

    seq: int
    size: int
    leaf_hash: bytes
    path: list[bytes]


class ConsistencyProof(msgspec.Struct, frozen=True):
    """Proof that the log of `to` events begins with that of `from`."""

    old: int = msgspec.field(name="from")
    to: int
    path: list[bytes]


class _Seq(msgspec.Struct):
    seq: int


def check_checkpoint(note: str, key: str) -> str:
    """Check that the log had a size and a root; return that in a sentence."""
    it = _checkpoint(note, key, "the checkpoint")
    root = b64encode(it.root).decode()
    return f"the log of {it.size} events with root {root} is signed by {it.origin}"


def check_inclusion(note: str, key: str, proof: bytes, line: bytes | None = None) -> str:
    """Check that an event is in the log of a checkpoint; return that in a sentence.

    `line` is the event as it stands in the log. Without it, the event is known by its hash alone.
    """
    checkpoint = _checkpoint(note, key, "the checkpoint")
    it = _parsed(proof, InclusionProof)
    if it.size != checkpoint.size:
        raise NotProvedError(
            f"the proof is of {it.size} events, the checkpoint of {checkpoint.size}"
        )
    if line is not None:
        line = line.removesuffix(b"\n")
        if leaf_hash(line) != it.leaf_hash:
            raise NotProvedError("the event is not the one that the proof is of: its hash differs")
        try:
            seq = msgspec.json.decode(line, type=_Seq).seq
        except msgspec.MsgspecError as error:
            raise NotProvedError(f"the event has no seq: {error}") from error
        if seq != it.seq:
            raise NotProvedError(f"the event says that it is event {seq}, the proof is of {it.seq}")
    if not verify_inclusion(it.leaf_hash, it.seq - 1, it.size, it.path, checkpoint.root):
        raise NotProvedError(f"the proof does not lead event {it.seq} to the checkpoint's root")
    which = f"event {it.seq}"
    if line is None:
        which += f", whose leaf hash is {b64encode(it.leaf_hash).decode()},"
    return f"{which} is in the log of {it.size} events signed by {checkpoint.origin}"


def check_consistency(old_note: str, new_note: str, key: str, proof: bytes) -> str:
    """Check that the log of the newer checkpoint begins with that of the older."""
    old = _checkpoint(old_note, key, "the old checkpoint")
    new = _checkpoint(new_note, key, "the new checkpoint")
    it = _parsed(proof, ConsistencyProof)
    if old.origin != new.origin:
        raise NotProvedError(f"the checkpoints are of {old.origin} and {new.origin}")
    if old.size > new.size:
        raise NotProvedError(
            f"the log had {old.size} events, and now has {new.size}: it is another, or events are "
            "missing; keep both notes"
        )
    if (it.old, it.to) != (old.size, new.size):
        raise NotProvedError(
            f"the proof is from {it.old} to {it.to} events, the checkpoints are of {old.size} and "
            f"{new.size}"
        )
    if old.size == new.size and old.root != new.root:
        raise NotProvedError(
            f"{new.origin} has signed two different logs of {new.size} events; keep both notes"
        )
    if not verify_consistency(old.size, new.size, old.root, new.root, it.path):
        raise NotProvedError(
            f"the proof does not lead from the log of {old.size} events to that of {new.size}"
        )
    return (
        f"the log of {new.size} events begins with the log of {old.size} events, both signed by "
        f"{new.origin}"
    )


def is_consistency(proof: bytes) -> bool:
    """Whether a proof is one of consistency; `NotProvedError` if it is no proof."""
    return "from" in _parsed(proof, dict[str, msgspec.Raw])


def _checkpoint(note: str, key: str, called: str) -> Checkpoint:
    try:
        return verify_checkpoint(note, key)
    except CheckpointError as error:
        raise NotProvedError(f"{called}: {error}") from error


def _parsed(proof: bytes, of_type: type[T]) -> T:
    try:
        return msgspec.json.decode(proof, type=of_type)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NotProvedError(f"the proof has not the form of one: {error}") from error
