"""The names of headers that both a dispatcher and its clients write and read."""

from typing import Final

__all__ = ["SEQ_HEADER", "UNDONE_HEADER"]

SEQ_HEADER: Final = "X-Dispatcher-Seq"
"""In a response: the seq of the newest event that it can reflect. In a request: the highest that
its client has seen, and that the response must reflect."""
UNDONE_HEADER: Final = "X-Dispatcher-Undone"
"""In a 503: the request was certainly not carried out."""
