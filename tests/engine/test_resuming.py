"""A stream that is interrupted goes on where it was, or fails."""

import re
from pathlib import Path
from typing import Final

import pytest

from dispatcher.engine import resuming
from dispatcher.engine.ffmpeg import Ffmpeg, FfmpegError
from dispatcher.engine.resuming import Resumable
from dispatcher.engine.sources import STREAM_FROM_MB
from dispatcher.engine.transcoding import transcode
from tests.support.engines import ANYWHERE
from tests.support.media import found_in
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.sources import make
from tests.support.web import Answer, Asked, web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")


class Interrupted:
    """A server that gives out parts, and breaks off after each of the first so many eighths."""

    def __init__(self, data: bytes, breaks: int, *, changes: bool = False) -> None:
        self._data = data
        self._breaks = breaks
        self._changes = changes
        self.begins: list[int] = []

    async def __call__(self, asked: Asked) -> Answer:
        total = len(self._data)
        wanted = RANGE.fullmatch(asked.headers.get("range", ""))
        begin = int(wanted[1]) if wanted else 0
        end = min(int(wanted[2]) + 1, total) if wanted and wanted[2] else total
        body = self._data[begin:end]
        self.begins.append(begin)
        tag = len(self.begins) if self._changes else 0
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{tag}"'}
        if wanted:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{total}"
        sent = body[: total // 8] if begin < self._breaks * (total // 8) else body
        return Answer(206 if wanted else 200, sent, headers, length=len(body))


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "PAUSES_S", (0.0,) * len(resuming.PAUSES_S))


@pytest.fixture
def film(tmp_path: Path) -> bytes:
    path = tmp_path / "film.ts"
    picture = ("-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=4,noise=alls=20")
    make(*picture, "-c:v", "mpeg2video", "-b:v", "4M", path)
    return path.read_bytes()


async def stream(ffmpeg: Ffmpeg, server: Interrupted, folder: Path) -> None:
    async with web(server) as there:
        url = f"{there.url}/film.ts"
        async with ANYWHERE.opened(url, STREAM_FROM_MB, folder, streams=True) as source:
            assert source.url == url
            await transcode(ffmpeg, source, "mpeg4", folder / "output.mp4")


@pytest.mark.parametrize("breaks", [0, 1, len(resuming.PAUSES_S)])
async def test_an_interrupted_stream_goes_on_where_it_was(
    breaks: int, each_ffmpeg: Ffmpeg, film: bytes, tmp_path: Path
) -> None:
    server = Interrupted(film, breaks)
    await stream(each_ffmpeg, server, tmp_path)
    assert found_in(tmp_path / "output.mp4").size == "320x240"
    assert {len(film) // 8 * n for n in range(breaks + 1)} <= set(server.begins)


@pytest.mark.parametrize(
    ("breaks", "changes"), [(99, False), (1, True)], ids=["too often", "another film"]
)
async def test_a_stream_that_can_not_go_on_is_away(
    breaks: int, changes: bool, each_ffmpeg: Ffmpeg, film: bytes, tmp_path: Path
) -> None:
    with pytest.raises(FfmpegError, match="Stream ends prematurely") as told:
        await stream(each_ffmpeg, Interrupted(film, breaks, changes=changes), tmp_path)
    assert told.value.cause == "source_away"


def fields(**named: str) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in named.items()}


OK, PART = "HTTP/1.1 200 OK", "HTTP/1.1 206 Partial Content"
WHOLE = fields(content_length="9", accept_ranges="bytes", last_modified="then")


@pytest.mark.parametrize(
    ("method", "status", "told"),
    [
        ("HEAD", OK, WHOLE),
        ("GET", OK, WHOLE | fields(accept_ranges="none")),
        ("GET", OK, WHOLE | fields(content_length="")),
        ("GET", OK, WHOLE | fields(transfer_encoding="chunked")),
        ("GET", "HTTP/1.1 404 Not Found", WHOLE),
        ("GET", PART, WHOLE),
        ("GET", "", WHOLE),
    ],
)
def test_not_every_answer_can_be_resumed(method: str, status: str, told: dict[str, str]) -> None:
    assert Resumable.of(method, status, told) is None


def test_the_rest_is_asked_for_and_must_be_the_rest() -> None:
    answer = Resumable.of("GET", OK, WHOLE)
    assert answer is not None
    answer.received(4)
    assert (answer.range, answer.is_over) == ("Range: bytes=4-8", False)
    rest = fields(content_length="5", content_range="bytes 4-8/9", last_modified="then")
    assert answer.goes_on(PART, rest)
    assert not answer.goes_on(OK, rest)
    for other in (
        fields(content_range="bytes 3-8/9"),
        fields(content_range="bytes 4-8/10"),
        fields(content_range="bytes 4-7/9"),
        fields(content_range="bytes */9"),
        fields(last_modified="now"),
        fields(etag='"a"'),
        fields(transfer_encoding="chunked"),
    ):
        assert not answer.goes_on(PART, rest | other)
    answer.received(5)
    assert answer.is_over
    pauses = [answer.pause_s() for _ in range(len(resuming.PAUSES_S) + 1)]
    assert pauses[-1] is None
    assert None not in pauses[:-1]


def test_of_a_part_its_own_end_counts() -> None:
    told = fields(content_length="3", content_range="bytes 2-4/9")
    answer = Resumable.of("GET", PART, told)
    assert answer is not None
    answer.received(1)
    assert answer.range == "Range: bytes=3-4"
