"""What ffmpeg can do on this machine besides transcoding: nothing, where the system allows that."""

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Final

import pytest

from dispatcher.engine import transcoding
from dispatcher.engine.ffmpeg import Ffmpeg, FfmpegLimitError, Input, find_ffmpeg
from dispatcher.engine.sandbox import Access, FfmpegLimits, Sandbox, sandboxes
from dispatcher.engine.sources import FILE_PROTOCOLS
from tests.support.engines import program
from tests.support.media import Clips, found_in
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

LIMITS: Final = FfmpegLimits(memory_mb=4_000)


@pytest.fixture
async def sandbox() -> Sandbox:
    """The most confined that this system offers."""
    strictest = (await sandboxes(LIMITS))[0]
    if not strictest.landlock:
        pytest.skip("this system has no Landlock")
    return strictest


async def run(
    sandbox: Sandbox, script: str, *reads: Path, folder: Path | None = None, port: int | None = None
) -> tuple[int | None, str]:
    """Run a shell script confined; gives its exit status and what it printed."""
    access = Access([str(path) for path in reads], folder, port)
    process = await asyncio.create_subprocess_exec(
        *sandbox.around(["/bin/bash", "-c", script], access),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return process.returncode, printed.decode()


async def transcode(ffmpeg: Ffmpeg, source: Path, output: Path) -> None:
    await transcoding.transcode(ffmpeg, Input(f"file:{source}", FILE_PROTOCOLS), "mpeg4", output)


# Files


async def test_only_the_source_and_the_folder_are_read(sandbox: Sandbox, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    source, beside, inside = tmp_path / "source", tmp_path / "beside", folder / "inside"
    for path in (source, beside, inside):
        path.write_text(path.name)
    status, printed = await run(sandbox, f"cat {source} {inside}", source, folder=folder)
    assert (status, printed) == (0, "sourceinside")
    for forbidden in (beside, Path(__file__), Path("/etc/passwd"), Path("/etc/hostname")):
        status, printed = await run(sandbox, f"cat {forbidden}", source, folder=folder)
        assert status == 1
        assert "Permission denied" in printed
    _, printed = await run(sandbox, f"ls {tmp_path}", source, folder=folder)
    assert "Permission denied" in printed


async def test_only_the_folder_is_written(sandbox: Sandbox, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    source = tmp_path / "source"
    source.write_text("source")
    status, _ = await run(sandbox, f"echo new > {folder}/new", source, folder=folder)
    assert (status, (folder / "new").read_text()) == (0, "new\n")
    for script in (
        f"echo new > {tmp_path}/new",
        f"echo new >> {source}",
        f": > {source}",
        f"rm {source}",
        f"mv {folder}/new {tmp_path}/new",
        f"mkdir {tmp_path}/new",
        f"ln -s {source} {tmp_path}/new",
    ):
        status, _ = await run(sandbox, script, source, folder=folder)
        assert status, script
    assert source.read_text() == "source"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "source"]


async def test_what_is_written_is_not_executed(sandbox: Sandbox, tmp_path: Path) -> None:
    program(tmp_path / "written", "echo executed")
    status, printed = await run(sandbox, f"{tmp_path}/written", folder=tmp_path)
    assert status
    assert "executed" not in printed


async def test_the_secrets_of_other_processes_are_not_read(sandbox: Sandbox) -> None:
    for name in ("environ", "mem", "fd/0", "root/etc/passwd", "cwd/pyproject.toml"):
        status, _ = await run(sandbox, f"cat /proc/{os.getpid()}/{name} > /dev/null")
        assert status, name


async def test_privileges_can_not_be_gained(sandbox: Sandbox) -> None:
    _, printed = await run(sandbox, "grep NoNewPrivs /proc/self/status")
    assert printed.split() == ["NoNewPrivs:", "1"]


# The network


def dialling(port: int) -> str:
    return f"exec 3<>/dev/tcp/127.0.0.1/{port} && echo connected"


async def test_a_file_is_read_without_network(sandbox: Sandbox) -> None:
    async with await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0) as server:
        status, printed = await run(sandbox, dialling(server.sockets[0].getsockname()[1]))
    assert status
    assert "connected" not in printed


async def test_a_stream_reaches_its_proxy_and_nothing_else(sandbox: Sandbox) -> None:
    async with (
        await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0) as proxy,
        await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0) as other,
    ):
        port, forbidden = (s.sockets[0].getsockname()[1] for s in (proxy, other))
        assert await run(sandbox, dialling(port), port=port) == (0, "connected\n")
        status, printed = await run(sandbox, dialling(forbidden), port=port)
    assert status
    assert "connected" not in printed


# Limits


async def test_memory_is_limited() -> None:
    status, printed = await run(Sandbox(FfmpegLimits(memory_mb=1_000)), "ulimit -d; ulimit -c")
    assert (status, printed.split()) == (0, [str(1_000_000_000 // 1024), "0"])


async def test_a_limit_that_is_set_already_is_only_lowered() -> None:
    command = Sandbox(LIMITS).around(["/bin/bash", "-c", "ulimit -Ht"], Access())
    lowered = ["/bin/bash", "-c", 'ulimit -t 100; exec "$@"', "-", *command]
    # The launcher wants the engine to be its parent, and `exec` keeps that so.
    process = await asyncio.create_subprocess_exec(*lowered, stdout=subprocess.PIPE)
    printed, _ = await process.communicate()
    assert printed.split() == [b"100"]


@pytest.mark.parametrize(
    "said", ["Cannot allocate memory", "std::bad_alloc", "Resource temporarily unavailable"]
)
async def test_an_ffmpeg_that_lacks_memory_fails_and_the_limit_is_named(
    said: str, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    small = ffmpeg._replace(
        path=program(tmp_path / "ffmpeg", "ulimit -d >&2", f"echo {said} >&2", "exit 1"),
        sandbox=ffmpeg.sandbox._replace(limits=FfmpegLimits(memory_mb=512)),
    )
    with pytest.raises(FfmpegLimitError) as told:
        await transcode(small, clips.plain, tmp_path / "output")
    assert str(told.value).splitlines() == [
        *("ffmpeg failed (exit status 1):", "500000", said),
        "The limits of this engine: --max-memory-mb 512, --max-cpu-hours 1000, --max-megapixels 40",
    ]


async def test_an_ffmpeg_that_needs_more_cpu_time_is_killed_and_the_limit_is_named(
    ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    busy = ffmpeg._replace(
        path=program(tmp_path / "ffmpeg", "while :; do :; done"),
        sandbox=ffmpeg.sandbox._replace(limits=FfmpegLimits(cpu_hours=1 / 3600)),
    )
    with pytest.raises(FfmpegLimitError) as told:
        await transcode(busy, clips.plain, tmp_path / "output")
    assert str(told.value).startswith("ffmpeg failed (SIGKILL):\nThe limits of this engine: ")
    assert "--max-cpu-hours 0.000277778" in str(told.value)


# What a system offers


async def test_every_degree_of_confinement_can_transcode(
    ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    degrees = await sandboxes(ffmpeg.sandbox.limits)
    assert degrees[-1] == Sandbox(ffmpeg.sandbox.limits)
    for number, degree in enumerate(degrees[degrees.index(ffmpeg.sandbox) :]):
        output = tmp_path / f"output{number}.mp4"
        await transcode(ffmpeg._replace(sandbox=degree), clips.plain, output)
        assert found_in(output).video == "mpeg4"


async def test_an_ffmpeg_that_needs_other_files_is_confined_less(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("needed")
    script = (f"cat {elsewhere} || exit 9",)
    (tmp_path / "bin").mkdir()
    mine = program(tmp_path / "bin" / "ffmpeg", *script, then=find_ffmpeg())
    probed = await Ffmpeg.probe(mine, LIMITS)
    assert probed.sandbox.readable == ("/",)
    assert probed.sandbox.landlock == (await sandboxes(LIMITS))[0].landlock


@pytest.mark.parametrize(
    ("sandbox_", "told"),
    [
        (
            Sandbox(LIMITS, 7, own_network=True, readable=("/usr",)),
            (
                "reads its source and programs and writes its folder only, has no network but for "
                "streams, {limits}"
            ),
        ),
        (
            Sandbox(LIMITS, 4, readable=("/usr",)),
            (
                "reads its source and programs and writes its folder only, makes no TCP "
                "connections but for streams, {limits}"
            ),
        ),
        (
            Sandbox(LIMITS, 7, own_network=True),
            (
                "writes nothing outside its folder, has no network but for streams, {limits}; not "
                "confined: reading all files, as it does not start without"
            ),
        ),
        (
            Sandbox(LIMITS, 3, readable=("/usr",)),
            (
                "reads its source and programs and writes its folder only, {limits}; not confined: "
                "the network of all jobs, as this system can't restrict it"
            ),
        ),
        (
            Sandbox(LIMITS),
            (
                "{limits}; not confined: all files, as this system has no Landlock, the network of "
                "all jobs, as this system can't restrict it"
            ),
        ),
    ],
)
def test_the_operator_is_told_what_is_confined(sandbox_: Sandbox, told: str) -> None:
    limits = "uses at most 4000 MB of memory and 1000 hours of CPU time a job"
    assert sandbox_.described == "ffmpeg " + told.format(limits=limits)


async def test_what_can_not_be_confined_as_asked_is_not_started(tmp_path: Path) -> None:
    started = tmp_path / "started"
    command = Sandbox(LIMITS).around(["/bin/bash", "-c", f": > {started}"], Access())
    # Here a shell is its parent, as if the engine had ended already.
    between = ["/bin/bash", "-c", '"$@"; exit $?', "-", *command]
    process = await asyncio.create_subprocess_exec(*between, stderr=subprocess.PIPE)
    _, printed = await process.communicate()
    assert process.returncode == 126
    assert printed == b"can't be confined: the engine has ended\n"
    assert not started.exists()
