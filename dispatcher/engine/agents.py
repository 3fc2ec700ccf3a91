"""Several engines in one process, each with an id, a workspace and a job of its own."""

import asyncio
from typing import NamedTuple

from dispatcher.engine.agent import Agent

__all__ = ["Agents"]


class Agents(NamedTuple):
    """Engines that begin and end together."""

    agents: tuple[Agent, ...]

    def drain(self) -> None:
        """End after the jobs in hand."""
        for agent in self.agents:
            agent.drain()

    def stop(self) -> None:
        """End soon: stop the jobs and give them back."""
        for agent in self.agents:
            agent.stop()

    async def run(self) -> None:
        """Work until `drain` or `stop` is called.

        If one of them fails, the others finish their jobs, and then its error is raised.
        """
        ends = await asyncio.gather(*map(self._run, self.agents), return_exceptions=True)
        for error in ends:
            if error is not None:
                raise error

    async def _run(self, agent: Agent) -> None:
        try:
            await agent.run()
        finally:
            self.drain()
