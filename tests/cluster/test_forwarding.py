"""Forwarded commands on an unreliable way: each is done once, and is answered."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dispatcher.cluster import UnreachableError
from dispatcher.cluster.service import ClusterService
from dispatcher.cluster.wire import Ack, Ask, Request, command_to, packed
from dispatcher.core.commands import AssignJob, CancelJob, ReportHeartbeat
from dispatcher.core.replies import JobIs, NoWork
from dispatcher.serving.tickets import RefusedError, UnavailableError
from tests.cluster.test_cluster_service import never, reply_of, same_everywhere
from tests.support.dispatchers import following, leading, members, take_lead, until
from tests.support.in_flight import TESTER, asking, seqs, submit
from tests.support.nats import Nats

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pair(nats: Nats, tmp_path: Path) -> AsyncIterator[list[ClusterService]]:
    async with members(nats.address(), tmp_path) as found:
        yield found


async def test_what_is_sent_again_since_its_acknowledgement_was_lost_is_done_once(
    pair: list[ClusterService], monkeypatch: pytest.MonkeyPatch
) -> None:
    (follower,) = following(pair)
    ask, lost = follower._cluster.stream.ask, 0

    async def loses(kind: str, body: bytes, timeout_s: float = 1.0) -> bytes:
        nonlocal lost
        reply = await ask(kind, body, timeout_s)
        if kind == "commands" and lost < 20:
            lost += 1
            raise UnreachableError("no answer within 1 s")
        return reply

    monkeypatch.setattr(follower._cluster.stream, "ask", loses)
    asks = [asking(follower, submit(f"job-{number}")) for number in range(100)]
    answers = await asyncio.gather(*asks)
    assert sorted(seq for found in answers for seq in found) == list(range(1, 101))
    with pytest.raises(RefusedError, match="Job not found"):
        await follower.execute(CancelJob("nowhere"), TESTER, reply_of)
    await same_everywhere(pair)
    assert lost > 0


async def test_an_answer_without_events_that_was_lost_is_told_again(
    pair: list[ClusterService], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.cluster.forwarding.AGAIN_S", 0.1)
    (follower,), leader = following(pair), leading(pair)
    tell, lost = leader._cluster.stream.tell, 0

    async def loses(kind: str, body: bytes) -> None:
        nonlocal lost
        if kind.startswith("answers.") and lost < 3:
            lost += 1
            return
        await tell(kind, body)

    monkeypatch.setattr(leader._cluster.stream, "tell", loses)
    reply = await follower.wait_for_work(
        AssignJob(None), TESTER, reply_of, wait_s=0.05, until_gone=never
    )
    assert isinstance(reply, NoWork)
    assert lost == 3


async def test_a_message_that_was_not_republished_answers_too(
    pair: list[ClusterService], monkeypatch: pytest.MonkeyPatch
) -> None:
    (follower,) = following(pair)

    async def deaf(_message: Any) -> None:
        pass

    monkeypatch.setattr(follower, "_on_stored", deaf)
    follower._offered.clear()
    for number in range(1, 4):
        assert await follower.execute(submit(f"job-{number}"), TESTER, seqs) == [number]


async def test_who_hangs_up_before_the_acknowledgement_is_given_no_job(
    pair: list[ClusterService], monkeypatch: pytest.MonkeyPatch
) -> None:
    (follower,), leader = following(pair), leading(pair)
    ask, gate = follower._cluster.stream.ask, asyncio.Event()

    async def slow(kind: str, body: bytes, timeout_s: float = 1.0) -> bytes:
        reply = await ask(kind, body, timeout_s)
        await gate.wait()
        return reply

    monkeypatch.setattr(follower._cluster.stream, "ask", slow)
    waits = asyncio.create_task(
        follower.wait_for_work(AssignJob(None), TESTER, reply_of, wait_s=60, until_gone=never)
    )
    await until(lambda: bool(leader._core.waiting()))
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    gate.set()
    await until(lambda: not leader._core.waiting())


class Stranger:
    """A dispatcher that sends whatever it likes to the leader."""

    def __init__(self, service: ClusterService) -> None:
        self._service = service

    async def send(self, number: int, *ids: str, term: int | None = None, position: int = 0) -> Ack:
        asks = []
        for command_id in ids:
            kind, fields = command_to(submit(command_id.rpartition(":")[2]))
            asks.append(Ask(command_id, "stranger", None, kind, fields))
        term = self._service.place()[0] if term is None else term
        request = Request("s#1", term, number, position, asks)
        reply = await self._service._cluster.stream.ask("commands", packed(request))
        return msgspec.json.decode(reply, type=Ack)


async def test_an_id_is_taken_once_however_often_it_is_sent(pair: list[ClusterService]) -> None:
    leader = leading(pair)
    stranger = Stranger(leader)
    for number in range(1, 6):
        assert (await stranger.send(number, "s#1:a", "s#1:b")).taken
    await until(lambda: leader.projections.seq == 2)
    for number in range(6, 9):  # it is stored, and the sender may not have read that
        assert (await stranger.send(number, "s#1:a", "s#1:b", "s#1:c")).taken
    await until(lambda: leader.projections.seq == 3)
    await same_everywhere(pair)
    assert leader.projections.seq == 3


async def test_a_request_that_comes_late_is_dropped(pair: list[ClusterService]) -> None:
    leader = leading(pair)
    stranger = Stranger(leader)
    assert (await stranger.send(5, "s#1:a")).taken
    with pytest.raises(UnreachableError, match="no answer"):
        await stranger.send(4, "s#1:late")
    assert (await stranger.send(6, "s#1:b")).taken
    await until(lambda: leader.projections.seq == 2)
    assert leader.projections.jobs.get("late") is None


async def test_a_request_of_an_earlier_term_is_refused_and_of_a_later_left_alone(
    pair: list[ClusterService],
) -> None:
    leader = leading(pair)
    stranger = Stranger(leader)
    term = leader.place()[0]
    assert await stranger.send(1, "s#1:early", term=term - 1) == Ack(term, taken=False)
    with pytest.raises(UnreachableError, match="no answer"):
        await stranger.send(2, "s#1:later", term=term + 1)
    assert (await stranger.send(3, "s#1:now")).taken
    await until(lambda: leader.projections.seq == 1)
    assert leader.projections.jobs.get("now") is not None


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"member": 1}', b"\x28\xb5\x2f\xfdx"])
async def test_what_is_no_request_disturbs_nobody(pair: list[ClusterService], body: bytes) -> None:
    leader, (follower,) = leading(pair), following(pair)
    for kind in ("commands", "beat", "stored", f"answers.{follower._cluster.member[-8:]}"):
        await leader._cluster.stream.tell(kind, body)
    assert await follower.execute(submit("job"), TESTER, seqs) == [1]


async def test_a_command_that_nobody_answers_fails_after_a_while(
    pair: list[ClusterService], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.cluster.pending.PATIENCE_S", 0.2)
    (follower,) = following(pair)

    async def nobody(*_: object) -> bytes:
        raise UnreachableError("no answer within 1 s")

    monkeypatch.setattr(follower._cluster.stream, "ask", nobody)
    with pytest.raises(UnavailableError, match="only the log can tell whether this took effect"):
        await follower.execute(submit("job"), TESTER, seqs)


async def test_a_job_that_is_given_while_the_leader_changes_is_given_once(
    pair: list[ClusterService],
) -> None:
    """The ask may be answered by the earlier leader's last message, or handed in again."""
    for number in range(5):
        first, (other,) = leading(pair), following(pair)
        engine = ReportHeartbeat(f"engine-{number}", {"supported_codecs": ["h264"]})
        await first.execute(engine, TESTER, seqs)
        waits = [
            asyncio.create_task(
                it.wait_for_work(
                    AssignJob(f"engine-{number}"), TESTER, reply_of, wait_s=60, until_gone=never
                )
            )
            for it in pair
        ]
        await until(lambda: len(first._core.waiting()) == 2)  # noqa: B023 - awaited here
        job = asking(first, submit(f"job-{number}"))
        await take_lead(other)
        await job
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        assert {it.result() for it in done} <= {
            JobIs(f"job-{number}", is_new=True),
            JobIs(f"job-{number}", is_new=False),
        }
        for it in waits:
            it.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        await until(lambda: other.is_leading and not first.is_leading)  # noqa: B023 - the same
        await until(lambda: all(it.is_ready for it in pair))
        await same_everywhere(pair)
        assigned = [it for it in pair[0].projections.jobs.all() if it.status == "assigned"]
        assert len(assigned) == number + 1
