"""Whether a history of calls is linearizable: whether one order explains all that was answered.

A call took effect at one moment between its invocation and its answer, or it is one that was never
answered: then at any moment after its invocation, or never. The search is that of Wing and Gong,
with what Lowe added: a set of done calls that has led to a state once is not looked at again.

Laws:
- Nothing here knows what a call does: a model says what state follows, or that none can.
- A history of one register, here a job, is looked at alone. By Herlihy and Wing, all are
  linearizable together if each is alone.
"""

from collections.abc import Callable, Hashable, Sequence
from math import inf
from typing import Any, Generic, NamedTuple, TypeVar

__all__ = ["Call", "explained"]

State = TypeVar("State", bound=Hashable)


class Call(NamedTuple):
    """A call: what was asked, what was answered (`None` if nothing was), and when, in seconds."""

    asked: Any
    answered: Any
    invoked_s: float
    ended_s: float = inf


class _Search(Generic[State]):
    def __init__(
        self, calls: Sequence[Call], follows: Callable[[State, Call], State | None]
    ) -> None:
        self.calls = sorted(calls, key=lambda it: (it.ended_s, it.invoked_s))
        self.answered = sum(1 << n for n, it in enumerate(self.calls) if it.answered is not None)
        self._follows = follows

    def next_ones(self, done: int, state: State) -> list[tuple[int, State]]:
        """Return what may come next: the calls that are done then, and the state."""
        first_end_s = min(
            (it.ended_s for n, it in enumerate(self.calls) if self._is_due(n, done)), default=inf
        )
        found = []
        for number, call in enumerate(self.calls):
            if done >> number & 1 or call.invoked_s > first_end_s:
                continue
            after = self._follows(state, call)
            if after is not None:
                found.append((done | 1 << number, after))
        return found

    def _is_due(self, number: int, done: int) -> bool:
        return bool(self.answered & ~done & (1 << number))


def explained(
    calls: Sequence[Call],
    initial: State,
    follows: Callable[[State, Call], State | None],
) -> bool:
    """Whether some order of the calls explains all answers.

    `follows` gives the state after a call in a state, or `None` if the call can't have been
    answered so there. It is asked what follows from a call without an answer, too.
    """
    search = _Search(calls, follows)
    seen = {(0, initial)}
    stack = [(0, initial)]
    while stack:
        done, state = stack.pop()
        if search.answered & ~done == 0:
            return True
        for place in reversed(search.next_ones(done, state)):
            if place not in seen:
                seen.add(place)
                stack.append(place)
    return False
