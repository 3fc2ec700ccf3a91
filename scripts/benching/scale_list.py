"""What jobs cost in memory, and what a list of them costs those who submit meanwhile."""

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any, Final, NamedTuple

from .figures import Sample, Spread
from .load import paced, run, submit, submit_many
from .plan import Plan, turns
from .processes import KEY, Server, dispatcher
from .report import Table, Target
from .scale_answer import Answered

__all__ = ["measure"]

SUBMITTERS: Final = 16
PER_S: Final = 400.0
LATE_S: Final = 120
MB_PER_THOUSAND: Final = 1.0
P99_MS: Final = 25.0
HELD_MS: Final = 10.0
QUIET: Final = "nobody lists"
LISTING: Final = "one client lists"


class _Burst(NamedTuple):
    submitted: Sample
    probed: Sample
    lists_per_s: float | None


def measure(plan: Plan) -> Answered:
    """Run the rounds and sum them up."""
    growth: list[float] = []
    bursts: dict[str, list[_Burst]] = defaultdict(list)
    for round_number in range(plan.rounds):
        with tempfile.TemporaryDirectory(dir=plan.work) as directory:
            db = Path(directory) / "events.db"
            with dispatcher(db) as server:
                growth.append(_growth_mb(server, plan.listed_jobs) / plan.listed_jobs * 1_000)
            with dispatcher(db) as server:  # again, so that no snapshot is written meanwhile
                for name in turns((QUIET, LISTING), round_number):
                    bursts[name].append(_burst(server, plan.burst_s, lists=name == LISTING))
    grown = Spread.of(growth)
    return Answered(
        [
            Table(
                "Memory",
                ("jobs submitted", "MB per thousand"),
                [(f"{plan.listed_jobs:,}", str(grown))],
            ),
            _table(plan, bursts),
        ],
        [],
        [
            Target(
                "D.memory",
                f"below {MB_PER_THOUSAND:g} MB per thousand live jobs",
                f"{grown} MB",
                grown.median < MB_PER_THOUSAND,
            ),
            *_targets(plan, bursts[LISTING]),
        ],
    )


def _growth_mb(server: Server, jobs: int) -> float:
    run(submit_many(server.port, jobs // 10))  # the first jobs bring with them what code needs
    before = server.process.rss_mb
    run(submit_many(server.port, jobs))
    return server.process.rss_mb - before


def _burst(server: Server, seconds: float, *, lists: bool) -> _Burst:
    probing = _watch("probe", server.port, seconds)
    listing = _watch("list", server.port, seconds) if lists else None
    took = run(paced(server.port, SUBMITTERS, PER_S, seconds, submit))
    probed = _found(probing)
    listed = _found(listing) if listing is not None else None
    return _Burst(
        Sample.of(took, seconds),
        Sample.of(probed["durations_s"], probed["elapsed_s"]),
        len(listed["durations_s"]) / listed["elapsed_s"] if listed is not None else None,
    )


def _watch(what: str, port: int, seconds: float) -> subprocess.Popen[bytes]:
    script = Path(__file__).with_name("watching.py")
    return subprocess.Popen(
        [sys.executable, script, what, str(port), str(seconds)],
        env={**os.environ, "DISPATCHER_API_KEY": KEY},
        stdout=subprocess.PIPE,
    )


def _found(watching: subprocess.Popen[bytes]) -> dict[str, Any]:
    try:
        said, _ = watching.communicate(timeout=LATE_S)
    except subprocess.TimeoutExpired:
        watching.kill()
        watching.communicate()
        raise
    found: dict[str, Any] = json.loads(said)
    return found


def _table(plan: Plan, bursts: dict[str, list[_Burst]]) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, them in bursts.items():
        lists = [burst.lists_per_s for burst in them if burst.lists_per_s is not None]
        rows.append(
            (
                name,
                str(Spread.of([burst.submitted.p50_ms for burst in them])),
                str(Spread.of([burst.submitted.p99_ms for burst in them])),
                str(Spread.of([burst.probed.p99_ms for burst in them])),
                str(Spread.of([burst.probed.longest_ms for burst in them])),
                str(Spread.of(lists)) if lists else "none",
            )
        )
    return Table(
        f"A list of {plan.listed_jobs:,} jobs while others submit {PER_S:g} a second",
        (
            *("meanwhile", "submit p50 ms", "submit p99 ms"),
            *("/health p99 ms", "/health longest ms", "lists/s"),
        ),
        rows,
    )


def _targets(plan: Plan, listing: list[_Burst]) -> list[Target]:
    p99 = Spread.of([burst.submitted.p99_ms for burst in listing])
    held = Spread.of([burst.probed.longest_ms for burst in listing])
    while_listed = f"while {plan.listed_jobs:,} jobs are listed"
    return [
        Target(
            "D.list",
            f"p99 of those who submit {while_listed} below {P99_MS:g} ms",
            f"{p99} ms",
            p99.median < P99_MS,
        ),
        Target(
            "D.loop",
            f"the loop never held longer than {HELD_MS:g} ms {while_listed}",
            f"{held} ms, seen from outside",
            held.greatest <= HELD_MS,
        ),
    ]
