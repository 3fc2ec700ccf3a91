"""What every part of a simulated farm is given: its plan, time, network and story."""

from typing import NamedTuple

from dispatcher.simulation.agenda import Agenda
from dispatcher.simulation.network import Network
from dispatcher.simulation.plan import Plan
from dispatcher.simulation.story import Story

__all__ = ["World"]


class World(NamedTuple):
    """A plan, its time, its network, and the story that may be told of it."""

    plan: Plan
    agenda: Agenda
    network: Network
    story: Story
