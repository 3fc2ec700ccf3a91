"""Parsing the query parameters of lists, histories and streams, and `Last-Event-ID`.

Parameters that a route does not know are ignored. The first rule broken is a 400 that names it.
"""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, Final, NoReturn

import msgspec
from litestar import Request
from litestar.datastructures import MultiDict

from dispatcher.api.bodies import MAX_INTEGER
from dispatcher.api.errors import HttpError
from dispatcher.log.serialization import NAMES
from dispatcher.serving.listing import ListJobs
from dispatcher.serving.selection import Selection
from dispatcher.state.moments import MomentError, parse_time
from projections.filters import JobFilter, words_of
from projections.forecast import MOST_SHOWN
from projections.jobs import STATUSES
from projections.series import LONGEST_H

__all__ = [
    "DEFAULT_IDS",
    "DEFAULT_LIMIT",
    "MAX_LIMIT",
    "MAX_TEXT",
    "MOST_IDS",
    "Slice",
    "cursor",
    "filtered",
    "flag",
    "hours",
    "ids",
    "listing",
    "one_page",
    "only",
    "part",
    "shown_waiting",
]

DEFAULT_LIMIT: Final = 1_000
MAX_LIMIT: Final = 10_000
DEFAULT_HOURS: Final = 24
DEFAULT_SHOWN: Final = 200
DEFAULT_IDS: Final = 10
MOST_IDS: Final = 1_000
MAX_TEXT: Final = 200
"""Characters of a search."""

_INTEGER: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_TYPES: Final = frozenset(NAMES.values())
_FILTERS: Final = frozenset({"status", "codec", "engine", "text", "since", "until", "parent"})


class Slice(msgspec.Struct, frozen=True):
    """The selected events after a seq, at most `limit` of them."""

    selection: Selection
    after: int
    limit: int | None


def listing(query: Mapping[str, str]) -> ListJobs:
    """Parse the query of a list of jobs."""
    statuses = query.get("status")
    wanted = JobFilter(
        frozenset() if statuses is None else frozenset(map(_status, statuses.split(","))),
        query.get("codec"),
        query.get("engine"),
        _words(query.get("text", "")),
        _time(query, "since"),
        _time(query, "until"),
        query.get("parent"),
    )
    if (order := query.get("order", "oldest")) not in {"oldest", "newest"}:
        _bad("'order' must be 'oldest' or 'newest'.")
    return ListJobs(wanted, order == "newest", _limit(query), query.get("after"), dict(query))


def _status(text: str) -> str:
    if text not in STATUSES:
        _bad(f"'status' must be one of {', '.join(map(repr, sorted(STATUSES)))}.")
    return text


def _words(text: str) -> tuple[str, ...]:
    if len(text) > MAX_TEXT:
        _bad(f"'text' must be at most {MAX_TEXT} characters.")
    return words_of(text)


def _time(query: Mapping[str, str], name: str) -> datetime | None:
    if (text := query.get(name)) is None:
        return None
    try:
        return parse_time(text)
    except MomentError as error:
        _bad(f"'{name}' {error}.")


def only(query: MultiDict[Any], known: AbstractSet[str]) -> None:
    """Refuse parameters that are not known, and those that are given twice.

    Where many jobs are changed, a misspelt word must not mean all of them.
    """
    if unknown := set(query) - known:
        _bad(f"there is no parameter '{min(unknown)}' here, only {', '.join(sorted(known))}.")
    if twice := [name for name in known if len(query.getall(name, [])) > 1]:
        _bad(f"'{min(twice)}' is given twice.")


def filtered(query: MultiDict[Any]) -> ListJobs:
    """Parse the filters of what is to be done with many jobs.

    There must be one, and no parameter that is unknown: it may be a filter that is misspelt.
    """
    only(query, _FILTERS | {"order", "limit", "after", "dry_run"})
    if not _FILTERS & set(query):
        _bad(f"it needs one of {', '.join(map(repr, sorted(_FILTERS)))}, not to be for every job.")
    if "text" in query and not words_of(query["text"]):
        _bad("'text' must have a word.")
    return listing(query)


def part(query: Mapping[str, str], *, job: str | None = None, engine: str | None = None) -> Slice:
    """Parse the query of the history of one job or engine."""
    selection = Selection(_type(query), job, engine)
    return Slice(selection, _integer("after", query.get("after"), 0), _limit(query))


def one_page(query: Mapping[str, str]) -> tuple[Slice, int]:
    """Parse the query of a list of events. Also returns its limit, which is never `None`."""
    limit = _limit(query) or DEFAULT_LIMIT
    if limit > MAX_LIMIT:
        _bad(f"'limit' must be at most {MAX_LIMIT}.")
    return Slice(selection(query), _integer("after", query.get("after"), 0), limit), limit


def selection(query: Mapping[str, str]) -> Selection:
    """Parse the filter for events."""
    return Selection(_type(query), query.get("job"), query.get("engine"))


def cursor(request: Request[Any, Any, Any], head: int) -> int | None:
    """Return the seq after which a stream begins: `Last-Event-ID`, else `after`, else `None`."""
    name, text = "Last-Event-ID", request.headers.get("Last-Event-ID")
    if not text:
        name, text = "after", request.query_params.get("after")
    if text is None:
        return None
    after = _integer(name, text)
    if after > head:
        _bad(f"'{name}' must be at most {head}, the log's last seq; it is of another log.")
    return after


def hours(query: Mapping[str, str]) -> int:
    """Parse how many hours back a series reaches."""
    number = _positive("hours", query.get("hours"), DEFAULT_HOURS)
    if number > LONGEST_H:
        _bad(f"'hours' must be at most {LONGEST_H}.")
    return number


def shown_waiting(query: Mapping[str, str]) -> int:
    """Parse how many of the jobs that wait a forecast shows."""
    number = _positive("limit", query.get("limit"), DEFAULT_SHOWN)
    if number > MOST_SHOWN:
        _bad(f"'limit' must be at most {MOST_SHOWN}.")
    return number


def ids(query: Mapping[str, str]) -> tuple[str, int]:
    """Parse the prefix of the ids to list, and how many at most."""
    if not (prefix := query.get("prefix")):
        _bad("'prefix' is missing or empty.")
    if len(prefix) > MAX_TEXT:
        _bad(f"'prefix' must be at most {MAX_TEXT} characters.")
    number = _positive("limit", query.get("limit"), DEFAULT_IDS)
    if number > MOST_IDS:
        _bad(f"'limit' must be at most {MOST_IDS}.")
    return prefix, number


def flag(query: Mapping[str, str], name: str) -> bool:
    """Parse a parameter that is `true` or `false`, and `false` if it is missing."""
    if (text := query.get(name, "false")) not in {"true", "false"}:
        _bad(f"'{name}' must be 'true' or 'false'.")
    return text == "true"


def _type(query: Mapping[str, str]) -> str | None:
    found = query.get("type")
    if found is not None and found not in _TYPES:
        _bad(f"'type' must be one of {', '.join(map(repr, sorted(_TYPES)))}.")
    return found


def _limit(query: Mapping[str, str]) -> int | None:
    text = query.get("limit")
    return None if text is None else _positive("limit", text, 0)


def _positive(name: str, text: str | None, default: int) -> int:
    if text is None:
        return default
    number = int(text) if _INTEGER.fullmatch(text) else _bad(f"'{name}' must be an integer.")
    if not 0 < number <= MAX_INTEGER:
        _bad(f"'{name}' must be a positive integer.")
    return number


def _integer(name: str, text: str | None, default: int = 0) -> int:
    if text is None:
        return default
    if not _INTEGER.fullmatch(text) or int(text) > MAX_INTEGER:
        _bad(f"'{name}' must be an integer.")
    if (number := int(text)) < 0:
        _bad(f"'{name}' must be a non-negative integer.")
    return number


def _bad(text: str) -> NoReturn:
    raise HttpError(400, f"Bad Request: {text}")
