"""What a server can't do for ffmpeg, and playlists that only their type tells."""

import re
from pathlib import Path
from typing import Final

import pytest

from dispatcher.engine.ffmpeg import Ffmpeg
from dispatcher.engine.looking import is_index_last, is_playlist, look_at
from dispatcher.engine.source_errors import SourceAwayError
from dispatcher.engine.sources import STREAM_FROM_MB
from dispatcher.engine.transcoding import transcode
from tests.support.engines import ANYWHERE
from tests.support.media import found_in, playlist_of
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.sources import FAST_START, make, make_mp4
from tests.support.tls import make_certificate, tls_before
from tests.support.web import Answer, Answering, Asked, answering, serving, web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

CHUNKED: Final = {"Transfer-Encoding": "chunked"}
RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")


def in_parts(data: bytes) -> Answering:
    """Answer as a server does that gives out parts."""

    async def give(asked: Asked) -> Answer:
        wanted = RANGE.fullmatch(asked.headers.get("range", ""))
        if wanted is None:
            return Answer(body=data, headers={"Accept-Ranges": "bytes"})
        begin, end = int(wanted[1]), min(int(wanted[2] or len(data)) + 1, len(data))
        told = {"Content-Range": f"bytes {begin}-{end - 1}/{len(data)}", "Accept-Ranges": "bytes"}
        return Answer(206, data[begin:end], told)

    return give


async def opened_as(ffmpeg: Ffmpeg, url: str, folder: Path, size_mb: float = STREAM_FROM_MB) -> str:
    """Transcode a source; gives the URL that ffmpeg read."""
    async with ANYWHERE.opened(url, size_mb, folder, streams=True) as source:
        await transcode(ffmpeg, source, "mpeg4", folder / "output.mp4")
    assert found_in(folder / "output.mp4").video == "mpeg4"
    return source.url


@pytest.fixture
def index_last(tmp_path: Path) -> Path:
    """A film whose index is at its end, as most programs write it."""
    path = tmp_path / "last.mp4"
    make("-i", make_mp4(tmp_path / "film.mp4"), "-c", "copy", path)
    return path


async def test_an_index_at_the_end_is_streamed_in_parts_or_else_fetched(
    each_ffmpeg: Ffmpeg, index_last: Path, tmp_path: Path
) -> None:
    data = index_last.read_bytes()
    async with web(in_parts(data)) as server:
        assert await opened_as(each_ffmpeg, f"{server.url}/f.mp4", tmp_path) == (
            f"{server.url}/f.mp4"
        )
    async with web(answering(Answer(body=data))) as server:
        assert (await opened_as(each_ffmpeg, f"{server.url}/f.mp4", tmp_path)).startswith("file:")


async def test_an_index_at_the_beginning_is_streamed_from_any_server(
    ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    data = make_mp4(tmp_path / "film.mp4").read_bytes()
    async with web(answering(Answer(body=data))) as server:
        url = f"{server.url}/f.mp4"
        assert await opened_as(ffmpeg, url, tmp_path) == url


@pytest.mark.parametrize("breaks_off", [False, True])
async def test_by_tls_an_answer_of_no_length_is_fetched_and_must_be_whole(
    breaks_off: bool, ffmpeg: Ffmpeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    film = tmp_path / "film.ts"
    make("-i", make_mp4(tmp_path / "film.mp4"), "-c", "copy", film)
    data = film.read_bytes()
    sent = data[: len(data) * 6 // 10 // 188 * 188] if breaks_off else data
    body = b"%x\r\n" % len(sent) + sent + b"\r\n" + (b"" if breaks_off else b"0\r\n\r\n")
    async with (
        web(answering(Answer(body=body, headers=CHUNKED))) as server,
        tls_before(server.url, certificate) as url,
    ):
        reading = opened_as(ffmpeg, f"{url}/film.ts", tmp_path)
        if not breaks_off:
            assert (await reading).startswith("file:")
            return
        with pytest.raises(SourceAwayError):
            await reading


@pytest.mark.parametrize(
    "media_type", ["application/vnd.apple.mpegurl", "Application/X-mpegURL; charset=utf-8"]
)
@pytest.mark.parametrize("size_mb", [1, STREAM_FROM_MB])
async def test_a_playlist_is_known_by_its_type(
    media_type: str, size_mb: float, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    film = tmp_path / "a.ts"
    make("-i", make_mp4(tmp_path / "film.mp4"), "-c", "copy", film)
    text = playlist_of("a.ts").replace("0.4", "4.0").encode()
    listed = Answer(body=text, headers={"Content-Type": media_type})
    async with web(serving({"/live": listed, "/a.ts": film})) as server:
        url = f"{server.url}/live"
        assert await opened_as(each_ffmpeg, url, tmp_path, size_mb) == url


def test_types_of_playlists() -> None:
    assert is_playlist("application/dash+xml")
    assert not is_playlist("video/mp4")
    assert not is_playlist("")


@pytest.mark.parametrize("status", [404, 500])
async def test_a_look_that_fails_tells_nothing(status: int) -> None:
    async with web(answering(Answer(status))) as server:
        assert await look_at(server.url, ANYWHERE.networks) is None
    assert await look_at(server.url, ANYWHERE.networks) is None


async def test_a_server_that_sends_nothing_after_its_head_is_not_waited_for() -> None:
    async with web(answering(Answer(body=b"some", then_silence=True))) as server:
        look = await look_at(server.url, ANYWHERE.networks)
    assert look is not None
    assert (look.begin, look.has_parts, look.must_be_fetched) == (b"some", False, None)


def box(kind: bytes, content: bytes = b"") -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def test_where_an_index_is_stands_in_the_boxes_before_it() -> None:
    begins = box(b"ftyp", b"isom") + box(b"free")
    large = (1).to_bytes(4, "big") + b"mdat" + bytes(8)
    assert is_index_last(begins + box(b"mdat", b"film"))
    assert is_index_last(begins + large)
    assert is_index_last(box(b"wide") + box(b"mdat"))
    for other in (
        begins + box(b"moov"),
        begins,
        b"",
        bytes(99),
        b"\x1aE\xdf\xa3 matroska, not mp4",
    ):
        assert not is_index_last(other)


async def test_the_support_of_these_tests_makes_quick_starts(tmp_path: Path) -> None:
    path = tmp_path / "quick.mp4"
    make("-i", make_mp4(tmp_path / "film.mp4"), "-c", "copy", *FAST_START, path)
    assert not is_index_last(path.read_bytes())
