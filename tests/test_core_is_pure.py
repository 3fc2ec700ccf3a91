"""The core and the read models do no I/O and ask no clock: they could not if they tried."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
PROJECT: Final = ("dispatcher", "projections")

PURE: Final = (
    *(f"dispatcher.core.{path.stem}" for path in sorted((ROOT / "dispatcher/core").glob("*.py"))),
    "dispatcher.log.merkle",
    *("projections", "projections.engines", "projections.history", "projections.jobs"),
)
ALLOWED: Final = {
    *("array", "collections.abc", "datetime", "enum", "hashlib", "itertools", "math", "operator"),
    *("msgspec", "msgspec.structs", "sortedcontainers", "sys", "typing", "zlib"),
}
"""`datetime` for its type only: asking it for the time is found among the calls."""
FORBIDDEN_METHODS: Final = {"now", "utcnow", "today", "fromtimestamp", "time", "monotonic"}
FORBIDDEN_BUILTINS: Final = {"open", "print", "input", "exec", "eval", "compile", "__import__"}


def source_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports_of(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports in this project are absolute"
            yield str(node.module)


def impurities(tree: ast.Module) -> list[str]:
    """Name every import outside the list and every call that reaches the world outside."""
    found = [
        f"imports {name}"
        for name in imports_of(tree)
        if name not in ALLOWED and name.split(".")[0] not in PROJECT
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Attribute(attr=name) if name in FORBIDDEN_METHODS:
                    found.append(f"calls .{name}()")
                case ast.Name(id=name) if name in FORBIDDEN_BUILTINS:
                    found.append(f"calls {name}()")
    return found


def reached_from(modules: tuple[str, ...]) -> set[str]:
    """Give these modules and every module of the project that they import, at any distance."""
    reached: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            tree = ast.parse(source_of(module).read_text())
            waiting += [name for name in imports_of(tree) if name.split(".")[0] in PROJECT]
    return reached


def test_the_core_reaches_nothing_but_itself() -> None:
    assert reached_from(PURE) == set(PURE)


def test_every_read_model_is_looked_at() -> None:
    files = {path.stem for path in (ROOT / "projections").glob("*.py")} - {"__init__"}
    assert {f"projections.{name}" for name in files} <= set(PURE)


@pytest.mark.parametrize("module", sorted(reached_from(PURE)))
def test_a_pure_module_does_no_io_and_calls_no_clock(module: str) -> None:
    assert impurities(ast.parse(source_of(module).read_text())) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time", ["imports time"]),
        ("from os import path", ["imports os"]),
        ("def f():\n    import random", ["imports random"]),
        ("datetime.now(UTC)", ["calls .now()"]),
        ("datetime.datetime.utcnow()", ["calls .utcnow()"]),
        ("open('x')", ["calls open()"]),
        ("from dispatcher.events import Event\nimport msgspec\nsorted([])", []),
    ],
)
def test_an_impurity_would_be_found(source: str, found: list[str]) -> None:
    assert impurities(ast.parse(source)) == found
