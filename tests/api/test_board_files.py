"""The files of the board: who gets them, with which headers, and that no other can be reached."""

import asyncio
import socket
from typing import Final

import httpx2
import pytest

from dispatcher.board import Board
from tests.support.farm import Farm
from tests.support.servers import Running

pytestmark = pytest.mark.anyio

FILES: Final = Board.load().files
HTML: Final = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types workers"
)


def assert_is_guarded(response: httpx2.Response) -> None:
    assert response.headers["content-security-policy"] == POLICY
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cross-origin-resource-policy"] == "same-origin"
    assert response.headers["cache-control"] == "no-cache"


# The page


@pytest.mark.parametrize(
    "accept",
    [
        HTML["Accept"],
        "text/html",
        "TEXT/HTML",
        "application/json, text/html;q=0.1",
        "text/html; q=1",
    ],
)
async def test_who_asks_for_html_gets_the_page_without_a_key(farm: Farm, accept: str) -> None:
    for caller in (farm.stranger, farm.http):
        response = await caller.get("/", headers={"Accept": accept})
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert response.content == FILES["index.html"].content
        assert_is_guarded(response)


@pytest.mark.parametrize(
    "accept",
    ["*/*", "", "text/plain", "application/json", "text/*", "text/html;q=0, */*", "texthtml"],
)
async def test_who_does_not_gets_the_line_that_health_checks_know(farm: Farm, accept: str) -> None:
    response = await farm.stranger.get("/", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text.startswith("This is a transcoding dispatcher.")
    assert response.headers["vary"] == "Accept"


async def test_caches_are_told_that_both_have_one_address(farm: Farm) -> None:
    assert (await farm.stranger.get("/", headers=HTML)).headers["vary"] == "Accept"


@pytest.mark.parametrize("headers", [HTML, {}])
async def test_who_has_no_key_is_told_that_one_is_needed(
    farm: Farm, headers: dict[str, str]
) -> None:
    for key in ({}, {"X-API-Key": "no such key"}):
        told = await farm.stranger.head("/", headers=headers | key)
        assert (told.status_code, told.headers["x-dispatcher-auth"]) == (200, "key")
    assert "x-dispatcher-auth" not in (await farm.http.head("/", headers=headers)).headers


# The files


@pytest.mark.parametrize("name", FILES)
async def test_every_file_is_there_without_a_key(farm: Farm, name: str) -> None:
    for caller in (farm.stranger, farm.http):
        response = await caller.get(f"/board/{name}")
        assert response.status_code == 200
        assert response.content == FILES[name].content
        assert response.headers["content-type"].encode() == FILES[name].media_type
        assert_is_guarded(response)


@pytest.mark.parametrize("path", ["/", "/board/main.js"])
async def test_head_is_get_without_its_body(farm: Farm, path: str) -> None:
    got = await farm.stranger.get(path, headers=HTML)
    response = await farm.stranger.head(path, headers=HTML)
    assert (response.status_code, response.content) == (200, b"")
    different = {"date", "x-request-id"}
    told, expected = (
        {name: value for name, value in it.headers.items() if name not in different}
        for it in (response, got)
    )
    assert told == expected


async def test_after_head_the_connection_serves_the_next_request(shared_server: Running) -> None:
    head = b"HEAD /board/main.js HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", shared_server.port)) as connection:
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connection, head + last)
        answered = b""
        while piece := await loop.sock_recv(connection, 65_536):
            answered += piece
    assert answered.count(b"HTTP/1.1 200 OK") == 2
    assert b"\r\n\r\nHTTP/1.1 200 OK" in answered


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', '"other" ,W/{} , "more"', "*"])
async def test_who_has_a_file_is_not_sent_it_again(farm: Farm, name: str, form: str) -> None:
    etag = (await farm.stranger.get(f"/board/{name}")).headers["etag"]
    assert not etag.startswith("W/")
    for method in ("GET", "HEAD"):
        response = await farm.stranger.request(
            method, f"/board/{name}", headers={"If-None-Match": form.format(etag)}
        )
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == etag
        assert_is_guarded(response)


@pytest.mark.parametrize("given", ['"other"', "", "main.js", 'W/"other", "more"'])
async def test_who_has_another_is_sent_the_new_one(farm: Farm, given: str) -> None:
    response = await farm.stranger.get("/board/main.js", headers={"If-None-Match": given})
    assert (response.status_code, response.content) == (200, FILES["main.js"].content)


def test_no_two_files_have_the_same_validator() -> None:
    assert len({it.etag for it in FILES.values()}) == len(FILES)


# What is no file

OUTSIDE: Final = [
    "/board/nothing.js",
    "/board/..",
    "/board/.",
    "/board/%2e%2e",
    "/board/MAIN.JS",
    "/board/main.js%00",
    "/board/..%5c__init__.py",
    "/board/__init__.py",
]
"""These are asked as names in the folder, and none of it is one."""
BEYOND: Final = [
    "/board",
    "/board/",
    "/board/../jobs",
    "/board/../health/x",
    "/board/%2e%2e/jobs",
    "/board/..%2fjobs",
    "/board/..%2f..%2f__init__.py",
    "/board/%2fetc%2fpasswd",
    "/board//etc/passwd",
    "/board/page/main.js",
    "/board/main.js/more",
    "/boards/main.js",
    "/board%2fx%2fmain.js",
]
"""These are no names in the folder; without a key nobody learns more."""


async def raw(server: Running, path: str) -> tuple[int, bytes]:
    """Ask for a path as it stands: a client would first take its dots away."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answered = await reader.read()
    writer.close()
    head, _, body = answered.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


@pytest.mark.parametrize("path", OUTSIDE)
async def test_a_name_that_is_no_file_is_not_found(shared_server: Running, path: str) -> None:
    assert await raw(shared_server, path) == (404, b"File not found")


@pytest.mark.parametrize("path", BEYOND)
async def test_no_path_leads_out_of_the_folder(shared_server: Running, path: str) -> None:
    status, body = await raw(shared_server, path)
    assert (status, body) == (401, b"Unauthorized: Missing 'X-API-Key' header.")


async def test_a_file_is_only_read(farm: Farm) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        assert (await farm.stranger.request(method, "/board/main.js")).status_code == 401
        assert (await farm.http.request(method, "/board/main.js")).status_code in {405, 204}
