"""What can go wrong with ffmpeg and what it makes."""

from dispatcher.client import FailureCause
from dispatcher.errors import DispatcherError

__all__ = ["FfmpegError", "FfmpegLimitError", "FfmpegMissingError"]


class FfmpegMissingError(DispatcherError):
    """There is no usable ffmpeg."""


class FfmpegError(DispatcherError):
    """ffmpeg failed. The text has its exit status and last lines, `printed` a few more.

    `cause` is what the engine reports as the cause (docs/protocol.md).
    """

    def __init__(self, text: str, printed: str = "", *, cause: FailureCause = "unknown") -> None:
        super().__init__(text)
        self.printed = printed
        self.cause: FailureCause = cause


class FfmpegLimitError(FfmpegError):
    """ffmpeg failed, perhaps because it reached a limit of this engine. The text names them."""
