"""What every part of a farm shares."""

from typing import NamedTuple

from .agenda import Agenda
from .network import Network
from .plan import Plan
from .story import Story

__all__ = ["World"]


class World(NamedTuple):
    """A plan, its time, its network, and the story that may be told of it."""

    plan: Plan
    agenda: Agenda
    network: Network
    story: Story
