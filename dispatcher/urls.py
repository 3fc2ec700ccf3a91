"""URLs of the web, checked before a library meets what it does not expect."""

from urllib.parse import urlsplit

__all__ = ["web_url_fault"]


def web_url_fault(url: str) -> str | None:
    """Say what keeps a text from being an `http(s)://` URL that can be asked; `None` if nothing."""
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
