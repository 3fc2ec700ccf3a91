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
    assert done.out.translate(str.maketrans("", "", "\n\t")).isprintable()
    told = done.out
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
    assert done.err == "INFO job \\x1b]0;owned\\x07\\nof an engine\n"


FORGED: Final = "2026-01-02 03:04:05 INFO engine e: all is well"


async def test_no_text_of_others_makes_a_line_of_the_log(tmp_path: Path) -> None:
    script = f"""
import logging, sys
from dispatcher.cli.output import log_plainly
log_plainly("%(levelname)s %(message)s", logging.INFO)
for end in ("\\n", "\\r", "\\x0b", "\\x85", "\\u2028"):
    logging.info("job %s", "http://anna:secret@media/a" + end + {FORGED!r})
    try:
        raise ValueError("x" + end + {FORGED!r} + " http://anna:secret@media/")
    except ValueError:
        logging.exception("failed: %s", {FORGED!r})
"""
    done = await command(tmp_path, program=("-c", script))
    lines = done.err.splitlines()
    assert sum(line.startswith(("INFO", "ERROR")) for line in lines) == 10
    assert all(line.startswith(("INFO job http://media/a", "ERROR ", "  ")) for line in lines)
    assert not any(line.startswith(FORGED) for line in lines)
    assert "secret" not in done.err


async def test_what_the_dispatcher_says_of_a_path_is_one_line(tmp_path: Path) -> None:
    """Such as that of a request that met a defect."""
    script = """
import logging
from dispatcher.api.errors import answer_to
from dispatcher.cli.output import log_plainly
from dispatcher.core.commands import Caller
log_plainly("%(levelname)s %(message)s", logging.INFO)
scope = {"method": "GET", "path": "/x\\nINFO forged", "state": {"caller": Caller("a", "b")}}
answer_to(ValueError("y\\nINFO forged"), scope)
"""
    done = await command(tmp_path, program=("-c", script))
    assert done.status == 0
    assert [line for line in done.err.splitlines() if not line.startswith("  ")] == [
        "ERROR GET /x\\nINFO forged failed, request b"
    ]


async def test_passwords_of_sources_are_shown_to_scripts_alone(
    client: httpx2.AsyncClient, server: Running, tmp_path: Path
) -> None:
    url = "http://anna:secret@media/in.mp4?token=c0ffee"
    job_id = await submitted(client, source_url=url, max_retries=1)
    failure = {"error_message": f"{url}: refused"}
    assert (await client.post(f"/jobs/{job_id}/fail", json=failure)).status_code == 200
    for words in (("jobs",), ("job", job_id), ("history", job_id), ("why", job_id)):
        done = await command(tmp_path, *words, server=server.url)
        assert done.status == 0
        assert "secret" not in done.out + done.err
        assert "c0ffee" not in done.out + done.err
    done = await command(tmp_path, "job", job_id, "--json", server=server.url)
    assert done.json["source_url"] == url


async def test_the_password_of_a_dispatchers_url_is_not_told(tmp_path: Path) -> None:
    for url in ("http://anna:secret@127.0.0.1:9", "ftp://anna:secret@h/", "http://anna:secret/@h"):
        done = await command(tmp_path, "jobs", server=url)
        assert done.status in {3, 4}
        assert "secret" not in done.err
