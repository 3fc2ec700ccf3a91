#!/usr/bin/env python3
"""Simulate a farm in simulated time, with the dispatcher's real rules, scheduling and timers.

    scripts/simulate.py --engines 200 --hours 24 --seed 1 [--faults none|some|many] [--json]

The invariants of the core are checked after every step. The same options give the same run. See
docs/simulation.md.

Exit codes: 0 all invariants held; 1 one was broken, and its story is told; 2 the command line is
wrong.
"""

import argparse
import gc
import logging
import os
import sys
import time
from pathlib import Path

python = Path(__file__).resolve().parent.parent / ".venv/bin/python"
if Path(sys.prefix) != python.parent.parent and python.exists():
    os.execv(python, [str(python), *sys.argv])  # noqa: S606 - the project's own interpreter

from rich.console import Console  # noqa: E402 - only the project's interpreter has it

from dispatcher.simulation.farm import FailedError, simulate  # noqa: E402
from dispatcher.simulation.plan import FAULTS, Plan, PlanError  # noqa: E402
from dispatcher.simulation.report import as_json, show  # noqa: E402

OPTIONS = {
    "engines": "how many engines the farm has",
    "hours": "how long its day is",
    "seed": "what all chance follows from",
    "jobs_per_hour": "jobs that come in the busiest hour (0: what keeps 80 %% of the farm at work)",
    "mean_mb": "the mean size of a job",
    "mb_per_s": "MB of source that a middling engine makes into h264 in a second",
    "mix": "codecs with their shares of the jobs",
    "heartbeat_s": "how often engines beat (0: every minute, or less often on a large farm)",
    "lease_s": "the dispatcher's --lease-s (0: three heartbeats)",
    "wait_s": "how long an ask waits for a job",
    "job_timeout_s": "the dispatcher's --job-timeout-s",
    "retry_backoff_s": "the dispatcher's --retry-backoff-s",
    "block_after": "the dispatcher's --block-after",
    "faults": "how much goes wrong",
}


def main() -> int:
    """Simulate what the command line asks for."""
    parser = argparse.ArgumentParser(
        description="Simulate a farm.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    usual = Plan()
    for name, meaning in OPTIONS.items():
        default = getattr(usual, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            default=default,
            type=type(default),
            choices=list(FAULTS) if name == "faults" else None,
            help=meaning,
        )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = vars(parser.parse_args())
    is_json = options.pop("json")
    try:
        plan = Plan(**options)
    except PlanError as error:
        parser.error(str(error))
    logging.disable(logging.WARNING)  # the timers tell of every stall
    gc.set_threshold(100_000, 50, 100)  # nearly all that is made is kept
    began = time.perf_counter()
    try:
        outcome = simulate(plan)
    except FailedError as failed:
        print(failed, file=sys.stderr)
        return 1
    took_s = time.perf_counter() - began
    if is_json:
        print(as_json(plan, outcome, took_s).decode())
    else:
        show(Console(), plan, outcome, took_s)
    return 0


if __name__ == "__main__":
    sys.exit(main())
