"""The edges of HTTP: sizes, paths, methods. Whatever comes, nothing is a 500."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.support.servers import KEY, Running, events_in

pytestmark = pytest.mark.anyio

MIB = 1 << 20
JOB = {"source_url": "http://media/in.mp4", "target_codec": "h264"}


def job_of(size: int) -> bytes:
    """Give a job whose body has exactly this many bytes."""
    empty = json.dumps(JOB | {"note": ""}).encode()
    return json.dumps(JOB | {"note": "x" * (size - len(empty))}).encode()


@pytest.mark.parametrize("path", ["/jobs/", "/engines/heartbeat", "/assign_job/"])
@pytest.mark.parametrize("size", [MIB + 1, 20 * MIB])
async def test_a_body_over_the_limit_is_413_and_leaves_no_trace(
    shared_client: httpx2.AsyncClient, shared_server: Running, path: str, size: int
) -> None:
    before = events_in(shared_server.db)
    response = await shared_client.post(path, content=job_of(size))
    assert (response.status_code, response.text) == (
        413,
        "Request Entity Too Large: the body is over the server's limit",
    )
    assert response.headers["content-type"].startswith("text/plain")
    assert events_in(shared_server.db) == before


async def test_a_body_over_the_limit_that_comes_in_chunks_is_413(
    shared_client: httpx2.AsyncClient, shared_server: Running
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * (MIB // 16)

    before = events_in(shared_server.db)
    response = await shared_client.post("/jobs/", content=chunks())
    assert response.status_code == 413
    assert events_in(shared_server.db) == before


async def test_a_body_at_the_limit_is_accepted(shared_client: httpx2.AsyncClient) -> None:
    assert (await shared_client.post("/jobs/", content=job_of(MIB))).status_code == 200


PATHS_TO_NO_JOB = [
    "/jobs/%00",
    "/jobs/%0a",
    "/jobs/%ff%fe",
    "/jobs/%ED%A0%80",
    "/jobs/%E2%98%83",
    "/jobs/%25",
    "/jobs/*",
    "/jobs/{job_id}",
    "/jobs/;",
    "/jobs/" + "9" * 60_000,
]
PATHS_TO_NOTHING = [
    "/nothing",
    "/jobs/a%2Fb",
    "/jobs/%2e%2e/engines",
    "/jobs/a/b/c",
    "/engines/heartbeat/more",
    "/JOBS/",
    "/assign_job/e",
    "/%",
    "/schema/nothing",
]


@pytest.mark.parametrize("path", PATHS_TO_NO_JOB)
async def test_an_odd_path_to_a_job_is_404(shared_client: httpx2.AsyncClient, path: str) -> None:
    answers = [
        await shared_client.get(path),
        await shared_client.delete(path),
        await shared_client.get(f"{path}/why"),
        await shared_client.post(f"{path}/retry"),
        await shared_client.post(f"{path}/complete", content=b'{"output_url":"o"}'),
        await shared_client.post(f"{path}/fail", content=b'{"error_message":"m"}'),
    ]
    assert [(a.status_code, a.text) for a in answers] == [(404, "Job not found")] * 6


@pytest.mark.parametrize("path", PATHS_TO_NO_JOB)
async def test_an_odd_path_to_an_engine_is_404(
    shared_client: httpx2.AsyncClient, path: str
) -> None:
    path = path.replace("/jobs/", "/engines/")
    answers = [
        await shared_client.delete(path),
        await shared_client.post(f"{path}/drain"),
        await shared_client.post(f"{path}/resume"),
    ]
    assert [(a.status_code, a.text) for a in answers] == [(404, "Engine not found")] * 3


@pytest.mark.parametrize(
    "query",
    [
        "codec=%ff%fe",
        "codec=%ED%A0%80",
        "codec=%zz",
        "engine=%00",
        "codec=a&codec=b",
        "unknown=1",
        "status",
        "=&&&==",
        "limit=%D9%A3",
        "codec=" + "%20" * 20_000,
    ],
)
async def test_an_odd_query_is_no_500(shared_client: httpx2.AsyncClient, query: str) -> None:
    assert (await shared_client.get(f"/jobs/?{query}")).status_code in {200, 400}


@pytest.mark.parametrize("path", PATHS_TO_NOTHING)
async def test_a_path_to_nothing_is_404_in_plain_text(
    shared_client: httpx2.AsyncClient, path: str
) -> None:
    response = await shared_client.get(path)
    assert response.status_code == 404
    assert response.text.startswith("Not Found: there is no /")
    assert response.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/jobs/"),
        ("PUT", "/jobs/"),
        ("PATCH", "/jobs/x"),
        ("POST", "/jobs/x"),
        ("GET", "/jobs/x/complete"),
        ("GET", "/jobs/x/fail"),
        ("GET", "/jobs/x/retry"),
        ("POST", "/jobs/x/why"),
        ("DELETE", "/jobs/x/why"),
        ("GET", "/engines/x"),
        ("GET", "/engines/x/drain"),
        ("DELETE", "/engines/x/resume"),
        ("GET", "/assign_job/"),
        ("GET", "/engines/heartbeat"),
        ("GET", "/engines/benchmark_result"),
        ("POST", "/engines/"),
        ("POST", "/health"),
        ("DELETE", "/engines/"),
    ],
)
async def test_a_wrong_method_is_405_in_plain_text(
    shared_client: httpx2.AsyncClient, method: str, path: str
) -> None:
    response = await shared_client.request(method, path)
    assert response.status_code == 405
    assert response.text == f"Method Not Allowed: {method} does not go with {path}"
    assert response.headers["content-type"].startswith("text/plain")


RAW_REQUESTS = [
    b"GET /jobs/\xff HTTP/1.1",
    b"GET http://elsewhere/jobs/ HTTP/1.1",
    b"GET jobs HTTP/1.1",
    b"GET //jobs// HTTP/1.1",
    b"GET /jobs/../engines/ HTTP/1.1",
    b"GET /jobs/%zz HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"FROB /jobs/ HTTP/1.1",
    b"GET /jobs/%2F%2F HTTP/1.1",
    b"POST /jobs/ HTTP/1.1\r\nContent-Length: -1",
    b"POST /jobs/ HTTP/1.1\r\nContent-Length: 5x",
    b"GET /jobs/ HTTP/9.9",
    b"\x00\x01\x02",
]


@pytest.mark.parametrize("request_line", RAW_REQUESTS)
async def test_a_request_that_no_client_would_send_is_no_500(
    shared_server: Running, shared_client: httpx2.AsyncClient, request_line: bytes
) -> None:
    before = events_in(shared_server.db)
    reader, writer = await asyncio.open_connection("127.0.0.1", shared_server.port)
    headers = f"Host: x\r\nX-API-Key: {KEY}\r\nConnection: close\r\n\r\n".encode()
    writer.write(request_line + b"\r\n" + headers)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    status = int(answer.split(b" ", 2)[1])
    assert 200 <= status < 500
    assert (await shared_client.get("/health")).json()["status"] == "ok"
    assert events_in(shared_server.db) == before


@pytest.mark.parametrize("depth", [64, 65, 600, 990, 1500])
async def test_depth_has_a_limit_and_never_a_500(
    shared_client: httpx2.AsyncClient, depth: int
) -> None:
    nested = "[" * depth + "]" * depth
    response = await shared_client.post(
        "/engines/heartbeat", content=f'{{"engine_id":"e","x":{nested}}}'
    )
    assert response.status_code == (200 if depth <= 64 else 400)
    assert (await shared_client.get("/engines/")).status_code == 200
