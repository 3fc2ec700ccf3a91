"""Why a source can't be had: the errors of opening, fetching and streaming it."""

from typing import Literal

from dispatcher.errors import DispatcherError

__all__ = [
    "Cause",
    "SourceError",
    "SourceRefusedError",
    "SourceTooLargeError",
    "SourceTooSlowError",
]


Cause = Literal["source_bad", "source_away", "engine", "unknown"]
"""Who could mend a failure: nobody, as the source is bad; time, as it is away; another engine."""


class SourceError(DispatcherError):
    """The source can't be opened or fetched; the text says why."""

    cause: Cause = "unknown"


class SourceRefusedError(SourceError):
    """A rule of this engine forbids the source, whatever is there; its operator can permit it."""


class SourceTooLargeError(SourceError):
    """The source is larger than this engine's bound."""


class SourceTooSlowError(SourceError):
    """The source arrives too slowly, or did not arrive within this engine's bound."""

    cause: Cause = "source_away"
