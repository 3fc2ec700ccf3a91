"""G. Submissions while films come and go: the event loop stays free of them."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from dispatcher.client import Client

from .figures import Sample, number
from .load import paced, run, submit
from .plan import Plan
from .processes import HOST, KEY, Child, Server, child, dispatcher
from .report import Part, Table, Target

__all__ = ["measure"]

TRANSFERS: Final = 4
"""Half of them uploads."""
PER_S: Final = 100.0
CONNECTIONS: Final = 8
WINDOW_S: Final = 1.0
TARGET_MS: Final = 50.0
_MB: Final = 1_000_000
_SCRIPT: Final = Path(__file__).with_name("transferring.py")


def measure(plan: Plan) -> Part:
    """Submit at a fixed rate, first alone and then beside four transfers."""
    folder = plan.work / "transfers"
    folder.mkdir(exist_ok=True)
    films = [folder / f"film-{name}" for name in range(TRANSFERS)]
    for film in films:
        _write(film, plan.transfer_mb * _MB)
    with dispatcher(folder / "events.db", "--store", folder / "store") as server:
        url = f"http://{HOST}:{server.port}"
        run(_uploaded(url, films[: TRANSFERS // 2]))
        seconds = max(plan.burst_s * 2, WINDOW_S)
        alone = Sample.of(run(paced(server.port, CONNECTIONS, PER_S, seconds, submit)), seconds)
        with _processes(["hash"] * TRANSFERS, url, films, folder) as busy:
            beside_busy = run(_while_alive(server, busy))
        began = time.perf_counter()
        half = TRANSFERS // 2
        with _processes(["down"] * half + ["up"] * half, url, films, folder) as transfers:
            beside = run(_while_alive(server, transfers))
            took_s = time.perf_counter() - began
    rate = TRANSFERS * plan.transfer_mb / took_s
    rows = [
        (name, f"{it.done:,}", number(it.p50_ms), number(it.p99_ms), number(it.longest_ms))
        for name, it in (
            ("alone", alone),
            (f"beside {TRANSFERS} processes that only hash", beside_busy),
            (f"beside {TRANSFERS} transfers", beside),
        )
    ]
    return Part(
        "G",
        "Submissions beside transfers",
        f"{PER_S:.0f} submissions a second over {CONNECTIONS} connections, timed from when each "
        "was due. Then the same beside four processes that hash a film each, and beside four that "
        f"hash and transfer one: two films of {plan.transfer_mb:,} MB are uploaded, two are "
        "downloaded. Everything shares the machine's cores and its disk. The films moved at "
        f"{rate:,.0f} MB/s altogether.",
        [Table("Submissions", ("", "submissions", "p50 ms", "p99 ms", "longest ms"), rows)],
        [],
        [
            Target(
                "p99 of a submission beside four transfers of 1 GB",
                f"at most {TARGET_MS:g} ms",
                f"{number(beside.p99_ms)} ms",
                beside.p99_ms <= TARGET_MS,
            )
        ],
    )


def _write(path: Path, size: int) -> None:
    with path.open("wb") as file:
        while size > 0:
            file.write(os.urandom(min(size, _MB)))
            size -= _MB


async def _uploaded(url: str, films: list[Path]) -> None:
    async with Client(url, KEY) as client:
        for film in films:
            await client.upload(film)


@contextmanager
def _processes(
    deeds: list[str], url: str, films: list[Path], folder: Path
) -> Iterator[list[Child]]:
    """Do something with each film, in a process of its own."""
    with ExitStack() as running:
        yield [
            running.enter_context(
                child(
                    [
                        *(sys.executable, _SCRIPT),
                        *(deed, url, KEY, film),
                    ],
                    folder,
                )
            )
            for deed, film in zip(deeds, films, strict=True)
        ]


async def _while_alive(server: Server, transfers: list[Child]) -> Sample:
    durations: list[float] = []
    began = time.perf_counter()
    while True:
        durations += await paced(server.port, CONNECTIONS, PER_S, WINDOW_S, submit)
        if not any(it.is_alive for it in transfers):
            for it in transfers:
                it.require_success()
            return Sample.of(durations, time.perf_counter() - began)
