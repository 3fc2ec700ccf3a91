"""A forecast of now: of one seq, shared by those who ask at once, and never in the way."""

import asyncio

import pytest

from dispatcher.core.commands import AssignJob, ReportHeartbeat
from dispatcher.core.placing import picture_of
from dispatcher.log import LogError
from dispatcher.serving.forecasts import (
    MANY_PARTS,
    MANY_WAIT,
    REST,
    SHORT_S,
    Forecasts,
    Waiting,
)
from dispatcher.serving.service import Service
from dispatcher.serving.tickets import UnavailableError
from dispatcher.state.replay import replay
from projections.forecast import Forecast
from projections.forecasting import Outlook, at_once, forecast, outlook_of
from tests.support.in_flight import asking, held_up, submit, turns_of_the_loop
from tests.support.watched_log import DISK_FULL, WatchedLog

pytestmark = pytest.mark.anyio


async def replayed(log: WatchedLog, seq: int) -> Forecast:
    state = await replay(log, seq)
    return at_once(forecast(outlook_of(picture_of(state.fleet), state.projections)))


async def a_farm_at_work(service: Service) -> None:
    for name in "abc":
        await asking(service, submit(name))
    await asking(service, ReportHeartbeat("x", {}))
    await asking(service, AssignJob("x"))


async def test_it_is_what_a_replay_up_to_its_seq_says(service: Service, log: WatchedLog) -> None:
    await a_farm_at_work(service)
    made = await service.forecasts.newest()
    assert made == await replayed(log, service.projections.seq)
    assert [len(made.running), len(made.waiting)] == [1, 2]


async def test_it_is_of_one_seq_though_more_is_on_its_way_to_the_disk(
    service: Service, log: WatchedLog
) -> None:
    await a_farm_at_work(service)
    first = await held_up(log, service, submit("d"))
    asked = asyncio.ensure_future(service.forecasts.newest())
    await turns_of_the_loop()
    rest = [asking(service, it) for it in (submit("e"), ReportHeartbeat("y", {}), AssignJob("y"))]
    await turns_of_the_loop()
    assert not asked.done()
    log.gate.set()
    made = await asked
    await asyncio.gather(first, *rest)
    assert made == await replayed(log, made.seq)
    assert made.seq < service.projections.seq
    assert [it.job_id for it in made.waiting] == ["b", "c", "d"]


async def test_it_shows_what_was_acknowledged_before_it_was_asked_for(service: Service) -> None:
    for name in "abcde":
        await asking(service, submit(name))
        made = await service.forecasts.newest()
        assert made.waiting[-1].job_id == name


async def test_those_who_ask_at_once_share_one(service: Service) -> None:
    await a_farm_at_work(service)
    asked = []

    async def outlook() -> Outlook:
        asked.append(service.projections.seq)
        picture = await service.explain(picture_of)
        return outlook_of(picture, service.projections)

    made = Forecasts(outlook, lambda: service.projections.seq, lambda: Waiting(2, 1))
    found = await asyncio.gather(*(made.newest() for _ in range(50)))
    assert len(asked) == 1
    assert all(it is found[0] for it in found)
    await asking(service, submit("d"))
    assert await made.newest() is not found[0]
    assert len(asked) == 2


class Watched:
    """Forecasts of a service at a time that stands still, and how often each way was taken."""

    def __init__(self, service: Service, waiting: Waiting) -> None:
        self.now_s = 0.0
        self.takes_s = 0.0
        self.here = 0
        self.elsewhere = 0
        self._service = service
        seq = lambda: service.projections.seq  # noqa: E731
        clock = lambda: self.now_s  # noqa: E731
        self.all = Forecasts(self._outlook, seq, lambda: waiting, self._forecast, clock)

    async def _outlook(self) -> Outlook:
        self.here += 1
        return await self._look()

    async def _forecast(self, seq: int) -> Forecast:
        assert seq == self._service.projections.seq
        self.elsewhere += 1
        self.now_s += self.takes_s
        await asyncio.sleep(0)
        return at_once(forecast(await self._look()))

    async def _look(self) -> Outlook:
        picture = await self._service.explain(picture_of)
        return outlook_of(picture, self._service.projections)


async def test_one_that_takes_long_serves_for_a_while_and_no_longer(service: Service) -> None:
    await a_farm_at_work(service)
    watched = Watched(service, Waiting(MANY_WAIT + 1, 1))
    watched.takes_s = SHORT_S + 1.0
    first = await watched.all.newest()
    await asking(service, submit("d"))
    watched.now_s += REST - 0.1
    assert await watched.all.newest() is first
    watched.now_s += 0.2
    second = await watched.all.newest()
    assert [it.job_id for it in second.waiting] == ["b", "c", "d"]


@pytest.mark.parametrize("waiting", [Waiting(MANY_WAIT + 1, 1), Waiting(9, MANY_PARTS + 1)])
async def test_one_of_many_jobs_or_lines_is_made_elsewhere_and_shared(
    service: Service, waiting: Waiting
) -> None:
    await a_farm_at_work(service)
    watched = Watched(service, waiting)
    found = await asyncio.gather(*(watched.all.newest() for _ in range(50)))
    assert all(it is found[0] for it in found)
    assert (watched.here, watched.elsewhere) == (0, 1)


async def test_one_of_few_is_made_here(service: Service) -> None:
    await a_farm_at_work(service)
    watched = Watched(service, Waiting(MANY_WAIT, MANY_PARTS))
    await watched.all.newest()
    assert (watched.here, watched.elsewhere) == (1, 0)


async def test_while_the_log_can_not_be_written_there_is_none(
    service: Service, log: WatchedLog
) -> None:
    await a_farm_at_work(service)
    log.append_faults = [LogError(DISK_FULL)]
    first = await held_up(log, service, submit("d"))
    asked = asyncio.ensure_future(service.forecasts.newest())
    await turns_of_the_loop()
    log.gate.set()
    with pytest.raises(UnavailableError, match="disk is full"):
        await asked
    await asyncio.gather(first, return_exceptions=True)
