"""The routes that show webhooks, and have what was given up sent again."""

from typing import Any, Final

from litestar import Request, get, post
from litestar.params import FromPath

from dispatcher.api.answers import Answer, json_answer, text_answer
from dispatcher.api.bodies import MAX_SHOWN
from dispatcher.api.errors import HttpError
from dispatcher.api.routes import declared
from dispatcher.serving.keys import Role
from dispatcher.webhook_states import WebhookView
from dispatcher.webhooks.running import Webhooks

__all__ = ["HANDLERS"]


@get("/webhooks", **declared(needs=Role.OPERATOR, answers={200: list[WebhookView]}))
async def list_webhooks(request: Request[Any, Any, Any]) -> Answer:
    """Show how it stands with each webhook, and with the receivers of callbacks."""
    webhooks: Webhooks | None = request.app.state.webhooks
    return json_answer([] if webhooks is None else await webhooks.views())


@post(
    "/webhooks/{name:str}/retry",
    status_code=200,
    **declared(needs=Role.OPERATOR, answers={200: str, 404: str}),
)
async def retry_webhook(request: Request[Any, Any, Any], name: FromPath[str]) -> Answer:
    """Send all that a receiver has not taken again now, also what was given up."""
    webhooks: Webhooks | None = request.app.state.webhooks
    count = None if webhooks is None else await webhooks.retry(name)
    if count is None:
        raise HttpError(404, f"Webhook not found: {name[:MAX_SHOWN]!r}; GET /webhooks lists them")
    return text_answer(200, f"Webhook {name}: {count} messages are tried again")


HANDLERS: Final = (list_webhooks, retry_webhook)
