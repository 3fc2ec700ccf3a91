"""Films that are split: the steps of one, what each of them takes, and the plan by which it is cut.

The costs were measured with real engines; see docs/media.md.

Laws:
- The segments of a plan have equal sizes, which add up to that of the film. The rest is read from
  all of the film.
- All parts need the build of the engine that made the plan.
"""

from collections.abc import Iterator
from typing import Final, Literal

from dispatcher.core.commands import SubmitJob
from dispatcher.core.events import JobSubmitted
from dispatcher.core.job import Ties
from dispatcher.recipes import Recipe
from dispatcher.segments import ABILITY

__all__ = ["BUILDS", "SPLIT", "Step", "parts_of", "share_of", "step_of"]

SPLIT: Final = Recipe(quality=60.0, split_s=30.0)
"""The recipe of films that are split."""
BUILDS: Final = ("build:8f3a", "build:c41d")
"""What engines tell of their ffmpeg."""
FILM_MB_PER_S: Final = 5.0
"""A second of a film has so many MB."""
MOST_SEGMENTS: Final = 900
SERIAL: Final = 0.015
"""What the index takes, and again the join, as a share of the time to encode the film whole."""
REST: Final = 0.01
"""What all that is not its picture takes, as such a share."""
IN_SEGMENTS: Final = 1.03
"""What all segments of 30 s take together, as a multiple of what their picture takes in one."""

Step = Literal["whole", "index", "segment", "rest", "join"]
"""What an engine does in an attempt."""


def step_of(job: JobSubmitted, ties: Ties) -> Step:
    """Return what an engine is to do that is given a job."""
    if job.part:
        return "rest" if job.part["kind"] == "rest" else "segment"
    if not job.recipe or "split_s" not in job.recipe or ties.is_whole:
        return "whole"
    return "join" if ties.parts else "index"


def share_of(step: Step) -> float:
    """Return what a step takes, as a share of the time to encode what the job's size says."""
    match step:
        case "whole":
            return 1.0
        case "index" | "join":
            return SERIAL
        case "segment":
            return (1.0 - REST) * IN_SEGMENTS
        case "rest":
            return REST


def parts_of(film: JobSubmitted, build: str) -> Iterator[SubmitJob]:
    """Yield the submissions of a film's parts, as the dispatcher makes them of an engine's plan."""
    recipe = {name: it for name, it in (film.recipe or {}).items() if name != "split_s"}
    needs = tuple(sorted({*(film.needs or ()), ABILITY, build}))
    split_s = SPLIT.split_s or 1.0
    count = round(film.job_size / FILM_MB_PER_S / split_s)
    count = min(max(count, 2), MOST_SEGMENTS)
    for number in range(count + 1):
        is_rest = number == 0  # what may take the longest comes first
        yield SubmitJob(
            job_id=None,
            source_url=film.source_url,
            target_codec=film.target_codec,
            job_size=film.job_size if is_rest else film.job_size / count,
            max_retries=film.max_retries,
            recipe=recipe,
            needs=needs,
            part={"kind": "rest"} if is_rest else {"kind": "segment", "number": number - 1},
        )
