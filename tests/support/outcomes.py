"""What a torture has counted."""

from torturing import Outcome

__all__ = ["counted"]


def counted(outcome: Outcome, name: str) -> float:
    """Give a fact that is a number."""
    fact = outcome.facts[name]
    assert isinstance(fact, int | float)
    return fact
