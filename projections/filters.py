"""Which jobs a list has: those of some statuses, a codec, an engine, some words, a span of time."""

import unicodedata
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import unquote

import msgspec

from dispatcher.core.events import FINAL
from projections.jobs import JobView

__all__ = ["JobFilter", "folded", "words_of"]


class JobFilter(msgspec.Struct, frozen=True):
    """What a job must be to be on a list. What is left out does not matter.

    It must have one of the `statuses`, and each of the `words` (see `words_of`) in one of its
    texts: its id, its source, its output, the name for that, its error, its engine. `since` and
    `until` are about when it was finished, or if it is not, submitted: then or later, and earlier.
    `parent` is the film that it is a part of; "" for jobs that are no parts.
    """

    statuses: frozenset[str] = frozenset()
    codec: str | None = None
    engine: str | None = None
    words: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    parent: str | None = None

    @property
    def final_statuses(self) -> frozenset[str]:
        """Those statuses of finished jobs that a job may have."""
        return self.statuses & FINAL if self.statuses else FINAL

    def admits(self, job: JobView) -> bool:
        """Whether a job is one of these."""
        return (
            (not self.statuses or job.status in self.statuses)
            and self.codec in {None, job.target_codec}
            and self.engine in {None, job.assigned_engine}
            and (self.parent is None or self.parent == (job.parent or ""))
            and ((self.since is None and self.until is None) or self._admits_time(job))
            and (not self.words or self._admits_texts(job))
        )

    def _admits_time(self, job: JobView) -> bool:
        at = job.finished_at if job.final else job.submitted_at
        return (
            at is not None
            and (self.since is None or self.since <= at)
            and (self.until is None or at < self.until)
        )

    def _admits_texts(self, job: JobView) -> bool:
        texts = folded("\n".join(_texts_of(job)))
        return all(word in texts for word in self.words)


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a search, which may stand anywhere in a text, in any case."""
    return tuple(dict.fromkeys(folded(text).split()))


def folded(text: str) -> str:
    """Return a text without what a search does not distinguish: case, and forms of a character."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _texts_of(job: JobView) -> Iterator[str]:
    yield job.job_id
    for url in (job.source_url, job.output_url):
        if url is not None:
            yield url
            if "%" in url:
                yield unquote(url)  # as a person reads it
    for text in (job.error_message, job.output_name, job.assigned_engine):
        if isinstance(text, str):
            yield text
