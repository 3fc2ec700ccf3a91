"""Opening the webhooks of a dispatcher, from what its operator has asked for."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from dispatcher.serving.callbacks import Callbacks
from dispatcher.webhooks.outbox import Outbox, outbox_path
from dispatcher.webhooks.running import Source, Webhooks
from dispatcher.webhooks.settings import Webhook
from dispatcher.webhooks.signing import load_or_create

__all__ = ["WebhookSettings", "opened", "secret_path"]


class WebhookSettings(NamedTuple):
    """The operator's webhooks, and where clients may be called back, if anywhere."""

    webhooks: Sequence[Webhook] = ()
    callbacks: Callbacks | None = None


def secret_path(log_path: Path) -> Path:
    """Return where the secret is by which callbacks are signed."""
    return log_path.with_name(log_path.name + ".callback-secret")


@asynccontextmanager
async def opened(
    source: Source, log_path: Path, settings: WebhookSettings
) -> AsyncIterator[Webhooks | None]:
    """Have webhooks sent until the block ends; `None` if there are none.

    Raises `OutboxError` or `SecretError`.
    """
    callbacks = settings.callbacks
    if callbacks is None and not settings.webhooks:
        yield None
        return
    secret = None if callbacks is None else load_or_create(secret_path(log_path))
    outbox = await Outbox.open(outbox_path(log_path), source.projections.seq)
    permitted = None if callbacks is None or secret is None else (callbacks, secret)
    webhooks = Webhooks(source, outbox, settings.webhooks, permitted)
    try:
        await webhooks.start()
        yield webhooks
    finally:
        await webhooks.close()
