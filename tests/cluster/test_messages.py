"""What dispatchers send: messages of the log, commands and replies."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.cluster import CorruptionError
from dispatcher.cluster.messages import Answered, Message
from dispatcher.cluster.wire import (
    COMMANDS,
    REPLIES,
    Answers,
    Ask,
    Request,
    command_from,
    command_to,
    packed,
    reply_from,
    reply_to,
    unpacked,
)
from dispatcher.core import replies
from dispatcher.core.commands import Command, SubmitJob, SubmitJobs
from dispatcher.core.due import Due
from dispatcher.core.replies import JobIs, Orders, Reason, Refused, Reply, Submitted
from dispatcher.log import serialization
from tests.log.test_log_contract import events
from tests.support.log_contents import naive_root
from tests.support.strategies import any_commands

texts = st.text(max_size=20)
single_replies: st.SearchStrategy[Reply] = st.one_of(
    st.builds(Refused, st.sampled_from(Reason), st.none() | texts),
    st.builds(JobIs, texts, st.booleans()),
    st.builds(Orders, st.none() | texts, st.booleans()),
    st.sampled_from([replies.DONE, replies.NO_WORK, replies.Requeued(), replies.Ended()]),
)
any_replies = single_replies | st.builds(
    Submitted,
    st.lists(single_replies.filter(lambda it: isinstance(it, JobIs | Refused)), max_size=5).map(
        tuple
    ),
)


@given(any_replies)
def test_a_reply_is_read_as_it_was_told(reply: Reply) -> None:
    told = msgspec.json.decode(msgspec.json.encode(reply_to(reply)))
    assert reply_from(told) == reply


def test_that_there_is_no_work_is_the_same_object_everywhere() -> None:
    assert reply_from(reply_to(replies.NO_WORK)) is replies.NO_WORK


@pytest.mark.parametrize(
    "told", [[], ["Done"], ["Nothing", {}], ["Submitted", [["Done", {}]]], [1]]
)
def test_what_is_no_reply_is_refused(told: list[object]) -> None:
    with pytest.raises(ValueError, match=r"is no reply|has another reply"):
        reply_from(told)


def test_every_reply_and_every_command_of_a_caller_has_a_form() -> None:
    assert {*REPLIES.values(), Submitted} == set(Reply.__args__)
    own = set(Due.__args__)
    assert {*COMMANDS.values(), SubmitJobs} == set(Command.__args__) - own


@given(any_commands)
def test_a_command_is_read_as_it_was_given(command: Command) -> None:
    if type(command).__name__ not in COMMANDS:
        return
    kind, fields = command_to(command)
    ask = Ask("a#1:1", "tester", None, kind, fields)
    request = Request("a#1", 3, 1, 17, [ask], ["a#1:0"])
    read = unpacked(packed(request), Request)
    (found,) = read.asks
    assert command_from(found.kind, found.command) == command
    assert (found.by().name, read.hangups) == ("tester", ["a#1:0"])


def test_a_long_request_is_compressed() -> None:
    submissions = tuple(SubmitJob(str(n), "http://media/in.mp4", "h264") for n in range(10_000))
    request = Request("a#1", 1, 1, 1, [Ask("a#1:1", "t", submissions=submissions)])
    data = packed(request)
    assert len(data) < 200_000
    assert unpacked(data, Request) == request


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\x28\xb5\x2f\xfdno zstd", b'{"term":"1"}'])
def test_what_can_not_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpacked(data, Answers)


@given(
    st.integers(1, 5),
    st.integers(0, 30),
    st.lists(st.builds(Answered.of, texts, st.integers(0, 9), st.integers(0, 9), any_replies)),
    st.booleans(),
)
def test_a_message_is_read_as_it_was_written(
    first: int, count: int, answered: list[Answered], claims: bool
) -> None:
    lines = serialization.lines(events(first, first + count - 1))
    message = Message(
        first, 7, "a#1", "nonce", naive_root(lines), lines, answered, "a#1" if claims else None
    )
    read = Message.decode(*message.encode())
    assert read == message
    assert read.upto == first + count - 1
    assert read.entries() == events(first, first + count - 1)


def test_a_long_message_is_compressed_and_a_cut_one_is_refused() -> None:
    lines = serialization.lines(events(1, 5_000))
    headers, body = Message(1, 1, "a#1", "nonce", naive_root(lines), lines).encode()
    assert headers["Encoding"] == "zstd"
    assert len(body) < sum(map(len, lines)) / 3
    assert Message.decode(headers, body).entries() == events(1, 5_000)
    with pytest.raises(CorruptionError):
        Message.decode(headers, body[:-10])


def test_events_that_say_another_seq_are_refused() -> None:
    lines = serialization.lines(events(2, 3))
    message = Message(1, 1, "a#1", "nonce", naive_root(lines), lines)
    with pytest.raises(CorruptionError, match="its event 1 says that it is 2"):
        message.entries()
