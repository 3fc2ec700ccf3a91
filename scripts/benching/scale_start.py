"""How long a start takes, with a snapshot and without one."""

import shutil
import tempfile
from pathlib import Path
from typing import Final

from .figures import Spread
from .logs import copy_of, finished_jobs_log
from .pictures import bars
from .plan import Plan
from .processes import dispatcher
from .report import Picture, Table, Target
from .scale_answer import Answered

__all__ = ["measure"]

LIMIT_S: Final = 1.5
WITH: Final = "with a snapshot"
WITHOUT: Final = "without one"
EMPTY: Final = "with an empty log"


def measure(plan: Plan) -> Answered:
    """Run the rounds and sum them up."""
    took: dict[str, list[float]] = {WITH: [], WITHOUT: [], EMPTY: []}
    log = finished_jobs_log(plan.work, plan.log_events)
    with tempfile.TemporaryDirectory(dir=plan.work) as temporary:
        directory = Path(temporary)
        db = copy_of(log, directory)
        for round_number in range(plan.rounds):
            shutil.rmtree(f"{db}.snapshots", ignore_errors=True)
            took[WITHOUT].append(_start_s(db))
            took[WITH].append(_start_s(db))
            took[EMPTY].append(_start_s(directory / f"empty-{round_number}.db"))
    figures = {name: Spread.of(seconds) for name, seconds in took.items()}
    title = f"Start-up with {plan.log_events:,} events, s"
    return Answered(
        [Table(title, ("start", "s"), [(name, str(it)) for name, it in figures.items()])],
        [Picture("start", title, bars(title, figures))],
        [
            Target(
                "D.startup",
                f"with {plan.log_events:,} events and a snapshot below {LIMIT_S} s",
                f"{figures[WITH]} s",
                figures[WITH].median < LIMIT_S,
            )
        ],
    )


def _start_s(db: Path) -> float:
    with dispatcher(db) as server:
        return server.started_s
