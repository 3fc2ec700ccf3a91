"""What the dispatcher tells of a key."""

import msgspec

__all__ = ["KeyView", "SignIn"]


class KeyView(msgspec.Struct, frozen=True):
    """A key's name and role, and the only engine that it may act for, if it is bound to one.

    Where no key is needed, the name is `anonymous` and the role `operator`.
    """

    name: str
    role: str
    engine_id: str | None = None


class SignIn(msgspec.Struct, frozen=True):
    """A token for the board: it can be redeemed once, within `expires_s` seconds."""

    token: str
    expires_s: int
