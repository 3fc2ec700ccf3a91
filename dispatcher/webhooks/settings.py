"""The webhooks of the operator: those of the file that `serve --webhooks` names.

    [[webhook]]
    name = "chat"
    url = "https://chat.example.com/hooks/farm"
    secret = "whsec_…"
    events = ["job_completed", "job_failed_permanently"]

Law: a file is accepted whole or not at all.
"""

import re
import tomllib
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from dispatcher.errors import DispatcherError
from dispatcher.log.serialization import NAMES
from dispatcher.webhooks.signing import Secret, SecretError

__all__ = ["ENDS", "GIVE_UP_HOURS", "Webhook", "WebhooksError", "read_webhooks"]

ENDS: Final = frozenset({"job_completed", "job_failed_permanently", "job_cancelled"})
"""The events after which a job is over: what is sent if nothing else is asked for."""
GIVE_UP_HOURS: Final = 24.0
"""How long one message is tried."""
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_EVENTS: Final = frozenset(NAMES.values())


class WebhooksError(DispatcherError):
    """A file of webhooks can't be used; the text says where the fault is and what to do."""


class Webhook(msgspec.Struct, frozen=True):
    """A web server to which events of some types are posted, signed with a secret.

    A message that fails is tried again for `give_up_hours`.
    """

    name: str
    url: str
    secret: Secret
    events: frozenset[str] = ENDS
    give_up_hours: float = GIVE_UP_HOURS


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    url: str
    secret: str
    events: list[str] | None = None
    give_up_hours: float = GIVE_UP_HOURS


def read_webhooks(path: Path) -> list[Webhook]:
    """Read a file of webhooks. Raises `WebhooksError`."""
    try:
        document = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise WebhooksError(
            f"{path}: there is no such file; docs/webhooks.md has one to begin with"
        ) from None
    except OSError as error:
        raise WebhooksError(f"{path}: can't be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WebhooksError(f"{path}: is no TOML: {error}") from error
    tables = document.pop("webhook", [])
    if document or not isinstance(tables, list):
        raise WebhooksError(f"{path}: each webhook begins with [[webhook]], and there is no more")
    found = [_webhook(table, f"{path}: webhook {n}") for n, table in enumerate(tables, 1)]
    names = [it.name for it in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise WebhooksError(f"{path}: two webhooks have the name {min(twice)!r}; rename one")
    return found


def _webhook(table: Any, where: str) -> Webhook:
    try:
        told = msgspec.convert(table, _Table)
        secret = Secret(told.secret)
    except (msgspec.ValidationError, SecretError) as error:
        raise WebhooksError(f"{where}: {error}") from error
    if _NAME.fullmatch(told.name) is None:
        raise WebhooksError(f"{where}: 'name' must be 1 to 64 of the characters A-Z a-z 0-9 . _ -")
    if (fault := _url_fault(told.url)) is not None:
        raise WebhooksError(f"{where}: 'url' {fault}")
    events = ENDS if told.events is None else frozenset(told.events)
    if unknown := sorted(events - _EVENTS):
        raise WebhooksError(
            f"{where}: there is no event {unknown[0]!r}; docs/log.md lists them all"
        )
    if not events:
        raise WebhooksError(f"{where}: 'events' is empty; leave it out for the ends of jobs")
    if not 0 <= told.give_up_hours <= 24 * 365:
        raise WebhooksError(f"{where}: 'give_up_hours' must be from 0 to 8760")
    return Webhook(told.name, told.url, secret, events, told.give_up_hours)


def _url_fault(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_right = False
    return None if is_right else "must be a URL with http:// or https:// and a host"
