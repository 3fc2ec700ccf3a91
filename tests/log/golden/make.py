"""Make a golden log with the present code: `python -m tests.log.golden.make NAME`, once a release.

It is a small story in which every kind of event happens, told by several callers. Its first events
are in a segment. Beside the log come the state that its replay gives, the lines of its entries and
the root of their tree.
"""

import asyncio
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from dispatcher.core import commands
from dispatcher.core.commands import Caller, Command
from dispatcher.core.decider import decide
from dispatcher.core.events import Recorded
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.policy import Policy
from dispatcher.log import serialization
from dispatcher.log.segments.sealing import write_segment
from dispatcher.log.sqlite import SqliteLog
from dispatcher.state.replay import replay

HERE: Final = Path(__file__).parent
SEGMENT_EVENTS: Final = 256
POLICY: Final = Policy(retry_backoff_s=30.0, block_after=2, max_losses=3)
START: Final = datetime(2026, 11, 22, 9, tzinfo=UTC)
PAUSE: Final = timedelta(seconds=40, microseconds=7)

CLIENTS: Final = Caller("clients", "0f8fad5b-d9cb-469f-a165-70867728950e")
ENGINES: Final = Caller("engines")
OPERATOR: Final = Caller("оператор", 'by hand "é"')
TIMER: Final = Caller("dispatcher")

Wish = tuple[Caller, Command]


def story(fleet: Fleet) -> Iterator[Wish]:
    """Say what is wished, one thing after the other, of a fleet to which it happens meanwhile."""
    yield from submissions()
    yield from first_reports()
    yield from a_job_that_fails_and_is_done_again()
    yield from an_engine_that_fails_too_much()
    yield from an_operator_at_work()
    yield from a_source_that_one_engine_alone_lacks()
    yield from engines_that_are_lost()
    yield from jobs_with_recipes()
    yield from a_film_in_parts(fleet)
    yield from a_quiet_time()


def submissions() -> Iterator[Wish]:
    for number, (codec_name, size, priority, key) in enumerate(
        [("h264", 10.5, 0, None), ("vp9", 75.0, 50, "k-1"), ("hevc", 1e3, 0, "ключ")]
    ):
        url = f"file:///media/clip {number} é.mov"
        yield (
            CLIENTS,
            commands.SubmitJob(f"1_{number}", url, codec_name, size, 2, priority, key),
        )


def first_reports() -> Iterator[Wish]:
    east = {"engine_type": "transcoder", "supported_codecs": ["h264", "vp9"], "instance": "1"}
    odd = {"temperature": 41.5, "gpu": [None, True, {"🎬": ""}], "storage_capacity_gb": 500.0}
    yield ENGINES, commands.ReportHeartbeat("east", east | odd)
    yield ENGINES, commands.ReportHeartbeat("west", {"status": "idle", "streaming_support": True})
    yield ENGINES, commands.ReportHeartbeat("east", {"instance": "1"})
    yield ENGINES, commands.ReportBenchmark("west", 3.5)


def a_job_that_fails_and_is_done_again() -> Iterator[Wish]:
    """The second job goes first, for its priority."""
    yield ENGINES, commands.AssignJob("east")
    yield ENGINES, commands.ReportHeartbeat("east", {}, "1_1", 1, 40.0)
    yield ENGINES, commands.FailJob("1_1", "ffmpeg exited with 1\nno space", "east", 1)
    yield TIMER, commands.ReleaseJob("1_1")
    yield ENGINES, commands.AssignJob("west")
    yield ENGINES, commands.FailJob("1_1", "too late", "east", 1)
    yield ENGINES, commands.CompleteJob("1_1", "file:///out/a.mp4", "west", 2)
    yield ENGINES, commands.CompleteJob("1_1", "file:///out/b.mp4", "east", 1)


def an_engine_that_fails_too_much() -> Iterator[Wish]:
    yield ENGINES, commands.AssignJob()
    yield ENGINES, commands.FailJob("1_0", "bad source", "west", 1)
    yield TIMER, commands.ReleaseJob("1_0")
    yield ENGINES, commands.AssignJob("west")
    yield TIMER, commands.TimeOutJob("1_2", 1, 40.0)
    yield ENGINES, commands.AssignJob("east")
    yield ENGINES, commands.FailJob("1_0", "bad source again", "east", 2)
    yield TIMER, commands.LoseEngine("east", 60.0)


def an_operator_at_work() -> Iterator[Wish]:
    yield OPERATOR, commands.RetryJob("1_0")
    yield OPERATOR, commands.PrioritizeJob("1_0", 7)
    yield OPERATOR, commands.CancelJob("1_2")
    yield OPERATOR, commands.DrainEngine("west")
    yield OPERATOR, commands.ResumeEngine("west")
    yield ENGINES, commands.ReportHeartbeat("gone", {"status": "busy"})
    yield OPERATOR, commands.ForgetEngine("gone")
    yield ENGINES, commands.AssignJob("west")


def a_source_that_one_engine_alone_lacks() -> Iterator[Wish]:
    """It is blamed for two jobs, which is one too many, and put on probation."""
    yield ENGINES, commands.ReportHeartbeat("cut off", {"supported_codecs": ["prores"]})
    yield ENGINES, commands.ReportHeartbeat("south", {"supported_codecs": ["prores"]})
    for number in (3, 4):
        yield CLIENTS, commands.SubmitJob(f"1_{number}", "http://nas/é.mxf", "prores", 7.5, 2)
        yield ENGINES, commands.AssignJob("cut off")
        away = commands.FailJob(f"1_{number}", "no connection", "cut off", 1, cause="source_away")
        yield ENGINES, away
        yield ENGINES, commands.AssignJob("south")
        yield ENGINES, commands.CompleteJob(f"1_{number}", f"file:///out/{number}.mp4", "south", 2)
    yield TIMER, commands.UnblockEngine("cut off")
    yield CLIENTS, commands.SubmitJob("1_5", "http://nas/none.mxf", "prores", 7.5, 2)
    yield ENGINES, commands.AssignJob("south")
    yield ENGINES, commands.FailJob("1_5", "404 Not Found", "south", 1, cause="source_bad")


def engines_that_are_lost() -> Iterator[Wish]:
    """An engine asks for other work, is started twice, and is stopped."""
    yield OPERATOR, commands.DrainEngine("west")
    yield ENGINES, commands.ReportHeartbeat("north", {"supported_codecs": ["dnxhd"]})
    yield CLIENTS, commands.SubmitJob("1_6", "http://nas/a.mov", "dnxhd", 7.5, 2)
    yield ENGINES, commands.AssignJob("north")
    yield TIMER, commands.NoticeAsking("north", "1_6")
    yield TIMER, commands.TakeBackJob("north", "1_6", 60.0)
    yield TIMER, commands.ReleaseJob("1_6")
    yield ENGINES, commands.ReportHeartbeat("north", {"instance": "1"})
    yield ENGINES, commands.AssignJob("north", instance="1")
    yield ENGINES, commands.ReportHeartbeat("north", {"instance": "2"})
    yield ENGINES, commands.ReportHeartbeat("north", {"instance": "1"})
    yield TIMER, commands.ReleaseJob("1_6")
    yield ENGINES, commands.AssignJob("north", instance="2")
    yield ENGINES, commands.FailJob("1_6", "stopped", "north", 3, "2", "given_back")


def jobs_with_recipes() -> Iterator[Wish]:
    """A job is done by the one engine that can, and says what was done; another one waits."""
    able = {"abilities": ["recipes", "vmaf"], "encoders": {"av1": "libsvtav1"}}
    yield ENGINES, commands.ReportHeartbeat("down", {"supported_codecs": ["av1"]})
    yield ENGINES, commands.ReportHeartbeat("up", {"supported_codecs": ["av1"]} | able)
    recipe = {"name": "wéb", "vmaf": 93.0, "audio": {"codec": "opus", "languages": ["de"]}}
    submission = commands.SubmitJob("1_7", "http://nas/b.mkv", "av1", 7.5, 2, 0, "k-7")
    asked = msgspec.structs.replace(submission, recipe=recipe, needs=("recipes", "vmaf"))
    yield CLIENTS, asked
    yield CLIENTS, asked
    yield ENGINES, commands.AssignJob("down")
    yield ENGINES, commands.AssignJob("up")
    yield ENGINES, commands.FailJob("1_7", "broke", "up", 1)
    yield TIMER, commands.ReleaseJob("1_7")
    yield ENGINES, commands.AssignJob("up")
    result = {
        "encoder": "libsvtav1",
        "crf": 31.5,
        "vmaf": 93.2,
        "source": {"size_bytes": 7_500_000, "length_s": 60.0},
        "output": {"size_bytes": 900_000, "length_s": 60.0},
        "left_out": ["subtitles 3: « é »"],
    }
    yield ENGINES, commands.CompleteJob("1_7", "file:///out/7.webm", "up", 2, result=result)
    recipe = {"quality": 60.0}
    submission = commands.SubmitJob("1_8", "http://nas/c.mkv", "av1", output_name="{stem}-é")
    yield CLIENTS, msgspec.structs.replace(submission, recipe=recipe, needs=("recipes",))


def a_film_in_parts(fleet: Fleet) -> Iterator[Wish]:
    """A part fails and the film with it, is retried, and can't be cut exactly; a job waits."""
    told = {"supported_codecs": ["vvc"], "abilities": ["recipes", "split", "build:0f"]}
    yield ENGINES, commands.ReportHeartbeat("cutter", told)
    film = commands.SubmitJob("1_9", "http://nas/long é.mov", "vvc", 40.0, 2, 3)
    recipe = {"quality": 60.0, "split_s": 4.0}
    needs = ("recipes", "split")
    yield CLIENTS, msgspec.structs.replace(film, recipe=recipe, needs=needs)
    yield CLIENTS, commands.SubmitJob("2_0", "http://nas/trailer.mov", "vvc", 1.0, after=("1_9",))
    yield ENGINES, commands.AssignJob("cutter")
    segment = {"kind": "segment", "lasts": 360_000, "frames": 100, "time_base": "1/90000"}
    segment |= {"times_sha256": "0f" * 32}
    kinds = [segment | {"number": n, "begins": 360_000 * n} for n in range(2)]
    part = commands.SubmitJob(None, film.source_url, "vvc", 20.0, 2, needs=(*needs, "build:0f"))
    parts = tuple(
        msgspec.structs.replace(part, recipe={"quality": 60.0}, part=it)
        for it in (*kinds, {"kind": "rest"})
    )
    yield ENGINES, commands.SplitJob("1_9", parts, "cutter", 1)
    first, second, _ = fleet.jobs["1_9"].ties.parts
    yield ENGINES, commands.AssignJob("cutter")
    yield ENGINES, commands.CompleteJob(first, f"store:{'0a' * 32}/1.mp4", "cutter", 1)
    yield ENGINES, commands.AssignJob("cutter")
    yield ENGINES, commands.FailJob(second, "cut off", "cutter", 1, cause="source_bad")
    yield CLIENTS, commands.RetryJob("2_0")
    yield ENGINES, commands.AssignJob("cutter")
    yield ENGINES, commands.FailJob(second, "99 of 100", "cutter", 2, cause="inexact")
    yield ENGINES, commands.AssignJob("cutter")
    yield ENGINES, commands.CompleteJob("1_9", "file:///out/9.mp4", "cutter", 2)


def a_quiet_time() -> Iterator[Wish]:
    """Long enough for the tree to keep a subtree."""
    for _ in range(256):
        yield ENGINES, commands.ReportHeartbeat("east", {})


def told() -> list[Recorded]:
    """Let the story happen."""
    fleet, recorded, at = Fleet(), list[Recorded](), START
    for caller, command in story(fleet):
        at += PAUSE
        outcome = decide(fleet, command, at, POLICY)
        for event in outcome.events:
            evolve(fleet, event)
            seq = len(recorded) + 1
            recorded.append(Recorded(seq, at, caller.name, event, caller.request_id))
    assert {type(one.event) for one in recorded} == set(serialization.NAMES), "a kind never happens"
    return recorded


async def make(name: str) -> None:
    async with await SqliteLog.open(HERE / f"{name}.db") as log:
        assert log.head == 0, "a golden log is never made anew"
        entries = [serialization.encode(recorded) for recorded in told()]
        await log.append(entries, 0)
        state = (await replay(log)).projections.state()
        root = log.tree.root().hex()
        if (segment := await log.unsealed(SEGMENT_EVENTS, 1)) is not None:
            await log.seal(write_segment(log.path, segment, 19))
        while await log.release():
            pass
    (HERE / f"{name}.db.lock").unlink()
    shown = msgspec.json.format(msgspec.json.encode(state), indent=2)
    (HERE / f"{name}.state.json").write_bytes(shown + b"\n")
    (HERE / f"{name}.jsonl").write_bytes(b"".join(serialization.line(it) + b"\n" for it in entries))
    (HERE / f"{name}.root").write_text(f"{root}\n")


if __name__ == "__main__":
    asyncio.run(make(sys.argv[1]))
