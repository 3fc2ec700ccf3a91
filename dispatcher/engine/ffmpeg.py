"""Find ffmpeg, and find out what it can do.

Laws:
- Arguments are passed to ffmpeg as a list, never through a shell. Sources and outputs always begin
  with their protocol, so ffmpeg can't take them for options.
- A source is read with listed demuxers and the protocols that it needs. ffmpeg runs in a sandbox.
"""

import asyncio
import shutil
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from msgspec.structs import replace

from dispatcher.engine.codecs import Codec, Encoder, Target
from dispatcher.engine.demuxers import media_demuxers
from dispatcher.engine.encoding import Abilities
from dispatcher.engine.ffmpeg_errors import (
    FfmpegError,
    FfmpegLimitError,
    FfmpegMissingError,
    FfmpegStalledError,
    VerificationError,
)
from dispatcher.engine.hardware import HwAccel
from dispatcher.engine.probing import Card, encode_test_card, proven_encoders
from dispatcher.engine.running import STALL_S, Run, run
from dispatcher.engine.sandbox import Access, FfmpegLimits, Sandbox, sandboxes
from dispatcher.engine.verification import (
    Verify,
)
from dispatcher.engine.vmaf import can_score
from dispatcher.recipes import Recipe
from dispatcher.segments import ABILITY

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
LISTED: Final = ("-v", "repeat+level+info")
"""So that ffmpeg says all that `messages` reads."""
_BUILD_DIGITS: Final = 12
_DEFAULT_LIMITS: Final = FfmpegLimits()
"""So that ffmpeg says all that `messages` reads."""


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
    version: str | None = None
    build: str = ""
    """All that it says of itself: its version, how it was made, and its libraries."""

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
                protocols, demuxers, filters, codecs, listed, version = [
                    (await run(Run([str(path), "-v", "error", f"-{of}"], sandbox))).printed
                    for of in ("protocols", "demuxers", "filters", "codecs", "encoders", "version")
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
            version=version[0] if version else None,
            build="\n".join(version),
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
        if threads := self.sandbox.limits.threads:
            encoders = tuple(it.with_threads(threads) for it in row.encoders)
            row, encoder = replace(row, encoders=encoders), encoder.with_threads(threads)
        return Target(row, encoder, recipe or Recipe())

    @property
    def streams(self) -> bool:
        """Whether it can read from a web server by itself."""
        return "http" in self.protocols

    @property
    def alike(self) -> tuple[str, ...]:
        """What an engine must have told that transcodes parts of a film that this one splits.

        Of the same settings another build, or another encoder, makes other pictures.
        """
        encoders = sorted({encoder.name for _, encoder in self.encoders.values()})
        digest = sha256("\n".join([self.build, *encoders]).encode()).hexdigest()
        return ABILITY, f"build:{digest[:_BUILD_DIGITS]}"

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

    def reading(self, source: Input, output: Path) -> Run:
        """Return a run of ffmpeg that opens a source, in the folder of an output."""
        is_web = source.proxy_port is not None
        command = [
            *(str(self.path), "-hide_banner", "-nostdin", *LISTED),
            *("-protocol_whitelist", ",".join(source.protocols)),
            *("-format_whitelist", ",".join(media_demuxers(self.demuxers, playlists=is_web))),
            *("-max_pixels", str(round(self.sandbox.limits.megapixels * 1_000_000))),
            *(("-threads", str(threads)) if (threads := self.sandbox.limits.threads) else ()),
            *(("-rw_timeout", str(SILENCE_S * 1_000_000)) if is_web else ()),
            *("-i", source.url),
        ]
        access = Access(
            [source.url.removeprefix("file:")] if source.url.startswith("file:") else [],
            output.absolute().parent,
            source.proxy_port,
        )
        return Run(command, self.sandbox, access, source.inherits, stall_s=self.checks.stall_s)


async def _scores(ffmpeg: Ffmpeg) -> bool:
    if "libvmaf" not in ffmpeg.abilities.filters:
        return False
    with TemporaryDirectory(prefix="dispatcher-probe-") as folder:
        return await can_score(ffmpeg.path, ffmpeg.sandbox, Path(folder))


def _abilities(filters: Sequence[str], codecs: Sequence[str]) -> Abilities:
    """Read `ffmpeg -filters` and `ffmpeg -codecs`: a line has flags, a name and a text."""
    lines = [line.split(maxsplit=2) for line in codecs]
    return Abilities(
        frozenset(it[1] for line in filters if len(it := line.split()) > 1),
        frozenset(it[1] for it in lines if len(it) > 1 and it[0].startswith("D")),
    )
