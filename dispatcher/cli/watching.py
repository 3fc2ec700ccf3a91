"""Watching a folder: each film that is put there becomes a job, once.

Laws:
- A film is submitted when it is whole, and never twice: its SHA-256 and what is asked for are the
  job's Idempotency-Key. So neither a restart, nor another name, nor a second watcher makes a second
  job of it.
- Which films have been seen is noted in a file of the folder, so that they need not be read again
  at the next start. Without that file nothing is done twice.
- A film is moved only when its job is completed.
"""

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from dispatcher.cli.output import print_text, say
from dispatcher.cli.placing import Source, placed
from dispatcher.cli.settling import Settling, Stamp, films_in
from dispatcher.client import Client, DispatcherAwayError, RequestRefusedError, digest_of
from dispatcher.urls import masked

__all__ = ["NOTES", "Asked", "Watcher"]

NOTES: Final = ".dispatcher-watch.json"
FOLLOW_S: Final = 5.0
"""The pause between two looks at the jobs whose films are to be moved."""
AWAY_S: Final = 5.0
_BYTES_A_MB: Final = 1_000_000
_CONFLICT: Final = 409
_OF_ONE_FILM: Final = frozenset({409, 413, 507})
"""Refusals of one film; others are of all."""


class Asked(NamedTuple):
    """What is asked for each film."""

    codec: str
    recipe: Any = None
    output_name: str | None = None
    priority: int = 0
    max_retries: int = 3
    tags: tuple[str, ...] = ()


class _Note(msgspec.Struct):
    """What became of a film that looked so: its job, if it has one that is to be followed."""

    size: int
    changed_ns: int
    job: str | None = None


class Watcher:
    """Submits the films of a folder. With `done`, they are moved there when they are completed."""

    def __init__(
        self, client: Client, folder: Path, asked: Asked, settle_s: float, done: Path | None
    ) -> None:
        self._client = client
        self._folder = folder
        self._asked = asked
        self._settling = Settling(settle_s)
        self._done = done
        self._notes: dict[str, _Note] = self._read_notes()
        self._follow_at_s = 0.0

    async def look(self, *, shared: bool) -> None:
        """Submit what is whole, and move what is done; waits while the dispatcher is away.

        Raises `RequestRefusedError` if the dispatcher refuses whatever it is asked for.
        """
        found = films_in(self._folder, () if self._done is None else (self._done,))
        for path in self._settling.whole(found, time.monotonic()):
            stamp, note = found[path], self._notes.get(self._name(path))
            if note is None or (note.size, note.changed_ns) != stamp:
                await self._patiently(partial(self._submit, path, shared=shared))
        if self._done is not None and time.monotonic() >= self._follow_at_s:
            await self._patiently(self._move_what_is_done)
            self._follow_at_s = time.monotonic() + FOLLOW_S

    async def _patiently(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except DispatcherAwayError as error:
                say(f"{error}; trying again in {AWAY_S:.0f} s")
                await asyncio.sleep(AWAY_S)
            else:
                return

    async def _submit(self, path: Path, *, shared: bool) -> None:
        try:
            stamp = Stamp.of(path)
            sha256 = await digest_of(path)
            size_mb = stamp.size / _BYTES_A_MB
            (url,) = await placed(self._client, [Source(path, size_mb)], shared=shared)
            if Stamp.of(path) != stamp:
                return  # it was not whole
            job = await self._client.submit(
                url,
                self._asked.codec,
                job_size=size_mb,
                max_retries=self._asked.max_retries,
                priority=self._asked.priority,
                idempotency_key=self._key(sha256),
                recipe=self._asked.recipe,
                output_name=self._asked.output_name,
                tags=self._asked.tags,
                on_warning=lambda warning: say(f"Warning: {warning}."),
            )
        except OSError as error:
            say(f"{path}: {error.strerror or error}; it is left out until it changes")
            return
        except RequestRefusedError as error:
            if error.status not in _OF_ONE_FILM:
                raise
            is_known = error.status == _CONFLICT and "Idempotency-Key" in error.text
            say(f"{path}: {'was submitted before, under another name' if is_known else error}")
            self._note(path, stamp, None)
            if is_known and self._done is not None:
                self._move(path, None)
            return
        self._note(path, stamp, job.job_id)
        print_text(f"{job.job_id}\t{path}")

    async def _move_what_is_done(self) -> None:
        for name, note in [*self._notes.items()]:
            if note.job is None:
                continue
            try:
                job = await self._client.job(note.job)
            except RequestRefusedError as error:
                say(f"{name}: {error}")
                note.job = None
                continue
            if job.status == "completed":
                self._move(self._folder / name, note.job)
            elif job.final:
                say(f"{name}: job {note.job}: {job.status}: {masked(job.error_message or '')}")
                note.job = None
                self._write_notes()

    def _move(self, path: Path, job_id: str | None) -> None:
        """Move a film to where those are that are done, but over nothing."""
        assert self._done is not None  # noqa: S101 - the callers have looked
        name = self._name(path)
        to = self._done / name
        if os.path.lexists(to):
            to = to.with_name(f"{to.stem}-{job_id or time.time_ns()}{to.suffix}")
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, to)
        except FileNotFoundError:
            pass  # another watcher or a person has moved it
        except OSError as error:
            say(f"{path}: can't be moved to {to}: {error.strerror or error}")
            return
        self._notes.pop(name, None)
        self._write_notes()

    def _key(self, sha256: str) -> str:
        """Return the Idempotency-Key of a film: of its bytes, and what is asked for."""
        what = msgspec.json.encode([*self._asked], order="sorted")
        return f"watch-{sha256}-{hashlib.sha256(what).hexdigest()[:16]}"

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._folder))

    def _note(self, path: Path, stamp: Stamp, job_id: str | None) -> None:
        self._notes[self._name(path)] = _Note(*stamp, job_id)
        self._write_notes()

    def _read_notes(self) -> dict[str, _Note]:
        with suppress(OSError, msgspec.DecodeError):
            text = (self._folder / NOTES).read_bytes()
            found: dict[str, dict[str, _Note]] = msgspec.json.decode(
                text, type=dict[str, dict[str, _Note]]
            )
            return found.get(self._key(""), {})
        return {}

    def _write_notes(self) -> None:
        """Write the notes; those of other watchers of the folder stay."""
        path, others = self._folder / NOTES, dict[str, Any]()
        with suppress(OSError, msgspec.DecodeError):
            others = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        draft = path.with_name(f"{NOTES}.{os.getpid()}")
        try:
            draft.write_bytes(msgspec.json.encode({**others, self._key(""): self._notes}))
            draft.replace(path)
        except OSError as error:
            say(f"{path}: can't be written: {error.strerror}; at the next start all is read again")
