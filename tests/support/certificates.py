"""One TLS context for all HTTP clients of the tests.

Each client would read the certificates of all authorities anew: 30 ms, for tests that connect to
nothing but loopback, mostly without TLS.
"""

import os
from functools import cache
from typing import Any

from httpx2._transports import default

__all__ = ["share_one_context"]


def share_one_context() -> None:
    """Have every client that is made from now on in the same way share its TLS context.

    A test that names an authority of its own (`SSL_CERT_FILE`) gets a context of its own.
    """
    make: Any = default.create_ssl_context  # type: ignore[attr-defined]
    shared = cache(make)

    def shared_or_own(*args: Any, **kwargs: Any) -> Any:
        chosen = make if "SSL_CERT_FILE" in os.environ else shared
        return chosen(*args, **kwargs)

    default.create_ssl_context = shared_or_own  # type: ignore[attr-defined]
