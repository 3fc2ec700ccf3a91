"""Transcode a film once, as an engine or as a bare ffmpeg, and print how long that took.

python -m benching.transcoding_once bare|none|packets|full SOURCE OUTPUT
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import imageio_ffmpeg

from dispatcher.engine.encoding import encoding_of
from dispatcher.engine.ends import find_pyav
from dispatcher.engine.ffmpeg import Checks, Ffmpeg, Input
from dispatcher.engine.inspection import inspected
from dispatcher.engine.running import Run
from dispatcher.engine.sandbox import Access
from dispatcher.engine.sources import FILE_PROTOCOLS
from dispatcher.engine.transcoding import transcode
from dispatcher.engine.verification import Verify

CODEC = "h264"
VERIFIED: dict[str, Verify] = {"none": "none", "packets": "packets", "full": "full"}


async def main(kind: str, source: Path, output: Path) -> None:
    """Prepare all that an engine does once, then do it by the clock."""
    verify = VERIFIED.get(kind, "packets")
    ffmpeg = await Ffmpeg.probe(
        Path(imageio_ffmpeg.get_ffmpeg_exe()), checks=Checks(verify, pyav=find_pyav())
    )
    read = Input(f"file:{source}", FILE_PROTOCOLS)
    work = _bare(await _command(ffmpeg, source, output)) if kind == "bare" else None

    async def transcoded() -> None:
        await transcode(ffmpeg, read, CODEC, output)

    print(json.dumps(await _timed(work or transcoded)))
    output.unlink()


async def _command(ffmpeg: Ffmpeg, source: Path, output: Path) -> list[str]:
    """Return the arguments that an engine gives for a source, but for those of its checks."""
    opening = [str(ffmpeg.path), "-hide_banner", "-nostdin", "-v", "repeat+level+info"]
    opening += ["-i", f"file:{source}"]
    access = Access([str(source)], output.absolute().parent)
    found = await inspected(Run(opening, ffmpeg.sandbox, access), tries_sound=True)
    target = ffmpeg.target(CODEC)
    encoding = encoding_of(found.source, found.film, target, ffmpeg.abilities, found.light)
    return [*opening, *encoding.options, "-y", f"file:{output}"]


def _bare(command: list[str]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, stderr=quiet)
        if status := await process.wait():
            raise RuntimeError(f"{command[0]} failed with exit status {status}")

    return run


async def _timed(work: Callable[[], Awaitable[None]]) -> dict[str, float]:
    begun, before = time.monotonic(), _cpu_s()
    await work()
    return {"wall_s": time.monotonic() - begun, "cpu_s": _cpu_s() - before}


def _cpu_s() -> float:
    used = [resource.getrusage(it) for it in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(it.ru_utime + it.ru_stime for it in used)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
