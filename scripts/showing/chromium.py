"""Chromium as a process of its own, with an empty profile, driven through its DevTools."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["NoChromiumError", "started"]

START_S: Final = 120
END_S: Final = 30
LOOK_S: Final = 0.02

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"),
    *("--no-first-run", "--no-default-browser-check", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-breakpad", "--no-proxy-server"),
    *("--disable-features=Translate,OptimizationHints,MediaRouter", "--mute-audio"),
    *("--remote-debugging-port=0", "--force-color-profile=srgb", "--hide-scrollbars"),
)


class NoChromiumError(Exception):
    """There is no Chromium here."""


@contextmanager
def started(profile: Path, *, niceness: int = 0) -> Iterator[str]:
    """Run Chromium until the block ends; the block is given the address of its DevTools.

    With a `niceness` it gets what others leave of the processors. `NoChromiumError` if there is
    none.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        raise NoChromiumError(
            "there is no Chromium; as root scripts/setup installs it (apt-get install chromium)"
        )
    before = ["nice", "-n", str(niceness)] if niceness else []
    if shutil.which("setpriv"):  # it ends with this process, also if that is killed
        before += ["setpriv", "--pdeathsig", "KILL"]
    profile.mkdir(parents=True)
    said = profile / "chromium.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [*before, program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield f"http://127.0.0.1:{_port_of(process, profile, said)}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its profile is thrown away
        process.wait(END_S)


def _port_of(process: subprocess.Popen[bytes], profile: Path, said: Path) -> int:
    """Wait until Chromium has written where it listens: the first line of this file."""
    active = profile / "DevToolsActivePort"
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if active.exists() and "\n" in (text := active.read_text()):
            return int(text.partition("\n")[0])
        time.sleep(LOOK_S)
    raise RuntimeError(f"Chromium did not start; it said:\n{said.read_text(errors='replace')}")
