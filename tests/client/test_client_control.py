"""The client's additions: priorities, pages, answers of a holder, orders, and steering."""

import asyncio
from typing import Any, Final

import msgspec
import pytest

from dispatcher.client import Client, JobView, RequestRefusedError, Submission
from dispatcher.client.batches import parts
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.servers import ACTOR, KEY, Running

pytestmark = pytest.mark.anyio

SOURCE: Final = "http://media/in.mp4"
OUTPUT: Final = "http://media/out.mp4"


async def test_a_job_of_a_higher_priority_goes_first(dispatcher: Client) -> None:
    await dispatcher.submit(SOURCE, "h264")
    urgent = await dispatcher.submit(SOURCE, "h264", priority=5)
    assert urgent.priority == 5
    await dispatcher.heartbeat("e")
    assigned = await dispatcher.assign("e")
    assert assigned is not None
    assert assigned.job_id == urgent.job_id


async def test_a_submission_with_a_key_is_made_once(dispatcher: Client) -> None:
    first, again = [
        await dispatcher.submit(SOURCE, "h264", idempotency_key="movie 1") for _ in range(2)
    ]
    assert again == first
    assert await dispatcher.jobs() == [first]
    with pytest.raises(RequestRefusedError) as told:
        await dispatcher.submit(SOURCE, "vp9", idempotency_key="movie 1")
    assert told.value.status == 409


async def test_jobs_are_listed_by_page_and_by_what_they_are(dispatcher: Client) -> None:
    jobs = [await dispatcher.submit(SOURCE, codec) for codec in ("h264", "vp9", "h264", "av1")]
    ids = [job.job_id for job in jobs]
    page = await dispatcher.jobs(limit=3)
    assert [job.job_id for job in page] == ids[:3]
    page = await dispatcher.jobs(limit=3, after=ids[2])
    assert [job.job_id for job in page] == ids[3:]
    assert [job.job_id for job in await dispatcher.jobs(codec="h264")] == [ids[0], ids[2]]
    await dispatcher.heartbeat("e/1")
    await dispatcher.assign("e/1")
    assert [job.job_id for job in await dispatcher.jobs(engine="e/1")] == ids[:1]
    assert [job.job_id for job in await dispatcher.jobs(status="pending")] == ids[1:]
    with pytest.raises(RequestRefusedError) as told:
        await dispatcher.jobs(status="lost")
    assert told.value.status == 400


async def test_why_says_where_a_job_stands(dispatcher: Client) -> None:
    first, second = [await dispatcher.submit(SOURCE, "h264") for _ in range(2)]
    await dispatcher.heartbeat("e")
    told = await dispatcher.why(second.job_id)
    assert (told.job_id, told.status) == (second.job_id, "pending")
    assert (told.place, told.waiting) == (2, 2)
    assert [(one.engine_id, one.obstacle) for one in told.engines] == [("e", None)]
    await dispatcher.assign("e")
    told = await dispatcher.why(first.job_id)
    assert (told.status, told.engine_id, told.attempt) == ("assigned", "e", 1)
    assert told.rule is not None


async def test_a_job_is_cancelled_and_put_back(dispatcher: Client) -> None:
    job_id = (await dispatcher.submit(SOURCE, "h264")).job_id
    await dispatcher.cancel(job_id)
    job = await dispatcher.job(job_id)
    assert (job.status, job.final) == ("cancelled", True)
    await dispatcher.retry(job_id)
    assert (await dispatcher.job(job_id)).status == "pending"
    with pytest.raises(RequestRefusedError, match="neither failed nor cancelled"):
        await dispatcher.retry(job_id)


async def test_an_engine_is_drained_resumed_and_forgotten(dispatcher: Client) -> None:
    assert await dispatcher.heartbeat("e") == []
    await dispatcher.drain_engine("e")
    assert await dispatcher.heartbeat("e") == ["drain"]
    await dispatcher.submit(SOURCE, "h264")
    assert await dispatcher.assign("e") is None
    await dispatcher.resume_engine("e")
    assert await dispatcher.heartbeat("e") == []
    assert await dispatcher.assign("e") is not None
    await dispatcher.forget_engine("e")
    assert await dispatcher.engines() == []
    assert [job.status for job in await dispatcher.jobs()] == ["pending"]


@pytest.mark.parametrize("engine_id", ["a?b#c", "100%", "señor", "a b", "%2F"])
async def test_an_engine_is_steered_whatever_its_id_is(engine_id: str, dispatcher: Client) -> None:
    await dispatcher.heartbeat(engine_id)
    await dispatcher.drain_engine(engine_id)
    await dispatcher.resume_engine(engine_id)
    await dispatcher.forget_engine(engine_id)
    assert await dispatcher.engines() == []


async def test_orders_name_the_job_that_was_taken_away(dispatcher: Client) -> None:
    job_id = (await dispatcher.submit(SOURCE, "h264")).job_id
    await dispatcher.heartbeat("e")
    await dispatcher.assign("e")
    in_hand = {"current_job": job_id, "attempt": 1, "progress": 12.5}
    assert await dispatcher.heartbeat("e", in_hand) == []
    assert (await dispatcher.job(job_id)).progress == 12.5
    await dispatcher.cancel(job_id)
    await dispatcher.drain_engine("e")
    orders = await dispatcher.heartbeat("e", in_hand)
    assert sorted(orders) == [f"cancel {job_id}", "drain"]


async def test_an_order_for_an_odd_id_comes_back_whole(dispatcher: Client) -> None:
    odd = "a, cancel b %2C ключ"
    assert await dispatcher.heartbeat("e", {"current_job": odd}) == [f"cancel {odd}"]


async def test_answers_are_taken_only_from_the_holder(dispatcher: Client) -> None:
    job_id = (await dispatcher.submit(SOURCE, "h264")).job_id
    for engine_id in ("e", "f"):
        await dispatcher.heartbeat(engine_id)
    await dispatcher.assign("e")
    for engine_id, attempt in (("f", 1), ("e", 2)):
        with pytest.raises(RequestRefusedError, match="engine e holds it") as told:
            await dispatcher.complete(job_id, OUTPUT, engine_id=engine_id, attempt=attempt)
        assert told.value.status == 409
        with pytest.raises(RequestRefusedError, match="engine e holds it"):
            await dispatcher.fail(job_id, "broke", engine_id=engine_id, attempt=attempt)
    await dispatcher.complete(job_id, OUTPUT, engine_id="e", attempt=1)
    assert (await dispatcher.job(job_id)).status == "completed"


async def test_a_poll_may_wait_for_work(dispatcher: Client, server: Running) -> None:
    await dispatcher.heartbeat("e")
    assert await dispatcher.assign("e", wait_s=0.05) is None
    # Longer than the client's own patience: that begins when the wait is over.
    async with Client(server.url, KEY, timeout_s=5) as patient:
        waiting = asyncio.create_task(patient.assign("e", wait_s=60))
        await asyncio.sleep(0)
        submitted = await dispatcher.submit(SOURCE, "h264")
        assigned = await waiting
    assert assigned is not None
    assert assigned.job_id == submitted.job_id


# Many at once


async def test_many_jobs_are_submitted_in_order_and_in_parts(dispatcher: Client) -> None:
    wanted = [Submission(f"http://media/{n}.mp4", "h264", priority=n % 3) for n in range(1_500)]
    jobs = await dispatcher.submit_many(wanted)
    assert jobs == await dispatcher.jobs()
    assert [(job.source_url, job.priority) for job in jobs if isinstance(job, JobView)] == [
        (it.source_url, it.priority) for it in wanted
    ]


async def test_a_job_that_is_refused_among_many_is_an_error_in_its_place(
    dispatcher: Client,
) -> None:
    first, refused, last = await dispatcher.submit_many(
        [Submission("a", "h264"), Submission("b", "h264", priority=101), Submission("c", "h264")]
    )
    assert isinstance(first, JobView)
    assert isinstance(last, JobView)
    assert isinstance(refused, RequestRefusedError)
    assert (refused.status, refused.text) == (400, "Bad Request: 'priority' must be at most 100.")


async def test_many_jobs_are_submitted_all_or_none(dispatcher: Client) -> None:
    wanted = [Submission(str(n), "h264", idempotency_key=f"k{n}") for n in range(3)]
    jobs = await dispatcher.submit_many(wanted, is_atomic=True)
    assert await dispatcher.submit_many(wanted, is_atomic=True) == jobs
    with pytest.raises(RequestRefusedError) as refused:
        await dispatcher.submit_many(
            [Submission("new", "h264"), Submission("other", "h264", idempotency_key="k1")],
            is_atomic=True,
        )
    assert refused.value.status == 409
    assert "none of the 2 jobs was submitted, because of 1 of them; number 2: " in str(
        refused.value
    )
    assert await dispatcher.jobs() == jobs


async def test_parts_hold_what_a_request_may_hold() -> None:
    long = [Submission("u" * 60_000, "h264") for _ in range(100)]
    short = [Submission("u", "h264") for _ in range(2_500)]
    assert [it for part in parts([*long, *short]) for it in part] == [*long, *short]
    assert max(len(msgspec.json.encode(part)) for part in parts(long)) <= 1 << 20
    assert [len(part) for part in parts(short)] == [1_000, 1_000, 500]


async def test_jobs_are_cancelled_and_put_back_by_filters(dispatcher: Client) -> None:
    await dispatcher.submit_many([Submission("u", codec) for codec in ("h264", "h264", "vp9")])
    counted = await dispatcher.cancel_matching(codec="h264", dry_run=True)
    assert (counted.count, counted.done) == (2, 0)
    assert (await dispatcher.cancel_matching(codec="h264")).done == 2
    assert (await dispatcher.retry_matching(status="cancelled", codec="h264")).done == 2
    assert [job.status for job in await dispatcher.jobs()] == ["pending"] * 3
    with pytest.raises(
        RequestRefusedError, match="it needs one of 'codec', 'engine', 'parent', 'since'"
    ):
        await dispatcher.cancel_matching()


async def test_a_waiting_job_is_given_another_priority(dispatcher: Client) -> None:
    job_id = (await dispatcher.submit("u", "h264")).job_id
    await dispatcher.prioritize(job_id, 42)
    assert (await dispatcher.job(job_id)).priority == 42


async def test_a_key_is_known_and_signs_in(dispatcher: Client) -> None:
    key = await dispatcher.key()
    assert (key.name, key.role, key.engine_id) == (ACTOR, "operator", None)
    first, second = [await dispatcher.sign_in() for _ in range(2)]
    assert first.token != second.token
    assert first.expires_s == 60


async def test_jobs_are_found_by_words_statuses_and_time(dispatcher: Client) -> None:
    made = [await dispatcher.submit(f"http://m/{n}", "h264") for n in range(3)]
    await dispatcher.cancel(made[0].job_id)

    async def listed(**asked: Any) -> list[str]:
        return [job.source_url[-1] for job in await dispatcher.jobs(**asked)]

    assert await listed(text="M/1") == ["1"]
    assert await listed(status="cancelled,pending", newest=True) == ["2", "1", "0"]
    assert await listed(since=made[1].submitted_at, status="pending") == ["1", "2"]
    assert await listed(until=made[2].submitted_at, status="pending") == ["1"]


async def test_waiting_jobs_that_match_are_given_another_priority(dispatcher: Client) -> None:
    made = [await dispatcher.submit(f"http://m/{n}", "h264") for n in range(3)]
    await dispatcher.cancel(made[0].job_id)
    assert (await dispatcher.prioritize_matching(7, codec="h264", dry_run=True)).count == 3
    matched = await dispatcher.prioritize_matching(7, codec="h264")
    assert (matched.count, matched.done, matched.not_done) == (3, 2, 1)
    assert [job.priority for job in await dispatcher.jobs(text="m/")] == [0, 7, 7]
