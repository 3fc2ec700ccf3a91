"""Many submissions in one request (`POST /jobs/batch`), and what became of each."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from dispatcher.client.errors import RequestRefusedError
from projections.jobs import JobView

__all__ = [
    "BatchLine",
    "Submission",
    "new_key",
    "none_submitted",
    "outcomes",
    "parts",
    "with_keys",
]

PART_JOBS: Final = 1_000
PART_BYTES: Final = 1 << 20
"""A part ends with the submission that would exceed this, so most limits of a server admit it."""
_FAILED_DEPENDENCY: Final = 424

_encode = msgspec.json.Encoder().encode


class Submission(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job to submit; see `Client.submit` for the fields."""

    source_url: str
    target_codec: str
    job_size: float = 0.0
    max_retries: int = 3
    priority: int = 0
    idempotency_key: str | None = None
    recipe: str | dict[str, Any] | None = None
    output_name: str | None = None
    tags: list[str] = []
    callback_url: str | None = None
    after: list[str] = []


class BatchLine(msgspec.Struct, frozen=True):
    """The dispatcher's answer to one submission."""

    status: int
    job: JobView | None = None
    error: str = ""
    warning: str | None = None


def new_key() -> str:
    """Make an Idempotency-Key that no other submission has."""
    return uuid.uuid4().hex


def with_keys(submissions: Iterable[Submission]) -> Iterator[Submission]:
    """Give a key to each submission that has none."""
    for it in submissions:
        if it.idempotency_key is not None:
            yield it
        else:
            yield msgspec.structs.replace(it, idempotency_key=new_key())


def parts(submissions: Iterable[Submission]) -> Iterator[list[Submission]]:
    """Cut submissions into parts that each fit in a request."""
    part, size = list[Submission](), 0
    for submission in submissions:
        length = len(_encode(submission)) + 1
        if part and (len(part) == PART_JOBS or size + length > PART_BYTES):
            yield part
            part, size = [], 0
        part.append(submission)
        size += length
    if part:
        yield part


def outcomes(
    lines: Sequence[BatchLine], on_warning: Callable[[str], None] | None = None
) -> list[JobView | RequestRefusedError]:
    """Return the job of each line, or the error of one that was refused."""
    if on_warning is not None:
        for warning in dict.fromkeys(line.warning for line in lines if line.warning is not None):
            on_warning(warning)
    return [
        RequestRefusedError(line.status, line.error) if line.job is None else line.job
        for line in lines
    ]


def none_submitted(lines: Sequence[BatchLine]) -> RequestRefusedError:
    """Return the error that says why an atomic batch was refused."""
    wrong = [it for it in enumerate(lines, 1) if it[1].status != _FAILED_DEPENDENCY]
    number, first = wrong[0] if wrong else (1, BatchLine(409, error="no reason was given"))
    text = f"none of the {len(lines):,} jobs was submitted, because of {len(wrong):,} of them; "
    return RequestRefusedError(first.status, f"{text}number {number:,}: {first.error}")
