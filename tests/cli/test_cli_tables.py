"""Tables: one line a thing, whatever the width; in a pipe tab-separated and whole."""

import asyncio
import io
import sys
from functools import partial
from pathlib import Path
from typing import Final

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from dispatcher.cli.tables import Column, Cut, print_rows
from tests.support.commands import command
from tests.support.farm import assigned, beat, submitted
from tests.support.servers import Running
from tests.support.terminals import in_terminal

pytestmark = pytest.mark.anyio

LONG: Final = "http://media.example/archive/2026/" + "a-very-long-folder/" * 6 + "Übung 日本.mov"

cuts: st.SearchStrategy[Cut] = st.sampled_from(["never", "begin", "end", "wrap"])
texts = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=60)


@given(
    st.lists(st.tuples(texts, st.integers(0, 9), cuts), min_size=1, max_size=8),
    st.integers(20, 200),
    st.data(),
)
def test_a_table_fits_its_terminal_unless_what_is_never_cut_is_wider(
    asked: list[tuple[str, int, Cut]], width: int, data: st.DataObject
) -> None:
    rows = data.draw(
        st.lists(st.lists(texts, min_size=len(asked), max_size=len(asked)), max_size=5)
    )
    columns = [
        Column(name, partial(cell_of, at), rank, cut) for at, (name, rank, cut) in enumerate(asked)
    ]
    with pytest.MonkeyPatch.context() as patched:
        printed = printed_at(patched, columns, rows, width)
    last = min(range(len(asked)), key=lambda at: (asked[at][1], at))
    widest = max(cell_len(it) for it in (asked[last][0], *(row[last] for row in rows)))
    for line in printed:
        assert cell_len(line) <= max(width, widest)


def cell_of(at: int, row: list[str]) -> str:
    return row[at]


def printed_at(
    patched: pytest.MonkeyPatch, columns: list[Column[list[str]]], rows: list[list[str]], width: int
) -> list[str]:
    """Return the lines of a table in a terminal of this width."""
    for name, value in {"COLUMNS": str(width), "FORCE_COLOR": "1", "NO_COLOR": "1"}.items():
        patched.setenv(name, value)
    patched.setenv("TERM", "dumb")
    out = io.StringIO()
    patched.setattr(sys, "stdout", out)
    print_rows(columns, rows)
    return out.getvalue().splitlines()


@pytest.fixture
async def farm(client: httpx2.AsyncClient) -> list[str]:
    """Two jobs, one of them with an engine that has much to tell."""
    first = await submitted(client, source_url=LONG, target_codec="av1")
    codecs = ["h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "theora", "prores", "ffv1"]
    await beat(client, "farm-07.rack-3.example", supported_codecs=codecs)
    await assigned(client, "farm-07.rack-3.example")
    return [first, await submitted(client, source_url="http://media/b.mov")]


@pytest.mark.parametrize("columns", [40, 80, 200])
async def test_jobs_take_one_line_each_and_their_ids_can_be_copied(
    farm: list[str], server: Running, tmp_path: Path, columns: int
) -> None:
    told = await in_terminal(tmp_path, "jobs", columns=columns, server=server.url)
    heading, *lines = told.splitlines()
    assert heading.split()[:2] == ["job", "status"][: len(heading.split())]
    assert [line.split()[0] for line in lines] == farm
    assert all(cell_len(line) <= columns for line in told.splitlines())
    if columns >= 80:
        assert "…" in lines[0]
        assert "日本.mov" in lines[0]


@pytest.mark.usefixtures("farm")
async def test_wide_shows_everything(server: Running, tmp_path: Path) -> None:
    told = await in_terminal(tmp_path, "jobs", "--wide", columns=80, server=server.url)
    assert LONG in told
    assert "retries" in told.splitlines()[0]


async def test_engines_take_one_line_each(farm: list[str], server: Running, tmp_path: Path) -> None:
    told = await in_terminal(tmp_path, "engines", columns=80, server=server.url)
    heading, line = told.splitlines()
    assert heading.split()[:3] == ["engine", "status", "job"]
    assert line.split()[:3] == ["farm-07.rack-3.example", "busy", farm[0]]
    assert cell_len(line) <= 80


async def test_in_a_pipe_every_line_has_all_columns_between_tabs(
    farm: list[str], server: Running, tmp_path: Path
) -> None:
    done = await command(tmp_path, "jobs", server=server.url)
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert [row[0] for row in rows] == farm
    assert {len(row) for row in rows} == {8}
    assert rows[0][3] == LONG


@pytest.mark.usefixtures("farm")
async def test_without_colour_there_is_none(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("jobs",)
    styled = await in_terminal(tmp_path, *asked, columns=80, server=server.url, styled=True)
    assert "\x1b[33m" in styled
    monkeypatch.setenv("NO_COLOR", "1")
    plainly = await in_terminal(tmp_path, *asked, columns=80, server=server.url, styled=True)
    assert "\x1b[33m" not in plainly


async def test_one_job_is_told_field_by_field(
    farm: list[str], server: Running, tmp_path: Path
) -> None:
    told, piped = await asyncio.gather(
        in_terminal(tmp_path, "job", farm[0], columns=80, server=server.url),
        command(tmp_path, "job", farm[0], server=server.url),
    )
    assert told.splitlines()[0].split() == ["job", farm[0]]
    fields = dict(line.split("\t", 1) for line in piped.out.splitlines())
    assert fields["engine"] == "farm-07.rack-3.example, attempt 1"
    assert fields["source"] == LONG
    assert fields["submitted"].endswith("UTC")
