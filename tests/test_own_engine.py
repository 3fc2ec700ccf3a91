"""The engine on the page for those who write their own, run as it stands there."""

import ast
import asyncio
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from dispatcher.client import Client
from dispatcher.core.policy import Policy
from tests.support.engines import eventually, final
from tests.support.media import FFMPEG, found_in, make_clips, make_long_clip
from tests.support.servers import KEY, Running, running

pytestmark = pytest.mark.anyio

PAGE: Final = Path(__file__).parent.parent / "docs/own-engine.md"
(SCRIPT,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
async def server(db: Path) -> AsyncIterator[Running]:
    async with running(db, policy=Policy(lease_s=60)) as dispatcher:
        yield dispatcher


@pytest.fixture
async def own(server: Running, tmp_path: Path) -> AsyncIterator[Path]:
    """The engine at work; gives the folder of its outputs."""
    script = tmp_path / "engine.py"
    script.write_text(SCRIPT.replace("time.sleep(5)", "time.sleep(0.2)"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", script, "own", tmp_path / "outputs"),
        env=os.environ
        | {"DISPATCHER_SERVER": server.url, "DISPATCHER_API_KEY": KEY, "FFMPEG": str(FFMPEG)},
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
        start_new_session=True,
    )
    try:
        yield tmp_path / "outputs"
        assert process.returncode is None, "the engine has ended"
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)
        await process.communicate()


def test_it_has_fifty_lines_and_needs_no_package() -> None:
    lines = [line for line in SCRIPT.splitlines() if line.strip()]
    assert len(lines) <= 55
    imported = [
        alias.name.partition(".")[0]
        for node in ast.walk(ast.parse(SCRIPT))
        if isinstance(node, ast.Import)
        for alias in node.names
    ]
    assert set(imported) <= sys.stdlib_module_names


async def test_it_transcodes_and_tells_what_fails(
    own: Path, dispatcher: Client, tmp_path: Path
) -> None:
    (tmp_path / "clips").mkdir()
    clips = make_clips(tmp_path / "clips")
    film = await dispatcher.submit(clips.plain.as_uri(), "vp9")
    broken = await dispatcher.submit(clips.junk.as_uri(), "h264", max_retries=0)
    done, failed = await final(dispatcher, film.job_id), await final(dispatcher, broken.job_id)
    assert done.status == "completed", done.error_message
    assert done.output_url is not None
    assert found_in(own / Path(done.output_url).name).video == "vp9"
    assert failed.status == "failed_permanently"
    assert "Invalid data found" in str(failed.error_message)


async def test_it_obeys_when_its_job_is_cancelled(
    own: Path, dispatcher: Client, tmp_path: Path
) -> None:
    long = await dispatcher.submit(make_long_clip(tmp_path / "long.mp4").as_uri(), "vp9")

    async def begun() -> bool | None:
        return (await dispatcher.job(long.job_id)).status == "assigned" or None

    await eventually(begun)
    await dispatcher.cancel(long.job_id)

    async def free() -> bool | None:
        (engine,) = await dispatcher.engines()
        return engine.wire()["status"] == "idle" or None

    await eventually(free)
    assert (await dispatcher.job(long.job_id)).status == "cancelled"
    assert own.exists()
