"""The files in deploy/ run commands that are there, with options that are there, and little else.

Nothing here is installed or built: units are rated and read by systemd-analyze, if it is there.
"""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml

from dispatcher.cli import app

ROOT: Final = Path(__file__).parent.parent
SYSTEMD: Final = ROOT / "deploy/systemd"
CONTAINER: Final = ROOT / "deploy/container"
UNITS: Final = ["dispatcher.service", "dispatcher-engine.service"]
ANALYZE: Final = shutil.which("systemd-analyze")
MOST_EXPOSED: Final = 2.5

needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze")


def analyzed(*arguments: str | Path) -> str:
    assert ANALYZE is not None
    done = subprocess.run(
        [ANALYZE, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr


def check_command(name: str, *arguments: str) -> None:
    """Fail unless it is a command with these options."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    known = {option for parameter in commands[name].params for option in parameter.opts}
    given = {argument for argument in arguments if argument.startswith("--")}
    assert given <= known, f"`dispatcher {name}` has no {given - known}"


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_is_hardly_exposed(unit: str) -> None:
    told = analyzed("security", "--offline=true", SYSTEMD / unit)
    rated = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
    assert rated is not None, told
    assert float(rated[1]) < MOST_EXPOSED, told


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_every_line_of_a_unit(unit: str, tmp_path: Path) -> None:
    text = (SYSTEMD / unit).read_text()
    (tmp_path / unit).write_text(text.replace("/opt/dispatcher/bin/dispatcher", "/bin/true"))
    told = analyzed("verify", tmp_path / unit)
    assert [line for line in told.splitlines() if unit in line] == []


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_runs_a_command_with_options_that_are_there(unit: str) -> None:
    (line,) = re.findall(r"^ExecStart=(.*)", (SYSTEMD / unit).read_text(), re.MULTILINE)
    program, *command = shlex.split(line)
    assert program == "/opt/dispatcher/bin/dispatcher"
    check_command(*command)


@pytest.mark.parametrize("unit", UNITS)
def test_the_user_of_a_unit_is_made(unit: str) -> None:
    (user,) = re.findall(r"^User=(.*)", (SYSTEMD / unit).read_text(), re.MULTILINE)
    assert re.search(rf"^u {user} ", (SYSTEMD / "dispatcher.conf").read_text(), re.MULTILINE)


def stages() -> dict[str, list[tuple[str, str]]]:
    """Give the instructions of each stage of the Dockerfile, with those of what it is made from."""
    found: dict[str, list[tuple[str, str]]] = {}
    text = re.sub(r"^#.*\n", "", (CONTAINER / "Dockerfile").read_text(), flags=re.MULTILINE)
    stage: list[tuple[str, str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.split()
            stage = found[name] = list(found.get(base, []))
        elif word:
            stage.append((word, " ".join(rest.split())))
    return found


def instruction(stage: list[tuple[str, str]], word: str) -> str:
    return [rest for name, rest in stage if name == word][-1]


@pytest.mark.parametrize("name", ["server", "engine"])
def test_an_image_runs_a_command_as_a_user_who_owns_its_folder(name: str) -> None:
    stage = stages()[name]
    assert yaml.safe_load(instruction(stage, "ENTRYPOINT")) == ["dispatcher"]
    check_command(*yaml.safe_load(instruction(stage, "CMD")))
    uid = instruction(stage, "USER").partition(":")[0]
    made = [rest for word, rest in stage if word == "RUN" and f"--uid {uid} " in rest]
    assert int(uid) > 0
    assert f"--home-dir {instruction(stage, 'WORKDIR')} " in made[0]
    assert instruction(stage, "VOLUME") == instruction(stage, "WORKDIR")
    assert any(word == "HEALTHCHECK" for word, _ in stage)


def test_every_file_that_an_image_copies_is_there_and_not_ignored() -> None:
    found = stages()
    permitted = {
        line[1:]
        for line in (CONTAINER / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source
        for stage in found.values()
        for word, rest in stage
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert copied == permitted
    assert all((ROOT / source).exists() for source in copied)
    for stage in found.values():
        for word, rest in stage:
            if word == "COPY" and (source := re.match(r"--from=(\S+)", rest)):
                assert source[1] in found


def test_the_compose_file_runs_the_images_with_the_settings_that_they_read() -> None:
    composed: dict[str, Any] = yaml.safe_load((CONTAINER / "compose.yml").read_text())
    assert set(composed["services"]) == {"server", "engine"}
    for service in composed["services"].values():
        build = service["build"]
        assert (CONTAINER / build["context"] / build["dockerfile"]).exists()
        assert build["target"] in stages()
        commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
        command = yaml.safe_load(instruction(stages()[build["target"]], "CMD"))[0]
        read = {parameter.envvar for parameter in commands[command].params}
        assert set(service["environment"]) <= read
        assert service["cap_drop"] == ["ALL"]
    server = composed["services"]["server"]
    assert server["volumes"] == [f"log:{instruction(stages()['server'], 'VOLUME')}"]
    assert list(composed["volumes"]) == ["log"]
