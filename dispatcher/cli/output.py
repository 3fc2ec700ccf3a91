"""What the commands print.

Laws:
- Text in a log may come from anybody: a source's URL, an engine's error. So text for people is made
  `plain` here. It can neither control the terminal nor fake a line.
- A record of the program's own log is one line, whatever it quotes. The lines of a traceback follow
  it, indented.
- Text for people has no passwords and signatures of URLs (see `urls`).
- JSON is for scripts, and is printed unchanged.
"""

import logging
import sys
from collections.abc import Iterable
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dispatcher.urls import masked
from projections.engines import EngineView
from projections.jobs import JobView

__all__ = [
    "cell",
    "complain",
    "engines_table",
    "jobs_table",
    "log_plainly",
    "plain",
    "print_address",
    "print_jobs",
    "print_json",
    "print_lines",
    "print_table",
    "print_text",
    "say",
]

_STATUS_STYLES = {"completed": "green", "failed_permanently": "red", "assigned": "yellow"}


def plain(text: str) -> str:
    """Return a text as one printable line. Other characters are escaped as Python does it."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def say(line: str) -> None:
    """Print a line for the operator on standard error."""
    print(plain(masked(line)), file=sys.stderr, flush=True)  # noqa: T201


def complain(text: str) -> None:
    """Print an error on standard error. All its lines but the first are indented."""
    for line in "\n  ".join(f"dispatcher: {text}".splitlines()).split("\n"):
        say(line)


def log_plainly(form: str, level: int) -> None:
    """Send log records to standard error, in this format."""
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainFormatter(form))
    logging.basicConfig(handlers=[handler], level=level)


class _PlainFormatter(logging.Formatter):
    """Makes a log record one plain line, and indents the lines of a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # another formatter may have left its own form of the traceback
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return plain(masked(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return self._indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return self._indented(super().formatStack(stack_info))

    @staticmethod
    def _indented(text: str) -> str:
        return "\n".join(f"  {plain(line)}" for line in masked(text).splitlines())


def print_json(value: Any) -> None:
    """Print a result for scripts."""
    print_lines(msgspec.json.format(msgspec.json.encode(value)))


def print_lines(json: bytes) -> None:
    """Print JSON that is already encoded."""
    print(json.decode(), flush=True)  # noqa: T201


def print_jobs(jobs: list[JobView], *, as_json: bool) -> None:
    """Print jobs as a table, or as JSON."""
    if as_json:
        print_json(jobs)
    else:
        print_table(jobs_table(jobs))


def print_text(line: str) -> None:
    """Print a line as a result for people."""
    print(plain(masked(line)), flush=True)  # noqa: T201


def print_address(url: str) -> None:
    """Print a URL with its secrets, for the person who has asked for it."""
    print(plain(url), flush=True)  # noqa: T201


def print_table(table: Table) -> None:
    """Print a table for people, at least 200 columns wide if the output is not a terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 200))
    console.print(table)


def cell(text: str, style: str = "") -> Text:
    """Make a cell of a table, which wraps its text and does not cut it off."""
    return Text(plain(masked(text)), style, overflow="fold")


def jobs_table(jobs: Iterable[JobView]) -> Table:
    """Make a table of jobs, one a row, in the order given. It has the last line of an error."""
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
    """Make a table of engines, one a row, in the order given."""
    table = Table(
        "engine", "status", "job", "codecs", "benchmark s", "storage GB", "streams", "abilities"
    )
    for engine in engines:
        table.add_row(
            cell(engine.engine_id),
            _state(engine),
            cell(engine.current_job or ""),
            cell(", ".join(_encoded(engine)) or "any"),
            _shown(engine.benchmark_time),
            _shown(engine.storage_capacity_gb),
            "yes" if engine.streaming_support else "no",
            cell(", ".join(_abilities(engine))),
        )
    return table


def _encoded(engine: EngineView) -> list[str]:
    """Name an engine's codecs, each with its encoder if the engine tells that."""
    told = engine.more.get("encoders")
    encoders: dict[str, Any] = told if isinstance(told, dict) else {}
    return [
        f"{codec} ({encoder})" if isinstance(encoder := encoders.get(codec), str) else codec
        for codec in engine.supported_codecs
    ]


def _abilities(engine: EngineView) -> list[str]:
    told = engine.more.get("abilities")
    return [*map(str, told)] if isinstance(told, list) else []


def _status(job: JobView) -> str:
    return job.status if job.progress is None else f"{job.status}, {job.progress:.0f} %"


def _state(engine: EngineView) -> Text:
    """Describe the availability of an engine in a word or two."""
    if not engine.online:
        return cell("offline", "red")
    if engine.blocked is not None:
        until = engine.blocked_until
        return cell("blocked" if until is None else f"blocked until {until:%H:%M} UTC", "red")
    if engine.fenced_instances:
        return cell(f"{engine.status}, id used twice", "yellow")
    if engine.drained:
        return cell(f"{engine.status}, drained", "yellow")
    return cell(engine.status, "yellow" if engine.status == "busy" else "green")


def _shown(number: float | None) -> str:
    return "?" if number is None else f"{number:g}"
