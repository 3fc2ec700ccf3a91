"""The faults of a simulated farm: crashes, stalls, partitions, restarts and clock jumps."""

from collections.abc import Callable
from random import Random
from typing import Final

from dispatcher.simulation.agenda import DAY_S, HOUR_S, MICROS
from dispatcher.simulation.dispatching import Dispatcher
from dispatcher.simulation.machines import Machine
from dispatcher.simulation.world import World

__all__ = ["Weather"]

LONGEST_DOWN_S: Final = 2.0 * HOUR_S
LONGEST_JUMP_S: Final = 2.0 * HOUR_S


class Weather:
    """Causes faults at random times, until `clear_up` is called."""

    def __init__(
        self,
        world: World,
        dispatcher: Dispatcher,
        machines: list[Machine],
        rng: Random,
    ) -> None:
        self.faults = 0
        self._plan, self._agenda, _, self._story = world
        self._dispatcher = dispatcher
        self._machines = machines
        self._rng = rng
        self._is_clear = False
        self._racks: dict[int, list[Machine]] = {}
        for machine in machines:
            self._racks.setdefault(machine.built.rack, []).append(machine)
        faults, engines = self._plan.weather, len(machines)
        self._schedule(faults.crashes_a_day * engines, self._crash)
        self._schedule(faults.stalls_a_day * engines, self._stall)
        self._schedule(faults.partitions_a_day * engines, self._cut_engine)
        self._schedule(faults.rack_partitions_a_day * len(self._racks), self._cut_rack)
        self._schedule(faults.restarts_a_day, self._restart)
        self._schedule(faults.dispatcher_stalls_a_day, self._stall_dispatcher)
        self._schedule(faults.clock_jumps_a_day, self._jump)

    def clear_up(self) -> None:
        """Cause no more faults. What is down comes back at its time."""
        self._is_clear = True

    def _crash(self) -> None:
        machine, rng = self._rng.choice(self._machines), self._rng
        down_s = min(rng.lognormvariate(4.0, 2.0), LONGEST_DOWN_S)
        forgets, is_closed = rng.random() < self._plan.weather.amnesia, rng.choice([True, False])
        if machine.is_on:
            machine.die(self._dispatcher.hung_up if is_closed else None, forgets=forgets)
            self._agenda.after(down_s, machine.boot)

    def _stall(self) -> None:
        machine = self._rng.choice(self._machines)
        machine.stand_still(min(self._rng.lognormvariate(4.0, 2.0), LONGEST_DOWN_S))

    def _cut_engine(self) -> None:
        self._cut([self._rng.choice(self._machines)])

    def _cut_rack(self) -> None:
        self._cut(self._racks[self._rng.randrange(len(self._racks))])

    def _cut(self, machines: list[Machine]) -> None:
        """Cut some engines off from the dispatcher, in one direction or both."""
        way = self._rng.choice([(1, 1), (1, 0), (0, 1)])
        seconds = min(self._rng.lognormvariate(5.0, 1.5), LONGEST_DOWN_S)
        for machine in machines:
            machine.mute += way[0]
            machine.deaf += way[1]
            self._note(machine.name, f"is cut off (mute, deaf: {way}) for {seconds:.0f} s")
        self._agenda.after(seconds, self._heal, machines, way)

    def _heal(self, machines: list[Machine], way: tuple[int, int]) -> None:
        for machine in machines:
            machine.mute -= way[0]
            machine.deaf -= way[1]
            self._note(machine.name, "is in reach again")

    def _restart(self) -> None:
        seconds = min(self._rng.lognormvariate(1.5, 1.5), 600.0)
        self._note(None, f"the dispatcher is restarted, in {seconds:.1f} s")
        self._dispatcher.go_down(seconds)

    def _stall_dispatcher(self) -> None:
        seconds = min(self._rng.lognormvariate(1.5, 2.0), 1_800.0)
        self._note(None, f"the dispatcher stands still for {seconds:.1f} s")
        self._dispatcher.stand_still(seconds)

    def _jump(self) -> None:
        """Set the dispatcher's wall clock wrong, or right again."""
        wrong_s = self._rng.uniform(-LONGEST_JUMP_S, LONGEST_JUMP_S)
        self._dispatcher.jump_us = int(self._rng.choice([0.0, wrong_s, wrong_s]) * MICROS)
        self._note(None, f"the clock is off by {self._dispatcher.jump_us / MICROS:.0f} s now")

    def _schedule(self, a_day: float, cause: Callable[[], None]) -> None:
        if a_day:
            self._agenda.after(self._rng.expovariate(a_day / DAY_S), self._do, a_day, cause)

    def _do(self, a_day: float, cause: Callable[[], None]) -> None:
        if not self._is_clear:
            self.faults += 1
            cause()
            self._schedule(a_day, cause)

    def _note(self, name: str | None, text: str) -> None:
        self._story.note(self._agenda.now_us, name, text)
