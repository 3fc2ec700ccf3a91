"""Access control: keys have roles, and a route says which role it needs.

A route says what it needs where it is declared (`routes`). If it says nothing, only operators may
call it. `front` identifies the caller.
"""

from functools import cache
from typing import Any, Final, Literal

from litestar import Request

from dispatcher.api.errors import HttpError
from dispatcher.core.commands import Caller
from dispatcher.serving.keys import Role

__all__ = ["ANY_KEY", "NO_KEY", "Needs", "check_role", "forbidden", "roles_for"]

ANY_KEY: Final = "any key"
NO_KEY: Final = "no key"
Needs = Role | Literal["any key", "no key"]
"""What a route requires of its callers. A role admits that role and operators only."""


@cache
def roles_for(needs: Needs) -> frozenset[Role | None]:
    """Return the roles that may call a route; `None` stands for a caller without a key."""
    if needs == NO_KEY:
        return frozenset({*Role, None})
    return frozenset(Role) if needs == ANY_KEY else frozenset({Role(needs), Role.OPERATOR})


def forbidden(needs: Needs, caller: Caller, role: Role | None) -> HttpError:
    """Make the error that tells a caller which role it needs."""
    return HttpError(
        403,
        f"Forbidden: this needs the role '{needs}'; the key '{caller.name}' has the role '{role}'.",
    )


async def check_role(request: Request[Any, Any, Any]) -> None:
    """Raise 403 unless the route admits the caller's role."""
    needs: Needs = request.route_handler.opt.get("needs", Role.OPERATOR)
    state = request.scope["state"]
    if state["role"] not in roles_for(needs):
        raise forbidden(needs, state["caller"], state["role"])
