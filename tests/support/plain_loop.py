"""A fixture for modules that test what runs on asyncio's own event loop."""

import pytest

__all__ = ["anyio_backend"]


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop on which `dispatcher engine` runs; for the modules that import it."""
    return "asyncio", {"use_uvloop": False}
