"""The base class of the errors that a caller of this library may catch."""

from typing import ClassVar

__all__ = ["DispatcherError"]


class DispatcherError(Exception):
    """An expected failure. The text says what failed, and what to do about it.

    Any other exception is a defect of this library, or of the code that uses it.
    """

    exit_code: ClassVar[int] = 1
    """The exit code of a command that ends with this error."""
