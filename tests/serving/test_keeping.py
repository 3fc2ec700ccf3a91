"""What the store keeps: never does a live job lose its source, whatever happens in which order."""

import asyncio
import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dispatcher.core.commands import (
    AssignJob,
    Caller,
    CancelJob,
    CompleteJob,
    FailJob,
    ReportHeartbeat,
    RetryJob,
    SplitJob,
    SubmitJob,
)
from dispatcher.core.dispatcher import Settle
from dispatcher.core.events import JobCancelled, JobCompleted
from dispatcher.core.job import Job, Place
from dispatcher.index import Finished
from dispatcher.log.sqlite import SqliteLog
from dispatcher.serving.keeping import GRACE_S, Keeping
from dispatcher.serving.service import Service
from dispatcher.serving.tickets import RefusedError
from dispatcher.store import Store, StoreError, StoreLimits
from dispatcher.store_urls import StoreUrl
from projections import Projections
from tests.support.stored import FILM, SHA256, Clock, filled
from tests.support.watched_log import WatchedLog

T = TypeVar("T")

pytestmark = pytest.mark.anyio

TESTER: Final = Caller("tester")
FILMS: Final = [bytes([65 + number]) * 1_000 for number in range(4)]
NAMES: Final = [hashlib.sha256(film).hexdigest() for film in FILMS]
LIMITS: Final = StoreLimits(keep_s=1_000, keep_parts_s=500, reserve_bytes=0)


def _done(settled: Settle, projections: Projections) -> None:
    del settled, projections


class Kept(RuleBasedStateMachine):
    """Jobs and a store on one clock. A job whose source is there when it begins has it to the end.

    The model is small: which jobs may still be worked on, and what each of them reads.
    """

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = Path(tempfile.mkdtemp())
        self._clock = Clock()
        self._jobs: dict[str, str] = {}
        self._live: set[str] = set()
        self._do(self._begin())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    async def _begin(self) -> None:
        self._store = await Store.open(self._folder / "store", LIMITS, clock=self._clock)
        self._log = await SqliteLog.open(self._folder / "events.db")
        self._service = Service(self._log, store=self._store)
        await self._service.start()
        self._keeping = Keeping(self._store, self._service)
        await self._service.execute(ReportHeartbeat("e", {}), TESTER, _done)

    async def _end(self) -> None:
        await self._service.close()
        await self._store.close()
        await self._log.close()

    def teardown(self) -> None:
        self._do(self._end())
        self._runner.close()
        shutil.rmtree(self._folder)

    async def _execute(self, command: Any) -> bool:
        try:
            await self._service.execute(command, TESTER, _done)
        except RefusedError:
            return False
        return True

    @rule(film=st.sampled_from(FILMS))
    def upload(self, film: bytes) -> None:
        self._do(filled(self._store, film))

    @rule(film=st.sampled_from(FILMS), upto=st.integers(1, 999))
    def upload_some(self, film: bytes, upto: int) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield film[:upto]
            raise ConnectionResetError

        async def send() -> None:
            name = hashlib.sha256(film).hexdigest()
            sending = self._store.receive(name, "x", broken(), at=0, length=1_000, total=1_000)
            with contextlib.suppress(ConnectionResetError, StoreError):
                await sending

        self._do(send())

    @rule(name=st.sampled_from(NAMES))
    def submit(self, name: str) -> None:
        """As the API does: a source that is not there is refused."""
        if self._store.use(name) is None:
            return
        job_id = f"job-{len(self._jobs)}"
        assert self._do(self._execute(SubmitJob(job_id, str(StoreUrl(name)), "h264", 1.0, 1)))
        self._jobs[job_id] = name
        self._live.add(job_id)

    @precondition(lambda self: self._jobs)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self._jobs)))
        command = data.draw(
            st.sampled_from(
                [CancelJob(job_id), FailJob(job_id, "broke"), CompleteJob(job_id, "store:x")]
            )
        )
        self._do(self._execute(command))
        if self._service.status_of(job_id) in {"completed", "failed_permanently", "cancelled"}:
            self._live.discard(job_id)

    @precondition(lambda self: self._jobs)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self._jobs)))
        was_there = self._jobs[job_id] in self._store.names()
        if self._do(self._execute(RetryJob(job_id))) and was_there:
            self._live.add(job_id)

    @rule()
    def assign(self) -> None:
        self._do(self._execute(AssignJob("e", resume=True)))

    @rule(seconds=st.sampled_from([1, 400, 600, 1_001, 5_000]))
    def wait(self, seconds: float) -> None:
        self._clock.now += seconds

    @rule()
    def sweep(self) -> None:
        self._do(self._keeping.sweep())

    @rule(name=st.sampled_from(NAMES), data=st.data())
    def sweep_while_others_go_on(self, name: str, data: st.DataObject) -> None:
        """A sweep, and beside it what makes jobs need a file."""
        ended = sorted(set(self._jobs) - self._live)
        retried = data.draw(st.sampled_from(ended)) if ended else None
        was_there = retried is not None and self._jobs[retried] in self._store.names()

        async def both() -> None:
            sweeping = asyncio.create_task(self._keeping.sweep())
            for _ in range(data.draw(st.integers(0, 3))):
                await asyncio.sleep(0)
            is_there = self._store.use(name) is not None
            job_id = f"job-{len(self._jobs)}"
            if is_there:
                url = str(StoreUrl(name))
                submitting = self._execute(SubmitJob(job_id, url, "h264", 1.0, 1))
                assert await submitting
                self._jobs[job_id] = name
                self._live.add(job_id)
            if retried is not None:
                still_there = self._jobs[retried] in self._store.names()
                if await self._execute(RetryJob(retried)) and was_there and still_there:
                    self._live.add(retried)
            await sweeping

        self._do(both())

    @rule()
    def restart(self) -> None:
        self._do(self._end())
        self._do(self._begin())

    @invariant()
    def every_live_job_has_its_source(self) -> None:
        for job_id in self._live:
            assert self._jobs[job_id] in self._store.names(), job_id
            assert (self._folder / "store" / "files" / self._jobs[job_id]).stat().st_size == 1_000

    @invariant()
    def what_is_counted_is_what_is_there(self) -> None:
        files = (it for it in (self._folder / "store").rglob("*") if it.is_file())
        sizes = {str(it): it.stat().st_size for it in files if it.name != "lock"}
        assert self._store.used_bytes == sum(sizes.values())


TestKept = Kept.TestCase
TestKept.settings = settings(max_examples=40, stateful_step_count=40)


async def test_a_source_is_swept_when_its_job_is_over_and_the_time_is_up(
    log: WatchedLog, tmp_path: Path
) -> None:
    clock = Clock()
    store = await Store.open(tmp_path / "store", clock=clock)
    service = Service(log, store=store)
    await service.start()
    keeping = Keeping(store, service)
    await filled(store, FILM)
    await service.execute(SubmitJob("j", f"store:{SHA256}/a.mov", "h264"), TESTER, _done)
    clock.now += 10 * store.limits.keep_s
    assert await keeping.sweep() == 0
    await service.execute(CancelJob("j"), TESTER, _done)
    assert await keeping.sweep() == 1
    assert store.count == 0
    await service.close()
    await store.close()


async def test_a_cancellation_that_is_not_durable_yet_frees_no_source(
    log: WatchedLog, tmp_path: Path
) -> None:
    clock = Clock()
    store = await Store.open(tmp_path / "store", clock=clock)
    service = Service(log, store=store)
    await service.start()
    keeping = Keeping(store, service)
    await filled(store, FILM)
    await service.execute(SubmitJob("j", f"store:{SHA256}/a.mov", "h264"), TESTER, _done)
    clock.now += 10 * store.limits.keep_s
    log.gate.clear()
    cancelling = asyncio.ensure_future(service.execute(CancelJob("j"), TESTER, _done))
    assert service.status_of("j") == "cancelled"
    assert await keeping.sweep() == 0
    log.gate.set()
    await cancelling
    assert await keeping.sweep() == 1
    await service.close()
    await store.close()


async def test_a_job_that_is_retried_uses_its_source(log: WatchedLog, tmp_path: Path) -> None:
    clock = Clock()
    store = await Store.open(tmp_path / "store", clock=clock)
    service = Service(log, store=store)
    await service.start()
    await filled(store, FILM)
    await service.execute(SubmitJob("j", f"store:{SHA256}/a.mov", "h264"), TESTER, _done)
    await service.execute(CancelJob("j"), TESTER, _done)
    clock.now += 2 * store.limits.keep_s
    assert store.is_expired(SHA256)
    log.gate.clear()
    retrying = asyncio.ensure_future(service.execute(RetryJob("j"), TESTER, _done))
    assert not store.is_expired(SHA256), "from the decision on, before it is durable"
    log.gate.set()
    await retrying
    await service.close()
    await store.close()


async def a_film_in_two_parts(service: Service, store: Store) -> tuple[str, str]:
    """Split a film, and complete its first part; gives the ids of the parts."""
    await service.execute(SubmitJob("film", "file:///film.mov", "h264"), TESTER, _done)
    await service.execute(ReportHeartbeat("e", {}), TESTER, _done)
    await service.execute(AssignJob("e"), TESTER, _done)
    parts = (SubmitJob(None, "u", "h264"), SubmitJob(None, "u", "h264"))
    await service.execute(SplitJob("film", parts, "e", 1), TESTER, _done)
    film = service.projections.jobs.get("film")
    assert film is not None
    first, second = film.parts or ()
    await filled(store, FILM)
    await service.execute(CompleteJob(first, f"store:{SHA256}/first.mp4"), TESTER, _done)
    return first, second


@pytest.mark.parametrize("is_evicted", [False, True], ids=["in memory", "evicted"])
async def test_the_output_of_a_part_stays_until_its_film_is_done_and_then_goes(
    log: WatchedLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_evicted: bool
) -> None:
    clock = Clock()
    store = await Store.open(tmp_path / "store", clock=clock)
    service = Service(log, store=store)
    await service.start()
    keeping = Keeping(store, service)
    first, second = await a_film_in_two_parts(service, store)
    clock.now += 10 * store.limits.keep_s
    if is_evicted:  # as after a restart: only the index has it
        jobs = service.projections.jobs
        view, number = jobs.get(first), jobs.number_of(first)
        assert view is not None
        assert number is not None
        found = Finished(1, view, Job(first, "h264", 0.0, 3, Place(0, number)), None)
        jobs.evict(first)

        async def looked_up(job_id: str, at: int) -> Finished | None:
            del at
            return found if job_id == first else None

        monkeypatch.setattr(service.memory, "job", looked_up)
    assert await keeping.sweep() == 0
    await service.execute(CompleteJob(second, "http://elsewhere/second"), TESTER, _done)
    await service.execute(AssignJob("e"), TESTER, _done)
    assert await keeping.sweep() == 0
    await service.execute(CompleteJob("film", "file:///out.mp4", "e", 2), TESTER, _done)
    keeping.notice(JobCompleted("film", "e", 2, "file:///out.mp4"))
    store.use(SHA256)
    assert await keeping.sweep() == 0, "it was used just now"
    clock.now += GRACE_S + 1
    assert await keeping.sweep() == 1
    assert store.count == 0
    await service.close()
    await store.close()


async def test_a_file_that_another_job_reads_stays_when_its_film_is_done(
    log: WatchedLog, tmp_path: Path
) -> None:
    store = await Store.open(tmp_path / "store", clock=Clock())
    service = Service(log, store=store)
    await service.start()
    keeping = Keeping(store, service)
    await a_film_in_two_parts(service, store)
    await service.execute(SubmitJob("j", f"store:{SHA256}/a.mov", "h264"), TESTER, _done)
    await service.execute(CancelJob("film"), TESTER, _done)
    keeping.notice(JobCancelled("film", None, 1))
    assert await keeping.sweep() == 0
    assert store.count == 1
    await service.close()
    await store.close()


async def test_a_store_that_can_not_be_swept_is_a_warning_of_health(
    log: WatchedLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await Store.open(tmp_path / "store")

    async def fail() -> None:
        raise StoreError("the disk is gone")

    monkeypatch.setattr(store, "empty_trash", fail)
    service = Service(log, store=store)
    await service.start()
    async with asyncio.timeout(30):
        while service.warning is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert service.warning == "the disk is gone"
    await service.close()
    await store.close()
