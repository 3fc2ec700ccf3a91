"""The store: films that clients upload and engines deliver, each named by the SHA-256 of its bytes.

    STORE/files/SHA256            whole files
    STORE/parts/NAME.OWNER        what has come of an upload; NAME is a SHA-256 or an upload's id
    STORE/parts/NAME.OWNER.whole  the SHA-256 of an upload that is whole, for who asks for it again
    STORE/trash/                  what was swept, until it is deleted

With a bucket, whole files are there (`store.bucket`), and STORE has the uploads.

Laws:
- A file has its name only when all of it is on disk, and its bytes have that SHA-256. So what is
  there is whole, and is never written to again.
- What has come of an upload stays, wherever it was cut off: the client, this process or the machine
  may die, and the next request goes on. What is wrong is found at the end, by its SHA-256, and then
  nothing is kept.
- An upload belongs to the key that began it, and one request at a time adds to it. So one key can
  spoil nothing of another's, and of two uploads of the same file the first that is whole counts.
- Bytes are written, read and hashed in the threads of the store, a piece at a time. On the event
  loop there is only bookkeeping, so what is decided there (is it there, may it go) is one step.
- What somebody was told is there stays for the time that is kept (`StoreLimits.keep_s`), counted
  from then. What goes after that, others decide (`serving.keeping`).
"""

from dispatcher.store.errors import (
    BusyError,
    StoreError,
    StoreFaultError,
    StoreFullError,
    TooLargeError,
    TooManyPartsError,
    UnknownUploadError,
    WrongOffsetError,
    WrongSha256Error,
)
from dispatcher.store.limits import DEFAULT_STORE_LIMITS, StoreLimits
from dispatcher.store.store import Progress, Store, is_upload_id

__all__ = [
    "DEFAULT_STORE_LIMITS",
    "BusyError",
    "Progress",
    "Store",
    "StoreError",
    "StoreFaultError",
    "StoreFullError",
    "StoreLimits",
    "TooLargeError",
    "TooManyPartsError",
    "UnknownUploadError",
    "WrongOffsetError",
    "WrongSha256Error",
    "is_upload_id",
]
