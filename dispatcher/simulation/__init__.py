"""A farm in simulated time: the real rules, scheduling and timers, and a world that is unkind.

Law: the same plan gives the same run, event by event, in every process.
"""

from dispatcher.simulation.farm import FailedError, Outcome, simulate
from dispatcher.simulation.plan import FAULTS, Plan, PlanError

__all__ = ["FAULTS", "FailedError", "Outcome", "Plan", "PlanError", "simulate"]
