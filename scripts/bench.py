#!/usr/bin/env python3
"""Measure the dispatcher beside what people use instead, and write docs/benchmarks.md.

    scripts/bench.py --install-peers         # once; needs root for the servers among them
    scripts/bench.py --full                  # all of it, about an hour on two quiet cores
    scripts/bench.py --quick --only A,C      # whether it works, in seconds; the figures say nothing

Parts: A durable submit, B whole lives, C replay, D scale, E steady load, F transcoding,
G transfers, H one film on two engines, I years.
"""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
python = ROOT / ".venv/bin/python"
if Path(sys.prefix) != python.parent.parent and python.exists():
    os.execv(python, [str(python), *sys.argv])  # noqa: S606 - the project's own interpreter

from rich.console import Console  # noqa: E402 - see above

from benching import lives, replay, scale, splitting, steady, submit, transcoding, transfers, years  # noqa: E402
from benching.installing import install_peers  # noqa: E402
from benching.plan import FULL, QUICK, Plan  # noqa: E402
from benching.report import Part, show, write  # noqa: E402

PARTS = {
    "A": submit.measure,
    "B": lives.measure,
    "C": replay.measure,
    "D": scale.measure,
    "E": steady.measure,
    "F": transcoding.measure,
    "G": transfers.measure,
    "H": splitting.measure,
    "I": years.measure,
}
PAGE = ROOT / "docs/benchmarks.md"
SHORT_STEADY_S = 60.0
ANYBODY_PASSES = 0o711
TERMINATED = 128 + signal.SIGTERM


def main() -> None:
    """Do what the command line asks for."""
    options = _options()
    console = Console(width=max(Console().width, 140))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # ends the children too
    if options.install_peers:
        install_peers(console)
        return
    page = options.report or (None if options.quick else PAGE)
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        Path(temporary).chmod(ANYBODY_PASSES)  # PostgreSQL runs as a user of its own
        work = (options.work_dir or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        plan = _plan(options, work)
        parts: list[Part] = []
        for letter in options.only:
            parts.append(PARTS[letter](plan))
            show(console, parts[-1])
            if page is not None:  # part by part: what took long to measure is not lost
                write(page, parts, plan, _command(options))
    if page is not None:
        console.print(f"Wrote {page}.", markup=False)


def _plan(options: argparse.Namespace, work: Path) -> Plan:
    plan = (QUICK if options.quick else FULL)._replace(work=work)
    if options.rounds is not None:
        plan = plan._replace(rounds=options.rounds)
    if options.minutes is not None:
        return plan._replace(steady_s=options.minutes * 60)
    if not options.quick and not options.full:
        return plan._replace(steady_s=SHORT_STEADY_S)
    return plan


def _command(options: argparse.Namespace) -> str:
    """Give the command line without what differs from machine to machine."""
    words = ["scripts/bench.py"]
    words += ["--full"] * options.full + ["--quick"] * options.quick
    if options.only != [*PARTS]:
        words += ["--only", ",".join(options.only)]
    if options.rounds is not None:
        words += ["--rounds", str(options.rounds)]
    if options.minutes is not None:
        words += ["--minutes", f"{options.minutes:g}"]
    return " ".join(words)


def _options() -> argparse.Namespace:
    assert __doc__ is not None  # noqa: S101 - it is above
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--install-peers", action="store_true", help="install the peers, and end")
    parser.add_argument("--only", type=_letters, default=[*PARTS], help="parts, such as A,C")
    parser.add_argument("--rounds", type=_at_least_one, help="rounds of each measurement")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small and short, to see that it works")
    size.add_argument(
        "--full", action="store_true", help="with ten minutes of steady load, not one"
    )
    parser.add_argument("--minutes", type=_positive, help="minutes of steady load")
    parser.add_argument(
        "--report", type=Path, help=f"the page; {PAGE.relative_to(ROOT)} unless --quick"
    )
    parser.add_argument(
        "--work-dir", type=Path, help="where the logs are, and stay; else a temporary directory"
    )
    return parser.parse_args()


def _letters(text: str) -> list[str]:
    letters = [letter.strip().upper() for letter in text.split(",")]
    if unknown := [letter for letter in letters if letter not in PARTS]:
        raise argparse.ArgumentTypeError(
            f"there is no part {', '.join(unknown)}; the parts are {', '.join(PARTS)}"
        )
    return sorted(set(letters))


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rounds; give 1 or more")
    return int(text)


def _positive(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes; give more than 0")
    return minutes


if __name__ == "__main__":
    main()
