"""The file of a segment: what is written is read, by us and by others, and damage is found."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.log import serialization
from dispatcher.log.merkle import Frontier, Subtree, leaf_hash
from dispatcher.log.segments import Sealed, SegmentError, Unsealed, folder_of, frames
from dispatcher.log.segments.file import SegmentFile
from dispatcher.log.segments.frames import FormatError, FrameFacts, Metadata
from dispatcher.log.segments.sealing import write_segment
from dispatcher.log.sqlite import SqliteLog
from tests.support.histories import genuine, written
from tests.support.log_contents import naive_root

pytestmark = pytest.mark.anyio

LINES: Final = [serialization.line(serialization.encode(it)) for it in genuine(1_100)]


def segment_of(level: int, number: int = 0) -> Unsealed:
    size = 1 << level
    lines = LINES[number * size : (number + 1) * size]
    return Unsealed(number, level, (number + 1) * size, naive_root(lines))


def packed(lines: Sequence[bytes], frame_lines: int, first: int = 1) -> bytes:
    """Put a file together as the sealer does."""
    content, sizes, facts = b"", list[tuple[int, int]](), list[FrameFacts]()
    engines = dict[str, tuple[int, int]]()
    for start in range(0, len(lines), frame_lines):
        some = lines[start : start + frame_lines]
        frame = frames.pack(some, 1)
        content += frame
        sizes.append((len(frame), sum(len(line) + 1 for line in some)))
        facts.append(frames.facts_of(some))
        frames.add_engines(engines, some, first + start)
    metadata = Metadata(first, first + len(lines) - 1, frame_lines, facts, engines)
    return content + frames.trailer(metadata, sizes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "00000000.jsonl.zst"


@given(st.lists(st.binary(max_size=40).filter(lambda it: b"\n" not in it), min_size=1))
def test_what_is_packed_is_unpacked(lines: list[bytes]) -> None:
    size = sum(len(line) + 1 for line in lines)
    assert frames.unpack(frames.pack(lines, 3), size) == lines


@given(
    st.integers(0, 9).flatmap(
        lambda level: st.tuples(st.just(level), st.integers(0, level), st.integers(0, 1))
    )
)
def test_a_file_has_all_lines_and_the_roots_of_all_subtrees(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int]
) -> None:
    level, frame_level, number = shape
    segment = segment_of(level, number)
    lines = LINES[segment.first - 1 : segment.upto]
    path = tmp_path_factory.mktemp("segment") / segment.file_name
    path.write_bytes(packed(lines, 1 << frame_level, segment.first))
    with SegmentFile(path, segment) as file:
        assert [line for frame in file.whole() for line in frame] == lines
        file.verify()
        for upper in range(frame_level, level):
            for n in range(1 << (level - upper)):
                wanted = Subtree(upper, (segment.first - 1 >> upper) + n)
                begin = wanted.number << upper
                assert segment.contains(wanted)
                assert file.subtree(wanted) == naive_root(LINES[begin : begin + (1 << upper)])


def test_a_segment_contains_the_smaller_subtrees_inside_it_and_no_others() -> None:
    segment = Unsealed(3, 9, 2_048, b"")  # seq 1537 to 2048
    for level in range(12):
        for number in range(5_000 >> level):
            begin, end = number << level, (number + 1) << level
            is_inside = segment.first - 1 <= begin and end <= segment.upto and level < 9
            assert segment.contains(Subtree(level, number)) == is_inside


def test_the_metadata_tells_of_times_and_engines(path: Path) -> None:
    path.write_bytes(packed(LINES[:1024], 256))
    entries = [serialization.parse_line(line) for line in LINES[:1024]]
    with SegmentFile(path, segment_of(10)) as file:
        assert file.metadata.earliest == min(it.time for it in entries)
        for n, facts in enumerate(file.metadata.frames):
            assert facts.earliest == min(it.time for it in entries[n * 256 : (n + 1) * 256])
        for engine_id, (first, last) in file.metadata.engines.items():
            named = [it.seq for it in entries if f'"engine_id":"{engine_id}"'.encode() in it.data]
            assert (first, last) == (named[0], named[-1])
        assert set(file.metadata.engines) == {"x", "y", "z", "é"}


@pytest.mark.skipif(shutil.which("zstd") is None, reason="there is no zstd here")
def test_the_zstd_tool_reads_it(path: Path) -> None:
    path.write_bytes(packed(LINES[:1024], 256))
    read = subprocess.run(["zstd", "-dc", path], check=True, capture_output=True).stdout
    assert read == b"".join(line + b"\n" for line in LINES[:1024])
    subprocess.run(["zstd", "-q", "-t", path], check=True)


def test_every_flipped_byte_is_found(path: Path) -> None:
    good, segment = packed(LINES[:256], 64), segment_of(8)
    path.write_bytes(good)
    with SegmentFile(path, segment) as file:
        row = Sealed(0, 8, 256, segment.root, "", file.sha256())
    random = Random(1)
    for at in [*random.sample(range(len(good)), 300), *range(len(good) - 100, len(good))]:
        path.write_bytes(good[:at] + bytes([good[at] ^ 1 << random.randrange(8)]) + good[at + 1 :])
        with pytest.raises(SegmentError) as told:
            check(path, row)
        assert str(told.value).startswith(f"{path}: can't be used as segment 0 (seq 1 to 256): ")


def check(path: Path, row: Sealed) -> None:
    with SegmentFile(path, row) as file:
        file.verify()
        file.check_unchanged(row)


@given(st.data())
def test_whatever_is_in_a_file_it_is_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    good = packed(LINES[:16], 4)
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(good))] * 2)))
    content = good[:start] + data.draw(st.binary(max_size=40)) + good[end:]
    path = tmp_path_factory.mktemp("segment") / "file"
    path.write_bytes(content)
    try:
        with SegmentFile(path, segment_of(4)) as file:
            file.verify()
            assert [line for frame in file.whole() for line in frame] == LINES[:16]
    except SegmentError:
        assert content != good


@given(st.binary(max_size=60), st.integers(0, 100))
def test_forged_bytes_are_refused_without_another_error(content: bytes, size: int) -> None:
    for parse in (
        lambda: frames.unpack(content, size),
        lambda: frames.seek_table_bytes(content),
        lambda: frames.places(content, size),
        lambda: frames.metadata_in(content),
        lambda: frames.facts_of([content]),
    ):
        with pytest.raises(FormatError):
            parse()


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (packed(LINES[256:512], 64, 257), "it has seq 257 to 512: it is another segment"),
        (packed(LINES[100:356], 64), "its root is not that of the log: it is of another log"),
        (packed(LINES[:128], 64), "it has seq 1 to 128: it is another segment"),
        (b"", "it is too short"),
        (b"x" * 500, "it does not end with a seek table"),
    ],
)
def test_another_file_in_its_place_is_told(path: Path, other: bytes, why: str) -> None:
    path.write_bytes(other)
    with pytest.raises(SegmentError, match="can't be used as segment 0") as told:
        SegmentFile(path, segment_of(8))
    assert why in str(told.value)


def test_a_file_that_is_not_there_is_told(path: Path) -> None:
    with pytest.raises(SegmentError) as told:
        SegmentFile(path, segment_of(8))
    assert str(told.value) == (
        f"{path}: can't be used as segment 0 (seq 1 to 256): it can't be opened: No such file or "
        "directory; put a good copy there, from a backup or an archive (docs/operations.md)"
    )
    path.symlink_to("/nowhere/00000000.jsonl.zst")
    with pytest.raises(SegmentError, match="it is archived in /nowhere/00000000"):
        SegmentFile(path, segment_of(8))


# Written from a log


async def test_a_segment_is_written_from_the_log_and_is_what_the_log_says(db: Path) -> None:
    entries = await written(db, genuine(600))
    async with await SqliteLog.open(db) as log:
        segment = await log.unsealed(512, 1)
    assert segment is not None
    row = write_segment(db, segment, 19)
    lines = [serialization.line(entry) for entry in entries[:512]]
    frontier = Frontier()
    for line in lines:
        frontier.append(leaf_hash(line))
    assert (row.number, row.level, row.upto, row.root) == (0, 9, 512, frontier.root())
    assert row.earliest == min(entry.time for entry in entries[:512])
    with SegmentFile(folder_of(db) / row.file_name, row) as file:
        assert [line for frame in file.whole() for line in frame] == lines
        file.check_unchanged(row)
    assert [it.name for it in folder_of(db).iterdir()] == [row.file_name]


async def test_frames_have_fewer_lines_where_these_are_long(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(db, genuine(600))
    monkeypatch.setattr("dispatcher.log.segments.sealing._FRAME_BYTES", 20_000)
    async with await SqliteLog.open(db) as log:
        segment = await log.unsealed(512, 1)
    assert segment is not None
    row = write_segment(db, segment, 1)
    with SegmentFile(folder_of(db) / row.file_name, row) as file:
        file.verify()
        assert 1 < file.metadata.frame_lines < 64


async def test_what_a_killed_writer_left_is_used(db: Path) -> None:
    await written(db, genuine(300))
    async with await SqliteLog.open(db) as log:
        segment = await log.unsealed(256, 1)
    assert segment is not None
    row = write_segment(db, segment, 1)
    path = folder_of(db) / row.file_name
    inode = path.stat().st_ino
    (folder_of(db) / f"{row.file_name}.new").write_bytes(b"half")
    assert write_segment(db, segment, 1) == row
    assert path.stat().st_ino == inode
    assert [it.name for it in folder_of(db).iterdir()] == [row.file_name]


async def test_a_file_of_another_log_is_never_replaced(db: Path) -> None:
    await written(db, genuine(300))
    async with await SqliteLog.open(db) as log:
        segment = await log.unsealed(256, 1)
    assert segment is not None
    folder_of(db).mkdir()
    other = packed(LINES[100:356], 64)
    (folder_of(db) / segment.file_name).write_bytes(other)
    with pytest.raises(SegmentError, match="is there already, and is not segment 0"):
        write_segment(db, segment, 1)
    assert (folder_of(db) / segment.file_name).read_bytes() == other


async def test_a_disk_that_gives_back_something_else_is_not_believed(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(db, genuine(300))
    async with await SqliteLog.open(db) as log:
        segment = await log.unsealed(256, 1)
    assert segment is not None
    pack = frames.pack
    monkeypatch.setattr(frames, "pack", lambda lines, level: pack([*lines[1:], lines[0]], level))
    with pytest.raises(SegmentError, match="its lines are not those of the log"):
        write_segment(db, segment, 1)
    assert list(folder_of(db).iterdir()) == []
