"""How it stands with a receiver of webhooks: what both sides of `GET /webhooks` know."""

import msgspec

__all__ = ["WebhookView"]


class WebhookView(msgspec.Struct, frozen=True):
    """A webhook, or a receiver of callbacks, which has no `url` here.

    `state` is `ok`, `failing` since `failing_since` (seconds since the epoch) with the newest
    `error`, or `dead`: so many messages were given up. `waiting` counts all that it has not taken,
    and `sent` those that it took since the dispatcher was started.
    """

    name: str
    url: str | None
    events: list[str]
    state: str
    waiting: int = 0
    dead: int = 0
    sent: int = 0
    failing_since: float | None = None
    error: str | None = None
