"""Clients and engines know what they are told, and bring no dispatcher along."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent.parent
RULES: Final = {"dispatcher.core.decider", "dispatcher.core.fleet", "dispatcher.core.scheduling"}
INSIDES: Final = ("dispatcher.api", "dispatcher.serving", "dispatcher.state", "dispatcher.server")


def loaded_by(module: str) -> set[str]:
    """Name what a fresh interpreter has loaded after an import."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", ["dispatcher.client", "dispatcher.engine.agent"])
def test_none_of_the_rules_and_nothing_that_serves_is_loaded(module: str) -> None:
    loaded = loaded_by(module)
    assert module in loaded
    assert loaded & RULES == set()
    assert [name for name in loaded if name.startswith(INSIDES)] == []


def test_what_is_looked_for_would_be_found() -> None:
    assert loaded_by("dispatcher.server") >= {*RULES, "dispatcher.serving.service"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "dispatcher/engine").glob("*.py")), ids=lambda path: path.name
)
def test_an_engine_imports_nothing_of_the_core(path: Path) -> None:
    inside = ("dispatcher.core", *INSIDES)
    assert [name for name in imports_of(path) if name.startswith(inside)] == []
