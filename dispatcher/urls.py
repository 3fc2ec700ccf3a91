"""Check and parse URLs, before a library is given one that it does not expect; and tell of them.

A URL may carry credentials: a name and a password before its host, or a signature or a token in its
query. Whoever writes a URL where others read it (a log, an error, a terminal) writes it `masked`,
and so any text of another program that may quote URLs, such as ffmpeg's.

Laws:
- A masked URL has no name and password before its host. In its query and its fragment the value of
  every parameter that `_SECRET` knows is replaced by `***`.
- To mask a text again changes nothing, and neither does it change a text without a URL.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, unquote_to_bytes, urlsplit

__all__ = ["masked", "path_of", "web_url_fault"]

_MASK: Final = "***"
_SECRET: Final = re.compile(
    # These as a whole word of the name of a parameter …
    r"(?:^|[-_.])(?:sig|sign|key|pass|pwd|auth|jwt|policy|sas|sid|session)(?:$|[-_.])"
    # … and these as any part of it: X-Amz-Signature, AWSAccessKeyId, access_token, hdnts, …
    r"|signature|token|secret|passw|passphrase|credential|api-?key|access-?key|accessid"
    r"|authorization|sessionid|hdnts|hdnea|hdntl",
    re.IGNORECASE,
)
"""The names of parameters whose values are secret."""
_LONGEST_SCHEME: Final = 31
"""A limit, since the search for a scheme would otherwise take quadratic time."""

_USERINFO: Final = re.compile(
    rf"(?P<scheme>(?:\b[a-z][a-z0-9+.-]{{0,{_LONGEST_SCHEME}}}:)?[/\\]{{2}}|\bhttps?:[/\\]?)"
    r"(?:"
    r"[^\s/\\?#]*@"  # up to the last @ before the path
    # A password with an unquoted / ? or #: there is a colon, and what follows is no port.
    r"|[^\s/\\?#@:\[]+:(?!\d{1,5}(?:[/\\?#\s]|$))[^\s@]*(?:@|%40)"
    r")+",
    re.IGNORECASE,
)
_PARAMETER: Final = re.compile(r"(?<=[?&;#])([^=&;#?\s]{1,100})=")
_VALUE: Final = re.compile(r"[^&#\s]*")
_AFTER_A_URL: Final = "'\")]>,.:;"
"""What a text may put right after a URL."""
_WORD: Final = re.compile(r"\S+")


def masked(text: str, known: Iterable[str] = ()) -> str:
    """Return a text as others may read it: no URL in it has a password or another secret.

    The secrets of the URLs that are `known` to occur are masked wherever else they stand, too.
    """
    for secret in sorted({s for url in known for s in _secrets_of(url)}, key=len, reverse=True):
        text = text.replace(secret, _MASK)
    if "@" in text or "%40" in text:
        text = _WORD.sub(_without_userinfo, text)
    pieces: list[str] = []
    at = 0
    for begin, end in _secret_values(text):
        pieces += text[at:begin], _MASK
        at = end
    return "".join([*pieces, text[at:]])


def path_of(file_url: str) -> Path:
    """Return the path of a `file:` URL, whatever the encoding of its name."""
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(file_url).path)))


def web_url_fault(url: str) -> str | None:
    """Return why a text is no usable `http(s)://` URL, or `None` if it is one.

    It repeats no part of the URL, which may be part of a password.
    """
    if not url.isprintable() or not url.isascii():
        return "has characters that must be percent-encoded"
    try:
        parts = urlsplit(url)
    except ValueError:
        return "can't be read: what should be the host is none"
    try:
        port = parts.port
    except ValueError:
        return "can't be read: its port is no number from 1 to 65535"
    if parts.scheme.lower() not in {"http", "https"}:
        return "does not begin with http:// or https://"
    if not parts.hostname:
        return "names no host"
    return "has port 0" if port == 0 else None


def _without_userinfo(word: re.Match[str]) -> str:
    # To search no further than the last @ keeps the time linear, whatever the text.
    end = max(word[0].rfind("@") + 1, word[0].rfind("%40") + 3 if "%40" in word[0] else 0)
    return _USERINFO.sub(lambda found: found["scheme"], word[0][:end]) + word[0][end:]


def _secret_values(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the values of secret parameters begin and end."""
    at = 0
    for found in _PARAMETER.finditer(text):
        if found.start() < at or _SECRET.search(unquote(found[1])) is None:
            continue
        value = _VALUE.match(text, found.end())
        assert value is not None  # noqa: S101 - it may be empty
        at = found.end() + len(value[0].rstrip(_AFTER_A_URL))
        yield found.end(), at


_SHORTEST: Final = 4
"""Shorter secrets are not looked for outside of URLs: they would be found in any text."""


def _secrets_of(url: str) -> Iterator[str]:
    """Yield the secrets in a URL, as they stand and decoded."""
    if (userinfo := _USERINFO.search(url)) is not None:
        name_and_password = userinfo[0][len(userinfo["scheme"]) :].removesuffix("@")
        password = name_and_password.partition(":")[2]
        yield from _both_forms(name_and_password)
        yield from _both_forms(password)
    for begin, end in _secret_values(url):
        yield from _both_forms(url[begin:end])


def _both_forms(secret: str) -> Iterator[str]:
    yield from (form for form in {secret, unquote(secret)} if len(form) >= _SHORTEST)
