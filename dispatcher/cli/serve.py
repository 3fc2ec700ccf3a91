"""`dispatcher serve`."""

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import stamina
import typer

from dispatcher.buckets import ObjectUrl
from dispatcher.cli.options import ApiKey, Db
from dispatcher.cli.output import log_plainly, say
from dispatcher.cli.replicated import replicated_log
from dispatcher.client import is_sendable
from dispatcher.core.policy import DEFAULT_POLICY, Policy
from dispatcher.http_limits import DEFAULT_HTTP_LIMITS, HttpLimits
from dispatcher.log.segments import LEAST_EVENTS, SEGMENT_EVENTS, SEGMENT_LEVEL
from dispatcher.serving.callbacks import Callbacks
from dispatcher.serving.keys import ApiKeys, Key, Role
from dispatcher.serving.named_recipes import NamedRecipes
from dispatcher.serving.quotas import DEFAULT_KEY_LIMITS, KeyLimits
from dispatcher.state.snapshots import EVERY
from dispatcher.store import DEFAULT_STORE_LIMITS, StoreLimits
from dispatcher.tls import Certificate
from dispatcher.webhooks.opening import WebhookSettings
from dispatcher.webhooks.settings import read_webhooks

__all__ = ["serve"]

_GB = 1_000_000_000
_DAY_S = 86_400.0
_MAX_S = _DAY_S * 365


def serve(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    db: Db = Path("events.db"),
    log: Annotated[
        str | None,
        typer.Option(
            help="Share a replicated log: nats://HOST,HOST,HOST/NAME. --db is a replica then.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="The port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 8080,
    api_key: ApiKey = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            help="The file of named keys, see `dispatcher key`; read again at SIGHUP.",
            show_default=False,
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            help="Speak TLS with this certificate (PEM, with those of its authorities after it); "
            "read again when it is renewed.",
            show_default=False,
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(
            help="Its private key (PEM, without a password); by default in the same file.",
            show_default=False,
        ),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Serve anybody, without a key.")
    ] = False,
    body_limit_bytes: Annotated[
        int | None, typer.Option(help="The largest request body taken; by default 1 MiB.", min=1)
    ] = None,
    receive_timeout_s: Annotated[
        float, typer.Option(help="How long a whole request may take to arrive.", min=1, max=_MAX_S)
    ] = DEFAULT_HTTP_LIMITS.receive_s,
    max_connections: Annotated[
        int,
        typer.Option(help="The most connections at once; fewer if fewer files may be open.", min=1),
    ] = DEFAULT_HTTP_LIMITS.connections,
    max_connections_per_address: Annotated[
        int, typer.Option(help="The most of them from one address; 0 for no limit.", min=0)
    ] = DEFAULT_HTTP_LIMITS.connections_per_address,
    max_questions_per_key: Annotated[
        int, typer.Option(help="The most `as_of` at once of a client's or engine's key.", min=1)
    ] = DEFAULT_KEY_LIMITS.questions,
    max_polls_per_key: Annotated[
        int, typer.Option(help="The most requests for work of one key that wait.", min=1)
    ] = DEFAULT_KEY_LIMITS.polls,
    max_unread_mib_per_key: Annotated[
        int, typer.Option(help="The most MiB of answers that one key has not read.", min=4)
    ] = DEFAULT_KEY_LIMITS.unread_mib,
    lease_s: Annotated[
        float, typer.Option(help="An engine silent for so long is offline.", min=0.1, max=_MAX_S)
    ] = DEFAULT_POLICY.lease_s,
    job_timeout_s: Annotated[
        float, typer.Option(help="How long one attempt may take; 0 for ever.", min=0, max=_MAX_S)
    ] = DEFAULT_POLICY.job_timeout_s,
    stall_timeout_s: Annotated[
        float,
        typer.Option(
            help="How long one attempt may show no progress; 0 for ever.", min=0, max=_MAX_S
        ),
    ] = DEFAULT_POLICY.stall_timeout_s,
    priority_point_s: Annotated[
        float, typer.Option(help="What a point of priority is worth in waiting.", min=0, max=_MAX_S)
    ] = DEFAULT_POLICY.priority_point_s,
    retry_backoff_s: Annotated[
        float,
        typer.Option(help="The pause after a first failure; doubles with each.", min=0, max=_MAX_S),
    ] = DEFAULT_POLICY.retry_backoff_s,
    max_losses: Annotated[
        int, typer.Option(help="Fail a job that lost its engine so often; 0 for never.", min=0)
    ] = DEFAULT_POLICY.max_losses,
    source_patience_s: Annotated[
        float,
        typer.Option(
            help="How long a job may pause because its source is away.", min=0, max=_MAX_S
        ),
    ] = DEFAULT_POLICY.source_patience_s,
    block_after: Annotated[
        int, typer.Option(help="Block an engine that fails so many jobs in a row.", min=0)
    ] = DEFAULT_POLICY.block_after,
    block_for_s: Annotated[
        float,
        typer.Option(
            help="Let a blocked engine try a job after so long, doubled each time; 0 for never.",
            min=0,
            max=_MAX_S,
        ),
    ] = DEFAULT_POLICY.block_for_s,
    forget_engine_after_s: Annotated[
        float,
        typer.Option(help="Forget an engine offline for so long; 0 for never.", min=0, max=_MAX_S),
    ] = DEFAULT_POLICY.forget_engine_after_s,
    report_s: Annotated[
        float,
        typer.Option(
            help="How often an engine's numbers that change a little are recorded; 0 for always.",
            min=0,
            max=_MAX_S,
        ),
    ] = DEFAULT_POLICY.report_s,
    snapshot_every: Annotated[
        int, typer.Option(help="Events between two snapshots.", min=100)
    ] = EVERY,
    segment_events: Annotated[
        int,
        typer.Option(
            help="Events of a sealed segment, a power of two; 0 to keep all in one file.", min=0
        ),
    ] = SEGMENT_EVENTS,
    segment_level: Annotated[
        int, typer.Option(help="How hard segments are compressed (zstd).", min=1, max=22)
    ] = SEGMENT_LEVEL,
    signing_key: Annotated[
        Path | None,
        typer.Option(
            help="The key that signs checkpoints; made if it is not there. By default DB.key.",
            show_default=False,
        ),
    ] = None,
    recipes: Annotated[
        Path | None,
        typer.Option(
            help="The file of named recipes, see docs/recipes.md; read again at SIGHUP.",
            show_default=False,
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="A folder for films that clients upload and engines deliver, made if it is not "
            "there, or s3://BUCKET/PREFIX, gs://… or az://…. Without it the dispatcher takes no "
            "files.",
            show_default=False,
        ),
    ] = None,
    store_max_gb: Annotated[
        float, typer.Option(help="The most that the store holds.", min=0.001)
    ] = DEFAULT_STORE_LIMITS.max_bytes / _GB,
    store_max_file_gb: Annotated[
        float, typer.Option(help="The largest file of the store.", min=0.001)
    ] = DEFAULT_STORE_LIMITS.max_file_bytes / _GB,
    store_keep_days: Annotated[
        float,
        typer.Option(
            help="Sweep a file of the store that nobody used for so long and no live job needs.",
            min=0.01,
            max=36_500,
        ),
    ] = DEFAULT_STORE_LIMITS.keep_s / _DAY_S,
    webhooks: Annotated[
        Path | None,
        typer.Option(
            help="The file of webhooks, see docs/webhooks.md; read at the start.",
            show_default=False,
        ),
    ] = None,
    callback_allow: Annotated[
        str | None,
        typer.Option(
            metavar="HOST,…",
            help="Where jobs may be called back: names, *.NAME, public, and for addresses that are "
            "not public their networks. Without it nowhere.",
            show_default=False,
        ),
    ] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Begin a new log where an older one is missing.")
    ] = False,
) -> None:
    """Run the dispatcher until SIGTERM or Ctrl-C."""
    log_plainly("%(asctime)s %(levelname)s %(message)s", logging.WARNING)
    api_keys = _api_keys(api_key, keys, no_auth=no_auth)
    if store is not None and log is not None:
        raise typer.BadParameter(
            "--store and --log contradict each other: a store is of one dispatcher, and the others "
            "would not have its films; leave one of them out"
        )
    if log is not None and (webhooks is not None or callback_allow is not None):
        raise typer.BadParameter(
            "--webhooks and --callback-allow are of one dispatcher: of several on one --log, each "
            "would send everything; leave them out, and follow the events with GET /events/stream"
        )
    hooks = WebhookSettings(
        () if webhooks is None else read_webhooks(webhooks),
        None if callback_allow is None else Callbacks.parse(callback_allow),
    )
    named_recipes = NamedRecipes(recipes)
    certificate = _certificate(tls_cert, tls_key)
    stamina.instrumentation.set_on_retry_hooks([])  # the service logs its own retries
    # Litestar takes longer to load than most other commands take to run.
    import uvloop  # noqa: PLC0415

    from dispatcher import server  # noqa: PLC0415

    serving = server.serve(
        db,
        host,
        port,
        api_keys,
        policy=Policy(
            lease_s=lease_s,
            job_timeout_s=job_timeout_s,
            stall_timeout_s=stall_timeout_s,
            priority_point_s=priority_point_s,
            retry_backoff_s=retry_backoff_s,
            max_losses=max_losses,
            source_patience_s=source_patience_s,
            block_after=block_after,
            block_for_s=block_for_s,
            forget_engine_after_s=forget_engine_after_s,
            report_s=report_s,
        ),
        snapshot_every=snapshot_every,
        segment_events=_power_of_two(segment_events),
        segment_level=segment_level,
        signing_key=signing_key,
        cluster=None if log is None else replicated_log(log),
        new=new,
        body_limit_bytes=body_limit_bytes or server.BODY_LIMIT_BYTES,
        http_limits=HttpLimits(
            receive_s=receive_timeout_s,
            connections=max_connections,
            connections_per_address=max_connections_per_address,
        ),
        key_limits=KeyLimits(
            questions=max_questions_per_key,
            polls=max_polls_per_key,
            unread_mib=max_unread_mib_per_key,
        ),
        recipes=named_recipes,
        store=None if store is None else ObjectUrl.parse_prefix(store) or Path(store),
        store_limits=StoreLimits(
            max_bytes=int(store_max_gb * _GB),
            max_file_bytes=int(store_max_file_gb * _GB),
            keep_s=store_keep_days * _DAY_S,
        ),
        webhooks=hooks,
        certificate=certificate,
        say=say,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)


def _certificate(path: Path | None, key: Path | None) -> Certificate | None:
    if path is None:
        if key is not None:
            raise typer.BadParameter("--tls-key needs the certificate of the key, with --tls-cert")
        return None
    return Certificate(path, key or path)


def _power_of_two(events: int) -> int:
    if events and (events < LEAST_EVENTS or events & (events - 1)):
        raise typer.BadParameter(
            f"--segment-events {events}: is no power of two, {LEAST_EVENTS} at least; the default "
            f"is {SEGMENT_EVENTS}, and 0 keeps all events in one file"
        )
    return events


def _api_keys(api_key: str | None, keys: Path | None, *, no_auth: bool) -> ApiKeys | None:
    if no_auth:
        if api_key or keys is not None:
            raise typer.BadParameter("--no-auth and an API key contradict each other; drop one")
        return None
    if not api_key and keys is None:
        raise typer.BadParameter(
            "the dispatcher needs an API key: name a file of keys with --keys FILE, give a single "
            "one with --api-key KEY or in DISPATCHER_API_KEY, or serve anybody with --no-auth"
        )
    if not api_key:
        return ApiKeys(path=keys)
    if not is_sendable(api_key):
        raise typer.BadParameter(
            "the API key has characters that no request can carry; use printable ASCII"
        )
    return ApiKeys([Key.of("operator", Role.OPERATOR, api_key)], keys)
