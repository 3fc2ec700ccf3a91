"""What the commands print: whatever others wrote, it is text, and commands no terminal."""

import json
from pathlib import Path
from typing import Final

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.cli.output import plain
from tests.support.commands import command, started
from tests.support.farm import assigned, beat, submitted
from tests.support.servers import Running

pytestmark = pytest.mark.anyio

EVIL: Final = "\x1b]0;owned\x07\x9b2J\u202e"


@given(st.text())
def test_plain_text_is_one_printable_line(text: str) -> None:
    made = plain(text)
    assert made.isprintable()
    assert plain(made) == made
    if text.isprintable():
        assert made == text


def test_what_can_not_be_printed_is_shown_as_what_it_is() -> None:
    assert plain("señor\t\x1b[31m\n\u202e") == r"señor\t\x1b[31m\n\u202e"


@pytest.fixture
async def job(client: httpx2.AsyncClient) -> str:
    """A job of somebody, and an engine's error, who would like to command the terminal."""
    job_id = await submitted(client, source_url=f"http://media/{EVIL}", max_retries=0)
    await beat(client, "e")
    await assigned(client, "e")
    failure = {"error_message": f"one\n{EVIL}two", "engine_id": "e", "attempt": 1}
    assert (await client.post(f"/jobs/{job_id}/fail", json=failure)).status_code == 200
    return job_id


@pytest.mark.parametrize("words", [["jobs"], ["job", "ID"], ["why", "ID"], ["history", "ID"]])
async def test_what_others_wrote_does_not_command_the_terminal(
    job: str, server: Running, tmp_path: Path, words: list[str]
) -> None:
    arguments = [job if word == "ID" else word for word in words]
    done = await command(tmp_path, *arguments, server=server.url)
    assert (done.status, done.err) == (0, "")
    assert done.out.replace("\n", "").isprintable()
    told = "".join(line.strip(" │") for line in done.out.splitlines())
    assert words == ["why", "ID"] or r"\x1b]0;owned\x07" in told


async def test_nor_does_what_is_told_as_it_happens(
    job: str, server: Running, tmp_path: Path
) -> None:
    async with started(tmp_path, "tail", "--after", "0", server=server.url) as process:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
    assert job in line
    assert line.endswith(" MB\n")
    assert line.removesuffix("\n").isprintable()


async def test_nor_does_an_error(tmp_path: Path) -> None:
    done = await command(tmp_path, "jobs", server=f"http://{EVIL}")
    assert done.status == 4
    assert done.err.replace("\n", "").isprintable()


async def test_json_is_left_as_it_is(job: str, server: Running, tmp_path: Path) -> None:
    for arguments in (("job", job), ("history", job)):
        done = await command(tmp_path, *arguments, "--json", server=server.url)
        assert "\x1b" not in done.out
        shown = json.loads(done.out)
        first = shown[0] if isinstance(shown, list) else shown
        assert first["source_url"] == f"http://media/{EVIL}"


async def test_nor_does_what_is_logged(tmp_path: Path) -> None:
    """Such as the source of the job that an engine has in hand."""
    script = (
        "import logging; from dispatcher.cli.output import log_plainly; "
        "log_plainly('%(levelname)s %(message)s', logging.INFO); "
        "logging.info('job %s\\nof an engine', '\\x1b]0;owned\\x07')"
    )
    done = await command(tmp_path, program=("-c", script))
    assert (done.status, done.out) == (0, "")
    assert done.err == "INFO job \\x1b]0;owned\\x07\nof an engine\n"
