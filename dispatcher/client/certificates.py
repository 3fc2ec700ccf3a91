"""A film's certificate: one file that shows what became of a film, and proves that the log says so.

Laws:
- Whoever checks a certificate needs the log's key and the file, and no dispatcher
  (`scripts/verify_proof.py certificate`).
- An event stands in it as its line, byte for byte, beside its inclusion proof. The rest is what
  these say, for people; who checks the certificate compares it.
- Events of progress are left out: there are many, and they change nothing about the film.
"""

from typing import Any, Final

import msgspec

from dispatcher.client.calls import quoted
from dispatcher.client.connection import Connection, RequestRefusedError
from dispatcher.store_urls import StoreUrl

__all__ = ["FORM", "certificate"]

FORM: Final = "transcoding-dispatcher film certificate 1"
"""The first field of a certificate: of which form it is."""
_LEFT_OUT: Final = frozenset({"job_progressed"})


class _Line(msgspec.Struct):
    """What is looked at of an event."""

    seq: int
    type: str
    time: str
    source_url: str = ""
    output_url: str = ""
    engine_id: str | None = None
    result: dict[str, Any] = {}


async def certificate(connection: Connection, job_id: str) -> dict[str, Any]:
    """Gather the certificate of a completed job.

    Raises `RequestRefusedError` if the job is not completed.
    """
    listed = await connection.call("GET", f"/jobs/{quoted(job_id)}/events")
    try:
        lines = [bytes(raw) for raw in msgspec.json.decode(listed.content, type=list[msgspec.Raw])]
        told = [(msgspec.json.decode(line, type=_Line), line) for line in lines]
    except msgspec.MsgspecError as error:
        raise RequestRefusedError(
            0, f"{connection.server} did not answer as a dispatcher does: {error}"
        ) from error
    events = [(event, line) for event, line in told if event.type not in _LEFT_OUT]
    # What comes after it are answers that came too late.
    while events and events[-1][0].type == "answer_refused":
        events.pop()
    if not events or events[-1][0].type != "job_completed":
        raise RequestRefusedError(
            0, f"job {job_id} is not completed, so there is no film to certify"
        )
    # The checkpoint comes after the events, so that it covers them.
    note = (await connection.call("GET", "/log/checkpoint")).text
    key = (await connection.call("GET", "/log/key")).text.strip()
    size = int(note.split("\n")[1])
    proven = []
    for event, line in events:
        query = {"seq": event.seq, "size": size}
        proof = await connection.call("GET", "/log/proof", query=query)
        proven.append({"line": line.decode(), "proof": msgspec.json.decode(proof.content)})
    submitted, completed = events[0][0], events[-1][0]
    return {
        "certificate": FORM,
        "job_id": job_id,
        "source": _film(submitted.source_url, completed.result.get("source")),
        "output": _film(completed.output_url, completed.result.get("output")),
        "engine": completed.engine_id,
        "completed_at": completed.time,
        "ffmpeg": completed.result.get("ffmpeg"),
        "arguments": completed.result.get("arguments"),
        "events": proven,
        "checkpoint": note,
        "key": key,
    }


def _film(url: str, told: Any) -> dict[str, Any]:
    """Say what is known of the bytes of a source or an output."""
    stored = StoreUrl.parse(url)
    sha256 = told.get("sha256") if isinstance(told, dict) else None
    return {"url": url, "sha256": sha256 or (None if stored is None else stored.sha256)}
