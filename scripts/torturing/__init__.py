"""What is done to the dispatcher on purpose, to see that its promises hold.

Each module here has one or more claims to try, and offers:

- `LONG` and `SHORT`: how many rounds a run by hand takes, and a run in the tests;
- `async def run(rounds, seed, tell) -> list[Outcome]`: tries the claims, telling how far it is.

Laws:
- A claim is checked from outside: by what was answered, by the file, by the project's own readers.
- Everything that is left to chance is drawn from the seed.
- A torture that could not have failed is no evidence: each counts what it has looked at.
"""

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Outcome", "Tell"]

Tell = Callable[[str], None]
"""Takes a line that says how far a torture is."""


class Outcome(NamedTuple):
    """What became of one claim."""

    name: str
    """One or two words; the title of its row."""
    claim: str
    """What was tried, as a sentence that is true or is not."""
    rounds: int
    seconds: float
    facts: dict[str, str | int | float]
    """What was counted on the way."""
    failures: list[str]
    """Where the claim did not hold; empty if it held."""

    @property
    def held(self) -> bool:
        """Whether the claim stands."""
        return not self.failures
