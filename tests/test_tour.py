"""The tour, as a newcomer types it: each block of commands on the page, in its order."""

import asyncio
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from pathlib import Path
from typing import Final

import pytest

from tests.support.commands import TIMEOUT_S
from tests.support.media import FFMPEG, make_clips

pytestmark = pytest.mark.anyio

PAGE: Final = Path(__file__).parent.parent / "docs/tour.md"
IN_ANOTHER_TERMINAL: Final = re.compile(r"dispatcher (serve|engine) ")
BLOCKS: Final = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.timeout(900)  # some twenty commands, one after the other, on a busy machine
async def test_the_tour_can_be_gone_as_it_is_written(tmp_path: Path) -> None:
    make_clips(tmp_path).plain.rename(tmp_path / "film.mov")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    others = [block for block in BLOCKS if IN_ANOTHER_TERMINAL.match(block)]
    typed = [block for block in BLOCKS if block not in others]
    assert len(others) == 2
    kept = {name: v for name, v in os.environ.items() if not name.startswith("DISPATCHER_")}
    for shows in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        kept.pop(shows, None)
    env = kept | {
        "PATH": f"{Path(sys.executable).parent}:{FFMPEG.parent}:{os.environ['PATH']}",
        "DISPATCHER_API_KEY": "a-key-that-nobody-guesses",
        "DISPATCHER_SERVER": f"http://127.0.0.1:{port}",
    }

    async def running(script: str) -> asyncio.subprocess.Process:
        text = script.replace("dispatcher serve ", f"exec dispatcher serve --port {port} ")
        text = text.replace("dispatcher engine ", "exec dispatcher engine ")
        return await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", text.replace(":8080", f":{port}")),
            cwd=tmp_path,
            env=env,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
        )

    terminals = [await running(block) for block in others]
    try:
        wait = "until dispatcher engines 2>/dev/null | grep -q my-engine; do sleep 0.2; done\n"
        tour = await running(wait + "".join(typed))
        out, _ = await asyncio.wait_for(tour.communicate(), TIMEOUT_S * 9)
        told = out.decode()
        assert tour.returncode == 0, told
    finally:
        for terminal in reversed(terminals):
            if terminal.returncode is None:
                terminal.send_signal(signal.SIGTERM)
            await terminal.communicate()
    assert "completed" in told
    assert "There is no browser to open here" in told
    assert "drained" in told
    assert [it.suffix for it in (tmp_path / "done").iterdir()] == [".mp4"]
