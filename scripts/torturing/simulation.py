"""Whole farms for a day, in simulated time, with many faults: `dispatcher simulate`.

The invariants of the core are checked after every step.
"""

import asyncio
import logging
import time
from typing import Final

from dispatcher.simulation.farm import FailedError, simulate
from dispatcher.simulation.plan import Plan

from . import Outcome, Tell

__all__ = ["LONG", "SHORT", "run"]

LONG: Final = 5
SHORT: Final = 1

ENGINES: Final = 60


async def run(rounds: int, seed: int, tell: Tell) -> list[Outcome]:
    """Simulate so many farms."""
    began, steps, jobs, faults, failures = time.monotonic(), 0, 0, 0, list[str]()
    logging.disable(logging.WARNING)  # the timers tell of every stall
    try:
        for number in range(seed, seed + rounds):
            plan = Plan(engines=ENGINES, seed=number, faults="many")
            try:
                outcome = await asyncio.to_thread(simulate, plan)
            except FailedError as failed:
                failures.append(f"{plan.command_line()}: {failed}")
                continue
            steps, faults = steps + outcome.steps, faults + outcome.faults
            jobs += outcome.events
            tell(f"simulation: {number - seed + 1} of {rounds}")
    finally:
        logging.disable(logging.NOTSET)
    facts: dict[str, str | int | float] = {"steps": steps, "events": jobs, "faults": faults}
    claim = "On a whole farm, a day long, with many faults, no invariant of the core is broken"
    return [Outcome("Simulation", claim, rounds, time.monotonic() - began, facts, failures)]
