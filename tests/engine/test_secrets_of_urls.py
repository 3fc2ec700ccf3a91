"""What an engine tells of URLs that carry a password: nothing of it, in no log and no report."""

import shutil
from pathlib import Path
from typing import Final

import msgspec
import pytest

from dispatcher.client import Client
from dispatcher.engine.ffmpeg import Ffmpeg
from tests.support.commands import started
from tests.support.engines import at_work, final
from tests.support.media import Clips
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.servers import Running
from tests.support.web import Answer, Asked, serving, web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

SECRET: Final = "hunter2222"
SIGNATURE: Final = "c0ffee2222"


def with_password(url: str) -> str:
    return url.replace("//", f"//anna:{SECRET}@")


def content_of(db: Path) -> bytes:
    """All bytes of a log."""
    return b"".join(path.read_bytes() for path in db.parent.glob(f"{db.name}*") if path.is_file())


async def test_an_output_goes_to_a_server_whose_password_is_in_no_log(
    server: Running,
    dispatcher: Client,
    ffmpeg: Ffmpeg,
    clips: Clips,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def take(_: Asked) -> Answer:
        return Answer(201)

    async with web(serving({"/clip.mp4": clips.plain})) as origin, web(take) as store:
        output = f"{with_password(store.url)}/out?sig={SIGNATURE}"
        async with at_work(server.url, ffmpeg, tmp_path, output=output):
            submitted = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4")
            job = await final(dispatcher, submitted.job_id)
    assert job.output_url == f"{store.url}/out/clip-{job.job_id}-1.mp4?sig=***"
    assert store.asked[0].target.endswith(f"?sig={SIGNATURE}")
    for secret in (SECRET, SIGNATURE):
        assert secret.encode() not in content_of(server.db)
        assert secret not in caplog.text


@pytest.mark.parametrize("target", ["/missing.mp4", "/text.mp4", "/list.m3u8"])
async def test_an_error_tells_no_password_of_the_source(
    target: str,
    server: Running,
    dispatcher: Client,
    ffmpeg: Ffmpeg,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def answer(asked: Asked) -> Answer:
        return Answer(body=b"no film") if "text" in asked.target else Answer(404)

    async with web(answer) as origin, at_work(server.url, ffmpeg, tmp_path):
        url = f"{with_password(origin.url)}{target}?v=1&X-Amz-Signature={SIGNATURE}"
        submitted = await dispatcher.submit(url, "mpeg4", max_retries=1)
        job = await final(dispatcher, submitted.job_id)
    assert job.status == "failed_permanently"
    assert job.source_url == url  # it is the client's, and engines need it
    for secret in (SECRET, SIGNATURE):
        assert secret not in str(job.error_message)
        assert secret not in caplog.text


async def test_a_journal_that_another_user_planted_moves_no_file(
    server: Running, dispatcher: Client, tmp_path: Path
) -> None:
    """In a folder that anybody could write to, the engine does not even start."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    job = await dispatcher.submit("http://127.0.0.1:9/in.mp4", "mpeg4")
    entry = {"job": job, "stage": "transcoded", "result": str(victim)}
    planted = tmp_path / "work" / "e"
    planted.mkdir(parents=True)
    (planted / "journal.json").write_bytes(msgspec.json.encode(entry))
    options = ("--id", "e", "--work-dir", "work", "--output", "out", "--wait-s", "0")
    planted.chmod(0o777)
    async with started(tmp_path, "engine", *options, server=server.url) as refused:
        out, err = await refused.communicate()
        assert (refused.returncode, out) == (1, b"")
        assert f"{planted}: others could put files into it".encode() in err
    planted.chmod(0o700)
    async with started(tmp_path, "engine", *options, server=server.url) as believing_nothing:
        assert believing_nothing.stderr is not None
        while b"ready for" not in (line := await believing_nothing.stderr.readline()):
            assert line, "it ended"
    assert victim.read_text() == "precious"
    shutil.rmtree(planted)
