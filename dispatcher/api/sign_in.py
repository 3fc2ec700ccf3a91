"""The routes that say whose key a request carries, and let its holder sign in to the board."""

from typing import Any, Final

import msgspec
from litestar import Request, get, post
from litestar.types import ASGIApp

from dispatcher.api import bodies
from dispatcher.api.answers import json_answer
from dispatcher.api.auth import ANY_KEY, NO_KEY
from dispatcher.api.errors import HttpError
from dispatcher.api.routes import declared
from dispatcher.api.schemas import TOKEN
from dispatcher.serving.keys import ANONYMOUS, Role
from dispatcher.serving.sign_in import LIFETIME_S, SignIns, UnknownTokenError

__all__ = ["HANDLERS", "KeyView", "Redeemed", "SignIn"]

_BODY_LIMIT_BYTES: Final = 1_024
"""Of a body that is read without a key."""
_NOT_KEPT: Final = {"Cache-Control": "no-store"}
_NOT_REDEEMED: Final = (
    "Sign-in token not found: it was used, or is older than a minute; `dispatcher board` makes "
    "another"
)


class KeyView(msgspec.Struct, frozen=True):
    """The key of a request. `engine_id` is the only engine that it may act for, if there is one.

    Where no key is needed, it is `anonymous`, who may do everything.
    """

    name: str
    role: str
    engine_id: str | None


class SignIn(msgspec.Struct, frozen=True):
    """A token that can be redeemed once, within so many seconds."""

    token: str
    expires_s: int


class Redeemed(msgspec.Struct, frozen=True):
    """The key that a token stood for; null where no key is needed."""

    key: str | None


@get("/key", **declared(needs=ANY_KEY, answers={200: KeyView}))
async def show_key(request: Request[Any, Any, Any]) -> ASGIApp:
    """Say whose key this is, and which role it has."""
    state = request.scope["state"]
    view = KeyView(state["caller"].name, str(state["role"]), state["speaks_for"])
    return json_answer(view, headers=_NOT_KEPT)


@post("/sign_in", status_code=200, **declared(needs=Role.CLIENT, answers={200: SignIn}))
async def sign_in(request: Request[Any, Any, Any]) -> ASGIApp:
    """Make a token with which the board can be opened, at `/#token=…`: the key of this request."""
    state = request.scope["state"]
    name: str = state["caller"].name
    secret = None if name == ANONYMOUS else state["headers"][b"x-api-key"].decode("latin-1")
    token = _sign_ins(request).begin(name, secret)
    return json_answer(SignIn(token, LIFETIME_S), headers=_NOT_KEPT)


@post(
    "/sign_in/redeem",
    status_code=200,
    request_max_body_size=_BODY_LIMIT_BYTES,
    **declared(needs=NO_KEY, answers={200: Redeemed, 404: str}, body=TOKEN),
)
async def redeem_sign_in(request: Request[Any, Any, Any]) -> ASGIApp:
    """Give the key for a token, once. Needs no key."""
    token = bodies.sign_in_token(await request.body())
    try:
        key = _sign_ins(request).redeem(token)
    except UnknownTokenError:
        raise HttpError(404, _NOT_REDEEMED) from None
    return json_answer(Redeemed(key), headers=_NOT_KEPT)


def _sign_ins(request: Request[Any, Any, Any]) -> SignIns:
    sign_ins: SignIns = request.app.state.sign_ins
    return sign_ins


HANDLERS: Final = (show_key, sign_in, redeem_sign_in)
