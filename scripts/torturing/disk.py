"""A disk that is full, that gives errors, that turns read-only, below a dispatcher that is busy.

Laws:
- The faults are the kernel's own, met by the real process in its real writes: a small tmpfs without
  room; a limit on the size of files, which SQLite sees as an I/O error; an ext4 file system that
  has gone read-only after an error. Where this machine does not let us mount, the limit stands in
  for the full disk, and the facts say so.
- While a fault lasts every write is answered with 200 or with 503 and Retry-After, and no read
  fails; whatever was answered with 200, ever, is in the log.
"""

import asyncio
import os
import resource
import subprocess
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx2

from . import Outcome, Tell
from .serving import NotServingError, Served, client_of, findings_in, jobs_in, serving, until

__all__ = ["LONG", "SHORT", "run"]

LONG: Final = 30
SHORT: Final = 1

SIZE_MB: Final = 24
LOADERS: Final = 4
PATIENCE_S: Final = 60
"""The longest that a fault may take to show, or writes to resume."""
SNAPSHOTS: Final = ("--snapshot-every", "100")
UNLIMITED: Final = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

FULL: Final = (
    "On a full disk writes get 503 with Retry-After, reads go on, nothing acknowledged is lost, "
    "and writes resume by themselves when there is room."
)
BROKEN: Final = (
    "After I/O errors, wherever in a write they come, the same holds once they have ended."
)
READ_ONLY: Final = (
    "On a file system that turns read-only, writes get 503 with Retry-After, reads go on, and "
    "nothing acknowledged is lost; where it is read-only from the start, that is said."
)


async def run(rounds: int, seed: int, tell: Tell) -> list[Outcome]:
    """Try all three faults."""
    return [
        await _full(rounds, Random(f"full {seed}"), tell),  # noqa: S311 - no secret
        await _broken(rounds, Random(f"broken {seed}"), tell),  # noqa: S311
        await _read_only(Random(f"read-only {seed}"), tell),  # noqa: S311
    ]


class Load:
    """Clients that submit without a pause, and keep what they were promised."""

    def __init__(self, client: httpx2.AsyncClient, random: Random) -> None:
        self.client = client
        self.acknowledged: set[str] = set()
        self.refused = 0
        self.reads = 0
        self.failures: list[str] = []
        self._random = random
        self._is_over = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Submit until the block ends."""
        self._is_over = False
        loaders = [asyncio.create_task(self._submit()) for _ in range(LOADERS)]
        try:
            yield
        finally:
            self._is_over = True
            await asyncio.gather(*loaders)

    async def _submit(self) -> None:
        while not self._is_over:
            source = "http://media/" + "x" * self._random.randrange(6_000)
            job = {"source_url": source, "target_codec": "h264"}
            try:
                answer = await self.client.post("/jobs/", json=job)
            except httpx2.TransportError as error:
                self.failures.append(f"a submission was not answered: {error!r}")
                return
            match answer.status_code:
                case 200:
                    self.acknowledged.add(answer.json()["job_id"])
                case 503 if "retry-after" in answer.headers:
                    self.refused += 1
                    await asyncio.sleep(0.02)
                case status:
                    self.failures.append(f"a submission got {status}: {answer.text[:200]}")

    async def goes_on(self) -> float:
        """Wait until more is acknowledged, and say how long that took."""
        begun, before = time.monotonic(), len(self.acknowledged)
        await self.reach("no write was taken", lambda: len(self.acknowledged) > before)
        return time.monotonic() - begun

    async def is_refused(self) -> None:
        """Wait until writes are refused, and until /health says so."""
        before = self.refused
        await self.reach("no write was refused", lambda: self.refused > before)

        async def is_told() -> bool:
            health = await self.client.get("/health")
            return health.status_code == 503 and health.json()["status"] == "read-only"  # noqa: PLR2004

        if not await until(is_told, PATIENCE_S):
            self.failures.append("/health never said that writes are refused")

    async def reach(self, otherwise: str, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; that it never does is a failure."""

        async def is_reached() -> bool:
            return condition()

        if not await until(is_reached, PATIENCE_S):
            self.failures.append(f"{otherwise} in {PATIENCE_S} s")

    async def read(self) -> None:
        """Ask in every way that a reader has, and for a job that is there."""
        job_id = self._random.choice(sorted(self.acknowledged))
        for path in (
            "/jobs/?limit=5",
            "/engines/",
            f"/jobs/{job_id}",
            f"/jobs/{job_id}/why",
            f"/jobs/{job_id}/events",
            "/jobs/?limit=1&as_of=1",
            "/events?limit=5",
            "/log/checkpoint",
        ):
            answer = await self.client.get(path)
            self.reads += 1
            if answer.status_code != 200:  # noqa: PLR2004
                self.failures.append(f"GET {path} got {answer.status_code}: {answer.text[:200]}")

    def check_log(self, db: Path) -> None:
        """Check that the log is whole and has all that was acknowledged."""
        self.failures += findings_in(db)
        if lost := self.acknowledged - jobs_in(db):
            self.failures.append(f"acknowledged and lost: {sorted(lost)[:5]}, {len(lost)} in all")


# A full disk


async def _full(rounds: int, random: Random, tell: Tell) -> Outcome:
    begun, facts = time.monotonic(), dict[str, Any]()
    resumed: list[float] = []
    with _tmpfs() as (directory, refusal):
        if refusal:
            facts["the full disk"] = f"a limit on the size of files instead, since {refusal}"
        db = directory / "events.db"
        async with serving(db, *SNAPSHOTS) as server, client_of(server) as client:
            load = Load(client, random)
            tell("snapshots without room")
            facts["snapshots given up"] = await _snapshots_fail(server, load)
            for number in range(rounds):
                tell(f"a full disk, {number + 1} of {rounds}")
                async with load.running():
                    await load.goes_on()
                    fault = _limited(server, random) if refusal else _filled(directory, random)
                    with fault:
                        await load.is_refused()
                        await load.read()
                        if not refusal and number == 0:
                            load.failures += await _backup_fails(db, directory / "copy.db")
                    resumed.append(await load.goes_on())
            if (code := await server.stop()) != 0:
                load.failures.append(f"stopped with exit code {code}")
        load.check_log(db)
    facts |= _counted(load) | {"slowest to resume, s": round(max(resumed), 2)}
    return Outcome("Full disk", FULL, rounds, time.monotonic() - begun, facts, load.failures)


async def _snapshots_fail(server: Served, load: Load) -> int:
    """Leave no room for snapshots alone, which nobody must notice who submits; count them."""

    def given_up() -> int:
        return sum("No snapshot of seq" in line for line in server.said)

    directory = server.db.with_name(server.db.name + ".snapshots")
    directory.mkdir(exist_ok=True)
    is_mounted = not _failure_of("mount", "-t", "tmpfs", "-o", "size=4k", "torture", str(directory))
    if not is_mounted:  # a file in its place does as well
        directory.rmdir()
        directory.touch()
    async with load.running():
        await load.reach("no snapshot was given up", lambda: given_up() > 1)
    if is_mounted:
        _failure_of("umount", str(directory))
    else:
        directory.unlink()
    if load.refused:
        load.failures.append("a snapshot that could not be written kept writes from being taken")
    return given_up()


@contextmanager
def _filled(directory: Path, random: Random) -> Iterator[None]:
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


async def _backup_fails(db: Path, destination: Path) -> list[str]:
    """Back up to where there is no room, which must be told, and leave nothing behind."""
    command = (sys.executable, "-m", "dispatcher", "backup", str(destination), "--db", str(db))
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    _, said = await process.communicate()
    failures = []
    if process.returncode == 0 or not said.strip():
        failures.append(f"a backup without room ended with {process.returncode}: {said!r}")
    if left := [path.name for path in destination.parent.glob(f"*{destination.stem}*")]:
        failures.append(f"a backup without room left {left} behind")
    return failures


# I/O errors


async def _broken(rounds: int, random: Random, tell: Tell) -> Outcome:
    begun = time.monotonic()
    resumed: list[float] = []
    with TemporaryDirectory(prefix="torture-") as name:
        db = Path(name, "events.db")
        async with serving(db, *SNAPSHOTS) as server, client_of(server) as client:
            load = Load(client, random)
            for number in range(rounds):
                tell(f"I/O errors, {number + 1} of {rounds}")
                async with load.running():
                    await load.goes_on()
                    with _limited(server, random):
                        await load.is_refused()
                        await load.read()
                    resumed.append(await load.goes_on())
            errors = sum("disk I/O error" in line for line in server.said)
            if not errors:
                load.failures.append(f"SQLite met no I/O error; it was said: {server.said[-3:]}")
            if (code := await server.stop()) != 0:
                load.failures.append(f"stopped with exit code {code}")
        load.check_log(db)
    facts = _counted(load) | {"I/O errors": errors, "slowest to resume, s": round(max(resumed), 2)}
    return Outcome("I/O errors", BROKEN, rounds, time.monotonic() - begun, facts, load.failures)


@contextmanager
def _limited(server: Served, random: Random) -> Iterator[None]:
    """Let no file of the dispatcher grow beyond a size that its log reaches, wherever in a page."""
    wal = server.db.with_name(server.db.name + "-wal")
    beyond = random.choice([-wal.stat().st_size, random.randrange(40), random.randrange(16 << 10)])
    limit = wal.stat().st_size + beyond
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (limit, UNLIMITED[1]))
    try:
        yield
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, UNLIMITED)


# A read-only file system


async def _read_only(random: Random, tell: Tell) -> Outcome:
    begun = time.monotonic()
    facts: dict[str, Any] = {}
    failures = await _turns_read_only(random, facts, tell) + await _is_read_only(
        random, facts, tell
    )
    return Outcome("Read-only", READ_ONLY, 1, time.monotonic() - begun, facts, failures)


async def _turns_read_only(random: Random, facts: dict[str, Any], tell: Tell) -> list[str]:
    """Let ext4 go read-only below open files, as it does after an error of the device.

    It takes writes again only when it is mounted anew, and that needs the dispatcher to stop.
    """
    tell("a file system that turns read-only")
    with TemporaryDirectory(prefix="torture-") as name:
        image, directory = Path(name, "image"), Path(name, "mounted")
        directory.mkdir()
        image.touch()
        os.truncate(image, SIZE_MB << 20)
        mount = ("mount", "-o", "loop,errors=remount-ro", str(image), str(directory))
        refusal = _failure_of("mkfs.ext4", "-q", str(image)) or _failure_of(*mount)
        if refusal:
            facts["turned read-only"] = f"not tried, since {refusal}; see the I/O errors"
            return []
        try:
            db = directory / "events.db"
            async with serving(db, *SNAPSHOTS) as server, client_of(server) as client:
                load = Load(client, random)
                async with load.running():
                    await load.goes_on()
                    if refusal := _break_ext4(image):
                        facts["turned read-only"] = f"not tried, since {refusal}"
                        return load.failures
                    await load.is_refused()
                    await load.read()
                facts["exit code when stopped then"] = await server.stop()
            if refusal := _failure_of("umount", str(directory)) or _failure_of(*mount):
                return [*load.failures, refusal]
            load.check_log(db)
            async with serving(db) as server, client_of(server) as again:
                load.client = again
                async with load.running():
                    await load.goes_on()
            load.check_log(db)
        finally:
            _failure_of("umount", str(directory))
        facts |= {f"{name}, turned read-only": count for name, count in _counted(load).items()}
        return load.failures


def _break_ext4(image: Path) -> str:
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


async def _is_read_only(random: Random, facts: dict[str, Any], tell: Tell) -> list[str]:
    """Start where nothing can be written, which must be said; and again where it can."""
    tell("a file system that is read-only")
    with _tmpfs() as (directory, refusal):
        if refusal:
            facts["remounted read-only"] = f"not tried, since {refusal}"
            return []
        db = directory / "events.db"
        async with serving(db) as server, client_of(server) as client:
            load = Load(client, random)
            async with load.running():
                await load.goes_on()
                said = _failure_of("mount", "-o", "remount,ro", str(directory))
                facts["remounted read-only below it"] = said or "done"
                if not said:
                    await load.is_refused()
                    await load.read()
                    _failure_of("mount", "-o", "remount,rw", str(directory))
                await load.goes_on()
            server.process.kill()
            await server.process.wait()
        if said := _failure_of("mount", "-o", "remount,ro", str(directory)):
            return [*load.failures, said]
        try:
            async with serving(db):
                load.failures.append("it started where it can't write")
        except NotServingError as error:
            facts["started where it is read-only"] = str(error).replace(str(db), "events.db")
            if str(db) not in str(error) or "Traceback" in str(error):
                load.failures.append(f"what is read-only was told so: {error}")
        _failure_of("mount", "-o", "remount,rw", str(directory))
        async with serving(db) as server, client_of(server) as again:
            load.client = again
            async with load.running():
                await load.goes_on()
        load.check_log(db)
        return load.failures


# What they share


@contextmanager
def _tmpfs() -> Iterator[tuple[Path, str]]:
    """Give a small disk of our own, and why it is none if it is an ordinary directory."""
    with TemporaryDirectory(prefix="torture-") as name:
        refusal = _failure_of("mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "torture", name)
        try:
            yield Path(name), refusal
        finally:
            if not refusal:
                _failure_of("umount", name)


def _failure_of(*command: str) -> str:
    """Run a command, and give what it says if it fails."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    return "" if ended.returncode == 0 else f"{command[0]}: {ended.stderr.strip().splitlines()[0]}"


def _counted(load: Load) -> dict[str, Any]:
    return {
        "acknowledged": len(load.acknowledged),
        "refused": load.refused,
        "reads meanwhile": load.reads,
    }
