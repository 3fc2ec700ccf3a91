"""What can go wrong with ffmpeg and what it makes."""

from dispatcher.client import FailureCause
from dispatcher.errors import DispatcherError

__all__ = [
    "FfmpegError",
    "FfmpegLimitError",
    "FfmpegMissingError",
    "FfmpegStalledError",
    "VerificationError",
]


class FfmpegMissingError(DispatcherError):
    """There is no usable ffmpeg."""


class FfmpegError(DispatcherError):
    """ffmpeg failed; the text has its exit status and last lines.

    `cause` says who could mend it.
    """

    cause: FailureCause = "unknown"

    def __init__(self, text: str, *, cause: FailureCause = "unknown") -> None:
        super().__init__(text)
        self.cause = cause


class FfmpegLimitError(FfmpegError):
    """ffmpeg failed, perhaps because it reached a limit of this engine. The text names them."""


class FfmpegStalledError(FfmpegError):
    """ffmpeg made no progress for as long as this engine permits."""


class VerificationError(FfmpegError):
    """ffmpeg ended well, but the source or the output is not whole."""
