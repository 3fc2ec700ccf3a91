"""The ASGI application."""

from typing import Final

from litestar import Litestar
from litestar.datastructures import State
from litestar.types import ASGIApp

from dispatcher.api import (
    attempts,
    batches,
    engines,
    events,
    health,
    jobs,
    matching,
    proofs,
    recipes,
    store,
)
from dispatcher.api.auth import check_role
from dispatcher.api.errors import HANDLERS
from dispatcher.api.front import Front
from dispatcher.api.openapi import openapi_config
from dispatcher.log.checkpoints import Signer
from dispatcher.serving.keys import ApiKeys
from dispatcher.serving.service import Service

__all__ = ["BODY_LIMIT_BYTES", "create_app", "create_routes"]

BODY_LIMIT_BYTES: Final = 1 << 20


def create_app(
    service: Service,
    keys: ApiKeys | None,
    signer: Signer,
    *,
    body_limit_bytes: int = BODY_LIMIT_BYTES,
) -> ASGIApp:
    """Make the application that serves `service`; `signer` signs checkpoints of its log.

    Only `keys` are accepted; `None` turns auth off.
    """
    routes = create_routes(service, signer, body_limit_bytes)
    return Front(routes, service, keys, body_limit_bytes)


def create_routes(service: Service, signer: Signer, body_limit_bytes: int) -> Litestar:
    """Make the Litestar application, without the `Front` before it."""
    return Litestar(
        route_handlers=[
            *jobs.HANDLERS,
            *batches.HANDLERS,
            *matching.HANDLERS,
            *attempts.HANDLERS,
            *engines.HANDLERS,
            recipes.list_recipes,
            *store.HANDLERS,
            *events.HANDLERS,
            *proofs.HANDLERS,
            health.greeting,
            health.health,
        ],
        state=State(
            {
                "service": service,
                "signer": signer,
                "batch_limit_bytes": batches.BODIES * body_limit_bytes,
            }
        ),
        before_request=check_role,  # a guard would cost a copy of the handler each time
        exception_handlers=HANDLERS,
        openapi_config=openapi_config(),
        request_max_body_size=body_limit_bytes,
        logging_config=None,
    )
