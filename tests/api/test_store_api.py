"""Uploads and downloads over HTTP: what clients, engines and browsers send and get."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from dispatcher.http_limits import HttpLimits
from dispatcher.serving.keys import Role
from dispatcher.store import StoreLimits
from tests.support.callers import callers_of, keys_of_all
from tests.support.farm import JOB, beat, eventually, submitted
from tests.support.servers import KEY, Running, child, client_of, running
from tests.support.stored import FILM, SHA256, files_in, in_pieces

pytestmark = pytest.mark.anyio

ALL: Final = len(FILM)
PATH: Final = f"/store/{SHA256}"
STORED: Final = {"sha256": SHA256, "size_bytes": ALL, "url": f"store:{SHA256}"}
NO_HASH: Final = (
    "'source_url' must have a SHA-256 after 'store:', 64 hexadecimal digits in lower case."
)
OTHER: Final = hashlib.sha256(b"other").hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
async def server(db: Path, folder: Path) -> AsyncIterator[Running]:
    async with running(db, store=folder) as dispatcher:
        yield dispatcher


async def put(
    client: httpx2.AsyncClient, first: int = 0, end: int = ALL, path: str = PATH, total: int = ALL
) -> httpx2.Response:
    said = {"Content-Range": f"bytes {first}-{end - 1}/{total}"}
    return await client.put(path, content=FILM[first:end], headers=said)


async def offset_of(client: httpx2.AsyncClient, path: str = PATH) -> tuple[int, str | None]:
    response = await client.head(path)
    return response.status_code, response.headers.get("Upload-Offset")


async def got(client: httpx2.AsyncClient, path: str = PATH, **headers: str) -> httpx2.Response:
    return await client.get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})


# Uploads


async def test_a_film_that_is_sent_whole_is_there(client: httpx2.AsyncClient) -> None:
    assert await offset_of(client) == (404, "0")
    response = await client.put(PATH, content=FILM)
    assert (response.status_code, response.json()) == (201, STORED)
    assert response.headers["Location"] == PATH
    head = await client.head(PATH)
    assert (head.status_code, int(head.headers["Content-Length"])) == (200, ALL)
    again = await client.put(PATH, content=FILM)
    assert (again.status_code, again.json()) == (200, STORED)
    shown = (await client.get("/store")).json()
    assert (shown["enabled"], shown["files"], shown["used_bytes"]) == (True, 1, ALL)


async def test_a_film_in_parts_goes_on_where_it_is(client: httpx2.AsyncClient) -> None:
    first = await put(client, 0, 1_000)
    assert (first.status_code, first.headers["Upload-Offset"], first.content) == (202, "1000", b"")
    assert await offset_of(client) == (204, "1000")
    wrong = await put(client, 2_000, 3_000)
    assert (wrong.status_code, wrong.headers["Upload-Offset"], wrong.text) == (
        409,
        "1000",
        "Conflict: the upload has 1,000 bytes; go on from there.",
    )
    last = await put(client, 1_000)
    assert (last.status_code, last.json()) == (201, STORED)
    assert (await got(client)).content == FILM


async def test_what_was_sent_and_not_answered_is_finished_without_a_body(
    client: httpx2.AsyncClient,
) -> None:
    assert (await put(client, 0, ALL, total=ALL + 1)).status_code == 202
    done = await client.put(PATH, headers={"Content-Range": f"bytes */{ALL}"})
    assert (done.status_code, done.json()) == (201, STORED)


async def test_wrong_bytes_are_refused_and_nothing_is_kept(
    client: httpx2.AsyncClient, folder: Path
) -> None:
    response = await client.put(f"/store/{OTHER}", content=FILM)
    assert (response.status_code, response.text) == (
        400,
        f"Bad Request: the bytes have the SHA-256 {SHA256}, not {OTHER}; nothing of them was kept.",
    )
    assert files_in(folder) == []


async def test_a_browser_sends_a_file_whose_hash_it_does_not_know(
    client: httpx2.AsyncClient,
) -> None:
    whole = await client.post("/store", content=FILM)
    assert (whole.status_code, whole.json()) == (201, STORED)


async def test_such_an_upload_may_be_sent_in_parts(client: httpx2.AsyncClient) -> None:
    begun = await client.post("/store")
    path = begun.json()["location"]
    assert (begun.status_code, begun.headers["Location"]) == (202, path)
    assert await offset_of(client, path) == (204, "0")
    assert (await put(client, 0, 700_000, path)).status_code == 202
    assert await offset_of(client, path) == (204, "700000")
    done = await put(client, 700_000, ALL, path)
    assert (done.status_code, done.json()) == (201, STORED)
    # If that answer is lost, the client asks again.
    again = await client.put(path, headers={"Content-Range": f"bytes */{ALL}"})
    assert (again.status_code, again.json()) == (200, STORED)
    assert (await client.head(path)).headers["ETag"] == f'"{SHA256}"'


BAD: Final[dict[str, tuple[dict[str, str], int, str]]] = {
    "nonsense": ({"Content-Range": "bytes 1-2"}, 400, "'Content-Range' must be 'bytes FIRST-"),
    "items": ({"Content-Range": "items 0-9/10"}, 400, "'Content-Range' must be 'bytes FIRST-"),
    "no total": ({"Content-Range": "bytes 0-9/*"}, 400, "'Content-Range' must be 'bytes FIRST-"),
    "backwards": ({"Content-Range": "bytes 9-0/10"}, 400, "must be FIRST <= LAST < TOTAL."),
    "beyond": ({"Content-Range": "bytes 1-10/10"}, 400, "must be FIRST <= LAST < TOTAL."),
    "another length": ({"Content-Range": "bytes 0-8/10"}, 400, "says 9 bytes, the body has 10."),
    "a body to finish": ({"Content-Range": "bytes */10"}, 400, "*/TOTAL' goes no body."),
}


@pytest.mark.parametrize("what", BAD)
async def test_what_is_not_understood_is_refused(
    client: httpx2.AsyncClient, folder: Path, what: str
) -> None:
    headers, status, text = BAD[what]
    response = await client.put(PATH, content=b"0123456789", headers=headers)
    assert (response.status_code, response.text[-len(text) :] == text or text in response.text) == (
        status,
        True,
    )
    assert files_in(folder) == []


async def test_a_body_of_no_known_length_is_refused(client: httpx2.AsyncClient) -> None:
    response = await client.put(PATH, content=in_pieces(FILM))
    assert response.status_code == 411
    assert response.text.startswith("Length Required: ")


@pytest.mark.parametrize("name", ["film.mov", SHA256.upper(), SHA256[:-1], "%2e%2e"])
async def test_no_other_name_is_one_of_the_store(client: httpx2.AsyncClient, name: str) -> None:
    for method in ("PUT", "GET", "HEAD"):
        assert (await client.request(method, f"/store/{name}")).status_code in {404, 405}


async def test_an_upload_that_is_not_there_is_404(client: httpx2.AsyncClient) -> None:
    path = f"/store/{'0' * 32}"
    assert (await put(client, path=path)).status_code == 404
    assert await offset_of(client, path) == (404, None)


async def test_a_file_over_the_limit_is_413_and_a_full_store_507(db: Path, folder: Path) -> None:
    limits = StoreLimits(max_file_bytes=ALL, max_bytes=ALL - 1)
    async with running(db, store=folder, store_limits=limits) as server, client_of(server) as http:
        large = await http.put(f"/store/{OTHER}", content=FILM + b"x")
        assert (large.status_code, "(--store-max-file-gb)" in large.text) == (413, True)
        full = await http.put(PATH, content=FILM)
        assert (full.status_code, "(--store-max-gb)" in full.text) == (507, True)
        assert files_in(folder) == []


async def test_an_upload_that_stalls_is_given_up_and_goes_on_later(db: Path, folder: Path) -> None:
    limits = StoreLimits(stall_s=0.3)
    async with running(db, store=folder, store_limits=limits) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = (
            f"PUT {PATH} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {ALL}\r\n\r\n"
        )
        writer.write(head.encode() + FILM[:600_000])
        said = await reader.readuntil(b"\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        writer.close()
        async with client_of(server) as http:
            assert await offset_of(http) == (204, "600000")
            assert (await put(http, 600_000)).status_code == 201


async def test_a_long_upload_is_not_ended_for_its_length(db: Path, folder: Path) -> None:
    """One that moves may take longer than a request may otherwise (--receive-timeout-s)."""
    async with running(db, store=folder, http_limits=HttpLimits(receive_s=0.1)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = (
            f"PUT {PATH} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {ALL}\r\n\r\n"
        )
        writer.write(head.encode())
        for first in range(0, ALL, 500_000):
            writer.write(FILM[first : first + 500_000])
            await writer.drain()
            await asyncio.sleep(1.1)  # the server looks once a second
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 201 Created\r\n")
        writer.close()


async def test_a_client_that_goes_away_finds_what_it_had_sent(
    client: httpx2.AsyncClient, server: Running
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"PUT {PATH} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {ALL}\r\n\r\n"
    writer.write(head.encode() + FILM[:700_000])
    await writer.drain()
    writer.close()

    async def has_come() -> bool | None:
        return True if await offset_of(client) == (204, "700000") else None

    await eventually(has_come)

    async def is_free() -> httpx2.Response | None:
        response = await put(client, 700_000)
        return None if response.status_code == 409 else response

    assert (await eventually(is_free)).json() == STORED


async def test_a_dispatcher_that_is_killed_in_an_upload_goes_on_with_it(
    db: Path, folder: Path
) -> None:
    async with child(db, "--store", str(folder)) as dispatcher:
        _, writer = await asyncio.open_connection("127.0.0.1", dispatcher.port)
        head = (
            f"PUT {PATH} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {ALL}\r\n\r\n"
        )
        writer.write(head.encode() + FILM[: ALL - 1])
        await writer.drain()
        async with client_of(dispatcher) as http:

            async def some() -> bool | None:
                return True if int((await offset_of(http))[1] or 0) > 500_000 else None

            await eventually(some)
        dispatcher.process.kill()
        await dispatcher.process.wait()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    async with child(db, "--store", str(folder)) as dispatcher, client_of(dispatcher) as http:
        status, offset = await offset_of(http)
        assert status == 204
        assert int(offset or 0) > 500_000
        assert (await put(http, int(offset or 0))).json() == STORED
        assert (await got(http)).content == FILM


async def test_a_body_may_be_far_larger_than_that_of_other_requests(db: Path, folder: Path) -> None:
    async with (
        running(db, store=folder, body_limit_bytes=100) as server,
        client_of(server) as http,
    ):
        assert (await http.put(PATH, content=FILM)).status_code == 201
        assert (await http.post("/jobs/", content=b"x" * 101)).status_code == 413


# Downloads


async def test_any_part_of_a_file_can_be_had(client: httpx2.AsyncClient) -> None:
    await put(client)
    whole = await got(client)
    assert (whole.status_code, whole.content) == (200, FILM)
    assert whole.headers["ETag"] == f'"{SHA256}"'
    assert whole.headers["Accept-Ranges"] == "bytes"
    for asked, first, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        (f"bytes=1000000-{ALL * 9}", 1_000_000, ALL),
        ("bytes=700000-", 700_000, ALL),
        ("bytes=-10", ALL - 10, ALL),
        (f"bytes=-{ALL * 9}", 0, ALL),
    ):
        part = await got(client, range=asked, if_range=f'"{SHA256}"')
        assert (part.status_code, part.content) == (206, FILM[first:end])
        assert part.headers["Content-Range"] == f"bytes {first}-{end - 1}/{ALL}"
    beyond = await got(client, range=f"bytes={ALL}-")
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{ALL}")


@pytest.mark.parametrize("asked", ["bytes=5-4", "bytes=0-1,3-4", "bytes=-", "bytes=x", "lines=1-2"])
async def test_a_range_that_is_not_understood_is_none(
    client: httpx2.AsyncClient, asked: str
) -> None:
    await put(client)
    response = await got(client, range=asked)
    assert (response.status_code, response.content) == (200, FILM)


async def test_of_another_file_the_whole_is_sent(client: httpx2.AsyncClient) -> None:
    await put(client)
    response = await got(client, range="bytes=5-9", if_range='"another"')
    assert (response.status_code, len(response.content)) == (200, ALL)


async def test_what_is_not_there_is_404(client: httpx2.AsyncClient) -> None:
    response = await got(client)
    assert response.status_code == 404
    assert response.text.startswith(f"Not Found: the store has no file {SHA256}")


@pytest.mark.parametrize("left", [None, FILM[:5]])
async def test_a_file_that_somebody_takes_away_or_cuts_is_404_and_can_be_sent_again(
    client: httpx2.AsyncClient, folder: Path, left: bytes | None
) -> None:
    await put(client)
    path = folder / "files" / SHA256
    if left is None:
        path.unlink()
    else:
        path.write_bytes(left)
    lost = await got(client)
    assert (lost.status_code, "deleted or damaged" in lost.text) == (404, True)
    assert (await put(client)).json() == STORED
    assert (await got(client)).content == FILM


async def test_a_file_that_somebody_took_away_can_be_sent_again_though_nobody_asked_for_it(
    client: httpx2.AsyncClient, folder: Path
) -> None:
    await put(client)
    (folder / "files" / SHA256).unlink()
    assert await offset_of(client) == (404, "0")
    assert (await put(client)).json() == STORED
    assert (await got(client)).content == FILM


async def test_a_folder_that_is_away_for_a_while_loses_no_file(
    client: httpx2.AsyncClient, folder: Path
) -> None:
    await put(client)
    files, elsewhere = folder / "files", folder / "away"
    files.rename(elsewhere)
    assert (await got(client)).status_code == 503
    elsewhere.rename(files)
    assert (await got(client)).content == FILM


async def test_a_browser_does_not_run_what_is_in_the_store(client: httpx2.AsyncClient) -> None:
    await put(client)
    headers = (await got(client)).headers
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "sandbox"
    assert headers["Content-Disposition"].startswith("attachment")


async def test_the_output_of_a_job_is_served_under_its_name(client: httpx2.AsyncClient) -> None:
    await put(client)
    job_id = await submitted(client, source_url=f"store:{SHA256}/a.mov")
    path = f"/jobs/{job_id}/output"
    none = await got(client, path)
    assert (none.status_code, none.text) == (
        409,
        f"Conflict: job {job_id} is pending, and has no output.",
    )
    url = f"store:{SHA256}/%C3%BCber%20alles.mp4"
    await client.post(f"/jobs/{job_id}/complete", json={"output_url": url})
    whole = await got(client, path)
    assert (whole.status_code, whole.content) == (200, FILM)
    assert whole.headers["Content-Type"] == "video/mp4"
    named = "attachment; filename*=UTF-8''%C3%BCber%20alles.mp4"
    assert whole.headers["Content-Disposition"] == named
    assert (await got(client, path, range="bytes=1-2")).content == FILM[1:3]
    head = await client.head(path)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(ALL))
    assert head.headers["Content-Disposition"] == named


async def test_an_output_that_is_elsewhere_is_not_served(client: httpx2.AsyncClient) -> None:
    job_id = await submitted(client)
    await client.post(f"/jobs/{job_id}/complete", json={"output_url": "file:///out/film.mp4"})
    response = await got(client, f"/jobs/{job_id}/output")
    assert response.status_code == 404
    assert "not in the dispatcher's store" in response.text
    assert (await got(client, "/jobs/nothing/output")).text == "Job not found"


# Submissions


async def test_a_job_needs_its_source_in_the_store(client: httpx2.AsyncClient) -> None:
    source = {"source_url": f"store:{SHA256}/a.mov", "target_codec": "h264"}
    refused = await client.post("/jobs/", json=source)
    assert (refused.status_code, refused.text) == (
        400,
        f"Bad Request: 'source_url': the store has no file {SHA256}; send it to PUT {PATH} first.",
    )
    lines = (await client.post("/jobs/batch", json=[source, JOB])).json()
    assert [it["status"] for it in lines] == [400, 200]
    await put(client)
    assert (await client.post("/jobs/", json=source)).status_code == 200
    lines = (await client.post("/jobs/batch", json=[source, JOB])).json()
    assert [it["status"] for it in lines] == [200, 200]


@pytest.mark.parametrize("url", ["store:", "store:abc", f"store:{SHA256.upper()}", "store:/x.mov"])
async def test_a_source_in_the_store_has_a_hash(client: httpx2.AsyncClient, url: str) -> None:
    refused = await client.post("/jobs/", json=JOB | {"source_url": url})
    assert (refused.status_code, refused.text) == (
        400,
        f"Bad Request: {NO_HASH}",
    )


async def test_a_submission_that_is_sent_again_is_answered_as_before(
    db: Path, folder: Path
) -> None:
    key = {"Idempotency-Key": "k"}
    source = JOB | {"source_url": f"store:{SHA256}/a.mov"}
    async with running(db, store=folder) as server, client_of(server) as http:
        await put(http)
        first = (await http.post("/jobs/", json=source, headers=key)).json()
    (folder / "files" / SHA256).unlink()
    async with running(db, store=folder) as server, client_of(server) as http:
        assert (await http.post("/jobs/", json=source, headers=key)).json() == first
        (line,) = (await http.post("/jobs/batch", json=[source | {"idempotency_key": "k"}])).json()
        assert (line["status"], line["job"]) == (200, first)
        other = await http.post("/jobs/", json=source, headers={"Idempotency-Key": "l"})
        assert other.status_code == 400


async def test_only_engines_that_can_have_it_are_given_such_a_job(
    client: httpx2.AsyncClient,
) -> None:
    await put(client)
    job_id = await submitted(client, source_url=f"store:{SHA256}/a.mov")
    await beat(client, "old", supported_codecs=["h264"])
    assert (await client.post("/assign_job/", json={"engine_id": "old"})).status_code == 204
    await beat(client, "new", supported_codecs=["h264"], abilities=["store"])
    given = (await client.post("/assign_job/", json={"engine_id": "new"})).json()
    assert given["job_id"] == job_id


# Without a store, and whose


async def test_a_dispatcher_without_a_store_says_so(db: Path) -> None:
    async with running(db) as server, client_of(server) as http:
        assert (await http.get("/store")).json()["enabled"] is False
        for response in (await put(http), await got(http), await http.post("/store")):
            assert (response.status_code, "`serve --store DIR`" in response.text) == (404, True)
        assert (await http.head(PATH)).status_code == 404
        refused = await http.post("/jobs/", json=JOB | {"source_url": f"store:{SHA256}"})
        assert (refused.status_code, "no store" in refused.text) == (400, True)


async def test_an_upload_is_the_keys_that_began_it_and_a_file_is_everybodys(
    db: Path, folder: Path
) -> None:
    async with running(db, keys=keys_of_all(), store=folder) as server, callers_of(server) as keys:
        path: Any = (await keys.anna.post("/store")).json()["location"]
        assert (await put(keys.rack, path=path)).status_code == 404
        await put(keys.anna, 0, 100)
        assert await offset_of(keys.rack) == (404, "0")
        assert (await put(keys.anna, path=path)).status_code == 201
        for role in {*Role} - {Role.MONITOR}:
            assert (await got(keys.of(role))).content == FILM
            assert (await put(keys.of(role))).status_code == 200
        assert (await got(keys.mona)).status_code == 403
