"""What is given out: the sdist has all that the project is made of, the wheel all that runs.

`scripts/build` tries more, with an environment that is empty but for the wheel.
"""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from dispatcher import __version__
from tests.support.leaks import ends_what_it_begins

ROOT: Final = Path(__file__).parent.parent
PACKAGES: Final = ("dispatcher", "projections")
GIVEN_OUT: Final = (*PACKAGES, "tests", "scripts", "docs", "deploy")
TIMEOUT_S: Final = 250


class Built(NamedTuple):
    """The sdist, and the wheel that was built from it and from nothing else."""

    sdist: Path
    wheel: Path

    @property
    def metadata(self) -> Message:
        with zipfile.ZipFile(self.wheel) as wheel:
            (name,) = [n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")]
            return message_from_bytes(wheel.read(name))


def run(*command: str | Path, cwd: Path = ROOT, **env: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT_S,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("dist")
    with ends_what_it_begins():
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)


def files_of(*folders: str) -> set[str]:
    """Name what a checkout has in these folders, but for what Python puts there."""
    return {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_has_every_file_of_the_packages_and_no_other(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == files_of(*PACKAGES)


def test_the_sdist_has_what_the_project_is_made_of(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        names = {member.name.partition("/")[2] for member in sdist if member.isfile()}
    assert {name for name in names if name.startswith(GIVEN_OUT)} == files_of(*GIVEN_OUT)
    assert {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "constraints.txt"} < names


def test_both_can_be_uploaded(built: Built) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", *built)


def test_the_version_is_the_same_everywhere_and_stands_in_one_place(built: Built) -> None:
    assert built.metadata["Version"] == __version__
    assert all(path.name.startswith(f"transcoding_dispatcher-{__version__}") for path in built)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    released = re.findall(
        r"^## \[(\d[^]]*)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert released[0][0] == __version__, "the newest section of the changelog is another version"
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day) for _, day in released)


def test_the_wheel_runs_with_nothing_of_the_checkout(built: Built, tmp_path: Path) -> None:
    """The command, and the dispatcher with every file of its board."""
    there, script = tmp_path / "there", tmp_path / "script.py"
    with zipfile.ZipFile(built.wheel) as wheel:
        wheel.extractall(there)
    # What is in PYTHONPATH comes before the checkout, which the environment of the tests has.
    clean = {"PYTHONPATH": str(there), "DISPATCHER_API_KEY": "k"}
    told = run(sys.executable, "-m", "dispatcher", "--version", cwd=tmp_path, **clean)
    assert told.strip() == __version__
    script.write_text(SERVE_ONCE)
    told = run(sys.executable, script, cwd=tmp_path, **clean)
    served = dict(line.split() for line in told.splitlines())
    assert Path(served.pop("from")).is_relative_to(there)
    page = files_of("dispatcher/board/page")
    assert set(served) == {f"/board/{Path(name).name}" for name in page} | {"/"}
    assert set(served.values()) == {"200"}


SERVE_ONCE: Final = """
import asyncio, re, signal, sys
from pathlib import Path
import httpx2, dispatcher, dispatcher.board, projections

async def main():
    print("from", dispatcher.__file__)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dispatcher", "serve", "--port", "0", stderr=asyncio.subprocess.PIPE
    )
    said = (await process.stderr.readline()).decode()
    url = re.search(r"ready on (\\S+),", said)[1]
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:
        files = sorted((Path(dispatcher.board.__file__).parent / "page").iterdir())
        for path in ["/", *(f"/board/{file.name}" for file in files)]:
            print(path, (await http.get(path)).status_code)
    process.send_signal(signal.SIGTERM)
    await process.communicate()

asyncio.run(main())
"""
