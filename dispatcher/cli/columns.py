"""What the tables of jobs and engines have, in the order in which it is shown."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import UNSET

from dispatcher.cli.recipes import recipe_in_words, result_in_words
from dispatcher.cli.tables import Column
from dispatcher.cli.times import ago, shown
from dispatcher.tags import split
from projections.engines import EngineView
from projections.jobs import JobView

__all__ = ["ENGINES", "JOBS", "fields_of"]

_STATUS_STYLES: Final = {"completed": "green", "failed_permanently": "red", "assigned": "yellow"}


def _status(job: JobView) -> str:
    return job.status if job.progress is None else f"{job.status}, {job.progress:.0f} %"


def _result(job: JobView) -> str:
    """Return where the output is, or the last line of the newest error."""
    error = (job.error_message or "").splitlines()
    return job.output_url or (error[-1] if error else "")


JOBS: Final[Sequence[Column[JobView]]] = (
    Column("job", lambda job: job.job_id),
    Column("status", _status, 1, style=lambda job: _STATUS_STYLES.get(job.status, "")),
    Column("codec", lambda job: job.target_codec, 3, "end"),
    Column("source", lambda job: job.source_url, 2, "begin"),
    Column("engine", lambda job: job.assigned_engine or "", 4, "end"),
    Column("retries", lambda job: f"{job.retries}/{job.max_retries}", 6),
    Column("size MB", lambda job: f"{job.job_size:,.2f}", 7, is_number=True),
    Column("result", _result, 5, "end"),
)


def fields_of(job: JobView, *, utc: bool) -> Iterator[tuple[str, str]]:
    """Yield what is to be told of one job: names and values, and none that is not known."""
    yield "job", job.job_id
    yield "status", _status(job)
    yield "source", job.source_url
    yield "codec", job.target_codec
    yield "size", f"{job.job_size:,.2f} MB"
    if job.priority:
        yield "priority", str(job.priority)
    if job.recipe is not UNSET:
        yield "recipe", recipe_in_words(job.recipe)
    if job.output_name is not UNSET:
        yield "output name", job.output_name
    if job.tags is not UNSET:
        yield "tags", ", ".join(job.tags)
    if job.assigned_engine is not None:
        yield "engine", f"{job.assigned_engine}, attempt {job.attempt}"
    yield "retries", f"{job.retries} of {job.max_retries}"
    for name, at in (
        ("submitted", job.submitted_at),
        ("not before", job.not_before),
        ("finished", job.finished_at),
    ):
        if at is not None:
            yield name, shown(at, utc=utc)
    if job.output_url is not None:
        yield "output", job.output_url
    if job.result is not UNSET:
        for line in result_in_words(job.result):
            yield "result", line
    for line in (job.error_message or "").splitlines():
        yield "error", line


def _state(engine: EngineView) -> str:
    """Describe the availability of an engine in a word or two."""
    if not engine.online:
        return "offline"
    if engine.blocked is not None:
        until = engine.blocked_until
        return "blocked" if until is None else f"blocked until {until.astimezone():%H:%M}"
    if engine.status == "busy" and engine.more.get("resting"):
        return "resting" if engine.current_job is None else "busy, then resting"
    if engine.fenced_instances:
        return f"{engine.status}, id used twice"
    return f"{engine.status}, drained" if engine.drained else engine.status


def _state_style(engine: EngineView) -> str:
    if not engine.online or engine.blocked is not None:
        return "red"
    is_waiting = engine.status == "idle" and not (engine.fenced_instances or engine.drained)
    return "green" if is_waiting else "yellow"


def _seen(engine: EngineView) -> str:
    if engine.last_seen is None:
        return ""
    return ago((datetime.now(UTC) - engine.last_seen).total_seconds())


def _encoders(engine: EngineView) -> str:
    """Name the encoders of an engine, if it tells them."""
    told = engine.more.get("encoders")
    encoders: dict[str, Any] = told if isinstance(told, dict) else {}
    return ", ".join(f"{codec} by {it}" for codec, it in encoders.items() if isinstance(it, str))


def _told(engine: EngineView) -> tuple[list[str], list[str]]:
    """Return the tags and the other abilities that an engine tells."""
    told = engine.more.get("abilities")
    return split(map(str, told)) if isinstance(told, list) else ([], [])


def _number(number: float | None) -> str:
    return "?" if number is None else f"{number:g}"


ENGINES: Final[Sequence[Column[EngineView]]] = (
    Column("engine", lambda engine: engine.engine_id),
    Column("status", _state, 1, style=_state_style),
    Column("job", lambda engine: engine.current_job or "", 2),
    Column("seen", _seen, 4),
    Column("codecs", lambda engine: ", ".join(engine.supported_codecs) or "any", 3, "end"),
    Column("benchmark s", lambda engine: _number(engine.benchmark_time), 5, is_number=True),
    Column("storage GB", lambda engine: _number(engine.storage_capacity_gb), 6, is_number=True),
    Column("streams", lambda engine: "yes" if engine.streaming_support else "no", 7),
    Column("rests", lambda engine: str(engine.more.get("resting") or ""), 3, "end"),
    Column("tags", lambda engine: ", ".join(_told(engine)[0]), 3, "end"),
    Column("abilities", lambda engine: ", ".join(_told(engine)[1]), 8, "end"),
    Column("encoders", _encoders, 9, "end"),
)
