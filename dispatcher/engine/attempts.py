"""One attempt at a job: transcode its source, and deliver the output.

A film whose recipe says so is split (see `segments`): its attempt ends with a plan, of which the
dispatcher makes jobs. When those are done, another attempt joins the parts.

Laws:
- No password or signature of a URL is in the result that is told.
- The result has the SHA-256 of the output, and of a source that is a file: of what was read.
- A film that can't be split or joined exactly is encoded whole, in the same attempt, and the result
  says why.
- A part goes to the dispatcher's store, wherever outputs go.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from dispatcher.client import digest_of
from dispatcher.engine.containers import media_type_of
from dispatcher.engine.delivery import Delivery, DeliveryError
from dispatcher.engine.ffmpeg import Ffmpeg, FfmpegError, VerificationError
from dispatcher.engine.hashing import hashed
from dispatcher.engine.joining import JoinError
from dispatcher.engine.journal import JournalEntry
from dispatcher.engine.naming import DEFAULT_TEMPLATE, names_of
from dispatcher.engine.sources import Sources
from dispatcher.engine.splitting import Offer, Work, joined, made_part, split
from dispatcher.engine.storing import StoreDelivery
from dispatcher.engine.transcoding import transcode
from dispatcher.recipes import RECIPES, Recipe, RecipeError, stored_recipe
from dispatcher.results import Extent, Result
from dispatcher.store_urls import ABILITY
from dispatcher.urls import masked
from projections.jobs import JobView

__all__ = ["Attempts"]

logger = logging.getLogger(__name__)


class Attempts(NamedTuple):
    """What an engine works with.

    `name_template` is that of the outputs of jobs that have none of their own (see
    `output_names`). `allows_raw_args` permits recipes to give ffmpeg options as they are.
    """

    engine_id: str
    ffmpeg: Ffmpeg
    sources: Sources
    delivery: Delivery
    name_template: str = DEFAULT_TEMPLATE
    allows_raw_args: bool = False

    @property
    def abilities(self) -> list[str]:
        """What this engine can do that not every engine can; recipes ask for it."""
        return [
            RECIPES,
            *([ABILITY, *self.ffmpeg.alike] if self.sources.dispatcher is not None else []),
            *(["vmaf"] if self.ffmpeg.scores_vmaf else []),
            *(["raw_args"] if self.allows_raw_args else []),
        ]

    async def transcoded(
        self, job: JobView, folder: Path, progress: Callable[[float], None], offer: Offer
    ) -> JournalEntry:
        """Transcode a job's source, or the part of it, into a file in `folder`; or split it.

        Raises `FfmpegError` or `SourceError` if that fails, with the cause.
        """
        if job.target_codec not in self.ffmpeg.encoders:
            raise FfmpegError(
                f"engine {self.engine_id} can't encode {job.target_codec}", cause="engine"
            )
        work = Work(job, self._recipe(job), folder, progress)
        if job.part is not UNSET:
            return await self._told(job, *await made_part(self.ffmpeg, self.sources, work))
        why = None if job.whole is UNSET else job.whole
        if job.parts is not UNSET and why is None:
            try:
                return await self._told(job, *await joined(self.ffmpeg, self.sources, work))
            except (JoinError, VerificationError) as error:
                why = str(error)
        return await self._whole(work, why, offer)

    async def _whole(self, work: Work, why: str | None, offer: Offer) -> JournalEntry:
        """Transcode a film, unless its recipe wants it to be split and no reason says not to."""
        job, recipe, folder, progress = work
        output = folder / f"output{self.ffmpeg.target(job.target_codec, recipe).container.suffix}"
        async with (
            self.sources.opened(
                job.source_url,
                job.job_size,
                folder,
                streams=self.ffmpeg.streams,
                prefers_file=recipe.vmaf is not None,  # a search reads many parts of a source
            ) as source,
            hashed(source) as digest,
        ):
            if recipe.split_s is not None and why is None:
                why = await split(self.ffmpeg, self.sources, source, work, offer)
                if why is None:
                    return JournalEntry(job, "split")
            result = await transcode(
                self.ffmpeg, source, job.target_codec, output, progress, recipe
            )
            if recipe.split_s is not None:
                result = msgspec.structs.replace(
                    result, warnings=(f"encoded whole: {why}", *result.warnings)
                )
            return await self._told(job, output, result, await digest)

    async def _told(
        self, job: JobView, output: Path, result: Result, source: str | None = None
    ) -> JournalEntry:
        """Return the entry for an output that is made; `source` is the SHA-256 of what it is of."""
        result = _with_digests(result, source, await digest_of(output))
        if remarks := [*result.warnings, *(f"left out: {it}" for it in result.left_out)]:
            told = masked("; ".join(remarks), [job.source_url])
            logger.info("%s: job %s is transcoded; of note: %s", self.engine_id, job.job_id, told)
        return JournalEntry(job, "transcoded", str(output), outcome=_masked(result, job))

    async def delivered(self, entry: JournalEntry) -> JournalEntry:
        """Deliver an output that is made; gives where it is, or why that failed."""
        job, output = entry.job, Path(entry.result)
        names = names_of(job, self.name_template, output.suffix)
        try:
            url = await self._delivery_of(job).deliver(
                output, names.own, media_type_of(output.suffix), names.wished
            )
        except DeliveryError as error:
            return JournalEntry(job, "failed", str(error), error.cause)
        except OSError as error:
            return JournalEntry(job, "failed", str(error), "engine")
        return JournalEntry(job, "delivered", url, outcome=entry.outcome)

    async def discard(self, job: JobView, output_url: str) -> None:
        """Remove an output that the dispatcher does not want."""
        await self._delivery_of(job).discard(output_url)

    def _delivery_of(self, job: JobView) -> Delivery:
        if job.part is UNSET or self.sources.dispatcher is None:
            return self.delivery
        return StoreDelivery(self.sources.dispatcher)

    def _recipe(self, job: JobView) -> Recipe:
        """Return the recipe of a job. Raises `FfmpegError` if this engine may not follow it."""
        try:
            recipe = stored_recipe({} if job.recipe is UNSET else job.recipe)
        except RecipeError as error:
            raise FfmpegError(
                f"engine {self.engine_id} can't follow the recipe: {error}", cause="engine"
            ) from error
        if recipe.ffmpeg_args and not self.allows_raw_args:
            raise FfmpegError(
                f"engine {self.engine_id} was not started with --allow-raw-args, as the recipe's "
                "'ffmpeg_args' need",
                cause="engine",
            )
        return recipe


def _with_digests(result: Result, source: str | None, output: str) -> Result:
    return msgspec.structs.replace(
        result,
        source=msgspec.structs.replace(result.source or Extent(), sha256=source),
        output=msgspec.structs.replace(result.output or Extent(), sha256=output),
    )


def _masked(result: Result, job: JobView) -> Result:
    """Return a result in which no password or signature of the source's URL is."""
    return msgspec.structs.replace(
        result,
        warnings=tuple(masked(it, [job.source_url]) for it in result.warnings),
        left_out=tuple(masked(it, [job.source_url]) for it in result.left_out),
        kept=tuple(masked(it, [job.source_url]) for it in result.kept),
    )
