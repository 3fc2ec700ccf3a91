"""Run ffmpeg with no more of the machine than it needs: files, network, memory and CPU time.

Laws:
- Limits hold on every POSIX system. What else a system offers is found out at the start, by a real
  run of the ffmpeg at hand, and told in one line.
- Confined by Landlock, ffmpeg reads programs, its source and its folder, and writes in its folder;
  it connects to the port of the engine's proxy, or to nothing. A device is reached only by an
  encode that needs it.
"""

import asyncio
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from dispatcher.engine import confined
from dispatcher.engine.codecs import Device

__all__ = ["Access", "FfmpegLimits", "Sandbox", "sandboxes"]

_EVERYTHING: Final = ("/",)
# Programs and libraries, what they look up about the machine, and which certificates to trust.
# Landlock keeps the secrets of other processes in /proc from a confined one.
_PROGRAMS: Final = (
    *("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin"),
    *("/nix/store", "/gnu/store", "/snap"),
    *("/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d"),
    *("/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/ca-certificates"),
    *("/etc/pki/tls/certs", "/etc/pki/ca-trust", "/etc/localtime"),
    *("/proc", "/sys/devices/system", "/sys/fs/cgroup"),
    *("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"),
)
_NAMED_PLACES: Final = ("LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")


def _memory_mb() -> int:
    """Return three quarters of the memory of this machine, or of this container."""
    try:
        most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        most = 16 * 1024**3
    with suppress(OSError, ValueError):  # no container, or one without a limit
        most = min(most, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return max(1_000, most * 3 // 4 // 1_000_000)


class FfmpegLimits(msgspec.Struct, frozen=True):
    """What one run of ffmpeg may use: memory for data, CPU time of all threads, and pixels.

    `megapixels` bounds a picture, width times height; 8K has 33 to 36 of them. `nice` lowers its
    priority: it uses all cores, and must not delay the engine's heartbeats. It encodes with so many
    `threads`; 0 means as many as it thinks best.
    """

    memory_mb: int = msgspec.field(default_factory=_memory_mb)
    cpu_hours: float = 1_000
    megapixels: float = 40
    nice: int = 10
    threads: int = 0


class Access(NamedTuple):
    """What one run of ffmpeg needs besides programs.

    That are paths to read, a folder, the proxy's port, and the files of devices.
    """

    reads: Sequence[str] = ()
    folder: Path | None = None
    port: int | None = None
    devices: Sequence[str] = ()

    def to(self, device: Device) -> "Access":
        """Return an access that has a device too."""
        return self._replace(reads=[*self.reads, *device.reads], devices=device.files)


class Sandbox(NamedTuple):
    """How ffmpeg is confined: Landlock of this version, 0 without, and a network of its own."""

    limits: FfmpegLimits
    landlock: int = 0
    own_network: bool = False
    readable: tuple[str, ...] = _EVERYTHING

    def around(self, command: Sequence[str], access: Access) -> list[str]:
        """Return the command that runs another one confined."""
        asked = [
            f"nice={self.limits.nice}",
            f"parent={os.getpid()}",
            f"limit=DATA:{self.limits.memory_mb * 1_000_000}",
            f"limit=CPU:{max(1, round(self.limits.cpu_hours * 3_600))}",
            "limit=CORE:0",
        ]
        if self.own_network and access.port is None:
            asked.append("network=own")
        if self.landlock:
            reads = (*self.readable, *_places_of(Path(command[0])), *access.reads)
            asked += [f"landlock={self.landlock}", *(f"read={path}" for path in reads)]
            asked += [f"write={path}" for path in access.devices]
            asked += [] if access.folder is None else [f"write={access.folder.absolute()}"]
            asked += [] if access.port is None else [f"port={access.port}"]
        return [sys.executable, "-I", "-S", confined.__file__, *asked, "--", *command]

    @property
    def described(self) -> str:
        """What ffmpeg can't do here, and what it could, as a line for the operator."""
        held, open_ = [], []
        if not self.landlock:
            open_.append("all files, as this system has no Landlock")
        elif self.readable == _EVERYTHING:
            held.append("writes nothing outside its folder")
            open_.append("reading all files, as it does not start without")
        else:
            held.append("reads its source and programs and writes its folder only")
        if self.own_network:
            held.append("has no network but for streams")
        elif self.landlock >= confined.NET_SINCE:
            held.append("makes no TCP connections but for streams")
        if self.landlock < confined.NET_SINCE:
            kept = "of streams" if self.own_network else "of all jobs"
            open_.append(f"the network {kept}, as this system can't restrict it")
        held.append(
            f"uses at most {self.limits.memory_mb} MB of memory and "
            f"{self.limits.cpu_hours:g} hours of CPU time a job"
        )
        text = f"ffmpeg {', '.join(held)}"
        return f"{text}; not confined: {', '.join(open_)}" if open_ else text


async def sandboxes(limits: FfmpegLimits) -> Sequence[Sandbox]:
    """Return what this system offers, the most confined first. The last has only limits.

    The first in which the ffmpeg at hand runs is the one to take.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", confined.__file__), stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    landlock, own_network = 0, 0
    if process.returncode == 0:
        landlock, own_network = (int(number) for number in printed.split())
    found = [Sandbox(limits)]
    if own_network:
        found.insert(0, Sandbox(limits, own_network=True))
    if landlock:
        for readable in (_EVERYTHING, _PROGRAMS):
            found.insert(0, Sandbox(limits, landlock, bool(own_network), readable))
    return found


def _places_of(ffmpeg: Path) -> Iterable[str]:
    """Return where an ffmpeg and its libraries are."""
    for path in {ffmpeg.absolute(), ffmpeg.resolve()}:
        yield str(path)
        yield str(path.parent)
        if path.parent.name == "bin":
            yield str(path.parent.parent / "lib")
    for name in _NAMED_PLACES:
        yield from filter(None, os.environ.get(name, "").split(os.pathsep))
