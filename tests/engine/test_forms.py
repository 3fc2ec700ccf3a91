"""Whether a file is known to be incomplete by its form: whole ones never, cut ones mostly."""

from pathlib import Path
from typing import Final

import pytest

from dispatcher.engine.forms import (
    asf_bytes,
    incomplete,
    is_cut_ogg,
    is_cut_program_stream,
    is_cut_riff,
    is_cut_transport_stream,
    yuv_frame_bytes,
)
from tests.support.sources import make, make_mp4

MPEG2: Final = ("-c:v", "mpeg2video", "-c:a", "mp2")
RAW: Final = {
    "mpg": ("mpeg", MPEG2),
    "mpeg1.mpg": ("mpeg", ("-c:v", "mpeg1video", "-c:a", "mp2", "-f", "mpeg")),
    "vob": ("mpeg", ("-c:v", "mpeg2video", "-c:a", "ac3")),
    "dv": ("dv", ("-target", "pal-dv")),
    "ntsc.dv": ("dv", ("-target", "ntsc-dv")),
    "y4m": ("yuv4mpegpipe", ()),
    "odd.y4m": ("yuv4mpegpipe", ("-vf", "scale=97:65", "-pix_fmt", "yuv422p10le", "-strict", "-1")),
    "grey.y4m": ("yuv4mpegpipe", ("-pix_fmt", "gray")),
    "gif": ("gif", ("-an",)),
    "ivf": ("ivf", ("-c:v", "libvpx", "-deadline", "realtime", "-an")),
    "wmv": ("asf", ("-c:v", "wmv2", "-c:a", "wmav2")),
    "avi": ("avi", ("-c:v", "mpeg4", "-c:a", "mp2")),
}
"""Formats of which ffmpeg reads a cut file without a word: demuxer, and how one is made."""


@pytest.mark.parametrize("name", RAW)
def test_a_file_that_was_cut_is_incomplete_and_a_whole_one_is_not(
    name: str, tmp_path: Path
) -> None:
    demuxer, how = RAW[name]
    whole, part = tmp_path / f"whole.{name}", tmp_path / f"cut.{name}"
    make("-t", "1", "-i", make_mp4(tmp_path / "film.mp4"), *how, whole)
    assert incomplete(whole, demuxer) is None
    data = whole.read_bytes()
    for share in (0.213, 0.487, 0.619, 0.954):
        part.write_bytes(data[: int(len(data) * share) | 1])
        assert incomplete(part, demuxer) is not None, share
    part.write_bytes(data[:-1])
    assert (incomplete(part, demuxer) is not None) or name in {"gif", "avi"}  # of fillings


@pytest.mark.parametrize("name", ["mpg", "y4m", "gif", "ivf", "avi"])
def test_something_else_behind_the_end_is_no_cut(name: str, tmp_path: Path) -> None:
    demuxer, how = RAW[name]
    whole = tmp_path / f"whole.{name}"
    make("-t", "1", "-i", make_mp4(tmp_path / "film.mp4"), *how, whole)
    with whole.open("ab") as file:
        file.write(b"" if name == "ivf" else b"a note of who made it\n")
    assert incomplete(whole, demuxer) is None


@pytest.mark.parametrize("demuxer", ["mpegts", "mpeg", "h264", "ogg", "flv", "matroska,webm"])
def test_where_zeros_stand_for_the_rest_it_is_missing(demuxer: str, tmp_path: Path) -> None:
    path = tmp_path / "film"
    path.write_bytes(b"film" * 100_000 + bytes(5_000))
    assert incomplete(path, demuxer) is None
    path.write_bytes(b"film" * 100_000 + bytes(100_000))
    assert incomplete(path, demuxer) == "its last 100000 bytes are zeros"
    assert incomplete(path, "yuv4mpegpipe") is None


@pytest.mark.parametrize("demuxer", ["dv", "yuv4mpegpipe", "ivf", "gif", "asf", "mpeg", "avi"])
@pytest.mark.parametrize("content", [b"", b"\0", b"GIF89a", b"\xff" * 5_000, bytes(5_000)])
def test_what_is_no_such_file_is_not_looked_at_for_ever(
    demuxer: str, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "film"
    path.write_bytes(content)
    assert incomplete(path, demuxer) is None or demuxer in {"dv", "mpeg", "gif", "ivf"}


@pytest.mark.parametrize(("size", "sync"), [(188, 0), (192, 4), (204, 0)])
def test_a_transport_stream_ends_with_a_whole_packet(size: int, sync: int) -> None:
    packet = bytes(sync) + b"\x47" + bytes(range(1, 60)) * 4
    stream = packet[:size] * 9
    assert not is_cut_transport_stream(stream)
    for part in (1, 4, 5, 100, size - 1):
        assert is_cut_transport_stream(stream + packet[:part])
    assert not is_cut_transport_stream(stream + b"something else")
    assert not is_cut_transport_stream(b"")
    assert not is_cut_transport_stream(bytes(5_000))


def test_an_ogg_file_ends_with_a_whole_page() -> None:
    page = b"OggS" + bytes(22) + b"\x02" + b"\x05\x01" + b"sound!"
    assert not is_cut_ogg(page * 2)
    assert not is_cut_ogg(page + b"something else")
    assert not is_cut_ogg(b"")
    for kept in range(4, len(page)):
        assert is_cut_ogg(page + page[:kept])


def test_a_riff_file_has_what_it_declares() -> None:
    head = b"RIFF" + (100).to_bytes(4, "little")
    assert is_cut_riff(head, 100)
    assert not is_cut_riff(head, 108)
    assert not is_cut_riff(head, 10_000)
    for unknown in (bytes(4), b"\xff" * 4):
        assert not is_cut_riff(b"RIFF" + unknown, 100)
    assert not is_cut_riff(b"RIFX" + head[4:], 10)
    assert not is_cut_riff(b"RI", 2)


def test_a_program_stream_ends_with_a_whole_packet() -> None:
    head = b"\0\0\1\xba\x44" + bytes(8) + b"\xf8"
    packet = b"\0\0\1\xe0" + (20).to_bytes(2, "big") + bytes(range(1, 21))
    assert not is_cut_program_stream(head + packet * 2)
    assert not is_cut_program_stream(head + packet + b"\0\0\1\xb9")
    assert not is_cut_program_stream(head + packet + bytes(9))
    assert not is_cut_program_stream(packet)
    for kept in range(1, len(packet)):
        assert is_cut_program_stream(head + packet + packet[:kept])


@pytest.mark.parametrize(
    ("head", "size"),
    [
        ("YUV4MPEG2 W64 H48 F25:1", 4_608),
        ("YUV4MPEG2 W64 H48 F25:1 C420jpeg XYSCSS=420JPEG", 4_608),
        ("YUV4MPEG2 W64 H48 C420paldv", 4_608),
        ("YUV4MPEG2 W64 H48 C420p10", 9_216),
        ("YUV4MPEG2 W97 H65 C422", 97 * 65 + 2 * 49 * 65),
        ("YUV4MPEG2 W64 H48 C411", 64 * 48 * 3 // 2),
        ("YUV4MPEG2 W64 H48 C444p12", 18_432),
        ("YUV4MPEG2 W64 H48 C444alpha", 12_288),
        ("YUV4MPEG2 W64 H48 Cmono", 3_072),
        ("YUV4MPEG2 W64 H48 Cmono16", 6_144),
        ("YUV4MPEG2 W64 H48 Cother", None),
        ("YUV4MPEG2", None),
    ],
)
def test_the_size_of_a_frame_is_told_by_the_first_line(head: str, size: int | None) -> None:
    assert yuv_frame_bytes(head) == size


def test_a_windows_file_tells_its_size_unless_it_was_a_broadcast() -> None:
    header = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(14)
    told = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365") + bytes(24)
    file = header + told + (5_000).to_bytes(8, "little") + bytes(40)
    assert asf_bytes(file + bytes(60)) == 5_000
    assert asf_bytes(file + b"\1" + bytes(60)) is None
    assert asf_bytes(header) is None
    assert asf_bytes(file[:60]) is None
