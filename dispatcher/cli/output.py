"""What the commands print."""

import sys
from collections.abc import Iterable
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from projections.engines import EngineView
from projections.jobs import JobView

__all__ = [
    "complain",
    "engines_table",
    "jobs_table",
    "print_json",
    "print_table",
    "print_text",
    "say",
]

_STATUS_STYLES = {"completed": "green", "failed_permanently": "red", "assigned": "yellow"}


def say(line: str) -> None:
    """Tell the operator what goes on, on standard error."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def complain(line: str) -> None:
    """Tell what went wrong, on standard error."""
    say(f"dispatcher: {line}")


def print_json(value: Any) -> None:
    """Print a result for scripts."""
    print(msgspec.json.format(msgspec.json.encode(value)).decode(), flush=True)  # noqa: T201


def print_text(text: str) -> None:
    """Print plain text as a result."""
    print(text, flush=True)  # noqa: T201


def print_table(table: Table) -> None:
    """Print a result for people; wide enough for its text where that is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 200))
    console.print(table)


def jobs_table(jobs: Iterable[JobView]) -> Table:
    """Lay jobs out, one a line, in the order given; of an error only its last line."""
    table = Table("job", "source", "codec", "size MB", "status", "engine", "retries", "result")
    for job in jobs:
        error = (job.error_message or "").splitlines()
        result = job.output_url or (error[-1] if error else "")
        table.add_row(
            Text(job.job_id),
            Text(job.source_url, overflow="fold"),
            Text(job.target_codec),
            f"{job.job_size:,.2f}",
            Text(_status(job), style=_STATUS_STYLES.get(job.status, "")),
            Text(job.assigned_engine or ""),
            f"{job.retries}/{job.max_retries}",
            Text(result, overflow="fold"),
        )
    return table


def engines_table(engines: Iterable[EngineView]) -> Table:
    """Lay engines out, one a line, in the order given."""
    table = Table("engine", "status", "job", "codecs", "benchmark s", "storage GB", "streams")
    for engine in engines:
        table.add_row(
            Text(engine.engine_id),
            _state(engine),
            Text(engine.current_job or ""),
            Text(", ".join(engine.supported_codecs) or "any", overflow="fold"),
            _shown(engine.benchmark_time),
            _shown(engine.storage_capacity_gb),
            "yes" if engine.streaming_support else "no",
        )
    return table


def _status(job: JobView) -> str:
    return job.status if job.progress is None else f"{job.status}, {job.progress:.0f} %"


def _state(engine: EngineView) -> Text:
    """Say in a word what an engine can be counted on for."""
    if not engine.online:
        return Text("offline", style="red")
    if engine.blocked is not None:
        return Text("blocked", style="red")
    if engine.drained:
        return Text(f"{engine.status}, drained", style="yellow")
    return Text(engine.status, style="yellow" if engine.status == "busy" else "green")


def _shown(number: float | None) -> str:
    return "?" if number is None else f"{number:g}"
