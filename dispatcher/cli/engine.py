"""`dispatcher engine`."""

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import stamina
import typer

from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, Server, authorities
from dispatcher.cli.output import log_plainly, say
from dispatcher.client import Client
from dispatcher.client.servers import server_urls
from dispatcher.engine.agent import Agent, Settings
from dispatcher.engine.codecs import Codec, Encoder
from dispatcher.engine.delivery import Delivery, delivery_to
from dispatcher.engine.ends import find_pyav
from dispatcher.engine.fetching import Bounds
from dispatcher.engine.ffmpeg import Checks, Ffmpeg, find_ffmpeg
from dispatcher.engine.hardware import HwAccel
from dispatcher.engine.networks import DEFAULT_NETWORKS, SourceNetworks
from dispatcher.engine.sandbox import FfmpegLimits
from dispatcher.engine.sources import Sources
from dispatcher.engine.storing import TARGET, StoreDelivery
from dispatcher.engine.verification import Verify
from dispatcher.engine.workspace import Workspace, default_work_dir
from dispatcher.errors import DispatcherError
from dispatcher.output_names import PLACEHOLDERS, template_fault

__all__ = ["engine"]

_DEFAULTS = Settings()
_BOUNDS = Bounds()
_LIMITS = FfmpegLimits()
_CHECKS = Checks()
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")

logger = logging.getLogger(__name__)


def engine(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    server: Server = DEFAULT_SERVER,
    id_: Annotated[
        str | None, typer.Option("--id", help="The engine's name; by default the host's.")
    ] = None,
    work_dir: Annotated[
        Path | None, typer.Option(help="Where to work; by default in this user's folder of states.")
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            help="Where outputs go: a directory, a base URL to PUT to, or store: for the "
            "dispatcher's store."
        ),
    ] = "outputs",
    ffmpeg: Annotated[
        str | None,
        typer.Option(help="The ffmpeg to use; by default the one on PATH, else a packaged one."),
    ] = None,
    api_key: ApiKey = None,
    poll_s: Annotated[
        float, typer.Option(help="Pause between two asks for work.", min=0.05)
    ] = _DEFAULTS.poll_s,
    wait_s: Annotated[
        float, typer.Option(help="How long an ask may wait for work.", min=0, max=60)
    ] = _DEFAULTS.wait_s,
    heartbeat_s: Annotated[
        float, typer.Option(help="Pause between two heartbeats.", min=0.1)
    ] = _DEFAULTS.heartbeat_s,
    source_root: Annotated[
        list[Path] | None,
        typer.Option(help="A directory below which files may be sources; may be repeated."),
    ] = None,
    source_networks: Annotated[
        str,
        typer.Option(
            help="Where web sources may be: a list of public, private, loopback, link-local and "
            "networks such as 10.1.0.0/16. The dispatcher is always permitted."
        ),
    ] = DEFAULT_NETWORKS,
    max_source_mb: Annotated[
        float, typer.Option(help="The largest web source.", min=0.001)
    ] = _BOUNDS.max_mb,
    source_timeout_s: Annotated[
        float, typer.Option(help="How long a web source may take to arrive.", min=1)
    ] = _BOUNDS.timeout_s,
    max_megapixels: Annotated[
        float, typer.Option(help="The largest picture of a source.", min=0.001)
    ] = _LIMITS.megapixels,
    max_memory_mb: Annotated[
        int,
        typer.Option(
            help="How much memory ffmpeg may use; by default three quarters of the machine's.",
            min=100,
            show_default=False,
        ),
    ] = _LIMITS.memory_mb,
    max_cpu_hours: Annotated[
        float, typer.Option(help="How much CPU time ffmpeg may use for a job.", min=0.001)
    ] = _LIMITS.cpu_hours,
    verify: Annotated[
        Verify,
        typer.Option(
            help="What is read to know that nothing is missing: every packet of source and "
            "output; with full every picture of the output too; or nothing."
        ),
    ] = _CHECKS.verify,
    stall_s: Annotated[
        float, typer.Option(help="How long ffmpeg may make no progress.", min=1)
    ] = _CHECKS.stall_s,
    hwaccel: Annotated[
        HwAccel,
        typer.Option(
            help="Encode by the machine's hardware where that works: by any kind of it with auto, "
            "by one kind, or by software only."
        ),
    ] = "none",
    name_template: Annotated[
        str,
        typer.Option(
            help="The names of outputs, without the suffix, of jobs that give none: "
            f"{', '.join(f'{{{name}}}' for name in PLACEHOLDERS)} are filled in."
        ),
    ] = _DEFAULTS.name_template,
    allow_raw_args: Annotated[
        bool,
        typer.Option(
            "--allow-raw-args", help="Let recipes give ffmpeg options of the output as they are."
        ),
    ] = False,
) -> None:
    """Run a transcoding engine until SIGTERM or Ctrl-C.

    The first lets it finish its job, a second stops the job and gives it back, a third ends
    the engine at once.
    """
    log_plainly("%(asctime)s %(message)s", logging.INFO)
    for noisy in ("httpx2", "httpcore2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    stamina.instrumentation.set_on_retry_hooks([_tell_of_a_pause])
    if (fault := template_fault(name_template)) is not None:
        raise DispatcherError(f"--name-template {name_template!r} {fault}")
    client = Client(server, api_key, ca=authorities())
    delivery = StoreDelivery(client) if output == TARGET else delivery_to(output)
    sources = Sources(
        [root.absolute() for root in source_root or []],
        SourceNetworks.parse(source_networks, *server_urls(server)),
        Bounds(max_mb=max_source_mb, timeout_s=source_timeout_s),
        client,
    )
    limits = FfmpegLimits(max_memory_mb, max_cpu_hours, max_megapixels)
    workspace = Workspace.claim(work_dir or default_work_dir(), id_)
    try:
        asyncio.run(
            _run(
                client,
                (find_ffmpeg(ffmpeg), limits, Checks(verify, stall_s, find_pyav()), hwaccel),
                workspace,
                delivery,
                Settings(
                    poll_s=poll_s,
                    heartbeat_s=heartbeat_s,
                    wait_s=wait_s,
                    name_template=name_template,
                    allows_raw_args=allow_raw_args,
                ),
                sources,
            )
        )
    except asyncio.CancelledError:
        raise typer.Exit(1) from None
    finally:
        workspace.release()


async def _run(  # noqa: PLR0913, PLR0917 - all that an agent is made of
    client: Client,
    ffmpeg: tuple[Path, FfmpegLimits, Checks, HwAccel],
    workspace: Workspace,
    delivery: Delivery,
    settings: Settings,
    sources: Sources,
) -> None:
    async with client:
        agent: Agent | None = None
        main_task = asyncio.current_task()
        assert main_task is not None  # noqa: S101
        stops = 0

        def stop() -> None:
            nonlocal stops
            stops += 1
            match stops:
                case 1 if agent is not None:
                    say(f"{workspace.engine_id}: ending after the job in hand; again to stop it")
                    agent.drain()
                case 2 if agent is not None:
                    say(f"{workspace.engine_id}: stopping the job; again to end at once")
                    agent.stop()
                case _:
                    main_task.cancel()

        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stop)
        probed = await Ffmpeg.probe(*ffmpeg)
        logger.info("%s: %s", workspace.engine_id, probed.sandbox.described)
        _tell_of(probed.checks, workspace.engine_id)
        _tell_of_hardware(probed.encoders, ffmpeg[-1], workspace.engine_id)
        _tell_of_sources(sources, workspace.engine_id)
        agent = Agent(client, probed, workspace, delivery, settings, sources)
        await agent.run()


def _tell_of_a_pause(details: stamina.instrumentation.RetryDetails) -> None:
    logger.warning("trying again in %.1f s: %s", details.wait_for, details.caused_by)


def _tell_of(checks: Checks, engine_id: str) -> None:
    """Tell what is not verified."""
    match checks.verify:
        case "none":
            logger.warning(
                "%s: nothing is verified (--verify none): a source that was cut off may pass",
                engine_id,
            )
        case "packets" | "full" if checks.pyav is None:
            logger.warning(
                "%s: the ends of sources are not decoded, as PyAV is not installed: a transport "
                "stream that was cut off may pass; pip install 'transcoding-dispatcher[engine]'",
                engine_id,
            )
        case _:
            pass


def _tell_of_hardware(
    encoders: Mapping[str, tuple[Codec, Encoder]], hwaccel: HwAccel, engine_id: str
) -> None:
    """Tell what encodes, where hardware was asked for."""
    if hwaccel == "none":
        return
    by_hardware = sorted(
        {encoder.name for codec, encoder in encoders.values()
         if encoder not in codec.encoders}
    )  # fmt: skip
    if by_hardware:
        logger.info(
            "%s: hardware encodes by %s; software does the other codecs",
            *(engine_id, ", ".join(by_hardware)),
        )
    else:
        logger.warning(
            "%s: software encodes everything: --hwaccel %s found no hardware that this ffmpeg can "
            "encode by",
            *(engine_id, hwaccel),
        )


def _tell_of_sources(sources: Sources, engine_id: str) -> None:
    """Tell what an operator may have meant otherwise."""
    for root in sources.roots:
        if not root.is_dir():
            logger.warning("%s: --source-root %s is no directory at present", engine_id, root)
    set_here = [name for name in os.environ if name.lower() in _PROXIES]
    if set_here:
        logger.warning(
            "%s: sources are fetched without a proxy: %s is not used, as the addresses behind a "
            "proxy can't be checked",
            *(engine_id, ", ".join(set_here)),
        )
