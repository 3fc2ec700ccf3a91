"""A server that answers POST /jobs/ and remembers nothing: `answering.py typed|lean|bare`.

It runs as the dispatcher does: uvicorn, uvloop, httptools, no access log.
"""

import asyncio
import socket
import sys
from typing import Any, Final

import msgspec
import uvicorn
import uvloop
from litestar import Litestar, post
from litestar.params import RawBody
from litestar.response.base import ASGIResponse


class Submission(msgspec.Struct):
    """The body of a submission."""

    source_url: str
    target_codec: str
    job_size: float = 0.0
    max_retries: int = 3


_decoder = msgspec.json.Decoder(Submission)
_encoder = msgspec.json.Encoder()


@post("/jobs", status_code=200)
async def typed(data: Submission) -> Submission:
    """Take a submission as Litestar's documentation would, and give it back."""
    return data


@post("/jobs", status_code=200)
async def lean(body: RawBody) -> ASGIResponse:
    """Take a submission with as little of Litestar as can be."""
    answer = _encoder.encode(_decoder.decode(body))
    return ASGIResponse(body=answer, media_type="application/json")


async def bare(_scope: Any, receive: Any, send: Any) -> None:
    """Give back the body as it came."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


APPS: Final[dict[str, Any]] = {
    "typed": lambda: Litestar([typed], openapi_config=None, logging_config=None),
    "lean": lambda: Litestar([lean], openapi_config=None, logging_config=None),
    "bare": lambda: bare,
}


def main() -> None:
    """Serve until SIGTERM."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = uvicorn.Server(
        uvicorn.Config(
            APPS[sys.argv[1]](),
            loop="none",
            lifespan="off",
            ws="none",
            proxy_headers=False,
            access_log=False,
            log_level="error",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )
    print(f"Ready on port {listener.getsockname()[1]}.", flush=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
