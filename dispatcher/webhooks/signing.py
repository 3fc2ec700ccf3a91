"""The signature of a webhook: Standard Webhooks (standardwebhooks.com), symmetric."""

import base64
import binascii
import hmac
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from dispatcher import files
from dispatcher.errors import DispatcherError

__all__ = ["Secret", "SecretError", "load_or_create", "new_secret"]

_PREFIX: Final = "whsec_"
_LEAST_BYTES, _MOST_BYTES = 24, 64


class SecretError(DispatcherError):
    """A secret can't be used; the text says why."""


class Secret:
    """The key that a receiver checks signatures with."""

    def __init__(self, text: str) -> None:
        """Read a secret of the form `whsec_…`. Raises `SecretError`, which does not show it."""
        self._key = b""
        if text.startswith(_PREFIX):
            with suppress(binascii.Error, ValueError):  # the length tells
                self._key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        if not _LEAST_BYTES <= len(self._key) <= _MOST_BYTES:
            raise SecretError(
                f"a secret must be {_PREFIX} and {_LEAST_BYTES} to {_MOST_BYTES} bytes in base64; "
                "`dispatcher webhooks secret` makes one"
            )

    def headers(self, message_id: str, at_s: int, body: bytes) -> dict[str, str]:
        """Return the headers of a message that is sent at a time (seconds since the epoch)."""
        signed = b"%b.%d.%b" % (message_id.encode(), at_s, body)
        signature = base64.b64encode(hmac.digest(self._key, signed, "sha256")).decode()
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(at_s),
            "webhook-signature": f"v1,{signature}",
        }


def new_secret() -> str:
    """Make a secret."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def load_or_create(path: Path) -> Secret:
    """Read the secret in a file; make the file, for its owner alone, if there is none.

    Raises `SecretError` if it has none, or can't be read or made.
    """
    try:
        if not path.exists():
            with files.new(path, 0o600) as file:
                file.write(f"{new_secret()}\n".encode())
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(f"{path}: the secret of callbacks can't be read: {error}") from error
    try:
        return Secret(text.strip())
    except SecretError as error:
        raise SecretError(f"{path}: {error}") from error
