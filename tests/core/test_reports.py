"""Numbers that jitter are recorded when a rule heeds them or once a minute, all else at once."""

from typing import Any

import pytest

from dispatcher.core.commands import AssignJob, ReportHeartbeat, SubmitJob
from dispatcher.core.dispatcher import Settle
from dispatcher.core.events import (
    EngineForgotten,
    EngineReported,
    EngineSeen,
    Event,
    JobProgressed,
    JobSubmitted,
)
from dispatcher.core.policy import Policy
from tests.support.driven import Driven
from tests.support.given import assigned, engine, job

KNOWN: dict[str, Any] = {
    "storage_capacity_gb": 500.0,
    "benchmark_time": 4.0,
    "status": "idle",
    "supported_codecs": ["h264"],
    "temperature": 41,
    "gpu": {"name": "x", "load": [1, 2.5]},
}


def beaten(driven: Driven, *, job_id: str | None = None, **news: Any) -> list[Event]:
    """Send a heartbeat of an engine; give what was recorded of it."""
    command = ReportHeartbeat("e", KNOWN | news, job_id, None, None if job_id is None else 5.0)
    (effect,) = driven.take(command)
    assert isinstance(effect, Settle)
    return [recorded.event for recorded in effect.records]


def known(*past: Event, policy: Policy | None = None, **report: Any) -> Driven:
    """A dispatcher that has just recorded the report of an engine."""
    driven = Driven(*past, policy=policy or Policy())
    assert beaten(driven, **report) == [EngineReported("e", KNOWN | report)]
    return driven


@pytest.mark.parametrize(
    "news",
    [
        {"storage_capacity_gb": 499.9},
        {"storage_capacity_gb": 504.9},
        {"temperature": 42},
        {"temperature": -40.5},
        {"gpu": {"name": "x", "load": [9, 0]}},
        {"storage_capacity_gb": 500.1, "temperature": 0},
    ],
)
def test_a_beat_in_which_only_numbers_jitter_is_a_beat_without_news(news: dict[str, Any]) -> None:
    assert beaten(known(), **news) == [EngineSeen("e")]


@pytest.mark.parametrize(
    "news",
    [
        {"storage_capacity_gb": 490.0},
        {"storage_capacity_gb": 510.0},
        {"benchmark_time": 4.01},
        {"temperature": None},
        {"temperature": "42"},
        {"temperature": True},
        {"pressure": 1},
        {"gpu": {"name": "y", "load": [1, 2.5]}},
        {"gpu": {"name": "x", "load": [1]}},
        {"gpu": {"name": "x", "load": [1, 2.5], "more": 1}},
        {"gpu": 5},
        {"supported_codecs": ["h264", "vp9"]},
        {"status": "busy"},
    ],
)
def test_whatever_else_is_new_is_recorded_at_once(news: dict[str, Any]) -> None:
    assert beaten(known(), **news) == [EngineReported("e", news)]


def test_numbers_are_recorded_with_anything_else_that_is() -> None:
    news: dict[str, Any] = {"temperature": 42, "status": "busy", "storage_capacity_gb": 499.9}
    assert beaten(known(), **news) == [EngineReported("e", news)]


def test_numbers_are_recorded_once_a_minute() -> None:
    driven, recorded = known(), dict[int, Any]()
    for second in range(1, 181):
        driven.now_s += 1.0
        (event,) = beaten(driven, temperature=41 + second)
        if isinstance(event, EngineReported):
            recorded[second] = event.report["temperature"]
    assert recorded == {60: 101, 120: 161, 180: 221}


@pytest.mark.parametrize(("report_s", "beats"), [(0.0, 5), (2.0, 2), (1e9, 0)])
def test_how_often_is_a_setting(report_s: float, beats: int) -> None:
    driven, recorded = known(policy=Policy(report_s=report_s)), 0
    for number in range(5):
        driven.now_s += 1.0
        recorded += isinstance(beaten(driven, temperature=50 + number)[0], EngineReported)
    assert recorded == beats


def test_many_small_changes_are_recorded_like_a_large_one() -> None:
    driven = known()
    steps = [500.0 - tenth / 10 for tenth in range(1, 80)]
    events = [beaten(driven, storage_capacity_gb=step)[0] for step in steps]
    kept = [event.report for event in events if isinstance(event, EngineReported)]
    assert kept == [{"storage_capacity_gb": 494.9}]


def test_after_a_start_the_first_numbers_are_recorded() -> None:
    driven = Driven(EngineReported("e", KNOWN))
    assert beaten(driven, temperature=42) == [EngineReported("e", {"temperature": 42})]
    assert beaten(driven, temperature=43) == [EngineSeen("e")]


def test_an_engine_that_was_forgotten_and_comes_again_is_recorded() -> None:
    driven = known()
    driven.take(ReportHeartbeat("f", {}))
    driven.restart(EngineReported("e", KNOWN), EngineForgotten("e"))
    assert beaten(driven) == [EngineReported("e", KNOWN)]


def test_progress_is_recorded_without_the_numbers() -> None:
    driven = Driven(engine("e", **KNOWN), job("a"), assigned("a", "e"))
    beaten(driven, job_id="a", temperature=42)
    driven.core.fleet.jobs["a"].progress = None
    assert beaten(driven, job_id="a", temperature=43) == [JobProgressed("a", "e", 1, 5.0)]


# Storage against the jobs that wait


@pytest.mark.parametrize(
    ("size", "codec", "matters"),
    [
        (5_003.0, "h264", True),
        (4_100.0, "h264", True),  # of about the same size
        (5_003.0, "vp9", False),  # it does not take this codec
        (3_000.0, "h264", False),  # it fits
        (9_000.0, "h264", False),  # it does not fit
    ],
)
def test_storage_is_recorded_when_it_decides_about_a_job_that_waits(
    size: float, codec: str, *, matters: bool
) -> None:
    driven = known(storage_capacity_gb=5.0)
    driven.take(SubmitJob("a", "u", codec, size))
    news: dict[str, Any] = {"storage_capacity_gb": 5.005}
    expected = EngineReported("e", news) if matters else EngineSeen("e")
    assert beaten(driven, **news) == [expected]


def test_storage_does_not_matter_to_an_engine_that_streams() -> None:
    driven = known(storage_capacity_gb=5.0, streaming_support=True)
    driven.take(SubmitJob("a", "u", "h264", 5_003.0))
    assert beaten(driven, storage_capacity_gb=1.0, streaming_support=True) == [EngineSeen("e")]


def test_an_engine_whose_disk_has_room_again_is_given_the_job_that_waited_for_that() -> None:
    driven = known(storage_capacity_gb=5.0)
    (submitted,) = driven.take(SubmitJob("a", "u", "h264", 5_003.0))
    assert isinstance(submitted, Settle)
    assert isinstance(submitted.records[0].event, JobSubmitted)
    driven.take(AssignJob("e"), "waits", wait_s=20.0)
    reported, given = driven.take(ReportHeartbeat("e", {"storage_capacity_gb": 5.005}))
    assert isinstance(reported, Settle)
    assert isinstance(given, Settle)
    assert given.ticket == "waits"
    assert driven.core.fleet.jobs["a"].holder == "e"
