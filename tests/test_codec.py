"""Events to text and back."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import codec, events
from dispatcher.events import Event
from tests.strategies import any_events, times

AT = datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC)

EXAMPLES: list[tuple[Event, str, str]] = [
    (
        events.JobSubmitted("1_0", "http://x/ü.mp4", "h264", 50.0, 3, 7, AT, "key", AT),
        "job_submitted",
        (
            '{"job_id":"1_0","source_url":"http://x/ü.mp4","target_codec":"h264",'
            '"job_size":50.0,"max_retries":3,"priority":7,'
            '"waits_since":"2024-01-02T03:04:05.000006Z","idempotency_key":"key",'
            '"arrived_at":"2024-01-02T03:04:05.000006Z"}'
        ),
    ),
    (
        events.JobAssigned("1_0", "e", 2, "small: slowest", ["e", "f"]),
        "job_assigned",
        (
            '{"job_id":"1_0","engine_id":"e","attempt":2,"rule":"small: slowest",'
            '"considered":["e","f"]}'
        ),
    ),
    (
        events.JobCompleted("1_0", None, 0, "http://x/out"),
        "job_completed",
        '{"job_id":"1_0","engine_id":null,"attempt":0,"output_url":"http://x/out"}',
    ),
    (
        events.JobRequeued("1_0", "e", 1, 1, "broke", "timed_out", True, AT),
        "job_requeued",
        (
            '{"job_id":"1_0","engine_id":"e","attempt":1,"retries":1,"error_message":"broke",'
            '"cause":"timed_out","blames_engine":true,"not_before":"2024-01-02T03:04:05.000006Z"}'
        ),
    ),
    (
        events.JobFailedPermanently("1_0", "e", 3, 3, "broke", "engine_silent"),
        "job_failed_permanently",
        (
            '{"job_id":"1_0","engine_id":"e","attempt":3,"retries":3,"error_message":"broke",'
            '"cause":"engine_silent","blames_engine":false}'
        ),
    ),
    (events.JobReleased("1_0"), "job_released", '{"job_id":"1_0"}'),
    (
        events.JobProgressed("1_0", "e", 2, 33.5),
        "job_progressed",
        '{"job_id":"1_0","engine_id":"e","attempt":2,"progress":33.5}',
    ),
    (
        events.JobCancelled("1_0", None, 0),
        "job_cancelled",
        '{"job_id":"1_0","engine_id":null,"attempt":0}',
    ),
    (events.JobRetried("1_0"), "job_retried", '{"job_id":"1_0"}'),
    (
        events.AnswerRefused("1_0", "e", 1, "complete", "too late"),
        "answer_refused",
        '{"job_id":"1_0","engine_id":"e","attempt":1,"answer":"complete","reason":"too late"}',
    ),
    (
        events.EngineReported("e", {"status": "idle", "gpu": [None, True]}),
        "engine_reported",
        '{"engine_id":"e","report":{"status":"idle","gpu":[null,true]}}',
    ),
    (events.EngineSeen("e"), "engine_seen", '{"engine_id":"e"}'),
    (
        events.EngineBenchmarked("e", 4.5),
        "engine_benchmarked",
        '{"engine_id":"e","benchmark_time":4.5}',
    ),
    (events.EngineLost("e", 60.0), "engine_lost", '{"engine_id":"e","silent_s":60.0}'),
    (
        events.EngineBlocked("e", "failed 3 different jobs"),
        "engine_blocked",
        '{"engine_id":"e","reason":"failed 3 different jobs"}',
    ),
    (events.EngineDrained("e"), "engine_drained", '{"engine_id":"e"}'),
    (events.EngineResumed("e"), "engine_resumed", '{"engine_id":"e"}'),
    (events.EngineForgotten("e"), "engine_forgotten", '{"engine_id":"e"}'),
]
"""How each event is written."""

OLD: list[tuple[Event, str, str]] = [
    (
        events.JobSubmitted("1_0", "http://x/ü.mp4", "h264", 50.0, 3, 0, None, None),
        "job_submitted",
        (
            '{"job_id":"1_0","source_url":"http://x/ü.mp4","target_codec":"h264",'
            '"job_size":50.0,"max_retries":3}'
        ),
    ),
    (
        events.JobAssigned("1_0", "e", 2, "small: slowest", []),
        "job_assigned",
        '{"job_id":"1_0","engine_id":"e","attempt":2,"rule":"small: slowest"}',
    ),
    (
        events.JobRequeued("1_0", "e", 1, 1, "broke", "reported"),
        "job_requeued",
        '{"job_id":"1_0","engine_id":"e","attempt":1,"retries":1,"error_message":"broke"}',
    ),
    (
        events.JobFailedPermanently("1_0", "e", 3, 3, "broke", "reported"),
        "job_failed_permanently",
        '{"job_id":"1_0","engine_id":"e","attempt":3,"retries":3,"error_message":"broke"}',
    ),
]
"""How events were written once. Lines may be added here and above, never changed: logs hold them.

An event that gets a new field moves here as it was.
"""


@pytest.fixture(scope="module")
def sqlite() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


def test_the_names_of_events_are_for_ever() -> None:
    assert {event.__name__: name for event, name in codec.NAMES.items()} == {
        "JobSubmitted": "job_submitted",
        "JobAssigned": "job_assigned",
        "JobCompleted": "job_completed",
        "JobRequeued": "job_requeued",
        "JobFailedPermanently": "job_failed_permanently",
        "JobReleased": "job_released",
        "JobProgressed": "job_progressed",
        "JobCancelled": "job_cancelled",
        "JobRetried": "job_retried",
        "AnswerRefused": "answer_refused",
        "EngineReported": "engine_reported",
        "EngineSeen": "engine_seen",
        "EngineBenchmarked": "engine_benchmarked",
        "EngineLost": "engine_lost",
        "EngineBlocked": "engine_blocked",
        "EngineDrained": "engine_drained",
        "EngineResumed": "engine_resumed",
        "EngineForgotten": "engine_forgotten",
    }


def test_every_event_has_a_name_and_an_example() -> None:
    assert set(codec.NAMES) == set(Event.__args__)
    assert {type(event) for event, _, _ in EXAMPLES} == set(codec.NAMES)


@pytest.mark.parametrize(("event", "name", "data"), EXAMPLES)
def test_an_event_is_written_as_it_stands_here(event: Event, name: str, data: str) -> None:
    assert codec.encode(event) == (name, data)


@pytest.mark.parametrize(("event", "name", "data"), [*EXAMPLES, *OLD])
def test_an_event_that_was_written_long_ago_can_be_read(event: Event, name: str, data: str) -> None:
    assert codec.decode(name, data) == event


@given(any_events)
def test_what_is_decoded_is_what_was_encoded(event: Event) -> None:
    decoded = codec.decode(*codec.encode(event))
    assert type(decoded) is type(event)
    assert repr(decoded) == repr(event)


@given(event=any_events)
def test_sqlite_can_query_every_event(sqlite: sqlite3.Connection, event: Event) -> None:
    _, data = codec.encode(event)
    valid, first_key = sqlite.execute(
        "SELECT json_valid(?1), (SELECT key FROM json_each(?1) LIMIT 1)", (data,)
    ).fetchone()
    assert valid == 1
    assert first_key == event.__struct_fields__[0]


def test_sqlite_reads_the_values_that_were_written(sqlite: sqlite3.Connection) -> None:
    _, data = codec.encode(events.JobSubmitted("🎬", "it's", 'a"b', 0.5, 2**63 - 1))
    assert sqlite.execute(
        "SELECT ?1->>'job_id', ?1->>'source_url', ?1->>'target_codec',"
        " ?1->>'job_size', ?1->>'max_retries'",
        (data,),
    ).fetchone() == ("🎬", "it's", 'a"b', 0.5, 2**63 - 1)


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("job_deleted", "{}", "unknown event type 'job_deleted'"),
        ("engine_seen", "{}", "engine_seen: Object missing required field `engine_id`"),
        ("engine_seen", '{"engine_id":', "engine_seen: Input data was truncated"),
        (
            "engine_seen",
            '{"engine_id":1}',
            "engine_seen: Expected `str`, got `int` - at `$.engine_id`",
        ),
        ("engine_seen", "[]", "engine_seen: Expected `object`, got `array`"),
    ],
)
def test_what_is_no_event_is_told(name: str, data: str, text: str) -> None:
    with pytest.raises(codec.UndecodableError) as told:
        codec.decode(name, data)
    assert str(told.value) == text


def test_a_time_is_utc_text_with_microseconds() -> None:
    assert codec.encode_time(datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)) == (
        "2024-01-02T03:04:05.000000Z"
    )


@given(times)
def test_a_time_comes_back_as_it_was(at: datetime) -> None:
    decoded = codec.decode_time(codec.encode_time(at))
    assert decoded == at
    assert decoded.utcoffset() == timedelta(0)


@given(st.lists(times, max_size=5))
def test_times_sort_as_text(moments: list[datetime]) -> None:
    assert sorted(map(codec.encode_time, moments)) == list(map(codec.encode_time, sorted(moments)))


@pytest.mark.parametrize("text", ["", "yesterday", "2024-13-01T00:00:00Z"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(codec.UndecodableError, match="is no RFC 3339 time"):
        codec.decode_time(text)
