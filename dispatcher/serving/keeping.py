"""Sweeping the store: what nobody has used for long, and no live job needs, goes.

Laws:
- A file that is the source of a job that may still be worked on stays, however old it is. A job
  that is retried is one again. So does the output of a part of a film that is not done.
- The outputs of a film's parts go when the film is completed or cancelled and nobody has used them
  for a minute, unless another job needs them. If the dispatcher stops meanwhile, they go when their
  time is up.
- What a job may come to need stays for the whole time that is kept, counted from when it was asked
  for: by an upload, a submission, a retry, a download. So between the look at the jobs and the
  sweep of a file no job can begin to need it.
- To look at many jobs is done in parts, and others use the event loop in between. The last look, at
  the few jobs that have such a source, and the sweep are one step.
- A fault of the store is told as a warning of the dispatcher's health. The dispatcher goes on.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, Protocol

from dispatcher.core.events import FINAL, Event, JobCancelled, JobCompleted, job_of
from dispatcher.serving.memory import Memory
from dispatcher.serving.tickets import UnavailableError
from dispatcher.store import Store, StoreError
from dispatcher.store_urls import PREFIX, StoreUrl
from projections import Projections
from projections.jobs import JobView

__all__ = ["Jobs", "Keeping"]

SWEEP_S: Final = 600.0
"""The pause between two sweeps."""
GRACE_S: Final = 60.0
"""How long nobody must have used what a film's parts made: another job may be about to need it."""
PART: Final = 2_000
"""Jobs that are looked at at once."""

logger = logging.getLogger(__name__)


class Jobs(Protocol):
    """What tells of jobs: the service."""

    projections: Projections

    memory: Memory

    def status_of(self, job_id: str) -> str | None:
        """Return the status of a job that the next decision sees; `None` if it is not here."""


class Keeping:
    """Sweeps a store by what the jobs need."""

    def __init__(self, store: Store, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs
        self._task: asyncio.Task[None] | None = None
        self._fault: str | None = None
        self._done: list[str] = []
        """The parts of films that are done, whose outputs nobody needs any more."""
        self._over: set[str] = set()
        """These outputs: files that go as soon as nobody uses them."""
        self._has_done = asyncio.Event()

    @property
    def warning(self) -> str | None:
        """Why the store can't be swept; `None` if all is well."""
        return self._fault

    def start(self) -> None:
        """Begin to sweep, from time to time."""
        self._task = asyncio.create_task(self._run(), name="store-sweeper")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def notice(self, event: Event) -> None:
        """Let the outputs of a film's parts go if the film is done."""
        if type(event) in {JobCompleted, JobCancelled}:
            film = self._jobs.projections.jobs.get(job_of(event) or "")
            if film is not None and film.parts:
                self._done += film.parts
                self._has_done.set()

    def use_files(self, job_ids: Iterable[str]) -> None:
        """Keep the sources of jobs that may be worked on from now on, and what parts have made."""
        for job_id in job_ids:
            if (view := self._jobs.projections.jobs.get(job_id)) is not None:
                self._store.use(_file_at(view.source_url))
                if view.parent and view.output_url is not None:
                    self._store.use(_file_at(view.output_url))

    async def sweep(self) -> int:
        """Sweep once; gives the number of files that went. Raises `StoreError`."""
        swept = 0
        done = [*self._done]
        self._over |= await self._outputs_of(done)
        del self._done[: len(done)]
        self._over &= self._store.names()
        if expired := {*self._store.expired(), *self._over}:
            needing = await self._jobs_with(expired)
            for sha256 in expired:
                # One step, from here to the sweep. What was used meanwhile has expired no more.
                if self._is_live(needing.get(sha256, ())):
                    self._over.discard(sha256)
                elif self._store.is_expired(sha256) or (
                    sha256 in self._over and self._store.is_unused_for(sha256, GRACE_S)
                ):
                    self._store.drop(sha256)
                    self._over.discard(sha256)
                    swept += 1
        await self._store.drop_parts()
        await self._store.empty_trash()
        return swept

    async def _run(self) -> None:
        while True:
            try:
                if swept := await self.sweep():
                    logger.info("Swept %d files of the store", swept)
                self._fault = None
            except (StoreError, UnavailableError) as error:
                if str(error) != self._fault:
                    logger.warning("The store can't be swept: %s; trying again", error)
                self._fault = str(error)
            except Exception as error:
                logger.exception("The store can't be swept")
                self._fault = f"the store can't be swept: {error!r}"
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE_S if self._over else SWEEP_S):
                    await self._has_done.wait()
            self._has_done.clear()

    async def _jobs_with(self, files: set[str]) -> dict[str, list[str]]:
        """Return the jobs that have these files as sources, and the films that have them in parts.

        They may be done meanwhile. A film that is retried meanwhile uses what its parts have made.
        """
        found: dict[str, list[str]] = {}
        films: list[JobView] = []
        jobs = self._jobs.projections.jobs.after(None)
        for first in range(0, len(jobs), PART):
            for job in jobs[first : first + PART]:
                if (sha256 := _file_at(job.view.source_url)) in files:
                    found.setdefault(sha256, []).append(job.view.job_id)
                if job.view.parts and self._is_live([job.view.job_id]):
                    films.append(job.view)
            await asyncio.sleep(0)
        for film in films:
            for sha256 in files & await self._outputs_of(film.parts or ()):
                found.setdefault(sha256, []).append(film.job_id)
        return found

    async def _outputs_of(self, parts: Iterable[str]) -> set[str]:
        """Return the files of the store that are the outputs of parts, some of them evicted."""
        projections, memory = self._jobs.projections, self._jobs.memory
        found = {job_id: projections.jobs.get(job_id) for job_id in parts}
        lacking = [job_id for job_id, view in found.items() if view is None]
        looked_up = await asyncio.gather(*(memory.job(it, projections.seq) for it in lacking))
        views = [*found.values(), *(it.view for it in looked_up if it is not None)]
        urls = (view.output_url for view in views if view is not None)
        return {_file_at(url) for url in urls if url is not None} - {""}

    def _is_live(self, job_ids: Iterable[str]) -> bool:
        """Whether one of these jobs may still be worked on.

        What was decided and is not durable yet may come about or not, so both count: the state that
        the next decision sees, and the one that readers see.
        """
        jobs = self._jobs.projections.jobs
        return any(
            self._jobs.status_of(it) not in {None, *FINAL}
            or ((view := jobs.get(it)) is not None and not view.final)
            for it in job_ids
        )


def _file_at(url_text: str) -> str:
    """Return the file of the store that is at a URL; "" if it is none."""
    url = StoreUrl.parse(url_text) if url_text.startswith(PREFIX) else None
    return "" if url is None else url.sha256
