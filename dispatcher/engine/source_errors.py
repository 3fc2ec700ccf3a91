"""Why a source can't be had: the errors of opening, fetching and streaming it."""

from dispatcher.errors import DispatcherError

__all__ = [
    "SourceError",
    "SourceRefusedError",
    "SourceTooLargeError",
    "SourceTooSlowError",
]


class SourceError(DispatcherError):
    """The source can't be opened or fetched; the text says why."""


class SourceRefusedError(SourceError):
    """A rule of this engine forbids the source, whatever is there; its operator can permit it."""


class SourceTooLargeError(SourceError):
    """The source is larger than this engine's bound."""


class SourceTooSlowError(SourceError):
    """The source arrives too slowly, or did not arrive within this engine's bound."""
