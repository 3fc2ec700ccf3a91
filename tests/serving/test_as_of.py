"""Asking about the past, and keeping it: in other processes, so much at once, until Ctrl-C."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import httpx2
import pytest

from dispatcher.core.events import EngineSeen, Recorded
from dispatcher.core.placing import picture_of
from dispatcher.log.sqlite import SqliteLog
from dispatcher.serving import quotas
from dispatcher.serving.as_of import Past
from dispatcher.serving.listing import ListJobs
from dispatcher.serving.quotas import Asker, Quotas, TooManyError
from dispatcher.serving.service import Service
from dispatcher.serving.views import ExplainJob, ForecastFarm, ListEngines, View, show
from dispatcher.state.replay import replay
from dispatcher.state.snapshots import Snapshots
from projections import Projections
from projections.forecasting import at_once, forecast, outlook_of
from tests.log.golden.make import told
from tests.support.beside import kept_beside
from tests.support.given import START
from tests.support.in_flight import asking, submit, until
from tests.support.log_contents import encoded
from tests.support.servers import Child, child, client_of, running

pytestmark = pytest.mark.anyio

HEAD: Final = 40
ANNA: Final = Asker("anna", is_operator=True)
STORY: Final = told()[:HEAD]
STOP_S: Final = 30


@pytest.fixture
async def log(db: Path) -> AsyncIterator[SqliteLog]:
    async with await SqliteLog.open(db) as opened:
        await opened.append(encoded(*STORY), 0)
        yield opened


@pytest.fixture
async def past(log: SqliteLog) -> AsyncIterator[Past]:
    made = Past(log.path, snapshot_every=10)
    yield made
    await made.close(None, log.tree)


@pytest.fixture
async def service(log: SqliteLog, past: Past) -> AsyncIterator[Service]:
    made = Service(log, past=past)
    yield made
    await made.close()


# Questions


async def test_a_view_of_a_seq_is_what_a_replay_up_to_it_shows(log: SqliteLog, past: Past) -> None:
    views: list[View] = [ListJobs(), ListEngines(), ExplainJob("a")]
    for seq in (0, 17, HEAD):
        then = await replay(log, seq)
        for view in views:
            expected = show(view, then.projections, then.fleet)
            assert await past.show(ANNA, view, seq, HEAD) == (seq, expected)


def test_a_forecast_without_a_fleet_is_an_error_not_an_empty_farm() -> None:
    with pytest.raises(TypeError, match="needs the fleet"):
        show(ForecastFarm(9), Projections())


async def test_a_forecast_of_a_seq_is_what_a_replay_up_to_it_says(
    log: SqliteLog, past: Past
) -> None:
    then = await replay(log, HEAD)
    outlook = outlook_of(picture_of(then.fleet), then.projections)
    assert await past.forecast(HEAD) == at_once(forecast(outlook))


async def test_a_time_means_the_last_event_that_was_recorded_by_then(
    log: SqliteLog, past: Past
) -> None:
    for at in (START - timedelta(days=1), STORY[16].at, STORY[-1].at + timedelta(days=1)):
        seq = await log.seq_at(at)
        then = await replay(log, seq)
        assert await past.seq_of(ANNA, at, HEAD) == seq
        assert await past.show(ANNA, ListJobs(), at, HEAD) == (
            seq,
            show(ListJobs(), then.projections),
        )


async def test_no_time_means_more_than_what_is_shown_already(past: Past) -> None:
    later = STORY[-1].at + timedelta(days=1)
    assert await past.seq_of(ANNA, later, 30) == 30
    assert (await past.show(ANNA, ListEngines(), later, 30))[0] == 30


async def test_of_too_many_questions_at_once_whatever_they_are_some_are_turned_away(
    past: Past,
) -> None:
    places = Quotas().questions.shares.operator
    kinds = [past.seq_of(ANNA, STORY[16].at, HEAD), past.show(ANNA, ListJobs(), 17, HEAD)]
    kinds += [past.seq_of(ANNA, STORY[n].at, HEAD) for n in range(places)]
    answers = await asyncio.gather(*kinds, return_exceptions=True)
    turned_away = [answer for answer in answers if isinstance(answer, TooManyError)]
    assert len(turned_away) == len(kinds) - places
    assert await past.seq_of(ANNA, STORY[16].at, HEAD), "it answers again"


async def test_a_clients_key_has_its_share_and_leaves_the_rest_to_others(past: Past) -> None:
    clients = [Asker(f"client {n}", is_operator=False) for n in range(9)]
    asked = [past.show(client, ListJobs(), 17, HEAD) for client in clients[:1] * 16]
    asked += [past.show(client, ListJobs(), 17, HEAD) for client in clients]
    asked += [past.show(ANNA, ListJobs(), 17, HEAD)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    texts = [str(answer) if isinstance(answer, TooManyError) else "" for answer in answers]
    tail = ", which is the most; try again later"
    assert texts[:2] == ["", ""]
    share = "2 questions about the past are in hand for the key 'client 0'"
    assert texts[2:17] == [share + tail] * 15
    assert texts[17:22] == [""] * 5
    together = "7 questions about the past are in hand for clients and engines"
    assert texts[22:25] == [together + tail] * 3
    assert texts[25] == "", "one place is left to operators"


@pytest.mark.parametrize(
    "path",
    [
        *("/jobs/", "/jobs/nobody", "/jobs/nobody/why", "/engines/"),
        *("/jobs/nobody/events", "/engines/nobody/events"),
    ],
)
async def test_a_time_is_not_looked_for_before_the_question_counts(
    db: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """To find it may mean to go over the whole log."""
    monkeypatch.setattr(quotas, "QUESTIONS", 1)
    async with running(db) as server, client_of(server) as client:
        answer = await client.get(path, params={"as_of": "2024-01-01T00:00:00Z"})
        assert answer.status_code == 429
        assert "questions about the past are in hand" in answer.text


async def test_what_names_no_moment_is_refused_however_much_is_asked(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "QUESTIONS", 1)
    async with running(db) as server, client_of(server) as client:
        for as_of, rule in (("1", "must be at most 0, the log's last seq"), ("now", "must be a")):
            for path in ("/jobs/", "/jobs/nobody/events"):
                answer = await client.get(path, params={"as_of": as_of})
                assert answer.status_code == 400
                assert answer.text.startswith(f"Bad Request: 'as_of' {rule}")


# Snapshots


def kept(past_of: SqliteLog) -> list[int]:
    return sorted(seq for seq, _ in Snapshots(past_of.path).found())


async def test_after_a_start_that_had_much_to_replay_a_snapshot_is_written_soon(
    log: SqliteLog, service: Service
) -> None:
    await service.start()
    await until(lambda: kept(log) == [HEAD])


async def test_after_a_start_that_had_little_to_replay_none_is_written(
    log: SqliteLog, service: Service
) -> None:
    await kept_beside(log.path, log, HEAD)
    await service.start()
    await asking(service, submit("new"))
    assert not [it for it in asyncio.all_tasks() if it.get_name() == "index and snapshots"]
    await service.close()
    assert kept(log) == [HEAD, HEAD + 1]


@pytest.mark.parametrize("leftover", [HEAD - 1, 1_000_000])
async def test_a_file_that_is_no_snapshot_of_this_log_does_not_delay_the_next(
    log: SqliteLog, service: Service, leftover: int
) -> None:
    Snapshots(log.path).directory.mkdir()
    (Snapshots(log.path).directory / f"{leftover:012}.snapshot").write_bytes(b"of another log")
    await service.start()
    await until(lambda: HEAD in kept(log))
    for n in range(10):
        await asking(service, submit(str(n)))
    await until(lambda: HEAD + 10 in kept(log))


# Ctrl-C


LONG: Final = 60_000


@pytest.fixture
async def long_log(db: Path) -> Path:
    """A log that takes a while to replay."""
    async with await SqliteLog.open(db) as log:
        for first in range(1, LONG, 5_000):
            seen = [Recorded(first + n, START, "t", EngineSeen(str(n % 97))) for n in range(5_000)]
            await log.append(encoded(*seen), first - 1)
    return db


def workers_of(server: Child) -> list[int]:
    pid = server.process.pid
    return [int(it) for it in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def has_open(pid: int, db: Path) -> bool:
    try:
        return any(fd.readlink() == db for fd in Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:
        return False


async def ask_on(client: httpx2.AsyncClient, moment: datetime) -> None:
    """Submit jobs and ask about the past, until nobody answers."""
    n = 0
    try:
        while True:
            n += 1
            body = {"source_url": "http://media/in.mp4", "target_codec": "h264"}
            await client.post("/jobs/", json=body)
            as_of = str(LONG - n) if n % 2 else moment.isoformat().replace("+00:00", "Z")
            await client.get("/engines/", params={"as_of": as_of})
    except httpx2.TransportError:
        pass


@pytest.mark.parametrize("while_it", ["begins", "works"])
@pytest.mark.parametrize("every", [100, 1_000_000], ids=["snapshots too", "questions only"])
async def test_ctrl_c_during_work_on_the_past_stops_the_server_as_ever(
    long_log: Path, every: int, while_it: str
) -> None:
    """It goes to all processes of the terminal's group."""
    serving = child(long_log, "--snapshot-every", str(every))
    async with serving as server, client_of(server) as client:
        load = [asyncio.create_task(ask_on(client, START)) for _ in range(4)]
        await until(lambda: bool(workers_of(server)))
        if while_it == "works":
            await until(lambda: any(has_open(pid, long_log) for pid in workers_of(server)))
        os.killpg(server.process.pid, signal.SIGINT)
        async with asyncio.timeout(STOP_S):
            assert await server.process.wait() == 0
            await asyncio.gather(*load)
        assert server.process.stderr is not None
        said = (await server.process.stderr.read()).decode()
    assert "Traceback" not in said
    assert f"Stopped; {long_log} stands at seq " in said
