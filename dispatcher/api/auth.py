"""Who may ask a route: keys have roles, and routes say which one they need.

A route says what it needs where it is declared (`routes`); one that says nothing is the
operators' alone. `front` finds out who asks.
"""

from typing import Any, Final, Literal

from litestar import Request

from dispatcher.api.errors import HttpError
from dispatcher.core.commands import Caller
from dispatcher.serving.keys import Role

__all__ = ["ANY_KEY", "NO_KEY", "Needs", "check_role", "forbidden", "roles_for"]

ANY_KEY: Final = "any key"
NO_KEY: Final = "no key"
Needs = Role | Literal["any key", "no key"]
"""What a route asks of those who call it. A role, so that others but operators are kept out."""


def roles_for(needs: Needs) -> frozenset[Role | None]:
    """List the roles that may call a route; `None` is who has no key."""
    if needs == NO_KEY:
        return frozenset({*Role, None})
    return frozenset(Role) if needs == ANY_KEY else frozenset({Role(needs), Role.OPERATOR})


def forbidden(needs: Needs, caller: Caller, role: Role | None) -> HttpError:
    """Tell a caller which role he would need."""
    return HttpError(
        403,
        f"Forbidden: this needs the role '{needs}'; the key '{caller.name}' has the role '{role}'.",
    )


async def check_role(request: Request[Any, Any, Any]) -> None:
    """Raise 403 unless the caller's role is one that the route admits."""
    needs: Needs = request.route_handler.opt.get("needs", Role.OPERATOR)
    state = request.scope["state"]
    if state["role"] not in roles_for(needs):
        raise forbidden(needs, state["caller"], state["role"])
