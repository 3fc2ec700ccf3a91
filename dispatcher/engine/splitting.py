"""What an engine does for a film that is split: offer a plan, make a part, and join the parts.

Laws:
- A plan is offered only if every engine can have the parts of the source that it needs.
- The outputs of the parts come from the dispatcher's store, each checked by its SHA-256. If one is
  gone, the film can't be joined; if the dispatcher is away, that is no fault of the film.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import UNSET

from dispatcher.client import RequestRefusedError
from dispatcher.engine.encoding import rest_container
from dispatcher.engine.ffmpeg import Ffmpeg, FfmpegError, Input
from dispatcher.engine.hashing import hashed
from dispatcher.engine.joining import JoinError, Made, join
from dispatcher.engine.parts import plan_for, transcode_segment
from dispatcher.engine.patience import retry_while_away
from dispatcher.engine.planning import NotSplitError
from dispatcher.engine.source_errors import SourceAwayError, SourceError
from dispatcher.engine.sources import Sources
from dispatcher.engine.storing import fetch_from_store
from dispatcher.engine.transcoding import transcode
from dispatcher.recipes import Recipe
from dispatcher.results import Result
from dispatcher.segments import Part, Plan, PlanError, Rest, Segment, part_of
from dispatcher.store_urls import StoreUrl
from projections.jobs import JobView

__all__ = ["Offer", "Work", "joined", "made_part", "split"]

_AT_ONCE: Final = 4
_PART: Final = "part-"
_FETCHED: Final = 60.0
"""The percentage of a join that is done when all parts have come."""

Offer = Callable[[JobView, Plan], Awaitable[str | None]]
"""Gives a plan to the dispatcher; gives why it is not taken, or `None` if it is."""


class Work(NamedTuple):
    """A job to do: by which recipe, in which folder, and whom to tell how far it is, in percent."""

    job: JobView
    recipe: Recipe
    folder: Path
    progress: Callable[[float], None]


async def split(
    ffmpeg: Ffmpeg, sources: Sources, source: Input, work: Work, offer: Offer
) -> str | None:
    """Split a film whose source is open; gives why it is to be encoded whole, or `None`."""
    job, recipe, folder, _ = work
    if not await sources.gives_parts(job.source_url):
        return "the server of its source gives out no parts"
    try:
        plan = await plan_for(ffmpeg, source, job.target_codec, folder, recipe)
    except NotSplitError as error:
        return str(error)
    return await offer(job, plan)


async def made_part(ffmpeg: Ffmpeg, sources: Sources, work: Work) -> tuple[Path, Result]:
    """Transcode the part of a film that a job is of; gives the file, and what was done."""
    job, recipe, folder, progress = work
    part = _part_of(job)
    target = ffmpeg.target(job.target_codec, recipe)
    async with sources.opened(
        job.source_url,
        job.job_size,
        folder,
        streams=ffmpeg.streams,
        by_parts=isinstance(part, Segment),
    ) as source:
        match part:
            case Segment():
                output = folder / "output.mp4"
                result = await transcode_segment(
                    ffmpeg, source, job.target_codec, part, output, progress, recipe
                )
            case Rest():
                output = folder / f"output{rest_container(target.container).suffix}"
                result = await transcode(
                    ffmpeg, source, job.target_codec, output, progress, recipe, is_rest=True
                )
    return output, result


async def joined(ffmpeg: Ffmpeg, sources: Sources, work: Work) -> tuple[Path, Result, str | None]:
    """Fetch the parts of a film and join them.

    Gives the file, what was done, and the SHA-256 of the source, if that is known. Raises
    `JoinError` if the parts make no exact film, and `SourceError` if they or the source can't be
    had now.
    """
    job, recipe, folder, progress = work
    output = folder / f"output{ffmpeg.target(job.target_codec, recipe).container.suffix}"
    stored = StoreUrl.parse(job.source_url)
    try:
        made = await _fetched(sources, job, folder, progress)
        async with (
            sources.opened(
                job.source_url, job.job_size, folder, streams=ffmpeg.streams, by_parts=True
            ) as source,
            hashed(source) as digest,
        ):
            result = await join(
                ffmpeg,
                source,
                job.target_codec,
                made,
                output,
                lambda percent: progress(_FETCHED + (1 - _FETCHED / 100) * percent),
                recipe,
            )
            return output, result, await digest if stored is None else stored.sha256
    finally:
        for path in folder.glob(f"{_PART}*"):  # the output may need their room
            path.unlink()


async def _fetched(
    sources: Sources, job: JobView, folder: Path, progress: Callable[[float], None]
) -> Made:
    """Fetch the outputs of a film's parts, several at once."""
    assert job.parts is not UNSET  # noqa: S101 - the caller has looked
    turns, done = asyncio.Semaphore(_AT_ONCE), 0

    async def fetched(number: int, job_id: str) -> tuple[Part, Path]:
        nonlocal done
        async with turns:
            found = await _part_from_store(sources, job_id, folder, number)
        done += 1
        progress(round(_FETCHED * done / total, 1))
        return found

    total = len(job.parts)
    tasks = [asyncio.create_task(fetched(n, it)) for n, it in enumerate(job.parts)]
    try:
        parts = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    segments = sorted(
        ((it, path) for it, path in parts if isinstance(it, Segment)), key=lambda of: of[0].number
    )
    rest = next((path for it, path in parts if isinstance(it, Rest)), None)
    if [it.number for it, _ in segments] != [*range(len(segments))] or not segments:
        raise JoinError("its segments are not all there")
    return Made(segments, rest)


async def _part_from_store(
    sources: Sources, job_id: str, folder: Path, number: int
) -> tuple[Part, Path]:
    client = sources.dispatcher
    if client is None:
        raise JoinError("this engine has no dispatcher whose store has its parts")
    try:
        job = await retry_while_away(lambda: client.job(job_id))
    except RequestRefusedError as error:
        raise JoinError(f"its part {job_id} can't be asked for: {error.text}") from error
    url = None if job.output_url is None else StoreUrl.parse(job.output_url)
    if url is None:
        raise JoinError(f"its part {job_id} is not in the dispatcher's store")
    path = folder / f"{_PART}{number}"
    try:
        await fetch_from_store(client, url, path, sources.bounds)
    except SourceAwayError:
        raise
    except SourceError as error:
        raise JoinError(f"its part {job_id} is gone: {error}") from error
    return _part_of(job), path


def _part_of(job: JobView) -> Part:
    try:
        return part_of({} if job.part is UNSET else job.part)
    except PlanError as error:
        raise FfmpegError(
            f"this engine does not know such a part of a film: {error}", cause="engine"
        ) from error
