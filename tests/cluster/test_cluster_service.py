"""Dispatchers that lead and follow, over a real cluster of NATS."""

import asyncio
from collections.abc import AsyncIterator
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from dispatcher.cluster import ClusterError
from dispatcher.cluster.service import ClusterService
from dispatcher.core.commands import AssignJob, CancelJob, ReportHeartbeat, RetryJob, SubmitJob
from dispatcher.core.dispatcher import Settle
from dispatcher.core.replies import JobIs, NoWork, Submitted
from dispatcher.log import LogError
from dispatcher.serving.batches import NoneSubmittedError
from dispatcher.serving.service import Service
from dispatcher.serving.tickets import RefusedError, UnavailableError
from projections import Projections
from projections.jobs import JobView
from tests.support.dispatchers import (
    following,
    leader_of,
    leading,
    member,
    members,
    take_lead,
    until,
)
from tests.support.in_flight import TESTER, asking, seqs, submit
from tests.support.nats import Nats

pytestmark = pytest.mark.anyio


@pytest.fixture
async def trio(nats: Nats, tmp_path: Path) -> AsyncIterator[list[ClusterService]]:
    async with members(nats.address(), tmp_path, 3) as found:
        yield found


@pytest.fixture
async def pair(nats: Nats, tmp_path: Path) -> AsyncIterator[list[ClusterService]]:
    async with members(nats.address(), tmp_path) as found:
        yield found


def test_it_takes_all_that_a_service_alone_takes() -> None:
    """`dispatcher serve` gives both the same."""
    alone = signature(Service).parameters.keys() - {"commits"}  # it has its own
    assert alone <= signature(ClusterService).parameters.keys()


def reply_of(settled: Settle, _: Projections) -> Any:
    return settled.reply


def shown_jobs(settled: Settle, projections: Projections) -> list[str | None]:
    """Answer with what is shown of each job of a part of a batch."""
    assert isinstance(settled.reply, Submitted)
    return [
        job_in(projections, it.job_id).status if isinstance(it, JobIs) else it.text
        for it in settled.reply.replies
    ]


def shown_job(settled: Settle, projections: Projections) -> JobView:
    """Answer with what is shown of the job that a reply names."""
    assert isinstance(settled.reply, JobIs)
    return job_in(projections, settled.reply.job_id)


def job_in(projections: Projections, job_id: str) -> JobView:
    job = projections.jobs.get(job_id)
    assert job is not None
    return job


async def never() -> None:
    await asyncio.Event().wait()


async def same_everywhere(services: list[ClusterService]) -> None:
    """All dispatchers come to show the same, whose roots are the same."""
    newest = max(it.log.head for it in services)
    await until(lambda: all(it.projections.seq == newest for it in services))
    assert len({it.log.tree.root() for it in services}) == 1
    first, *others = [it.projections.state() for it in services]
    assert all(it == first for it in others)


async def test_one_of_them_leads_and_each_of_them_answers(trio: list[ClusterService]) -> None:
    for number, service in enumerate(trio, 1):
        assert await service.execute(submit(f"job-{number}"), TESTER, seqs) == [number]
        assert service.projections.jobs.get(f"job-{number}") is not None  # he reads what he wrote
    await until(lambda: sum(it.is_leading for it in trio) == 1)
    await same_everywhere(trio)


async def test_a_refusal_is_the_leaders_and_shows_what_he_knew(pair: list[ClusterService]) -> None:
    (follower,) = following(pair)
    with pytest.raises(RefusedError, match="Job not found"):
        await follower.execute(CancelJob("nowhere"), TESTER, reply_of)
    await leading(pair).execute(submit("job"), TESTER, seqs)
    with pytest.raises(RefusedError, match="neither failed nor cancelled"):
        await follower.execute(RetryJob("job"), TESTER, reply_of)  # whether or not it knew the job
    assert follower.projections.jobs.get("job") is not None


async def test_many_commands_from_all_sides_are_each_done_once(trio: list[ClusterService]) -> None:
    answers = await asyncio.gather(
        *(
            service.execute(submit(f"{name}-{number}"), TESTER, seqs)
            for number in range(300)
            for name, service in zip("abc", trio, strict=True)
        )
    )
    assert sorted(seq for found in answers for seq in found) == list(range(1, 901))
    await same_everywhere(trio)


async def test_a_batch_is_one_message_and_its_answers_are_in_order(
    pair: list[ClusterService],
) -> None:
    (follower,) = following(pair)
    before = leading(pair).place()[1]
    batch = [submit(f"job-{number}") for number in range(450)]
    batch[7] = submit("job-3")
    answers = await follower.submit_all(batch, TESTER, shown_jobs)
    assert answers[7] == "Conflict: a job with this id exists already."
    assert answers[:7] + answers[8:] == ["pending"] * 449
    await same_everywhere(pair)
    assert leading(pair).place()[1] <= before + 2  # perhaps a barrier


async def test_an_atomic_batch_that_is_refused_changes_nothing(pair: list[ClusterService]) -> None:
    (follower,) = following(pair)
    await follower.execute(submit("job"), TESTER, seqs)
    with pytest.raises(NoneSubmittedError) as told:
        await follower.submit_all(
            [submit("other"), submit("job")], TESTER, shown_jobs, is_atomic=True
        )
    assert [it is not None for it in told.value.refusals] == [False, True]
    assert follower.projections.jobs.get("other") is None


async def test_a_batch_that_was_submitted_before_is_answered_as_before(
    pair: list[ClusterService],
) -> None:
    (follower,) = following(pair)
    batch = [
        SubmitJob(None, "http://media/in.mp4", "h264", idempotency_key=f"key {n}") for n in range(3)
    ]
    for _ in range(2):
        assert await follower.submit_all(batch, TESTER, shown_jobs) == ["pending"] * 3
    assert follower.projections.seq == 3


async def test_an_ask_that_waits_at_a_follower_gets_the_job_that_comes(
    trio: list[ClusterService],
) -> None:
    asker, submitter = following(trio)
    await asker.execute(ReportHeartbeat("engine", {"supported_codecs": ["h264"]}), TESTER, seqs)
    ask = asyncio.create_task(
        asker.wait_for_work(AssignJob("engine"), TESTER, reply_of, wait_s=30, until_gone=never)
    )
    leader = leading(trio)
    await until(lambda: bool(leader._core.waiting()))
    await submitter.execute(submit("job"), TESTER, seqs)
    assert await ask == JobIs("job", is_new=True)
    assert job_in(asker.projections, "job").status == "assigned"


async def test_an_ask_ends_without_work_when_its_time_is_over(pair: list[ClusterService]) -> None:
    (follower,) = following(pair)
    reply = await follower.wait_for_work(
        AssignJob(None), TESTER, reply_of, wait_s=0.05, until_gone=never
    )
    assert isinstance(reply, NoWork)


async def test_who_hangs_up_at_a_follower_is_given_no_job(pair: list[ClusterService]) -> None:
    (follower,), leader = following(pair), leading(pair)
    gone = asyncio.Event()

    async def until_gone() -> None:
        await gone.wait()

    asks = [
        asyncio.create_task(
            follower.wait_for_work(
                AssignJob(None), TESTER, reply_of, wait_s=60, until_gone=until_gone
            )
        )
        for _ in range(2)
    ]
    await until(lambda: len(leader._core.waiting()) == 2)
    asks[0].cancel()
    await until(lambda: len(leader._core.waiting()) == 1)
    gone.set()
    assert isinstance(await asks[1], NoWork)
    assert leader._core.waiting() == []


async def test_a_follower_that_stops_answers_those_who_wait_for_work(
    pair: list[ClusterService],
) -> None:
    (follower,), leader = following(pair), leading(pair)

    def ask() -> asyncio.Task[Any]:
        return asyncio.create_task(
            follower.wait_for_work(AssignJob(None), TESTER, reply_of, wait_s=60, until_gone=never)
        )

    waits = ask()
    await until(lambda: bool(leader._core.waiting()))
    follower.dismiss_waiters()
    assert isinstance(await waits, NoWork)
    assert isinstance(await ask(), NoWork)


async def test_what_a_follower_could_not_fold_is_not_handed_in_again(
    pair: list[ClusterService], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have happened: the message that was not folded may have answered it."""
    (follower,) = following(pair)

    async def fails(_one: object) -> None:
        raise LogError("seq 1 can't be read")

    with monkeypatch.context() as patched:
        patched.setattr(follower._folding, "fold", fails)
        with pytest.raises(UnavailableError, match="only the log can tell"):
            await follower.execute(submit("job"), TESTER, seqs)
    assert await follower.execute(submit("other"), TESTER, seqs) == [2]
    await same_everywhere(pair)


async def test_the_asks_of_a_dispatcher_that_is_gone_are_given_no_job(
    nats: Nats, tmp_path: Path
) -> None:
    address = nats.address()
    async with member(address, tmp_path / "a.db") as leader:
        await leader_of([leader])
        async with member(address, tmp_path / "b.db") as follower:
            await until(lambda: follower.is_ready)
            ask = asyncio.create_task(
                follower.wait_for_work(
                    AssignJob(None), TESTER, reply_of, wait_s=60, until_gone=never
                )
            )
            await until(lambda: bool(leader._core.waiting()))
            follower._tasks[2].cancel()  # forwarding: it can't hang up
            await asyncio.sleep(0)
            ask.cancel()
        await until(lambda: not leader._core.waiting())


async def test_a_follower_that_lost_its_connection_catches_up(pair: list[ClusterService]) -> None:
    (follower,), leader = following(pair), leading(pair)
    await follower._cluster.stream._client.force_reconnect()
    await asyncio.gather(*(leader.execute(submit(f"j{n}"), TESTER, seqs) for n in range(20)))
    await same_everywhere(pair)


async def test_when_the_leader_stops_another_leads_and_nobody_is_refused(
    trio: list[ClusterService],
) -> None:
    first = leading(trio)
    others = following(trio)
    asks = [
        asking(it, submit(f"{name}{n}"))
        for n in range(50)
        for name, it in zip("ab", others, strict=True)
    ]
    await first.close()
    answers = await asyncio.gather(*asks)
    assert len({seq for found in answers for seq in found}) == 100
    await same_everywhere(others)
    assert {it.log.head for it in others} == {100}


async def test_the_asks_that_wait_go_on_waiting_with_a_new_leader(
    trio: list[ClusterService],
) -> None:
    first, (asker, other) = leading(trio), following(trio)
    for engine_id in ("engine-0", "engine-1"):
        report = ReportHeartbeat(engine_id, {"supported_codecs": ["h264"]})
        await first.execute(report, TESTER, seqs)
    asks = [
        asyncio.create_task(
            it.wait_for_work(
                AssignJob(f"engine-{number}"), TESTER, reply_of, wait_s=60, until_gone=never
            )
        )
        for number, it in enumerate((asker, first))
    ]
    await until(lambda: len(first._core.waiting()) == 2)
    await take_lead(other)
    await until(lambda: other.is_leading and len(other._core.waiting()) == 2)
    await asker.execute(submit("one"), TESTER, seqs)
    await first.execute(submit("two"), TESTER, seqs)
    replies = await asyncio.gather(*asks)
    assert {it.job_id for it in replies} == {"one", "two"}
    await same_everywhere(trio)


async def test_what_a_deposed_leader_decided_in_vain_is_handed_in_again(
    pair: list[ClusterService],
) -> None:
    """Law 3: a later claim comes before it, so it never happened, and its caller is not told."""
    (other,), first = following(pair), leading(pair)
    await take_lead(other)  # the leader has not heard of it
    answers = await asyncio.gather(
        *(first.execute(submit(f"job-{number}"), TESTER, seqs) for number in range(20))
    )
    assert sorted(seq for found in answers for seq in found) == list(range(1, 21))
    assert other.is_leading
    assert not first.is_leading
    await same_everywhere(pair)


async def test_a_deposed_leader_answers_nothing_from_what_it_knew(
    pair: list[ClusterService],
) -> None:
    """Law 5: a refusal has no events, so a barrier must show first that its dispatcher leads."""
    (other,), first = following(pair), leading(pair)
    first._cluster._sending.forget()  # it has sent nothing for a while
    await take_lead(other)
    await until(lambda: other.is_leading)
    await other.execute(submit("job"), TESTER, seqs)
    first._cluster.leads = True  # it may not have heard of all this yet
    await first.execute(CancelJob("job"), TESTER, reply_of)  # not: there is no such job
    await same_everywhere(pair)


async def test_an_answer_without_events_costs_a_barrier_only_after_a_while(
    pair: list[ClusterService], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.cluster.log.LEASE_S", 3_600.0)
    leader = leading(pair)
    leader._cluster._sending.forget()
    before = leader.place()[1]
    with pytest.raises(RefusedError):
        await leader.execute(CancelJob("nowhere"), TESTER, reply_of)
    assert leader.place()[1] == before + 1
    with pytest.raises(RefusedError):
        await leader.execute(CancelJob("nowhere"), TESTER, reply_of)
    assert leader.place()[1] == before + 1


async def test_leases_begin_anew_with_a_new_leader(pair: list[ClusterService]) -> None:
    """No time passes for a follower: only who leads ticks."""
    (other,), first = following(pair), leading(pair)
    await first.execute(ReportHeartbeat("engine", {}), TESTER, seqs)
    await until(lambda: other.projections.seq == 1)
    assert other._core._deadlines._due == {}
    await take_lead(other)
    await until(lambda: other.is_leading)
    assert other._core._deadlines._due != {}


async def test_who_asks_for_a_seq_waits_until_it_is_shown(pair: list[ClusterService]) -> None:
    (follower,) = following(pair)
    waits = asyncio.create_task(follower.catching_up.until(1))
    await until(lambda: follower.catching_up.is_awaited)
    await leading(pair).execute(submit("job"), TESTER, seqs)
    await waits
    assert follower.projections.seq == 1


async def test_a_follower_that_catches_up_shows_all_that_anybody_was_told(
    pair: list[ClusterService],
) -> None:
    (follower,) = following(pair)
    await leading(pair).execute(submit("job"), TESTER, seqs)
    await follower.catch_up()
    assert follower.projections.jobs.get("job") is not None


async def test_a_dispatcher_that_starts_late_shows_all(nats: Nats, tmp_path: Path) -> None:
    address = nats.address()
    async with member(address, tmp_path / "a.db") as first:
        await leader_of([first])
        await first.submit_all([submit(f"j{n}") for n in range(1_200)], TESTER, shown_jobs)
        async with member(address, tmp_path / "b.db") as late:
            assert late.projections.seq == 1_200
            await same_everywhere([first, late])


async def test_a_restart_of_all_goes_on_where_it_was(nats: Nats, tmp_path: Path) -> None:
    address = nats.address()
    for number in range(1, 4):
        async with members(address, tmp_path) as both:
            assert await both[1].execute(submit(f"job-{number}"), TESTER, seqs) == [number]
            await same_everywhere(both)


async def test_a_retry_of_a_job_that_only_the_index_has_is_shown_by_a_follower(
    nats: Nats, tmp_path: Path
) -> None:
    address = nats.address()
    async with (
        member(address, tmp_path / "a.db", past=True) as first,
        member(address, tmp_path / "b.db", past=True) as second,
    ):
        both = [first, second]
        await leader_of(both)
        await until(lambda: all(it.is_ready for it in both))
        (follower,) = following(both)
        key = SubmitJob(None, "http://media/in.mp4", "h264", idempotency_key="old")
        old = await follower.execute(key, TESTER, reply_of)
        await follower.execute(CancelJob(old.job_id), TESTER, reply_of)
        many = [f"job-{number}" for number in range(1_100)]  # a step of the index
        await asyncio.gather(*(follower.execute(submit(it), TESTER, seqs) for it in many))
        await asyncio.gather(*(follower.execute(CancelJob(it), TESTER, reply_of) for it in many))
        await until(lambda: all(it.projections.jobs.get(old.job_id) is None for it in both))
        again = await follower.execute(key, TESTER, shown_job)
        assert (again.job_id, again.status) == (old.job_id, "cancelled")
        await follower.execute(RetryJob(old.job_id), TESTER, reply_of)
        await until(lambda: len({it.projections.seq for it in both}) == 1)
        first_shown, second_shown = (job_in(it.projections, old.job_id) for it in both)
        assert first_shown == second_shown
        assert first_shown.status == "pending"


async def test_a_leader_whose_disk_is_full_is_replaced_and_follows_when_it_can(
    pair: list[ClusterService], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, (other,) = leading(pair), following(pair)
    await first.execute(submit("before"), TESTER, seqs)

    async def full(*_: object) -> None:
        raise LogError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(first._cluster.replica, "append_grown", full)
        patched.setattr(first._cluster.replica, "recover", full)
        with pytest.raises(UnavailableError, match="disk is full"):
            await first.execute(submit("stored"), TESTER, seqs)  # by the stream alone
        await until(lambda: other.is_leading)
        await other.execute(submit("after"), TESTER, seqs)
        assert first.fault is not None
    await until(lambda: first.is_ready and not first.is_leading)
    await first.execute(submit("forwarded"), TESTER, seqs)
    await same_everywhere(pair)
    jobs = [it.job_id for it in first.projections.jobs.all()]
    assert jobs == ["before", "stored", "after", "forwarded"]


async def test_who_waits_is_told_nothing_while_the_leader_can_not_append(
    pair: list[ClusterService], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 5: that there is no work may be over by now."""
    first = leading(pair)
    ask = asyncio.create_task(
        first.wait_for_work(AssignJob(None), TESTER, reply_of, wait_s=0.5, until_gone=never)
    )
    await until(lambda: bool(first._core.waiting()))

    async def fails(*_: object) -> int:
        raise ClusterError("no answer within 1 s")

    with monkeypatch.context() as patched:
        patched.setattr(first._cluster._sending, "_patience_s", -1)
        patched.setattr(first._cluster.stream, "publish", fails)
        with pytest.raises(UnavailableError, match="no answer within 1 s"):
            await first.execute(submit("job"), TESTER, seqs)
        with pytest.raises(UnavailableError, match="no answer within 1 s"):
            await ask
    await until(lambda: first.fault is None)
    await first.execute(submit("other"), TESTER, seqs)
    await same_everywhere(pair)
