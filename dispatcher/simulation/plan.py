"""The plan of a simulation: a farm, its work, and its faults."""

import math
import shlex
from typing import Final

import msgspec

from dispatcher.core.policy import Policy

__all__ = ["CALM", "COSTS", "FAULTS", "Faults", "Plan", "PlanError", "mix_of"]

COSTS: Final = {"h264": 1.0, "hevc": 2.0, "vp9": 2.2, "av1": 3.0}
"""The cost of each codec, relative to h264."""

BEATS_A_S: Final = 10
"""The most heartbeats a second, by default, of a large farm."""


class PlanError(ValueError):
    """A plan that can't be simulated; the text says why."""


class Faults(msgspec.Struct, frozen=True):
    """What goes wrong, and how often.

    Fields that end in `_a_day` are rates. Crashes, stalls and partitions are counted for each
    engine, `rack_partitions_a_day` for each rack, all others for the whole farm. The other fields
    are shares:

    `lost`, `delayed`, `doubled`: messages that are lost, messages that arrive minutes late, and
    requests that arrive twice.
    `amnesia`: crashes in which the engine forgets its job.
    `black_holes`: engines that fail every job.
    `failing`: attempts that fail by chance.
    `inexact`: segments of films that can't be cut exactly, so that the film is encoded whole.
    `broken_jobs`: jobs whose source no engine can transcode.
    `unservable_jobs`: jobs whose codec no engine has.
    `fickle_clients`: jobs whose clients change their minds.
    """

    crashes_a_day: float = 0.0
    stalls_a_day: float = 0.0
    partitions_a_day: float = 0.0
    rack_partitions_a_day: float = 0.0
    restarts_a_day: float = 0.0
    dispatcher_stalls_a_day: float = 0.0
    clock_jumps_a_day: float = 0.0
    drains_a_day: float = 0.0
    forgets_a_day: float = 0.0
    lost: float = 0.0
    doubled: float = 0.0
    delayed: float = 0.0
    amnesia: float = 0.5
    black_holes: float = 0.0
    failing: float = 0.0
    inexact: float = 0.0
    broken_jobs: float = 0.0
    unservable_jobs: float = 0.0
    fickle_clients: float = 0.0


CALM: Final = Faults()
FAULTS: Final = {
    "none": CALM,
    "some": Faults(
        crashes_a_day=0.1,
        stalls_a_day=0.1,
        partitions_a_day=0.05,
        rack_partitions_a_day=0.1,
        restarts_a_day=1.0,
        dispatcher_stalls_a_day=1.0,
        clock_jumps_a_day=2.0,
        drains_a_day=4.0,
        forgets_a_day=1.0,
        lost=0.0005,
        doubled=0.0005,
        delayed=0.0002,
        black_holes=0.005,
        failing=0.005,
        inexact=0.002,
        broken_jobs=0.005,
        fickle_clients=0.02,
    ),
    "many": Faults(
        crashes_a_day=4.0,
        stalls_a_day=4.0,
        partitions_a_day=3.0,
        rack_partitions_a_day=4.0,
        restarts_a_day=12.0,
        dispatcher_stalls_a_day=12.0,
        clock_jumps_a_day=24.0,
        drains_a_day=24.0,
        forgets_a_day=24.0,
        lost=0.02,
        doubled=0.02,
        delayed=0.01,
        black_holes=0.05,
        failing=0.05,
        inexact=0.01,
        broken_jobs=0.03,
        unservable_jobs=0.005,
        fickle_clients=0.15,
    ),
}


class Plan(msgspec.Struct, frozen=True):
    """A farm and how long to simulate it. Every field is an option of `dispatcher simulate`.

    `jobs_per_hour` is the load in the busiest hour; 0 means the load that keeps four fifths of the
    farm at work then. `mb_per_s` is the speed at which a typical engine makes h264. `mix` has the
    codecs with their shares of the jobs. `split_share` of the jobs are films to be split.
    `heartbeat_s` 0 means a minute, or longer on a large farm, so that at most `BEATS_A_S` arrive a
    second. `lease_s` 0 means three heartbeats.

    With `film_mb`, no day is simulated, but one film of that size; see `one_film`. Its codec is
    the first of those with the largest share.

    An idle engine asks for work once in `wait_s`. Real engines ask at least every minute, but a
    request that is repeated at once has the same effect as a longer one, and costs more to run.
    """

    engines: int = 200
    hours: float = 24.0
    seed: int = 1
    jobs_per_hour: float = 0.0
    mean_mb: float = 1_000.0
    mb_per_s: float = 1.0
    mix: str = "h264=50,hevc=25,vp9=10,av1=15"
    split_share: float = 0.03
    heartbeat_s: float = 0.0
    lease_s: float = 0.0
    wait_s: float = 600.0
    job_timeout_s: float = 0.0
    retry_backoff_s: float = 30.0
    block_after: int = 3
    film_mb: float = 0.0
    faults: str = "some"

    def __post_init__(self) -> None:
        """Raise `PlanError` if the values make no sense."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise PlanError(f"{_option(name)} must be a finite number")
        for name in ("engines", "hours", "mean_mb", "mb_per_s", "wait_s"):
            if not getattr(self, name) > 0:
                raise PlanError(f"{_option(name)} must be more than 0")
        for name in (
            "jobs_per_hour",
            "split_share",
            "film_mb",
            "heartbeat_s",
            "lease_s",
            "job_timeout_s",
            "retry_backoff_s",
            "block_after",
        ):
            if not getattr(self, name) >= 0:
                raise PlanError(f"{_option(name)} must not be less than 0")
        if self.split_share > 1:
            raise PlanError("--split-share must be at most 1")
        if self.beats_every_s >= self.leased_s:
            raise PlanError("--heartbeat-s must be well below --lease-s, or all engines are lost")
        if self.faults not in FAULTS:
            raise PlanError(f"--faults must be one of {', '.join(FAULTS)}")
        mix_of(self)

    @property
    def beats_every_s(self) -> float:
        """The interval of the engines' heartbeats."""
        return self.heartbeat_s or max(60.0, float(-(-self.engines // BEATS_A_S)))

    @property
    def leased_s(self) -> float:
        """The dispatcher's lease."""
        return self.lease_s or 3 * self.beats_every_s

    @property
    def policy(self) -> Policy:
        """The dispatcher's settings."""
        return Policy(
            lease_s=self.leased_s,
            job_timeout_s=self.job_timeout_s,
            retry_backoff_s=self.retry_backoff_s,
            block_after=self.block_after,
        )

    @property
    def weather(self) -> Faults:
        """The faults that `faults` names."""
        return FAULTS[self.faults]

    def command_line(self) -> str:
        """Return the command that simulates this plan."""
        words = ["dispatcher", "simulate"]
        usual = Plan()
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value != getattr(usual, name) or name in {"engines", "hours", "seed"}:
                words += [_option(name), _written(value)]
        return shlex.join(words)


def mix_of(plan: Plan) -> dict[str, float]:
    """Return the shares of the codecs, which add up to 1."""
    shares: dict[str, float] = {}
    for part in plan.mix.split(","):
        codec, _, share = part.partition("=")
        if codec not in COSTS or not share.replace(".", "", 1).isdecimal():
            known = ", ".join(COSTS)
            raise PlanError(f"--mix: {part!r} is no CODEC=SHARE with a codec out of {known}")
        shares[codec] = float(share)
    if not (total := sum(shares.values())):
        raise PlanError("--mix: the shares must not all be 0")
    return {codec: share / total for codec, share in shares.items()}


def _written(value: float | str) -> str:
    """Format a value without loss: a float with all its digits."""
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
