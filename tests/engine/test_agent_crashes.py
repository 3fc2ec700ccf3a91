"""An engine that dies at some stage of a job, and its next life.

Law: no work is lost, and each attempt is reported exactly once.
"""

import asyncio
from pathlib import Path

import msgspec
import pytest

from dispatcher.client import Client
from dispatcher.engine.ffmpeg import Ffmpeg
from dispatcher.engine.journal import JournalEntry
from tests.support.engines import at_work, files_below, final
from tests.support.media import Clips
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.relays import Broken, beats_in, heard_but_not_answered
from tests.support.servers import Running, events_in
from tests.support.web import Answer, Asked, answering, forwarding_to, serving, web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio


def happened(db: Path, *kinds: str) -> int:
    return sum(kind in kinds for _, kind, _ in events_in(db))


def left_in(folder: Path) -> list[str]:
    """Name what is left of the engines' files."""
    return [name for name in files_below(folder) if name.startswith(("work/", "outputs/"))]


# At each stage


async def test_killed_in_work_it_does_the_job_anew_in_the_same_attempt(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    now_serve = asyncio.Event()

    async def answer(_: Asked) -> Answer:
        if not now_serve.is_set():
            return Answer(body=b"\0", then_silence=True)
        return Answer(body=clips.plain.read_bytes())

    async with web(answer) as origin:
        submitted = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4")
        async with at_work(server.url, ffmpeg, tmp_path) as engine:
            await origin.held.wait()
            await engine.die()
        assert "journal.json" in files_below(engine.workspace.path)
        now_serve.set()
        async with at_work(server.url, ffmpeg, tmp_path):
            job = await final(dispatcher, submitted.job_id)
    assert (job.status, job.attempt, job.retries) == ("completed", 1, 0)
    assert happened(server.db, "job_assigned") == happened(server.db, "job_completed") == 1
    assert left_in(tmp_path) == [f"outputs/clip-{job.job_id}.mp4"]


async def test_killed_after_ffmpeg_it_delivers_what_ffmpeg_made(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    delivering, never, dead = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def answer(_: Asked) -> Answer:
        if not dead.is_set():
            delivering.set()
            await never.wait()
        return Answer(201)

    async with web(serving({"/clip.mp4": clips.plain})) as origin, web(answer) as store:
        submitted = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4")
        async with at_work(server.url, ffmpeg, tmp_path, output=store.url) as engine:
            await delivering.wait()
            await engine.die()
        dead.set()
        async with at_work(server.url, ffmpeg, tmp_path, output=store.url):
            job = await final(dispatcher, submitted.job_id)
        first, second = store.asked
    assert (job.status, job.attempt, job.retries) == ("completed", 1, 0)
    assert (first.target, first.body) == (second.target, second.body)
    assert len(origin.asked) == 1
    assert happened(server.db, "job_completed") == 1
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("kind", [Broken, heard_but_not_answered])
async def test_killed_after_the_delivery_it_reports_the_output(
    kind: type[Broken],
    server: Running,
    dispatcher: Client,
    ffmpeg: Ffmpeg,
    clips: Clips,
    tmp_path: Path,
) -> None:
    line = kind(server.url, "/complete")
    async with web(serving({"/clip.mp4": clips.plain})) as origin, web(line) as between:
        submitted = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4")
        async with at_work(between.url, ffmpeg, tmp_path) as engine:
            await line.reached.wait()
            await engine.die()
        line.mended.set()
        following = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4")
        async with at_work(between.url, ffmpeg, tmp_path):
            job = await final(dispatcher, submitted.job_id)
            await final(dispatcher, following.job_id)  # so the first has been reported
    assert (job.status, job.attempt, job.retries) == ("completed", 1, 0)
    assert len(origin.asked) == 2
    assert happened(server.db, "job_completed") == 2
    names = sorted(f"outputs/clip-{one.job_id}.mp4" for one in (submitted, following))
    assert left_in(tmp_path) == names


@pytest.mark.parametrize("kind", [Broken, heard_but_not_answered])
async def test_killed_after_a_failure_it_reports_the_failure_once(
    kind: type[Broken],
    server: Running,
    dispatcher: Client,
    ffmpeg: Ffmpeg,
    clips: Clips,
    tmp_path: Path,
) -> None:
    line = kind(server.url, "/fail")
    async with (
        web(serving({"/clip.mp4": clips.plain})) as origin,
        web(answering(Answer(403))) as store,
        web(line) as between,
    ):
        submitted = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4", max_retries=2)
        async with at_work(between.url, ffmpeg, tmp_path, output=store.url) as engine:
            await line.reached.wait()
            await engine.die()
        line.mended.set()
        async with at_work(between.url, ffmpeg, tmp_path, output=store.url):
            job = await final(dispatcher, submitted.job_id)
    assert (job.status, job.attempt, job.retries) == ("failed_permanently", 2, 2)
    assert len(origin.asked) == 2  # once an attempt
    assert happened(server.db, "job_requeued", "job_failed_permanently") == 2
    assert left_in(tmp_path) == []


async def test_killed_between_the_delivery_and_its_note_it_finds_what_it_delivered(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    line = Broken(server.url, "/complete")
    async with web(line) as between:
        submitted = await dispatcher.submit(clips.plain.as_uri(), "mpeg4")
        async with at_work(between.url, ffmpeg, tmp_path) as engine:
            await line.reached.wait()
            await engine.die()
        journal = engine.workspace.path / "journal.json"
        entry = msgspec.json.decode(journal.read_bytes(), type=JournalEntry)
        assert entry.stage == "delivered"
        moved = engine.workspace.path / "job-gone" / "output.mp4"
        journal.write_bytes(msgspec.json.encode(JournalEntry(entry.job, "transcoded", str(moved))))
        line.mended.set()
        async with at_work(between.url, ffmpeg, tmp_path):
            job = await final(dispatcher, submitted.job_id)
    assert (job.status, job.attempt, job.retries) == ("completed", 1, 0)
    assert left_in(tmp_path) == [f"outputs/plain-{job.job_id}.mp4"]


# The next life


async def test_while_it_delivers_what_it_had_left_its_heart_beats(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    delivering, never, dead, beaten = (asyncio.Event() for _ in range(4))

    async def store_answer(_: Asked) -> Answer:
        if not dead.is_set():
            delivering.set()
            await never.wait()
        try:
            await asyncio.wait_for(beaten.wait(), 30)
        except TimeoutError:
            return Answer(403)
        return Answer(201)

    async def answer(asked: Asked) -> Answer:
        if dead.is_set() and asked.target == "/engines/heartbeat":
            beaten.set()
        return await forwarding_to(server.url, asked)

    async with web(store_answer) as store, web(answer) as between:
        submitted = await dispatcher.submit(clips.plain.as_uri(), "mpeg4", max_retries=1)
        async with at_work(between.url, ffmpeg, tmp_path, output=store.url) as engine:
            await delivering.wait()
            await engine.die()
        dead.set()
        async with at_work(between.url, ffmpeg, tmp_path, output=store.url, heartbeat_s=0.05):
            job = await final(dispatcher, submitted.job_id)
    assert (job.status, job.attempt) == ("completed", 1)


async def test_each_life_has_an_instance_of_its_own_and_names_the_job_in_hand(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    async def answer(asked: Asked) -> Answer:
        return await forwarding_to(server.url, asked)

    async with web(answering(Answer(body=b"\0", then_silence=True))) as origin:
        job = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4")
        async with web(answer) as one, at_work(one.url, ffmpeg, tmp_path) as engine:
            await origin.held.wait()
            await engine.die()
    async with web(answer) as two, at_work(two.url, ffmpeg, tmp_path):
        await final(dispatcher, job.job_id)
    first, second = beats_in(one.asked)[0], beats_in(two.asked)[0]
    assert first["instance"] != second["instance"]
    assert all("current_job" not in beat for beat in beats_in(one.asked)[:1])
    assert (second["current_job"], second["attempt"]) == (job.job_id, 1)


@pytest.mark.parametrize(
    "damaged",
    [b"", b"\xff", b"{", b"[]", b'{"job": {}, "stage": "delivered"}', b"null", b"[" * 100_000],
    ids=["empty", "no text", "torn", "list", "no job", "null", "deep"],
)
async def test_a_damaged_journal_is_left_aside(
    damaged: bytes,
    server: Running,
    dispatcher: Client,
    ffmpeg: Ffmpeg,
    clips: Clips,
    tmp_path: Path,
) -> None:
    home = tmp_path / "work" / "engine"
    (home / "job-left").mkdir(parents=True)
    (home / "job-left" / "output.mp4").write_bytes(b"half a video")
    (home / "journal.json").write_bytes(damaged)
    submitted = await dispatcher.submit(clips.plain.as_uri(), "mpeg4")
    async with at_work(server.url, ffmpeg, tmp_path) as engine:
        waiting = asyncio.create_task(final(dispatcher, submitted.job_id))
        await asyncio.wait([waiting, engine.life], return_when=asyncio.FIRST_COMPLETED)
        if engine.life.done():
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await engine.life
        assert (await waiting).status == "completed"
    assert files_below(home) == []


async def test_what_it_left_can_not_keep_it_from_working_when_its_ffmpeg_can_do_less_now(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    await dispatcher.heartbeat("engine")
    left = await dispatcher.submit(clips.plain.as_uri(), "an older codec", max_retries=1)
    held = await dispatcher.assign("engine")
    assert held is not None
    home = tmp_path / "work" / "engine"
    (home / "job-left").mkdir(parents=True)
    output = home / "job-left" / "output.mp4"
    output.write_bytes(b"a video")
    (home / "journal.json").write_bytes(
        msgspec.json.encode(JournalEntry(held, "transcoded", str(output)))
    )
    following = await dispatcher.submit(clips.plain.as_uri(), "mpeg4")
    async with at_work(server.url, ffmpeg, tmp_path) as engine:
        waiting = asyncio.create_task(final(dispatcher, following.job_id))
        await asyncio.wait([waiting, engine.life], return_when=asyncio.FIRST_COMPLETED)
        if engine.life.done():
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await engine.life
        assert (await waiting).status == "completed"
    assert (await dispatcher.job(left.job_id)).final


# Late


@pytest.mark.parametrize("dies", [False, True], ids=["alive", "restarted"])
async def test_an_output_that_comes_too_late_is_removed_and_that_is_the_end_of_it(
    dies: bool, server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    line = Broken(server.url, "/complete")
    async with web(line) as between:
        late = await dispatcher.submit(clips.plain.as_uri(), "mpeg4")
        async with at_work(between.url, ffmpeg, tmp_path) as engine:
            await line.reached.wait()
            assert files_below(engine.outputs) == [f"plain-{late.job_id}.mp4"]
            if dies:
                await engine.die()
            await dispatcher.forget_engine("engine")
            await dispatcher.heartbeat("other")
            elsewhere = await dispatcher.assign("other")
            assert elsewhere is not None
            assert (elsewhere.job_id, elsewhere.attempt) == (late.job_id, 2)
            following = await dispatcher.submit(clips.plain.as_uri(), "mpeg4")
            line.mended.set()
            if not dies:
                await final(dispatcher, following.job_id)
        if dies:
            async with at_work(between.url, ffmpeg, tmp_path):
                await final(dispatcher, following.job_id)
    assert happened(server.db, "answer_refused") == 1
    job = await dispatcher.job(late.job_id)
    assert (job.status, job.assigned_engine, job.attempt) == ("assigned", "other", 2)
    assert left_in(tmp_path) == [f"outputs/plain-{following.job_id}.mp4"]
