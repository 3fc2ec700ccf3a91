"""A forecast of now: of one seq, shared by those who ask at once, and never in the way."""

import asyncio

import pytest

from dispatcher.core.commands import AssignJob, ReportHeartbeat
from dispatcher.core.placing import picture_of
from dispatcher.log import LogError
from dispatcher.serving import forecasts
from dispatcher.serving.forecasts import Forecasts
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

    made = Forecasts(outlook, lambda: service.projections.seq)
    found = await asyncio.gather(*(made.newest() for _ in range(50)))
    assert len(asked) == 1
    assert all(it is found[0] for it in found)
    await asking(service, submit("d"))
    assert await made.newest() is not found[0]
    assert len(asked) == 2


async def test_one_that_takes_long_serves_for_a_while(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_farm_at_work(service)
    monkeypatch.setattr(forecasts, "SHORT_S", -1e6)  # as if it had taken so long
    first = await service.forecasts.newest()
    await asking(service, submit("d"))
    assert await service.forecasts.newest() is first


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
