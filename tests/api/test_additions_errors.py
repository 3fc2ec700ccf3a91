"""Every error of what this project adds to the protocol: its status, its text, no trace.

One dispatcher serves this whole module, which is fair since nothing refused leaves a trace.
"""

from typing import Any, Final

import httpx2
import pytest

from tests.support.farm import JOB, Farm

pytestmark = pytest.mark.anyio

SUBMIT: Final = ("POST", "/jobs/")
BEAT: Final = ("POST", "/engines/heartbeat")
COMPLETE: Final = ("POST", "/jobs/{pending}/complete")
FAIL: Final = ("POST", "/jobs/{pending}/fail")
ASSIGN: Final = ("POST", "/assign_job/")

PRIORITY_INTEGER: Final = "Bad Request: 'priority' must be an integer."
PRIORITY_NEGATIVE: Final = "Bad Request: 'priority' must be a non-negative integer."
PRIORITY_MOST: Final = "Bad Request: 'priority' must be at most 100."
RETRIES_NEGATIVE: Final = "Bad Request: 'max_retries' must be a non-negative integer."
ENGINE_ID_STRING: Final = "Bad Request: 'engine_id' must be a string."
ATTEMPT_INTEGER: Final = "Bad Request: 'attempt' must be an integer."
ATTEMPT_NEGATIVE: Final = "Bad Request: 'attempt' must be a non-negative integer."
INSTANCE_STRING: Final = "Bad Request: 'instance' must be a string."
CURRENT_JOB_STRING: Final = "Bad Request: 'current_job' must be a string."
PROGRESS_NUMBER: Final = "Bad Request: 'progress' must be a number."
PROGRESS_NEGATIVE: Final = "Bad Request: 'progress' must be a non-negative number."
PROGRESS_MOST: Final = "Bad Request: 'progress' must be at most 100."
WAIT_NUMBER: Final = "Bad Request: 'wait_s' must be a number."
WAIT_NEGATIVE: Final = "Bad Request: 'wait_s' must be a non-negative number."
WAIT_MOST: Final = "Bad Request: 'wait_s' must be at most 60."
LIMIT_INTEGER: Final = "Bad Request: 'limit' must be an integer."
LIMIT_POSITIVE: Final = "Bad Request: 'limit' must be a positive integer."
HOURS_INTEGER: Final = "Bad Request: 'hours' must be an integer."
HOURS_POSITIVE: Final = "Bad Request: 'hours' must be a positive integer."
HOURS_MOST: Final = "Bad Request: 'hours' must be at most 87840."
SHOWN_MOST: Final = "Bad Request: 'limit' must be at most 1000."
AFTER_JOB: Final = "Bad Request: 'after' must be the id of a job."
STATUS_ONE_OF: Final = (
    "Bad Request: 'status' must be one of "
    "'assigned', 'cancelled', 'completed', 'failed_permanently', 'pending'."
)
IS_FINAL: Final = "Bad Request: Job is already in a final state."
NOT_RETRYABLE: Final = "Bad Request: Job is neither failed nor cancelled."
NO_JOB: Final = "Job not found"
NO_ENGINE: Final = "Engine not found"

NO_INTEGERS: Final = ["1.5", "3.0", '"3"', "true", "null", "[1]", "9223372036854775808"]
NO_NUMBERS: Final = ['"3"', "true", "null", "[1]", "{}"]
NO_STRINGS: Final = ["7", "null", "true", '["e"]', "{}"]


def job_with(field: str) -> str:
    return f'{{"source_url":"u","target_codec":"c",{field}}}'


ERRORS: Final[list[tuple[tuple[str, str], str, int, str]]] = [
    # Submission
    *((SUBMIT, job_with(f'"priority":{bad}'), 400, PRIORITY_INTEGER) for bad in NO_INTEGERS),
    (SUBMIT, job_with('"priority":-1'), 400, PRIORITY_NEGATIVE),
    (SUBMIT, job_with('"priority":101'), 400, PRIORITY_MOST),
    (SUBMIT, job_with('"priority":9223372036854775807'), 400, PRIORITY_MOST),
    (SUBMIT, job_with('"priority":"x","max_retries":-1'), 400, RETRIES_NEGATIVE),
    # Heartbeat
    *(
        (BEAT, f'{{"engine_id":"new","instance":{bad}}}', 400, INSTANCE_STRING)
        for bad in NO_STRINGS
    ),
    *(
        (BEAT, f'{{"engine_id":"new","current_job":{bad}}}', 400, CURRENT_JOB_STRING)
        for bad in NO_STRINGS
    ),
    *(
        (BEAT, f'{{"engine_id":"new","attempt":{bad}}}', 400, ATTEMPT_INTEGER)
        for bad in NO_INTEGERS
    ),
    (BEAT, '{"engine_id":"new","attempt":-1}', 400, ATTEMPT_NEGATIVE),
    *(
        (BEAT, f'{{"engine_id":"new","progress":{bad}}}', 400, PROGRESS_NUMBER)
        for bad in NO_NUMBERS
    ),
    (BEAT, '{"engine_id":"new","progress":-0.1}', 400, PROGRESS_NEGATIVE),
    (BEAT, '{"engine_id":"new","progress":100.1}', 400, PROGRESS_MOST),
    # Completion and failure
    *(
        (COMPLETE, f'{{"output_url":"o","engine_id":{bad}}}', 400, ENGINE_ID_STRING)
        for bad in NO_STRINGS
    ),
    *(
        (COMPLETE, f'{{"output_url":"o","attempt":{bad}}}', 400, ATTEMPT_INTEGER)
        for bad in NO_INTEGERS
    ),
    (COMPLETE, '{"output_url":"o","attempt":-1}', 400, ATTEMPT_NEGATIVE),
    *(
        (FAIL, f'{{"error_message":"m","engine_id":{bad}}}', 400, ENGINE_ID_STRING)
        for bad in NO_STRINGS
    ),
    *(
        (FAIL, f'{{"error_message":"m","attempt":{bad}}}', 400, ATTEMPT_INTEGER)
        for bad in NO_INTEGERS
    ),
    (FAIL, '{"error_message":"m","attempt":-1}', 400, ATTEMPT_NEGATIVE),
    # Assignment
    *((ASSIGN, f'{{"engine_id":"known","wait_s":{bad}}}', 400, WAIT_NUMBER) for bad in NO_NUMBERS),
    (ASSIGN, '{"engine_id":"known","wait_s":-1}', 400, WAIT_NEGATIVE),
    (ASSIGN, '{"engine_id":"known","wait_s":60.1}', 400, WAIT_MOST),
    (ASSIGN, '{"wait_s":61}', 400, WAIT_MOST),
    (ASSIGN, '{"engine_id":"ghost","wait_s":60}', 404, NO_ENGINE),
    # Listing
    (("GET", "/jobs/?status=running"), "", 400, STATUS_ONE_OF),
    (("GET", "/jobs/?status="), "", 400, STATUS_ONE_OF),
    (("GET", "/jobs/?status=x&limit=x"), "", 400, STATUS_ONE_OF),
    *(
        ((("GET", f"/jobs/?limit={bad}"), "", 400, LIMIT_INTEGER))
        for bad in ("x", "", "1.5", "1e3", "0x1", "%D9%A3", "9" * 40)
    ),
    (("GET", "/jobs/?limit=0"), "", 400, LIMIT_POSITIVE),
    (("GET", "/jobs/?limit=-1"), "", 400, LIMIT_POSITIVE),
    (("GET", "/jobs/?after=unknown"), "", 400, AFTER_JOB),
    (("GET", "/jobs/?after="), "", 400, AFTER_JOB),
    # Statistics
    *(
        ((("GET", f"/statistics/series?hours={bad}"), "", 400, HOURS_INTEGER))
        for bad in ("x", "", "1.5", "%D9%A3", "9" * 40)
    ),
    (("GET", "/statistics/series?hours=0"), "", 400, HOURS_POSITIVE),
    (("GET", "/statistics/series?hours=-1"), "", 400, HOURS_POSITIVE),
    (("GET", "/statistics/series?hours=87841"), "", 400, HOURS_MOST),
    (("GET", "/statistics/series?hours=x&as_of=1"), "", 400, HOURS_INTEGER),
    (("GET", "/statistics/forecast?limit=x"), "", 400, LIMIT_INTEGER),
    (("GET", "/statistics/forecast?limit=0"), "", 400, LIMIT_POSITIVE),
    (("GET", "/statistics/forecast?limit=1001"), "", 400, SHOWN_MOST),
    # What there is not, and what can't be had
    (("DELETE", "/jobs/unknown"), "", 404, NO_JOB),
    (("POST", "/jobs/unknown/retry"), "", 404, NO_JOB),
    (("GET", "/jobs/unknown/why"), "", 404, NO_JOB),
    (("DELETE", "/engines/ghost"), "", 404, NO_ENGINE),
    (("POST", "/engines/ghost/drain"), "", 404, NO_ENGINE),
    (("POST", "/engines/ghost/resume"), "", 404, NO_ENGINE),
    (("DELETE", "/jobs/{done}"), "", 400, IS_FINAL),
    (("DELETE", "/jobs/{lost}"), "", 400, IS_FINAL),
    (("POST", "/jobs/{pending}/retry"), "", 400, NOT_RETRYABLE),
    (("POST", "/jobs/{done}/retry"), "", 400, NOT_RETRYABLE),
]


@pytest.mark.parametrize(("route", "body", "status", "text"), ERRORS)
async def test_an_error_has_its_status_and_text_and_leaves_no_trace(
    farm: Farm, route: tuple[str, str], body: str, status: int, text: str
) -> None:
    before = await farm.shown()
    response = await farm.ask(*route, body)
    assert (response.status_code, response.text) == (status, text)
    assert response.headers["content-type"].startswith("text/plain")
    assert await farm.shown() == before


async def test_a_key_of_over_255_characters_is_refused_and_leaves_no_trace(farm: Farm) -> None:
    before = await farm.shown()
    response = await farm.ask(*SUBMIT, job_with('"n":1'), Idempotency_Key="k" * 256)
    assert (response.status_code, response.text) == (
        400,
        "Bad Request: 'Idempotency-Key' must be at most 255 characters.",
    )
    assert await farm.shown() == before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/jobs/", JOB | {"priority": 0}),
        ("/jobs/", JOB | {"priority": 100}),
        ("/engines/heartbeat", {"engine_id": "known", "progress": 0}),
        ("/engines/heartbeat", {"engine_id": "known", "progress": 100.0, "attempt": 0}),
        ("/assign_job/", {"engine_id": "known", "wait_s": 0}),
        ("/assign_job/", {"engine_id": "known", "wait_s": 60, "resume": True}),
    ],
)
async def test_the_ends_of_a_range_belong_to_it(
    shared_client: httpx2.AsyncClient, farm: Farm, path: str, body: dict[str, Any]
) -> None:
    assert farm.jobs["pending"], "there is a job, so that nobody waits for one"
    assert (await shared_client.post(path, json=body)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/jobs/{pending}"),
        ("POST", "/jobs/{lost}/retry"),
        ("GET", "/jobs/{pending}/why"),
        ("GET", "/jobs/?limit=1"),
        ("DELETE", "/engines/known"),
        ("POST", "/engines/known/drain"),
        ("POST", "/engines/known/resume"),
    ],
)
async def test_a_new_route_needs_the_key_too(farm: Farm, method: str, path: str) -> None:
    before = await farm.shown()
    response = await farm.stranger.request(method, path.format(**farm.jobs))
    assert (response.status_code, response.text) == (
        401,
        "Unauthorized: Missing 'X-API-Key' header.",
    )
    assert await farm.shown() == before
