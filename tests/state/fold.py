"""What the fold makes of each golden log, as one digest: `python -m tests.state.fold` records it.

Run it after a change of the fold, once `FOLD_VERSION` is raised, and after a golden log was added.
"""

import hashlib
import sys
from pathlib import Path
from typing import Final

import msgspec

from dispatcher.index.steps import step_of
from dispatcher.log import serialization
from dispatcher.log.merkle import Frontier
from dispatcher.state.replay import State
from dispatcher.state.snapshots import FOLD_VERSION, parts_of

__all__ = ["RECORDED", "Folds", "digests", "recorded", "unraised"]

GOLDEN: Final = Path(__file__).parents[1] / "log/golden"
RECORDED: Final = Path(__file__).with_suffix(".json")


class Folds(msgspec.Struct, frozen=True):
    """The fold version, and the digests of what that version makes of each golden log."""

    version: int
    digests: dict[str, str]


def recorded() -> Folds:
    """Return what was recorded."""
    return msgspec.json.decode(RECORDED.read_bytes(), type=Folds)


def unraised(now: dict[str, str]) -> list[str]:
    """Name the golden logs that fold otherwise than recorded under this very version."""
    then = recorded()
    if then.version != FOLD_VERSION:
        return []
    return [name for name, digest in now.items() if then.digests.get(name, digest) != digest]


def digests() -> dict[str, str]:
    """Fold each golden log, and hash what a snapshot and the index say after every event."""
    return {path.stem: _digest(path) for path in sorted(GOLDEN.glob("*.jsonl"))}


def _digest(path: Path) -> str:
    state, digest = State(), hashlib.sha256()
    for line in path.read_bytes().splitlines():
        state.apply(serialization.decode(serialization.parse_line(line)))
        for part in parts_of(state, _some_tree(state.seq)):
            digest.update(part)
        for entry in step_of(state.fleet, state.projections, state.seq - 1).entries:
            digest.update(entry.record)
    return digest.hexdigest()


def _some_tree(size: int) -> Frontier:
    return Frontier(size, [bytes(32)] * size.bit_count())


def _record() -> None:
    now = digests()
    if changed := unraised(now):
        sys.exit(f"{', '.join(changed)} fold otherwise: raise FOLD_VERSION first")
    RECORDED.write_bytes(
        msgspec.json.format(msgspec.json.encode(Folds(FOLD_VERSION, now)), indent=2) + b"\n"
    )


if __name__ == "__main__":
    _record()
