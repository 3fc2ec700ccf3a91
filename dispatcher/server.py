"""Running the dispatcher: a log, a service and uvicorn, from start to stop."""

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from dispatcher.api.app import BODY_LIMIT_BYTES, create_app
from dispatcher.buckets import ObjectUrl
from dispatcher.core.policy import DEFAULT_POLICY, Policy
from dispatcher.errors import DispatcherError
from dispatcher.http_limits import DEFAULT_HTTP_LIMITS, Entrance, HttpLimits
from dispatcher.http_protocol import LimitedProtocol
from dispatcher.log import Log
from dispatcher.log.checkpoints import CheckpointKeyError, Signer
from dispatcher.log.segments import SEGMENT_EVENTS, SEGMENT_LEVEL
from dispatcher.log.sqlite import SqliteLog
from dispatcher.progress import ProgressLines
from dispatcher.serving.as_of import Past
from dispatcher.serving.keys import ApiKeys
from dispatcher.serving.named_recipes import NamedRecipes
from dispatcher.serving.quotas import DEFAULT_KEY_LIMITS, KeyLimits, Quotas
from dispatcher.serving.reloading import Reloaded, reload
from dispatcher.serving.sealing import Sealing
from dispatcher.serving.service import Service
from dispatcher.state.remains import key_path, refuse_remains
from dispatcher.state.snapshots import EVERY
from dispatcher.store import DEFAULT_STORE_LIMITS, Store, StoreLimits
from dispatcher.tls import Certificate, CertificateError, Handshakes
from dispatcher.webhooks.opening import WebhookSettings, opened

if TYPE_CHECKING:  # NATS is imported only for a cluster
    from dispatcher.cluster.address import Address

__all__ = ["BODY_LIMIT_BYTES", "NO_WEBHOOKS", "ListenError", "serve"]

logger = logging.getLogger(__name__)

NO_WEBHOOKS: Final = WebhookSettings()
SEND_BUFFER_BYTES: Final = 1 << 20
"""What the kernel holds of an answer that is not read. Linux doubles it; by itself it would take
4 MiB for each connection, and a key could have whole pages made that count as read."""

FILES: Final = 4_096
"""A limit of open files below this is logged as a warning."""
RESERVED_FILES: Final = 256
"""Open files that are not left to connections: the log, its readers, the processes that answer."""
COLLECT_AFTER_OBJECTS: Final = 20_000
"""The garbage collector's threshold: new objects since the last collection that start the next."""
THREAD_TURN_S: Final = 0.0005
"""How long a thread runs before it yields to a waiting one."""
TICKS_A_SECOND: Final = 10
LOOK_S: Final = 10
"""How often the files of the certificate are looked at."""
GRACE_S: Final = 1
"""How long the requests under way may take to end after SIGTERM."""


class ListenError(DispatcherError):
    """The dispatcher can't listen on the address."""


class _Server(uvicorn.Server):
    """A uvicorn server that leaves the signals to `serve`, and ends connections that are late.

    With a certificate it speaks TLS: uvicorn itself would neither count nor time the handshakes.
    """

    def __init__(
        self, config: uvicorn.Config, entrance: Entrance, certificate: Certificate | None
    ) -> None:
        super().__init__(config)
        self._entrance = entrance
        self._certificate = certificate
        self._accepting: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on these sockets."""
        if self._certificate is None:
            await super().startup(sockets)
            return

        def create_protocol() -> LimitedProtocol:
            return LimitedProtocol(
                self._entrance,
                is_admitted=True,
                config=self.config,
                server_state=self.server_state,
                app_state={},
            )

        handshakes = Handshakes(
            self._certificate, self._entrance, self.server_state.connections, create_protocol
        )
        self.servers = []
        self._accepting = [asyncio.create_task(handshakes.accept(it)) for it in sockets or []]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and end the connections."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Sweep once a second; uvicorn calls this ten times a second."""
        if counter % TICKS_A_SECOND == 0:
            connections: set[LimitedProtocol] = self.server_state.connections  # type: ignore[assignment]
            self._entrance.sweep(connections)
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(  # noqa: PLR0913
    db: Path,
    host: str,
    port: int,
    keys: ApiKeys | None,
    *,
    policy: Policy = DEFAULT_POLICY,
    snapshot_every: int = EVERY,
    segment_events: int = SEGMENT_EVENTS,
    segment_level: int = SEGMENT_LEVEL,
    signing_key: Path | None = None,
    cluster: "Address | None" = None,
    new: bool = False,
    body_limit_bytes: int = BODY_LIMIT_BYTES,
    http_limits: HttpLimits = DEFAULT_HTTP_LIMITS,
    key_limits: KeyLimits = DEFAULT_KEY_LIMITS,
    recipes: NamedRecipes | None = None,
    store: Path | ObjectUrl | None = None,
    store_limits: StoreLimits = DEFAULT_STORE_LIMITS,
    webhooks: WebhookSettings = NO_WEBHOOKS,
    certificate: Certificate | None = None,
    say: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT, then answer the requests under way and close the log.

    SIGHUP reloads the keys file, the file of `recipes` and the `certificate`, with which the
    server speaks TLS, and which is also read again when its files change. If `keys` is `None`,
    requests need no key. `say` is called with each line for the operator. `segment_events` is a
    power of two, or 0 to seal nothing. `signing_key` is by default next to the log. With a
    `cluster`, the log is the replicated one there, and `db` is this dispatcher's replica of it.
    Where an older log has left something, a new one is made only with `new`. `http_limits`
    bound what a client can use up before its key is checked, and `key_limits` what a key can;
    there are never more connections than open files permit. `store` is the folder or the bucket
    for films, if there is to be one. `LogError`, `StoreFaultError`, `ListenError`,
    `CheckpointKeyError`, `OutboxError` and `SecretError` say why the dispatcher can't start.
    """
    http_limits = _within(_raise_file_limit(), http_limits)
    entrance = Entrance(http_limits)
    listener = _listen(host, port)
    read_again = partial(_reload, keys, recipes, certificate, say)
    with listener, _on_signals(read_again, signal.SIGHUP):
        migrating = ProgressLines(say, f"Bringing {db} up to its new schema")
        refuse = partial(refuse_remains, is_replica=cluster is not None)
        creating = _allow if new else refuse
        log: Log
        if cluster is None:
            log = replica = await SqliteLog.open(db, migrating, creating)
        else:
            log, replica = await _open_cluster(cluster, db, listener, signing_key, creating, say)
        try:
            signer = _load_signer(signing_key or key_path(replica.path), replica, say)
            quotas = Quotas(_within_connections(http_limits.connections, key_limits))
            past = Past(replica.path, snapshot_every, quotas.questions)
            sealing = Sealing(replica, segment_events, segment_level) if segment_events else None
            async with _store_at(store, db, store_limits) as films:
                kind, gate = (
                    (Service, _no_gate)
                    if cluster is None
                    else _clustered(_url(listener, certificate))
                )
                service = kind(
                    log,
                    policy,
                    past=past,
                    sealing=sealing,
                    quotas=quotas,
                    recipes=recipes,
                    store=films,
                    callbacks=webhooks.callbacks,
                )
                await service.start(ProgressLines(say, f"Replaying {db}"))
                try:
                    async with opened(service, replica.path, webhooks) as hooks:
                        app = create_app(
                            service,
                            keys,
                            signer,
                            read_again,
                            body_limit_bytes=body_limit_bytes,
                            hooks=hooks,
                        )
                        server = _create_server(gate(app, service), entrance, certificate)

                        def stop() -> None:
                            service.dismiss_waiters()
                            service.feed.end()
                            server.should_exit = True

                        greeting = _greeting(
                            _url(listener, certificate), cluster or replica.path, log
                        )
                        with _tuned_interpreter(), _on_signals(stop, signal.SIGTERM, signal.SIGINT):
                            say(greeting)
                            async with _renewed(certificate, say):
                                await server.serve(sockets=[listener])
                finally:
                    entrance.log_refusals()
                    await service.close()
        finally:
            await log.close()
    say(f"Stopped; {db} stands at seq {log.head}.")


@contextlib.asynccontextmanager
async def _store_at(
    place: Path | ObjectUrl | None, db: Path, limits: StoreLimits
) -> AsyncIterator[Store | None]:
    """Open a store until the block ends, if there is to be one; uploads to a bucket are by `db`."""
    match place:
        case None:
            yield None
            return
        case Path():
            store = await Store.open(place, limits)
        case ObjectUrl():
            store = await Store.open(db.with_name(f"{db.name}.store"), limits, bucket=place)
    try:
        yield store
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def _renewed(
    certificate: Certificate | None, say: Callable[[str], None]
) -> AsyncIterator[None]:
    """Read a certificate again whenever its files change, until the block ends."""
    if certificate is None:
        yield
        return

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if not certificate.has_changed():
                continue
            try:
                certificate.reload()
            except CertificateError as error:
                logger.warning("%s; the certificate in force stays, %s", error, certificate)
            else:
                say(f"Read {certificate.path} again, as it has changed; it is {certificate}.")

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.wait([looking])


@contextlib.contextmanager
def _tuned_interpreter() -> Iterator[None]:
    """Tune the garbage collector and thread switching until the block ends.

    This answers some 8 % more requests. The objects built from the log live on, so collections need
    not scan them. Requests leave few objects that only a collection can free. The writer thread
    needs the interpreter briefly after each of its steps, and should not wait 5 ms for it.
    """
    thresholds, interval_s = gc.get_threshold(), sys.getswitchinterval()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, *thresholds[1:])
    sys.setswitchinterval(THREAD_TURN_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval_s)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


async def _open_cluster(  # noqa: PLR0913, PLR0917 - what a replica and a stream need
    address: "Address",
    db: Path,
    listener: socket.socket,
    signing_key: Path | None,
    creating: Callable[[Path], None],
    say: Callable[[str], None],
) -> tuple[Log, SqliteLog]:
    """Open a replicated log, and the replica of it at `db`."""
    from dispatcher.cluster.log import JetStreamLog  # noqa: PLC0415 - imports NATS

    path = signing_key or key_path(db.resolve())

    def verifier(known: str | None) -> str:
        if known is not None and not path.exists():
            raise CheckpointKeyError(
                f"{path}: is not there, but the dispatchers of {address} sign with the key of "
                f"{known}; copy their signing key to it, or name it with --signing-key"
            )
        return Signer.load_or_create(path).verifier_key

    log = await JetStreamLog.open(
        address,
        db,
        name=f"{socket.gethostname()}:{listener.getsockname()[1]}",
        verifier=verifier,
        migrating=ProgressLines(say, f"Bringing {db} up to its new schema"),
        creating=creating,
        reading=ProgressLines(say, f"Reading {address}", "messages"),
    )
    return log, log.replica


def _clustered(url: str) -> tuple[Any, Any]:
    """Return what makes the service of a cluster, and the gate before its application."""
    from dispatcher.cluster.gate import Gate  # noqa: PLC0415 - imports NATS
    from dispatcher.cluster.service import ClusterService  # noqa: PLC0415

    return partial(ClusterService, url=url), Gate


def _no_gate(app: object, _service: Service) -> object:
    """Let all requests pass."""
    return app


def _allow(_path: Path) -> None:
    """Let a new log be made whatever is there."""


def _load_signer(path: Path, log: SqliteLog, say: Callable[[str], None]) -> Signer:
    is_new = not path.exists()
    signer = Signer.load_or_create(path)
    if is_new and log.head > 0:
        say(
            f"{log.path} has {log.head:,} events, but there was no key {path}: made a new one. "
            f"Checkpoints are signed as {signer.origin} from now on; give auditors its key."
        )
    return signer


def _raise_file_limit() -> int | None:
    """Raise the limit of open files to its maximum, and return it; `None` means that there is none.

    Each stream and each waiting engine uses one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < FILES:
        logger.warning(
            "Only %d files may be open at once; for many streams and engines allow more "
            "(ulimit -n, LimitNOFILE)",
            hard,
        )
    return None if hard == resource.RLIM_INFINITY else hard


def _within(files: int | None, limits: HttpLimits) -> HttpLimits:
    """Reduce the number of connections to what so many open files permit."""
    if files is None:
        return limits
    room = max(files - RESERVED_FILES, files // 2)
    return limits._replace(connections=min(limits.connections, room))


def _within_connections(connections: int, limits: KeyLimits) -> KeyLimits:
    """Leave others a tenth of the connections, however many requests of a key wait."""
    return limits._replace(polls=max(1, min(limits.polls, connections * 9 // 10)))


class _NoCancellations(logging.Filter):
    """Drops log records about requests that were cancelled at the end of the grace period."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is about something other than a cancellation."""
        return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _create_server(
    app: object, entrance: Entrance, certificate: Certificate | None
) -> uvicorn.Server:
    logging.getLogger("uvicorn.error").addFilter(_NO_CANCELLATIONS)
    return _Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]
            http=partial(LimitedProtocol, entrance),  # type: ignore[arg-type]  # is called
            loop="none",
            lifespan="off",
            ws="none",
            proxy_headers=False,  # the client's address is not used
            access_log=False,
            log_config=None,  # what it logs is formatted like all else
            log_level="error",
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        ),
        entrance,
        certificate,
    )


_NO_CANCELLATIONS: Final = _NoCancellations()


@contextlib.contextmanager
def _on_signals(act: Callable[[], object], *signals: signal.Signals) -> Iterator[None]:
    """Call `act` on each of these signals until the block ends."""
    loop = asyncio.get_running_loop()
    for signum in signals:
        loop.add_signal_handler(signum, act)
    try:
        yield
    finally:
        for signum in signals:
            loop.remove_signal_handler(signum)


def _reload(
    keys: ApiKeys | None,
    recipes: NamedRecipes | None,
    certificate: Certificate | None,
    say: Callable[[str], None],
) -> Reloaded:
    """Read the files again that there are, and tell the operator of it."""
    reloaded = reload(keys, recipes, certificate)
    if reloaded == ([], []):
        say("SIGHUP changes nothing: there is no keys file and no file of recipes to read again.")
    for line in reloaded.done:
        say(line)
    for fault in reloaded.faults:
        logger.error(fault)
    return reloaded


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise ListenError(
            f"can't listen on {host} port {port}: {error}; choose others with --host and --port"
        ) from error
    # asyncio sets this only on sockets that it creates. Without it, responses are 40 ms late.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return listener


def _greeting(url: str, place: object, log: Log) -> str:
    return f"Dispatcher ready on {url}, log {place} at seq {log.head}."


def _url(listener: socket.socket, certificate: Certificate | None) -> str:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"http{'' if certificate is None else 's'}://{shown}:{port}"
