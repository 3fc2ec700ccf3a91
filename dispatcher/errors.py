"""What a caller of this library may catch."""

from typing import ClassVar

__all__ = ["DispatcherError"]


class DispatcherError(Exception):
    """Something that was foreseen can't be done; the text says what, and what to do about it.

    Whatever else is raised is a defect of this library, or of its use.
    """

    exit_code: ClassVar[int] = 1
    """With which a command ends that ends with this."""
