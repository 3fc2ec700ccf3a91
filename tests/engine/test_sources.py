"""Where a job's video comes from: files, web servers, and nothing else."""

import os
from pathlib import Path
from typing import Final

import pytest

from dispatcher.engine.ffmpeg import Input
from dispatcher.engine.sources import (
    FILE_PROTOCOLS,
    STREAM_FROM_MB,
    WEB_PROTOCOLS,
    SourceError,
    open_source,
)
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.web import Answer, answering, serving, web

pytestmark = pytest.mark.anyio

VIDEO: Final = bytes(range(256)) * 5_000


async def opened(url: str, folder: Path, *, size_mb: float = 1.0, streams: bool = True) -> Input:
    return await open_source(url, size_mb, folder, streams=streams)


async def refusal_of(url: str, folder: Path) -> str:
    with pytest.raises(SourceError) as told:
        await opened(url, folder)
    return str(told.value)


# Files


@pytest.mark.parametrize(
    "name",
    ["clip.mp4", "my holiday.mp4", "100%.mp4", "a?b#c.mp4", "señor 視頻.mp4", "-i.mp4", "a:b.mp4"],
)
async def test_a_file_is_read_where_it_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.touch()
    assert await opened(path.as_uri(), tmp_path) == Input(f"file:{path}", FILE_PROTOCOLS)


async def test_a_file_whose_name_is_no_utf_8_is_found(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    path.touch()
    assert await opened(path.as_uri(), tmp_path) == Input(f"file:{path}", FILE_PROTOCOLS)


@pytest.mark.parametrize("start", ["file://", "file://localhost", "FILE://", "file:"])
async def test_a_file_url_may_name_this_machine_in_several_ways(start: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.touch()
    assert (await opened(f"{start}{path}", tmp_path)).url == f"file:{path}"


async def test_a_file_is_never_large_enough_to_be_copied(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.touch()
    work = tmp_path / "work"
    work.mkdir()
    await opened(path.as_uri(), work, size_mb=STREAM_FROM_MB, streams=False)
    assert list(work.iterdir()) == []


async def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "no such.mp4"
    told = await refusal_of(missing.as_uri(), tmp_path)
    assert told == f"{missing}: there is no such file on this engine's machine"


async def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert "there is no such file" in await refusal_of(tmp_path.as_uri(), tmp_path)


async def test_a_file_on_another_machine_is_refused(tmp_path: Path) -> None:
    told = await refusal_of("file://nas/clip.mp4", tmp_path)
    assert told == "file://nas/… is on another machine; use file:///path"


async def test_a_path_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    await refusal_of("file:///clip%00.mp4", tmp_path)


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
    assert told == f"{url!r}: sources are http://, https:// or file:// URLs, nothing else"


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


async def test_a_video_is_fetched_from_a_web_server(tmp_path: Path) -> None:
    async with web(serving({"/my%20clip.mp4?v=1": Answer(body=VIDEO)})) as server:
        source = await opened(f"{server.url}/my%20clip.mp4?v=1", tmp_path)
    fetched = Path(source.url.removeprefix("file:"))
    assert fetched.parent == tmp_path
    assert fetched.read_bytes() == VIDEO
    assert source.protocols == FILE_PROTOCOLS


@pytest.mark.parametrize("status", [401, 403, 404, 410, 500, 503])
async def test_a_web_server_that_says_no_is_quoted(status: int, tmp_path: Path) -> None:
    async with web(answering(Answer(status, b"no"))) as server:
        url = f"{server.url}/clip.mp4"
        assert await refusal_of(url, tmp_path) == f"{url}: the server answered {status}"


async def test_a_web_server_that_is_away_is_named(tmp_path: Path) -> None:
    async with web(answering(Answer())) as server:
        url = f"{server.url}/clip.mp4"
    assert (await refusal_of(url, tmp_path)).startswith(f"{url}: ")


async def test_a_video_that_breaks_off_is_not_used(tmp_path: Path) -> None:
    short = Answer(body=VIDEO, headers={"Content-Length": str(len(VIDEO) + 1)})
    async with web(answering(short)) as server:
        url = f"{server.url}/clip.mp4"
        assert (await refusal_of(url, tmp_path)).startswith(f"{url}: ")


async def test_a_video_in_a_broken_encoding_is_not_used(tmp_path: Path) -> None:
    broken = Answer(body=VIDEO, headers={"Content-Encoding": "gzip"})
    async with web(answering(broken)) as server:
        url = f"{server.url}/clip.mp4"
        assert (await refusal_of(url, tmp_path)).startswith(f"{url}: ")


async def test_a_redirect_to_a_web_server_is_followed(tmp_path: Path) -> None:
    redirect = Answer(302, headers={"Location": "/there.mp4"})
    pages = {"/here.mp4": redirect, "/there.mp4": Answer(body=VIDEO)}
    async with web(serving(pages)) as server:
        source = await opened(f"{server.url}/here.mp4", tmp_path)
    assert Path(source.url.removeprefix("file:")).read_bytes() == VIDEO


async def test_a_redirect_to_a_file_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    redirect = Answer(302, headers={"Location": secret.as_uri()})
    async with web(answering(redirect)) as server:
        await refusal_of(f"{server.url}/clip.mp4", tmp_path)
        assert len(server.asked) == 1


async def test_a_redirect_in_circles_ends(tmp_path: Path) -> None:
    async with web(answering(Answer(302, headers={"Location": "/"}))) as server:
        assert "redirects" in await refusal_of(f"{server.url}/", tmp_path)


async def test_a_disk_that_takes_no_video_is_an_error(tmp_path: Path) -> None:
    async with web(answering(Answer(body=VIDEO))) as server:
        told = await refusal_of(f"{server.url}/clip.mp4", tmp_path / "missing")
    assert "can't be stored while it is fetched" in told


async def test_a_large_video_is_for_ffmpeg_to_stream(tmp_path: Path) -> None:
    async with web(answering(Answer(body=VIDEO))) as server:
        url = f"{server.url}/clip.mp4"
        source = await opened(url, tmp_path, size_mb=STREAM_FROM_MB)
        assert source == Input(url, WEB_PROTOCOLS)
        assert server.asked == []


@pytest.mark.parametrize(
    ("size_mb", "streams"), [(STREAM_FROM_MB, False), (STREAM_FROM_MB - 0.1, True)]
)
async def test_a_video_that_is_small_or_can_not_be_streamed_is_fetched(
    size_mb: float, streams: bool, tmp_path: Path
) -> None:
    async with web(answering(Answer(body=VIDEO))) as server:
        url = f"{server.url}/clip.mp4"
        source = await opened(url, tmp_path, size_mb=size_mb, streams=streams)
    assert Path(source.url.removeprefix("file:")).read_bytes() == VIDEO


@pytest.mark.parametrize("name", ["list.m3u8", "LIST.M3U8", "list.mpd", "list.m3u8?token=1"])
async def test_a_playlist_is_for_ffmpeg_to_stream_however_small(name: str, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:1/{name}"
    assert await opened(url, tmp_path, size_mb=0) == Input(url, WEB_PROTOCOLS)


async def test_streaming_lets_ffmpeg_use_no_local_file() -> None:
    assert "file" not in WEB_PROTOCOLS
    assert set(FILE_PROTOCOLS) == {"file"}
