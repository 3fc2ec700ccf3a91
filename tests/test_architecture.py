"""The walls: which package may know which, and that the core does no I/O and asks no clock.

docs/architecture.md has the picture; it is drawn from `ARROWS`.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
PROJECT: Final = ("dispatcher", "projections")

ARROWS: Final[dict[str, set[str]]] = {
    "core": set(),
    "projections": {"core"},
    "log": {"core"},
    "index": {"core", "projections"},
    "state": {"core", "projections", "log", "index"},
    "store": set(),
    "serving": {"core", "projections", "log", "index", "state", "store"},
    "api": {
        *("core", "projections", "log", "index", "state", "serving", "store", "webhooks"),
        "http_limits",
    },
    "webhooks": {"log", "projections", "serving"},
    "http_limits": set(),
    "http_protocol": {"http_limits"},
    "tls": {"http_limits", "http_protocol"},
    "cluster": {"core", "projections", "log", "index", "state", "serving", "store"},
    "server": {
        *("core", "log", "state", "serving", "api", "cluster", "store"),
        *("http_limits", "http_protocol", "tls", "webhooks"),
    },
    "client": {"core", "projections", "log"},
    "engine": {"client", "projections"},
    "evidence": {"core", "projections", "log", "index", "state", "client"},
    "simulation": {"core", "projections", "state", "evidence"},
    "cli": {
        *("core", "projections", "log", "state", "serving", "store", "http_limits", "server"),
        *("client", "cluster", "engine", "evidence", "simulation", "tls", "webhooks"),
    },
}
"""What each package, or module of its own, may import. All may import the leaves."""
LEAVES: Final = {
    *("addressed", "board", "buckets", "errors", "files", "headers", "locks", "log_fields"),
    "networks",
    *("output_names", "progress", "recipes", "results", "segments", "sse", "store_urls"),
    *("tags", "urls", "webhook_states"),
}
"""Modules that import nothing of the project but each other."""

PURE: Final = (
    "dispatcher.core",
    *(f"dispatcher.core.{it.stem}" for it in sorted((ROOT / "dispatcher/core").glob("[a-z]*.py"))),
    *("dispatcher.log.merkle", "dispatcher.log.segments.frames", "dispatcher.tags"),
    *("projections", "projections.engines", "projections.filters", "projections.forecast"),
    *("projections.forecasting", "projections.history", "projections.jobs", "projections.oldest"),
    *("projections.series", "projections.speeds", "projections.statistics"),
)
ALLOWED: Final = {
    *(
        "array",
        "bisect",
        "collections",
        "collections.abc",
        "datetime",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "itertools",
    ),
    *(
        "math",
        "msgspec",
        "msgspec.structs",
        "operator",
        "re",
        "sortedcontainers",
        "struct",
        "sys",
        "typing",
        "unicodedata",
        "urllib.parse",
        "zlib",
        *("backports", "compression"),  # of bytes, by zstd
    ),
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


def package_of(module: str) -> str:
    """Name the package, or the module of its own, that a module belongs to; "" for the roots."""
    parts = module.split(".")
    return parts[0] if parts[0] == "projections" else ".".join(parts[1:2])


def modules() -> dict[str, set[str]]:
    """Give every module of the project with those of the project that it imports."""
    found: dict[str, set[str]] = {}
    for top in PROJECT:
        for path in (ROOT / top).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = set()
    for name in found:
        for node in ast.walk(ast.parse(source_of(name).read_text())):
            match node:
                case ast.Import():
                    asked = [alias.name for alias in node.names]
                case ast.ImportFrom(module=str(base)):
                    asked = [
                        inner if (inner := f"{base}.{alias.name}") in found else base
                        for alias in node.names
                    ]
                case _:
                    continue
            found[name] |= {module for module in asked if module in found}
    return found


def test_every_package_has_its_arrows() -> None:
    assert {package_of(name) for name in modules()} - LEAVES - {"", "__main__"} == set(ARROWS)


@pytest.mark.parametrize("package", sorted(ARROWS))
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    allowed = ARROWS[package] | LEAVES | {package, ""}
    wrong = [
        f"{name} imports {other}"
        for name, imported in modules().items()
        for other in sorted(imported)
        if package_of(name) == package and package_of(other) not in allowed
    ]
    assert wrong == []


def test_the_leaves_import_nothing_of_the_project() -> None:
    for name, imported in modules().items():
        if package_of(name) in LEAVES:
            assert {package_of(other) for other in imported} <= LEAVES, name


def test_the_arrows_run_one_way() -> None:
    order = list(TopologicalSorter(ARROWS).static_order())
    assert order[0] == "core"
    assert order.index("server") < order.index("cli")


def test_no_module_imports_itself_through_others() -> None:
    TopologicalSorter(modules()).prepare()  # raises CycleError


def test_only_the_server_imports_the_api() -> None:
    assert {package for package, below in ARROWS.items() if "api" in below} == {"server"}


def test_only_the_cluster_imports_nats() -> None:
    found = {
        package_of(name)
        for name in modules()
        if any(
            it.split(".")[0] == "nats" for it in imports_of(ast.parse(source_of(name).read_text()))
        )
    }
    assert found == {"cluster"}


def test_who_asks_for_no_cluster_imports_neither_it_nor_nats() -> None:
    """The extra need not be installed then."""
    names = (name for name in modules() if package_of(name) not in {"cluster", "", "__main__"})
    code = (
        "import importlib, sys\n"
        f"for name in {sorted(names)!r}: importlib.import_module(name)\n"
        "print([it for it in sys.modules if it.split('.')[0] == 'nats' "
        "or it.startswith('dispatcher.cluster')])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_obstore_is_imported_by_one_module_when_a_bucket_is_opened() -> None:
    """The extra need not be installed by who has no bucket."""
    found = {
        name
        for name in modules()
        if any(
            it.split(".")[0] == "obstore"
            for it in imports_of(ast.parse(source_of(name).read_text()))
        )
    }
    assert found == {"dispatcher.buckets"}
    code = "import sys, dispatcher.cli, dispatcher.buckets\nprint('obstore' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


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
        ("from dispatcher.core.events import Event\nimport msgspec\nsorted([])", []),
    ],
)
def test_an_impurity_would_be_found(source: str, found: list[str]) -> None:
    assert impurities(ast.parse(source)) == found
