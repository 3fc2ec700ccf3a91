"""A. Durable submit, against handlers that store nothing."""

import re
import sqlite3
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from . import batches
from .batches import BatchSample, post_batches
from .figures import Sample, Spread
from .pictures import lines
from .plan import CONNECTIONS, LEVELS, Plan, turns
from .posting import by_wrk, post
from .processes import Server, child, dispatcher
from .report import Part, Picture, Table, Target

__all__ = ["measure"]

OURS: Final = "dispatcher, durable"
TYPED: Final = "(1) Litestar, typed"
LEAN: Final = "(1b) Litestar, leanest"
BARE: Final = "(2) bare ASGI echo"
PEERS: Final = {TYPED: "typed", LEAN: "lean", BARE: "bare"}
READY: Final = re.compile(r"Ready on port (\d+)")
SHARE: Final = 0.9
TAIL: Final = 2.0

HOW: Final = (
    "`POST /jobs/` of one body over kept connections, each of which posts again as soon as it is "
    "answered. (1) is a Litestar handler with a typed msgspec `data` that it returns, (1b) one "
    "that takes the raw body, a prebuilt decoder and a prebuilt answer, (2) an ASGI function that "
    "returns the body. They run on uvicorn as the dispatcher does, and store nothing, check no key "
    "and no rule. The dispatcher is `dispatcher serve` with its defaults on a fresh log each "
    "round; afterwards its log is opened and has at least one event for each answer. The load is "
    "made by "
)

_Samples = dict[tuple[str, int], list[Sample]]


def measure(plan: Plan) -> Part:
    """Run the rounds and sum them up."""
    samples: _Samples = defaultdict(list)
    in_batches: list[BatchSample] = []
    for round_number in range(plan.rounds):
        _round(plan, round_number, samples)
        in_batches.append(_batches(plan))
    figures = {
        name: [_spreads(samples[name, level]) for level in LEVELS] for name in (OURS, *PEERS)
    }
    ticks = [str(level) for level in LEVELS]
    rates = {name: [rate for rate, _, _ in spreads] for name, spreads in figures.items()}
    tails = {name: [p99 for _, _, p99 in spreads] for name, spreads in figures.items()}
    return Part(
        "A",
        "Durable submit",
        HOW + ("wrk." if by_wrk(plan.burst_s) else "this project's own client, without wrk."),
        [
            Table(
                "Submissions",
                ("contestant", "connections", "requests/s", "p50 ms", "p99 ms"),
                [
                    (name, tick, *map(str, spreads))
                    for at, tick in enumerate(ticks)
                    for name in figures
                    for spreads in [figures[name][at]]
                ],
            ),
            _ratios(samples),
            batches.table(in_batches),
        ],
        [
            Picture("submit-rate", title := "Submissions a second", _drawn(title, ticks, rates)),
            Picture("submit-p99", title := "p99 of a submission, ms", _drawn(title, ticks, tails)),
        ],
        [*_targets(samples), batches.target(in_batches)],
    )


def _round(plan: Plan, round_number: int, samples: _Samples) -> None:
    with tempfile.TemporaryDirectory(dir=plan.work) as temporary, ExitStack() as stack:
        directory = Path(temporary)
        db = directory / "events.db"
        servers = {
            name: stack.enter_context(_peer(kind, directory)) for name, kind in PEERS.items()
        }
        servers[OURS] = stack.enter_context(dispatcher(db))
        answered = 0
        for at, level in enumerate(LEVELS):
            for name in turns([*servers], at + round_number):
                sample = post(servers[name].port, level, plan.burst_s)
                samples[name, level].append(sample)
                answered += sample.done * (name == OURS)
        stack.close()
        with closing(sqlite3.connect(db)) as log:
            (recorded,) = log.execute("SELECT max(seq) FROM events").fetchone()
        if recorded < answered:
            raise RuntimeError(f"{answered} submissions were answered, {recorded} are in the log")


def _batches(plan: Plan) -> BatchSample:
    with tempfile.TemporaryDirectory(dir=plan.work) as temporary:
        db = Path(temporary) / "events.db"
        with dispatcher(db) as server:
            sample = post_batches(server, plan.burst_s)
        with closing(sqlite3.connect(db)) as log:
            (recorded,) = log.execute("SELECT count(*) FROM events").fetchone()
    if recorded != sample.done:
        raise RuntimeError(f"{sample.done} jobs were answered, {recorded} are in the log")
    return sample


@contextmanager
def _peer(kind: str, directory: Path) -> Iterator[Server]:
    script = Path(__file__).with_name("answering.py")
    with child([sys.executable, script, kind], directory) as process:
        yield Server(int(process.await_words(READY)[1]), process)


def _spreads(samples: list[Sample]) -> tuple[Spread, Spread, Spread]:
    return (
        Spread.of([sample.per_s for sample in samples]),
        Spread.of([sample.p50_ms for sample in samples]),
        Spread.of([sample.p99_ms for sample in samples]),
    )


def _drawn(title: str, ticks: list[str], curves: dict[str, list[Spread]]) -> str:
    return lines(title, ticks, "connections", curves)


def _share(samples: _Samples, of: str, level: int) -> Spread:
    """Compare the rates round by round: what shares a round shares the machine's mood."""
    pairs = zip(samples[OURS, level], samples[of, level], strict=True)
    return Spread.of([ours.per_s / theirs.per_s for ours, theirs in pairs])


def _tail(samples: _Samples, of: str, level: int) -> Spread:
    pairs = zip(samples[OURS, level], samples[of, level], strict=True)
    return Spread.of([ours.p99_ms / theirs.p99_ms for ours, theirs in pairs])


def _ratios(samples: _Samples) -> Table:
    return Table(
        "The dispatcher's part of each",
        ("against", "connections", "throughput, times", "p99, times"),
        [
            (name, str(level), str(_share(samples, name, level)), str(_tail(samples, name, level)))
            for name in PEERS
            for level in LEVELS
        ],
    )


def _targets(samples: _Samples) -> list[Target]:
    share = _share(samples, TYPED, CONNECTIONS)
    tail = _tail(samples, TYPED, CONNECTIONS)
    return [
        Target(
            "A.throughput",
            f"at {CONNECTIONS} connections at least {SHARE} times (1), every answer durable",
            f"{share} times (1)",
            share.median >= SHARE,
        ),
        Target(
            "A.p99",
            f"at {CONNECTIONS} connections at most {TAIL:g} times that of (1)",
            f"{tail} times that of (1)",
            tail.median <= TAIL,
        ),
    ]
