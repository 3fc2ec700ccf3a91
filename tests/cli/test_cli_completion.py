"""The shell completes commands and options, by what the command itself tells it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

COMMAND: Final = Path(sys.executable).with_name("dispatcher")


def told(*arguments: str, **variables: str) -> str:
    """Run the command with these variables, and give what it prints."""
    done = subprocess.run(
        [COMMAND, *arguments],
        env={**os.environ, **variables},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_it_gives_a_script_for_the_shell(shell: str) -> None:
    script = told(_DISPATCHER_COMPLETE=f"source_{shell}")
    assert f"_DISPATCHER_COMPLETE=complete_{shell}" in script


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("dispatcher sub", ["submit"]),
        ("dispatcher re", ["recipes", "reload", "replay", "resume", "retry"]),
        ("dispatcher submit --co", ["--codec", "--container"]),
        ("dispatcher key n", ["new"]),
        ("dispatcher export --format c", ["csv"]),
    ],
)
def test_it_knows_its_commands_options_and_values(words: str, found: list[str]) -> None:
    told_by_it = told(
        _DISPATCHER_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - 1),
    )
    assert sorted(told_by_it.split()) == found


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_takes_the_script_and_completes_with_it(tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_text(told(_DISPATCHER_COMPLETE="source_bash"))
    typing = (
        f"source {script}; COMP_WORDS=(dispatcher can); COMP_CWORD=1; "
        f"_dispatcher_completion {COMMAND}; echo ${{COMPREPLY[@]}}"
    )
    done = subprocess.run(
        ["bash", "-c", typing], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "cancel\n"


def test_help_tells_how_to_have_it() -> None:
    assert "--install-completion" in told("--help")
