"""A film's certificate: what `dispatcher certificate` writes, and an auditor's word on it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from dispatcher.client import Client, RequestRefusedError
from dispatcher.results import Extent, Result
from tests.support.commands import Done, command
from tests.support.servers import Running, running
from tests.support.stored import FILM, SHA256

pytestmark = pytest.mark.anyio

VERIFY: Final = Path(__file__).parents[2] / "scripts" / "verify_proof.py"
OUTPUT: Final = b"the film, smaller"
MADE: Final = "2bd0eb0b8ce0b2bd1ea4ee2ad0ca0ac50cdd3c1ec5c8cb4b4cb5b6a1e84c5d2c"


class Certified(NamedTuple):
    """A folder with a certificate, the key, and both films."""

    folder: Path
    job_id: str
    text: str

    async def check(self, text: str | None = None, *films: str) -> Done:
        """Check a certificate offline: without a server, and without the dispatcher's code."""
        (self.folder / "certificate").write_text(self.text if text is None else text)
        arguments = ("certificate", "--key", "log.key", *films, "certificate")
        return await command(self.folder, *arguments, key=None, program=(str(VERIFY),))

    async def refusal(self, **changed: Any) -> str:
        """Check a certificate in which something was changed; gives why it is none."""
        done = await self.check(json.dumps(json.loads(self.text) | changed))
        assert (done.status, done.out) == (1, "")
        return done.err.removeprefix("not proved: ").strip()


@pytest.fixture
async def server(db: Path, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(db, store=tmp_path / "store") as dispatcher:
        yield dispatcher


@pytest.fixture
async def certified(server: Running, dispatcher: Client, tmp_path: Path) -> Certified:
    folder = tmp_path / "auditor"
    folder.mkdir()
    (folder / "film.mov").write_bytes(FILM)
    (folder / "out.mp4").write_bytes(OUTPUT)
    source = await dispatcher.upload(folder / "film.mov")
    output = await dispatcher.upload(folder / "out.mp4")
    for number in range(3):
        await dispatcher.submit(f"http://media/{number}.mp4", "vp9")
    job = await dispatcher.submit(source, "h264")
    report = {"supported_codecs": ["h264"], "abilities": ["store"]}
    await dispatcher.heartbeat("farm-7", report)
    await dispatcher.assign("farm-7")
    progress = {"current_job": job.job_id, "progress": 50}
    await dispatcher.heartbeat("farm-7", report | progress)
    result = Result(
        source=Extent(sha256=SHA256),
        output=Extent(sha256=output[6:70]),
        ffmpeg="ffmpeg version 5.1",
        arguments=("-c:v", "libx264"),
    )
    await dispatcher.complete(job.job_id, output, engine_id="farm-7", result=result)
    with pytest.raises(RequestRefusedError):
        await dispatcher.fail(job.job_id, "too late", engine_id="other", attempt=9)
    done = await command(tmp_path, "certificate", job.job_id, server=server.url)
    assert (done.status, done.err) == (0, "")
    key = await dispatcher._connection.call("GET", "/log/key")
    (folder / "log.key").write_text(key.text)
    return Certified(folder, job.job_id, done.out)


async def test_a_certificate_tells_of_the_film(certified: Certified) -> None:
    told = json.loads(certified.text)
    assert (told["job_id"], told["engine"]) == (certified.job_id, "farm-7")
    assert told["source"] == {"url": f"store:{SHA256}/film.mov", "sha256": SHA256}
    assert (told["ffmpeg"], told["arguments"]) == ("ffmpeg version 5.1", ["-c:v", "libx264"])
    types = [json.loads(event["line"])["type"] for event in told["events"]]
    assert types == ["job_submitted", "job_assigned", "job_completed"]


async def test_an_auditor_proves_it_offline_with_the_films_beside_it(certified: Certified) -> None:
    alone = await certified.check()
    assert (alone.status, alone.err) == (0, "")
    assert alone.out.startswith(f"job {certified.job_id}: no film was looked at; the output, SHA-")
    both = await certified.check(None, "--source", "film.mov", "--output", "out.mp4")
    assert (both.status, both.err) == (0, "")
    assert both.out.startswith(f"job {certified.job_id}: this source and this output, SHA-256 ")
    assert "made by engine 'farm-7' at " in both.out


async def test_another_film_is_not_the_one(certified: Certified) -> None:
    (certified.folder / "out.mp4").write_bytes(OUTPUT[:-1])
    done = await certified.check(None, "--output", "out.mp4")
    assert done.status == 1
    assert done.err.startswith("not proved: the output has the SHA-256 ")


async def test_what_was_changed_in_a_certificate_is_found(certified: Certified) -> None:
    told = json.loads(certified.text)
    events = told["events"]
    not_said = "of the certificate is not what the events say"
    assert await certified.refusal(engine="farm-8") == f'"engine" {not_said}'
    assert await certified.refusal(ffmpeg=None) == f'"ffmpeg" {not_said}'
    assert await certified.refusal(arguments=["-c:v", "libx265"]) == f'"arguments" {not_said}'
    output = told["output"] | {"sha256": MADE}
    assert await certified.refusal(output=output) == f'"output" {not_said}'
    assert "is not of job" in await certified.refusal(job_id="another")
    assert "do not begin with" in await certified.refusal(events=events[1:])
    assert "do not begin with" in await certified.refusal(events=events[:-1])
    assert "not in their order" in await certified.refusal(events=[events[0], *events])
    assert "has no list" in await certified.refusal(events=[])
    forged = events[-1] | {"line": events[-1]["line"].replace("farm-7", "farm-8")}
    assert "its hash differs" in await certified.refusal(events=[*events[:-1], forged])
    assert "the checkpoint has" in await certified.refusal(checkpoint="none")
    signed = told["checkpoint"].replace("\n\n", "x\n\n")
    assert "the checkpoint" in await certified.refusal(checkpoint=signed)
    assert "this is no" in await certified.refusal(certificate="mine")


async def test_a_job_that_is_not_completed_has_no_certificate(
    server: Running, dispatcher: Client, tmp_path: Path
) -> None:
    job = await dispatcher.submit("http://media/in.mp4", "h264")
    done = await command(tmp_path, "certificate", job.job_id, server=server.url)
    assert (done.status, done.out) == (4, "")
    assert "is not completed, so there is no film to certify" in done.err


async def test_a_certificate_replaces_no_file(
    server: Running, certified: Certified, tmp_path: Path
) -> None:
    arguments = ("certificate", certified.job_id, "-o", "film.certificate")
    written = await command(tmp_path, *arguments, server=server.url)
    assert (written.status, written.out) == (0, "film.certificate\n")
    again = await command(tmp_path, *arguments, server=server.url)
    assert (again.status, "is not replaced" in again.err) == (1, True)
