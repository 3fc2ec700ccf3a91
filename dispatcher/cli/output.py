"""What the commands print.

Laws:
- Text in a log may come from anybody: a source's URL, an engine's error. So text for people is made
  `plain` here. It can neither control the terminal nor fake a line.
- A record of the program's own log is one line, whatever it quotes. The lines of a traceback follow
  it, indented.
- Text for people has no passwords and signatures of URLs (see `urls`).
- JSON is for scripts, and is printed unchanged.
- A program that logs as JSON writes nothing else to standard error: a line is an object.
"""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from dispatcher import log_fields
from dispatcher.urls import masked

__all__ = [
    "LogFormat",
    "complain",
    "log_as",
    "log_plainly",
    "plain",
    "print_address",
    "print_json",
    "print_lines",
    "print_text",
    "say",
]


def plain(text: str) -> str:
    """Return a text as one printable line. Other characters are escaped as Python does it."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def say(line: str) -> None:
    """Print a line for the operator on standard error."""
    if _said.handlers:
        _said.info("%s", line)
        return
    print(plain(masked(line)), file=sys.stderr, flush=True)  # noqa: T201


def complain(text: str) -> None:
    """Print an error on standard error. All its lines but the first are indented."""
    if _said.handlers:
        _said.error("%s", text)
        return
    for line in "\n  ".join(f"dispatcher: {text}".splitlines()).split("\n"):
        say(line)


def log_plainly(form: str, level: int) -> None:
    """Send log records to standard error, in this format."""
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainFormatter(form))
    logging.basicConfig(handlers=[handler], level=level)


LogFormat = Literal["text", "json"]
_said: Final = logging.getLogger("dispatcher.said")
"""What is for the operator. It has a handler of its own while the program logs as JSON."""


def log_as(form: LogFormat, text_form: str, level: int) -> None:
    """Send log records to standard error, as text in a format, or as JSON."""
    if form == "text":
        log_plainly(text_form, level)
        return
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonFormatter())
    logging.basicConfig(handlers=[handler], level=level)
    _said.addHandler(handler)
    _said.setLevel(logging.INFO)
    _said.propagate = False


class _JsonFormatter(logging.Formatter):
    """Makes a log record one JSON object, with what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(record.getMessage()),
            **log_fields.fields(),
            **getattr(record, "request", {}),
        }
        if record.exc_info:
            told["exception"] = masked(self.formatException(record.exc_info))
        return msgspec.json.encode(told, enc_hook=str).decode()


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


def print_text(line: str) -> None:
    """Print a line as a result for people."""
    print(plain(masked(line)), flush=True)  # noqa: T201


def print_address(url: str) -> None:
    """Print a URL with its secrets, for the person who has asked for it."""
    print(plain(url), flush=True)  # noqa: T201
