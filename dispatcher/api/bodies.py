"""Parsing request bodies into commands, by the protocol's own rules.

Litestar's typed `data` would turn "5" into 5 and true into 1, and it has its own error texts. Here
the rules are checked in the order of protocol.md, and the first one broken is reported in the words
of protocol.md. Each function returns a command or raises `HttpError` 400.
"""

import math
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final, NoReturn

import msgspec

from dispatcher import store_urls
from dispatcher.api.errors import HttpError
from dispatcher.core.commands import (
    AssignJob,
    CompleteJob,
    FailJob,
    ReportBenchmark,
    ReportedCause,
    ReportHeartbeat,
    SubmitJob,
)
from dispatcher.output_names import template_fault
from dispatcher.recipes import RECIPES, Recipe, RecipeError, check, recipe_of
from dispatcher.results import ResultError, result_of
from dispatcher.segments import Plan, PlanError, plan_of
from dispatcher.serving.callbacks import Callbacks
from dispatcher.tags import abilities_of, tag_fault

__all__ = [
    "CAUSES",
    "MAX_AFTER",
    "MAX_INTEGER",
    "MAX_KEY",
    "MAX_NAME",
    "MAX_PERCENT",
    "MAX_PRIORITY",
    "MAX_URL",
    "MAX_WAIT_S",
    "assignment",
    "benchmark",
    "completion",
    "engine_id_of",
    "failure",
    "heartbeat",
    "json_object",
    "needs_of",
    "new_priority",
    "plan",
    "sign_in_token",
    "submission",
    "submission_of_batch",
]

MAX_INTEGER: Final = 2**63 - 1
"""The largest integer that SQLite's JSON functions, and most languages, can hold."""
MAX_PRIORITY: Final = 100
MAX_WAIT_S: Final = 60
MAX_KEY: Final = 255
MAX_URL: Final = 65_536
"""Characters. A URL with a signature has some thousands; browsers take about so many."""
MAX_NAME: Final = 4_096
"""Characters of an engine's id or a codec."""
MAX_PERCENT: Final = 100.0
MAX_AFTER: Final = 100
"""Jobs that one can wait for."""
MAX_SHOWN: Final = 64
"""Characters of a text in an error."""
NO_RECIPES: Final[Mapping[str, Recipe]] = {}
NO_RECIPES_YET: Final = (
    "this dispatcher has none. Give the recipe's fields as an object, or have its operator name a "
    "file of recipes with `serve --recipes FILE`"
)
MAX_LISTED: Final = 20
"""Names of recipes in an error."""
MAX_DEPTH: Final = 64
"""How deep the fields that an engine adds may nest; SQLite's JSON functions have a limit too."""

CAUSES: Final[dict[str, ReportedCause]] = {
    "source_bad": "source_bad",
    "source_away": "source_away",
    "engine": "engine_at_fault",
    "inexact": "inexact",
    "unknown": "reported",
}
"""What an engine can say of the cause of a failure, and the cause that is recorded."""

_decoder = msgspec.json.Decoder()


def json_object(body: bytes) -> dict[str, Any]:
    """Parse a body. JSON that is not an object counts as an empty one: it has no fields."""
    if not body:
        raise HttpError(400, "Invalid JSON: the body is empty")
    try:
        value = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HttpError(400, f"Invalid JSON: {error}") from error
    except RecursionError as error:
        raise HttpError(400, "Invalid JSON: nested too deeply") from error
    return value if isinstance(value, dict) else {}


def submission(
    body: bytes,
    key: bytes | None = None,
    recipes: Mapping[str, Recipe] = NO_RECIPES,
    callbacks: Callbacks | None = None,
) -> SubmitJob:
    """Parse protocol.md 1.1, with the header `Idempotency-Key` if there was one.

    A recipe may be one of `recipes`, by its name. A URL to call back is one that `callbacks`
    permit.
    """
    idempotency_key = _idempotency_key(key)
    return _submission(json_object(body), idempotency_key, recipes, callbacks)


def submission_of_batch(
    body: bytes,
    recipes: Mapping[str, Recipe] = NO_RECIPES,
    callbacks: Callbacks | None = None,
) -> SubmitJob:
    """Parse one of many submissions, which has its idempotency key in a field."""
    fields = json_object(body)
    key = fields.get("idempotency_key")
    if key is not None:
        if not isinstance(key, str):
            _bad("'idempotency_key' must be a string.")
        _limit(key, "idempotency_key", MAX_KEY)
    return _submission(fields, key or None, recipes, callbacks)


def _submission(
    fields: dict[str, Any],
    idempotency_key: str | None,
    recipes: Mapping[str, Recipe],
    callbacks: Callbacks | None,
) -> SubmitJob:
    for name in ("source_url", "target_codec"):
        if not isinstance(fields.get(name), str):
            _bad(f"'{name}' is missing or not a string.")
    _limit(fields["source_url"], "source_url", MAX_URL)
    is_stored = fields["source_url"].startswith(store_urls.PREFIX)
    if is_stored and store_urls.StoreUrl.parse(fields["source_url"]) is None:
        _bad(
            "'source_url' must have a SHA-256 after 'store:', 64 hexadecimal digits in lower case."
        )
    _limit(fields["target_codec"], "target_codec", MAX_NAME)
    job_size = _number(fields, "job_size") if "job_size" in fields else 0.0
    max_retries = _integer(fields, "max_retries") if "max_retries" in fields else 3
    priority = _priority(fields) if "priority" in fields else 0
    recipe = _recipe(fields, recipes) if "recipe" in fields else None
    output_name = _output_name(fields) if "output_name" in fields else None
    after = _after(fields["after"]) if "after" in fields else ()
    tags = _tags(fields["tags"]) if "tags" in fields else []
    callback_url = _callback_url(fields, callbacks) if "callback_url" in fields else None
    return SubmitJob(
        job_id=None,
        source_url=fields["source_url"],
        target_codec=fields["target_codec"],
        job_size=job_size,
        max_retries=max_retries,
        priority=priority,
        idempotency_key=idempotency_key,
        recipe=None if recipe is None else recipe.wire(),
        output_name=output_name,
        needs=needs_of(recipe, output_name, tags, is_stored=is_stored),
        after=after,
        callback_url=callback_url,
    )


def _after(ids: object) -> tuple[str, ...]:
    """Return the jobs that a job is to wait for, each once."""
    given = _strings(ids, "after", ", the ids of jobs")
    if len(given) > MAX_AFTER:
        _bad(f"'after' must have at most {MAX_AFTER} ids.")
    for job_id in given:
        _limit(job_id, "after", MAX_NAME)
    return tuple(dict.fromkeys(given))


def _recipe(fields: dict[str, Any], recipes: Mapping[str, Recipe]) -> Recipe | None:
    """Return the recipe that a submission gives or names; `None` if it says nothing."""
    asked, codec = fields["recipe"], fields["target_codec"]
    try:
        match asked:
            case str():
                recipe = _named(asked, recipes)
                check(recipe, codec)
            case dict():
                recipe = recipe_of(asked, codec)
            case _:
                _bad("'recipe' must be an object, or the name of one.")
    except RecipeError as error:
        _bad(f"recipe '{asked}': {error}." if isinstance(asked, str) else f"{error}.")
    return recipe if recipe.wire() else None


def _named(name: str, recipes: Mapping[str, Recipe]) -> Recipe:
    if name not in recipes:
        some = [*islice(recipes, MAX_LISTED)]
        more = "" if len(recipes) <= MAX_LISTED else f" and {len(recipes) - MAX_LISTED:,} more"
        known = f"there is {', '.join(some)}{more}" if recipes else NO_RECIPES_YET
        _bad(f"there is no recipe {name[:MAX_SHOWN]!r}; {known}.")
    return recipes[name]


def _output_name(fields: dict[str, Any]) -> str:
    template = _string(fields, "output_name")
    if (fault := template_fault(template)) is not None:
        _bad(f"'output_name' {fault}.")
    return template


def needs_of(
    recipe: Recipe | None, output_name: str | None, tags: list[str], *, is_stored: bool = False
) -> tuple[str, ...]:
    """Return what an engine must be able to do: one that knows recipes knows output names too."""
    if recipe is None and output_name is None and not tags and not is_stored:
        return ()  # nearly always
    needs = set[str]() if output_name is None else {RECIPES}
    if recipe is not None:
        needs = {*recipe.needs}
    if is_stored:
        needs.add(store_urls.ABILITY)
    return tuple(sorted(needs.union(abilities_of(tags))))


def _callback_url(fields: dict[str, Any], callbacks: Callbacks | None) -> str:
    url = _string(fields, "callback_url", MAX_URL)
    if callbacks is None:
        _bad("'callback_url' is not taken: this dispatcher runs without --callback-allow.")
    if (fault := callbacks.fault(url)) is not None:
        _bad(f"'callback_url' {fault}.")
    return url


def _tags(told: object) -> list[str]:
    tags = _strings(told, "tags")
    if (fault := tag_fault(tags)) is not None:
        _bad(f"'tags' {fault}.")
    return tags


def _priority(fields: dict[str, Any]) -> int:
    priority = _integer(fields, "priority")
    if priority > MAX_PRIORITY:
        _bad(f"'priority' must be at most {MAX_PRIORITY}.")
    return priority


def new_priority(body: bytes) -> int:
    """Parse the body that gives one or many jobs another priority."""
    fields = json_object(body)
    if "priority" not in fields:
        _bad("'priority' is missing.")
    return _priority(fields)


def sign_in_token(body: bytes) -> str:
    """Parse the body of `POST /sign_in/redeem`."""
    return _string(json_object(body), "token")


def heartbeat(body: bytes) -> ReportHeartbeat:
    """Parse protocol.md 2.1; fields that it does not name are kept as they are."""
    report = json_object(body)
    engine_id = engine_id_of(report)
    del report["engine_id"]
    if "storage_capacity_gb" in report:
        report["storage_capacity_gb"] = _number(report, "storage_capacity_gb")
    if not isinstance(report.get("streaming_support", False), bool):
        _bad("'streaming_support' must be a boolean.")
    if not isinstance(report.get("engine_type", ""), str):
        _bad("'engine_type' must be a string.")
    _strings(report.get("supported_codecs", []), "supported_codecs")
    _strings(report.get("abilities", []), "abilities")
    if report.get("status", "idle") not in ("idle", "busy"):
        _bad("'status' must be one of 'idle', 'busy'.")
    if "benchmark_time" in report:
        report["benchmark_time"] = _number(report, "benchmark_time")
    if "instance" in report:
        _string(report, "instance", MAX_NAME)
    current_job = _string(report, "current_job", MAX_NAME) if "current_job" in report else None
    attempt = _integer(report, "attempt") if "attempt" in report else None
    progress = _number(report, "progress") if "progress" in report else None
    if progress is not None and progress > MAX_PERCENT:
        _bad("'progress' must be at most 100.")
    if _depth_exceeds(report, MAX_DEPTH):
        raise HttpError(400, f"Invalid JSON: nested more than {MAX_DEPTH} deep")
    for job_field in ("current_job", "attempt", "progress"):
        report.pop(job_field, None)
    return ReportHeartbeat(engine_id, report, current_job, attempt, progress)


def engine_id_of(fields: dict[str, Any]) -> str:
    """Return the engine's id from a body that must have one."""
    if "engine_id" not in fields:
        _bad("'engine_id' is missing.")
    return _string(fields, "engine_id", MAX_NAME)


def benchmark(fields: dict[str, Any]) -> ReportBenchmark:
    """Parse the body of `POST /engines/benchmark_result`."""
    return ReportBenchmark(engine_id_of(fields), _number(fields, "benchmark_time"))


def completion(body: bytes, job_id: str) -> CompleteJob:
    """Parse protocol.md 2.3."""
    fields = json_object(body)
    output_url = _string(fields, "output_url", MAX_URL)
    sender = _sender(fields)
    result = _result(fields["result"]) if "result" in fields else None
    return CompleteJob(job_id, output_url, *sender, result=result)


def _result(told: object) -> dict[str, Any] | None:
    try:
        return result_of(told).wire() or None
    except ResultError as error:
        _bad(str(error))


def plan(body: bytes) -> tuple[Plan, str, int, str | None]:
    """Parse the body of `POST /jobs/{id}/split`: the plan, the engine, its attempt and instance."""
    fields = json_object(body)
    engine_id, attempt = engine_id_of(fields), _integer(fields, "attempt")
    _, _, instance = _sender(fields)
    try:
        made = plan_of({name: fields[name] for name in ("parts", "needs") if name in fields})
    except PlanError as error:
        _bad(f"{error}.")
    return made, engine_id, attempt, instance


def failure(body: bytes, job_id: str) -> FailJob:
    """Parse protocol.md 2.4."""
    fields = json_object(body)
    if "error_message" not in fields:
        _bad("'error_message' is missing.")
    error_message = _string(fields, "error_message")
    sender = _sender(fields)
    wire_cause = fields.get("cause", "unknown")
    if not isinstance(wire_cause, str) or (cause := CAUSES.get(wire_cause)) is None:
        _bad(f"'cause' must be one of {', '.join(map(repr, CAUSES))}.")
    if not isinstance(given_back := fields.get("given_back", False), bool):
        _bad("'given_back' must be a boolean.")
    if given_back and sender[0] is None:
        _bad("'given_back' needs 'engine_id': only its holder can give a job back.")
    return FailJob(job_id, error_message, *sender, "given_back" if given_back else cause)


def assignment(body: bytes) -> tuple[AssignJob, float]:
    """Parse protocol.md 2.5; an empty body asks for a job for any engine that fits.

    Also returns how many seconds to wait for a job if there is none.
    """
    if not body:
        return AssignJob(), 0
    fields = json_object(body)
    if "engine_id" in fields:
        _string(fields, "engine_id")
    elif body.lstrip()[:1] != b"{":
        _bad("'engine_id' must be a string.")
    if not isinstance(resume := fields.get("resume", False), bool):
        _bad("'resume' must be a boolean.")
    wait_s = _number(fields, "wait_s", 0.0)
    if wait_s > MAX_WAIT_S:
        _bad(f"'wait_s' must be at most {MAX_WAIT_S}.")
    instance = _string(fields, "instance", MAX_NAME) if "instance" in fields else None
    return AssignJob(fields.get("engine_id"), resume, instance), wait_s


def _sender(fields: dict[str, Any]) -> tuple[str | None, int | None, str | None]:
    """Return the engine, the attempt and the instance that a report names, or `None` for each."""
    return (
        _string(fields, "engine_id", MAX_NAME) if "engine_id" in fields else None,
        _integer(fields, "attempt") if "attempt" in fields else None,
        _string(fields, "instance", MAX_NAME) if "instance" in fields else None,
    )


def _integer(fields: dict[str, Any], name: str, default: int | None = None) -> int:
    value: Any = fields.get(name, default)
    if type(value) is not int or abs(value) > MAX_INTEGER:
        _bad(f"'{name}' must be an integer.")
    if value < 0:
        _bad(f"'{name}' must be a non-negative integer.")
    return int(value)


def _idempotency_key(header: bytes | None) -> str | None:
    """Parse the header `Idempotency-Key`; an empty one counts as none."""
    if not header:
        return None
    if len(header) > MAX_KEY:
        _bad(f"'Idempotency-Key' must be at most {MAX_KEY} characters.")
    return header.decode("latin-1")


def _bad(text: str) -> NoReturn:
    raise HttpError(400, f"Bad Request: {text}")


def _string(fields: dict[str, Any], name: str, at_most: int | None = None) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        _bad(f"'{name}' must be a string.")
    if at_most is not None:
        _limit(value, name, at_most)
    return value


def _strings(value: object, name: str, of: str = "") -> list[str]:
    if not isinstance(value, list) or not all(isinstance(it, str) for it in value):
        _bad(f"'{name}' must be an array of strings{of}.")
    return value


def _limit(value: str, name: str, at_most: int) -> None:
    """Refuse a text that identifies something and is too long. Free texts are cut by the core."""
    if len(value) > at_most:
        _bad(f"'{name}' must be at most {at_most} characters.")


def _number(fields: dict[str, Any], name: str, default: float | None = None) -> float:
    """Return a non-negative number. One beyond the range of a double is not a number."""
    value: Any = fields.get(name, default)
    if type(value) not in (int, float):  # a bool is an int to isinstance, but not in JSON
        _bad(f"'{name}' must be a number.")
    try:
        number = float(value)
    except OverflowError:
        _bad(f"'{name}' must be a number.")
    if number < 0:
        _bad(f"'{name}' must be a non-negative number.")
    return math.fabs(number)  # -0.0 is not negative, and reads as 0


def _depth_exceeds(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [
            child
            for parent in level
            for child in (
                parent.values()
                if isinstance(parent, dict)
                else parent
                if isinstance(parent, list)
                else ()
            )
        ]
        if not level:
            return False
    return True
