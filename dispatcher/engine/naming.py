"""The names of outputs: as the job or the engine wishes, and one that only this attempt gives."""

from pathlib import PurePosixPath
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from msgspec import UNSET

from dispatcher.engine.workspace import file_name
from dispatcher.output_names import filled_in
from projections.jobs import JobView

__all__ = ["DEFAULT_TEMPLATE", "Names", "names_of"]

DEFAULT_TEMPLATE: Final = "{stem}-{job_id}"
_STEM_BYTES: Final = 120


class Names(NamedTuple):
    """The name that an output is to have, and its own.

    With the job and the attempt in it, a late output of an earlier attempt can't replace it.
    """

    wished: str
    own: str


def names_of(job: JobView, template: str, suffix: str) -> Names:
    """Return the names of a job's output; `template` is the engine's, for jobs without one."""
    job_id = file_name(job.job_id)
    values = {
        "stem": _stem_of(job.source_url),
        "job_id": job_id,
        "codec": job.target_codec,
        "attempt": job.attempt,
        "recipe": "" if job.recipe is UNSET else job.recipe.get("name", ""),
    }
    wished = filled_in(template if job.output_name is UNSET else job.output_name, values)
    stem = wished.encode()[:_STEM_BYTES].decode(errors="ignore").rstrip(" .")
    own = stem if job_id in stem else f"{stem}-{job_id}"
    return Names(f"{wished}{suffix}", f"{own}-{job.attempt}{suffix}")


def _stem_of(source_url: str) -> str:
    """Return the name of a source without its suffix; "" if its URL has none."""
    return PurePosixPath(unquote(urlsplit(source_url).path)).stem
