"""Whatever is evicted, recalled, retried or killed when: every answer is that of a full replay."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import TypeVarTuple

import pytest
from anyio import CapacityLimiter

from dispatcher.core import commands
from dispatcher.core.commands import Caller, CancelJob, Command, RetryJob, SubmitJob, SubmitJobs
from dispatcher.core.decider import decide
from dispatcher.core.dispatcher import Settle
from dispatcher.core.invariants import check_fleet
from dispatcher.core.replies import JobIs, Refused, Reply, Submitted
from dispatcher.core.submissions import refusals
from dispatcher.index.file import index_path
from dispatcher.log import decoded
from dispatcher.log.sqlite import SqliteLog
from dispatcher.serving import as_of, batches, matching
from dispatcher.serving.as_of import Past, T
from dispatcher.serving.batches import NoneSubmittedError
from dispatcher.serving.listing import ListJobs
from dispatcher.serving.quotas import Asker
from dispatcher.serving.selection import Selection, selected
from dispatcher.serving.service import Service
from dispatcher.serving.tickets import RefusedError
from dispatcher.serving.views import ExplainJob, ShowJob, Shown, View, show
from dispatcher.state import shortcuts
from dispatcher.state.replay import State, replay
from projections import Projections
from tests.support.given import START
from tests.support.histories import POLICY, wish
from tests.support.listed import ids_in, is_wanted, naively, wanted

pytestmark = pytest.mark.anyio

Work = TypeVarTuple("Work")
NEWEST = (False, True)
TESTER = Caller("tester")
OPERATOR = Asker("tester", is_operator=True)


class PastInThreads(Past):
    """Does in a thread what else a process does, which takes long to start."""

    async def _run(self, limiter: CapacityLimiter, work: Callable[[*Work], T], *args: *Work) -> T:
        async with limiter:
            return await asyncio.to_thread(work, *args)


def told(settled: Settle, projections: Projections) -> list[JobIs | Refused]:
    assert isinstance(settled.reply, Submitted)
    for reply in settled.reply.replies:
        if isinstance(reply, JobIs):
            assert projections.jobs.get(reply.job_id) is not None, "the answer shows it"
    return list(settled.reply.replies)


class Farm:
    """A service on a log, and beside it all that a replay of the whole log gives."""

    def __init__(self, db: Path, random: Random) -> None:
        self.db, self.random = db, random
        self.whole = State()
        self.at = START

    async def begin(self) -> None:
        self.log = await SqliteLog.open(self.db)
        past = PastInThreads(self.db, self.random.choice([10, 50, 10_000]))
        self.service = Service(self.log, POLICY, lambda: self.at, past=past)
        await self.service.start()

    async def end(self, *, killed: bool) -> None:
        if killed and self.service.past is not None:  # what was not written by then is not
            await self.service.past.close(None, self.log.tree)
            self.service.past = self.service.memory._past = None
        await self.service.close()
        await self.log.close()

    async def happen(self) -> None:
        """Execute a command, and see that the reply is the one that follows from everything."""
        self.at += timedelta(seconds=self.random.choice([0.001, 1, 20, -5]))
        command = self._command()
        due = decide(self.whole.fleet, command, self.at, POLICY).reply
        try:
            reply: Reply = await self.service.execute(command, TESTER, lambda it, _: it.reply)
        except RefusedError as error:
            reply = error.refused
        if not isinstance(command, commands.AssignJob):  # which may be news of its own
            assert reply == due, command
        await self.catch_up()

    async def catch_up(self) -> None:
        for recorded in decoded(await self.log.page(self.whole.seq, 10_000)):
            self.whole.apply(recorded)

    async def batch(self) -> None:
        """Submit a batch, and see that each reply is the one that follows from everything."""
        submissions = [self._with_key() for _ in range(self.random.randrange(1, 9))]
        due = decide(self.whole.fleet, SubmitJobs(tuple(submissions)), self.at, POLICY).reply
        assert isinstance(due, Submitted)
        refused = refusals(self.whole.fleet, submissions)
        is_atomic = self.random.random() < 0.5
        try:
            replies = await self.service.submit_all(submissions, TESTER, told, is_atomic=is_atomic)
        except NoneSubmittedError as error:
            found = error.refusals
        else:
            assert tuple(replies) == due.replies
            found = refused if not is_atomic else [None] * len(refused)
        assert found == refused
        await self.catch_up()

    async def filtered(self) -> None:
        """Retry or cancel what a filter finds, which is what a scan of everything finds."""
        command: Callable[[str], Command] = RetryJob if self.random.random() < 0.5 else CancelJob
        view = ListJobs(
            wanted(self.random, self.at),
            newest=self.random.random() < 0.5,
            limit=self.random.choice([None, 1, 5]),
        )
        jobs = self.whole.projections.jobs.all()
        found = [job.job_id for job in jobs[:: -1 if view.newest else 1] if is_wanted(job, view)]
        found = found[: view.limit]
        due = [decide(self.whole.fleet, command(it), self.at, POLICY).reply for it in found]
        assert await matching.matching(self.service, view) == found
        outcome = await matching.carry_out(self.service, view, found, command, TESTER)
        assert outcome.done == sum(not isinstance(it, Refused) for it in due)
        assert sum(outcome.not_done.values()) == len(due) - outcome.done
        assert outcome.fault is None
        await self.catch_up()

    def _with_key(self) -> SubmitJob:
        key = f"key {self.random.randrange(40)}"
        url = f"http://media/{self.random.randrange(9) // 8}"
        return SubmitJob(None, url, "h264", idempotency_key=key)

    def _command(self) -> Command:
        if self.random.random() < 0.2:
            return self._with_key()
        command = wish(self.random, self.whole.fleet)
        if isinstance(command, commands.SubmitJob):
            return commands.SubmitJob(None, command.source_url, command.target_codec)
        return command

    def shown(self, view: View) -> Shown:
        service = self.service
        return show(view, service.projections, service._core.fleet, service.memory.index)

    async def history(self, service: Service, selection: Selection, upto: int) -> list[int]:
        pages = selected(self.log, service.memory.trail, selection, 0, upto)
        async with aclosing(pages):
            return [entry.seq async for page in pages for entry in page.entries]

    async def check(self) -> None:
        """Compare what is shown, now and as of a moment, with a replay of everything."""
        await self.service._becomes_durable()
        whole, random = self.whole, self.random
        names = [*whole.fleet.jobs, "nobody"]
        views: list[View] = [
            ListJobs(),
            *(ListJobs(wanted(random, self.at), newest=it, limit=4) for it in NEWEST),
            *(ListJobs(wanted(random, self.at), it, None, random.choice(names)) for it in NEWEST),
            ListJobs(wanted(random, self.at), True, random.randrange(1, 9), random.choice(names)),
            *(ShowJob(name) for name in random.sample(names, min(9, len(names)))),
            *(ExplainJob(name) for name in random.sample(names, min(9, len(names)))),
        ]
        for view in views:
            assert self.shown(view) == show(view, whole.projections, whole.fleet), view
            if isinstance(view, ListJobs):
                assert ids_in(self.shown(view)) == naively(view, whole.projections.jobs.all())
        upto = random.randrange(whole.seq + 1)
        for job in random.sample(names, min(9, len(names))):
            asked = Selection(job=job), whole.projections.history.of_job(job)
            engine = random.choice([*whole.fleet.engines, "nobody"])
            both = set(asked[1]) & set(whole.projections.history.of_engine(engine))
            for selection, seqs in (
                asked,
                (Selection(engine=engine), whole.projections.history.of_engine(engine)),
                (Selection(job=job, engine=engine), sorted(both)),
            ):
                told = [seq for seq in seqs if seq <= upto]
                assert await self.history(self.service, selection, upto) == told
        then = await replay(self.log, upto)
        past = self.service.past
        assert past is not None
        for view in random.sample(views, 3):
            expected = show(view, then.projections, then.fleet)
            assert await past.show(OPERATOR, view, upto, whole.seq) == (upto, expected), view
        check_fleet(self.service._core.fleet)


@pytest.mark.parametrize("seed", range(6))
async def test_every_answer_is_that_of_a_full_replay(
    db: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(seed)
    monkeypatch.setattr(batches, "PART", 2)
    monkeypatch.setattr(matching, "PART", 2)
    farm, evicted = Farm(db, random), 0
    for _ in range(5):
        jobs, events = random.choice([1, 4, 20]), random.choice([10, 100, 1_000])
        for module in (as_of, shortcuts):
            monkeypatch.setattr(module, "STEP_JOBS", jobs)
            monkeypatch.setattr(module, "STEP_EVENTS", events)
        await farm.begin()
        for _ in range(3):
            for _ in range(random.randrange(60)):
                await farm.happen()
            await farm.batch()
            await farm.filtered()
            await farm.check()
            index = farm.service.memory.index
            evicted = max(evicted, 0 if index is None else index.count(farm.whole.seq))
        await farm.end(killed=random.random() < 0.5)
        if random.random() < 0.2:
            index_path(db).unlink(missing_ok=True)
    as_of._forget_last_state()
    assert evicted > 3, "little was evicted"


async def test_an_index_of_another_log_or_a_damaged_one_is_made_anew(
    db: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (as_of, shortcuts):
        monkeypatch.setattr(module, "STEP_JOBS", 2)
    other = Farm(db.with_name("other.db"), Random(8))
    farm = Farm(db, Random(7))
    for it in (other, farm):
        await it.begin()
        for _ in range(150):
            await it.happen()
        await it.end(killed=False)
    for content in (index_path(other.db).read_bytes(), b"damaged" * 1_000):
        for suffix in ("-wal", "-shm"):  # of a worker that had no time to end
            db.with_name(index_path(db).name + suffix).unlink(missing_ok=True)
        index_path(db).write_bytes(content)
        caplog.clear()
        await farm.begin()
        assert "Using no index, and no snapshot" in caplog.text
        for _ in range(30):
            await farm.happen()
        await farm.check()
        assert farm.service.memory.index is not None
        await farm.end(killed=False)
    as_of._forget_last_state()


async def test_what_a_batch_repeats_stays_in_memory_until_its_last_line(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PART", 1)
    farm = Farm(db, Random(9))
    submissions = [SubmitJob(None, f"u{n}", "h264", idempotency_key=f"k{n}") for n in range(9)]
    await farm.begin()
    first = await farm.service.submit_all(submissions, TESTER, told)
    for reply in first:
        assert isinstance(reply, JobIs)
        await farm.service.execute(CancelJob(reply.job_id), TESTER, lambda it, _: it.reply)
    await farm.end(killed=False)
    for is_atomic in (False, True):
        await farm.begin()
        memory = farm.service.memory
        assert memory.ended == 0, "all are in the index only"
        assert memory.index is not None
        again = asyncio.create_task(
            farm.service.submit_all(submissions, TESTER, told, is_atomic=is_atomic)
        )
        while not again.done():
            if memory.ended:  # they were recalled
                memory.evict(memory.index.upto)
            await asyncio.sleep(0)
        assert [it for it in again.result() if isinstance(it, JobIs) and it.is_new] == []
        assert [it.job_id for it in again.result() if isinstance(it, JobIs)] == [
            it.job_id for it in first if isinstance(it, JobIs)
        ]
        memory.evict(memory.index.upto)
        assert memory.ended == 0, "they are let go again"
        await farm.end(killed=False)
