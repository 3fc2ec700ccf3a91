"""A file system that turns read-only below a dispatcher that is busy, or is so from the start."""

import os
import time
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

from . import Outcome, Tell
from .disk_faults import SIZE_MB, break_ext4, failure_of, tmpfs
from .serving import SNAPSHOTS, NotServingError, client_of, serving
from .submitting import Load

__all__ = ["read_only"]

READ_ONLY: Final = (
    "On a file system that turns read-only, writes get 503 with Retry-After, reads go on, and "
    "nothing acknowledged is lost; where it is read-only from the start, that is said."
)


async def read_only(random: Random, tell: Tell) -> Outcome:
    """Try both."""
    begun = time.monotonic()
    facts: dict[str, Any] = {}
    failures = await _turns_read_only(random, facts, tell) + await _is_read_only(
        random, facts, tell
    )
    return Outcome("Read-only", READ_ONLY, 1, time.monotonic() - begun, facts, failures)


async def _turns_read_only(random: Random, facts: dict[str, Any], tell: Tell) -> list[str]:
    """Let ext4 go read-only below open files, as it does after an error of the device.

    It takes writes again only when it is mounted anew, and that needs the dispatcher to stop. No
    write is under way when it turns: of such a one ext4 may say that it is synced, and drop it.
    """
    tell("a file system that turns read-only")
    with TemporaryDirectory(prefix="torture-") as name:
        image, directory = Path(name, "image"), Path(name, "mounted")
        directory.mkdir()
        image.touch()
        os.truncate(image, SIZE_MB << 20)
        mount = ("mount", "-o", "loop,errors=remount-ro", str(image), str(directory))
        refusal = failure_of("mkfs.ext4", "-q", str(image)) or failure_of(*mount)
        if refusal:
            facts["turned read-only"] = f"not tried, since {refusal}; see the I/O errors"
            return []
        try:
            db = directory / "events.db"
            async with serving(db, *SNAPSHOTS) as server, client_of(server) as client:
                load = Load(client, random)
                async with load.running():
                    await load.goes_on()
                if refusal := break_ext4(image):
                    facts["turned read-only"] = f"not tried, since {refusal}"
                    return load.failures
                async with load.running():
                    await load.is_refused()
                    await load.read()
                facts["exit code when stopped then"] = await server.stop()
            if refusal := failure_of("umount", str(directory)) or failure_of(*mount):
                return [*load.failures, refusal]
            load.check_log(db)
            async with serving(db) as server, client_of(server) as again:
                load.client = again
                async with load.running():
                    await load.goes_on()
            load.check_log(db)
        finally:
            failure_of("umount", str(directory))
        facts |= {f"{name}, turned read-only": count for name, count in load.counted().items()}
        return load.failures


async def _is_read_only(random: Random, facts: dict[str, Any], tell: Tell) -> list[str]:
    """Start where nothing can be written, which must be said; and again where it can."""
    tell("a file system that is read-only")
    with tmpfs() as (directory, refusal):
        if refusal:
            facts["remounted read-only"] = f"not tried, since {refusal}"
            return []
        db = directory / "events.db"
        async with serving(db) as server, client_of(server) as client:
            load = Load(client, random)
            async with load.running():
                await load.goes_on()
                said = failure_of("mount", "-o", "remount,ro", str(directory))
                facts["remounted read-only below it"] = said.replace(f"{directory}: ", "") or "done"
                if not said:
                    await load.is_refused()
                    await load.read()
                    failure_of("mount", "-o", "remount,rw", str(directory))
                await load.goes_on()
            server.process.kill()
            await server.process.wait()
        if said := failure_of("mount", "-o", "remount,ro", str(directory)):
            return [*load.failures, said]
        try:
            async with serving(db):
                load.failures.append("it started where it can't write")
        except NotServingError as error:
            facts["started where it is read-only"] = str(error).replace(str(db), "events.db")
            if str(db) not in str(error) or "Traceback" in str(error):
                load.failures.append(f"what is read-only was told so: {error}")
        failure_of("mount", "-o", "remount,rw", str(directory))
        async with serving(db) as server, client_of(server) as again:
            load.client = again
            async with load.running():
                await load.goes_on()
        load.check_log(db)
        return load.failures
