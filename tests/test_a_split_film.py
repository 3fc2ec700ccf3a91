"""One film on a whole farm: a dispatcher with a store, and engines that share nothing else."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from msgspec import UNSET

from dispatcher.client import Client
from projections.jobs import JobView
from tests.support.commands import started
from tests.support.engines import eventually, files_below
from tests.support.films import make, times_in
from tests.support.media import FFMPEG
from tests.support.servers import KEY, Child, child, events_in

pytestmark = pytest.mark.anyio

RECIPE: Final = {"split_s": 1, "speed": "fastest"}
HASTE: Final = (
    "--ffmpeg",
    str(FFMPEG),
    "--poll-s",
    "0.05",
    "--wait-s",
    "0",
    "--heartbeat-s",
    "0.3",
)
SECONDS: Final = 5


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(
        *("-f", "lavfi", "-i", f"testsrc2=s=96x64:r=25:d={SECONDS}"),
        *("-f", "lavfi", "-i", f"sine=d={SECONDS}", "-pix_fmt", "yuv420p"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-c:a", "aac"),
        tmp_path_factory.mktemp("films") / "film.mp4",
    )


class Farm:
    """A dispatcher that can be killed and started again, and engines in folders of their own."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.db = folder / "events.db"
        self._stack = stack
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def dispatcher(self) -> Child:
        options = ("--port", str(self.port), "--store", str(self.folder / "store"))
        leases = ("--lease-s", "4")
        return await self._stack.enter_async_context(child(self.db, *options, *leases))

    async def engine(self, engine_id: str) -> asyncio.subprocess.Process:
        folder = self.folder / engine_id
        folder.mkdir(exist_ok=True)
        arguments = ("engine", "--id", engine_id, "--work-dir", "work", "--output", "out", *HASTE)
        return await self._stack.enter_async_context(started(folder, *arguments, server=self.url))

    def left(self, *engines: str) -> list[str]:
        """Name what is in the folders in which engines work."""
        return [it for name in engines for it in files_below(self.folder / name / "work")]

    def outputs(self) -> list[Path]:
        return sorted(self.folder.glob("*/out/*"))

    def counted(self, kind: str) -> Counter[str]:
        return Counter(
            json.loads(data)["job_id"] for _, it, data in events_in(self.db) if it == kind
        )


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    async with AsyncExitStack() as stack:
        yield Farm(tmp_path, stack)


async def ended(process: asyncio.subprocess.Process) -> None:
    """End an engine well."""
    process.terminate()
    await asyncio.wait_for(process.wait(), 60)


async def killed(process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.wait()


async def when(client: Client, job_id: str, holds: Callable[[JobView], bool]) -> JobView:
    """Wait until something is true of a job."""

    async def look() -> JobView | None:
        job = await client.job(job_id)
        return job if holds(job) else None

    return await eventually(look)


async def parts_of(client: Client, film: JobView) -> list[JobView]:
    return [] if film.parts is UNSET else [await client.job(it) for it in film.parts]


async def when_parts(
    client: Client, job_id: str, holds: Callable[[list[JobView]], bool]
) -> list[JobView]:
    """Wait until something is true of a film's parts."""

    async def look() -> list[JobView] | None:
        parts = await parts_of(client, await client.job(job_id))
        return parts if parts and holds(parts) else None

    return await eventually(look)


def some_are_done(parts: list[JobView]) -> bool:
    done = [it for it in parts if it.status == "completed"]
    return 0 < len(done) < len(parts)


@asynccontextmanager
async def submitted(farm: Farm, film: Path) -> AsyncIterator[tuple[Client, str]]:
    async with Client(farm.url, KEY) as client:
        source = await client.upload(film)
        yield client, (await client.submit(source, "h264", recipe=RECIPE)).job_id


async def check(farm: Farm, client: Client, film: Path, job_id: str) -> None:
    """One film came out, with all its pictures, and nothing was done twice."""
    job = await client.job(job_id)
    assert (job.status, job.whole) == ("completed", UNSET)
    assert job.result is not UNSET
    assert job.result["warnings"] == [f"joined from {SECONDS} segments"]
    parts = await parts_of(client, job)
    assert len(parts) == SECONDS + 1
    assert {it.status for it in parts} == {"completed"}
    [output] = farm.outputs()
    assert len(times_in(output)) == len(times_in(film))
    completions = farm.counted("job_completed")
    assert completions == dict.fromkeys((job_id, *(part.job_id for part in parts)), 1)


async def test_two_engines_that_share_nothing_make_one_film(farm: Farm, film: Path) -> None:
    await farm.dispatcher()
    engines = [await farm.engine("a"), await farm.engine("b")]
    async with submitted(farm, film) as (client, job_id):
        await when(client, job_id, lambda it: it.final)
        await check(farm, client, film, job_id)
        for engine in engines:
            await ended(engine)
    assert farm.left("a", "b") == []


async def test_killed_engines_and_a_killed_dispatcher_cost_nothing_but_time(
    farm: Farm, film: Path
) -> None:
    first = await farm.dispatcher()
    one, other = await farm.engine("a"), await farm.engine("b")
    async with submitted(farm, film) as (client, job_id):
        await when_parts(client, job_id, some_are_done)
        await killed(one)
        first.process.kill()
        await first.process.wait()
        await farm.dispatcher()
        await when_parts(client, job_id, some_are_done)
        await killed(other)
        engines = [await farm.engine("a"), await farm.engine("b")]
        await when(client, job_id, lambda it: it.final)
        await check(farm, client, film, job_id)
        for engine in engines:
            await ended(engine)
    assert farm.left("a", "b") == []


async def test_a_film_that_is_cancelled_in_the_middle_leaves_nothing(
    farm: Farm, film: Path
) -> None:
    await farm.dispatcher()
    engines = [await farm.engine("a"), await farm.engine("b")]
    async with submitted(farm, film) as (client, job_id):
        await when_parts(client, job_id, some_are_done)
        await client.cancel(job_id)
        parts = await when_parts(client, job_id, lambda them: all(it.final for it in them))
        assert (await client.job(job_id)).status == "cancelled"
        assert {it.status for it in parts} <= {"completed", "cancelled"}
        again = await client.submit(parts[0].source_url, "h264", recipe=RECIPE)
        await when(client, again.job_id, lambda it: it.final)
        assert len(farm.outputs()) == 1
        for engine in engines:
            await ended(engine)
    assert farm.left("a", "b") == []
