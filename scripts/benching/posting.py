"""Posting a job over and over: with wrk where it can be, else with this project's own client."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

from .figures import Sample
from .load import BODY, closed_loop, run, submit
from .processes import HOST, KEY

__all__ = ["by_wrk", "post"]

SCRIPT: Final = Path(__file__).with_name("post.lua")
LATE_S: Final = 60


class _Summary(msgspec.Struct):
    requests: int
    elapsed_us: int
    p50_us: int
    p99_us: int
    longest_us: int
    failed: int


def by_wrk(seconds: float) -> bool:
    """Tell whether wrk makes the load. It counts in whole seconds."""
    return shutil.which("wrk") is not None and seconds >= 1


def post(port: int, connections: int, seconds: float) -> Sample:
    """Post jobs in closed loops."""
    if by_wrk(seconds):
        return _with_wrk(port, connections, seconds)
    return run(closed_loop(port, connections, seconds, submit))


def _with_wrk(port: int, connections: int, seconds: float) -> Sample:
    url = f"http://{HOST}:{port}/jobs/"
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{round(seconds)}s", "-s", SCRIPT, url, "--", BODY],
        env={**os.environ, "DISPATCHER_API_KEY": KEY},
        capture_output=True,
        timeout=seconds + LATE_S,
        check=True,
    )
    said = msgspec.json.decode(done.stdout.splitlines()[-1], type=_Summary)
    if said.failed or not said.requests:
        raise RuntimeError(f"wrk failed {said.failed} of {said.requests} requests")
    return Sample(
        said.requests,
        said.requests / said.elapsed_us * 1e6,
        said.p50_us / 1e3,
        said.p99_us / 1e3,
        said.longest_us / 1e3,
    )
