"""Fixtures that every test may ask for."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest
from hypothesis import Phase, settings

from dispatcher.client import Client
from dispatcher.core.policy import Policy
from dispatcher.log.sqlite import SqliteLog
from dispatcher.serving.service import Service
from tests.support import fleets
from tests.support.certificates import share_one_context
from tests.support.farm import Farm
from tests.support.leaks import ends_what_it_begins, leaked_threads
from tests.support.nats import Nats, nats_cluster
from tests.support.seaweed import Seaweed, seaweed_server
from tests.support.servers import KEY, Running, client_of, running
from tests.support.watched_log import WatchedLog

# The same examples on every run, however slow the machine is.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
# Without shrinking. To shrink a failing example can take longer than pytest's timeout, which ends
# the whole run and shows no failure.
settings.register_profile(
    "unshrunk", settings.get_profile("repeatable"), phases=[Phase.explicit, Phase.generate]
)


fleets.watch()
share_one_context()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """End in spite of leaked threads: Python would wait for them for ever.

    A test has failed for them, and the summary has been printed.
    """
    if leaked := leaked_threads():
        print("\nleft running at the end:", *leaked, file=sys.stderr, flush=True)  # noqa: T201
        sys.stdout.flush()
        os._exit(1)


@pytest.fixture(autouse=True, scope="session")
def _nobodys_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads the settings of who runs it, or writes what was submitted last beside them."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
            patched.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        yield


@pytest.fixture(autouse=True, scope="session")
def _all_tests_end_what_they_begin() -> Iterator[None]:
    """No fixture of a module or of the session leaves a thread or a process running."""
    with ends_what_it_begins():
        yield


@pytest.fixture(autouse=True)
def _a_test_ends_what_it_begins() -> Iterator[None]:
    """No test leaves a thread or a process running. (Autouse fixtures go by their names: first.)"""
    with ends_what_it_begins():
        yield


@pytest.fixture(autouse=True)
def _every_fleet_is_sound_at_the_end() -> Iterator[None]:
    """The invariants of the core hold, whatever the test has done."""
    yield
    fleets.check_all()


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The event loop that `dispatcher serve` runs on."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where a log may be made; nothing stands there yet."""
    return tmp_path / "events.db"


@pytest.fixture
async def dispatcher(server: Running) -> AsyncIterator[Client]:
    """A client of `server`."""
    async with Client(server.url, KEY) as client:
        yield client


@pytest.fixture
async def server(db: Path) -> AsyncIterator[Running]:
    """A dispatcher on a log and a port of its own."""
    async with running(db) as dispatcher:
        yield dispatcher


@pytest.fixture
async def client(server: Running) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of that dispatcher that carries the key."""
    async with client_of(server) as http:
        yield http


@pytest.fixture(scope="module")
async def shared_server(
    tmp_path_factory: pytest.TempPathFactory, anyio_backend: object
) -> AsyncIterator[Running]:
    """One dispatcher for a whole module: for tests that leave no trace, or don't mind others'."""
    assert anyio_backend, "a module's fixture must ask for its event loop"
    # However long the module takes, no engine of its falls silent.
    policy = Policy(lease_s=3600)
    db = tmp_path_factory.mktemp("shared") / "events.db"
    async with running(db, policy=policy) as dispatcher:
        yield dispatcher


@pytest.fixture(scope="module")
async def shared_client(shared_server: Running) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the module's dispatcher that carries the key."""
    async with client_of(shared_server) as http:
        yield http


@pytest.fixture(scope="module")
async def farm(shared_server: Running, shared_client: httpx2.AsyncClient) -> AsyncIterator[Farm]:
    """The module's dispatcher with some jobs and an engine, to be refused things by."""
    async with httpx2.AsyncClient(base_url=shared_server.url, trust_env=False) as stranger:
        yield await Farm.settled(shared_server, shared_client, stranger)


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """Three nodes of NATS for a module, whose tests leave them well. Each uses a log of its own."""
    with nats_cluster(tmp_path_factory.mktemp("nats")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A server of S3 for a module, whose tests leave it well. Each uses a bucket of its own."""
    with seaweed_server(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture
async def log(db: Path) -> AsyncIterator[WatchedLog]:
    """A real log that can be held up and made to fail."""
    async with await SqliteLog.open(db) as opened:
        yield WatchedLog(opened)


@pytest.fixture
async def service(log: WatchedLog) -> AsyncIterator[Service]:
    """A service on that log, which has started."""
    started = Service(log)
    await started.start()
    yield started
    log.gate.set()
    await started.close()
