"""The benchmark in its short form: it runs, and its page has a row for everything."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
SCRIPT: Final = ROOT / "scripts/bench.py"
LIMIT_S: Final = 300

CONTESTANTS: Final = (
    "dispatcher, durable",
    "(1) Litestar, typed",
    "(1b) Litestar, leanest",
    "(2) bare ASGI echo",
)
TARGETS: Final = (
    *("A.throughput", "A.p99", "A.batches", "C.decoding", "C.library"),
    *("D.assign", "D.startup", "D.memory", "D.list", "D.loop"),
)
VERDICTS: Final = {"met", "missed", "not measured"}


def bench(*options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *options],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of one short run."""
    directory = tmp_path_factory.mktemp("bench")
    report = directory / "benchmarks.md"
    done = bench("--quick", "--only", "A,C,D", "--report", report, "--work-dir", directory / "work")
    assert done.returncode == 0, done.stdout + done.stderr
    return report


@pytest.fixture(scope="module")
def rows(page: Path) -> list[list[str]]:
    """The cells of every row of every table."""
    lines = page.read_text().splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]


def test_every_contestant_has_figures_at_every_number_of_connections(
    rows: list[list[str]],
) -> None:
    measured = {(row[0], row[1]) for row in rows if row[0] in CONTESTANTS and len(row) == 5}
    assert measured == {(name, level) for name in CONTESTANTS for level in ("1", "8", "64", "256")}


def test_the_dispatcher_is_compared_with_each_of_them(rows: list[list[str]]) -> None:
    compared = [row for row in rows if row[0] in CONTESTANTS[1:] and len(row) == 4]
    assert len(compared) == 4 * len(CONTESTANTS[1:])


@pytest.mark.parametrize(
    "what",
    [
        *("from the file to projections", "from the file to projections and decisions"),
        *("read and decode alone", "read alone"),
        *("with a snapshot", "without one", "with an empty log"),
        *("nobody lists", "one client lists"),
        *("processor", "cores", "memory", "file system", "Python", "SQLite", "litestar"),
    ],
)
def test_it_has_a_row(what: str, rows: list[list[str]]) -> None:
    (row,) = [row for row in rows if row[0] == what]
    assert all(row)


def test_a_peer_has_its_figure_or_a_reason_why_it_has_none(
    page: Path, rows: list[list[str]]
) -> None:
    measured = any(row[0] == "eventsourcing library" for row in rows)
    assert measured or "- eventsourcing library: its package is not installed" in page.read_text()


def test_every_target_has_a_verdict(rows: list[list[str]]) -> None:
    verdicts = {row[0]: row[-1] for row in rows if row[0] in TARGETS}
    assert set(verdicts) == set(TARGETS)
    assert set(verdicts.values()) <= VERDICTS


def test_what_stands_in_the_way_is_said_of_those_missed_and_of_no_other(
    page: Path, rows: list[list[str]]
) -> None:
    missed = {row[0] for row in rows if row[0] in TARGETS and row[-1] == "missed"}
    assert set(re.findall(r"^- ([A-E]\.\w+): .+\.$", page.read_text(), re.MULTILINE)) == missed


def test_every_picture_is_there_and_can_be_drawn(page: Path) -> None:
    pictures = re.findall(r"^!\[.+\]\((.+)\)$", page.read_text(), re.MULTILINE)
    assert {Path(picture).stem for picture in pictures} == {
        *("submit-rate", "submit-p99", "replay", "assign", "start"),
    }
    for picture in pictures:
        assert ET.parse(page.parent / picture).getroot().tag.endswith("svg")


def test_the_page_names_no_path_of_the_machine(page: Path) -> None:
    text = page.read_text()
    assert str(ROOT) not in text
    assert str(page.parent) not in text


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--only", "A,X"], "there is no part X; the parts are A, B, C, D, E, F, G, H, I"),
        (["--rounds", "0"], "'0' is no number of rounds; give 1 or more"),
        (["--minutes", "nan"], "'nan' is no number of minutes; give more than 0"),
        (["--quick", "--full"], "not allowed with argument"),
    ],
)
def test_a_wrong_command_line_is_refused_with_the_rule(options: list[str], told: str) -> None:
    done = bench(*options)
    assert done.returncode == 2
    assert told in done.stderr


def test_years_of_a_farm_are_measured_in_short(tmp_path: Path) -> None:
    report = tmp_path / "years.md"
    done = bench("--quick", "--only", "I", "--report", report, "--work-dir", tmp_path / "work")
    assert done.returncode == 0, done.stdout + done.stderr
    page = report.read_text()
    for row in (
        "memory after a start, MB",
        "the oldest job, p99 ms",
        "bytes of an event, all at rest",
    ):
        (cells,) = re.findall(rf"^\| {row} \|(.+)\|$", page, re.MULTILINE)
        figures = [float(cell) for cell in cells.split("|")]
        assert len(figures) == 4
        assert all(figure > 0 for figure in figures)
    assert {"I.memory", "I.start", "I.rest"} <= set(
        re.findall(r"^\| (I\.\w+) \|", page, re.MULTILINE)
    )
