"""Access control: keys have roles, and a route says which role it needs.

A route says what it needs where it is declared (`routes`). If it says nothing, only operators may
call it. `front` identifies the caller.

An engine's key may be bound to one engine. `check_engine` compares that with the engine that a body
names, so it comes right after the body's own rules.
"""

from functools import cache
from typing import Any, Final, Literal

from litestar import Request

from dispatcher.api.errors import HttpError
from dispatcher.api.requests import CommandRequest
from dispatcher.core.commands import Caller
from dispatcher.serving.keys import Role

__all__ = ["ANY_KEY", "NO_KEY", "Needs", "check_engine", "check_role", "forbidden", "roles_for"]

ANY_KEY: Final = "any key"
NO_KEY: Final = "no key"
Needs = Role | Literal["any key", "no key"]
"""What a route requires of its callers. A role admits that role and operators only, any key those
of all roles but `monitor`."""


@cache
def roles_for(needs: Needs) -> frozenset[Role | None]:
    """Return the roles that may call a route; `None` stands for a caller without a key."""
    if needs == NO_KEY:
        return frozenset({*Role, None})
    if needs == ANY_KEY:
        return frozenset(Role) - {Role.MONITOR}
    return frozenset({Role(needs), Role.OPERATOR})


def forbidden(needs: Needs, caller: Caller, role: Role | None) -> HttpError:
    """Make the error that tells a caller which role it needs."""
    named = "any role but 'monitor'" if needs == ANY_KEY else f"the role '{needs}'"
    return HttpError(
        403,
        f"Forbidden: this needs {named}; the key '{caller.name}' has the role '{role}'.",
    )


def check_engine(request: CommandRequest, engine_id: str | None) -> None:
    """Raise 403 if the caller's key is bound to an engine and the request names another, or none.

    It depends on the key alone, and so tells nothing about jobs and engines.
    """
    if request.speaks_for is None or request.speaks_for == engine_id:
        return
    named = "names another" if engine_id is not None else "names none; name it in 'engine_id'"
    raise HttpError(
        403,
        f"Forbidden: the key '{request.caller.name}' speaks for engine {request.speaks_for} alone, "
        f"and this request {named}.",
    )


async def check_role(request: Request[Any, Any, Any]) -> None:
    """Raise 403 unless the route admits the caller's role."""
    needs: Needs = request.route_handler.opt.get("needs", Role.OPERATOR)
    state = request.scope["state"]
    if state["role"] not in roles_for(needs):
        raise forbidden(needs, state["caller"], state["role"])
