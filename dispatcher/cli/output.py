"""What the commands print.

Laws:
- What stands in a log may be anybody's: a source's URL, an engine's error. So what people are shown
  is made `plain` here, and commands no terminal and feigns no line.
- JSON is for scripts, and is left as it is.
"""

import logging
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
    "cell",
    "complain",
    "engines_table",
    "jobs_table",
    "log_plainly",
    "plain",
    "print_json",
    "print_lines",
    "print_table",
    "print_text",
    "say",
]

_STATUS_STYLES = {"completed": "green", "failed_permanently": "red", "assigned": "yellow"}


def plain(text: str) -> str:
    """Make one printable line of a text: all else in it is written as Python escapes it."""
    return "".join(it if it.isprintable() else ascii(it)[1:-1] for it in text)


def say(line: str) -> None:
    """Tell the operator what goes on, on standard error."""
    print(plain(line), file=sys.stderr, flush=True)  # noqa: T201


def complain(text: str) -> None:
    """Tell what went wrong, on standard error."""
    for line in f"dispatcher: {text}".splitlines():
        say(line)


def log_plainly(form: str, level: int) -> None:
    """Have what is logged go to standard error, in this form."""
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainFormatter(form))
    logging.basicConfig(handlers=[handler], level=level)


class _PlainFormatter(logging.Formatter):
    """Keeps the lines of what is logged, and makes each of them plain."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(plain, super().format(record).splitlines()))


def print_json(value: Any) -> None:
    """Print a result for scripts."""
    print_lines(msgspec.json.format(msgspec.json.encode(value)))


def print_lines(json: bytes) -> None:
    """Print JSON that is made already."""
    print(json.decode(), flush=True)  # noqa: T201


def print_text(line: str) -> None:
    """Print a line as a result for people."""
    print(plain(line), flush=True)  # noqa: T201


def print_table(table: Table) -> None:
    """Print a result for people; wide enough for its text where that is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 200))
    console.print(table)


def cell(text: str, style: str = "") -> Text:
    """Lay out one cell of a table, with all of its text."""
    return Text(plain(text), style, overflow="fold")


def jobs_table(jobs: Iterable[JobView]) -> Table:
    """Lay jobs out, one a line, in the order given; of an error only its last line."""
    table = Table("job", "source", "codec", "size MB", "status", "engine", "retries", "result")
    for job in jobs:
        error = (job.error_message or "").splitlines()
        result = job.output_url or (error[-1] if error else "")
        table.add_row(
            cell(job.job_id),
            cell(job.source_url),
            cell(job.target_codec),
            f"{job.job_size:,.2f}",
            cell(_status(job), _STATUS_STYLES.get(job.status, "")),
            cell(job.assigned_engine or ""),
            f"{job.retries}/{job.max_retries}",
            cell(result),
        )
    return table


def engines_table(engines: Iterable[EngineView]) -> Table:
    """Lay engines out, one a line, in the order given."""
    table = Table("engine", "status", "job", "codecs", "benchmark s", "storage GB", "streams")
    for engine in engines:
        table.add_row(
            cell(engine.engine_id),
            _state(engine),
            cell(engine.current_job or ""),
            cell(", ".join(engine.supported_codecs) or "any"),
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
        return cell("offline", "red")
    if engine.blocked is not None:
        return cell("blocked", "red")
    if engine.drained:
        return cell(f"{engine.status}, drained", "yellow")
    return cell(engine.status, "yellow" if engine.status == "busy" else "green")


def _shown(number: float | None) -> str:
    return "?" if number is None else f"{number:g}"
