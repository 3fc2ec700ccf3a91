#!/usr/bin/env python3
"""Do to the dispatcher what must not harm it, and say whether it did.

    scripts/torture.py                                   # everything, for long, on the terminal
    scripts/torture.py --report docs/torture.md          # the same, and write the report
    scripts/torture.py --short --only kill,power         # a minute, to see whether it works
    scripts/torture.py --only power --points 10000 --seed 7

Tortures: kill, power, disk, swapped, cancel, input, starvation, simulation, cluster.

Exit codes: 0 every claim held; 1 one did not, and where is told; 2 the command line is wrong.
"""

import argparse
import asyncio
import os
import shlex
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

python = Path(__file__).resolve().parent.parent / ".venv/bin/python"
if Path(sys.prefix) != python.parent.parent and python.exists():
    os.execv(python, [str(python), *sys.argv])  # noqa: S606 - the project's own interpreter

from rich.console import Console  # noqa: E402 - only the project's interpreter has it

from torturing import Outcome  # noqa: E402
from torturing.report import Run, show, write  # noqa: E402

TORTURES = (
    *("kill", "power", "disk", "swapped", "cancel", "input", "starvation", "simulation"),
    "cluster",
)


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="KILL,…", help="these tortures, separated by commas")
    parser.add_argument("--cycles", type=int, help="how often the dispatcher is killed")
    parser.add_argument("--points", type=int, help="how often the power fails")
    parser.add_argument("--faults", type=int, help="how many things are done to a cluster")
    parser.add_argument("--seed", type=int, default=1, help="what all chance follows from")
    parser.add_argument("--short", action="store_true", help="few rounds of each")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report there")
    options = parser.parse_args()
    there = [name for name in TORTURES if find_spec(f"torturing.{name}")]
    wanted = there if options.only is None else options.only.split(",")
    if unknown := [name for name in wanted if name not in there]:
        parser.error(f"--only: there is no {', '.join(unknown)}; there are {', '.join(there)}")
    rounds = {"kill": options.cycles, "power": options.points, "cluster": options.faults}
    if any(number is not None and number < 1 for number in rounds.values()):
        parser.error("--cycles, --points and --faults must be at least 1")
    console, began = Console(), time.time()
    outcomes = [
        outcome
        for name in wanted
        for outcome in _torture(name, rounds.get(name), options, Console(stderr=True))
    ]
    show(console, outcomes)
    if options.report is not None:
        command = shlex.join(["scripts/torture.py", *sys.argv[1:]])
        write(options.report, Run(command, options.seed, began, time.time()), outcomes)
    return 0 if all(outcome.held for outcome in outcomes) else 1


def _torture(
    name: str, rounds: int | None, options: argparse.Namespace, console: Console
) -> list[Outcome]:
    torture = import_module(f"torturing.{name}")
    usual = torture.SHORT if options.short else torture.LONG
    with console.status(name) as status:

        def tell(line: str) -> None:
            status.update(line)
            if not console.is_terminal:
                console.print(line, highlight=False)

        return asyncio.run(torture.run(rounds or usual, options.seed, tell))


if __name__ == "__main__":
    sys.exit(main())
