"""Comparing a log with a dispatcher that serves it, or with one that has gone on since.

What the server shows names its seq (`X-Dispatcher-Seq`). If the log at hand reaches that far, it is
the live state that is compared; of an older copy, what the server says was true at the copy's end.
Either way the log must be the beginning of the server's.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from dispatcher.client import Client
from dispatcher.evidence.audit import Look, head_of
from dispatcher.evidence.findings import Finding
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
"""Differences that are told one by one."""
_MOST_CHARACTERS: Final = 200  # of a value in such a telling


class Served(msgspec.Struct, frozen=True):
    """What a dispatcher says: its checkpoint, and its jobs and engines at a seq each.

    With a `verifier_key`, all that it signs must be signed with that.
    """

    client: Client
    verifier_key: str | None
    checkpoint: Checkpoint
    jobs: tuple[int, list[Any]]
    engines: tuple[int, list[Any]]

    @classmethod
    async def ask(cls, client: Client, db: Path, verifier_key: str | None) -> Self:
        """Ask a dispatcher what is to be compared with the log `db`, which may be growing.

        `CheckpointError` if what it calls a checkpoint is none, or not signed by the key.
        """
        checkpoint = await _checkpoint(client, verifier_key)
        jobs = await _shown(client, "/jobs/", db, checkpoint)
        engines = await _shown(client, "/engines/", db, checkpoint)
        return cls(client, verifier_key, checkpoint, jobs, engines)

    def looks(self) -> list[Look]:
        """Give what an audit is to compare on its way."""
        jobs_at, engines_at = self.jobs[0], self.engines[0]
        looks = [Look(jobs_at, self._compare_jobs), Look(engines_at, self._compare_engines)]
        if self.checkpoint.size <= jobs_at:  # else the log ends before, and `findings` sees to it
            looks.append(Look(self.checkpoint.size, self._compare_roots))
        return looks

    async def findings(self, tree: Frontier) -> list[Finding]:
        """Have it proved, after the audit, that the server's log begins with the one of `tree`.

        The server has had all that the audit could read, as nothing else writes a log that is
        served.
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
        return [self._another(tree.size)]

    def _compare_jobs(self, state: State, _tree: Frontier) -> Iterator[Finding]:
        logged = state.projections.state()["jobs"]
        return _differences("job", "job_id", self.jobs[1], logged)

    def _compare_engines(self, state: State, _tree: Frontier) -> Iterator[Finding]:
        logged = state.projections.state()["engines"]
        return _differences("engine", "engine_id", self.engines[1], logged)

    def _compare_roots(self, _state: State, tree: Frontier) -> Iterator[Finding]:
        if tree.root() != self.checkpoint.root:
            yield self._another(tree.size)

    def _another(self, size: int) -> Finding:
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
        f"{field} is {_told(there, field)} on the server, {_told(here, field)} by the log"
        for field in here | there
        if here.get(field) != there.get(field)
    )


def _told(view: dict[str, Any], field: str) -> str:
    return repr(view.get(field))[:_MOST_CHARACTERS]
