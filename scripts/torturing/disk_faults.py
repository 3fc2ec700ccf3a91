"""How a disk is made to fail, by the kernel's own means: no room, a limit, an error, a mount."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

from .serving import Served

__all__ = ["SIZE_MB", "break_ext4", "failure_of", "filled", "limited", "tmpfs"]

SIZE_MB: Final = 24
UNLIMITED: Final = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@contextmanager
def tmpfs(size_mb: int = SIZE_MB) -> Iterator[tuple[Path, str]]:
    """Give a small disk of our own, and why it is none if it is an ordinary directory."""
    with TemporaryDirectory(prefix="torture-") as name:
        refusal = failure_of("mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "torture", name)
        try:
            yield Path(name), refusal
        finally:
            if not refusal:
                failure_of("umount", "--lazy", name)


@contextmanager
def filled(directory: Path, random: Random) -> Iterator[None]:
    """Leave hardly any room, or none, until the block ends; the load takes what is left."""
    ballast = directory / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass
        with ballast.open("rb+") as file:
            left = random.choice([0, random.randrange(16 << 10), random.randrange(256 << 10)])
            file.truncate(max(0, file.seek(0, os.SEEK_END) - left))
        yield
    finally:
        ballast.unlink()


@contextmanager
def limited(server: Served, random: Random) -> Iterator[None]:
    """Let no file of the dispatcher grow beyond a size that its log reaches, wherever in a page."""
    wal = server.db.with_name(server.db.name + "-wal")
    beyond = random.choice([-wal.stat().st_size, random.randrange(40), random.randrange(16 << 10)])
    limit = wal.stat().st_size + beyond
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (limit, UNLIMITED[1]))
    try:
        yield
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, UNLIMITED)


def break_ext4(image: Path) -> str:
    """Have the kernel meet an error in the file system of an image; give why that can't be."""
    device = subprocess.run(
        ["losetup", "-n", "-O", "NAME", "-j", str(image)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    try:
        Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error").write_text("1", "ascii")
    except OSError as error:
        return f"{error}"
    return ""


def failure_of(*command: str) -> str:
    """Run a command, and give what it says if it fails."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    return "" if ended.returncode == 0 else f"{command[0]}: {ended.stderr.strip().splitlines()[0]}"
