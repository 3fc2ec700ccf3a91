"""`dispatcher engine`."""

import asyncio
import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import stamina
import typer

from dispatcher.buckets import Bucket, ObjectUrl
from dispatcher.cli.engine_notices import tell_of_checks, tell_of_hardware, tell_of_sources
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, Server, authorities
from dispatcher.cli.output import log_plainly, say
from dispatcher.client import Client
from dispatcher.client.servers import server_urls
from dispatcher.engine.agent import Agent, Settings
from dispatcher.engine.agents import Agents
from dispatcher.engine.delivery import Delivery, delivery_to
from dispatcher.engine.ends import find_pyav
from dispatcher.engine.fetching import Bounds
from dispatcher.engine.ffmpeg import Checks, Ffmpeg, find_ffmpeg
from dispatcher.engine.hardware import HwAccel
from dispatcher.engine.hours import Hours
from dispatcher.engine.networks import DEFAULT_NETWORKS, SourceNetworks
from dispatcher.engine.objects import BucketDelivery
from dispatcher.engine.presence import Presence
from dispatcher.engine.resting import Resting
from dispatcher.engine.sandbox import FfmpegLimits
from dispatcher.engine.sources import Sources
from dispatcher.engine.storing import TARGET, StoreDelivery
from dispatcher.engine.verification import Verify
from dispatcher.engine.workspace import Workspace, default_work_dir
from dispatcher.errors import DispatcherError
from dispatcher.output_names import PLACEHOLDERS, template_fault
from dispatcher.tags import tag_fault

__all__ = ["engine"]

_DEFAULTS = Settings()
_BOUNDS = Bounds()
_LIMITS = FfmpegLimits()
_CHECKS = Checks()
MOST_JOBS = 64
LEAST_MB = 100

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
            help="Where outputs go: a directory, a base URL to PUT to, store: for the "
            "dispatcher's store, or s3://BUCKET/PREFIX, gs://… or az://…."
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
        list[str] | None,
        typer.Option(
            help="A directory below which files may be sources, or s3://BUCKET/PREFIX below which "
            "objects may; may be repeated."
        ),
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
        int | None,
        typer.Option(
            help="How much memory ffmpeg may use for a job; by default three quarters of the "
            "machine's, shared by --jobs.",
            min=LEAST_MB,
            show_default=False,
        ),
    ] = None,
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
    tag: Annotated[
        list[str] | None,
        typer.Option(help="A name by which jobs can ask for this engine; may be repeated."),
    ] = None,
    hours: Annotated[
        list[str] | None,
        typer.Option(
            help="When it takes jobs, by this machine's clock, such as 'mo-fr 19:00-07:00; sa,su'; "
            "may be repeated."
        ),
    ] = None,
    when_idle: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES",
            help="Take jobs only when nobody has used this machine for so long.",
            min=0.1,
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            help="How many jobs at once, each by an engine of its own: NAME-1, NAME-2, …",
            min=1,
            max=MOST_JOBS,
        ),
    ] = 1,
    threads: Annotated[
        int, typer.Option(help="The threads of ffmpeg for a job; 0: as many as it likes.", min=0)
    ] = _LIMITS.threads,
    nice: Annotated[
        int,
        typer.Option(help="The lower the priority of ffmpeg, the more; 19 at most.", min=0, max=19),
    ] = _LIMITS.nice,
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
    tags = tuple(tag or ())
    if (fault := tag_fault([*tags])) is not None:
        raise DispatcherError(f"--tag {fault}")
    resting = Resting(Hours.parse(hours) if hours else None, idle_min=when_idle or 0.0)
    client = Client(server, api_key, ca=authorities())
    delivery = _delivery_to(output, client)
    buckets = [ObjectUrl.parse_prefix(root) for root in source_root or []]
    sources = Sources(
        [
            Path(root).absolute()
            for root, bucket in zip(source_root or [], buckets, strict=True)
            if bucket is None
        ],
        SourceNetworks.parse(source_networks, *server_urls(server)),
        Bounds(max_mb=max_source_mb, timeout_s=source_timeout_s),
        client,
        [it for it in buckets if it is not None],
    )
    limits = FfmpegLimits(
        max_memory_mb or max(LEAST_MB, _LIMITS.memory_mb // jobs),
        max_cpu_hours,
        max_megapixels,
        nice,
        threads,
    )
    workspaces = Workspace.claim_many(work_dir or default_work_dir(), id_, jobs)
    try:
        asyncio.run(
            _run(
                client,
                (find_ffmpeg(ffmpeg), limits, Checks(verify, stall_s, find_pyav()), hwaccel),
                workspaces,
                delivery,
                Settings(
                    poll_s=poll_s,
                    heartbeat_s=heartbeat_s,
                    wait_s=wait_s,
                    name_template=name_template,
                    allows_raw_args=allow_raw_args,
                    tags=tags,
                    resting=resting,
                ),
                sources,
            )
        )
    except asyncio.CancelledError:
        raise typer.Exit(1) from None
    finally:
        for workspace in workspaces:
            workspace.release()


def _delivery_to(output: str, client: Client) -> Delivery:
    if output == TARGET:
        return StoreDelivery(client)
    if (url := ObjectUrl.parse_prefix(output)) is not None:
        return BucketDelivery(Bucket(url))
    return delivery_to(output)


async def _run(  # noqa: PLR0913, PLR0917 - all that an agent is made of
    client: Client,
    ffmpeg: tuple[Path, FfmpegLimits, Checks, HwAccel],
    workspaces: Sequence[Workspace],
    delivery: Delivery,
    settings: Settings,
    sources: Sources,
) -> None:
    async with client:
        agents: Agents | None = None
        named = ", ".join(workspace.engine_id for workspace in workspaces)
        main_task = asyncio.current_task()
        assert main_task is not None  # noqa: S101
        stops = 0

        def stop() -> None:
            nonlocal stops
            stops += 1
            match stops:
                case 1 if agents is not None:
                    say(f"{named}: ending after the job in hand; again to stop it")
                    agents.drain()
                case 2 if agents is not None:
                    say(f"{named}: stopping the job; again to end at once")
                    agents.stop()
                case _:
                    main_task.cancel()

        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stop)
        if settings.resting.idle_min:
            resting = settings.resting._replace(presence=await Presence.find())
            settings = msgspec.structs.replace(settings, resting=resting)
        probed = await Ffmpeg.probe(*ffmpeg)
        logger.info("%s: %s", named, probed.sandbox.described)
        tell_of_checks(probed.checks, named)
        tell_of_hardware(probed.encoders, ffmpeg[-1], named)
        tell_of_sources(sources, named)
        agents = Agents(
            tuple(Agent(client, probed, it, delivery, settings, sources) for it in workspaces)
        )
        await agents.run()


def _tell_of_a_pause(details: stamina.instrumentation.RetryDetails) -> None:
    logger.warning("trying again in %.1f s: %s", details.wait_for, details.caused_by)
