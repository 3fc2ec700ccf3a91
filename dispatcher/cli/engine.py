"""`dispatcher engine`."""

import asyncio
import logging
import signal
from pathlib import Path
from typing import Annotated

import typer

from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, Server
from dispatcher.cli.output import log_plainly, say
from dispatcher.client import Client
from dispatcher.engine.agent import Agent, Settings
from dispatcher.engine.delivery import Delivery, delivery_to
from dispatcher.engine.ffmpeg import Ffmpeg, find_ffmpeg
from dispatcher.engine.workspace import Workspace, default_work_dir

__all__ = ["engine"]

_DEFAULTS = Settings()


def engine(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    server: Server = DEFAULT_SERVER,
    id_: Annotated[
        str | None, typer.Option("--id", help="The engine's name; by default the host's.")
    ] = None,
    work_dir: Annotated[
        Path | None, typer.Option(help="Where to work; by default in this user's folder of states.")
    ] = None,
    output: Annotated[
        str, typer.Option(help="Where outputs go: a directory, or a base URL to PUT to.")
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
) -> None:
    """Run a transcoding engine until SIGTERM or Ctrl-C.

    The first lets it finish its job, a second stops the job and reports it failed, a third ends
    the engine at once.
    """
    log_plainly("%(asctime)s %(message)s", logging.INFO)
    for noisy in ("httpx2", "httpcore2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    delivery = delivery_to(output)
    workspace = Workspace.claim(work_dir or default_work_dir(), id_)
    try:
        asyncio.run(
            _run(
                Client(server, api_key),
                find_ffmpeg(ffmpeg),
                workspace,
                delivery,
                Settings(poll_s=poll_s, heartbeat_s=heartbeat_s, wait_s=wait_s),
            )
        )
    except asyncio.CancelledError:
        raise typer.Exit(1) from None
    finally:
        workspace.release()


async def _run(
    client: Client, ffmpeg: Path, workspace: Workspace, delivery: Delivery, settings: Settings
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
        probed = await Ffmpeg.probe(ffmpeg)
        agent = Agent(client, probed, workspace, delivery, settings)
        await agent.run()
