"""Three nodes of NATS with the settings of docs/cluster.md, each a process of its own."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["HOST", "Node", "Nodes", "Place", "free_places", "nodes_at", "started_nodes"]

HOST: Final = "127.0.0.1"
START_S: Final = 60
STOP_S: Final = 30
SERVER: Final = Path(sys.executable).with_name("nats-server")

CONFIG: Final = """
server_name: {name}
host: {at.host}
port: {at.port}
http: "{at.host}:{at.monitor}"
max_payload: 8MB
write_deadline: "2s"
ping_interval: "2s"
ping_max: 2
jetstream {{ store_dir: "{store}", sync_interval: always }}
cluster {{
  name: farm
  listen: "{at.host}:{at.route}"
  routes: [{routes}]
  ping_interval: "2s"
}}
{more}
"""


class Place(NamedTuple):
    """Where a node listens: to clients, to who monitors it, to other nodes.

    `enter` is a command that runs another one there, such as in a network namespace.
    """

    host: str
    port: int
    monitor: int
    route: int
    enter: tuple[str, ...] = ()


@dataclass
class Node:
    """One node."""

    name: str
    place: Place
    directory: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        """Its host and its port."""
        return f"{self.place.host}:{self.place.port}"

    @property
    def monitor_url(self) -> str:
        """Where it tells what it has."""
        return f"http://{self.place.host}:{self.place.monitor}"

    @property
    def store(self) -> Path:
        """The folder of its JetStream."""
        return self.directory / "store"

    def start(self) -> None:
        """Start it, and wait for nothing."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.place.enter, str(SERVER), "-c", str(self.directory / "nats.conf")],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def signal(self, signum: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None  # noqa: S101 - whoever sends one has started it
        os.kill(self.process.pid, signum)

    def kill(self) -> None:
        """Kill it as a power cut would, but with what the kernel holds."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_S)
            self.process = None

    def stop(self) -> None:
        """End it as an operator would."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(STOP_S)
            self.process = None

    def empty(self) -> None:
        """Throw its store away."""
        shutil.rmtree(self.store)

    def is_well(self) -> bool:
        """Whether it says so."""
        try:
            with urllib.request.urlopen(f"{self.monitor_url}/healthz", timeout=2) as told:  # noqa: S310 - http
                return bool(told.status == 200)  # noqa: PLR2004
        except OSError:
            return False


class Nodes(list[Node]):
    """The nodes of one cluster."""

    @property
    def hosts(self) -> str:
        """Where they are, as the address of a log has it."""
        return ",".join(node.url for node in self)

    def wait_until_well(self) -> None:
        """Wait until all nodes say that they are well. `AssertionError` if that takes too long."""
        deadline = time.monotonic() + START_S
        for node in self:
            while not node.is_well():
                if time.monotonic() > deadline:
                    raise AssertionError(f"{node.name} is not well: {_end_of(node)}")
                time.sleep(0.05)

    def start_again(self) -> None:
        """Start the nodes that do not run, and wait until all are well."""
        for node in self:
            if node.process is None:
                node.start()
        self.wait_until_well()


def nodes_at(places: Sequence[Place], directory: Path, more: str = "") -> Nodes:
    """Write the configuration of a cluster, `more` included; nothing is started."""
    routes = ", ".join(f'"nats://{it.host}:{it.route}"' for it in places)
    nodes = Nodes()
    for number, place in enumerate(places, 1):
        name = f"n{number}"
        node = Node(name, place, directory / name)
        node.directory.mkdir()
        (node.directory / "nats.conf").write_text(
            CONFIG.format(name=name, at=place, store=node.store, routes=routes, more=more),
            encoding="utf-8",
        )
        nodes.append(node)
    return nodes


@contextmanager
def started_nodes(nodes: Nodes) -> Iterator[Nodes]:
    """Start the nodes, and wait until all are well. When the block ends they are gone."""
    try:
        for node in nodes:
            node.start()
        nodes.wait_until_well()
        yield nodes
    finally:
        for node in nodes:
            node.kill()


def free_places(count: int = 3) -> list[Place]:
    """Return places on this machine where nobody listens now."""
    held = [socket.create_server((HOST, 0)) for _ in range(3 * count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return [Place(HOST, *ports[3 * n : 3 * n + 3]) for n in range(count)]


def _end_of(node: Node) -> str:
    text = (node.directory / "log").read_text(errors="replace", encoding="utf-8")
    return re.sub(r"\s+", " ", text)[-500:]
