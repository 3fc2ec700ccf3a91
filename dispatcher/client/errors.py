"""The two kinds of error of a client: it was refused, or there is nobody who can do it now."""

from typing import ClassVar

from dispatcher.errors import DispatcherError

__all__ = ["DispatcherAwayError", "RequestRefusedError"]


class RequestRefusedError(DispatcherError):
    """The dispatcher refused the request: repeating it unchanged is of no use.

    `status` is that of the response, or 0 if the error has no such status.
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{text} (HTTP {status})" if status else text)
        self.status = status
        self.text = text


class DispatcherAwayError(DispatcherError):
    """The dispatcher can't be reached, or can't do what was asked now: try again later.

    `is_undone` if the request was certainly not carried out.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, text: str, *, is_undone: bool = False) -> None:
        super().__init__(text)
        self.is_undone = is_undone
