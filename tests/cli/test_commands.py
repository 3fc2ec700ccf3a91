"""The commands as a whole: each is there, and loads no more than it needs."""

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from dispatcher.cli import app

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself(name: str) -> None:
    done = CliRunner().invoke(app, [name, "--help"])
    assert done.exit_code == 0
    assert f" {name} " in done.stdout


def test_a_misspelt_command_is_told_what_was_meant() -> None:
    done = CliRunner().invoke(app, ["enginse"])
    assert done.exit_code == 2
    assert "Did you mean 'engine', 'engines'?" in done.stderr


def test_a_command_loads_nothing_that_only_others_need() -> None:
    run = (
        "import sys; sys.argv = ['dispatcher', 'jobs', '--help']; from dispatcher.cli import main\n"
        "try: main()\nfinally: print('loaded', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.partition("loaded ")[2].split())
    assert "dispatcher.client.client" in loaded
    for package in ("server", "api", "engine", "simulation", "evidence.audit"):
        assert f"dispatcher.{package}" not in loaded
