"""What a dispatcher tells of itself to whoever asks."""

from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx2
import msgspec

__all__ = ["HealthView", "time_of"]


class HealthView(msgspec.Struct, frozen=True):
    """Whether a dispatcher is well: `status` is `ok`, or another word and the `fault`.

    `seq` is that of its newest event, and `warning` what an operator should see to.
    """

    status: str
    seq: int
    fault: str | None = None
    warning: str | None = None


def time_of(response: httpx2.Response) -> datetime | None:
    """Return when an answer was made, to the second, by the clock of who made it."""
    try:
        return parsedate_to_datetime(response.headers["Date"])
    except (KeyError, ValueError):
        return None
