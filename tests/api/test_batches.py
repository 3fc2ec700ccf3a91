"""`POST /jobs/batch`: many submissions, one answer to each, one commit."""

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from dispatcher.api.batches import KEYS_ARE_FIELDS, NOT_DONE
from dispatcher.serving import batches
from tests.support.farm import JOB, happened
from tests.support.servers import Running, client_of, running

pytestmark = pytest.mark.anyio

NDJSON: Final = "application/x-ndjson"
MISSING: Final = "Bad Request: 'source_url' is missing or not a string."
REUSED: Final = "Conflict: this Idempotency-Key was used for another job."

BAD: Final[list[tuple[Any, int, str]]] = [
    ({"target_codec": "h264"}, 400, MISSING),
    ({"source_url": 5, "target_codec": "h264"}, 400, MISSING),
    (
        {"source_url": "u"},
        400,
        "Bad Request: 'target_codec' is missing or not a string.",
    ),
    (JOB | {"job_size": "5"}, 400, "Bad Request: 'job_size' must be a number."),
    (JOB | {"job_size": True}, 400, "Bad Request: 'job_size' must be a number."),
    (JOB | {"max_retries": 1.0}, 400, "Bad Request: 'max_retries' must be an integer."),
    (JOB | {"priority": 101}, 400, "Bad Request: 'priority' must be at most 100."),
    (JOB | {"priority": None}, 400, "Bad Request: 'priority' must be an integer."),
    ("text", 400, MISSING),
    (None, 400, MISSING),
    ([JOB], 400, MISSING),
    (JOB | {"idempotency_key": 5}, 400, "Bad Request: 'idempotency_key' must be a string."),
    (
        JOB | {"idempotency_key": "k" * 256},
        400,
        "Bad Request: 'idempotency_key' must be at most 255 characters.",
    ),
]


def source(number: int, **fields: Any) -> dict[str, Any]:
    return JOB | {"source_url": f"http://media/{number}.mp4"} | fields


async def send(
    client: httpx2.AsyncClient, lines: list[Any], *, query: str = "", form: str = NDJSON
) -> tuple[int, list[Any]]:
    """Send a batch in a form, and give the status and the lines of the answer."""
    if form == NDJSON:
        content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    else:
        content = json.dumps(lines).encode()
    response = await client.post(
        f"/jobs/batch{query}", content=content, headers={"Content-Type": form}
    )
    assert response.headers["content-type"] == form, response.text
    if form == NDJSON:
        assert response.text.endswith("\n") or not lines
        return response.status_code, [json.loads(it) for it in response.text.splitlines()]
    answers: list[Any] = response.json()
    return response.status_code, answers


@pytest.mark.parametrize("form", [NDJSON, "application/json"])
async def test_each_line_is_answered_with_the_job_that_it_made(
    client: httpx2.AsyncClient, server: Running, form: str
) -> None:
    lines = [source(n, priority=n % 5, job_size=n / 2, max_retries=n % 3) for n in range(450)]
    status, answers = await send(client, lines, form=form)
    assert status == 200
    assert [set(it) for it in answers] == [{"status", "job", "warning"}] * 450
    assert {it["status"] for it in answers} == {200}
    for line, answer in zip(lines, answers, strict=True):
        assert {name: answer["job"][name] for name in line} == line
    assert [it["job"] for it in answers] == (await client.get("/jobs/")).json()
    assert happened(server) == ["job_submitted"] * 450


async def test_a_job_of_a_batch_is_like_one_that_was_submitted_alone(
    client: httpx2.AsyncClient,
) -> None:
    alone = (await client.post("/jobs/", json=source(1))).json()
    _, [answer] = await send(client, [source(1)])
    for name in ("job_id", "submitted_at"):
        assert alone.pop(name) != answer["job"].pop(name)
    assert answer["job"] == alone


@pytest.mark.parametrize("query", ["?atomi=true", "?atomic=true&atomic=false", "?atomic=yes"])
async def test_a_parameter_that_is_wrong_changes_nothing(
    client: httpx2.AsyncClient, server: Running, query: str
) -> None:
    answer = await client.post(f"/jobs/batch{query}", json=[source(1)])
    assert answer.status_code == 400
    assert "'atomi" in answer.text
    assert happened(server) == []


async def test_a_line_may_have_a_recipe_and_only_what_no_engine_offers_is_warned_of(
    client: httpx2.AsyncClient,
) -> None:
    report = {"engine_id": "e", "supported_codecs": ["h264"]}
    assert (await client.post("/engines/heartbeat", json=report)).status_code == 200
    asked = [source(1), source(2, recipe={"crf": 20}), source(3, recipe={"crf": 60})]
    _, [plain, with_recipe, refused] = await send(client, asked)
    assert set(plain) == {"status", "job"}
    assert with_recipe["job"]["recipe"] == {"crf": 20}
    assert "can do what the job needs, recipes" in with_recipe["warning"]
    assert refused["status"] == 400
    assert "'recipe.crf' must be at most 51 for h264" in refused["error"]


@pytest.mark.parametrize("form", [NDJSON, "application/json"])
async def test_a_line_that_breaks_a_rule_gets_the_error_of_a_single_request_and_others_are_done(
    client: httpx2.AsyncClient, server: Running, form: str
) -> None:
    lines = [line for bad, _, _ in BAD for line in (source(1), bad)]
    status, answers = await send(client, lines, form=form)
    assert status == 200
    assert [it["status"] for it in answers[::2]] == [200] * len(BAD)
    assert answers[1::2] == [{"status": code, "error": text} for _, code, text in BAD]
    assert happened(server) == ["job_submitted"] * len(BAD)
    for bad, code, text in BAD:
        if "idempotency_key" not in text:
            response = await client.post("/jobs/", content=json.dumps(bad).encode())
            assert (response.status_code, response.text) == (code, text)


async def test_a_line_that_is_no_json_is_told_so_in_the_words_of_a_single_request(
    client: httpx2.AsyncClient,
) -> None:
    bad = [b'{"source_url": ', b"\xff", b"[" * 5000, b'{"a": 1} {"b": 2}']
    content = b"\r\n".join([json.dumps(JOB).encode(), *bad, b"  ", b"", json.dumps(JOB).encode()])
    response = await client.post("/jobs/batch", content=content, headers={"Content-Type": NDJSON})
    answers = [json.loads(line) for line in response.text.splitlines()]
    assert [it["status"] for it in answers] == [200, *[400] * len(bad), 200]
    for line, answer in zip(bad, answers[1:], strict=False):
        assert (await client.post("/jobs/", content=line)).text == answer["error"]


# All or nothing


@pytest.mark.parametrize("form", [NDJSON, "application/json"])
async def test_an_atomic_batch_with_one_bad_line_changes_nothing_and_says_what_is_wrong(
    client: httpx2.AsyncClient, server: Running, form: str
) -> None:
    await send(client, [source(0, idempotency_key="k")])
    lines = [source(n) for n in range(450)]
    lines[7] = {"target_codec": "h264"}
    lines[440] = source(1, idempotency_key="k")
    status, answers = await send(client, lines, query="?atomic=true", form=form)
    assert status == 409
    assert answers[7] == {"status": 400, "error": MISSING}
    assert answers[440] == {"status": 409, "error": REUSED}
    rest = [it for n, it in enumerate(answers) if n not in {7, 440}]
    assert rest == [{"status": 424, "error": NOT_DONE}] * 448
    assert happened(server) == ["job_submitted"]


async def test_an_atomic_batch_is_refused_for_a_key_alone(
    client: httpx2.AsyncClient, server: Running
) -> None:
    lines = [source(n, idempotency_key="k") for n in range(2)]
    status, answers = await send(client, lines, query="?atomic=true")
    assert status == 409
    assert [it["status"] for it in answers] == [424, 409]
    assert happened(server) == []


async def test_an_atomic_batch_without_fault_is_done(client: httpx2.AsyncClient) -> None:
    lines = [source(n, idempotency_key=f"k{n}") for n in range(450)]
    status, answers = await send(client, lines, query="?atomic=true")
    assert (status, {it["status"] for it in answers}) == (200, {200})
    again, same = await send(client, lines, query="?atomic=true")
    assert (again, same) == (200, answers)
    assert len((await client.get("/jobs/")).json()) == 450


async def test_nobody_takes_a_key_while_an_atomic_batch_is_decided(
    client: httpx2.AsyncClient, server: Running
) -> None:
    lines = [source(n, idempotency_key=f"k{n}") for n in range(2_000)]

    async def taking(number: int) -> int:
        headers = {"Idempotency-Key": f"k{number}"}
        return (await client.post("/jobs/", json=JOB, headers=headers)).status_code

    (status, answers), *singles = await asyncio.gather(
        send(client, lines, query="?atomic=true"), *(taking(n) for n in range(1_999, 1_900, -1))
    )
    made = happened(server).count("job_submitted")
    if status == 200:
        assert {it["status"] for it in answers} == {200}
        assert set(singles) <= {409, 503}
        assert made == 2_000
    else:
        assert status == 409
        assert made == singles.count(200)


# Idempotency keys


async def test_a_key_means_the_same_as_the_header_within_the_batch_and_beyond(
    client: httpx2.AsyncClient, server: Running
) -> None:
    first = await client.post("/jobs/", json=source(1), headers={"Idempotency-Key": "header"})
    _, answers = await send(
        client,
        [
            source(1, idempotency_key="header"),
            source(2, idempotency_key="header"),
            source(3, idempotency_key="in", priority=4),
            source(3, idempotency_key="in", priority=4),
            source(4, idempotency_key="in"),
            source(5, idempotency_key=""),
            source(5, idempotency_key=""),
            source(6, idempotency_key=None),
        ],
    )
    assert [it["status"] for it in answers] == [200, 409, 200, 200, 409, 200, 200, 200]
    assert answers[0]["job"] == first.json()
    assert answers[3] == answers[2]
    assert answers[5] != answers[6]
    again = await client.post(
        "/jobs/", json=source(3, priority=4), headers={"Idempotency-Key": "in"}
    )
    assert again.json() == answers[2]["job"]
    assert happened(server).count("job_submitted") == 5


async def test_a_batch_that_is_sent_again_is_answered_again_after_a_restart(db: Path) -> None:
    lines = [source(n, idempotency_key=f"k{n}") for n in range(300)]
    async with running(db) as server, client_of(server) as client:
        first = await send(client, lines)
    async with running(db) as server, client_of(server) as client:
        assert await send(client, lines) == first
        assert len(happened(server)) == 300


# Limits


async def test_more_than_ten_thousand_submissions_are_413_which_names_the_limit(
    client: httpx2.AsyncClient, server: Running
) -> None:
    line = json.dumps({"source_url": "u", "target_codec": "c"}).encode()
    for content in (b"\n".join([line] * 10_001), b"[" + b",".join([line] * 10_001) + b"]"):
        response = await client.post("/jobs/batch", content=content)
        assert response.status_code == 413
        assert "at most 10,000 jobs, and this one has 10,001" in response.text
    assert happened(server) == []
    response = await client.post("/jobs/batch", content=b"\n".join([line] * 10_000))
    assert response.text.count('{"status":200') == 10_000


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_too_many_bytes_are_413_which_names_the_limit(db: Path, *, is_chunked: bool) -> None:
    line = json.dumps(JOB | {"source_url": "u" * 1_000}).encode() + b"\n"

    async def chunks() -> Any:
        for _ in range(20):
            yield line

    async with running(db, body_limit_bytes=2_000) as server, client_of(server) as client:
        content = chunks() if is_chunked else line * 20
        response = await client.post(
            "/jobs/batch", content=content, headers={"Content-Type": NDJSON}
        )
        assert response.status_code == 413
        assert "at most 16,000 bytes" in response.text
        status, _ = await send(client, [JOB] * 100)
        assert status == 200


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "Invalid JSON: the body is empty"),
        (
            b'"text"',
            "Bad Request: a batch must be an array of jobs, or NDJSON (application/x-ndjson).",
        ),
        (b"5", "Bad Request: a batch must be an array of jobs, or NDJSON (application/x-ndjson)."),
    ],
)
async def test_a_body_that_is_no_batch_is_400(
    client: httpx2.AsyncClient, content: bytes, told: str
) -> None:
    response = await client.post("/jobs/batch", content=content)
    assert (response.status_code, response.text) == (400, told)


@pytest.mark.parametrize("content", [b"[", b"[1,", b"[" * 5_000])
async def test_an_array_that_is_no_json_is_400(client: httpx2.AsyncClient, content: bytes) -> None:
    response = await client.post("/jobs/batch", content=content)
    assert response.status_code == 400
    assert response.text.startswith("Invalid JSON: ")


async def test_an_empty_batch_has_an_empty_answer(client: httpx2.AsyncClient) -> None:
    for form in (NDJSON, "application/json"):
        for query in ("", "?atomic=true"):
            assert await send(client, [], form=form, query=query) == (200, [])


async def test_atomic_is_true_or_false(client: httpx2.AsyncClient) -> None:
    response = await client.post("/jobs/batch?atomic=yes", json=[])
    assert response.status_code == 400
    assert response.text == "Bad Request: 'atomic' must be 'true' or 'false'."


async def test_a_key_for_the_whole_batch_is_refused(
    client: httpx2.AsyncClient, server: Running
) -> None:
    headers = {"Idempotency-Key": "k"}
    response = await client.post("/jobs/batch", json=[JOB], headers=headers)
    assert (response.status_code, response.text) == (400, f"Bad Request: {KEYS_ARE_FIELDS}")
    assert happened(server) == []


async def test_others_are_served_while_a_batch_is_decided(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that asks in the middle has its event among those of the batch, and all are in order."""
    monkeypatch.setattr(batches, "PART", 1)
    batch, *singles = await asyncio.gather(
        send(client, [source(n) for n in range(1_000)]),
        *(client.post("/jobs/", json=JOB) for _ in range(20)),
    )
    assert batch[0] == 200
    assert {it.status_code for it in singles} == {200}
    jobs = [it["job_id"] for it in (await client.get("/jobs/")).json()]
    assert len(jobs) == 1_020
    assert [job for job in jobs if job in {it["job"]["job_id"] for it in batch[1]}] == [
        it["job"]["job_id"] for it in batch[1]
    ]
