"""Find ffmpeg, find out what it can do, and run it.

Laws:
- Arguments are passed to ffmpeg as a list, never through a shell. Sources and outputs always begin
  with their protocol, so ffmpeg can't take them for options.
- ffmpeg dies with the engine, even if the engine is killed.
- A cancelled run returns only when ffmpeg has ended.
"""

import asyncio
import ctypes
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from dispatcher.engine.codecs import CODECS, Codec, Encoder
from dispatcher.errors import DispatcherError

__all__ = ["Ffmpeg", "FfmpegError", "FfmpegMissingError", "Input", "find_ffmpeg"]

STALL_S: Final = 30
"""How long a network source may send nothing."""
_TAIL_BYTES: Final = 4_096
_TAIL_LINES: Final = 8
_DURATION: Final = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
# These follow references to other files, or run scripts. No source may do that.
_UNSAFE_DEMUXERS: Final = frozenset(
    {"concat", "hls", "dash", "imf", "image2", "image2pipe", "sdp", "rtsp", "rtp", "sap",
     "webm_dash_manifest", "avisynth", "vapoursynth", "tedcaptions", "live_flv"}
)  # fmt: skip


class FfmpegMissingError(DispatcherError):
    """There is no usable ffmpeg."""


class FfmpegError(DispatcherError):
    """ffmpeg failed. The text has its exit status and last lines, `printed` a few more."""

    def __init__(self, text: str, printed: str = "") -> None:
        super().__init__(text)
        self.printed = printed


class Input(NamedTuple):
    """What ffmpeg reads, and the protocols that it may use for that."""

    url: str
    protocols: Sequence[str]


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

    @classmethod
    async def probe(cls, path: Path) -> "Ffmpeg":
        """Try every codec with a real encode, and keep those that work.

        ffmpeg's own list is not enough: it has hardware encoders even without the hardware.
        """
        try:
            protocols = (await _run([str(path), "-v", "error", "-protocols"])).split("Output:")[0]
            listed = (await _run([str(path), "-v", "error", "-demuxers"])).splitlines()
        except FfmpegError as error:
            raise FfmpegMissingError(f"{path} is no ffmpeg: {error}") from error
        # A line is "D   mov,mp4,m4a  QuickTime"; a "d" after the D marks a device.
        names = [f[1] for line in listed if len(f := line.split(maxsplit=2)) > 1 and f[0] == "D"]
        unproven = cls(path, {}, frozenset(protocols.split()), tuple(names))
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
            await _run(self._test_card("640x360", 2, codec, encoder, output))
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
        limits = ["-protocol_whitelist", ",".join(source.protocols)]
        if "file" in source.protocols:
            safe = (name for name in self.demuxers if not _UNSAFE_DEMUXERS & set(name.split(",")))
            limits += ["-format_whitelist", ",".join(safe)]
        else:
            limits += ["-rw_timeout", str(STALL_S * 1_000_000)]
        opening = [str(self.path), "-hide_banner", "-nostdin", *limits]
        length_us = await _length_us([*opening, "-v", "info", "-i", source.url])

        def on_line(line: str) -> None:
            name, _, value = line.partition("=")
            if name == "out_time_us" and length_us and value.isdecimal():
                progress(min(100.0, round(int(value) * 100 / length_us, 1)))

        await _run(
            [*opening, "-v", "error", "-nostats", "-progress", "pipe:1", "-i", source.url,
             "-map", "0:V:0", "-map", "0:a?", *_encode(codec, encoder, output)],
            on_line,
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
                    await _run(self._test_card("128x96", 0.4, codec, encoder, output))
                except FfmpegError:
                    continue
                if _is_written(output):
                    return encoder
        return None

    def _test_card(
        self, size: str, length_s: float, codec: Codec, encoder: Encoder, output: Path
    ) -> list[str]:
        return [
            str(self.path), "-hide_banner", "-nostdin", "-v", "error",
            "-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d={length_s}",
            "-f", "lavfi", "-i", f"sine=f=440:d={length_s}",
            "-map", "0:v", "-map", "1:a", *_encode(codec, encoder, output),
        ]  # fmt: skip


def _encode(codec: Codec, encoder: Encoder, output: Path) -> list[str]:
    # Most encoders need an even width and height: crop the last row or column of an odd source.
    shape = f"crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0,format={codec.pixels}"
    return [
        "-c:v", encoder.name, *encoder.options, "-vf", shape, *codec.audio, "-sn", "-dn",
        *codec.container_options, "-f", codec.muxer, "-y", f"file:{output}",
    ]  # fmt: skip


def _is_written(output: Path) -> bool:
    return output.exists() and output.stat().st_size > 0


async def _length_us(command: Sequence[str]) -> int | None:
    """Return the length of a source, if known. ffmpeg fails as it has no output: ignore that."""
    try:
        await _run(command)
    except FfmpegError as error:
        if match := _DURATION.search(error.printed):
            hours, minutes, seconds = match.groups()
            return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 1_000_000)
    return None


async def _run(command: Sequence[str], on_line: Callable[[str], None] | None = None) -> str:
    """Run ffmpeg to its end and return what it printed. Raises `FfmpegError` if it failed.

    If `on_line` is given, it is called with each line as it comes, and the result is empty.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # Ctrl-C in a terminal signals the whole process group. The engine ends ffmpeg itself.
            start_new_session=True,
            preexec_fn=_prepare_child,
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
        said = tail.decode(errors="replace")
        how = f"exit status {status}" if status > 0 else signal.Signals(-status).name
        raise FfmpegError(
            "\n".join([f"ffmpeg failed ({how}):", *said.splitlines()[-_TAIL_LINES:]]), said
        )
    return "\n".join(lines)


async def _lines(stream: asyncio.StreamReader, on_line: Callable[[str], None] | None) -> list[str]:
    """Pass each line to `on_line` as it comes. Without `on_line`, collect and return the lines."""
    lines: list[str] = []
    async for line in stream:
        (on_line or lines.append)(line.decode(errors="replace").rstrip())
    return lines


_NICENESS: Final = 10
_PR_SET_PDEATHSIG: Final = 1  # prctl(2), Linux only
_libc: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


def _prepare_child() -> None:
    """Lower this process's priority, and have the kernel kill it when its parent dies.

    ffmpeg uses all cores, and must not delay the engine's heartbeats.
    """
    os.nice(_NICENESS)
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
