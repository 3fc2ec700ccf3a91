"""Why the store does not take or give something."""

from dispatcher.errors import DispatcherError

__all__ = [
    "BusyError",
    "StoreError",
    "StoreFaultError",
    "StoreFullError",
    "TooLargeError",
    "TooManyPartsError",
    "UnknownUploadError",
    "WrongOffsetError",
    "WrongSha256Error",
]


class StoreError(DispatcherError):
    """The store can't do it; the text says why."""


class StoreFaultError(StoreError):
    """The store's folder can't be read or written."""


class StoreFullError(StoreError):
    """There is no room for the file: in the store, or on its disk."""


class TooLargeError(StoreError):
    """The file is larger than any that the store takes."""


class TooManyPartsError(StoreError):
    """The key has too many unfinished uploads."""


class UnknownUploadError(StoreError):
    """There is no such upload, or it is another key's."""


class BusyError(StoreError):
    """Another request adds to this upload at the moment."""


class WrongOffsetError(StoreError):
    """The bytes do not begin where the upload ends; `size` bytes of it are there."""

    def __init__(self, text: str, size: int) -> None:
        super().__init__(text)
        self.size = size


class WrongSha256Error(StoreError):
    """The bytes are not those of the name. Nothing of them was kept."""
