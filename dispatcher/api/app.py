"""The ASGI application."""

from collections.abc import Callable
from typing import Final

from litestar import Litestar
from litestar.datastructures import State
from litestar.types import ASGIApp

from dispatcher.api import (
    attempts,
    batches,
    board,
    engines,
    events,
    films,
    health,
    jobs,
    matching,
    metrics,
    proofs,
    recipes,
    reloading,
    sign_in,
    splitting,
    statistics,
    store,
    webhooks,
)
from dispatcher.api.auth import check_role
from dispatcher.api.errors import HANDLERS
from dispatcher.api.front import Front
from dispatcher.api.openapi import openapi_config
from dispatcher.board import Board
from dispatcher.log.checkpoints import Signer
from dispatcher.serving.keys import ApiKeys
from dispatcher.serving.reloading import Reloaded, nothing_to_reload
from dispatcher.serving.service import Service
from dispatcher.serving.sign_in import SignIns
from dispatcher.webhooks.running import Webhooks

__all__ = ["BODY_LIMIT_BYTES", "create_app", "create_routes"]

BODY_LIMIT_BYTES: Final = 1 << 20


def create_app(  # noqa: PLR0913 - all that it serves
    service: Service,
    keys: ApiKeys | None,
    signer: Signer,
    read_again: Callable[[], Reloaded] = nothing_to_reload,
    *,
    body_limit_bytes: int = BODY_LIMIT_BYTES,
    hooks: Webhooks | None = None,
) -> ASGIApp:
    """Make the application that serves `service`; `signer` signs checkpoints of its log.

    Only `keys` are accepted; `None` turns auth off. `read_again` reads the operator's files again.
    """
    routes = create_routes(service, signer, body_limit_bytes, read_again, hooks)
    return Front(routes, service, keys, body_limit_bytes)


def create_routes(
    service: Service,
    signer: Signer,
    body_limit_bytes: int,
    read_again: Callable[[], Reloaded] = nothing_to_reload,
    hooks: Webhooks | None = None,
) -> Litestar:
    """Make the Litestar application, without the `Front` before it."""
    return Litestar(
        route_handlers=[
            *jobs.HANDLERS,
            *batches.HANDLERS,
            *matching.HANDLERS,
            *attempts.HANDLERS,
            *splitting.HANDLERS,
            *engines.HANDLERS,
            recipes.list_recipes,
            reloading.reload_files,
            metrics.metrics,
            *statistics.HANDLERS,
            *store.HANDLERS,
            *films.HANDLERS,
            *events.HANDLERS,
            *proofs.HANDLERS,
            *sign_in.HANDLERS,
            *board.HANDLERS,
            *webhooks.HANDLERS,
            health.health,
        ],
        state=State(
            {
                "service": service,
                "signer": signer,
                "read_again": read_again,
                "webhooks": hooks,
                "board": Board.load(),
                "sign_ins": SignIns(),
                "batch_limit_bytes": batches.BODIES * body_limit_bytes,
            }
        ),
        before_request=check_role,  # a guard would cost a copy of the handler each time
        exception_handlers=HANDLERS,
        openapi_config=openapi_config(),
        request_max_body_size=body_limit_bytes,
        logging_config=None,
    )
