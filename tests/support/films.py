"""Films that a test makes with ffmpeg, and what ffmpeg finds in one."""

import subprocess
from pathlib import Path

from dispatcher.engine.streams import Source, Stream, source_of
from tests.support.media import FFMPEG

__all__ = ["film_in", "found", "make", "ran", "times_in"]


def ran(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [FFMPEG, "-hide_banner", "-nostdin", "-y", *arguments]
    return subprocess.run(command, capture_output=True, check=False, timeout=60)


def make(*arguments: str | Path) -> Path:
    made = ran("-v", "error", *arguments)
    assert made.returncode == 0, made.stderr
    return Path(arguments[-1])


def found(path: Path) -> Source:
    told = source_of(ran("-i", path).stderr.decode())
    assert told is not None
    return told


def film_in(path: Path) -> Stream:
    return found(path).of_kind("video")[0]


def times_in(path: Path, stream: str = "0:V:0") -> list[float]:
    lines = ran("-i", path, "-map", stream, "-c", "copy", "-f", "framecrc", "-").stdout.decode()
    [base] = [line.split()[-1] for line in lines.splitlines() if line.startswith("#tb")]
    ticks, per = (int(number) for number in base.split("/"))
    packets = [line.split(",") for line in lines.splitlines() if not line.startswith("#")]
    return sorted(int(packet[2]) * ticks / per for packet in packets)
