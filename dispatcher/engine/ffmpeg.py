"""Find ffmpeg, find out what it can do, and run it.

Laws:
- Arguments are passed to ffmpeg as a list, never through a shell. Sources and outputs always begin
  with their protocol, so ffmpeg can't take them for options.
- A source is read with listed demuxers and the protocols that it needs. ffmpeg runs in a sandbox.
- A transcode succeeds only if source and output are known to be whole, as `verification` tells.
"""

import asyncio
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import msgspec

from dispatcher.engine.codecs import Codec, Encoder, Target
from dispatcher.engine.cut_subtitles import cut_text
from dispatcher.engine.cutting import Cut, cut_of
from dispatcher.engine.demuxers import media_demuxers
from dispatcher.engine.encoding import Abilities, Encoding, encoding_of, texts_to_cut
from dispatcher.engine.ends import cut_off
from dispatcher.engine.ffmpeg_errors import (
    FfmpegError,
    FfmpegLimitError,
    FfmpegMissingError,
    FfmpegStalledError,
    VerificationError,
)
from dispatcher.engine.hardware import HwAccel
from dispatcher.engine.inspection import Inspected, inspected
from dispatcher.engine.messages import Messages
from dispatcher.engine.probing import Card, encode_test_card, is_written, proven_encoders
from dispatcher.engine.running import STALL_S, Run, run
from dispatcher.engine.sandbox import Access, FfmpegLimits, Sandbox, sandboxes
from dispatcher.engine.scan import PacketScan
from dispatcher.engine.verification import (
    Verify,
    begins_in_time,
    check_output,
    check_source,
    reaches_end,
    remarks_on,
    scanned_of,
)
from dispatcher.engine.vmaf import Found, can_score, film_of, part_of, search
from dispatcher.recipes import Recipe
from dispatcher.results import Extent, Result

__all__ = [
    "Checks",
    "Ffmpeg",
    "FfmpegError",
    "FfmpegLimitError",
    "FfmpegMissingError",
    "FfmpegStalledError",
    "Input",
    "VerificationError",
    "find_ffmpeg",
]

SILENCE_S: Final = 30
"""How long a network source may send nothing."""
_DEFAULT_LIMITS: Final = FfmpegLimits()
_LISTED: Final = ("-v", "repeat+level+info")
_SEARCHING: Final = 0.25
"""The part of the progress that is the search for a score, if there is one."""


class Checks(NamedTuple):
    """How much of a transcode is verified, and how long ffmpeg may make no progress.

    `pyav` is where PyAV is, which decodes the end of a source; without it that is not done.
    """

    verify: Verify = "packets"
    stall_s: float = STALL_S
    pyav: Path | None = None


_DEFAULT_CHECKS: Final = Checks()


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
    checks: Checks = _DEFAULT_CHECKS
    scores_vmaf: bool = False

    @classmethod
    async def probe(
        cls,
        path: Path,
        limits: FfmpegLimits = _DEFAULT_LIMITS,
        checks: Checks = _DEFAULT_CHECKS,
        hwaccel: HwAccel = "none",
    ) -> "Ffmpeg":
        """Try every codec with a real encode, and keep those that work.

        ffmpeg's own list is not enough: it has hardware encoders even without the hardware. All
        of this is done in the most confined sandbox in which this ffmpeg runs at all. Raises
        `FfmpegMissingError` if it can encode nothing, or not by the hardware that is named.
        """
        for sandbox in await sandboxes(limits):
            try:
                protocols, demuxers, filters, codecs, listed = [
                    (await run(Run([str(path), "-v", "error", f"-{of}"], sandbox))).printed
                    for of in ("protocols", "demuxers", "filters", "codecs", "encoders")
                ]
                break
            except FfmpegError as error:
                fault = error
        else:
            raise FfmpegMissingError(f"{path} is no ffmpeg: {fault}") from fault
        readable = " ".join(protocols).split("Output:")[0]
        # A line is "D   mov,mp4,m4a  QuickTime"; a "d" after the D marks a device.
        names = [f[1] for it in demuxers if len(f := it.split(maxsplit=2)) > 1 and f[0] == "D"]
        unproven = cls(
            path,
            {},
            frozenset(readable.split()),
            tuple(names),
            sandbox,
            _abilities(filters, codecs),
            checks,
        )
        # A line is " V....D libx264  H.264 / AVC".
        named = frozenset(f[1] for it in listed if len(f := it.split(maxsplit=2)) > 1)
        encoders, scores_vmaf = await asyncio.gather(
            proven_encoders(path, sandbox, hwaccel, named), _scores(unproven)
        )
        return unproven._replace(encoders=encoders, scores_vmaf=scores_vmaf)

    def target(self, codec: str, recipe: Recipe | None = None) -> Target:
        """Return what is to be made for a job: `codec` is one of `encoders`."""
        row, encoder = self.encoders[codec]
        return Target(row, encoder, recipe or Recipe())

    @property
    def streams(self) -> bool:
        """Whether it can read from a web server by itself."""
        return "http" in self.protocols

    async def benchmark(self) -> float:
        """Time a short real encode with the first codec that works; gives seconds."""
        codec, encoder = next(iter(self.encoders.values()))
        started = time.monotonic()
        with TemporaryDirectory(prefix="dispatcher-benchmark-") as folder:
            output = Path(folder, "benchmark")
            await encode_test_card(
                self.path, self.sandbox, Card("640x360", 2), codec, encoder, output
            )
        return round(time.monotonic() - started, 3)

    async def transcode(
        self,
        source: Input,
        codec: str,
        output: Path,
        progress: Callable[[float], None] = lambda _: None,
        recipe: Recipe | None = None,
    ) -> Result:
        """Transcode into a new file; gives what was done.

        Raises `FfmpegError` if that fails, as `NoFilmError` if there is no film in the source, and
        as `VerificationError` if the source or the output is not whole. Takes the first video
        stream that moves, and all that goes with it. `progress` is called with the percentage done,
        if the source's length is known.
        """
        target = self.target(codec, recipe)
        is_web = source.proxy_port is not None
        reading = self._reading(source, output)
        found = await inspected(reading, tries_sound=not is_web)
        cut = cut_of(target.recipe.clip, found.source)
        verifies = self.checks.verify != "none"
        if verifies and not is_web and cut.length_s is None:
            await self._check_end(source, reading, found.said)
        searched: Found | None = None
        if target.recipe.vmaf is not None:
            searched = await self._searched(target, reading, found, progress)
            target = msgspec.structs.replace(target, number=searched.number)
            progress = _after(progress, _SEARCHING)
        work = _Work(target, found, cut, progress)
        done = await self._encoded(work, reading, output)
        if cut.seek_s and verifies and not done.begins_in_time:
            # The source has no key frame where the part begins, or ffmpeg did not find it.
            work = work._replace(cut=cut_of(target.recipe.clip, found.source, from_start=True))
            done = await self._encoded(work, reading, output)
        if not is_written(output):
            raise FfmpegError("ffmpeg ended well but wrote no output")
        told, length_s = [*remarks_on(done.said, done.scan)], None
        if verifies:
            if work.cut.length_s is not None and not reaches_end(done.scan, work.cut):
                if not is_web:
                    await self._check_end(source, reading, found.said)
                told.append(f"the clip ends with the source, at {done.ends_s:g} s")
            check_source(done.said, done.scan, is_web=is_web, cut=work.cut)
            length_s = await self._check_output(done.said, done.scan, output, work.cut)
        rate, encoding = target.encoder.rate, done.encoding
        return Result(
            encoder=target.encoder.name,
            crf=encoding.number if rate is not None and rate.is_crf else None,
            vmaf=None if searched is None else searched.vmaf,
            source=Extent(_size(source), found.said.duration_s or found.source.duration_s),
            output=Extent(output.stat().st_size, length_s),
            kept=tuple(encoding.kept),
            left_out=tuple(encoding.left_out),
            speed=None if length_s is None else round(length_s / max(done.took_s, 0.001), 2),
            warnings=(
                *told,
                *(() if searched is None else searched.warnings),
                *encoding.changes,
            ),
        )

    async def _searched(
        self, target: Target, reading: Run, found: Inspected, progress: Callable[[float], None]
    ) -> Found:
        """Search the number of the encoder that reaches the score of a recipe."""
        if target.recipe.vmaf is None or not self.scores_vmaf:
            raise FfmpegError(
                "the recipe has a 'vmaf', and this engine's ffmpeg can't score", cause="engine"
            )

        def encoding_for(number: float) -> Encoding:
            at = msgspec.structs.replace(target, number=number)
            return encoding_of(found.source, found.film, at, self.abilities, found.light)

        return await search(
            reading,
            film_of(found, target, encoding_for),
            target.recipe.vmaf,
            part_of(target.recipe, found.said.duration_s),
            lambda part: progress(round(100 * _SEARCHING * part, 1)),
        )

    async def _encoded(self, work: "_Work", reading: Run, output: Path) -> "_Done":
        """Encode a part of a source, and scan it."""
        found, cut = work.found, work.cut
        texts = await self._cut_texts(work, reading, output)
        encoding = encoding_of(
            found.source,
            found.film,
            work.target,
            self.abilities,
            found.light,
            cut,
            {stream: number for number, stream in enumerate(texts, start=1)},
        )
        whole_s = found.said.duration_s
        length_s = cut.length_s or (whole_s and whole_s - cut.seek_s - cut.run_up_s)

        def on_line(line: str) -> None:
            name, _, value = line.partition("=")
            if name == "out_time_us" and length_s and value.isdecimal():
                work.progress(min(100.0, round(int(value) / length_s / 10_000, 1)))

        film = 0 if found.film is None else found.film.index
        scan = PacketScan(scanned_of(found.said, f"0:{film}"))
        encode = reading.opening(*encoding.input_options, "-nostats", "-progress", "pipe:1")
        started = time.monotonic()
        ran = await run(
            encode._replace(
                command=[
                    *encode.command,
                    *(word for it in texts.values() for word in _reading_text(it)),
                    *encoding.options,
                    *_into(output),
                ],
                access=encode.access.to(work.target.encoder.device),
                output=output,
                scan=scan if self.checks.verify != "none" else None,
                on_line=on_line,
            )
        )
        return _Done(
            ran.said,
            scan,
            encoding,
            time.monotonic() - started,
            begins_in_time(ran.said, scan, film, cut),
            round(cut.seek_s + scan.end_s, 3),
        )

    async def _cut_texts(self, work: "_Work", reading: Run, output: Path) -> dict[int, Path]:
        """Write the subtitles of a clip that ffmpeg can't cut to files, by their streams."""
        wanted = texts_to_cut(work.found.source, work.target, self.abilities, work.cut)
        texts = {it.index: output.with_name(f"subtitles-{it.index}.ass") for it in wanted}
        if texts:
            outputs = [
                ("-map", f"0:{stream}", "-c:s", "ass", "-f", "ass", *_into(path))
                for stream, path in texts.items()
            ]
            await run(
                reading._replace(
                    command=[*reading.command, *(word for words in outputs for word in words)],
                    output=next(iter(texts.values())),
                )
            )
        for path in texts.values():
            path.write_text(cut_text(path.read_text("utf-8", "replace"), work.cut), "utf-8")
        return texts

    def _reading(self, source: Input, output: Path) -> Run:
        """Return a run of ffmpeg that opens a source, in the folder of an output."""
        is_web = source.proxy_port is not None
        command = [
            *(str(self.path), "-hide_banner", "-nostdin", *_LISTED),
            *("-protocol_whitelist", ",".join(source.protocols)),
            *("-format_whitelist", ",".join(media_demuxers(self.demuxers, playlists=is_web))),
            *("-max_pixels", str(round(self.sandbox.limits.megapixels * 1_000_000))),
            *(("-rw_timeout", str(SILENCE_S * 1_000_000)) if is_web else ()),
            *("-i", source.url),
        ]
        access = Access(
            [source.url.removeprefix("file:")] if source.url.startswith("file:") else [],
            output.absolute().parent,
            source.proxy_port,
        )
        return Run(command, self.sandbox, access, source.inherits, stall_s=self.checks.stall_s)

    async def _check_end(self, source: Input, reading: Run, listed: Messages) -> None:
        """Raise `VerificationError` if a file was cut off, as far as its end tells."""
        why = await cut_off(
            source.url.removeprefix("file:"),
            format_=listed.format,
            pyav=self.checks.pyav,
            demuxers=media_demuxers(self.demuxers, playlists=False),
            sandbox=self.sandbox,
            inherits=source.inherits,
            timeout_s=self.checks.stall_s,
        )
        if why is not None:
            # To tell how much is missing, if the file says how long it is.
            scan = PacketScan(scanned_of(listed))
            ran = await run(reading._replace(scan=scan, fails=False))
            check_source(ran.said, scan, is_web=False)
            raise VerificationError(
                f"the source was cut off after {scan.end_s:.1f} s: {why}", cause="source_bad"
            )

    async def _check_output(
        self, said: Messages, scan: PacketScan, output: Path, cut: Cut
    ) -> float:
        """Read the output, and return its length in seconds.

        Raises `VerificationError` if not all of the source, or of the part, is in it.
        """
        found = PacketScan(["0:v?", "0:a?"])
        command = [
            *(str(self.path), "-hide_banner", "-nostdin", *_LISTED, "-nostats"),
            *("-protocol_whitelist", "file", "-i", f"file:{output}"),
        ]
        if decodes := self.checks.verify == "full":
            command += ["-progress", "pipe:1", "-map", "0:V?", "-map", "0:a?", "-f", "null", "-"]
        access = Access(folder=output.absolute().parent)
        work = Run(command, self.sandbox, access, scan=found, stall_s=self.checks.stall_s)
        try:
            of = (await run(work)).said
        except FfmpegStalledError:
            raise
        except FfmpegError as error:
            raise VerificationError(f"the output can't be read: {error}", cause="engine") from error
        if decodes and of.errors:
            raise VerificationError(
                f"the output can't be decoded: {of.first_error}", cause="engine"
            )
        check_output(said, scan, of, found, cut)
        return round(found.length_s, 3)


class _Work(NamedTuple):
    """What is to be encoded: what of a source, which was inspected, and as what."""

    target: Target
    found: Inspected
    cut: Cut
    progress: Callable[[float], None]


class _Done(NamedTuple):
    """An encode that has ended: what ffmpeg said, the packets of the source, how it was done."""

    said: Messages
    scan: PacketScan
    encoding: Encoding
    took_s: float
    begins_in_time: bool
    ends_s: float


async def _scores(ffmpeg: Ffmpeg) -> bool:
    if "libvmaf" not in ffmpeg.abilities.filters:
        return False
    with TemporaryDirectory(prefix="dispatcher-probe-") as folder:
        return await can_score(ffmpeg.path, ffmpeg.sandbox, Path(folder))


def _after(progress: Callable[[float], None], part: float) -> Callable[[float], None]:
    """Return what tells the progress of all that comes after a first part."""
    return lambda percent: progress(round(100 * part + (1 - part) * percent, 1))


def _abilities(filters: Sequence[str], codecs: Sequence[str]) -> Abilities:
    """Read `ffmpeg -filters` and `ffmpeg -codecs`: a line has flags, a name and a text."""
    lines = [line.split(maxsplit=2) for line in codecs]
    return Abilities(
        frozenset(it[1] for line in filters if len(it := line.split()) > 1),
        frozenset(it[1] for it in lines if len(it) > 1 and it[0].startswith("D")),
    )


def _into(output: Path) -> list[str]:
    return ["-y", f"file:{output}"]


def _reading_text(path: Path) -> list[str]:
    return ["-protocol_whitelist", "file", "-f", "ass", "-i", f"file:{path}"]


def _size(source: Input) -> int | None:
    """Return the size of a source that is a file, in bytes."""
    try:
        path = Path(source.url.removeprefix("file:"))
        return path.stat().st_size if source.proxy_port is None else None
    except OSError:
        return None
