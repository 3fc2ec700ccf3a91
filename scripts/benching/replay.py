"""C. Replay: from a file to what is shown."""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from .figures import Spread, number
from .logs import finished_jobs_log
from .peers import UnavailableError, drive
from .pictures import bars
from .plan import Plan, turns
from .report import Part, Picture, Skipped, Table, Target

__all__ = ["measure"]

PROJECT: Final = "from the file to projections"
REPLAY: Final = "from the file to projections and decisions"
DECODE: Final = "read and decode alone"
READ: Final = "read alone"
LIBRARY: Final = "eventsourcing library"
OURS: Final = {PROJECT: "project", REPLAY: "replay", DECODE: "decode", READ: "read"}
SHARE: Final = 0.5
TIMES: Final = 3.0
LATE_S: Final = 600

HOW: Final = (
    "Events a second, each round in a fresh process that has loaded its code before the clock "
    "starts. The log is of jobs that were submitted, assigned and completed. It is read, decoded "
    "and folded into every projection; a start of the dispatcher without a snapshot folds it into "
    "what decisions need too, which the second row shows. The eventsourcing library reads the same "
    "kind of events from its own SQLite recorder, maps them and folds them into one dict, which is "
    "less than the projections keep. Nobody's garbage collector runs meanwhile."
)


def measure(plan: Plan) -> Part:
    """Run the rounds and sum them up."""
    rates, skipped = _rounds(plan)
    figures = {name: Spread.of(rates[name]) for name in (*OURS, LIBRARY) if name in rates}
    events = dict.fromkeys(OURS, plan.log_events) | {LIBRARY: plan.peer_events}
    title = "Events a second from a file"
    return Part(
        "C",
        "Replay",
        HOW,
        [
            Table(
                "Events",
                ("what", "events in the log", "events/s"),
                [(name, f"{events[name]:,}", str(rate)) for name, rate in figures.items()],
            )
        ],
        [Picture("replay", title, bars(title, figures, PROJECT))],
        _targets(rates),
        skipped,
    )


def _rounds(plan: Plan) -> tuple[dict[str, list[float]], list[Skipped]]:
    log = finished_jobs_log(plan.work, plan.log_events)
    contestants: dict[str, Callable[[], float]] = {
        **{name: partial(_rate_of_ours, what, log) for name, what in OURS.items()},
        LIBRARY: partial(_rate_of_library, plan),
    }
    rates: dict[str, list[float]] = defaultdict(list)
    skipped: dict[str, Skipped] = {}
    for round_number in range(plan.rounds):
        for name in turns([*contestants], round_number):
            if name not in skipped:
                try:
                    rates[name].append(contestants[name]())
                except UnavailableError as error:
                    skipped[name] = Skipped(name, str(error))
                    rates.pop(name, None)  # a peer has all its rounds or none
    return rates, [*skipped.values()]


def _rate_of_ours(what: str, log: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "benching.folding", what, log],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        timeout=LATE_S,
        check=True,
    )
    return _rate(json.loads(done.stdout))


def _rate_of_library(plan: Plan) -> float:
    log = _peer_log(plan)
    return _rate(drive("eventsourcing_replay.py", ["read", log, plan.peer_events]))


def _peer_log(plan: Plan) -> Path:
    path = plan.work / f"eventsourcing-{plan.peer_events}.db"
    if not path.exists():
        draft = path.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        drive("eventsourcing_replay.py", ["make", draft, plan.peer_events])
        draft.rename(path)
    return path


def _rate(found: dict[str, Any]) -> float:
    rate: float = found["events"] / found["elapsed_s"]
    return rate


def _targets(rates: dict[str, list[float]]) -> list[Target]:
    return [
        _target("C.decoding", rates, DECODE, SHARE, f"{PROJECT}: at least half of {DECODE}"),
        _target(
            "C.library", rates, LIBRARY, TIMES, f"{PROJECT}: at least {TIMES:g} times the {LIBRARY}"
        ),
    ]


def _target(name: str, rates: dict[str, list[float]], of: str, least: float, aim: str) -> Target:
    if of not in rates:
        return Target(name, aim, "the peer could not be measured", None)
    ratio, whole = _ratio(rates, PROJECT, of), _ratio(rates, REPLAY, of)
    found = (
        f"{ratio} times, with {number(Spread.of(rates[PROJECT]).median)} events/s; "
        f"{whole} with what decisions need too"
    )
    return Target(name, aim, found, ratio.median >= least)


def _ratio(rates: dict[str, list[float]], ours: str, theirs: str) -> Spread:
    return Spread.of([one / other for one, other in zip(rates[ours], rates[theirs], strict=True)])
