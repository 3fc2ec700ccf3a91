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

import msgspec

from dispatcher.engine.causes import known_in
from dispatcher.engine.codecs import CODECS, Codec, Encoder
from dispatcher.engine.confined import FAILED, NOT_FOUND
from dispatcher.engine.demuxers import media_demuxers
from dispatcher.engine.encoding import Abilities, NoFilmError, encoding_of
from dispatcher.engine.ffmpeg_errors import FfmpegError, FfmpegLimitError, FfmpegMissingError
from dispatcher.engine.hdr import Light, is_hdr, light_of
from dispatcher.engine.sandbox import Access, FfmpegLimits, Sandbox, sandboxes
from dispatcher.engine.streams import Source, Stream, may_be_still, source_of

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
_CHUNK_BYTES: Final = 65_536
_TAIL_BYTES: Final = 4_096
_REPORT_BYTES: Final = 1_000_000
"""Of a report on a source, so much is kept: it lists streams, chapters and tags."""
_TRIED_S: Final = 10
_UNDECODABLE: Final = re.compile(
    r"Decode error rate|Error while decoding stream|Error submitting packet to decoder|"
    r"Error while opening decoder|Error opening output files: Invalid data"
)
_TAIL_LINES: Final = 8
# What ffmpeg says, or dies of, when a limit of its sandbox may be the reason.
_OVER_LIMIT: Final = (
    *("Cannot allocate memory", "Resource temporarily unavailable", "bad_alloc"),
    "max pixel count",
)
_DEATHS_OF_LIMITS: Final = ("SIGKILL", "SIGABRT", "SIGSEGV", "SIGXCPU")
_NO_ACCESS: Final = Access()
_DEFAULT_LIMITS: Final = FfmpegLimits()
_PROXIES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})


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
    abilities: Abilities

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
                filters = await _run([str(path), "-v", "error", "-filters"], sandbox)
                codecs = await _run([str(path), "-v", "error", "-codecs"], sandbox)
                break
            except FfmpegError as error:
                fault = error
        else:
            raise FfmpegMissingError(f"{path} is no ffmpeg: {fault}") from fault
        protocols = told.split("Output:")[0]
        # A line is "D   mov,mp4,m4a  QuickTime"; a "d" after the D marks a device.
        names = [f[1] for line in listed if len(f := line.split(maxsplit=2)) > 1 and f[0] == "D"]
        unproven = cls(
            path,
            {},
            frozenset(protocols.split()),
            tuple(names),
            sandbox,
            _abilities(filters, codecs),
        )
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
    ) -> list[str]:
        """Transcode into a new file; gives what of the source is not in it as it was, in sentences.

        Raises `FfmpegError` if that fails, as `NoFilmError` if there is no film in the source.
        Takes the first video stream that moves, and all that goes with it. `progress` is called
        with the percentage done, if the source's length is known.
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
        asking = _Asking(opening, source, access, self.sandbox)
        found = await asking.source()
        film = await asking.film(found)
        light = await asking.light(film) if film is not None and is_hdr(film) else None
        found = await asking.without_noise(found)
        encoding = encoding_of(found, film, codec, encoder, self.abilities, light)
        length_us = round((found.duration_s or 0) * 1_000_000)

        def on_line(line: str) -> None:
            name, _, value = line.partition("=")
            if name == "out_time_us" and length_us and value.isdecimal():
                progress(min(100.0, round(int(value) * 100 / length_us, 1)))

        await _run(
            [*opening, "-v", "error", "-nostats", "-progress", "pipe:1",
             *encoding.input_options, "-i", source.url, *encoding.options, *_into(output)],
            self.sandbox, access, source.inherits, on_line,
        )  # fmt: skip
        if not _is_written(output):
            raise FfmpegError("ffmpeg ended well but wrote no output")
        return encoding.changes

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
            "-map", "0:v", "-map", "1:a", *_test_card(codec, encoder), *_into(output),
        ]  # fmt: skip
        await _run(command, self.sandbox, Access(folder=output.parent))


class _Asking(NamedTuple):
    """How ffmpeg is asked about a source: what it has, and what it begins with."""

    opening: Sequence[str]
    input: Input
    access: Access
    sandbox: Sandbox

    async def source(self) -> Source:
        """Return what the source has. ffmpeg fails, as it has no output: ignore that."""
        try:
            await self._run("info")
        except FfmpegError as error:
            if (found := source_of(error.printed)) is not None:
                return found
            known = known_in(error.printed)
            if known and known.cause == "source_bad":
                raise FfmpegError(known.sentence, error.printed, cause="source_bad") from error
            raise
        raise FfmpegError("ffmpeg ended well but told nothing of the source")

    async def film(self, source: Source) -> Stream | None:
        """Return the first video stream that moves; `None` if there is none but cover pictures.

        Raises `NoFilmError` if all are still pictures.
        """
        pictures = [it for it in source.of_kind("video") if not it.is_cover]
        for stream in pictures:
            if not may_be_still(source, stream) or await self._moves(stream):
                return stream
        if pictures:
            raise NoFilmError("is a still picture")
        return None

    async def without_noise(self, source: Source) -> Source:
        """Return the source with the codec "none" for tracks of sound that can't be decoded.

        So it is tried: a name of a codec is no proof. Streamed sources are taken at their word.
        """
        if self.input.proxy_port is not None:
            return source
        streams = [
            msgspec.structs.replace(it, codec="none", tag=it.tag or it.codec)
            if it.kind == "audio" and not await self._sounds(it)
            else it
            for it in source.streams
        ]
        return msgspec.structs.replace(source, streams=tuple(streams))

    async def _sounds(self, stream: Stream) -> bool:
        first = ("-map", f"0:{stream.index}", "-frames:a", "1", "-f", "null", "-")
        try:
            await self._run("error", *first, reading=("-t", str(_TRIED_S)))
        except FfmpegError as error:  # also if there is no sound so early: that is no noise
            return not _UNDECODABLE.search(error.printed)
        return True

    async def light(self, film: Stream) -> Light:
        """Return what the first picture tells of its light."""
        first = ("-map", f"0:{film.index}", "-filter:v:0", "showinfo", "-frames:v", "1")
        _, told = await self._run("info", *first, "-f", "null", "-")
        return light_of(told)

    async def _moves(self, stream: Stream) -> bool:
        two = ("-map", f"0:{stream.index}", "-c", "copy", "-frames:v", "2")
        printed, _ = await self._run("error", *two, "-f", "framecrc", "pipe:1")
        return sum(not line.startswith("#") for line in printed.splitlines()) > 1

    async def _run(self, level: str, *output: str, reading: Sequence[str] = ()) -> tuple[str, str]:
        command = [*self.opening, "-v", level, *reading, "-i", self.input.url, *output]
        return await _run_told(
            command, self.sandbox, self.access, self.input.inherits, kept=_REPORT_BYTES
        )


def _abilities(filters: str, codecs: str) -> Abilities:
    """Read `ffmpeg -filters` and `ffmpeg -codecs`: a line has flags, a name and a text."""
    lines = [line.split(maxsplit=2) for line in codecs.splitlines()]
    return Abilities(
        frozenset(it[1] for line in filters.splitlines() if len(it := line.split()) > 1),
        frozenset(it[1] for it in lines if len(it) > 1 and it[0].startswith("D")),
    )


def _test_card(codec: Codec, encoder: Encoder) -> list[str]:
    """Return the options that encode ffmpeg's own picture and tone."""
    shape = [] if not encoder.pixels else ["-pix_fmt", encoder.pixels[0]]
    params = [] if encoder.params is None or not encoder.params[1] else encoder.params
    sound = codec.container.sound[0]
    return [
        *("-c:v", encoder.name, *encoder.options, *params, *shape),
        # As every transcode does: ffmpeg has this option since 5.1.
        *("-fps_mode", "vfr"),
        *("-c:a", sound.encoder, *sound.options),
        *(*codec.container.options, "-f", codec.container.muxer),
    ]


def _into(output: Path) -> list[str]:
    return ["-y", f"file:{output}"]


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
    printed, _ = await _run_told(command, sandbox, access, inherits, on_line)
    return printed


async def _run_told(  # noqa: PLR0913, PLR0917 - as `_run`
    command: Sequence[str],
    sandbox: Sandbox,
    access: Access,
    inherits: Sequence[int],
    on_line: Callable[[str], None] | None = None,
    kept: int = _TAIL_BYTES,
) -> tuple[str, str]:
    """Run ffmpeg as `_run` does, and return also so many of the last bytes of its stderr."""
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
        raise FfmpegError(f"{command[0]} can't be started: {error}", cause="engine") from error
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    printed = asyncio.create_task(_lines(process.stdout, on_line))
    tail, is_cut = b"", False
    try:
        while chunk := await process.stderr.read(_CHUNK_BYTES):
            is_cut |= len(tail) + len(chunk) > kept
            tail = (tail + chunk)[-kept:]
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
    return "\n".join(lines), tail.decode(errors="replace")


async def _lines(stream: asyncio.StreamReader, on_line: Callable[[str], None] | None) -> list[str]:
    """Pass each line to `on_line` as it comes. Without `on_line`, collect and return the lines."""
    lines: list[str] = []
    async for line in stream:
        (on_line or lines.append)(line.decode(errors="replace").rstrip())
    return lines


def _failure(program: str, status: int, said: str, limits: FfmpegLimits) -> FfmpegError:
    if status in {FAILED, NOT_FOUND} and said.startswith("can't be "):
        return FfmpegError(f"{program} {said.strip()}", cause="engine")
    how = f"exit status {status}" if status > 0 else signal.Signals(-status).name
    lines = [f"ffmpeg failed ({how}):", *said.splitlines()[-_TAIL_LINES:]]
    if how not in _DEATHS_OF_LIMITS and not any(text in said for text in _OVER_LIMIT):
        if (known := known_in(said)) is None:
            return FfmpegError("\n".join(lines), said)
        lines[0] += f" {known.sentence}"
        return FfmpegError("\n".join(lines), said, cause=known.cause)
    lines.append(
        f"The limits of this engine: --max-memory-mb {limits.memory_mb}, "
        f"--max-cpu-hours {limits.cpu_hours:g}, --max-megapixels {limits.megapixels:g}"
    )
    return FfmpegLimitError("\n".join(lines), said, cause="engine")


def _environment(proxy_port: int | None) -> dict[str, str]:
    """Return this process's environment, but with the engine's proxy or none."""
    kept = {name: v for name, v in os.environ.items() if name.lower() not in _PROXIES}
    return kept if proxy_port is None else kept | {"http_proxy": f"http://127.0.0.1:{proxy_port}"}
