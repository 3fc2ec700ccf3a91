"""How much of everything one run does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

__all__ = ["CONNECTIONS", "FULL", "LEVELS", "QUICK", "WARM_UP", "Plan", "turns"]

T = TypeVar("T")

LEVELS: Final = (1, 8, 64, 256)
"""Connections at which submissions are measured."""
CONNECTIONS: Final = 64
"""Connections at which the targets are set."""


WARM_UP: Final = 0.1
"""The share of a measurement that a contestant runs before the clock starts."""


class Plan(NamedTuple):
    """The sizes of a run. `work` is a directory for logs; those that take long to make stay there.

    `burst_s` is the length of one measurement of load.
    """

    work: Path
    rounds: int
    burst_s: float
    log_events: int
    peer_events: int
    few_pending: int
    many_pending: int
    assigns: int
    listed_jobs: int
    steady_s: float
    film_s: float
    transfer_mb: int
    years_events: int


FULL: Final = Plan(
    work=Path(),
    rounds=5,
    burst_s=5.0,
    log_events=1_000_000,
    peer_events=100_000,
    few_pending=1_000,
    many_pending=1_000_000,
    assigns=1_000,
    listed_jobs=100_000,
    steady_s=600.0,
    film_s=60.0,
    transfer_mb=1_000,
    years_events=8_000_000,
)
QUICK: Final = Plan(
    work=Path(),
    rounds=1,
    burst_s=0.2,
    log_events=4_000,
    peer_events=4_000,
    few_pending=100,
    many_pending=2_000,
    assigns=40,
    listed_jobs=500,
    steady_s=2.0,
    film_s=1.0,
    transfer_mb=4,
    years_events=16_000,
)


def turns(contestants: Sequence[T], round_number: int) -> list[T]:
    """Give the order of a round: each begins in its turn, so that none always comes first."""
    first = round_number % len(contestants)
    return [*contestants[first:], *contestants[:first]]
