"""Engines that wait for work: served in order, woken only with a job in hand."""

from datetime import datetime

import pytest

from dispatcher.core import dispatcher as dispatcher_module
from dispatcher.core.commands import (
    AssignJob,
    CancelJob,
    Command,
    CompleteJob,
    DrainEngine,
    FailJob,
    LoseEngine,
    ReportHeartbeat,
    ResumeEngine,
    SubmitJob,
)
from dispatcher.core.decider import decide
from dispatcher.core.fleet import Fleet
from dispatcher.core.policy import Policy
from dispatcher.core.replies import Decision
from dispatcher.core.waiting import FOR_ANY_ENGINE, PER_ENGINE
from dispatcher.log import LogError
from dispatcher.serving.service import Service
from tests.support.in_flight import asking, failure_of, held_up, submit, turns_of_the_loop, until
from tests.support.waiting import answer_of, registered, still_waiting, waiting
from tests.support.watched_log import DISK_FULL, WatchedLog

pytestmark = pytest.mark.anyio


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Note who tries to have a job."""
    tried: list[str | None] = []

    def watched(fleet: Fleet, command: Command, at: datetime, policy: Policy) -> Decision:
        if isinstance(command, AssignJob):
            tried.append(command.engine_id)
        return decide(fleet, command, at, policy)

    monkeypatch.setattr(dispatcher_module, "decide", watched)
    return tried


async def test_a_job_that_waits_already_is_given_at_once(service: Service) -> None:
    await registered(service, "e")
    await asking(service, submit("a"))
    assert await answer_of(await waiting(service, "e")) == ("a", "e")


async def test_waiters_are_served_in_order_of_arrival(service: Service) -> None:
    await registered(service, "e", "f", "g")
    requests = [await waiting(service, engine_id) for engine_id in ("g", "e", "f")]
    for job_id in "abc":
        await asking(service, submit(job_id))
    assert [await answer_of(it) for it in requests] == [("a", "g"), ("b", "e"), ("c", "f")]


async def test_a_job_and_its_assignment_are_one_commit(service: Service, log: WatchedLog) -> None:
    await registered(service, "e")
    request = await waiting(service, "e")
    log.batches.clear()
    await asking(service, submit("a"))
    assert await answer_of(request) == ("a", "e")
    assert log.batches == [2]


async def test_nobody_is_answered_before_the_assignment_is_durable(
    service: Service, log: WatchedLog
) -> None:
    await registered(service, "e")
    request = await waiting(service, "e")
    submission = await held_up(log, service, submit("a"))
    assert await still_waiting(request)
    log.gate.set()
    await submission
    assert await answer_of(request) == ("a", "e")


async def test_one_job_wakes_one_waiter_and_nobody_else_is_disturbed(
    service: Service, tries: list[str | None]
) -> None:
    names = [f"e{n}" for n in range(10)]
    await registered(service, *names)
    requests = [await waiting(service, name) for name in names]
    tries.clear()
    await asking(service, submit("a"))
    assert tries == ["e0"]
    assert await answer_of(requests[0]) == ("a", "e0")
    assert await still_waiting(*requests[1:])


async def test_a_waiter_for_another_codec_is_not_woken(
    service: Service, tries: list[str | None]
) -> None:
    await registered(service, "e", supported_codecs=["vp9"])
    await registered(service, "f", supported_codecs=["h264"])
    for_vp9, for_h264 = await waiting(service, "e"), await waiting(service, "f")
    tries.clear()
    await asking(service, submit("a"))
    assert tries == ["f"]
    assert await answer_of(for_h264) == ("a", "f")
    assert await still_waiting(for_vp9)


def demanding(job_id: str) -> SubmitJob:
    return SubmitJob(job_id, "u", "h264", recipe={"quality": 60.0}, needs=("recipes",))


async def test_a_waiter_that_lacks_an_ability_is_not_woken_until_it_has_told_it(
    service: Service, tries: list[str | None]
) -> None:
    await registered(service, "e")
    request = await waiting(service, "e")
    tries.clear()
    await asking(service, demanding("a"))
    assert tries == []
    assert await still_waiting(request)
    await asking(service, ReportHeartbeat("e", {"abilities": ["recipes"]}))
    assert await answer_of(request) == ("a", "e")


async def test_a_job_kept_for_another_engine_is_offered_when_that_one_loses_its_ability(
    service: Service,
) -> None:
    await registered(service, "e", "f", abilities=["recipes"])
    await asking(service, demanding("a"))
    await asking(service, AssignJob("e"))
    await asking(service, FailJob("a", "broke"))
    request = await waiting(service, "e")
    assert await still_waiting(request)
    await asking(service, ReportHeartbeat("f", {"abilities": []}))
    assert await answer_of(request) == ("a", "e")


async def test_a_waiter_without_a_name_is_given_a_job_for_whoever_fits_best(
    service: Service,
) -> None:
    await registered(service, "slow", benchmark_time=9.0)
    await registered(service, "fast", benchmark_time=1.0)
    request = await waiting(service, None)
    await asking(service, submit("a"))
    assert await answer_of(request) == ("a", "slow")


async def test_a_waiter_without_a_name_is_served_when_an_engine_comes_back(
    service: Service,
) -> None:
    await registered(service, "e")
    await asking(service, LoseEngine("e", 60.0))
    await asking(service, submit("a"))
    request = await waiting(service, None)
    assert await still_waiting(request)
    await asking(service, ReportHeartbeat("e", {}))
    await turns_of_the_loop()
    service.dismiss_waiters()
    assert await answer_of(request) == ("a", "e")


@pytest.mark.parametrize("end", [FailJob("a", "broke"), LoseEngine("e", 60.0)], ids=str)
async def test_a_requeued_job_is_offered_to_who_waits(service: Service, end: Command) -> None:
    await registered(service, "e", "f")
    await asking(service, submit("a"))
    await asking(service, AssignJob("e"))
    request = await waiting(service, "f")
    await asking(service, end)
    assert await answer_of(request) == ("a", "f")


@pytest.mark.parametrize("end", [CompleteJob("a", "out"), CancelJob("a")], ids=str)
async def test_an_engine_that_waits_while_it_works_is_served_when_it_is_done(
    service: Service, end: Command
) -> None:
    await registered(service, "e")
    await asking(service, submit("a"))
    await asking(service, AssignJob("e"))
    await asking(service, submit("b"))
    request = await waiting(service, "e")
    assert await still_waiting(request)
    await asking(service, end)
    assert await answer_of(request) == ("b", "e")


async def test_an_engine_that_is_resumed_is_served(service: Service) -> None:
    await registered(service, "e")
    await asking(service, DrainEngine("e"))
    await asking(service, submit("a"))
    request = await waiting(service, "e")
    assert await still_waiting(request)
    await asking(service, ResumeEngine("e"))
    assert await answer_of(request) == ("a", "e")


async def test_a_job_kept_for_another_engine_is_offered_when_that_one_is_lost(
    service: Service,
) -> None:
    await registered(service, "e", "f")
    await asking(service, submit("a"))
    await asking(service, AssignJob("e"))
    await asking(service, FailJob("a", "broke"))
    request = await waiting(service, "e")
    assert await still_waiting(request)
    await asking(service, LoseEngine("f", 60.0))
    assert await answer_of(request) == ("a", "e")


async def test_a_job_kept_for_another_engine_is_offered_when_that_one_can_not_take_it_any_more(
    service: Service,
) -> None:
    await registered(service, "e", "f")
    await asking(service, submit("a"))
    await asking(service, AssignJob("e"))
    await asking(service, FailJob("a", "broke"))
    request = await waiting(service, "e")
    assert await still_waiting(request)
    await asking(service, ReportHeartbeat("f", {"supported_codecs": ["av1"]}))
    await turns_of_the_loop()
    service.dismiss_waiters()
    assert await answer_of(request) == ("a", "e")


async def test_a_job_that_came_back_because_the_log_failed_is_offered(
    service: Service, log: WatchedLog
) -> None:
    await registered(service, "e", "f")
    await asking(service, submit("a"))
    log.append_faults = [LogError(DISK_FULL)]
    assignment = await held_up(log, service, AssignJob("e"))
    request = await waiting(service, "f")
    log.gate.set()
    assert await failure_of(assignment) == DISK_FULL
    await until(lambda: service.fault is None)
    await turns_of_the_loop()
    service.dismiss_waiters()
    assert await answer_of(request) == ("a", "f")


async def test_the_newest_few_requests_of_an_engine_wait_and_older_ones_are_answered(
    service: Service,
) -> None:
    await registered(service, "e", "f")
    other = await waiting(service, "f")
    requests = [await waiting(service, "e") for _ in range(PER_ENGINE + 2)]
    assert [await answer_of(it) for it in requests[:2]] == [None, None]
    assert await still_waiting(*requests[2:], other)
    await asking(service, submit("a"))
    assert await answer_of(other) == ("a", "f")
    await asking(service, submit("b"))
    assert await answer_of(requests[2]) == ("b", "e")


async def test_of_one_caller_only_so_many_requests_for_any_engine_wait(service: Service) -> None:
    requests = [await waiting(service, None) for _ in range(FOR_ANY_ENGINE + 1)]
    assert await answer_of(requests[0]) is None
    assert await still_waiting(*requests[1:])


async def test_what_one_asks_in_vain_the_others_who_ask_the_same_are_not_tried_for(
    service: Service, tries: list[str | None]
) -> None:
    await registered(service, "e", "f")
    await asking(service, DrainEngine("e"))
    for _ in range(PER_ENGINE):
        for engine_id in ("e", "f", None):
            await waiting(service, engine_id)
    tries.clear()
    for n in range(3):
        await asking(service, ReportHeartbeat("e", {"note": f"number {n}"}))
    assert tries == ["e", None] * 3
    tries.clear()
    await asking(service, ReportHeartbeat("e", {"storage_capacity_gb": 1.0}))
    assert tries == ["e", None]


async def test_of_those_for_any_engine_each_is_tried_as_long_as_there_are_jobs(
    service: Service,
) -> None:
    await registered(service, "e", "f")
    for engine_id in ("e", "f"):
        await asking(service, ReportHeartbeat(engine_id, {"status": "busy"}))
    for job_id in ("a", "b"):
        await asking(service, submit(job_id))
    requests = [await waiting(service, None) for _ in range(3)]
    for engine_id in ("e", "f"):
        await asking(service, ReportHeartbeat(engine_id, {"status": "idle"}))
    assert [await answer_of(it) for it in requests[:2]] == [("a", "e"), ("b", "f")]
    assert await still_waiting(requests[2])


async def test_a_job_that_an_engine_loses_goes_to_who_has_waited_longest(
    service: Service,
) -> None:
    """Not to another that is tried too, because a job is not kept from it any more."""
    await registered(service, "e", "f", supported_codecs=["h264", "av1"])
    await registered(service, "waits longest", supported_codecs=["h264"])
    await asking(service, submit("lost"))
    await asking(service, AssignJob("f"))
    await asking(service, SubmitJob("kept", "http://media/in.mp4", "av1"))
    await asking(service, AssignJob("e"))
    await asking(service, FailJob("kept", "broke"))
    first, second = await waiting(service, "waits longest"), await waiting(service, "e")
    assert await still_waiting(first, second)
    await asking(service, LoseEngine("f", 60.0))
    assert await answer_of(first) == ("lost", "waits longest")
    assert await answer_of(second) == ("kept", "e")
