"""Fetching a source from a web server: where from, how much, and for how long."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from dispatcher.engine import fetching
from dispatcher.engine.fetching import Bounds, Pace, fetch
from dispatcher.engine.networks import SourceNetworks
from dispatcher.engine.source_errors import (
    SourceAwayError,
    SourceError,
    SourceRefusedError,
    SourceTooLargeError,
    SourceTooSlowError,
)
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.tls import make_certificate, tls_before
from tests.support.web import Answer, Web, answering, serving, web

pytestmark = pytest.mark.anyio

VIDEO: Final = bytes(range(256)) * 5_000
LOOPBACK: Final = SourceNetworks.parse("loopback")
INSIDE: Final = (
    *("http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:{port}/", "http://[::1]/"),
    *("http://localhost:{port}/", "http://2130706433:{port}/", "http://0x7f.1:{port}/"),
    *("http://[::ffff:127.0.0.1]:{port}/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/"),
    *("http://0.0.0.0:{port}/", "http://[::]:{port}/", "http://[fe80::1]/", "http://[ff02::1]/"),
    *("http://[fd00:ec2::254]/latest/", "http://example.com@127.0.0.1:{port}/"),
    *("https://127.0.0.1:{port}/", "https://169.254.169.254/", "http://127.1:{port}/"),
)
"""What a client may want to see, and must not by default."""


async def fetched(
    url: str,
    folder: Path,
    networks: SourceNetworks = LOOPBACK,
    bounds: Bounds = Bounds(),  # noqa: B008 - it is frozen
) -> bytes:
    await fetch(url, folder / "source", networks, bounds)
    return (folder / "source").read_bytes()


async def refusal_of(url: str, folder: Path, *rules: Any) -> str:
    with pytest.raises(SourceError) as told:
        await fetched(url, folder, *rules)
    return str(told.value)


# What is fetched


async def test_a_video_is_fetched_from_a_web_server(tmp_path: Path) -> None:
    async with web(serving({"/my%20clip.mp4?v=1": Answer(body=VIDEO)})) as server:
        assert await fetched(f"{server.url}/my%20clip.mp4?v=1", tmp_path) == VIDEO


@pytest.mark.parametrize(
    ("status", "is_away"),
    [
        *((status, False) for status in (304, 401, 403, 404, 410)),
        *((status, True) for status in (408, 425, 429, 500, 503)),
    ],
)
async def test_a_web_server_that_says_no_is_quoted(
    status: int, is_away: bool, tmp_path: Path
) -> None:
    async with web(answering(Answer(status, headers={"Content-Length": "0"}))) as server:
        url = f"{server.url}/clip.mp4"
        with pytest.raises(SourceError) as told:
            await fetched(url, tmp_path)
        assert str(told.value) == f"{url}: the server answered {status}"
    assert isinstance(told.value, SourceAwayError) == is_away


@pytest.mark.parametrize("status", [204, 206])
async def test_a_part_is_not_taken_for_the_whole(status: int, tmp_path: Path) -> None:
    part = {"Content-Range": "bytes 0-9/100"}
    async with web(answering(Answer(status, VIDEO, part))) as server:
        told = await refusal_of(f"{server.url}/clip.mp4", tmp_path)
    assert told.endswith(f": the server answered {status}, not with the whole source")


async def test_a_web_server_that_is_away_is_named(tmp_path: Path) -> None:
    async with web(answering(Answer())) as server:
        url = f"{server.url}/clip.mp4"
    with pytest.raises(SourceAwayError) as told:
        await fetched(url, tmp_path)
    assert str(told.value).startswith(f"{url}: ")


async def test_a_video_that_breaks_off_is_not_used(tmp_path: Path) -> None:
    short = Answer(body=VIDEO, headers={"Content-Length": str(len(VIDEO) + 1)})
    async with web(answering(short)) as server:
        url = f"{server.url}/clip.mp4"
        assert (await refusal_of(url, tmp_path)).startswith(f"{url}: ")


async def test_a_disk_that_takes_no_video_is_an_error(tmp_path: Path) -> None:
    async with web(answering(Answer(body=VIDEO))) as server:
        with pytest.raises(OSError, match="can't be stored while it is fetched"):
            await fetched(f"{server.url}/clip.mp4", tmp_path / "missing")


async def test_a_video_is_fetched_by_tls_from_the_host_that_the_certificate_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with (
        web(answering(Answer(body=VIDEO))) as server,
        tls_before(server.url, certificate) as url,
    ):
        assert await fetched(f"{url}/clip.mp4", tmp_path) == VIDEO
        by_address = url.replace("localhost", "127.0.0.1")
        assert "certificate" in await refusal_of(f"{by_address}/clip.mp4", tmp_path)
        assert len(server.asked) == 1
        assert server.asked[0].headers["host"] == url.removeprefix("https://")


async def test_a_proxy_of_the_environment_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with web(answering(Answer(body=VIDEO))) as server, web(answering(Answer())) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert await fetched(f"{server.url}/clip.mp4", tmp_path) == VIDEO
        assert proxy.asked == []


# Redirects


async def test_a_redirect_to_a_web_server_is_followed(tmp_path: Path) -> None:
    redirect = Answer(302, headers={"Location": "/there.mp4"})
    pages = {"/here.mp4": redirect, "/there.mp4": Answer(body=VIDEO)}
    async with web(serving(pages)) as server:
        assert await fetched(f"{server.url}/here.mp4", tmp_path) == VIDEO
        assert {asked.headers["accept-encoding"] for asked in server.asked} == {"identity"}


@pytest.mark.parametrize("there", ["file:///etc/passwd", "ftp://127.0.0.1/", "data:,x", "http://"])
async def test_a_redirect_to_anything_else_is_not_followed(there: str, tmp_path: Path) -> None:
    async with web(answering(Answer(302, headers={"Location": there}))) as server:
        await refusal_of(f"{server.url}/clip.mp4", tmp_path)
        assert len(server.asked) == 1
    assert not (tmp_path / "source").exists()


async def test_a_redirect_in_circles_ends(tmp_path: Path) -> None:
    async with web(answering(Answer(302, headers={"Location": "/"}))) as server:
        assert "redirects" in await refusal_of(f"{server.url}/", tmp_path)


async def test_the_body_of_a_redirect_is_not_read(tmp_path: Path) -> None:
    endless = Answer(302, headers={"Location": "/there.mp4"}, then_silence=True)
    pages = {"/here.mp4": endless, "/there.mp4": Answer(body=VIDEO)}
    async with web(serving(pages)) as server:
        assert await fetched(f"{server.url}/here.mp4", tmp_path) == VIDEO
        await asyncio.wait_for(server.left.wait(), 30)


# From where


@pytest.mark.parametrize("pattern", INSIDE)
async def test_what_is_inside_is_not_asked(pattern: str, tmp_path: Path) -> None:
    async with web(answering(Answer(403, b"a secret"))) as server:
        url = pattern.format(port=server.url.rpartition(":")[2])
        with pytest.raises(SourceRefusedError) as told:
            await fetched(url, tmp_path, SourceNetworks.parse("public,private"))
        assert server.asked == []
    assert str(told.value).startswith(f"{url.replace('example.com@', '')}: ")
    assert str(told.value).endswith(
        " address, and this engine fetches nothing from there; its operator can permit it with "
        "--source-networks"
    )
    assert not (tmp_path / "source").exists()


@pytest.mark.parametrize("pattern", INSIDE)
async def test_a_redirect_inside_is_not_followed(pattern: str, tmp_path: Path) -> None:
    async with web(answering(Answer(200, b"a secret"))) as inner:
        there = pattern.format(port=inner.url.rpartition(":")[2])
        pages = {
            "/1.mp4": Answer(307, headers={"Location": "/2.mp4"}),
            "/2.mp4": Answer(301, headers={"Location": there}),
        }
        async with web(serving(pages)) as server:
            networks = SourceNetworks.parse("public,private", server.url)
            with pytest.raises(SourceRefusedError) as told:
                await fetched(f"{server.url}/1.mp4", tmp_path, networks)
            assert len(server.asked) == 2
        assert inner.asked == []
    assert "secret" not in str(told.value)


async def test_the_dispatcher_is_a_permitted_source(tmp_path: Path) -> None:
    async with web(answering(Answer(body=VIDEO))) as server:
        networks = SourceNetworks.parse("public", server.url)
        assert await fetched(f"{server.url}/clip.mp4", tmp_path, networks) == VIDEO


async def test_a_name_is_looked_up_once_and_what_it_meant_then_is_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups: list[str] = []
    really = socket.getaddrinfo

    def rebound(host: str, port: int, *rest: Any, **named: Any) -> Any:
        if host != "films.test":
            return really(host, port, *rest, **named)
        lookups.append(host)
        return really("127.0.0.1" if len(lookups) == 1 else "127.0.0.2", port, *rest, **named)

    monkeypatch.setattr("socket.getaddrinfo", rebound)
    async with web(answering(Answer(body=VIDEO))) as server:
        url = server.url.replace("127.0.0.1", "films.test")
        networks = SourceNetworks.parse("127.0.0.1")
        assert await fetched(f"{url}/clip.mp4", tmp_path, networks) == VIDEO
        assert lookups == ["films.test"]
        assert server.asked[0].headers["host"] == url.removeprefix("http://")
        with pytest.raises(SourceRefusedError):
            await fetched(f"{url}/clip.mp4", tmp_path, networks)
        assert len(server.asked) == 1


async def test_of_several_addresses_the_first_permitted_that_answers_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = socket.getaddrinfo

    def several(host: str, port: int, *rest: Any, **named: Any) -> Any:
        if host != "films.test":
            return really(host, port, *rest, **named)
        texts = ("127.0.0.3", "127.0.0.2", "127.0.0.1")
        return [entry for text in texts for entry in really(text, port, *rest, **named)]

    monkeypatch.setattr("socket.getaddrinfo", several)
    async with web(answering(Answer(body=VIDEO))) as server:
        url = server.url.replace("127.0.0.1", "films.test")
        networks = SourceNetworks.parse("127.0.0.1,127.0.0.2")
        assert await fetched(f"{url}/clip.mp4", tmp_path, networks) == VIDEO


# How much


async def test_a_source_that_says_it_is_too_large_is_not_begun(tmp_path: Path) -> None:
    async with web(answering(Answer(length=2_000_001, then_silence=True))) as server:
        with pytest.raises(SourceTooLargeError) as told:
            await fetched(f"{server.url}/clip.mp4", tmp_path, LOOPBACK, Bounds(max_mb=2))
    assert str(told.value) == (
        f"{server.url}/clip.mp4: has more than 2 MB (--max-source-mb of this engine)"
    )
    assert not (tmp_path / "source").exists()


async def test_a_source_of_exactly_the_bound_is_fetched(tmp_path: Path) -> None:
    async with web(answering(Answer(body=VIDEO))) as server:
        bounds = Bounds(max_mb=len(VIDEO) / 1e6)
        assert await fetched(f"{server.url}/clip.mp4", tmp_path, LOOPBACK, bounds) == VIDEO


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_source_that_does_not_say_how_large_it_is_ends_at_the_bound(
    chunked: bool, tmp_path: Path
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            piece = b"\0" * 65_536
            yield b"10000\r\n" + piece + b"\r\n" if chunked else piece

    headers = {"Transfer-Encoding": "chunked"} if chunked else {}
    async with plain_web(endless, headers) as server:
        with pytest.raises(SourceTooLargeError):
            await fetched(f"{server.url}/clip.mp4", tmp_path, LOOPBACK, Bounds(max_mb=2))
    assert (tmp_path / "source").stat().st_size <= 2_000_000


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "br", "zstd", "x, identity", "x"])
async def test_an_encoded_source_is_refused_before_it_is_stored(
    encoding: str, tmp_path: Path
) -> None:
    bomb = gzip.compress(b"\0" * 2_000_000)
    async with web(answering(Answer(body=bomb, headers={"Content-Encoding": encoding}))) as server:
        url = f"{server.url}/clip.mp4"
        assert await refusal_of(url, tmp_path) == (
            f"{url}: the server answered with Content-Encoding {encoding!r}, though asked for none"
        )
        assert server.asked[0].headers["accept-encoding"] == "identity"
    assert not (tmp_path / "source").exists()


async def test_a_source_without_encoding_is_stored_as_it_comes(tmp_path: Path) -> None:
    zipped = gzip.compress(VIDEO)
    headers = {"Content-Encoding": "identity", "Content-Type": "application/gzip"}
    async with web(answering(Answer(body=zipped, headers=headers))) as server:
        assert await fetched(f"{server.url}/clip.mp4.gz", tmp_path) == zipped


# For how long


async def test_a_source_that_trickles_is_given_up(tmp_path: Path) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.02)
            yield b"\0"

    bounds = Bounds(window_s=0.3)
    async with web(answering(Answer(pieces=trickle, length=1_000_000))) as server:
        with pytest.raises(SourceTooSlowError) as told:
            await fetched(f"{server.url}/clip.mp4", tmp_path, LOOPBACK, bounds)
    assert str(told.value).startswith(f"{server.url}/clip.mp4: the server sends too slowly: ")


async def test_a_source_that_is_never_done_ends_after_the_whole_time(tmp_path: Path) -> None:
    async with web(answering(Answer(body=VIDEO, then_silence=True))) as server:
        with pytest.raises(SourceTooSlowError) as told:
            await fetched(f"{server.url}/clip.mp4", tmp_path, LOOPBACK, Bounds(timeout_s=0.5))
    url = f"{server.url}/clip.mp4"
    assert str(told.value) == f"{url}: did not arrive within 0.5 s (--source-timeout-s)"


async def test_an_answer_whose_head_does_not_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "ANSWER_S", 0.3)

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while not writer.is_closing():
                writer.write(b"X-Slow: yes\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        except OSError:
            pass
        finally:
            writer.close()
            left.set()

    left = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SourceTooSlowError, match=r"the server gave no answer within 0\.3 s"):
            await fetched(f"http://127.0.0.1:{port}/clip.mp4", tmp_path)
        await asyncio.wait_for(left.wait(), 30)


def test_a_large_film_on_a_slow_line_keeps_within_the_defaults() -> None:
    bounds, chunk, seconds = Bounds(), 1_000_000, 1.3  # 6 Mbit/s
    pace = Pace(bounds)
    for _ in range(1_000):
        pace.received(chunk, seconds)
    assert 100_000 / chunk * fetching.MB * seconds < bounds.timeout_s


def test_a_line_that_halts_for_a_while_catches_up_within_the_window() -> None:
    pace = Pace(Bounds())
    for _ in range(100):
        pace.received(1, 29)  # as long as a server may be silent
        pace.received(1_000_000, 1)


def test_a_byte_every_five_seconds_is_too_slow() -> None:
    pace = Pace(Bounds())
    for _ in range(11):
        pace.received(1, 5)
    with pytest.raises(SourceTooSlowError, match="12 bytes in 60 s"):
        pace.received(1, 5)


def test_waiting_for_us_is_no_waiting_for_the_server() -> None:
    pace = Pace(Bounds())
    for _ in range(1_000):
        pace.received(1, 0)


# A server that sends what it is given


@asynccontextmanager
async def plain_web(
    pieces: Callable[[], AsyncIterator[bytes]], headers: dict[str, str]
) -> AsyncIterator[Web]:
    """Serve a head without a length, and then pieces until the client leaves."""
    lines = [f"{name}: {value}" for name, value in {**headers, "Connection": "close"}.items()]
    head = "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head)
            async for piece in pieces():
                writer.write(piece)
                await writer.drain()
        writer.close()
        left.set()

    left = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield Web(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await asyncio.wait_for(left.wait(), 30)
