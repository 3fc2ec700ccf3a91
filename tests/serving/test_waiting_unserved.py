"""Engines that wait for work and get none: out of time, gone, or dismissed."""

import asyncio

import pytest

from dispatcher.core.commands import (
    AssignJob,
    SubmitJob,
)
from dispatcher.serving.service import Service
from dispatcher.serving.tickets import RefusedError
from tests.support.in_flight import asking, submit, turns_of_the_loop
from tests.support.waiting import answer_of, registered, waiting
from tests.support.watched_log import WatchedLog

pytestmark = pytest.mark.anyio


async def test_waiting_ends_with_nothing_when_its_time_has_run_out(
    service: Service, log: WatchedLog
) -> None:
    await registered(service, "e")
    head = log.head
    assert await answer_of(await waiting(service, "e", wait_s=0.001)) is None
    assert log.head == head
    await asking(service, submit("a"))
    await turns_of_the_loop()
    assert log.head == head + 1


async def test_who_does_not_wait_is_answered_at_once(service: Service) -> None:
    await registered(service, "e")
    assert await answer_of(await waiting(service, "e", wait_s=0.0)) is None


async def test_an_unknown_engine_does_not_wait(service: Service) -> None:
    with pytest.raises(RefusedError, match="Engine not found"):
        await answer_of(await waiting(service, "ghost"))


async def test_an_engine_that_resumes_its_job_does_not_wait(service: Service) -> None:
    await registered(service, "e")
    await asking(service, submit("a"))
    await asking(service, AssignJob("e"))
    assert await answer_of(await waiting(service, "e", resume=True)) is None


async def test_a_waiter_that_is_gone_is_given_nothing(service: Service) -> None:
    await registered(service, "e", "f")
    hung_up = asyncio.Event()

    async def gone() -> None:
        await hung_up.wait()

    request = await waiting(service, "e", gone=gone)
    behind_it = await waiting(service, "f")
    hung_up.set()
    assert await answer_of(request) is None
    await asking(service, submit("a"))
    assert await answer_of(behind_it) == ("a", "f")


async def test_a_waiter_that_goes_in_the_moment_in_which_a_job_comes_is_given_nothing(
    service: Service,
) -> None:
    await registered(service, "e", "f")
    hung_up = asyncio.Event()

    async def gone() -> None:
        await hung_up.wait()

    request = await waiting(service, "e", gone=gone)
    behind_it = await waiting(service, "f")
    hung_up.set()
    await asking(service, submit("a"))
    await turns_of_the_loop()
    service.dismiss_waiters()
    assert await answer_of(request) is None
    assert await answer_of(behind_it) == ("a", "f")


async def test_a_waiter_whose_request_is_cancelled_is_given_nothing(service: Service) -> None:
    await registered(service, "e", "f")
    request, behind_it = await waiting(service, "e"), await waiting(service, "f")
    request.cancel()
    await turns_of_the_loop()
    assert request.cancelled()
    await asking(service, submit("a"))
    assert await answer_of(behind_it) == ("a", "f")


async def test_dismissing_answers_everybody_now_and_from_now_on(service: Service) -> None:
    await registered(service, "e", "f")
    requests = [await waiting(service, engine_id) for engine_id in ("e", "f", None)]
    service.dismiss_waiters()
    service.dismiss_waiters()
    assert [await answer_of(request) for request in requests] == [None, None, None]
    assert await answer_of(await waiting(service, "e")) is None


async def test_closing_answers_everybody(service: Service) -> None:
    await registered(service, "e")
    request = await waiting(service, "e")
    await service.close()
    assert await answer_of(request) is None


async def test_many_waiters_and_many_jobs_meet_once_each(service: Service) -> None:
    names = [f"e{n}" for n in range(30)]
    await registered(service, *names)
    requests = [await waiting(service, name) for name in names]
    await asyncio.gather(*(asking(service, SubmitJob(f"j{n}", "u", "h264")) for n in range(30)))
    given = [await answer_of(request) for request in requests]
    assert given == [(f"j{n}", f"e{n}") for n in range(30)]
