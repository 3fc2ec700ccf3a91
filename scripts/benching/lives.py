"""B. Whole lives over HTTP, against durable set-ups of what people use instead."""

import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Final

from .figures import Sample, Spread
from .load import closed_loop, job_life, register_engines, run
from .peers import Peer, UnavailableError, beanstalkd, queues
from .pictures import bars
from .plan import CONNECTIONS, WARM_UP, Plan, turns
from .processes import dispatcher
from .report import Part, Picture, Skipped, Table, Target

__all__ = ["measure"]

HOW: Final = (
    f"Whole lives a second at {CONNECTIONS} connections. Each connection begins the next life when "
    "its last has ended, and takes whatever job comes. Each contestant has a fresh store each "
    "round, on the same file system. The clients of the dispatcher and of beanstalkd are a raw "
    "protocol each, in an event loop of their own process; the others go through their libraries, "
    "whose client and worker share one process. A tenth of the time goes before the clock starts."
)


def _ours(directory: Path, connections: int, seconds: float) -> Sample:
    with dispatcher(directory / "events.db") as server:
        run(register_engines(server.port, connections))
        run(closed_loop(server.port, connections, seconds * WARM_UP, job_life))
        return run(closed_loop(server.port, connections, seconds, job_life))


OURS: Final = Peer(
    "dispatcher",
    "WAL, synchronous=FULL, a commit for all that wait",
    f"submit, assign by name ({CONNECTIONS} engines), complete: three requests, keys checked",
    _ours,
)
CONTESTANTS: Final = (OURS, *beanstalkd.PEERS, *queues.PEERS)


def measure(plan: Plan) -> Part:
    """Run the rounds and sum them up."""
    samples: dict[str, list[Sample]] = defaultdict(list)
    skipped: dict[str, Skipped] = {}
    for round_number in range(plan.rounds):
        for peer in turns(CONTESTANTS, round_number):
            if peer.name in skipped:
                continue
            with tempfile.TemporaryDirectory(dir=plan.work) as directory:
                try:
                    sample = peer.measure(Path(directory), CONNECTIONS, plan.burst_s)
                except UnavailableError as error:
                    skipped[peer.name] = Skipped(peer.name, str(error))
                    samples.pop(peer.name, None)  # a peer has all its rounds or none
                else:
                    samples[peer.name].append(sample)
    measured = [peer for peer in CONTESTANTS if peer.name in samples]
    rates = {it.name: Spread.of([sample.per_s for sample in samples[it.name]]) for it in measured}
    apart = [peer for peer in measured if peer.apart]
    durable = [peer for peer in measured if not peer.apart]
    bar_of = {peer.name: rates[peer.name] for peer in durable}
    title = f"Whole lives a second at {CONNECTIONS} connections"
    return Part(
        "B",
        "Whole lives",
        HOW,
        [
            _table("Durable", durable, samples, rates),
            _table("Apart: acknowledged before the disk has it", apart, samples, rates),
        ],
        [Picture("lives", title, bars(title, bar_of, OURS.name))],
        [_target(durable, rates)],
        list(skipped.values()),
    )


def _table(
    title: str, measured: list[Peer], samples: dict[str, list[Sample]], rates: dict[str, Spread]
) -> Table:
    return Table(
        title,
        ("contestant", "lives/s", "p99 ms", "sync", "a life"),
        [
            (
                peer.name,
                str(rates[peer.name]),
                str(Spread.of([sample.p99_ms for sample in samples[peer.name]])),
                peer.setting,
                peer.life,
            )
            for peer in measured
        ],
    )


def _target(durable: list[Peer], rates: dict[str, Spread]) -> Target:
    rivals = {peer.name: rates[peer.name].median for peer in durable if peer is not OURS}
    aim = "ahead of every durable set-up"
    if not rivals:
        return Target("B.ahead", aim, "no peer could be measured", None)
    ours = rates[OURS.name].median
    found = ", ".join(f"{ours / rate:.2f} times {name}" for name, rate in rivals.items())
    return Target("B.ahead", aim, found, ours > max(rivals.values()))
