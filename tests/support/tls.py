"""One TLS context for all HTTP clients of the tests.

Each client would read the certificates of all authorities anew: 30 ms, for tests that connect to
nothing but loopback, without TLS.
"""

from functools import cache

from httpx2._transports import default

__all__ = ["share_one_context"]


def share_one_context() -> None:
    """Have every client that is made from now on in the same way share its TLS context."""
    default.create_ssl_context = cache(default.create_ssl_context)  # type: ignore[attr-defined]
