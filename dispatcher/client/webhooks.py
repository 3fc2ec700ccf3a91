"""Calls about webhooks."""

from dispatcher.client.calls import Calls, decode, quoted
from dispatcher.webhook_states import WebhookView

__all__ = ["WebhookCalls"]


class WebhookCalls(Calls):
    """Calls about webhooks."""

    async def webhooks(self) -> list[WebhookView]:
        """Return how it stands with each webhook."""
        return decode(await self._connection.call("GET", "/webhooks"), list[WebhookView])

    async def retry_webhook(self, name: str) -> str:
        """Have all that a receiver has not taken sent again now; gives the dispatcher's words."""
        response = await self._connection.call("POST", f"/webhooks/{quoted(name)}/retry")
        return str(response.text)
