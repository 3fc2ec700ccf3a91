"""Submissions in batches: how many a second, by the clock and by the server's own CPU."""

import http.client
import json
import time
from typing import Final, NamedTuple

from .figures import Spread
from .processes import HOST, KEY, Server
from .report import Table, Target

__all__ = ["BatchSample", "post_batches", "table", "target"]

BATCH: Final = 1_000
AIM: Final = 50_000
WARM_UP: Final = 3


class BatchSample(NamedTuple):
    """Submissions that were answered, and a second of the clock and of the server's CPU."""

    done: int
    per_s: float
    per_cpu_s: float


def post_batches(server: Server, burst_s: float) -> BatchSample:
    """Post batches over one connection, one after the other."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=60)
    headers = {"X-API-Key": KEY, "Content-Type": "application/x-ndjson"}
    done = 0

    def post() -> None:
        nonlocal done
        lines = (
            {"source_url": f"http://media/{done + n}.mp4", "target_codec": "h264", "job_size": 7.5}
            for n in range(BATCH)
        )
        body = "\n".join(map(json.dumps, lines))
        connection.request("POST", "/jobs/batch", body, headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != http.client.OK or answer.count(b'{"status":200,') != BATCH:
            raise RuntimeError(f"a batch was answered {response.status}: {answer[:200]!r}")
        done += BATCH

    for _ in range(WARM_UP):
        post()
    warm, begin_s, begin_cpu_s = done, time.monotonic(), server.process.cpu_s
    while time.monotonic() - begin_s < burst_s or done == warm:
        post()
    measured, cpu_s = done - warm, server.process.cpu_s - begin_cpu_s
    per_s = measured / (time.monotonic() - begin_s)
    connection.close()
    return BatchSample(done, per_s, measured / cpu_s if cpu_s else 0.0)


def table(samples: list[BatchSample]) -> Table:
    """Sum up the rounds."""
    per_s = Spread.of([sample.per_s for sample in samples])
    per_cpu_s = Spread.of([sample.per_cpu_s for sample in samples])
    return Table(
        f"Submissions in batches of {BATCH:,}, over one connection",
        ("contestant", "submissions/s", "submissions/s of the server's CPU"),
        [("dispatcher, in batches", str(per_s), str(per_cpu_s))],
    )


def target(samples: list[BatchSample]) -> Target:
    """Compare the rounds with the aim."""
    found = Spread.of([sample.per_cpu_s for sample in samples])
    return Target(
        "A.batches",
        f"at least {AIM:,} durable submissions a second of the server's CPU",
        f"{found} a second",
        found.median >= AIM if found.median else None,
    )
