"""Why a source can't be had: the errors of opening, fetching and streaming it.

Each has a `cause` that the engine reports (docs/protocol.md): a bad source fails its job at once,
and one that is away may be there for another engine, or later.
"""

from typing import ClassVar

from dispatcher.client import FailureCause
from dispatcher.errors import DispatcherError

__all__ = [
    "SourceAwayError",
    "SourceError",
    "SourceRefusedError",
    "SourceTooLargeError",
    "SourceTooSlowError",
]


class SourceError(DispatcherError):
    """The source can't be opened or fetched; the text says why."""

    cause: ClassVar[FailureCause] = "source_bad"


class SourceAwayError(SourceError):
    """The source can't be had from here now: its file is not seen, its server does not serve."""

    cause = "source_away"


class SourceRefusedError(SourceAwayError):
    """A rule of this engine forbids the source, whatever is there; its operator can permit it.

    The source counts as away: another engine may permit it.
    """


class SourceTooLargeError(SourceError):
    """The source is larger than this engine's bound."""


class SourceTooSlowError(SourceAwayError):
    """The source arrives too slowly, or did not arrive within this engine's bound."""
