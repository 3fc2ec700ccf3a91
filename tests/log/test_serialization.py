"""Recorded events to entries and lines, and back."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core import events
from dispatcher.core.events import Event, Recorded
from dispatcher.log import serialization
from dispatcher.log.serialization import LogEntry
from tests.support.strategies import any_events, times

AT = datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
TIME = "2024-01-02T03:04:05.000006Z"
SEEN = events.EngineSeen("é")

text = st.text(st.characters(codec="utf-8"), max_size=8)
anything = st.integers(-(2**63), 2**63 - 1)
any_recorded = st.builds(
    Recorded, st.integers(1, 2**63 - 1), times, text, any_events, st.none() | text
)
any_fields = st.dictionaries(text.map("f{}".format), text | anything, min_size=1).map(
    msgspec.json.encode
)

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
        events.JobAssigned("1_0", "e", 2, "small: slowest", ("e", "f")),
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
        events.JobRequeued("1_0", "e", 1, 1, "broke", "timed_out", True, AT, 2, 3, 4.5),
        "job_requeued",
        (
            '{"job_id":"1_0","engine_id":"e","attempt":1,"retries":1,"error_message":"broke",'
            '"cause":"timed_out","blames_engine":true,"not_before":"2024-01-02T03:04:05.000006Z",'
            '"losses":2,"source_tries":3,"source_waited_s":4.5}'
        ),
    ),
    (
        events.JobFailedPermanently("1_0", "e", 3, 3, "broke", "engine_silent", losses=2),
        "job_failed_permanently",
        (
            '{"job_id":"1_0","engine_id":"e","attempt":3,"retries":3,"error_message":"broke",'
            '"cause":"engine_silent","blames_engine":false,"losses":2}'
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
        events.JobReprioritized("1_0", 7, AT),
        "job_reprioritized",
        '{"job_id":"1_0","priority":7,"waits_since":"2024-01-02T03:04:05.000006Z"}',
    ),
    (
        events.JobSubmitted("1_0", "u", "c", 1.5, 3, after=("a", "b"), waits_for=("b",)),
        "job_submitted",
        (
            '{"job_id":"1_0","source_url":"u","target_codec":"c","job_size":1.5,"max_retries":3,'
            '"priority":0,"waits_since":null,"idempotency_key":null,"arrived_at":null,'
            '"after":["a","b"],"waits_for":["b"]}'
        ),
    ),
    (
        events.JobSubmitted("1_0", "u", "c", 1.5, 3, parent="2_0", part={"kind": "rest"}),
        "job_submitted",
        (
            '{"job_id":"1_0","source_url":"u","target_codec":"c","job_size":1.5,"max_retries":3,'
            '"priority":0,"waits_since":null,"idempotency_key":null,"arrived_at":null,'
            '"parent":"2_0","part":{"kind":"rest"}}'
        ),
    ),
    (
        events.JobCancelled("1_0", None, 0, "2_0"),
        "job_cancelled",
        '{"job_id":"1_0","engine_id":null,"attempt":0,"because_of":"2_0"}',
    ),
    (
        events.JobRetried("1_0", ("a",), "2_0"),
        "job_retried",
        '{"job_id":"1_0","waits_for":["a"],"because_of":"2_0"}',
    ),
    (
        events.JobSplit("1_0", "e", 1, ("a", "b")),
        "job_split",
        '{"job_id":"1_0","engine_id":"e","attempt":1,"parts":["a","b"]}',
    ),
    (
        events.JobMadeWhole("1_0", "3 of 300 frames"),
        "job_made_whole",
        '{"job_id":"1_0","reason":"3 of 300 frames"}',
    ),
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
    (
        events.EngineReplaced("e", "2", "1", AT, "1_0"),
        "engine_replaced",
        (
            '{"engine_id":"e","instance":"2","replaced":"1",'
            '"since":"2024-01-02T03:04:05.000006Z","kept_job":"1_0"}'
        ),
    ),
    (events.EngineFenced("e", "1"), "engine_fenced", '{"engine_id":"e","instance":"1"}'),
    (events.EngineAsked("e", "1_0"), "engine_asked", '{"engine_id":"e","job_id":"1_0"}'),
    (
        events.EngineLost("e", 60.0, AT),
        "engine_lost",
        '{"engine_id":"e","silent_s":60.0,"since":"2024-01-02T03:04:05.000006Z"}',
    ),
    (events.EngineBlamed("e", "1_0"), "engine_blamed", '{"engine_id":"e","job_id":"1_0"}'),
    (
        events.EngineBlocked("e", "failed 3 different jobs", AT),
        "engine_blocked",
        (
            '{"engine_id":"e","reason":"failed 3 different jobs",'
            '"until":"2024-01-02T03:04:05.000006Z"}'
        ),
    ),
    (events.EngineUnblocked("e"), "engine_unblocked", '{"engine_id":"e"}'),
    (events.EngineDrained("e"), "engine_drained", '{"engine_id":"e"}'),
    (events.EngineResumed("e"), "engine_resumed", '{"engine_id":"e"}'),
    (events.EngineForgotten("e"), "engine_forgotten", '{"engine_id":"e"}'),
]
"""How each event is written."""

OLD: list[tuple[Event, str, int, str]] = [
    (
        events.JobSubmitted("1_0", "http://x/ü.mp4", "h264", 50.0, 3, 0, None, None),
        "job_submitted",
        1,
        (
            '{"job_id":"1_0","source_url":"http://x/ü.mp4","target_codec":"h264",'
            '"job_size":50.0,"max_retries":3}'
        ),
    ),
    (
        events.JobAssigned("1_0", "e", 2, "small: slowest", ()),
        "job_assigned",
        1,
        '{"job_id":"1_0","engine_id":"e","attempt":2,"rule":"small: slowest"}',
    ),
    (
        events.JobRequeued("1_0", "e", 1, 1, "broke", "reported"),
        "job_requeued",
        1,
        '{"job_id":"1_0","engine_id":"e","attempt":1,"retries":1,"error_message":"broke"}',
    ),
    (
        events.JobFailedPermanently("1_0", "e", 3, 3, "broke", "reported"),
        "job_failed_permanently",
        1,
        '{"job_id":"1_0","engine_id":"e","attempt":3,"retries":3,"error_message":"broke"}',
    ),
    (
        events.JobRequeued("1_0", "e", 1, 1, "broke", "timed_out", True, AT),
        "job_requeued",
        1,
        (
            '{"job_id":"1_0","engine_id":"e","attempt":1,"retries":1,"error_message":"broke",'
            '"cause":"timed_out","blames_engine":true,"not_before":"2024-01-02T03:04:05.000006Z"}'
        ),
    ),
    (
        events.JobFailedPermanently("1_0", "e", 3, 3, "broke", "engine_silent"),
        "job_failed_permanently",
        1,
        (
            '{"job_id":"1_0","engine_id":"e","attempt":3,"retries":3,"error_message":"broke",'
            '"cause":"engine_silent","blames_engine":false}'
        ),
    ),
    (events.EngineLost("e", 60.0), "engine_lost", 1, '{"engine_id":"e","silent_s":60.0}'),
    (
        events.EngineBlocked("e", "failed 3 different jobs"),
        "engine_blocked",
        1,
        '{"engine_id":"e","reason":"failed 3 different jobs"}',
    ),
]
"""How events were written once. Lines may be added here and above, never changed: logs hold them.

An event whose fields change moves here as it was, with its version.
"""


@pytest.fixture(scope="module")
def sqlite() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


def test_the_names_of_events_are_for_ever() -> None:
    assert {event.__name__: name for event, name in serialization.NAMES.items()} == {
        "JobSubmitted": "job_submitted",
        "JobAssigned": "job_assigned",
        "JobCompleted": "job_completed",
        "JobRequeued": "job_requeued",
        "JobFailedPermanently": "job_failed_permanently",
        "JobReleased": "job_released",
        "JobProgressed": "job_progressed",
        "JobCancelled": "job_cancelled",
        "JobRetried": "job_retried",
        "JobReprioritized": "job_reprioritized",
        "JobSplit": "job_split",
        "JobMadeWhole": "job_made_whole",
        "AnswerRefused": "answer_refused",
        "EngineReported": "engine_reported",
        "EngineReplaced": "engine_replaced",
        "EngineFenced": "engine_fenced",
        "EngineAsked": "engine_asked",
        "EngineSeen": "engine_seen",
        "EngineBenchmarked": "engine_benchmarked",
        "EngineLost": "engine_lost",
        "EngineBlamed": "engine_blamed",
        "EngineBlocked": "engine_blocked",
        "EngineUnblocked": "engine_unblocked",
        "EngineDrained": "engine_drained",
        "EngineResumed": "engine_resumed",
        "EngineForgotten": "engine_forgotten",
    }


def test_every_event_has_a_name_and_an_example() -> None:
    assert set(serialization.NAMES) == set(Event.__args__)
    assert {type(event) for event, _, _ in EXAMPLES} == set(serialization.NAMES)


@pytest.mark.parametrize(("event", "name", "data"), EXAMPLES)
def test_an_event_is_written_as_it_stands_here(event: Event, name: str, data: str) -> None:
    entry = serialization.encode(Recorded(7, AT, "tester", event, "4711"))
    version = serialization.VERSIONS[name]
    assert entry == LogEntry(7, TIME, name, version, "tester", "4711", data.encode())


@pytest.mark.parametrize(
    ("event", "name", "version", "data"),
    [*((event, name, serialization.VERSIONS[name], data) for event, name, data in EXAMPLES), *OLD],
)
def test_an_event_that_was_written_long_ago_can_be_read(
    event: Event, name: str, version: int, data: str
) -> None:
    read = serialization.decode(stored(name, data, version))
    assert read == Recorded(7, AT, "tester", event)


@given(any_recorded)
def test_what_is_decoded_is_what_was_encoded(recorded: Recorded) -> None:
    decoded = serialization.decode(serialization.encode(recorded))
    assert type(decoded.event) is type(recorded.event)
    assert repr(decoded) == repr(recorded)


@given(event=any_events)
def test_sqlite_can_query_every_event(sqlite: sqlite3.Connection, event: Event) -> None:
    data = data_of(event)
    valid, first_key = sqlite.execute(
        "SELECT json_valid(?1), (SELECT key FROM json_each(?1) LIMIT 1)", (data,)
    ).fetchone()
    assert valid == 1
    assert first_key == event.__struct_fields__[0]


def test_sqlite_reads_the_values_that_were_written(sqlite: sqlite3.Connection) -> None:
    data = data_of(events.JobSubmitted("🎬", "it's", 'a"b', 0.5, 2**63 - 1))
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
    assert refusal_of(stored(name, data)) == text


def stored(name: str, data: str, version: int = 1) -> LogEntry:
    return LogEntry(7, TIME, name, version, "tester", None, data.encode())


def data_of(event: Event) -> str:
    return serialization.encode(Recorded(1, AT, "tester", event)).data.decode()


def refusal_of(entry: LogEntry) -> str:
    with pytest.raises(serialization.UndecodableError) as told:
        serialization.decode(entry)
    return str(told.value)


# The line


LINES: list[tuple[LogEntry, str]] = [
    (
        LogEntry(1, TIME, "engine_seen", 1, "farm", "4711", b'{"engine_id":"e"}'),
        (
            '{"seq":1,"time":"2024-01-02T03:04:05.000006Z","type":"engine_seen","version":1,'
            '"actor":"farm","request_id":"4711","engine_id":"e"}'
        ),
    ),
    (
        LogEntry(2**62, TIME, "job_released", 1, "dispatcher", None, b'{"job_id":"1_0"}'),
        (
            '{"seq":4611686018427387904,"time":"2024-01-02T03:04:05.000006Z",'
            '"type":"job_released","version":1,"actor":"dispatcher","request_id":null,'
            '"job_id":"1_0"}'
        ),
    ),
    (
        LogEntry(3, TIME, "engine_reported", 2, 'ключ "\u2028', "", '{"engine_id":"🎬"}'.encode()),
        (
            '{"seq":3,"time":"2024-01-02T03:04:05.000006Z","type":"engine_reported","version":2,'
            '"actor":"ключ \\"\u2028","request_id":"","engine_id":"🎬"}'
        ),
    ),
    (
        LogEntry(4, "noon", "job_vanished", 9, "\x00", "\x7f/é", b'{ "b":1.0 ,"a":"\\u00e9"}'),
        (
            '{"seq":4,"time":"noon","type":"job_vanished","version":9,'
            '"actor":"\\u0000","request_id":"\x7f/é", "b":1.0 ,"a":"\\u00e9"}'
        ),
    ),
]
"""For ever as well: every root that was ever signed is made of them."""


@pytest.mark.parametrize(("entry", "text"), LINES)
def test_an_entry_has_the_line_that_stands_here(entry: LogEntry, text: str) -> None:
    assert serialization.line(entry) == text.encode()
    assert serialization.parse_line(text.encode()) == entry


@given(any_recorded)
def test_a_line_is_one_json_object_of_all_that_is_recorded(recorded: Recorded) -> None:
    entry = serialization.encode(recorded)
    line = serialization.line(entry)
    assert b"\n" not in line
    head = {
        "seq": entry.seq,
        "time": entry.time,
        "type": entry.type,
        "version": entry.version,
        "actor": entry.actor,
        "request_id": entry.request_id,
    }
    assert list(json.loads(line).items()) == [*head.items(), *json.loads(entry.data).items()]


@given(any_recorded)
def test_a_line_gives_its_entry_back(recorded: Recorded) -> None:
    entry = serialization.encode(recorded)
    assert serialization.parse_line(serialization.line(entry)) == entry


@given(st.builds(LogEntry, anything, text, text, anything, text, st.none() | text, any_fields))
def test_a_line_that_no_version_of_ours_wrote_gives_its_entry_back_too(entry: LogEntry) -> None:
    assert serialization.parse_line(serialization.line(entry)) == entry


def test_what_is_recorded_of_an_event_is_never_hidden_by_a_field_of_its_own() -> None:
    head = set(LogEntry.__struct_fields__) - {"data"}
    for event in serialization.NAMES:
        assert event.__struct_fields__, "an event without fields has no line"
        assert not head & set(event.__struct_fields__)


SPACED = LINES[0][1].replace('"seq":1', '"seq": 1')
ANOTHER_ORDER = LINES[0][1].replace('"seq":1,', "").replace('"engine_id"', '"seq":1,"engine_id"')
TOLD_TWICE = LINES[0][1].replace('"engine_id"', '"seq":2,"engine_id"')
ESCAPED = LINES[0][1].replace("farm", "f\\u0061rm")


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", "null", "no JSON", '{"seq":1}', LINES[0][1][:-1], LINES[0][1][1:]),
        *(SPACED, ANOTHER_ORDER, TOLD_TWICE, ESCAPED),
        *(LINES[0][1] + "\n", " " + LINES[0][1], LINES[0][1] + "{}"),
        LINES[0][1].replace(":1,", ":1.0,", 1),
        LINES[0][1].replace(":1,", ':"1",', 1),
        LINES[0][1].replace('"4711"', "4711"),
        LINES[0][1].replace(',"engine_id":"e"', ""),
    ],
)
def test_what_is_no_line_is_told(text: str) -> None:
    with pytest.raises(serialization.UndecodableError) as told:
        serialization.parse_line(text.encode())
    assert str(told.value).startswith("is no line of a log: ")


def test_bytes_that_are_no_utf_8_are_no_line() -> None:
    with pytest.raises(serialization.UndecodableError, match="is no line of a log: "):
        serialization.parse_line(LINES[0][1].encode().replace(b"farm", b"f\xffrm"))


# Versions


Fields = dict[str, Any]


def steps(monkeypatch: pytest.MonkeyPatch, *upcasters: Callable[[Fields], Fields]) -> None:
    """Let the present fields of `engine_seen` have come about in so many steps."""
    monkeypatch.setitem(serialization.VERSIONS, "engine_seen", 1 + len(upcasters))
    for older, upcaster in enumerate(upcasters, 1):
        monkeypatch.setitem(serialization._UPCASTERS, ("engine_seen", older), upcaster)


def renamed(old: str, new: str) -> Callable[[Fields], Fields]:
    return lambda fields: {new: fields[old]}


def test_every_step_from_an_older_version_is_there() -> None:
    needed = {
        (name, older) for name, now in serialization.VERSIONS.items() for older in range(1, now)
    }
    assert set(serialization._UPCASTERS) == needed
    assert set(serialization.VERSIONS) == set(serialization.NAMES.values())


def test_an_event_of_an_older_version_is_read_as_one_of_the_present(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps(monkeypatch, renamed("engine", "engine_id"))
    assert serialization.decode(stored("engine_seen", '{"engine":"é"}', 1)).event == SEEN
    assert serialization.decode(stored("engine_seen", '{"engine_id":"é"}', 2)).event == SEEN
    assert serialization.encode(Recorded(7, AT, "tester", SEEN)).version == 2


def test_the_steps_from_older_versions_are_chained(monkeypatch: pytest.MonkeyPatch) -> None:
    steps(monkeypatch, renamed("name", "engine"), renamed("engine", "engine_id"))
    for version, name in enumerate(("name", "engine", "engine_id"), 1):
        assert (
            serialization.decode(stored("engine_seen", f'{{"{name}":"é"}}', version)).event == SEEN
        )


def test_a_step_may_leave_the_types_to_the_present_fields(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(serialization.VERSIONS, "job_submitted", 2)
    monkeypatch.setitem(serialization._UPCASTERS, ("job_submitted", 1), lambda fields: fields)
    old, old_name, _, old_data = OLD[0]
    for event, name, data in [EXAMPLES[0], (old, old_name, old_data)]:
        assert repr(serialization.decode(stored(name, data, 1)).event) == repr(event)


def test_an_old_entry_keeps_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    entry, text = LINES[0]
    steps(monkeypatch, renamed("engine_id", "engine_id"))
    assert serialization.line(serialization.parse_line(text.encode())) == text.encode()
    assert serialization.parse_line(text.encode()) == entry


@pytest.mark.parametrize("version", [0, -1, 2, 2**40])
def test_a_version_that_is_not_known_is_told_and_what_to_do(version: int) -> None:
    assert refusal_of(stored("engine_seen", '{"engine_id":"é"}', version)) == (
        f"engine_seen of version {version}: this dispatcher knows versions up to 1; "
        "use the one that wrote it, or a newer one"
    )


@pytest.mark.parametrize("data", ["{}", "[]", '{"engine":1}', '{"engine":', "\x00"])
def test_what_is_no_event_of_an_older_version_is_told(
    monkeypatch: pytest.MonkeyPatch, data: str
) -> None:
    steps(monkeypatch, renamed("engine", "engine_id"))
    assert refusal_of(stored("engine_seen", data, 1)).startswith("engine_seen: ")


# Times


def test_a_time_is_utc_text_with_microseconds() -> None:
    assert serialization.encode_time(datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)) == (
        "2024-01-02T03:04:05.000000Z"
    )


@given(times)
def test_a_time_comes_back_as_it_was(at: datetime) -> None:
    decoded = serialization.decode_time(serialization.encode_time(at))
    assert decoded == at
    assert decoded.utcoffset() == timedelta(0)


@given(st.lists(times, max_size=5))
def test_times_sort_as_text(moments: list[datetime]) -> None:
    assert sorted(map(serialization.encode_time, moments)) == list(
        map(serialization.encode_time, sorted(moments))
    )


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2024-01-01T00:00:00Z", "2024-13-01T00:00:00.000000Z"),
        *("2024-01-01T00:00:00.000000z", "2024-01-01T00:00:00.00000+00", f"{TIME} "),
    ],
)
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(serialization.UndecodableError) as told:
        serialization.decode_time(text)
    assert str(told.value) == (
        f"{text!r} is no time as the log has it, YYYY-MM-DDThh:mm:ss.ffffffZ"
    )
