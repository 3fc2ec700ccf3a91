"""I. Years: what is bounded by what is alive, and not by what has been."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from dispatcher.log.segments import LEAST_EVENTS, SEGMENT_EVENTS

from .figures import Spread, number, percentile
from .pictures import lines
from .plan import Plan
from .processes import HOST, KEY, Server, dispatcher
from .report import Part, Picture, Table, Target

__all__ = ["measure"]

STAGES: Final = 4
"""Each has twice as many events as the one before."""
SMALL: Final = 100_000
"""A run with fewer events has small segments, to have some."""
ASKED: Final = 200
SMALLER: Final = 10
BARE_BYTES: Final = 198
"""What an event of such a farm took before there were segments and an index."""
GROWTH: Final = 1.2
START_S: Final = 2.0
OLD_MS: Final = 20.0
AS_OF_S: Final = 2.0
SEALED_BYTES: Final = 14.0
KEPT: Final = 0.97

HOW: Final = (
    "500 engines beat every ten seconds, and 100,000 jobs a day are submitted, assigned and "
    "completed; one in fifty fails. The real service does all of it with its log, segments, index "
    "and snapshots, without HTTP and by the farm's clock, as fast as it can. At each stage it is "
    "stopped, and `dispatcher serve` is started on the log: memory is its resident set once it is "
    "ready, and requests are made one after the other over HTTP. The oldest job and its history, "
    f"each asked for {ASKED} times, and the jobs as of an hour after the beginning. Segments are "
    "compressed at level 9; the default of `serve`, 19, makes them a fifth smaller. At rest is all "
    "that is on the disk: log, segments, index and snapshots."
)


class _Stage(NamedTuple):
    events: int
    days: float
    cpu_us: float
    start_s: float
    rss_mb: float
    job_ms: float
    history_ms: float
    as_of_s: float
    sealed_bytes: float
    rest_bytes: float
    snapshot_mb: float


def measure(plan: Plan) -> Part:
    """Let the farm work, and look at its log four times."""
    segment_events = SEGMENT_EVENTS if plan.years_events > SMALL else LEAST_EVENTS * 4
    with TemporaryDirectory(dir=plan.work) as folder:
        db = Path(folder) / "events.db"
        with _farm(db, segment_events) as work_until:
            upto = [plan.years_events >> shift for shift in reversed(range(STAGES))]
            stages = [_look(db, work_until(events), segment_events) for events in upto]
    return Part("I", "Years", HOW, [_table(stages)], _pictures(stages), _targets(stages))


@contextmanager
def _farm(db: Path, segment_events: int) -> Iterator[Callable[[int], dict[str, float]]]:
    """Run the farm in a process; what is yielded lets it work until there are so many events."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benching.years_farm", str(db), str(segment_events)],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def work_until(events: int) -> dict[str, float]:
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(f"{events}\n")
        process.stdin.flush()
        if not (line := process.stdout.readline()):
            raise RuntimeError(f"the farm ended with {process.wait()}; see above")
        told: dict[str, float] = json.loads(line)
        return told

    with process:
        try:
            yield work_until
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait()


def _look(db: Path, worked: dict[str, float], segment_events: int) -> _Stage:
    segments = _size(db.with_name(f"{db.name}.segments"))
    snapshots = _size(db.with_name(f"{db.name}.snapshots"))
    at_rest = sum(it.stat().st_size for it in db.parent.rglob("*") if it.is_file())
    options = ("--segment-events", str(segment_events), "--segment-level", "9")
    with dispatcher(db, *options) as server:
        rss_mb = server.process.rss_mb
        oldest = _get(server, "/jobs/?limit=1")[0]["job_id"]
        job_ms = _p99_ms(server, f"/jobs/{oldest}")
        history_ms = _p99_ms(server, f"/jobs/{oldest}/events")
        began_s = time.perf_counter()
        _get(server, "/jobs/?limit=100&as_of=2026-01-01T01:00:00Z")
        as_of_s = time.perf_counter() - began_s
        start_s = server.started_s
    return _Stage(
        int(worked["events"]),
        worked["days"],
        worked["cpu_us"],
        start_s,
        rss_mb,
        job_ms,
        history_ms,
        as_of_s,
        segments / max(1.0, worked["sealed"]),
        at_rest / worked["events"],
        snapshots / 1e6,
    )


def _size(folder: Path) -> int:
    return sum(it.stat().st_size for it in folder.glob("*"))


def _get(server: Server, path: str) -> Any:
    request = urllib.request.Request(
        f"http://{HOST}:{server.port}{path}", headers={"X-API-Key": KEY}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def _p99_ms(server: Server, path: str) -> float:
    took = []
    for _ in range(ASKED):
        began_s = time.perf_counter()
        _get(server, path)
        took.append((time.perf_counter() - began_s) * 1e3)
    return percentile(sorted(took), 0.99)


def _table(stages: list[_Stage]) -> Table:
    rows = [
        ("days of the farm", [f"{it.days:.2f}" for it in stages]),
        ("memory after a start, MB", [f"{it.rss_mb:.0f}" for it in stages]),
        ("start, s", [number(it.start_s) for it in stages]),
        ("the oldest job, p99 ms", [number(it.job_ms) for it in stages]),
        ("its history, p99 ms", [number(it.history_ms) for it in stages]),
        ("as of the first hour, s", [number(it.as_of_s) for it in stages]),
        ("bytes of an event in segments", [number(it.sealed_bytes) for it in stages]),
        ("bytes of an event, all at rest", [number(it.rest_bytes) for it in stages]),
        ("snapshots, MB", [number(it.snapshot_mb) for it in stages]),
        ("CPU time of an event, µs", [f"{it.cpu_us:.0f}" for it in stages]),
    ]
    columns = ("events", *(f"{it.events:,}" for it in stages))
    return Table("A farm of 500 engines", columns, [(name, *values) for name, values in rows])


def _pictures(stages: list[_Stage]) -> list[Picture]:
    ticks = [f"{it.events / 1e6:.3g} M" for it in stages]
    curves = {"memory after a start": [Spread.of([it.rss_mb]) for it in stages]}
    title = "Memory, MB, with so many events in the log"
    bytes_ = {
        "in segments": [Spread.of([it.sealed_bytes]) for it in stages],
        "all at rest": [Spread.of([it.rest_bytes]) for it in stages],
    }
    bytes_title = "Bytes of an event"
    return [
        Picture("years-memory", title, lines(title, ticks, "events", curves)),
        Picture("years-bytes", bytes_title, lines(bytes_title, ticks, "events", bytes_)),
    ]


def _targets(stages: list[_Stage]) -> list[Target]:
    first, last = stages[0], stages[-1]
    old_ms = max(last.job_ms, last.history_ms)
    return [
        Target(
            "I.memory",
            f"at most {GROWTH} times the memory of an eighth of the events",
            f"{last.rss_mb / first.rss_mb:.2f} times",
            last.rss_mb <= GROWTH * first.rss_mb,
        ),
        Target(
            "I.start",
            f"a start in less than {START_S:g} s",
            f"{number(last.start_s)} s",
            last.start_s < START_S,
        ),
        Target(
            "I.old",
            f"the oldest job and its history below {OLD_MS:g} ms, p99",
            f"{number(old_ms)} ms",
            old_ms < OLD_MS,
        ),
        Target(
            "I.as_of",
            f"the first hour in less than {AS_OF_S:g} s",
            f"{number(last.as_of_s)} s",
            last.as_of_s < AS_OF_S,
        ),
        Target(
            "I.sealed",
            f"at most {SEALED_BYTES:g} bytes of an event in segments",
            f"{number(last.sealed_bytes)} bytes",
            last.sealed_bytes <= SEALED_BYTES,
        ),
        Target(
            "I.rest",
            f"all at rest at most a tenth of the {BARE_BYTES} bytes of an event without segments",
            f"{number(last.rest_bytes)} bytes",
            last.rest_bytes <= BARE_BYTES / SMALLER,
        ),
        Target(
            "I.rate",
            f"at the end at least {KEPT} of the events for the same CPU time",
            f"{first.cpu_us / last.cpu_us:.2f} times",
            first.cpu_us / last.cpu_us >= KEPT,
        ),
    ]
