"""What all parts of a simulated farm share: plan, time, network and story."""

from typing import NamedTuple

from dispatcher.simulation.agenda import Agenda
from dispatcher.simulation.network import Network
from dispatcher.simulation.plan import Plan
from dispatcher.simulation.story import Story

__all__ = ["World"]


class World(NamedTuple):
    """The plan, the agenda, the network and the story of a run."""

    plan: Plan
    agenda: Agenda
    network: Network
    story: Story
