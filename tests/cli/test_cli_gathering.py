"""What `submit` takes: files, folders, patterns, lists."""

from pathlib import Path
from typing import Final

import pytest

from dispatcher.client import Client
from tests.support.commands import command
from tests.support.servers import Running

pytestmark = pytest.mark.anyio

FILMS: Final = ("films/b.mkv", "films/a.MOV", "films/deep/c [1].mp4")
OTHERS: Final = ("films/notes.txt", "films/.hidden.mp4", "films/.git/d.mp4", "films/a.srt")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name in (*FILMS, *OTHERS):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"film")
    (tmp_path / "films/deep/back").symlink_to(tmp_path / "films")
    (tmp_path / "empty").mkdir()
    return tmp_path


async def sources(dispatcher: Client, here: Path) -> list[str]:
    prefix = f"{here.as_uri()}/"
    return [job.source_url.removeprefix(prefix) for job in await dispatcher.jobs()]


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (["films"], ["films/a.MOV", "films/b.mkv", "films/deep/c%20%5B1%5D.mp4"]),
        (["films/"], ["films/a.MOV", "films/b.mkv", "films/deep/c%20%5B1%5D.mp4"]),
        (["films/*.m*", "films/b.mkv"], ["films/b.mkv", "films/b.mkv"]),
        (["films/b.mkv", "films"], ["films/b.mkv", "films/a.MOV", "films/deep/c%20%5B1%5D.mp4"]),
        (["films/.hid*"], ["films/.hidden.mp4"]),
        (["films/**/*.mp4"], ["films/deep/c%20%5B1%5D.mp4"]),
        (["films/deep/c [1].mp4"], ["films/deep/c%20%5B1%5D.mp4"]),
        (["films/notes.txt"], ["films/notes.txt"]),
        (["http://media/*.mp4"], ["http://media/*.mp4"]),
    ],
)
async def test_folders_and_patterns_stand_for_their_films(
    dispatcher: Client, server: Running, here: Path, named: list[str], expected: list[str]
) -> None:
    arguments = ("submit", *named, "--codec", "h264", "--shared")
    done = await command(here, *arguments, server=server.url)
    assert done.status == 0
    assert await sources(dispatcher, here) == expected


async def test_a_list_has_a_source_a_line(dispatcher: Client, server: Running, here: Path) -> None:
    text = "\ufeff# from the camera\r\nhttp://media/a.mp4\r\n\r\n  films/b.mkv  \nfilms/*.MOV"
    (here / "list.txt").write_text(text, newline="")
    arguments = ("submit", "http://m/0", "--from", "list.txt", "--codec", "h264", "--shared")
    done = await command(here, *arguments, server=server.url)
    assert done.status == 0
    assert await sources(dispatcher, here) == [
        "http://m/0",
        "http://media/a.mp4",
        "films/b.mkv",
        "films/a.MOV",
    ]


async def test_a_list_may_come_through_a_pipe(
    dispatcher: Client, server: Running, here: Path
) -> None:
    script = (
        "import io, sys; sys.stdin = io.StringIO('http://media/a.mp4\\nhttp://media/b.mp4\\n'); "
        "sys.argv = ['dispatcher', 'submit', '--from', '-', '--codec', 'h264']; "
        "from dispatcher.cli import main; main()"
    )
    done = await command(here, program=("-c", script), server=server.url)
    assert done.status == 0
    assert await sources(dispatcher, here) == ["http://media/a.mp4", "http://media/b.mp4"]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ((), "name a SOURCE, or a list"),
        (("empty",), "empty: has no films"),
        (("*.flv",), "no file matches this pattern"),
        (("nothing.mp4",), "there is no such file or folder"),
        (("--from", "no-list"), "--from no-list: can't be read: No such file"),
        (("--from", "bad.txt"), "bad.txt:2: nothing.mp4: there is no such file or folder"),
        (("--from", "none.txt"), "name a SOURCE, or a list"),
        (("--from", "films"), "--from films: can't be read: Is a directory"),
        (("--from", "binary"), "is no text in UTF-8"),
        (("a\\0b",), "there is no such file"),
    ],
)
async def test_what_is_not_there_is_named_and_nothing_is_submitted(
    dispatcher: Client, server: Running, here: Path, arguments: tuple[str, ...], fault: str
) -> None:
    (here / "bad.txt").write_text("films/b.mkv\nnothing.mp4\n")
    (here / "none.txt").write_text("# nothing\n")
    (here / "binary").write_bytes(b"\xff\xfe\x00")
    done = await command(here, "submit", *arguments, "--codec", "h264", server=server.url)
    assert (done.status, done.out) == (2, "")
    assert fault in " ".join(done.err.replace("│", " ").split())
    assert await dispatcher.jobs() == []
