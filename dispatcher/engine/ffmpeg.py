"""Find ffmpeg, find out what it can do, and run it.

Laws:
- Arguments are passed to ffmpeg as a list, never through a shell. Sources and outputs always begin
  with their protocol, so ffmpeg can't take them for options.
- A source is read with listed demuxers and the protocols that it needs. ffmpeg runs in a sandbox.
- ffmpeg dies with the engine, even if the engine is killed.
- A cancelled run returns only when ffmpeg has ended.
"""

import asyncio
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from dispatcher.client import FailureCause
from dispatcher.engine.codecs import CODECS, Codec, Encoder
from dispatcher.engine.confined import FAILED, NOT_FOUND
from dispatcher.engine.demuxers import media_demuxers
from dispatcher.engine.sandbox import Access, FfmpegLimits, Sandbox, sandboxes
from dispatcher.errors import DispatcherError

__all__ = [
    "Ffmpeg",
    "FfmpegError",
    "FfmpegLimitError",
    "FfmpegMissingError",
    "Input",
    "find_ffmpeg",
]

STALL_S: Final = 30
"""How long a network source may send nothing."""
_TAIL_BYTES: Final = 4_096
_TAIL_LINES: Final = 8
_DURATION: Final = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
# What ffmpeg says, or dies of, when a limit of its sandbox may be the reason.
_OVER_LIMIT: Final = (
    *("Cannot allocate memory", "Resource temporarily unavailable", "bad_alloc"),
    "max pixel count",
)
_DEATHS_OF_LIMITS: Final = ("SIGKILL", "SIGABRT", "SIGSEGV", "SIGXCPU")
_NO_ACCESS: Final = Access()
_DEFAULT_LIMITS: Final = FfmpegLimits()
_PROXIES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})


class FfmpegMissingError(DispatcherError):
    """There is no usable ffmpeg."""


class FfmpegError(DispatcherError):
    """ffmpeg failed. The text has its exit status and last lines, `printed` a few more.

    `cause` is what the engine reports as the cause (docs/protocol.md).
    """

    def __init__(self, text: str, printed: str = "", cause: FailureCause | None = None) -> None:
        super().__init__(text)
        self.printed = printed
        self.cause: FailureCause = cause or _cause_in(printed)


_CAUSES: Final[Sequence[tuple[re.Pattern[str], FailureCause]]] = (
    (re.compile(r"No space left on device|Disk quota exceeded|Read-only file system"), "engine"),
    (
        re.compile(
            r"Connection (refused|reset|timed out)|Network is unreachable|No route to host"
            r"|HTTP error 5\d\d|Server returned 5"
            r"|(HTTP error|Server returned) (408|425|429)|Too Many Requests"
        ),
        "source_away",
    ),
    (
        re.compile(
            r"Invalid data found when processing input|moov atom not found|matches no streams"
            r"|[Ff]ormat not on whitelist|maybe incorrect parameters such as"
            r"|does not contain any stream|HTTP error 4\d\d|Server returned 4"
        ),
        "source_bad",
    ),
)
"""What ffmpeg prints, and the cause that this shows; the first that is found counts."""


def _cause_in(printed: str) -> FailureCause:
    return next((cause for pattern, cause in _CAUSES if pattern.search(printed)), "unknown")


class FfmpegLimitError(FfmpegError):
    """ffmpeg failed, perhaps because it reached a limit of this engine. The text names them."""


class Input(NamedTuple):
    """What ffmpeg reads, and the protocols that it may use for that.

    `proxy_port` is that of the proxy on loopback by which it reaches the web; without, it does not.
    `inherits` are open files whose numbers stand in the URL.
    """

    url: str
    protocols: Sequence[str]
    proxy_port: int | None = None
    inherits: Sequence[int] = ()


def find_ffmpeg(named: str | None = None) -> Path:
    """Find ffmpeg: the one named, else on PATH, else from the extra `engine`."""
    if named is not None:
        if (found := shutil.which(named)) is None:
            raise FfmpegMissingError(f"--ffmpeg {named}: there is no such program")
        return Path(found)
    if (found := shutil.which("ffmpeg")) is not None:
        return Path(found)
    try:
        import imageio_ffmpeg  # noqa: PLC0415 - only installed with the extra

        return Path(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise FfmpegMissingError(
            "found no ffmpeg, neither on PATH nor as a Python package; install one with "
            "`pip install 'transcoding-dispatcher[engine]'` or `apt-get install ffmpeg`, or name "
            "one with --ffmpeg"
        ) from error


class Ffmpeg(NamedTuple):
    """An ffmpeg and its proven capabilities. Make it with `probe`."""

    path: Path
    encoders: Mapping[str, tuple[Codec, Encoder]]
    protocols: frozenset[str]
    demuxers: tuple[str, ...]
    sandbox: Sandbox

    @classmethod
    async def probe(cls, path: Path, limits: FfmpegLimits = _DEFAULT_LIMITS) -> "Ffmpeg":
        """Try every codec with a real encode, and keep those that work.

        ffmpeg's own list is not enough: it has hardware encoders even without the hardware. All
        of this is done in the most confined sandbox in which this ffmpeg runs at all.
        """
        for sandbox in await sandboxes(limits):
            try:
                told = await _run([str(path), "-v", "error", "-protocols"], sandbox)
                listed = (await _run([str(path), "-v", "error", "-demuxers"], sandbox)).splitlines()
                break
            except FfmpegError as error:
                fault = error
        else:
            raise FfmpegMissingError(f"{path} is no ffmpeg: {fault}") from fault
        protocols = told.split("Output:")[0]
        # A line is "D   mov,mp4,m4a  QuickTime"; a "d" after the D marks a device.
        names = [f[1] for line in listed if len(f := line.split(maxsplit=2)) > 1 and f[0] == "D"]
        unproven = cls(path, {}, frozenset(protocols.split()), tuple(names), sandbox)
        turns = asyncio.Semaphore(os.cpu_count() or 1)
        with TemporaryDirectory(prefix="dispatcher-probe-") as folder:
            found = await asyncio.gather(
                *(unproven._first_working(codec, Path(folder), turns) for codec in CODECS)
            )
        encoders = {
            name: (codec, encoder)
            for codec, encoder in zip(CODECS, found, strict=True)
            if encoder is not None
            for name in codec.names
        }
        if not encoders:
            raise FfmpegMissingError(f"{path} can encode none of the codecs that engines offer")
        return unproven._replace(encoders=encoders)

    @property
    def streams(self) -> bool:
        """Whether it can read from a web server by itself."""
        return "http" in self.protocols

    async def benchmark(self) -> float:
        """Time a short real encode with the first codec that works; gives seconds."""
        codec, encoder = next(iter(self.encoders.values()))
        started = time.monotonic()
        with TemporaryDirectory(prefix="dispatcher-benchmark-") as folder:
            output = Path(folder, "benchmark" + codec.suffix)
            await self._encode_test_card("640x360", 2, codec, encoder, output)
        return round(time.monotonic() - started, 3)

    async def transcode(
        self,
        source: Input,
        codec_name: str,
        output: Path,
        progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Transcode into a new file. Raises `FfmpegError` if that fails.

        Takes the first video stream that is not a cover picture, and all audio. `progress` is
        called with the percentage done, if the source's length is known.
        """
        codec, encoder = self.encoders[codec_name]
        is_web = source.proxy_port is not None
        opening = [
            *(str(self.path), "-hide_banner", "-nostdin"),
            *("-protocol_whitelist", ",".join(source.protocols)),
            *("-format_whitelist", ",".join(media_demuxers(self.demuxers, playlists=is_web))),
            *("-max_pixels", str(round(self.sandbox.limits.megapixels * 1_000_000))),
            *(("-rw_timeout", str(STALL_S * 1_000_000)) if is_web else ()),
        ]
        access = Access(
            [source.url.removeprefix("file:")] if source.url.startswith("file:") else [],
            output.absolute().parent,
            source.proxy_port,
        )
        length_us = await self._length_us(
            [*opening, "-v", "info", "-i", source.url], access, source.inherits
        )

        def on_line(line: str) -> None:
            name, _, value = line.partition("=")
            if name == "out_time_us" and length_us and value.isdecimal():
                progress(min(100.0, round(int(value) * 100 / length_us, 1)))

        await _run(
            [*opening, "-v", "error", "-nostats", "-progress", "pipe:1", "-i", source.url,
             "-map", "0:V:0", "-map", "0:a?", *_encode(codec, encoder, output)],
            self.sandbox, access, source.inherits, on_line,
        )  # fmt: skip
        if not _is_written(output):
            raise FfmpegError("ffmpeg ended well but wrote no output")

    async def _first_working(
        self, codec: Codec, folder: Path, turns: asyncio.Semaphore
    ) -> Encoder | None:
        for encoder in codec.encoders:
            async with turns:
                output = folder / (codec.names[0] + codec.suffix)
                try:
                    await self._encode_test_card("128x96", 0.4, codec, encoder, output)
                except FfmpegError:
                    continue
                if _is_written(output):
                    return encoder
        return None

    async def _encode_test_card(
        self, size: str, length_s: float, codec: Codec, encoder: Encoder, output: Path
    ) -> None:
        command = [
            str(self.path), "-hide_banner", "-nostdin", "-v", "error",
            "-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d={length_s}",
            "-f", "lavfi", "-i", f"sine=f=440:d={length_s}",
            "-map", "0:v", "-map", "1:a", *_encode(codec, encoder, output),
        ]  # fmt: skip
        await _run(command, self.sandbox, Access(folder=output.parent))

    async def _length_us(
        self, command: Sequence[str], access: Access, inherits: Sequence[int]
    ) -> int | None:
        """Return a source's length, if known. ffmpeg fails as it has no output: ignore that."""
        try:
            await _run(command, self.sandbox, access, inherits)
        except FfmpegError as error:
            if match := _DURATION.search(error.printed):
                hours, minutes, seconds = match.groups()
                return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 1_000_000)
        return None


def _encode(codec: Codec, encoder: Encoder, output: Path) -> list[str]:
    # Most encoders need an even width and height: crop the last row or column of an odd source.
    shape = f"crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0,format={codec.pixels}"
    return [
        "-c:v", encoder.name, *encoder.options, "-vf", shape, *codec.audio, "-sn", "-dn",
        *codec.container_options, "-f", codec.muxer, "-y", f"file:{output}",
    ]  # fmt: skip


def _is_written(output: Path) -> bool:
    return output.exists() and output.stat().st_size > 0


async def _run(
    command: Sequence[str],
    sandbox: Sandbox,
    access: Access = _NO_ACCESS,
    inherits: Sequence[int] = (),
    on_line: Callable[[str], None] | None = None,
) -> str:
    """Run ffmpeg to its end and return what it printed. Raises `FfmpegError` if it failed.

    If `on_line` is given, it is called with each line as it comes, and the result is empty.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *sandbox.around(command, access),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(access.port),
            pass_fds=inherits,
            # Ctrl-C in a terminal signals the whole process group. The engine ends ffmpeg itself.
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # ValueError: an argument with a NUL
        raise FfmpegError(f"{command[0]} can't be started: {error}") from error
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    printed = asyncio.create_task(_lines(process.stdout, on_line))
    tail, is_cut = b"", False
    try:
        while chunk := await process.stderr.read(_TAIL_BYTES):
            is_cut |= len(tail) + len(chunk) > _TAIL_BYTES
            tail = (tail + chunk)[-_TAIL_BYTES:]
        status = await process.wait()
        lines = await printed
    finally:
        printed.cancel()
        if process.returncode is None:
            process.kill()  # a partial output is useless
            await asyncio.shield(process.wait())
    if status != 0:
        if is_cut:  # no part of a line: of a part of a URL nobody can tell what is its password
            tail = tail.partition(b"\n")[2]
        raise _failure(command[0], status, tail.decode(errors="replace"), sandbox.limits)
    return "\n".join(lines)


async def _lines(stream: asyncio.StreamReader, on_line: Callable[[str], None] | None) -> list[str]:
    """Pass each line to `on_line` as it comes. Without `on_line`, collect and return the lines."""
    lines: list[str] = []
    async for line in stream:
        (on_line or lines.append)(line.decode(errors="replace").rstrip())
    return lines


def _failure(program: str, status: int, said: str, limits: FfmpegLimits) -> FfmpegError:
    if status in {FAILED, NOT_FOUND} and said.startswith("can't be "):
        return FfmpegError(f"{program} {said.strip()}")
    how = f"exit status {status}" if status > 0 else signal.Signals(-status).name
    lines = [f"ffmpeg failed ({how}):", *said.splitlines()[-_TAIL_LINES:]]
    if how not in _DEATHS_OF_LIMITS and not any(text in said for text in _OVER_LIMIT):
        return FfmpegError("\n".join(lines), said)
    lines.append(
        f"The limits of this engine: --max-memory-mb {limits.memory_mb}, "
        f"--max-cpu-hours {limits.cpu_hours:g}, --max-megapixels {limits.megapixels:g}"
    )
    return FfmpegLimitError("\n".join(lines), said)


def _environment(proxy_port: int | None) -> dict[str, str]:
    """Return this process's environment, but with the engine's proxy or none."""
    kept = {name: v for name, v in os.environ.items() if name.lower() not in _PROXIES}
    return kept if proxy_port is None else kept | {"http_proxy": f"http://127.0.0.1:{proxy_port}"}
