"""H. One film on two engines, in parts, beside the same film on one."""

import asyncio
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import imageio_ffmpeg

from dispatcher.client import Client

from .figures import Spread
from .load import run
from .pictures import bars
from .plan import Plan, turns
from .processes import HOST, KEY, child, dispatcher
from .report import Part, Picture, Table, Target
from .transcoding import film_of

__all__ = ["measure"]

WHOLE: Final = "one engine, whole"
ALONE: Final = "one engine, in parts"
SHARED: Final = "two engines, in parts"
KINDS: Final = {WHOLE: (1, False), ALONE: (1, True), SHARED: (2, True)}
"""How many engines there are, and whether the film is split."""
PARTS: Final = 6
SHORTEST_S: Final = 12.0
"""A film with a second key frame, at which it can be cut."""
LEAST: Final = 1.5
LOOK_S: Final = 0.1
LATE_S: Final = 3_600.0
WAIT_S: Final = 60.0
"""How long it may take until all engines are there."""

HOW: Final = (
    "The film of part F to H.264, from its submission until it is completed: the time of the "
    "dispatcher, its store and the engines, with the index of the source, the join and the "
    "verification. The film is in the store before. Each engine has one thread of ffmpeg, so an "
    "engine stands for a machine of one core, and two of them fill this one. Times are those of "
    f"`{WHOLE}` in the same round."
)


def measure(plan: Plan) -> Part:
    """Run the rounds and sum them up."""
    plan = plan._replace(film_s=max(plan.film_s, SHORTEST_S))
    film = film_of(plan)
    took: dict[str, list[float]] = defaultdict(list)
    for round_number in range(plan.rounds):
        for name in turns([*KINDS], round_number):
            took[name].append(_ready_s(plan, film, *KINDS[name]))
    spreads = {name: Spread.of(took[name]) for name in KINDS}
    faster = {name: Spread.of(_ratios(took, name)) for name in KINDS}
    title = f"Seconds for {plan.film_s:g} s of 720p, by engines of one thread"
    rows = [(name, str(spreads[name]), str(faster[name])) for name in KINDS]
    return Part(
        "H",
        "One film on two engines",
        HOW,
        [Table(title, ("what", "s", "times as fast"), rows)],
        [Picture("splitting", title, bars(title, spreads, SHARED))],
        [
            Target(
                "H.split",
                f"two engines are done at least {LEAST:g} times as fast as one",
                f"{faster[SHARED]} times",
                faster[SHARED].median >= LEAST,
            )
        ],
    )


def _ratios(took: dict[str, list[float]], name: str) -> list[float]:
    return [whole / other for whole, other in zip(took[WHOLE], took[name], strict=True)]


def _ready_s(plan: Plan, film: Path, engines: int, is_split: bool) -> float:
    """Return how long a film takes from its submission until it is completed."""
    with tempfile.TemporaryDirectory(dir=plan.work) as name:
        folder = Path(name)
        with dispatcher(folder / "events.db", "--store", folder / "store") as server:
            url = f"http://{HOST}:{server.port}"
            with _engines(url, folder, engines):
                recipe = {"split_s": plan.film_s / PARTS} if is_split else None
                return run(_completed_s(url, film, engines, recipe))


@contextmanager
def _engines(url: str, folder: Path, count: int) -> Iterator[None]:
    """Run engines that share nothing."""
    with ExitStack() as running:
        for number in range(count):
            place = folder / f"engine-{number}"
            place.mkdir(mode=0o700)
            options: list[str | Path] = [
                *("--server", url, "--id", f"engine-{number}", "--work-dir", place),
                *("--output", "store:", "--ffmpeg", imageio_ffmpeg.get_ffmpeg_exe()),
                *("--threads", "1"),
            ]
            command = [sys.executable, "-m", "dispatcher", "engine", *options]
            running.enter_context(child(command, place, env={"DISPATCHER_API_KEY": KEY}))
        yield


async def _completed_s(url: str, film: Path, engines: int, recipe: dict[str, Any] | None) -> float:
    """Submit a film when all engines are there, and wait until it is completed."""
    async with Client(url, KEY) as client:
        source = await client.upload(film)
        async with asyncio.timeout(WAIT_S):
            while len(await client.engines()) < engines:  # noqa: ASYNC110 - of other processes
                await asyncio.sleep(LOOK_S)
        began = time.perf_counter()
        job = await client.submit(source, "h264", recipe=recipe)
        async with asyncio.timeout(LATE_S):
            while not job.final:
                await asyncio.sleep(LOOK_S)
                job = await client.job(job.job_id)
        took_s = time.perf_counter() - began
    if job.status != "completed" or (recipe is not None and not job.parts):
        raise RuntimeError(f"the film is {job.status}, in {job.parts or 'no'} parts: {job}")
    return took_s
