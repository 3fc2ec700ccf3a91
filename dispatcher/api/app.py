"""The ASGI application."""

from collections.abc import Mapping
from typing import Final

from litestar import Litestar
from litestar.datastructures import State
from litestar.types import ASGIApp

from dispatcher.api import attempts, engines, health, jobs
from dispatcher.api.auth import ApiKeys, Authenticated
from dispatcher.api.errors import HANDLERS
from dispatcher.api.openapi import openapi_config
from dispatcher.service import Service

__all__ = ["BODY_LIMIT_BYTES", "create_app"]

BODY_LIMIT_BYTES: Final = 1 << 20


def create_app(
    service: Service, keys: Mapping[str, str] | None, *, body_limit_bytes: int = BODY_LIMIT_BYTES
) -> ASGIApp:
    """Make the application that serves `service`.

    `keys` maps the name of each API key to the key; `None` turns auth off.
    """
    app = Litestar(
        route_handlers=[*jobs.HANDLERS, *attempts.HANDLERS, *engines.HANDLERS, health.health],
        state=State({"service": service}),
        exception_handlers=HANDLERS,
        openapi_config=openapi_config(),
        request_max_body_size=body_limit_bytes,
        logging_config=None,
    )
    return Authenticated(app, None if keys is None else ApiKeys(keys))
