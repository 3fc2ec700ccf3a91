"""Streaming by ffmpeg itself: whatever it opens goes through the engine's proxy."""

import asyncio
import gzip
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from dispatcher.engine.fetching import Bounds
from dispatcher.engine.ffmpeg import Ffmpeg, FfmpegError, Input
from dispatcher.engine.networks import SourceNetworks
from dispatcher.engine.proxy import checking_proxy
from dispatcher.engine.source_errors import (
    SourceError,
    SourceRefusedError,
    SourceTooLargeError,
    SourceTooSlowError,
)
from dispatcher.engine.sources import FILE_PROTOCOLS, STREAM_FROM_MB, Sources
from dispatcher.engine.transcoding import transcode
from tests.support.engines import ANYWHERE
from tests.support.media import Clips, found_in, playlist_of
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.tls import make_certificate, tls_before
from tests.support.web import Answer, answering, serving, web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

DASH: Final = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT0.4S"
 minBufferTime="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>
<AdaptationSet contentType="video" mimeType="video/mp4"><Representation id="0" bandwidth="100000"
 codecs="avc1.42c00a" width="96" height="64"><BaseURL>{url}</BaseURL><SegmentList duration="1">
<SegmentURL media="{url}"/></SegmentList></Representation></AdaptationSet></Period></MPD>
"""


async def streamed(
    ffmpeg: Ffmpeg, url: str, output: Path, sources: Sources = ANYWHERE
) -> str | None:
    async with sources.opened(url, STREAM_FROM_MB, output.parent, streams=True) as source:
        assert source.url == url
        await transcode(ffmpeg, source, "mpeg4", output)
    return found_in(output).video


def only_at(url: str) -> Sources:
    """Permit one server on loopback, as the dispatcher is, and no other."""
    return Sources((), SourceNetworks.parse("public,private", url))


@pytest.fixture
async def segment(ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path) -> Path:
    """A piece of a playlist."""
    await transcode(
        ffmpeg, Input(f"file:{clips.plain}", FILE_PROTOCOLS), "mpeg2", tmp_path / "segment.ts"
    )
    return tmp_path / "segment.ts"


# What goes on working


async def test_a_film_is_streamed_with_seeks(ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path) -> None:
    async with web(serving({"/plain.mp4": clips.plain})) as server:
        assert await streamed(ffmpeg, f"{server.url}/plain.mp4", tmp_path / "out.mp4") == "mpeg4"
        assert {asked.headers["connection"] for asked in server.asked} == {"close"}
        assert {asked.headers["accept-encoding"] for asked in server.asked} == {"identity"}


async def test_a_redirect_is_followed(ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path) -> None:
    redirect = Answer(302, headers={"Location": "/plain.mp4"})
    async with web(serving({"/plain.mp4": clips.plain, "/here": redirect})) as server:
        assert await streamed(ffmpeg, f"{server.url}/here", tmp_path / "out.mp4") == "mpeg4"


async def test_a_film_is_streamed_by_tls(
    ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with (
        web(serving({"/plain.mp4": clips.plain})) as server,
        tls_before(server.url, certificate) as url,
    ):
        assert await streamed(ffmpeg, f"{url}/plain.mp4", tmp_path / "out.mp4") == "mpeg4"


async def test_a_playlist_of_playlists_is_read(
    ffmpeg: Ffmpeg, segment: Path, tmp_path: Path
) -> None:
    main = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=100000\nlow/list.m3u8\n"
    files: dict[str, Path | str | Answer] = {
        "/main.m3u8": main,
        "/low/list.m3u8": playlist_of("s0.ts", "s1.ts", "s2.ts"),
        **{f"/low/s{number}.ts": segment for number in range(3)},
    }
    async with web(serving(files)) as server:
        assert await streamed(ffmpeg, f"{server.url}/main.m3u8", tmp_path / "out.mp4") == "mpeg4"


async def test_a_playlist_by_tls_is_read(
    ffmpeg: Ffmpeg, segment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    files: dict[str, Path | str | Answer] = {"/a.ts": segment, "/b.ts": segment}
    files["/p.m3u8"] = playlist_of("a.ts", "b.ts")
    async with web(serving(files)) as server, tls_before(server.url, certificate) as url:
        assert await streamed(ffmpeg, f"{url}/p.m3u8", tmp_path / "out.mp4") == "mpeg4"


async def test_a_proxy_of_the_environment_is_not_asked(
    ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with web(serving({"/p.mp4": clips.plain})) as server, web(answering(Answer())) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "*")
        assert await streamed(ffmpeg, f"{server.url}/p.mp4", tmp_path / "out.mp4") == "mpeg4"
        assert proxy.asked == []


# Where from


@pytest.mark.parametrize(
    ("kind", "host"),
    [
        *((kind, "127.0.0.1") for kind in ("source", "redirect", "key", "inner", "map", "dash")),
        *(("segment", host) for host in ("localhost", "2130706433", "[::ffff:127.0.0.1]")),
    ],
)
async def test_nothing_inside_is_asked_whatever_names_it(
    kind: str, host: str, ffmpeg: Ffmpeg, segment: Path, tmp_path: Path
) -> None:
    """However a client leads ffmpeg to an inner server, the job fails, and it is not asked."""
    async with web(answering(Answer(200, segment.read_bytes()))) as inner:
        there = f"http://{host}:{inner.url.rpartition(':')[2]}/secret.ts"
        two = playlist_of("a.ts", "a.ts")
        files: dict[str, Path | str | Answer] = {
            "/a.ts": segment,
            "/redirect": Answer(302, headers={"Location": there}),
            "/segment.m3u8": playlist_of("a.ts", there, "a.ts"),
            "/key.m3u8": two.replace(
                "#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="{there}"\n#EXTINF'
            ),
            "/inner.m3u8": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{there}\n",
            "/map.m3u8": two.replace("#EXTINF", f'#EXT-X-MAP:URI="{there}"\n#EXTINF', 1),
            "/dash.mpd": DASH.format(url=there),
        }
        async with web(serving(files)) as server:
            names = {name.lstrip("/").partition(".")[0]: name for name in files}
            url = there if kind == "source" else server.url + names[kind]
            with pytest.raises(SourceRefusedError) as told:
                await streamed(ffmpeg, url, tmp_path / "out.mp4", only_at(server.url))
        assert inner.asked == []
    assert str(told.value) == (
        f"{url}: {host.strip('[]')} is a loopback address, and this engine fetches nothing from "
        "there; its operator can permit it with --source-networks"
    )


async def test_a_tunnel_leads_nowhere_inside_either(
    ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    async with web(serving({"/plain.mp4": clips.plain})) as inner:
        url = inner.url.replace("http:", "https:") + "/plain.mp4"
        with pytest.raises(SourceRefusedError):
            await streamed(ffmpeg, url, tmp_path / "out.mp4", only_at("http://127.0.0.1:1"))
        assert inner.asked == []


@pytest.mark.parametrize(
    "line", ["file:///etc/hostname", "/etc/hostname", "file:secret.ts", "concat:secret.ts|a.ts"]
)
async def test_a_playlist_draws_in_no_local_file(
    line: str, ffmpeg: Ffmpeg, segment: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.ts").write_bytes(segment.read_bytes())
    async with web(serving({"/p.m3u8": playlist_of(line)})) as server:
        with pytest.raises(FfmpegError):
            await streamed(ffmpeg, f"{server.url}/p.m3u8", tmp_path / "out.mp4")


# How much, and for how long


async def test_a_stream_that_is_too_large_ends(ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    # A transport stream of null packets: nothing to show, ever.
    packet = b"\x47\x1f\xff\x10" + b"\xff" * 184

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield packet * 300

    sources = ANYWHERE._replace(bounds=Bounds(max_mb=3))
    async with web(answering(Answer(pieces=endless, length=10**12))) as server:
        url = f"{server.url}/clip.ts"
        with pytest.raises(SourceTooLargeError) as told:
            await streamed(ffmpeg, url, tmp_path / "out.mp4", sources)
    assert str(told.value) == f"{url}: sent more than 3 MB (--max-source-mb of this engine)"


async def test_a_stream_that_trickles_ends(ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.02)
            yield b"\0"

    sources = ANYWHERE._replace(bounds=Bounds(window_s=0.3))
    async with web(answering(Answer(pieces=trickle, length=1_000_000))) as server:
        with pytest.raises(SourceTooSlowError):
            await streamed(ffmpeg, f"{server.url}/clip.mp4", tmp_path / "out.mp4", sources)


async def test_an_encoded_stream_is_refused(ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path) -> None:
    zipped = gzip.compress(clips.plain.read_bytes())
    headers = {"Content-Encoding": "gzip"}
    async with web(answering(Answer(body=zipped, headers=headers))) as server:
        with pytest.raises(SourceError, match="Content-Encoding 'gzip', though asked for none"):
            await streamed(ffmpeg, f"{server.url}/clip.mp4", tmp_path / "out.mp4")


# The proxy alone


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST http://127.0.0.1:1/ HTTP/1.1\r\n\r\n", b"403"),
        (b"GET file:///etc/passwd HTTP/1.1\r\n\r\n", b"502"),
        (b"GET /etc/passwd HTTP/1.1\r\n\r\n", b"502"),
        (b"GET https://127.0.0.1:1/ HTTP/1.1\r\n\r\n", b"502"),
        (b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n", b"502"),
        (b"CONNECT 127.0.0.1:99999 HTTP/1.1\r\n\r\n", b"502"),
        (b"rubbish\r\n\r\n", b"403"),
        (b"X" * 70_000 + b"\r\n\r\n", b"502"),
    ],
)
async def test_the_proxy_refuses_what_ffmpeg_never_asks(request_: bytes, status: bytes) -> None:
    faults: list[SourceError] = []
    async with checking_proxy(SourceNetworks.parse("loopback"), Bounds(), faults.append) as port:
        assert (await ask(port, request_)).startswith(b"HTTP/1.1 " + status)
    assert faults == []


async def test_after_the_first_fault_the_proxy_passes_nothing_on() -> None:
    faults: list[SourceError] = []
    async with web(answering(Answer(body=b"here"))) as server:
        networks = SourceNetworks.parse("public", server.url)
        async with checking_proxy(networks, Bounds(), faults.append) as port:
            good = f"GET {server.url}/ HTTP/1.1\r\n\r\n".encode()
            assert (await ask(port, good)).endswith(b"here")
            for _ in range(2):
                refused = await ask(port, b"GET http://127.0.0.1:1/ HTTP/1.1\r\n\r\n")
                assert refused.startswith(b"HTTP/1.1 403")
            assert (await ask(port, good)).startswith(b"HTTP/1.1 403")
        assert len(server.asked) == 1
    assert [type(fault) for fault in faults] == [SourceRefusedError]


async def test_an_answer_that_breaks_off_does_not_pass_for_whole() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhere")
        await writer.drain()
        await go_on.wait()
        reset = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        writer.transport.abort()

    go_on = asyncio.Event()
    faults: list[SourceError] = []
    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        checking_proxy(SourceNetworks.parse("loopback"), Bounds(), faults.append) as port,
    ):
        there = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET http://127.0.0.1:{there}/ HTTP/1.1\r\n\r\n".encode())
        assert (await reader.readuntil(b"here")).startswith(b"HTTP/1.1 200 OK\r\n")
        go_on.set()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    assert faults == []


async def test_a_path_with_a_space_is_passed_on() -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        checking_proxy(SourceNetworks.parse("loopback"), Bounds(), print) as port,
    ):
        there = server.sockets[0].getsockname()[1]
        await ask(port, f"GET http://127.0.0.1:{there}/a b?c d HTTP/1.1\r\n\r\n".encode())
    assert asked[0].startswith(b"GET /a b?c d HTTP/1.1\r\n")


async def test_the_proxy_ends_with_its_source() -> None:
    async with web(answering(Answer(body=b"\0", then_silence=True))) as server:
        async with checking_proxy(SourceNetworks.parse("loopback"), Bounds(), print) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {server.url}/ HTTP/1.1\r\n\r\n".encode())
            await server.held.wait()
        await asyncio.wait_for(server.left.wait(), 30)
        await reader.read()
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
