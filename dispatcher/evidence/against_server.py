"""Compare a log with the dispatcher that serves it, or that has moved on since the log was copied.

Each response of the server names its seq (`X-Dispatcher-Seq`). If the log reaches that seq, the
live state is compared. If the log is an older copy, the server's state as of the copy's end is
compared. In both cases the log must be a prefix of the server's log.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from dispatcher.client import Client
from dispatcher.evidence.audit import head_of
from dispatcher.evidence.findings import Finding
from dispatcher.evidence.states import Look
from dispatcher.log.checkpoints import (
    Checkpoint,
    CheckpointError,
    parse_checkpoint,
    verify_checkpoint,
)
from dispatcher.log.merkle import Frontier, verify_consistency
from dispatcher.state.replay import State

__all__ = ["Served"]

MOST_DIFFERENCES: Final = 5
"""How many differences are reported one by one."""
_MAX_VALUE_CHARACTERS: Final = 200
"""How much of a value such a report shows."""


class Served(msgspec.Struct, frozen=True):
    """What a dispatcher serves: its checkpoint, and its jobs and engines, each with their seq.

    If `verifier_key` is given, every checkpoint must be signed with that key.
    """

    client: Client
    verifier_key: str | None
    checkpoint: Checkpoint
    jobs: tuple[int, list[Any]]
    engines: tuple[int, list[Any]]

    @classmethod
    async def ask(cls, client: Client, db: Path, verifier_key: str | None) -> Self:
        """Fetch what is to be compared with the log `db`, which may be growing.

        Raises `CheckpointError` if the response is not a checkpoint, or not signed with the key.
        """
        checkpoint = await _checkpoint(client, verifier_key)
        jobs = await _shown(client, "/jobs/", db, checkpoint)
        engines = await _shown(client, "/engines/", db, checkpoint)
        return cls(client, verifier_key, checkpoint, jobs, engines)

    def looks(self) -> list[Look]:
        """Return the comparisons that the audit must make as it reads the log."""
        jobs_at, engines_at = self.jobs[0], self.engines[0]
        looks = [Look(jobs_at, self._compare_jobs), Look(engines_at, self._compare_engines)]
        if self.checkpoint.size <= jobs_at:  # otherwise `findings` checks consistency
            looks.append(Look(self.checkpoint.size, self._compare_roots))
        return looks

    async def findings(self, tree: Frontier) -> list[Finding]:
        """Check, after the audit, that the log of `tree` is a prefix of the server's log.

        The server knows every event that the audit could read, because no other process writes
        to a log that is being served.
        """
        now = await _checkpoint(self.client, self.verifier_key)
        server = self.client.server
        if now.size < tree.size:
            what = f"not in the log of {server}, which ends at seq {now.size}"
            return [Finding.of(now.size + 1, what, tree.size)]
        if tree.size in {0, self.checkpoint.size}:
            return []
        path = await self.client.consistency(tree.size, now.size)
        if verify_consistency(tree.size, now.size, tree.root(), now.root, path):
            return []
        return [self._root_differs(tree.size)]

    def _compare_jobs(self, state: State, _tree: Frontier) -> Iterator[Finding]:
        logged = state.projections.state()["jobs"]
        return _differences("job", "job_id", self.jobs[1], logged)

    def _compare_engines(self, state: State, _tree: Frontier) -> Iterator[Finding]:
        logged = state.projections.state()["engines"]
        return _differences("engine", "engine_id", self.engines[1], logged)

    def _compare_roots(self, _state: State, tree: Frontier) -> Iterator[Finding]:
        if tree.root() != self.checkpoint.root:
            yield self._root_differs(tree.size)

    def _root_differs(self, size: int) -> Finding:
        what = f"not what the log of {self.client.server} has there"
        return Finding.of(1, what, size, which="one or more")


async def _checkpoint(client: Client, verifier_key: str | None) -> Checkpoint:
    note = await client.checkpoint()
    try:
        if verifier_key is None:
            return parse_checkpoint(note)
        return verify_checkpoint(note, verifier_key)
    except CheckpointError as error:
        raise CheckpointError(f"{client.server}: {error}") from error


async def _shown(
    client: Client, path: str, db: Path, checkpoint: Checkpoint
) -> tuple[int, list[Any]]:
    if checkpoint.size <= head_of(db):
        seq, items = await client.shown(path)
        if seq <= head_of(db):
            return seq, items
    return await client.shown(path, head_of(db))


def _differences(kind: str, name: str, served: list[Any], logged: list[Any]) -> Iterator[Finding]:
    by_server = {it[name]: it for it in served}
    by_log = {it[name]: it for it in logged}
    different = [one for one in by_log | by_server if by_log.get(one) != by_server.get(one)]
    for one in different[:MOST_DIFFERENCES]:
        what = _difference(by_server.get(one), by_log.get(one))
        yield Finding(f"{kind} {one} {what}")
    if (more := len(different) - MOST_DIFFERENCES) > 0:
        yield Finding(f"{more} more {kind}s differ between the server and the log")


def _difference(there: dict[str, Any] | None, here: dict[str, Any] | None) -> str:
    if here is None:
        return "is on the server, but not in the log"
    if there is None:
        return "is in the log, but not on the server"
    return "differs: " + "; ".join(
        f"{field} is {_value(there, field)} on the server, {_value(here, field)} by the log"
        for field in here | there
        if here.get(field) != there.get(field)
    )


def _value(view: dict[str, Any], field: str) -> str:
    return repr(view.get(field))[:_MAX_VALUE_CHARACTERS]
