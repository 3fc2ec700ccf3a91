"""The bytes of the index: a finished job as a record, and seqs as offsets.

Records are compressed one by one, against a text that has what most records have. That text is
part of the format: another one is another `file.FORMAT`.
"""

import zlib
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Final

import msgspec

from dispatcher.core.events import JobSubmitted
from dispatcher.core.job import Job
from dispatcher.index import Finished, JobRow
from projections.filters import JobFilter
from projections.jobs import JobView

__all__ = ["compressed", "encode", "finished_of", "seqs_of", "seqs_packed", "views_of"]

_USUAL: Final = (
    b'"idempotency_key":"arrived_at":"waits_since":"2026-01-01T00:00:00.000000Z"'
    b'"setbacks":{"losses":1,"cause":"engine_silent"},"failed_by":["engine-"],"considered":["'
    b'"status":"failed_permanently","status":"cancelled","error_message":"ffmpeg'
    b'[{"job_id":"1790000000000000_0","source_url":"http://file:///https://.mp4","target_codec":'
    b'"h264hevcvp9av1","job_size":100.0,"status":"completed","assigned_engine":"engine-",'
    b'"output_url":"http://file:///https://.mp4","retries":0,"max_retries":3,"attempt":1,'
    b'"priority":0,"progress":null,"not_before":null,"error_message":null,'
    b'"submitted_at":"2026-01-01T00:00:00.000000Z","finished_at":"2026-01-01T00:00:00.000000Z"},'
    b'{"job_id":"1790000000000000_0","codec":"h264","size_mb":100.0,"max_retries":3,"place":['
    b'1790000000000000,100000],"status":"completed","attempt":1,"last_holder":"engine-",'
    b'"rule":"asked by name","output_url":"http://file:///https://.mp4"},null]'
)
"""What records have in common, the most common last."""

_encoder: Final = msgspec.json.Encoder(order="deterministic")
_parts: Final = msgspec.json.Decoder(tuple[msgspec.Raw, msgspec.Raw, msgspec.Raw])
_view: Final = msgspec.json.Decoder(JobView)
_job: Final = msgspec.json.Decoder(Job)
_submission: Final = msgspec.json.Decoder(JobSubmitted | None)


def encode(view: JobView, job: Job, submitted: JobSubmitted | None) -> bytes:
    """Return the record of a finished job, not compressed yet. Equal jobs give equal bytes."""
    return _encoder.encode((view, job, submitted))


def compressed(record: bytes) -> bytes:
    """Return a record as it stands in the index."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, _USUAL)
    return compressor.compress(record) + compressor.flush()


def views_of(records: Iterable[tuple[int, bytes]], wanted: JobFilter) -> list[JobRow]:
    """Return the views in compressed records, each with its number; `None` if it is not wanted."""
    # Words that are written in JSON as they are. What plainly lacks one need not be decoded.
    plain = [
        word.encode()
        for word in wanted.words
        if word.isprintable() and '"' not in word and "\\" not in word
    ]
    return [(number, _view_of(_plain(stored), wanted, plain)) for number, stored in records]


def _view_of(record: bytes, wanted: JobFilter, words: list[bytes]) -> JobView | None:
    # Unless it has other characters or percent-encoded ones, its texts are written as they are too.
    if words and record.isascii() and b"%" not in record:
        lower = record.lower()
        for word in words:
            if word not in lower:
                return None
    view = _view.decode(_parts.decode(record)[0])
    return view if wanted.admits(view) else None


def finished_of(ended: int, stored: bytes) -> Finished:
    """Return what is in a compressed record."""
    view, job, submitted = _parts.decode(_plain(stored))
    return Finished(ended, _view.decode(view), _job.decode(job), _submission.decode(submitted))


def _plain(stored: bytes) -> bytes:
    decompressor = zlib.decompressobj(-15, _USUAL)
    return decompressor.decompress(stored) + decompressor.flush()


def seqs_packed(seqs: Sequence[int]) -> bytes:
    """Pack rising seqs, except the first, as offsets of the narrowest width that holds them all."""
    if len(seqs) == 1:  # of each job that waits
        return b"B"
    offsets = [later - earlier for earlier, later in pairwise(seqs)]
    widest = max(offsets, default=0)
    width = next(code for code in "BHIQ" if widest < 1 << 8 * array(code).itemsize)
    return width.encode() + array(width, offsets).tobytes()


def seqs_of(first: int, packed: bytes) -> list[int]:
    """Return the seqs that were packed."""
    offsets = array(packed[:1].decode(), packed[1:])
    return list(accumulate(offsets, initial=first))
