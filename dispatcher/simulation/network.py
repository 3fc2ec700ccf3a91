"""The network between the dispatcher and all others.

Laws:
- A caller is called back exactly once: with the response, or because there will be none.
- A request or a response may be lost, delayed or reordered; a request may arrive twice. A
  partition loses all requests, all responses, or both.
- A caller without a response can't know whether its request was carried out.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from dispatcher.simulation.agenda import MICROS, Agenda
from dispatcher.simulation.calls import Call
from dispatcher.simulation.plan import Faults
from dispatcher.simulation.story import Story

__all__ = ["Network"]

PATIENCE_S: Final = 30.0
"""How long a caller waits for a response, in addition to the `wait_s` of its request."""
SHORTEST_S: Final = 0.002
JITTER_S: Final = 0.02
LATEST_S: Final = 180.0


class Network:
    """Carries calls to the dispatcher (`receive`) and responses back."""

    def __init__(self, agenda: Agenda, faults: Faults, story: Story, rng: Random) -> None:
        self._agenda = agenda
        self._story = story
        self._rng = rng
        self.weather(faults)
        self.receive: Callable[[Call], None] = lambda _: None
        self.lost_messages = 0

    def weather(self, faults: Faults) -> None:
        """Set the rates at which messages are lost, delayed and doubled."""
        # One random number decides on a message: small ones lose or delay it, large ones double it.
        self._lost = faults.lost
        self._delayed = faults.lost + faults.delayed
        self._single = 1.0 - faults.doubled

    def send(self, call: Call) -> None:
        """Carry a request, or lose it."""
        agenda, luck = self._agenda, self._rng.random()
        call.gives_up_us = agenda.now_us + int((PATIENCE_S + call.wait_s) * MICROS)
        if call.sender.mute or luck < self._lost:
            self._lose(call, "is lost")
            return
        arrives_us = agenda.now_us + self._delay_us(luck)
        if arrives_us > call.gives_up_us:
            self._lose(call, "will come when nobody waits for its answer any more")
        agenda.at(arrives_us, self.receive, call)
        if luck > self._single:
            self._story.message(agenda.now_us, call.command, "will come twice")
            twin = Call(call.sender, call.command, wait_s=call.wait_s)
            agenda.after(self._rng.random() * LATEST_S, self.receive, twin)

    def reply(self, call: Call, answer: object) -> None:
        """Carry a response back, or lose it."""
        if call.answered is None:
            return
        agenda, luck = self._agenda, self._rng.random()
        arrives_us = agenda.now_us + self._delay_us(luck)
        if call.sender.deaf or luck < self._lost or arrives_us > call.gives_up_us:
            self._lose(call, "is answered, but the answer is lost")
        else:
            agenda.at(arrives_us, self._answer, call, answer)

    def refuse(self, call: Call) -> None:
        """Tell a caller that the dispatcher is not there."""
        self._agenda.after(SHORTEST_S, self._silence, call)

    def _delay_us(self, luck: float) -> int:
        if luck < self._delayed:
            return int(self._rng.random() * LATEST_S * MICROS)
        return int((SHORTEST_S + luck * JITTER_S) * MICROS)

    def _lose(self, call: Call, fate: str) -> None:
        self.lost_messages += 1
        self._story.message(self._agenda.now_us, call.command, fate)
        if call.lost is not None:
            self._agenda.at(max(call.gives_up_us, self._agenda.now_us), self._silence, call)

    @staticmethod
    def _answer(call: Call, answer: object) -> None:
        if not call.is_settled:
            call.is_settled = True
            if call.answered is not None:
                call.sender.run(call.life, call.answered, answer)

    @staticmethod
    def _silence(call: Call) -> None:
        if not call.is_settled:
            call.is_settled = True
            if call.lost is not None:
                call.sender.run(call.life, call.lost)
