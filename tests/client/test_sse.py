"""Server-sent events: what is written is read back, however the stream was cut."""

from hypothesis import given
from hypothesis import strategies as st

from dispatcher import sse
from dispatcher.sse import Block, Parser

LINES = [b'{"a":"data: id: 7"}', "{'\u2028': ': ping', '\x85': '\u000b'}".encode(), b"{}"]
STREAM = b"".join(
    (
        sse.opening(4),
        sse.event(5, LINES[0]),
        sse.ping(None),
        sse.event(8, LINES[1]),
        sse.ping(11),
        sse.event(2**63 - 1, LINES[2]),
    )
)
BLOCKS = [
    Block(4, None),
    Block(5, LINES[0]),
    Block(8, LINES[1]),
    Block(11, None),
    Block(2**63 - 1, LINES[2]),
]


def read(*pieces: bytes) -> list[Block]:
    parser = Parser()
    return [block for piece in pieces for block in parser.feed(piece)]


@given(st.lists(st.integers(0, len(STREAM)), max_size=9).map(sorted))
def test_a_stream_is_read_alike_wherever_it_was_cut(cuts: list[int]) -> None:
    ends = zip([0, *cuts], [*cuts, len(STREAM)], strict=True)
    assert read(*(STREAM[begin:end] for begin, end in ends)) == BLOCKS


@given(st.integers(0, len(STREAM)))
def test_of_a_stream_that_breaks_off_only_whole_blocks_count(end: int) -> None:
    found = read(STREAM[:end])
    assert found == BLOCKS[: len(found)]
    assert read(STREAM[:end] + b"\n\n")[: len(found)] == found


def test_a_client_that_named_its_place_is_not_told_it_again() -> None:
    assert sse.opening(None) == b"retry: 1000\n\n"
    assert sse.ping(None) == b": ping\n\n"
    assert read(sse.opening(None), sse.ping(None)) == []


def test_what_another_server_might_write_is_read_too() -> None:
    strange = b'event: x\r\nid:7\r\ndata:{\r\ndata: "a":1}\r\n\r\nid: none\ndata: {}\n\n'
    assert read(strange) == [Block(7, b'{\n"a":1}'), Block(None, b"{}")]
