"""`dispatcher submit`."""

import asyncio
from collections.abc import Callable
from typing import Annotated

import typer

from dispatcher.cli.asking import ask
from dispatcher.cli.columns import JOBS
from dispatcher.cli.following import Following, farewell, follow
from dispatcher.cli.gathering import described, sources_of
from dispatcher.cli.job_ids import jobs_named, note_submitted
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, AsJson, Server
from dispatcher.cli.output import print_json, say
from dispatcher.cli.placing import placed
from dispatcher.cli.recipes import AskedFor, asked_recipe, number_or_text
from dispatcher.cli.tables import print_rows
from dispatcher.cli.wait import conclude
from dispatcher.client import Client, DispatcherAwayError, RequestRefusedError, Submission
from dispatcher.client.batches import parts
from dispatcher.urls import masked
from projections.jobs import JobView

__all__ = ["submit"]


def submit(  # noqa: PLR0913 - a command has as many parameters as options
    *,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="URLs, local files, folders with films, or patterns such as 'films/*.mov'.",
            show_default=False,
        ),
    ] = None,
    list_file: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="FILE", help="A list of sources, one a line; - is standard input."
        ),
    ] = None,
    codec: Annotated[str, typer.Option(help="What to transcode to: h264, hevc, vp9, av1, …")],
    size_mb: Annotated[
        float | None,
        typer.Option(help="The sources' size; that of a local file is known.", min=0),
    ] = None,
    max_retries: Annotated[int, typer.Option(help="Failures until it is given up.", min=0)] = 3,
    priority: Annotated[
        int, typer.Option(help="From 0 to 100; more goes first.", min=0, max=100)
    ] = 0,
    recipe: AskedFor = None,
    quality: Annotated[
        float | None, typer.Option(help="From 0 to 100, the same for all codecs.")
    ] = None,
    crf: Annotated[float | None, typer.Option(help="The encoder's own.")] = None,
    bitrate: Annotated[str | None, typer.Option(help="Bits a second, such as 2500k or 4M.")] = None,
    vmaf: Annotated[float | None, typer.Option(help="The score to reach.")] = None,
    speed: Annotated[
        str | None, typer.Option(help="fastest, fast, medium, slow or slowest.")
    ] = None,
    max_width: Annotated[int | None, typer.Option(help="In pixels; never enlarged.")] = None,
    max_height: Annotated[int | None, typer.Option(help="In pixels; never enlarged.")] = None,
    fps: Annotated[str | None, typer.Option(help="Such as 25 or 30000/1001.")] = None,
    container: Annotated[str | None, typer.Option(help="mp4, mkv, webm, mov or ts.")] = None,
    audio: Annotated[str | None, typer.Option(help="A codec, copy or none.")] = None,
    subtitles: Annotated[str | None, typer.Option(help="keep or none.")] = None,
    hdr: Annotated[str | None, typer.Option(help="keep or tonemap.")] = None,
    clip_from: Annotated[str | None, typer.Option(help="Seconds, or 0:01:30.5.")] = None,
    clip_to: Annotated[str | None, typer.Option(help="Seconds, or 0:01:30.5.")] = None,
    split: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Cut into segments of about so long, which several engines encode at once.",
        ),
    ] = None,
    output_name: Annotated[
        str | None, typer.Option(help="Of the output, such as '{stem}-{codec}'.")
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(help="Only engines with this tag may have it; may be repeated."),
    ] = None,
    callback_url: Annotated[
        str | None, typer.Option(help="Where to tell that the job is over, see docs/webhooks.md.")
    ] = None,
    after: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Wait until this job is completed; @last too; may be repeated."
        ),
    ] = None,
    shared: Annotated[
        bool,
        typer.Option(
            "--shared", help="Upload no local file: every engine can read it under the same path."
        ),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all are done.")] = False,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Submit a job for each SOURCE. With --wait, exit with 1 if any of them failed.

    After Ctrl-C while it waits, the jobs go on; it says how to follow and how to stop them.

    Local files are uploaded to the dispatcher's store if it has one, unless --shared. An upload
    that is stopped goes on when the same command is given again.

    From --quality to --split, the options are fields of a recipe; they replace those of --recipe.
    """
    asked = asked_recipe(
        recipe,
        {
            "quality": quality,
            "crf": crf,
            "bitrate": number_or_text(bitrate),
            "vmaf": vmaf,
            "speed": speed,
            "max_width": max_width,
            "max_height": max_height,
            "fps": number_or_text(fps),
            "container": container,
            "audio": audio,
            "subtitles": subtitles,
            "hdr": hdr,
            "clip_from": clip_from,
            "clip_to": clip_to,
            "split_s": split,
        },
    )
    wanted_sources = [described(it, size_mb) for it in sources_of(sources or (), list_file)]
    warnings: set[str] = set()
    tags = tag or []

    async def work(client: Client) -> Following:
        needed = await jobs_named(client, after or ())
        urls = await placed(client, wanted_sources, shared=shared)
        wanted = [
            Submission(
                url,
                codec,
                it.size_mb,
                max_retries,
                priority,
                None,
                asked,
                output_name,
                tags,
                callback_url,
                needed,
            )
            for url, it in zip(urls, wanted_sources, strict=True)
        ]
        submitted, refused = list[JobView](), list[tuple[str, RequestRefusedError]]()
        try:
            if len(wanted) == 1:
                (one,) = wanted
                submitted.append(await _submit_alone(client, one, warnings.add))
            else:
                for part in parts(wanted):
                    outcomes = await client.submit_many(part, on_warning=warnings.add)
                    for one, outcome in zip(part, outcomes, strict=True):
                        if isinstance(outcome, JobView):
                            submitted.append(outcome)
                        else:
                            refused.append((one.source_url, outcome))
            if refused:
                raise _refused(refused, len(wanted))
        except (DispatcherAwayError, RequestRefusedError):
            if submitted:
                _print(submitted, as_json=as_json)
            raise
        finally:
            note_submitted(client.server, [job.job_id for job in submitted])
        for warning in sorted(warnings):
            say(f"Warning: {warning}.")
        following = Following(submitted)
        if wait:
            try:
                await follow(client, following)
            except asyncio.CancelledError:
                farewell(following)
                raise
        return following

    if wait:
        conclude(lambda: ask(server, api_key, work), as_json=as_json)
    else:
        _print([*ask(server, api_key, work).current.values()], as_json=as_json)


def _print(jobs: list[JobView], *, as_json: bool) -> None:
    if as_json:
        print_json(jobs)
    else:
        print_rows(JOBS, jobs)


async def _submit_alone(
    client: Client, one: Submission, on_warning: Callable[[str], None]
) -> JobView:
    return await client.submit(
        one.source_url,
        one.target_codec,
        job_size=one.job_size,
        max_retries=one.max_retries,
        priority=one.priority,
        recipe=one.recipe,
        output_name=one.output_name,
        tags=one.tags,
        callback_url=one.callback_url,
        after=one.after,
        on_warning=on_warning,
    )


def _refused(refused: list[tuple[str, RequestRefusedError]], among: int) -> RequestRefusedError:
    """Return the error that names the sources that were refused."""
    source, first = refused[0]
    text = f"{len(refused):,} of {among:,} sources were refused; {masked(source)}: {first.text}"
    return RequestRefusedError(first.status, text)
