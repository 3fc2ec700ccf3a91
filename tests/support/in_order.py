"""A fixture for modules whose clients ask several dispatchers in the order in which they stand."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from dispatcher.client import servers

__all__ = ["in_order"]


class _AsGiven(Random):
    """Draws no lots."""

    def sample(self, population: Sequence[Any], k: int, **_: Any) -> list[Any]:
        return list(population[:k])


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients ask in the order in which they are given the dispatchers."""
    monkeypatch.setattr(servers, "Random", _AsGiven)
