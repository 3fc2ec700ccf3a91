"""Check and parse URLs, before a library is given one that it does not expect."""

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

__all__ = ["path_of", "web_url_fault"]


def path_of(file_url: str) -> Path:
    """Return the path of a `file:` URL, whatever the encoding of its name."""
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(file_url).path)))


def web_url_fault(url: str) -> str | None:
    """Return why a text is no usable `http(s)://` URL, or `None` if it is one."""
    if not url.isprintable() or not url.isascii():
        return "has characters that must be percent-encoded"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"can't be read: {error}"
    if parts.scheme.lower() not in {"http", "https"}:
        return "does not begin with http:// or https://"
    if not parts.hostname:
        return "names no host"
    return "has port 0" if port == 0 else None
