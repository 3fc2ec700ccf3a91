"""What the tests of the audit share; a module names this in `pytest_plugins`."""

import asyncio

import pytest

from tests.support.audits import Genuine, made


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[Genuine]:
    """A short log without a kept subtree, and one with three."""
    directory = tmp_path_factory.mktemp("genuine")
    return [asyncio.run(made(directory / f"{size}.db", size)) for size in (40, 530)]
