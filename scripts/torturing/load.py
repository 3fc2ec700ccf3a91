"""A farm that keeps a dispatcher busy, and books every answer.

Laws:
- A wish is booked before it is sent, an answer once it is there whole; in between nobody knows.
- An engine remembers its job through any number of the dispatcher's deaths, as the agent does; who
  got no answer asks again, as the protocol says.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any, Final

from dispatcher.evidence.hashes import Known
from dispatcher.log.checkpoints import verify_checkpoint

from .wire import GONE, Wire

__all__ = ["Engine", "Hand", "Ledger", "auditor", "submitter"]

CODECS: Final = ("h264", "vp9", "av1")
CHECKPOINT_EVERY_S: Final = 0.05

Hand = tuple[str, int]
"""A job and the number of the attempt."""


class Ledger:
    """What was asked, and what was answered."""

    def __init__(self) -> None:
        self.submitted: dict[str, dict[str, Any]] = {}  # answered: the job, by its source
        self.unsure: dict[str, dict[str, Any]] = {}  # sent and not answered: the fields
        self.gone: set[str] = set()  # not answered, and found not to be there
        self.handed: dict[Hand, str] = {}  # to which engine
        self.completed: dict[str, str] = {}  # with which output
        self.failed: set[Hand] = set()
        self.checkpoints: list[Known] = []
        self.verifier_key = ""
        self.failures: list[str] = []
        self.counts: Counter[str] = Counter()

    def check(self, jobs: list[dict[str, Any]]) -> Iterator[str]:
        """Hold the jobs that are shown against what was answered; settle what nobody knew."""
        by_source: dict[str, list[dict[str, Any]]] = {}
        for job in jobs:
            by_source.setdefault(job["source_url"], []).append(job)
        for source, found in by_source.items():
            if len(found) > 1:
                yield f"{source} was submitted once and is there {len(found)} times"
            if source in self.gone:
                yield f"{source} was not there, and then it was"
        for source, answered in self.submitted.items():
            job = by_source.get(source, [{}])[0]
            lasting = ("job_id", "target_codec", "job_size", "max_retries", "priority")
            if any(job.get(name) != answered[name] for name in (*lasting, "submitted_at")):
                yield f"{source} was acknowledged as {answered}, and is {job or 'not there'}"
        for source, fields in self.unsure.items():
            if source not in by_source:
                self.gone.add(source)
                self.counts["unacknowledged gone"] += 1
                continue
            job = by_source[source][0]
            self.counts["unacknowledged there"] += 1
            if any(job[name] != value for name, value in fields.items()):
                yield f"{source} was sent as {fields}, and is {job}"
            self.submitted[source] = job
        self.unsure.clear()
        by_id = {job["job_id"]: job for job in jobs}
        for job_id, output in self.completed.items():
            job = by_id.get(job_id, {})
            if (job.get("status"), job.get("output_url")) != ("completed", output):
                yield f"{job_id} was acknowledged as completed with {output}, and is {job}"


class Engine:
    """One that does jobs, and knows which it has."""

    def __init__(self, name: str, ledger: Ledger, random: Random) -> None:
        self.name = name
        self.hand: Hand | None = None
        self.report: tuple[str, dict[str, Any]] | None = None
        """How it reports what became of its job; kept until that is answered."""
        self._ledger = ledger
        self._random = random
        self._is_unsure = False  # whether it has asked for work and got no answer

    async def work(self, wire: Wire) -> None:
        """Do jobs, until the dispatcher is gone."""
        with suppress(*GONE):
            await self._beat(wire)
            if self.report is not None:
                await self._repeat_report(wire)
            while True:
                if self.hand is None:
                    await self._ask_for_work(wire)
                elif self._random.random() < 0.4:  # noqa: PLR2004
                    await self._beat(wire)
                else:
                    await self._report(wire)

    async def _beat(self, wire: Wire) -> None:
        told: dict[str, Any] = {"engine_id": self.name, "instance": f"{self.name} of this run"}
        if self.hand is not None:
            job_id, attempt = self.hand
            progress = self._random.randint(0, 100)
            told |= {"current_job": job_id, "attempt": attempt, "progress": progress}
        answer = await wire.ask("POST", "/engines/heartbeat", told)
        self._expect(answer.status == 200, f"a heartbeat was answered {answer}")  # noqa: PLR2004
        if (order := answer.headers.get("x-dispatcher-order")) and self.report is None:
            self._expect(False, f"holds {self.hand} and was told: {order}")
        self._ledger.counts["heartbeats"] += 1

    async def _ask_for_work(self, wire: Wire) -> None:
        resume, self._is_unsure = self._is_unsure, True
        answer = await wire.ask("POST", "/assign_job/", {"engine_id": self.name, "resume": resume})
        self._is_unsure = False
        if answer.status == 204:  # noqa: PLR2004
            await self._beat(wire)
            return
        self._expect(answer.status == 200, f"asked for a job, was answered {answer}")  # noqa: PLR2004
        job = answer.json()
        self.hand = (job["job_id"], job["attempt"])
        holder = self._ledger.handed.setdefault(self.hand, self.name)
        self._expect(holder == self.name, f"was handed {self.hand}, which {holder} has")
        self._ledger.counts["jobs handed out"] += 1

    async def _report(self, wire: Wire) -> None:
        assert self.hand is not None  # noqa: S101 - for the types
        job_id, attempt = self.hand
        told: dict[str, Any] = {"engine_id": self.name, "attempt": attempt}
        if self._random.random() < 0.8:  # noqa: PLR2004
            told["output_url"] = f"http://media.test/out/{job_id}/{attempt}"
            self.report = (f"/jobs/{job_id}/complete", told)
        else:
            self.report = (f"/jobs/{job_id}/fail", told | {"error_message": "no luck"})
        await self._send_report(wire)

    async def _send_report(self, wire: Wire) -> None:
        assert self.report is not None  # noqa: S101 - for the types
        assert self.hand is not None  # noqa: S101
        path, told = self.report
        answer = await wire.ask("POST", path, told)
        self._expect(answer.status == 200, f"reported {self.report}: {answer}")  # noqa: PLR2004
        if "output_url" in told:
            self._ledger.completed[self.hand[0]] = told["output_url"]
            self._ledger.counts["completions"] += 1
        else:
            self._ledger.failed.add(self.hand)
            self._ledger.counts["failures"] += 1
        self.hand = self.report = None

    async def _repeat_report(self, wire: Wire) -> None:
        """Report again: a completion just so, a failure unless the job shows that it was heard."""
        assert self.report is not None  # noqa: S101 - for the types
        assert self.hand is not None  # noqa: S101
        self._ledger.counts["reports repeated"] += 1
        job = (await wire.ask("GET", f"/jobs/{self.hand[0]}")).json()
        holds = (job["assigned_engine"], job["attempt"]) == (self.name, self.hand[1])
        if "output_url" in self.report[1] or (job["status"] == "assigned" and holds):
            await self._send_report(wire)
        else:
            self.hand = self.report = None

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self._ledger.failures.append(f"{self.name} {otherwise}")
            raise EOFError  # it works no more in this round


async def submitter(wire: Wire, name: str, ledger: Ledger, random: Random) -> None:
    """Submit jobs, until the dispatcher is gone."""
    with suppress(*GONE):
        while True:
            source = f"http://media.test/{name}/{ledger.counts['submissions sent']}"
            ledger.counts["submissions sent"] += 1
            fields = {
                "source_url": source,
                "target_codec": random.choice(CODECS),
                "job_size": round(random.uniform(0, 5_000), 3),
                "max_retries": random.randint(0, 4),
                "priority": random.choice([0, 0, 0, 50]),
            }
            ledger.unsure[source] = fields
            answer = await wire.ask("POST", "/jobs/", fields, {"Idempotency-Key": source})
            if answer.status != 200:  # noqa: PLR2004
                ledger.failures.append(f"{source} was answered {answer}")
                return
            ledger.submitted[source] = answer.json()
            del ledger.unsure[source]
            ledger.counts["submissions acknowledged"] += 1


async def auditor(wire: Wire, ledger: Ledger) -> None:
    """Keep checkpoints, until the dispatcher is gone."""
    with suppress(*GONE):
        while True:
            note = (await wire.ask("GET", "/log/checkpoint")).body.decode()
            checkpoint = verify_checkpoint(note, ledger.verifier_key)
            ledger.checkpoints.append(Known(f"the checkpoint of {checkpoint.size}", checkpoint))
            ledger.counts["checkpoints kept"] += 1
            await asyncio.sleep(CHECKPOINT_EVERY_S)
