"""Every error of the protocol, over real HTTP: its status, its text, and that it leaves no trace.

One dispatcher serves this whole module, which is fair since nothing refused leaves a trace.
"""

from collections.abc import Mapping
from typing import Final

import pytest

from tests.support.farm import Farm
from tests.support.servers import KEY, events_in

pytestmark = pytest.mark.anyio

SUBMIT: Final = ("POST", "/jobs/")
BEAT: Final = ("POST", "/engines/heartbeat")
BENCHMARK: Final = ("POST", "/engines/benchmark_result")
COMPLETE: Final = ("POST", "/jobs/{pending}/complete")
FAIL: Final = ("POST", "/jobs/{pending}/fail")
ASSIGN: Final = ("POST", "/assign_job/")

NO_SOURCE: Final = "Bad Request: 'source_url' is missing or not a string."
NO_CODEC: Final = "Bad Request: 'target_codec' is missing or not a string."
SIZE_NUMBER: Final = "Bad Request: 'job_size' must be a number."
SIZE_NEGATIVE: Final = "Bad Request: 'job_size' must be a non-negative number."
RETRIES_INTEGER: Final = "Bad Request: 'max_retries' must be an integer."
RETRIES_NEGATIVE: Final = "Bad Request: 'max_retries' must be a non-negative integer."
NO_ENGINE_ID: Final = "Bad Request: 'engine_id' is missing."
ENGINE_ID_STRING: Final = "Bad Request: 'engine_id' must be a string."
STORAGE_NUMBER: Final = "Bad Request: 'storage_capacity_gb' must be a number."
STORAGE_NEGATIVE: Final = "Bad Request: 'storage_capacity_gb' must be a non-negative number."
STREAMING_BOOLEAN: Final = "Bad Request: 'streaming_support' must be a boolean."
TYPE_STRING: Final = "Bad Request: 'engine_type' must be a string."
CODECS_STRINGS: Final = "Bad Request: 'supported_codecs' must be an array of strings."
STATUS_ONE_OF: Final = "Bad Request: 'status' must be one of 'idle', 'busy'."
BENCHMARK_NUMBER: Final = "Bad Request: 'benchmark_time' must be a number."
BENCHMARK_NEGATIVE: Final = "Bad Request: 'benchmark_time' must be a non-negative number."
OUTPUT_STRING: Final = "Bad Request: 'output_url' must be a string."
NO_MESSAGE: Final = "Bad Request: 'error_message' is missing."
MESSAGE_STRING: Final = "Bad Request: 'error_message' must be a string."
RESUME_BOOLEAN: Final = "Bad Request: 'resume' must be a boolean."
IS_FINAL: Final = "Bad Request: Job is already in a final state."
NO_JOB: Final = "Job not found"
NO_ENGINE: Final = "Engine not found"

ERRORS: Final[list[tuple[tuple[str, str], str, int, str]]] = [
    # 1.1 Submission
    (SUBMIT, "{}", 400, NO_SOURCE),
    (SUBMIT, "[]", 400, NO_SOURCE),
    (SUBMIT, "null", 400, NO_SOURCE),
    (SUBMIT, "7", 400, NO_SOURCE),
    (SUBMIT, '"source_url"', 400, NO_SOURCE),
    (SUBMIT, '{"target_codec":"h264"}', 400, NO_SOURCE),
    (SUBMIT, '{"source_url":null,"target_codec":"h264"}', 400, NO_SOURCE),
    (SUBMIT, '{"source_url":7,"target_codec":"h264"}', 400, NO_SOURCE),
    (SUBMIT, '{"source_url":7,"target_codec":7,"job_size":"x"}', 400, NO_SOURCE),
    (SUBMIT, '{"source_url":"u"}', 400, NO_CODEC),
    (SUBMIT, '{"source_url":"u","target_codec":null}', 400, NO_CODEC),
    (SUBMIT, '{"source_url":"u","target_codec":["h264"],"job_size":"x"}', 400, NO_CODEC),
    (SUBMIT, '{"source_url":"u","target_codec":"c","job_size":"5"}', 400, SIZE_NUMBER),
    (SUBMIT, '{"source_url":"u","target_codec":"c","job_size":true}', 400, SIZE_NUMBER),
    (SUBMIT, '{"source_url":"u","target_codec":"c","job_size":null}', 400, SIZE_NUMBER),
    (SUBMIT, '{"source_url":"u","target_codec":"c","job_size":[5]}', 400, SIZE_NUMBER),
    (SUBMIT, '{"source_url":"u","target_codec":"c","job_size":-0.01}', 400, SIZE_NEGATIVE),
    (SUBMIT, '{"source_url":"u","target_codec":"c","job_size":-1}', 400, SIZE_NEGATIVE),
    (
        SUBMIT,
        '{"source_url":"u","target_codec":"c","job_size":-1,"max_retries":"x"}',
        400,
        SIZE_NEGATIVE,
    ),
    (SUBMIT, '{"source_url":"u","target_codec":"c","max_retries":1.5}', 400, RETRIES_INTEGER),
    (SUBMIT, '{"source_url":"u","target_codec":"c","max_retries":3.0}', 400, RETRIES_INTEGER),
    (SUBMIT, '{"source_url":"u","target_codec":"c","max_retries":"3"}', 400, RETRIES_INTEGER),
    (SUBMIT, '{"source_url":"u","target_codec":"c","max_retries":true}', 400, RETRIES_INTEGER),
    (SUBMIT, '{"source_url":"u","target_codec":"c","max_retries":null}', 400, RETRIES_INTEGER),
    (
        SUBMIT,
        '{"source_url":"u","target_codec":"c","max_retries":9223372036854775808}',
        400,
        RETRIES_INTEGER,
    ),
    (SUBMIT, '{"source_url":"u","target_codec":"c","max_retries":-1}', 400, RETRIES_NEGATIVE),
    # 1.2 Status
    (("GET", "/jobs/unknown"), "", 404, NO_JOB),
    # 2.1 Heartbeat
    (BEAT, "{}", 400, NO_ENGINE_ID),
    (BEAT, "[]", 400, NO_ENGINE_ID),
    (BEAT, "null", 400, NO_ENGINE_ID),
    (BEAT, '{"storage_capacity_gb":"x"}', 400, NO_ENGINE_ID),
    (BEAT, '{"engine_id":7}', 400, ENGINE_ID_STRING),
    (BEAT, '{"engine_id":null}', 400, ENGINE_ID_STRING),
    (BEAT, '{"engine_id":7,"storage_capacity_gb":"x"}', 400, ENGINE_ID_STRING),
    (BEAT, '{"engine_id":"new","storage_capacity_gb":"500"}', 400, STORAGE_NUMBER),
    (BEAT, '{"engine_id":"new","storage_capacity_gb":null}', 400, STORAGE_NUMBER),
    (BEAT, '{"engine_id":"new","storage_capacity_gb":true}', 400, STORAGE_NUMBER),
    (BEAT, '{"engine_id":"new","storage_capacity_gb":-1}', 400, STORAGE_NEGATIVE),
    (
        BEAT,
        '{"streaming_support":1,"storage_capacity_gb":-1,"engine_id":"new"}',
        400,
        STORAGE_NEGATIVE,
    ),
    (BEAT, '{"engine_id":"new","streaming_support":1}', 400, STREAMING_BOOLEAN),
    (BEAT, '{"engine_id":"new","streaming_support":"true"}', 400, STREAMING_BOOLEAN),
    (BEAT, '{"engine_id":"new","streaming_support":null}', 400, STREAMING_BOOLEAN),
    (BEAT, '{"engine_id":"new","engine_type":7}', 400, TYPE_STRING),
    (BEAT, '{"engine_id":"new","engine_type":null}', 400, TYPE_STRING),
    (BEAT, '{"engine_id":"new","supported_codecs":"h264"}', 400, CODECS_STRINGS),
    (BEAT, '{"engine_id":"new","supported_codecs":["h264",7]}', 400, CODECS_STRINGS),
    (BEAT, '{"engine_id":"new","supported_codecs":{"h264":1}}', 400, CODECS_STRINGS),
    (BEAT, '{"engine_id":"new","supported_codecs":null}', 400, CODECS_STRINGS),
    (BEAT, '{"engine_id":"new","status":"sleeping"}', 400, STATUS_ONE_OF),
    (BEAT, '{"engine_id":"new","status":""}', 400, STATUS_ONE_OF),
    (BEAT, '{"engine_id":"new","status":["idle"]}', 400, STATUS_ONE_OF),
    (BEAT, '{"engine_id":"new","status":null}', 400, STATUS_ONE_OF),
    (BEAT, '{"engine_id":"new","benchmark_time":"fast"}', 400, BENCHMARK_NUMBER),
    (BEAT, '{"engine_id":"new","benchmark_time":false}', 400, BENCHMARK_NUMBER),
    (BEAT, '{"engine_id":"new","benchmark_time":null}', 400, BENCHMARK_NUMBER),
    (BEAT, '{"engine_id":"new","benchmark_time":-0.5}', 400, BENCHMARK_NEGATIVE),
    (BEAT, '{"engine_id":"known","hostname":"changed","status":"off"}', 400, STATUS_ONE_OF),
    # Benchmark result
    (BENCHMARK, "{}", 400, NO_ENGINE_ID),
    (BENCHMARK, '{"engine_id":7}', 400, ENGINE_ID_STRING),
    (BENCHMARK, '{"engine_id":"ghost","benchmark_time":1}', 404, NO_ENGINE),
    (BENCHMARK, '{"engine_id":"ghost","benchmark_time":"x"}', 404, NO_ENGINE),
    (BENCHMARK, '{"engine_id":"known"}', 400, BENCHMARK_NUMBER),
    (BENCHMARK, '{"engine_id":"known","benchmark_time":null}', 400, BENCHMARK_NUMBER),
    (BENCHMARK, '{"engine_id":"known","benchmark_time":true}', 400, BENCHMARK_NUMBER),
    (BENCHMARK, '{"engine_id":"known","benchmark_time":-1}', 400, BENCHMARK_NEGATIVE),
    # 2.3 Completion
    (("POST", "/jobs/unknown/complete"), '{"output_url":"o"}', 404, NO_JOB),
    (("POST", "/jobs/unknown/complete"), "{}", 404, NO_JOB),
    (("POST", "/jobs/unknown/complete"), "not json", 404, NO_JOB),
    (COMPLETE, "{}", 400, OUTPUT_STRING),
    (COMPLETE, "[]", 400, OUTPUT_STRING),
    (COMPLETE, '{"output_url":null}', 400, OUTPUT_STRING),
    (COMPLETE, '{"output_url":7}', 400, OUTPUT_STRING),
    (("POST", "/jobs/{done}/complete"), '{"output_url":"another"}', 400, IS_FINAL),
    (("POST", "/jobs/{lost}/complete"), '{"output_url":"o"}', 400, IS_FINAL),
    (("POST", "/jobs/{lost}/complete"), '{"output_url":7}', 400, OUTPUT_STRING),
    # 2.4 Failure
    (FAIL, "{}", 400, NO_MESSAGE),
    (FAIL, "[]", 400, NO_MESSAGE),
    (FAIL, '{"error_message":null}', 400, MESSAGE_STRING),
    (FAIL, '{"error_message":["x"]}', 400, MESSAGE_STRING),
    (("POST", "/jobs/unknown/fail"), "{}", 400, NO_MESSAGE),
    (("POST", "/jobs/unknown/fail"), '{"error_message":7}', 400, MESSAGE_STRING),
    (("POST", "/jobs/unknown/fail"), '{"error_message":"m"}', 404, NO_JOB),
    (("POST", "/jobs/{done}/fail"), '{"error_message":"m"}', 400, IS_FINAL),
    (("POST", "/jobs/{lost}/fail"), '{"error_message":"m"}', 400, IS_FINAL),
    # 2.5 Assignment
    (ASSIGN, '{"engine_id":7}', 400, ENGINE_ID_STRING),
    (ASSIGN, '{"engine_id":null}', 400, ENGINE_ID_STRING),
    (ASSIGN, "[]", 400, ENGINE_ID_STRING),
    (ASSIGN, "null", 400, ENGINE_ID_STRING),
    (ASSIGN, ' "known"', 400, ENGINE_ID_STRING),
    (ASSIGN, '{"engine_id":"ghost"}', 404, NO_ENGINE),
    (ASSIGN, '{"engine_id":"known","resume":1}', 400, RESUME_BOOLEAN),
    (ASSIGN, '{"engine_id":"known","resume":null}', 400, RESUME_BOOLEAN),
]

TAKES_JSON: Final = [SUBMIT, BEAT, BENCHMARK, COMPLETE, FAIL, ASSIGN]

INVALID_JSON: Final = [
    pytest.param(b"not json", id="words"),
    pytest.param(b"{", id="cut off"),
    pytest.param(b" ", id="a blank"),
    pytest.param(b"{'engine_id':'e'}", id="single quotes"),
    pytest.param(b'{"engine_id":"e",}', id="trailing comma"),
    pytest.param(b'{"engine_id":"e"} x', id="trailing text"),
    pytest.param(b'{"engine_id":"e"}{}', id="two objects"),
    pytest.param(b'{"engine_id":NaN}', id="NaN"),
    pytest.param(b'{"engine_id":-Infinity}', id="infinity"),
    pytest.param(b'{"engine_id":1e400}', id="a number beyond a double"),
    pytest.param(b'{"engine_id":"\xff"}', id="invalid UTF-8"),
    pytest.param(b'{"\xff":1}', id="invalid UTF-8 in a name"),
    pytest.param(b'{"engine_id":"\xed\xa0\x80"}', id="a surrogate in UTF-8"),
    pytest.param(rb'{"engine_id":"\ud800"}', id="a lone surrogate"),
    pytest.param(rb'{"engine_id":"\udc00 x"}', id="a lone low surrogate"),
    pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
    pytest.param(b"[" * 5000 + b"]" * 5000, id="5,000 deep array"),
    pytest.param(b'{"a":' * 5000 + b"1" + b"}" * 5000, id="5,000 deep object"),
    pytest.param(b"[" * 200_000, id="200,000 deep"),
    pytest.param(b'{"engine_id":' + b"9" * 5000 + b"}", id="5,000 digits"),
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


@pytest.mark.parametrize("route", TAKES_JSON)
@pytest.mark.parametrize("body", INVALID_JSON)
async def test_invalid_json_is_told_with_details_and_leaves_no_trace(
    farm: Farm, route: tuple[str, str], body: bytes
) -> None:
    before = await farm.shown()
    response = await farm.ask(*route, body)
    assert response.status_code == 400
    said, _, details = response.text.partition(": ")
    assert said == "Invalid JSON"
    assert details
    assert response.headers["content-type"].startswith("text/plain")
    assert await farm.shown() == before


@pytest.mark.parametrize("route", [SUBMIT, BEAT, BENCHMARK, COMPLETE, FAIL])
async def test_an_empty_body_is_invalid_json_where_a_field_is_required(
    farm: Farm, route: tuple[str, str]
) -> None:
    response = await farm.ask(*route, "")
    assert response.status_code == 400
    assert response.text.startswith("Invalid JSON: ")


# Auth


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({}, "Unauthorized: Missing 'X-API-Key' header."),
        ({"X-API-Key": ""}, "Unauthorized: Missing 'X-API-Key' header."),
        ({"X-API-Key": "wrong"}, "Unauthorized"),
        ({"X-API-Key": KEY.upper()}, "Unauthorized"),
        ({"X-API-Key": KEY + "x"}, "Unauthorized"),
        ({b"X-API-Key": "ключ".encode()}, "Unauthorized"),
        ({"Authorization": f"Bearer {KEY}"}, "Unauthorized: Missing 'X-API-Key' header."),
    ],
)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/jobs/", b""),
        ("GET", "/jobs/unknown", b""),
        ("GET", "/engines/", b""),
        ("POST", "/jobs/", b'{"source_url":"u","target_codec":"c"}'),
        ("POST", "/jobs/", b"not json"),
        ("POST", "/jobs/", b"x" * (2 << 20)),
        ("POST", "/jobs/unknown/complete", b"{}"),
        ("POST", "/engines/heartbeat", b'{"engine_id":"new"}'),
        ("POST", "/assign_job/", b""),
        ("GET", "/no/such/route", b""),
        ("DELETE", "/jobs/", b""),
        ("OPTIONS", "/jobs/", b""),
        ("GET", "/schema", b""),
        ("GET", "/schema/openapi.yaml", b""),
        ("POST", "/", b""),
        ("GET", "/health/more", b""),
        ("GET", "/jobs/%2e%2e/health", b""),
    ],
)
async def test_auth_comes_before_everything_else(
    farm: Farm,
    method: str,
    path: str,
    body: bytes,
    headers: Mapping[str, str] | Mapping[bytes, bytes],
    text: str,
) -> None:
    before = events_in(farm.server.db)
    response = await farm.stranger.request(method, path, content=body, headers=headers)
    assert (response.status_code, response.text) == (401, text)
    assert response.headers["content-type"].startswith("text/plain")
    assert events_in(farm.server.db) == before


async def test_the_root_answers_without_a_key_as_the_health_check_of_an_engine_expects(
    farm: Farm,
) -> None:
    for caller in (farm.stranger, farm.http):
        response = await caller.get("/")
        assert response.status_code == 200
        assert response.text.startswith("This is a transcoding dispatcher.")


@pytest.mark.parametrize("path", ["/health", "/health/"])
async def test_health_needs_no_key(farm: Farm, path: str) -> None:
    response = await farm.stranger.get(path)
    assert response.status_code == 200
    seq = len(events_in(farm.server.db))
    assert response.json() == {"status": "ok", "seq": seq, "fault": None}
