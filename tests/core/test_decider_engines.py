"""The rules of protocol.md and protocol-pinned.md about engines: heartbeats and assignment."""

from typing import Any

import pytest

from dispatcher.core.commands import (
    AssignJob,
    CompleteJob,
    FailJob,
    ReportBenchmark,
    ReportHeartbeat,
)
from dispatcher.core.events import EngineBenchmarked, EngineReported, EngineSeen
from dispatcher.core.replies import Reason
from tests.support.given import OUTPUT, assigned, engine, given, job

FIELDS: dict[str, Any] = {"supported_codecs": ["h264"], "status": "idle", "hostname": "rack-1"}


# Heartbeats


def test_the_first_heartbeat_is_recorded_even_when_it_says_nothing() -> None:
    given().when(ReportHeartbeat("e", {})).then(EngineReported("e", {}))


def test_the_first_heartbeat_is_recorded_whole() -> None:
    given().when(ReportHeartbeat("e", FIELDS)).then(EngineReported("e", FIELDS))


@pytest.mark.parametrize("report", [{}, {"status": "idle"}, FIELDS])
def test_a_heartbeat_that_says_nothing_new_is_a_small_event(report: dict[str, Any]) -> None:
    given(engine("e", **FIELDS)).when(ReportHeartbeat("e", report)).then(EngineSeen("e"))


def test_only_what_is_new_in_a_heartbeat_is_recorded() -> None:
    beat = FIELDS | {"hostname": "rack-2", "cpu_temperature": 61.5}
    given(engine("e", **FIELDS)).when(ReportHeartbeat("e", beat)).then(
        EngineReported("e", {"hostname": "rack-2", "cpu_temperature": 61.5})
    )


def test_a_field_that_is_absent_keeps_its_last_value() -> None:
    story = given(engine("e", benchmark_time=9.0, **FIELDS))
    story.when(ReportHeartbeat("e", {"status": "busy"}))
    assert story.fleet.engines["e"].report == FIELDS | {"benchmark_time": 9.0, "status": "busy"}


def test_a_field_that_was_null_and_is_null_again_says_nothing_new() -> None:
    given(engine("e", gpu=None)).when(ReportHeartbeat("e", {"gpu": None})).then(EngineSeen("e"))


def test_a_new_field_that_is_null_is_news() -> None:
    given(engine("e")).when(ReportHeartbeat("e", {"gpu": None})).then(
        EngineReported("e", {"gpu": None})
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [(1, True), (True, 1), (0, False), (1, 1.0), ([1], [True]), ({"x": 0}, {"x": False})],
)
def test_values_that_only_python_takes_for_equal_are_news(old: object, new: object) -> None:
    given(engine("e", load=old)).when(ReportHeartbeat("e", {"load": new})).then(
        EngineReported("e", {"load": new})
    )


def test_a_heartbeat_that_says_idle_does_not_free_a_busy_engine() -> None:
    story = given(job("a"), job("b"), engine("e", status="idle"), assigned("a", "e"))
    story.when(ReportHeartbeat("e", {"status": "idle"})).then(EngineSeen("e"))
    story.when(AssignJob("e")).then_nothing()


def test_a_benchmark_of_a_known_engine_is_recorded() -> None:
    given(engine("e")).when(ReportBenchmark("e", 4.5)).then(EngineBenchmarked("e", 4.5))


def test_a_benchmark_of_an_unknown_engine_is_refused() -> None:
    given().when(ReportBenchmark("e", 4.5)).then_rejected(Reason.ENGINE_NOT_FOUND)


def test_an_engine_can_be_picked_after_a_separate_benchmark() -> None:
    story = given(job("a"), engine("e"))
    story.when(AssignJob()).then_nothing()
    story.when(ReportBenchmark("e", 4.5))
    story.when(AssignJob()).then(assigned("a", "e", 1, "small: slowest", ["e"]))


# Polls by name


def test_an_engine_that_asks_by_name_gets_work_for_itself() -> None:
    story = given(job("a"), engine("fast", benchmark_time=1.0), engine("slow", benchmark_time=9.0))
    story.when(AssignJob("fast")).then(assigned("a", "fast"))


def test_jobs_go_out_first_in_first_out() -> None:
    story = given(job("b"), job("a"), job("c"), engine("e"), engine("f"), engine("g"))
    story.when(AssignJob("e")).then(assigned("b", "e"))
    story.when(AssignJob("f")).then(assigned("a", "f"))
    story.when(AssignJob("g")).then(assigned("c", "g"))


def test_fifo_holds_across_the_codecs_of_an_engine() -> None:
    story = given(job("a", codec="vp9"), job("b"), engine("e", supported_codecs=["h264", "vp9"]))
    story.when(AssignJob("e")).then(assigned("a", "e"))


def test_there_is_nothing_to_hand_out_when_no_job_waits() -> None:
    given(engine("e")).when(AssignJob("e")).then_nothing()


def test_an_unknown_engine_that_asks_by_name_is_refused() -> None:
    given(job("a")).when(AssignJob("ghost")).then_rejected(Reason.ENGINE_NOT_FOUND)


def test_an_engine_without_a_benchmark_may_ask_by_name() -> None:
    given(job("a"), engine("e")).when(AssignJob("e")).then(assigned("a", "e"))


def test_an_engine_that_says_busy_gets_nothing_by_name() -> None:
    given(job("a"), engine("e", status="busy")).when(AssignJob("e")).then_nothing()


def test_an_engine_that_said_busy_and_then_idle_gets_work() -> None:
    story = given(job("a"), engine("e", status="busy"))
    story.when(ReportHeartbeat("e", {"status": "idle"})).when(AssignJob("e"))
    story.then(assigned("a", "e"))


def test_an_engine_that_holds_a_job_gets_no_second_one() -> None:
    given(job("a"), job("b"), engine("e"), assigned("a", "e")).when(AssignJob("e")).then_nothing()


@pytest.mark.parametrize("engine_id", ["e", None])
def test_an_engine_is_given_only_codecs_that_it_declares(engine_id: str | None) -> None:
    story = given(
        job("a", codec="vp9"), job("b"), engine("e", supported_codecs=["h264"], benchmark_time=1.0)
    )
    story.when(AssignJob(engine_id))
    assert story.fleet.engines["e"].holds == "b"


@pytest.mark.parametrize("report", [{}, {"supported_codecs": []}])
@pytest.mark.parametrize("engine_id", ["e", None])
def test_an_engine_that_declares_no_codecs_takes_any(
    report: dict[str, Any], engine_id: str | None
) -> None:
    story = given(job("a", codec="a codec nobody knows"), engine("e", benchmark_time=1.0, **report))
    story.when(AssignJob(engine_id))
    assert story.fleet.engines["e"].holds == "a"


def test_codecs_are_compared_to_the_letter() -> None:
    given(job("a"), engine("e", supported_codecs=["H264"])).when(AssignJob("e")).then_nothing()


def test_an_engine_that_resumes_leaves_its_held_job_where_it_is() -> None:
    story = given(job("a"), job("b"), engine("e"), assigned("a", "e"))
    story.when(AssignJob("e", resume=True)).then_nothing()
    assert story.fleet.engines["e"].holds == "a"


def test_an_engine_that_resumes_with_nothing_held_gets_new_work() -> None:
    given(job("a"), engine("e")).when(AssignJob("e", resume=True)).then(assigned("a", "e"))


@pytest.mark.parametrize("outcome", [CompleteJob("a", OUTPUT), FailJob("a", "broke")])
def test_an_engine_that_said_busy_while_it_worked_is_idle_at_once_after_it(
    outcome: CompleteJob | FailJob,
) -> None:
    story = given(job("a", max_retries=1), job("b"), engine("e"), assigned("a", "e"))
    story.when(ReportHeartbeat("e", {"status": "busy"}))
    story.when(outcome).when(AssignJob("e")).then(assigned("b", "e"))


# Polls without a name


@pytest.mark.parametrize(
    ("size", "chosen", "rule"),
    [
        (0.0, "slow", "small: slowest"),
        (49.99, "slow", "small: slowest"),
        (50.0, "fast", "medium: fastest"),
        (99.99, "fast", "medium: fastest"),
        (100.0, "middle", "large: fastest that streams"),
        (1e12, "middle", "large: fastest that streams"),
    ],
)
def test_the_size_of_a_job_chooses_its_engine(size: float, chosen: str, rule: str) -> None:
    given(
        job("a", size=size),
        engine("middle", benchmark_time=5.0, streaming_support=True),
        engine("slow", benchmark_time=9.0, streaming_support=True),
        engine("fast", benchmark_time=1.0, streaming_support=False),
    ).when(AssignJob()).then(assigned("a", chosen, 1, rule, ["middle", "slow", "fast"]))


def test_a_large_job_goes_to_the_fastest_when_no_engine_streams() -> None:
    given(
        job("a", size=100.0), engine("slow", benchmark_time=9.0), engine("fast", benchmark_time=1.0)
    ).when(AssignJob()).then(assigned("a", "fast", 1, "large: fastest", ["slow", "fast"]))


def test_a_large_job_goes_to_the_fastest_when_the_streaming_engine_is_busy() -> None:
    given(
        job("a", size=100.0),
        engine("streams", benchmark_time=1.0, streaming_support=True, status="busy"),
        engine("other", benchmark_time=9.0),
    ).when(AssignJob()).then(assigned("a", "other", 1, "large: fastest", ["other"]))


@pytest.mark.parametrize("size", [10.0, 75.0, 200.0])
def test_of_engines_equally_fast_the_one_that_came_first_is_picked(size: float) -> None:
    story = given(
        job("a", size=size), engine("one", benchmark_time=2.0), engine("two", benchmark_time=2.0)
    ).when(AssignJob())
    assert story.fleet.jobs["a"].holder == "one"


def test_a_benchmark_of_zero_is_a_benchmark() -> None:
    story = given(
        job("a", size=75.0), engine("e", benchmark_time=1.0), engine("zero", benchmark_time=0.0)
    )
    story.when(AssignJob()).then(assigned("a", "zero", 1, "medium: fastest", ["e", "zero"]))


def test_engines_without_a_benchmark_are_passed_over() -> None:
    given(job("a"), engine("new"), engine("known", benchmark_time=1.0)).when(AssignJob()).then(
        assigned("a", "known", 1, "small: slowest", ["known"])
    )


def test_engines_that_are_busy_are_passed_over() -> None:
    given(
        job("a"),
        job("b"),
        engine("holds", benchmark_time=9.0),
        assigned("a", "holds"),
        engine("says so", benchmark_time=8.0, status="busy"),
        engine("idle", benchmark_time=1.0),
    ).when(AssignJob()).then(assigned("b", "idle", 1, "small: slowest", ["idle"]))


def test_the_oldest_job_that_an_idle_engine_can_do_is_taken() -> None:
    given(
        job("old", codec="av1"),
        job("new", codec="vp9"),
        engine("unbenchmarked", supported_codecs=["av1"]),
        engine("e", supported_codecs=["vp9"], benchmark_time=1.0),
    ).when(AssignJob()).then(assigned("new", "e", 1, "small: slowest", ["e"]))


def test_only_engines_that_take_the_codec_compete_for_a_job() -> None:
    given(
        job("a", codec="av1", size=75.0),
        engine("faster", supported_codecs=["h264"], benchmark_time=1.0),
        engine("able", supported_codecs=["av1"], benchmark_time=9.0),
    ).when(AssignJob()).then(assigned("a", "able", 1, "medium: fastest", ["able"]))


def test_a_poll_without_a_name_on_an_empty_farm_gets_nothing() -> None:
    given().when(AssignJob()).then_nothing()
    given(job("a")).when(AssignJob()).then_nothing()


def test_a_poll_without_a_name_never_resumes() -> None:
    story = given(job("a"), engine("e", benchmark_time=1.0), assigned("a", "e"))
    story.when(AssignJob(resume=True)).then_nothing()


def test_an_engine_is_picked_again_after_it_completed() -> None:
    story = given(job("a"), job("b"), engine("e", benchmark_time=1.0))
    story.when(AssignJob()).when(CompleteJob("a", OUTPUT)).when(AssignJob())
    story.then(assigned("b", "e", 1, "small: slowest", ["e"]))
