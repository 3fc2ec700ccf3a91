"""What the tests of engines share."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from dispatcher.core.policy import Policy
from tests.support.servers import Running, running

IMPATIENT: Final = Policy(source_patience_s=0.0)
"""A job whose source is away fails at once, so that a test need not wait for it."""


@pytest.fixture
async def server(db: Path) -> AsyncIterator[Running]:
    """A dispatcher on a log and a port of its own."""
    async with running(db, policy=IMPATIENT) as dispatcher:
        yield dispatcher
