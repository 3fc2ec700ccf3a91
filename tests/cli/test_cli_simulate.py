"""`dispatcher simulate` tells of what is broken, and leaves the process as it found it."""

import gc
import logging

import pytest
from typer.testing import CliRunner

from dispatcher.cli import app
from dispatcher.core.deadlines import Deadlines

SMALL = ("simulate", "--engines", "10", "--hours", "6", "--faults", "many")


def settings() -> tuple[int, tuple[int, int, int]]:
    return logging.root.manager.disable, gc.get_threshold()


def test_a_broken_invariant_exits_with_1_and_its_story_on_standard_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = settings()
    monkeypatch.setattr(Deadlines, "take_due", lambda *_: None)
    done = CliRunner().invoke(app, [*SMALL, "--json"])
    assert (done.exit_code, done.stdout) == (1, "")
    broken, again, story = done.stderr.splitlines()[:3]
    assert broken.startswith("Broken: ")
    assert "but counts as online" in broken
    assert again.endswith(
        " again with: dispatcher simulate --engines 10 --hours 6 --seed 1 --faults many"
    )
    assert story.startswith("The story of ")
    assert settings() == before


def test_a_run_in_which_all_holds_exits_with_0_and_leaves_the_settings_alone() -> None:
    before = settings()
    done = CliRunner().invoke(app, SMALL)
    assert (done.exit_code, done.stderr) == (0, "")
    assert settings() == before
