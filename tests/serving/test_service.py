"""Group commit, answers only from what is durable, starting and stopping."""

import asyncio
from datetime import UTC, datetime
from typing import Final

import pytest

from dispatcher.core.commands import (
    AssignJob,
    Caller,
    Command,
    CompleteJob,
    ReportHeartbeat,
    SubmitJob,
)
from dispatcher.core.dispatcher import Settle
from dispatcher.core.replies import JobIs
from dispatcher.log import LogError
from dispatcher.serving import group_commit
from dispatcher.serving.service import Service
from dispatcher.serving.tickets import RefusedError
from projections import Projections
from tests.support.in_flight import (
    TESTER,
    asking,
    failure_of,
    held_up,
    replayed,
    submit,
    turns_of_the_loop,
)
from tests.support.log_contents import recorded_in
from tests.support.watched_log import DISK_FULL, WatchedLog

pytestmark = pytest.mark.anyio


# Group commit


async def test_commands_that_come_together_share_a_commit(
    service: Service, log: WatchedLog
) -> None:
    answers = await asyncio.gather(*(asking(service, submit(str(n))) for n in range(20)))
    assert answers == [[n] for n in range(1, 21)]
    assert log.batches == [20]


async def test_commands_that_come_during_a_commit_share_the_next(
    service: Service, log: WatchedLog
) -> None:
    first = await held_up(log, service, submit("first"))
    rest = [asking(service, submit(str(n))) for n in range(20)]
    await turns_of_the_loop()
    log.gate.set()
    await asyncio.gather(first, *rest)
    assert log.batches == [1, 20]


async def test_a_batch_is_bounded(
    service: Service, log: WatchedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "BATCH_EVENTS", 3)
    await asyncio.gather(*(asking(service, submit(str(n))) for n in range(10)))
    assert log.batches == [3, 3, 3, 1]


async def test_beyond_a_bound_callers_are_told_to_come_back(
    service: Service, log: WatchedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "QUEUED_EVENTS", 2)
    first = await held_up(log, service, submit("first"))
    queued = [asking(service, submit(str(n))) for n in range(2)]
    await turns_of_the_loop()
    told = await failure_of(asking(service, submit("too many")))
    assert told == "2 events are waiting for the disk already"
    log.gate.set()
    assert await asyncio.gather(first, *queued) == [[1], [2], [3]]
    assert await asking(service, submit("too many")) == [4]


async def test_a_cancelled_request_leaves_its_events_whole(
    service: Service, log: WatchedLog
) -> None:
    in_commit = await held_up(log, service, submit("in commit"))
    queued = asking(service, submit("queued"))
    after = asking(service, submit("after"))
    await turns_of_the_loop()
    in_commit.cancel()
    queued.cancel()
    await turns_of_the_loop()
    log.gate.set()
    assert await after == [3]
    assert in_commit.cancelled()
    assert queued.cancelled()
    state = service.projections.state()
    assert [job["job_id"] for job in state["jobs"]] == ["in commit", "queued", "after"]
    assert await replayed(log) == state


# Durable before visible


async def test_nothing_is_shown_and_nobody_answered_before_the_commit(
    service: Service, log: WatchedLog
) -> None:
    request = await held_up(log, service, submit("a"))
    await turns_of_the_loop()
    assert not request.done()
    assert service.projections.state() == {"seq": 0, "jobs": [], "engines": []}
    log.gate.set()
    assert await request == [1]
    assert service.projections.jobs.get("a") is not None


async def test_a_decision_sees_what_was_decided_before_it_durable_or_not(
    service: Service, log: WatchedLog
) -> None:
    await asking(service, ReportHeartbeat("e", {}))
    submission = await held_up(log, service, submit("a"))
    poll = asking(service, AssignJob("e"))
    second_poll = asking(service, AssignJob("e"))
    await turns_of_the_loop()
    log.gate.set()
    requests = [submission, poll, second_poll]
    assert await asyncio.gather(*requests) == [[2], [3], []]


async def test_each_answer_is_made_from_the_state_at_its_own_event(service: Service) -> None:
    await asking(service, ReportHeartbeat("e", {}))

    def status(_: Settle, projections: Projections) -> str | None:
        job = projections.jobs.get("a")
        return None if job is None else job.status

    commands: list[Command] = [submit("a"), AssignJob("e"), CompleteJob("a", "out")]
    statuses = await asyncio.gather(*(service.execute(c, TESTER, status) for c in commands))
    assert statuses == ["pending", "assigned", "completed"]


OUTCOMES_WITHOUT_EVENTS: Final = [
    pytest.param(submit("a"), RefusedError, id="refusal"),
    pytest.param(CompleteJob("done", "out"), None, id="repeated completion"),
    pytest.param(AssignJob("e"), None, id="poll that gets nothing"),
]


@pytest.mark.parametrize(("command", "error"), OUTCOMES_WITHOUT_EVENTS)
async def test_an_outcome_without_events_waits_for_what_it_was_decided_upon(
    service: Service, log: WatchedLog, command: Command, error: type[Exception] | None
) -> None:
    await asking(service, submit("done"))
    await asking(service, ReportHeartbeat("e", {"supported_codecs": ["av1"]}))
    completion = await held_up(log, service, CompleteJob("done", "out"))
    submission = asking(service, submit("a"))
    await turns_of_the_loop()
    request = asking(service, command)
    await turns_of_the_loop()
    assert not request.done()
    log.gate.set()
    await asyncio.gather(completion, submission)
    if error is None:
        assert await request == []
    else:
        with pytest.raises(error):
            await request


@pytest.mark.parametrize(("command", "error"), OUTCOMES_WITHOUT_EVENTS)
async def test_an_outcome_without_events_fails_with_what_it_was_decided_upon(
    service: Service, log: WatchedLog, command: Command, error: type[Exception] | None
) -> None:
    assert error in {RefusedError, None}
    await asking(service, submit("done"))
    await asking(service, ReportHeartbeat("e", {"supported_codecs": ["av1"]}))
    log.append_faults = [LogError(DISK_FULL)]
    completion = await held_up(log, service, CompleteJob("done", "out"))
    submission = asking(service, submit("a"))
    request = asking(service, command)
    await turns_of_the_loop()
    log.gate.set()
    for waiting in (completion, submission, request):
        assert await failure_of(waiting) == DISK_FULL


async def test_a_refusal_upon_durable_state_writes_nothing(
    service: Service, log: WatchedLog
) -> None:
    await asking(service, submit("a"))
    with pytest.raises(RefusedError, match="Conflict: a job with this id exists already"):
        await asking(service, submit("a"))
    assert log.batches == [1]
    assert log.head == 1


async def test_an_answer_that_fails_is_its_own_callers_trouble(service: Service) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    bad = service.execute(submit("a"), TESTER, fail)
    good = asking(service, submit("b"))
    with pytest.raises(ZeroDivisionError):
        await bad
    assert await good == [2]


# Starting and stopping


async def test_closing_commits_what_has_been_decided(service: Service, log: WatchedLog) -> None:
    first = await held_up(log, service, submit("first"))
    queued = [asking(service, submit(str(n))) for n in range(5)]
    await turns_of_the_loop()
    closing = asyncio.create_task(service.close())
    await turns_of_the_loop()
    assert not closing.done()
    log.gate.set()
    await closing
    assert await asyncio.gather(first, *queued) == [[n] for n in range(1, 7)]
    assert log.head == 6


async def test_a_closed_service_takes_no_commands(service: Service) -> None:
    await service.close()
    told = await failure_of(asking(service, submit("a")))
    assert told == "the dispatcher is stopping"


async def test_closing_twice_or_during_a_fault_ends(service: Service, log: WatchedLog) -> None:
    log.append_faults = [LogError(DISK_FULL)]
    log.recover_faults = [LogError(DISK_FULL)] * 100
    await failure_of(asking(service, submit("a")))
    async with asyncio.timeout(30):
        await service.close()
        await service.close()


async def test_a_service_starts_from_what_the_log_holds(service: Service, log: WatchedLog) -> None:
    await asyncio.gather(
        asking(service, submit("a")),
        asking(service, ReportHeartbeat("e", {"hostname": "rack"})),
        asking(service, AssignJob("e")),
    )
    assert await replayed(log) == service.projections.state()


async def test_starting_tells_how_far_it_is(service: Service, log: WatchedLog) -> None:
    await asyncio.gather(*(asking(service, submit(str(n))) for n in range(3)))
    told: list[tuple[int, int]] = []
    second = Service(log)
    await second.start(lambda done, of: told.append((done, of)))
    await second.close()
    assert told == [(3, 3)]


# Ids and times


async def test_job_ids_are_microseconds_and_a_counter(log: WatchedLog) -> None:
    at = datetime(2024, 1, 1, microsecond=123456, tzinfo=UTC)
    service = Service(log, clock=lambda: at)
    await service.start()
    await asking(service, submit("1704067200123456_2"))
    for counter in (3, 4, 5):  # greater than any that was used, so that none is looked for
        made = await service.execute(SubmitJob(None, "u", "h264"), TESTER, lambda it, _: it.reply)
        assert made == JobIs(f"1704067200123456_{counter}", is_new=True)
    await service.close()


async def test_an_event_carries_the_time_of_its_command_and_who_asked(log: WatchedLog) -> None:
    at = datetime(2024, 1, 1, tzinfo=UTC)
    service = Service(log, clock=lambda: at)
    await service.start()
    caller = Caller("the client", "4711")
    (recorded,) = await service.execute(submit("a"), caller, lambda it, _: list(it.records))
    await service.close()
    assert (recorded.at, recorded.actor, recorded.request_id) == (at, "the client", "4711")
    assert await recorded_in(log) == [recorded]
