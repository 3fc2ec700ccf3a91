"""How long an assignment takes, with few and with many jobs waiting."""

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from dispatcher.state.snapshots import EVERY

from .figures import Sample, Spread
from .load import assign, complete, connect, register_engines, run, submit
from .logs import copy_of, waiting_jobs_log
from .pictures import bars
from .plan import Plan, turns
from .processes import Server, dispatcher
from .report import Picture, Table, Target
from .scale_answer import Answered

__all__ = ["measure"]

RATIO: Final = 1.5


def measure(plan: Plan) -> Answered:
    """Run the rounds and sum them up."""
    sizes = (plan.few_pending, plan.many_pending)
    samples: dict[int, list[Sample]] = defaultdict(list)
    with ExitStack() as stack:
        servers = {size: stack.enter_context(_farm(plan, size)) for size in sizes}
        for server in servers.values():
            run(register_engines(server.port, 1))
            run(_assignments(server.port, plan.assigns // 4))
        for round_number in range(plan.rounds):
            for size in turns(sizes, round_number):
                samples[size].append(run(_assignments(servers[size].port, plan.assigns)))
    return Answered([_table(samples)], [_picture(samples)], [_target(sizes, samples)])


@contextmanager
def _farm(plan: Plan, pending: int) -> Iterator[Server]:
    log = waiting_jobs_log(plan.work, pending)
    with tempfile.TemporaryDirectory(dir=plan.work) as directory:
        db = copy_of(log, Path(directory))
        if pending >= EVERY:
            with dispatcher(db):
                pass  # it leaves a snapshot, so that none is written while the clock runs
        with dispatcher(db) as server:
            yield server


async def _assignments(port: int, count: int) -> Sample:
    (connection,) = await connect(port, 1)
    durations: list[float] = []
    for _ in range(count):
        await submit(connection, 0)
        began = time.perf_counter()
        job_id = await assign(connection, 0)
        durations.append(time.perf_counter() - began)
        await complete(connection, job_id)
    connection.close()
    return Sample.of(durations, sum(durations))


def _p50(samples: list[Sample]) -> Spread:
    return Spread.of([sample.p50_ms for sample in samples])


def _p99(samples: list[Sample]) -> Spread:
    return Spread.of([sample.p99_ms for sample in samples])


def _table(samples: dict[int, list[Sample]]) -> Table:
    return Table(
        "Assignments",
        ("jobs waiting", "p50 ms", "p99 ms"),
        [(f"{size:,}", str(_p50(them)), str(_p99(them))) for size, them in samples.items()],
    )


def _picture(samples: dict[int, list[Sample]]) -> Picture:
    title = "Time of an assignment, ms"
    values = {f"p50, {size:,} waiting": _p50(them) for size, them in samples.items()}
    values |= {f"p99, {size:,} waiting": _p99(them) for size, them in samples.items()}
    return Picture("assign", title, bars(title, values))


def _target(sizes: tuple[int, int], samples: dict[int, list[Sample]]) -> Target:
    pairs = [*zip(samples[sizes[0]], samples[sizes[1]], strict=True)]
    p50 = Spread.of([many.p50_ms / few.p50_ms for few, many in pairs])
    p99 = Spread.of([many.p99_ms / few.p99_ms for few, many in pairs])
    return Target(
        "D.assign",
        f"with {sizes[1]:,} waiting less than {RATIO} times that with {sizes[0]:,}, p50 and p99",
        f"p50 {p50} times, p99 {p99} times",
        max(p50.median, p99.median) < RATIO,
    )
