"""Where a job's video comes from: files below a root, web servers, and nothing else."""

import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

import pytest

from dispatcher.engine.ffmpeg import Input
from dispatcher.engine.networks import SourceNetworks
from dispatcher.engine.source_errors import SourceAwayError, SourceRefusedError
from dispatcher.engine.sources import (
    FILE_PROTOCOLS,
    STREAM_FROM_MB,
    WEB_PROTOCOLS,
    SourceError,
    Sources,
)
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.web import Answer, answering, web

pytestmark = pytest.mark.anyio

VIDEO: Final = bytes(range(256)) * 5_000
LOOPBACK: Final = SourceNetworks.parse("loopback")
OUTSIDE: Final = (
    "{}: is outside the directories in which this engine reads files; its operator can add one "
    "with --source-root"
)


@asynccontextmanager
async def opened(
    url: str, folder: Path, *roots: Path, size_mb: float = 1.0, streams: bool = True
) -> AsyncIterator[Input]:
    sources = Sources(roots or [folder], LOOPBACK)
    job_folder = folder / "job"
    job_folder.mkdir()
    async with sources.opened(url, size_mb, job_folder, streams=streams) as source:
        yield source
    shutil.rmtree(job_folder)


async def content_of(url: str, folder: Path, *roots: Path) -> bytes:
    async with opened(url, folder, *roots) as source:
        assert source.protocols == FILE_PROTOCOLS
        return Path(source.url.removeprefix("file:")).read_bytes()


async def refusal_of(url: str, folder: Path, *roots: Path) -> str:
    with pytest.raises(SourceError) as told:
        async with Sources(roots or [folder], LOOPBACK).opened(url, 1, folder, streams=True):
            pass
    return str(told.value)


async def is_outside(url: str, path: Path | str, *roots: Path) -> None:
    with pytest.raises(SourceRefusedError) as told:
        async with Sources(roots, LOOPBACK).opened(url, 1, roots[0], streams=True):
            pass
    assert str(told.value) == OUTSIDE.format(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A source root beside which there is a secret."""
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes(VIDEO)
    return folder


# Files


@pytest.mark.parametrize(
    "name",
    ["clip.mp4", "my holiday.mp4", "100%.mp4", "a?b#c.mp4", "señor 視頻.mp4", "-i.mp4", "a:b.mp4"],
)
async def test_a_file_is_read_where_it_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "below" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(VIDEO)
    assert await content_of(path.as_uri(), tmp_path) == VIDEO


async def test_a_file_whose_name_is_no_utf_8_is_found(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    path.write_bytes(VIDEO)
    assert await content_of(path.as_uri(), tmp_path) == VIDEO


@pytest.mark.parametrize("start", ["file://", "file://localhost", "FILE://", "file:"])
async def test_a_file_url_may_name_this_machine_in_several_ways(start: str, root: Path) -> None:
    assert await content_of(f"{start}{root}/clip.mp4", root) == VIDEO


async def test_a_file_is_never_large_enough_to_be_copied(root: Path, tmp_path: Path) -> None:
    url = (root / "clip.mp4").as_uri()
    async with opened(url, tmp_path, root, size_mb=STREAM_FROM_MB, streams=False):
        assert [path.is_symlink() for path in (tmp_path / "job").iterdir()] == [True]


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.mjpeg", ".mjpeg"),
        ("A.B.MXF", ".mxf"),
        ("none", ""),
        ("a.%d", ""),
        ("a.", ""),
        ("a.é", ""),
    ],
)
async def test_of_its_name_a_source_keeps_a_plain_suffix(
    name: str, suffix: str, root: Path, tmp_path: Path
) -> None:
    (root / name).write_bytes(VIDEO)
    async with opened((root / name).as_uri(), tmp_path, root) as source:
        assert source.url == f"file:{tmp_path}/job/source{suffix}"
    async with (
        web(answering(Answer(body=VIDEO))) as server,
        opened(f"{server.url}/{quote(name)}", tmp_path) as source,
    ):
        assert source.url == f"file:{tmp_path}/job/source{suffix}"


async def test_an_opened_file_is_closed_at_the_end(root: Path) -> None:
    folder = root / "job"
    folder.mkdir()
    opening = Sources([root]).opened((root / "clip.mp4").as_uri(), 1, folder, streams=True)
    async with opening as source:
        (file,) = source.inherits
        os.fstat(file)
    assert list(folder.iterdir()) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)


@pytest.mark.parametrize("how", ["longer", "other"])
async def test_a_file_that_is_written_to_while_it_is_read_is_away(
    how: str, root: Path, tmp_path: Path
) -> None:
    path = root / "growing.mp4"
    path.write_bytes(VIDEO)

    async def read_as_it_is_written() -> None:
        async with opened(path.as_uri(), tmp_path, root):
            with path.open("ab" if how == "longer" else "r+b") as file:
                file.write(b"more")
            os.utime(path, ns=(1, 1))

    with pytest.raises(SourceAwayError) as told:
        await read_as_it_is_written()
    assert str(told.value) == (
        f"{path}: was written to while it was read; a source must be finished"
    )


async def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "no such.mp4"
    told = await refusal_of(missing.as_uri(), tmp_path)
    assert told == f"{missing}: there is no such file on this engine's machine"


@pytest.mark.parametrize("kind", ["directory", "root", "pipe", "socket", "device"])
async def test_what_is_no_regular_file_is_refused_without_a_wait(kind: str, root: Path) -> None:
    path = root / kind
    match kind:
        case "directory":
            path.mkdir()
        case "root":
            path = root
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
        case _:
            path, root = Path("/dev/zero"), Path("/dev")
    told = await refusal_of(path.as_uri(), root)
    assert told == f"{path}: can't be read: it is no regular file"


async def test_a_file_on_another_machine_is_refused(tmp_path: Path) -> None:
    told = await refusal_of("file://nas/clip.mp4", tmp_path)
    assert told == "file://nas/… is on another machine; use file:///path"


async def test_a_path_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    await refusal_of("file:///clip%00.mp4", tmp_path, Path("/"))


# Roots


async def test_without_a_root_no_file_is_read_and_the_error_says_what_to_set(root: Path) -> None:
    for path in (root / "clip.mp4", root / "missing.mp4"):
        with pytest.raises(SourceRefusedError) as told:
            async with Sources().opened(path.as_uri(), 1, root, streams=True):
                pass
        assert str(told.value) == (
            f"{path}: this engine reads no files; its operator can permit those below a directory "
            "with --source-root"
        )


async def test_each_of_several_roots_counts(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "second.mp4").write_bytes(b"second")
    assert await content_of((root / "clip.mp4").as_uri(), root, other, root) == VIDEO
    assert await content_of((other / "second.mp4").as_uri(), root, other, root) == b"second"


@pytest.mark.parametrize(
    "way",
    [
        "{root}/../secret.mp4",
        "{root}/../missing.mp4",
        "{root}/%2e%2e/secret.mp4",
        "{root}/%2E./missing.mp4",
        "{root}/x/../../secret.mp4",
        "{root}%2f..%2fsecret.mp4",
        "{root}2/clip.mp4",
        "{root}.mp4",
        "/etc/passwd",
        "/etc/no-such-file",
        "/%2fetc/passwd",
        "/proc/self/environ",
        "/proc/self/cwd/secret.mp4",
        "/dev/stdin",
        "/",
    ],
)
async def test_outside_the_root_is_refused_alike_whether_or_not_it_exists(
    way: str, root: Path
) -> None:
    shown = Path(unquote(way.format(root=root)))
    for start in ("file://", "file://localhost", "file:"):
        await is_outside(start + way.format(root=root), shown, root)


async def test_dot_segments_within_the_root_are_removed(root: Path) -> None:
    for way in ("x/../clip.mp4", "./clip.mp4", "../films/clip.mp4", "%2e%2e/films/clip.mp4"):
        assert await content_of(f"file://{root}/{way}", root) == VIDEO


async def test_a_root_may_be_a_link_and_either_name_leads_in(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    assert await content_of(f"file://{link}/clip.mp4", tmp_path, link) == VIDEO
    assert await content_of(f"file://{root}/clip.mp4", tmp_path, link) == VIDEO
    await is_outside(f"file://{link}/clip.mp4", link / "clip.mp4", root)


async def test_links_within_the_root_lead_on(root: Path) -> None:
    (root / "same.mp4").symlink_to("clip.mp4")
    (root / "again").symlink_to(root)
    assert await content_of((root / "same.mp4").as_uri(), root) == VIDEO
    assert await content_of(f"file://{root}/again/again/same.mp4", root) == VIDEO


async def test_a_link_from_one_root_into_another_leads_on(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "more").symlink_to(root)
    assert await content_of(f"file://{other}/more/clip.mp4", other, other, root) == VIDEO


@pytest.mark.parametrize("target", ["secret.mp4", "missing.mp4", "no-dir/missing.mp4"])
async def test_links_out_of_the_root_are_refused_alike_whether_or_not_they_lead_anywhere(
    target: str, root: Path, tmp_path: Path
) -> None:
    (root / "direct.mp4").symlink_to(tmp_path / target)
    (root / "relative.mp4").symlink_to(f"../{target}")
    (root / "twice.mp4").symlink_to("direct.mp4")
    (root / "folder").symlink_to(tmp_path)
    for name in ("direct.mp4", "relative.mp4", "twice.mp4", f"folder/{target}"):
        await is_outside(f"file://{root}/{name}", root / name, root)


async def test_a_link_in_circles_is_an_error(root: Path) -> None:
    (root / "circle.mp4").symlink_to("circle.mp4")
    assert "can't be read" in await refusal_of((root / "circle.mp4").as_uri(), root)


async def test_a_file_that_a_link_replaces_as_it_is_opened_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = os.path.realpath

    def swapped(path: str) -> str:
        found = resolve(path)
        if found.endswith("clip.mp4"):
            (root / "clip.mp4").unlink()
            (root / "clip.mp4").symlink_to(tmp_path / "secret.mp4")
        return found

    monkeypatch.setattr("os.path.realpath", swapped)
    told = await refusal_of((root / "clip.mp4").as_uri(), root)
    assert told == f"{root}/clip.mp4: can't be read: it is no regular file"


async def test_a_folder_that_a_link_replaces_as_it_is_opened_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = os.path.realpath
    (root / "folder").mkdir()
    (root / "folder" / "secret.mp4").touch()

    def swapped(path: str) -> str:
        found = resolve(path)
        if found.endswith("secret.mp4"):
            (root / "folder").rename(tmp_path / "away")
            (root / "folder").symlink_to(tmp_path)
        return found

    monkeypatch.setattr("os.path.realpath", swapped)
    assert "can't be read" in await refusal_of(f"file://{root}/folder/secret.mp4", root)


async def test_what_was_opened_is_read_though_the_path_leads_elsewhere_since(
    root: Path, tmp_path: Path
) -> None:
    path = root / "clip.mp4"
    async with opened(path.as_uri(), root) as source:
        path.unlink()
        path.symlink_to(tmp_path / "secret.mp4")
        assert Path(source.url.removeprefix("file:")).read_bytes() == VIDEO


# Nothing else


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        "clip.mp4",
        "/etc/passwd",
        "../clip.mp4",
        "-i",
        "ftp://127.0.0.1/clip.mp4",
        "concat:/etc/passwd|/etc/passwd",
        "subfile:,,start,0,end,9,,:/etc/passwd",
        "pipe:0",
        "lavfi:testsrc",
        "tcp://127.0.0.1:1",
        "data:video/mp4;base64,AAAA",
        "javascript:alert(1)",
        "file+http://127.0.0.1/",
        "\0",
        "://",
        "視頻",
    ],
)
async def test_other_kinds_of_source_are_refused_by_rule(url: str, tmp_path: Path) -> None:
    told = await refusal_of(url, tmp_path)
    assert told == (
        f"{url!r}: sources are http://, https://, file://, store:, s3://, gs:// or az:// URLs, "
        "nothing else"
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///clip.mp4",
        "http:clip.mp4",
        "http://[",
        "http://[::1",
        "file://[",
        "http://127.0.0.1:port/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:-1/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1/\0",
        "http://127.0.0.1:1/\n",
        "http://ä..x/",
    ],
)
async def test_garbage_is_refused_and_named(url: str, tmp_path: Path) -> None:
    told = await refusal_of(url, tmp_path)
    assert url.removesuffix("\n") in told or repr(url) in told


@pytest.mark.parametrize(
    "url",
    [
        "ftp://anna:secret@media/clip.mp4",
        "http://anna:secret@[",
        "http://anna:sec/secret@media/",
        "http://anna:secret@media:0/",
        "http://anna:secret@media/\n",
        "http://anna:secret@\u212a\u2100/",
        "file://anna:secret@nas/clip.mp4",
        "http://anna:secret@127.0.0.1:1/clip.mp4?token=secret",
    ],
)
async def test_no_refusal_tells_a_password(url: str, tmp_path: Path) -> None:
    assert "secret" not in await refusal_of(url, tmp_path)


# The web


async def test_a_large_video_is_for_ffmpeg_to_stream(tmp_path: Path) -> None:
    async with web(answering(Answer(body=VIDEO))) as server:
        url = f"{server.url}/clip.mp4"
        async with opened(url, tmp_path, size_mb=STREAM_FROM_MB) as source:
            assert (source.url, source.protocols) == (url, WEB_PROTOCOLS)
            assert source.proxy_port
        assert [asked.headers["range"] for asked in server.asked] == ["bytes=0-4095"]


@pytest.mark.parametrize(
    ("size_mb", "streams"), [(STREAM_FROM_MB, False), (STREAM_FROM_MB - 0.1, True)]
)
async def test_a_video_that_is_small_or_can_not_be_streamed_is_fetched(
    size_mb: float, streams: bool, tmp_path: Path
) -> None:
    async with web(answering(Answer(body=VIDEO))) as server:
        url = f"{server.url}/clip.mp4"
        async with opened(url, tmp_path, size_mb=size_mb, streams=streams) as source:
            assert source == Input(f"file:{tmp_path}/job/source.mp4", FILE_PROTOCOLS)
            assert (tmp_path / "job" / "source.mp4").read_bytes() == VIDEO


@pytest.mark.parametrize("name", ["list.m3u8", "LIST.M3U8", "list.mpd", "list.m3u8?token=1"])
async def test_a_playlist_is_for_ffmpeg_to_stream_however_small(name: str, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:1/{name}"
    async with opened(url, tmp_path, size_mb=0) as source:
        assert (source.url, source.protocols) == (url, WEB_PROTOCOLS)


async def test_streaming_lets_ffmpeg_use_no_local_file() -> None:
    assert "file" not in WEB_PROTOCOLS
    assert set(FILE_PROTOCOLS) == {"file"}
