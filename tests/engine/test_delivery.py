"""Where a job's output goes: whole, or not at all."""

import asyncio
import base64
import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import stamina

from dispatcher.engine.delivery import DeliveryError, delivery_to
from dispatcher.engine.workspace import file_name
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.web import Answer, Asked, answering, web

pytestmark = pytest.mark.anyio

VIDEO: Final = bytes(range(256)) * 10_000
MP4: Final = "video/mp4"


@pytest.fixture(autouse=True)
def _no_pauses_between_tries() -> Iterator[None]:
    with stamina.set_testing(testing=True, attempts=5):
        yield


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "work" / "output.mp4"
    path.parent.mkdir()
    path.write_bytes(VIDEO)
    return path


def named_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Into a directory


async def test_a_directory_is_made_with_its_parents(tmp_path: Path, output: Path) -> None:
    folder = tmp_path / "a" / "b"
    url = await delivery_to(str(folder)).deliver(output, "job-1.mp4", MP4)
    assert url == (folder / "job-1.mp4").as_uri()
    assert (folder / "job-1.mp4").read_bytes() == VIDEO
    assert named_in(folder) == ["job-1.mp4"]
    assert not output.exists()


async def test_a_relative_directory_gives_an_absolute_url(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = await delivery_to("outputs").deliver(output, "job-1.mp4", MP4)
    assert url == (tmp_path / "outputs" / "job-1.mp4").as_uri()


@pytest.mark.parametrize("name", ["outputs", "my outputs", "100%", "señor"])
async def test_a_directory_may_be_a_file_url(name: str, tmp_path: Path, output: Path) -> None:
    folder = tmp_path / name
    url = await delivery_to(folder.as_uri()).deliver(output, "job-1.mp4", MP4)
    assert url == (folder / "job-1.mp4").as_uri()
    assert named_in(folder) == ["job-1.mp4"]


@pytest.mark.parametrize(
    ("there", "becomes"),
    [
        ([], "film.mp4"),
        (["film.mp4"], "film-job-1.mp4"),
        (["film.mp4", "film-job-1.mp4"], "film-job-1-2.mp4"),
    ],
)
async def test_an_output_replaces_no_other_file(
    there: list[str], becomes: str, tmp_path: Path, output: Path
) -> None:
    folder = tmp_path / "outputs"
    delivery = delivery_to(str(folder))
    for name in there:
        (folder / name).write_text("precious")
    url = await delivery.deliver(output, "film-job-1.mp4", MP4, "film.mp4")
    assert url == (folder / becomes).as_uri()
    assert (folder / becomes).read_bytes() == VIDEO
    assert {(folder / name).read_text() for name in there} <= {"precious"}
    await delivery.discard(url)
    assert named_in(folder) == sorted(there)


async def test_of_two_outputs_at_once_each_has_a_file(tmp_path: Path, output: Path) -> None:
    other = output.with_name("other.mp4")
    other.write_bytes(b"another")
    delivery = delivery_to(str(tmp_path / "outputs"))
    urls = await asyncio.gather(
        delivery.deliver(output, "film-a-1.mp4", MP4, "film.mp4"),
        delivery.deliver(other, "film-b-1.mp4", MP4, "film.mp4"),
    )
    assert len(set(urls)) == 2
    contents = [path.read_bytes() for path in (tmp_path / "outputs").iterdir()]
    assert sorted(map(len, contents)) == [7, len(VIDEO)]


@pytest.mark.parametrize("taken", [False, True])
async def test_an_output_that_was_moved_before_its_engine_died_is_found_again(
    taken: bool, tmp_path: Path, output: Path
) -> None:
    folder = tmp_path / "outputs"
    delivery = delivery_to(str(folder))
    if taken:
        (folder / "film.mp4").write_text("another's")
    first = await delivery.deliver(output, "film-job-1.mp4", MP4, "film.mp4")
    assert await delivery.deliver(output, "film-job-1.mp4", MP4, "film.mp4") == first


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
async def test_a_note_that_can_not_be_written_costs_no_output(tmp_path: Path, output: Path) -> None:
    note = output.with_name(f"{output.name}.moved")
    note.symlink_to("/dev/full")
    delivery = delivery_to(str(tmp_path / "outputs"))
    url = await delivery.deliver(output, "film-job-1.mp4", MP4, "film-job.mp4")
    assert named_in(tmp_path / "outputs") == ["film-job.mp4"]
    assert not note.is_symlink()
    assert await delivery.deliver(output, "film-job-1.mp4", MP4, "film-job.mp4") == url


async def test_an_output_crosses_file_systems(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_device(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "rename", other_device)
    await delivery_to(str(tmp_path / "outputs")).deliver(output, "job-1.mp4", MP4)
    assert (tmp_path / "outputs" / "job-1.mp4").read_bytes() == VIDEO
    assert named_in(tmp_path / "outputs") == ["job-1.mp4"]


@pytest.mark.parametrize("crosses", [False, True])
async def test_no_link_that_another_user_puts_there_is_followed(
    crosses: bool, tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of the draft is known beforehand, and the directory may be everybody's."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    delivery = delivery_to(str(tmp_path / "outputs"))
    part = tmp_path / "outputs" / ".job-1.mp4.part"
    unlink = Path.unlink

    def unlinked_and_planted(path: Path, *, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        if path == part:
            part.symlink_to(victim)

    def other_device(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "unlink", unlinked_and_planted)
    if crosses:
        monkeypatch.setattr(os, "rename", other_device)
        with pytest.raises(DeliveryError, match="can't be written: File exists"):
            await delivery.deliver(output, "job-1.mp4", MP4)
    else:
        await delivery.deliver(output, "job-1.mp4", MP4)
        assert (tmp_path / "outputs" / "job-1.mp4").read_bytes() == VIDEO
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("target", ["{}", "{}/below", "file://{}"])
async def test_a_directory_that_can_not_be_made_is_named(target: str, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    with pytest.raises(DeliveryError, match=f"{in_the_way}.*: can't be made: "):
        delivery_to(target.format(in_the_way))


@pytest.mark.parametrize("target", ["ftp://media/", "s3://bucket/x", "file://nas/outputs"])
async def test_other_targets_are_refused(target: str) -> None:
    with pytest.raises(DeliveryError) as told:
        delivery_to(target)
    assert str(told.value) == f"{target}: outputs go to a directory or an http(s):// URL"


async def test_a_directory_that_has_gone_is_a_delivery_error(tmp_path: Path, output: Path) -> None:
    folder = tmp_path / "outputs"
    delivery = delivery_to(str(folder))
    folder.rmdir()
    with pytest.raises(DeliveryError, match=r"job-1\.mp4: can't be written: No such file"):
        await delivery.deliver(output, "job-1.mp4", MP4)


async def test_a_full_disk_is_a_delivery_error_and_leaves_nothing(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DeliveryError, match="can't be written: No space left on device"):
        await delivery_to(str(tmp_path / "outputs")).deliver(output, "job-1.mp4", MP4)
    assert named_in(tmp_path / "outputs") == []


class HeldDisk:
    """A disk that is asked to make a file durable, and does so when it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = asyncio.Event()
        self.go = threading.Event()
        loop = asyncio.get_running_loop()
        fsync: Callable[[int], None] = os.fsync

        def held(fd: int) -> None:
            loop.call_soon_threadsafe(self.asked.set)
            self.go.wait(10)
            fsync(fd)

        monkeypatch.setattr(os, "fsync", held)


async def test_under_its_name_an_output_is_whole_and_durable_from_the_first_moment(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = HeldDisk(monkeypatch)
    delivery = delivery_to(str(tmp_path / "outputs"))
    delivering = asyncio.create_task(delivery.deliver(output, "job-1.mp4", MP4))
    await disk.asked.wait()
    assert not (tmp_path / "outputs" / "job-1.mp4").exists()
    disk.go.set()
    await delivering
    assert named_in(tmp_path / "outputs") == ["job-1.mp4"]


async def test_a_cancelled_delivery_leaves_nothing(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = HeldDisk(monkeypatch)
    delivery = delivery_to(str(tmp_path / "outputs"))
    delivering = asyncio.create_task(delivery.deliver(output, "job-1.mp4", MP4))
    await disk.asked.wait()
    delivering.cancel()
    disk.go.set()
    with pytest.raises(asyncio.CancelledError):
        await delivering
    assert named_in(tmp_path / "outputs") == []


@pytest.mark.parametrize("job_id", ["1704067200123456_0", "a b", "a/b", "100%", "señor"])
async def test_a_discarded_output_is_gone(job_id: str, tmp_path: Path, output: Path) -> None:
    delivery = delivery_to(str(tmp_path / "outputs"))
    url = await delivery.deliver(output, f"{file_name(job_id)}-1.mp4", MP4)
    assert len(named_in(tmp_path / "outputs")) == 1
    await delivery.discard(url)
    assert named_in(tmp_path / "outputs") == []


async def test_to_discard_what_has_gone_already_is_no_error(tmp_path: Path, output: Path) -> None:
    delivery = delivery_to(str(tmp_path / "outputs"))
    url = await delivery.deliver(output, "job-1.mp4", MP4)
    shutil.rmtree(tmp_path / "outputs")
    await delivery.discard(url)


# To a web server


async def test_a_web_server_is_put_the_output_with_its_type_and_length(output: Path) -> None:
    async with web(answering(Answer(201))) as server:
        url = await delivery_to(f"{server.url}/videos/").deliver(output, "a b-1.mp4", MP4)
    assert url == f"{server.url}/videos/a%20b-1.mp4"
    (put,) = server.asked
    assert (put.method, put.target) == ("PUT", "/videos/a%20b-1.mp4")
    assert put.headers["content-type"] == MP4
    assert put.headers["content-length"] == str(len(VIDEO))
    assert "transfer-encoding" not in put.headers
    assert put.body == VIDEO


async def test_a_web_server_that_fails_is_asked_again_with_the_whole_output(output: Path) -> None:
    statuses = iter([500, 503, 201])

    async def answer(_: Asked) -> Answer:
        return Answer(next(statuses))

    async with web(answer) as server:
        await delivery_to(server.url).deliver(output, "job-1.mp4", MP4)
    assert [put.body == VIDEO for put in server.asked] == [True, True, True]


async def test_a_web_server_that_hangs_up_is_asked_again(output: Path) -> None:
    answers = iter([None, Answer(201)])

    async def answer(_: Asked) -> Answer | None:
        return next(answers)

    async with web(answer) as server:
        await delivery_to(server.url).deliver(output, "job-1.mp4", MP4)
    assert len(server.asked) == 2


async def test_a_web_server_that_keeps_failing_is_given_up(output: Path) -> None:
    async with web(answering(Answer(500))) as server:
        with pytest.raises(DeliveryError) as told:
            await delivery_to(server.url).deliver(output, "job-1.mp4", MP4)
    assert str(told.value) == f"PUT {server.url}/job-1.mp4: the server answered 500"
    assert len(server.asked) == 5


@pytest.mark.parametrize("status", [301, 401, 403, 404, 413])
async def test_a_web_server_that_says_no_is_not_asked_again(status: int, output: Path) -> None:
    async with web(answering(Answer(status))) as server:
        with pytest.raises(DeliveryError) as told:
            await delivery_to(server.url).deliver(output, "job-1.mp4", MP4)
    assert str(told.value) == f"PUT {server.url}/job-1.mp4: the server answered {status}"
    assert len(server.asked) == 1


async def test_a_web_server_that_is_away_is_a_delivery_error(output: Path) -> None:
    async with web(answering(Answer())) as server:
        pass
    with pytest.raises(DeliveryError, match=f"PUT {server.url}/job-1.mp4: "):
        await delivery_to(server.url).deliver(output, "job-1.mp4", MP4)


@pytest.mark.parametrize("url", ["http://127.0.0.1:port", "http://127.0.0.1:99999", "http://["])
async def test_a_web_server_that_can_not_exist_is_a_delivery_error(url: str, output: Path) -> None:
    with pytest.raises(DeliveryError):
        await delivery_to(url).deliver(output, "job-1.mp4", MP4)


async def test_an_output_is_discarded_from_a_web_server(output: Path) -> None:
    async with web(answering(Answer(204))) as server:
        delivery = delivery_to(server.url)
        await delivery.discard(await delivery.deliver(output, "job-1.mp4", MP4))
    assert [(a.method, a.target) for a in server.asked] == [
        ("PUT", "/job-1.mp4"),
        ("DELETE", "/job-1.mp4"),
    ]


@pytest.mark.parametrize("answer", [Answer(404), Answer(405), None])
async def test_a_web_server_that_will_not_discard_is_no_error(answer: Answer | None) -> None:
    async def give(_: Asked) -> Answer | None:
        return answer

    async with web(give) as server:
        await delivery_to(server.url).discard(f"{server.url}/job-1.mp4")


# Credentials


async def test_the_password_of_a_web_server_is_used_and_not_told(output: Path) -> None:
    async with web(answering(Answer(201))) as server:
        base = server.url.replace("//", "//anna:se%63ret@")
        delivery = delivery_to(f"{base}/videos?sig=c0ffee&v=1")
        url = await delivery.deliver(output, "job-1.mp4", MP4)
        assert url == f"{server.url}/videos/job-1.mp4?sig=***&v=1"
        await delivery.discard(url)
    put, deleted = server.asked
    assert put.target == deleted.target == "/videos/job-1.mp4?sig=c0ffee&v=1"
    signed = f"Basic {base64.b64encode(b'anna:secret').decode()}"
    assert put.headers["authorization"] == deleted.headers["authorization"] == signed


@pytest.mark.parametrize("status", [403, 500])
async def test_nor_is_it_told_by_an_error(status: int, output: Path) -> None:
    async with web(answering(Answer(status))) as server:
        target = f"{server.url.replace('//', '//anna:secret@')}?sig=c0ffee"
        with pytest.raises(DeliveryError) as told:
            await delivery_to(target).deliver(output, "job-1.mp4", MP4)
    with pytest.raises(DeliveryError) as away:
        await delivery_to(target).deliver(output, "job-1.mp4", MP4)
    for error in (told, away):
        assert str(error.value).startswith(f"PUT {server.url}/job-1.mp4?sig=***: ")
        assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "target", ["ftp://anna:secret@h/", "http://anna:secret@h:0/", "http://anna:secret/@h:x/"]
)
def test_nor_by_one_about_the_target(target: str) -> None:
    with pytest.raises(DeliveryError) as told:
        delivery_to(target)
    assert "secret" not in str(told.value)
