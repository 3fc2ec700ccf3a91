"""Run ffmpeg to its end, and take in what it prints.

Laws:
- ffmpeg dies with the engine, even if the engine is killed.
- A cancelled run returns only when ffmpeg has ended.
- All that ffmpeg prints is read, however much it is, and little of it is kept.
- A run that makes no progress ends: no new packet, no later time, no other output for `stall_s`.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from dispatcher.engine.confined import FAILED, NOT_FOUND
from dispatcher.engine.ffmpeg_errors import FfmpegError, FfmpegLimitError, FfmpegStalledError
from dispatcher.engine.messages import LINE_BYTES, Messages
from dispatcher.engine.sandbox import Access, FfmpegLimits, Sandbox
from dispatcher.engine.scan import PacketScan

__all__ = ["STALL_S", "Ran", "Run", "run"]

STALL_S: Final = 120.0
_CHUNK_BYTES: Final = 1 << 16
_PRINTED_LINES: Final = 10_000
_LOOKS: Final = 10
"""How often a stall is looked for, in each such time."""
# What ffmpeg says, or dies of, when a limit of its sandbox may be the reason.
_NO_MEMORY: Final = ("Cannot allocate memory", "Resource temporarily unavailable", "bad_alloc")
_OVER_LIMIT: Final = (*_NO_MEMORY, "max pixel count")
_DEATHS_OF_LIMITS: Final = ("SIGKILL", "SIGABRT", "SIGSEGV", "SIGXCPU")
_NO_ACCESS: Final = Access()
_CREDENTIALS: Final = ("AWS_", "AZURE_", "GOOGLE_", "DISPATCHER_")
"""How variables begin that are none of ffmpeg's business, whatever a source makes of it."""
_PROXIES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})


class Run(NamedTuple):
    """A run of ffmpeg: its command, and what it may use.

    `output` is a file that grows while it works. `scan` takes the packets of the input; `on_line`
    gets each line of the standard output. `fails` tells whether to raise if ffmpeg fails.
    """

    command: Sequence[str]
    sandbox: Sandbox
    access: Access = _NO_ACCESS
    inherits: Sequence[int] = ()
    output: Path | None = None
    scan: PacketScan | None = None
    on_line: Callable[[str], None] | None = None
    enough: Callable[[], bool] | None = None
    """Whether the scan has seen enough: then ffmpeg is ended, and the run is a success."""
    fails: bool = True
    stall_s: float = STALL_S

    def opening(self, *options: str) -> "Run":
        """Return a run of a command that ends in its input, with options of that before it."""
        return self._replace(command=[*self.command[:-2], *options, *self.command[-2:]])


class Ran(NamedTuple):
    """A run that has ended: what ffmpeg said, the lines that it printed, and how it failed."""

    said: Messages
    printed: list[str]
    failure: FfmpegError | None = None

    @property
    def report(self) -> str:
        """What it said of its input, as text."""
        return "\n".join(self.said.report)


class _Pulse:
    """When a run has last made progress."""

    def __init__(self, output: Path | None) -> None:
        self._output = output
        self._seen: dict[str, object] = {}
        self._since = time.monotonic()

    def beat(self) -> None:
        self._since = time.monotonic()

    def tell(self, name: str, value: object) -> None:
        """Count a value that is another one than before as progress."""
        if self._seen.get(name) != value:
            self._seen[name] = value
            self.beat()

    async def stalls(self, stall_s: float) -> None:
        """Return when there has been no progress for so long."""
        while (silent_s := time.monotonic() - self._since) < stall_s:
            await asyncio.sleep(max(0.05, min(stall_s / _LOOKS, stall_s - silent_s)))
            if self._output is not None:
                with suppress(OSError):
                    found = self._output.stat()
                    # A file may be rewritten in place, at its end, to have its index in front.
                    self.tell("output", (found.st_size, found.st_mtime_ns))


async def run(work: Run) -> Ran:
    """Run ffmpeg to its end.

    Raises `FfmpegError` if it failed, unless that is to be given, and `FfmpegStalledError` if it
    stalled. With `on_line` there are no lines.
    """
    said, printed, pulse = Messages(), list[str](), _Pulse(work.output)
    counted = asyncio.Event()

    def on_line(line: str) -> None:
        name, _, value = line.partition("=")
        if name in {"out_time_us", "total_size"}:
            pulse.tell(name, value)
        if work.on_line is not None:
            work.on_line(line)
        elif len(printed) < _PRINTED_LINES:
            printed.append(line)

    def on_packet(line: str) -> None:
        pulse.beat()
        if work.scan is not None:
            work.scan.read(line)
        if work.enough is not None and work.enough():
            counted.set()

    process, packets = await _start(work)
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    readers: list[Coroutine[Any, Any, None]] = [
        _pass_on(process.stdout, on_line),
        _pass_on(process.stderr, said.read),
    ]
    if packets is not None:
        readers.append(_pass_on(packets, on_packet))
    end = asyncio.create_task(_end(process, readers))
    stall = asyncio.create_task(pulse.stalls(work.stall_s))
    enough = asyncio.create_task(counted.wait())
    try:
        await asyncio.wait({end, stall, enough}, return_when=asyncio.FIRST_COMPLETED)
        if not end.done() and not enough.done():
            raise FfmpegStalledError(
                f"ffmpeg has stalled: nothing new for {work.stall_s:g} s (--stall-s)",
                cause="unknown" if work.access.port is None else "source_away",
            )
        is_cut_short = not end.done()
    finally:
        for task in (stall, enough):
            task.cancel()
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()  # a partial output is useless
            await asyncio.shield(process.wait())
        with suppress(asyncio.CancelledError):
            await end
    failure = None
    if not is_cut_short and (status := end.result()) != 0:
        failure = _failure(work, status, said)
        if work.fails:
            raise failure
    return Ran(said, printed, failure)


async def _start(work: Run) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader | None]:
    theirs: int | None = None
    packets: asyncio.StreamReader | None = None
    command = list(work.command)
    if work.scan is not None:
        ours, theirs = os.pipe()
        packets = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(packets), os.fdopen(ours, "rb", 0)
        )
        command += work.scan.output(f"pipe:{theirs}")
    try:
        process = await asyncio.create_subprocess_exec(
            *work.sandbox.around(command, work.access),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(work.access.port),
            pass_fds=[*work.inherits, *(() if theirs is None else (theirs,))],
            # Ctrl-C in a terminal signals the whole process group. The engine ends ffmpeg itself.
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # ValueError: an argument with a NUL
        raise FfmpegError(f"{command[0]} can't be started: {error}", cause="engine") from error
    finally:
        if theirs is not None:
            os.close(theirs)  # so that the pipe ends with ffmpeg
    return process, packets


async def _end(
    process: asyncio.subprocess.Process, readers: Sequence[Coroutine[Any, Any, None]]
) -> int:
    await asyncio.gather(*readers)
    return await process.wait()


async def _pass_on(stream: asyncio.StreamReader, on_line: Callable[[str], None]) -> None:
    try:
        async for line in _lines(stream):
            on_line(line)
    finally:
        while await stream.read(_CHUNK_BYTES):  # an unread pipe would hold up the end
            pass


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Give line by line, of each as much as is kept."""
    rest = b""
    while chunk := await stream.read(_CHUNK_BYTES):
        *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        rest = rest[: LINE_BYTES + 1]
        for line in filter(None, lines):
            yield _text(line)
    if rest:
        yield _text(rest)


def _text(line: bytes) -> str:
    if len(line) > LINE_BYTES:
        line = line[:LINE_BYTES].rpartition(b" ")[0]
    return line.decode(errors="replace").rstrip()


def _failure(work: Run, status: int, said: Messages) -> FfmpegError:
    told = said.told
    if status in {FAILED, NOT_FOUND} and told and told[-1].startswith("can't be "):
        return FfmpegError(f"{work.command[0]} {told[-1]}", cause="engine")
    how = f"exit status {status}" if status > 0 else signal.Signals(-status).name
    lines = [f"ffmpeg failed ({how}):", *told]
    if how not in _DEATHS_OF_LIMITS and not any(
        text in line for line in said.recent for text in _OVER_LIMIT
    ):
        if (known := said.known) is None:
            return FfmpegError("\n".join(lines))
        lines[0] += f" {known.sentence}"
        return FfmpegError("\n".join(lines), cause=known.cause)
    limits: FfmpegLimits = work.sandbox.limits
    lines.append(
        f"The limits of this engine: --max-memory-mb {limits.memory_mb}, "
        f"--max-cpu-hours {limits.cpu_hours:g}, --max-megapixels {limits.megapixels:g}"
    )
    # The engine's encoders are proven, so a source that makes ffmpeg crash, or exceeds a bound, is
    # the likelier cause, and must not block engines. But memory may be short by itself.
    is_short_of_memory = how == "SIGKILL" or any(
        text in line for line in said.recent for text in _NO_MEMORY
    )
    return FfmpegLimitError(
        "\n".join(lines), cause="unknown" if is_short_of_memory else "source_bad"
    )


def _environment(proxy_port: int | None) -> dict[str, str]:
    """Return this process's environment, without credentials, with the engine's proxy or none."""
    kept = {
        name: v
        for name, v in os.environ.items()
        if name.lower() not in _PROXIES and not name.startswith(_CREDENTIALS)
    }
    return kept if proxy_port is None else kept | {"http_proxy": f"http://127.0.0.1:{proxy_port}"}
