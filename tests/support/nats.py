"""A real cluster of three NATS nodes on this machine, with the settings of docs/cluster.md."""

import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dispatcher.cluster.address import Address

__all__ = ["Nats", "Node", "nats_cluster"]

HOST: Final = "127.0.0.1"
START_S: Final = 60
STOP_S: Final = 30
_SERVER: Final = Path(sys.executable).with_name("nats-server")
_names: Final = itertools.count(1)

CONFIG: Final = """
server_name: {name}
host: {host}
port: {port}
http: "{host}:{monitor}"
max_payload: 8MB
write_deadline: "2s"
ping_interval: "2s"
ping_max: 2
jetstream {{ store_dir: "{store}", sync_interval: always }}
cluster {{
  name: farm
  listen: "{host}:{route}"
  routes: [{routes}]
  ping_interval: "2s"
}}
"""


@dataclass
class Node:
    """One node. It runs in a session of its own, and is ended by its id."""

    name: str
    port: int
    monitor: int
    directory: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def store(self) -> Path:
        return self.directory / "store"

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [_SERVER, "-c", self.directory / "nats.conf"],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def signal(self, signum: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signum)

    def kill(self) -> None:
        """Kill it as a power cut would, but with what the kernel holds."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_S)
            self.process = None

    def empty(self) -> None:
        """Throw its store away."""
        shutil.rmtree(self.store)

    def is_well(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.monitor}/healthz", timeout=2) as told:
                return bool(told.status == 200)
        except OSError:
            return False


@dataclass
class Nats:
    """Three nodes."""

    nodes: list[Node]

    @property
    def hosts(self) -> str:
        return ",".join(node.url for node in self.nodes)

    def address(self, name: str | None = None) -> Address:
        """Give the address of a log, by default one that nobody has used."""
        return Address.parse(f"nats://{self.hosts}/{name or f'log-{os.getpid()}-{next(_names)}'}")

    def node_at(self, url: str) -> Node:
        """Give the node with this host and port, or with this name."""
        (found,) = (node for node in self.nodes if url in {node.url, node.name})
        return found

    def wait_until_well(self) -> None:
        """Wait until all nodes say that they are well."""
        deadline = time.monotonic() + START_S
        for node in self.nodes:
            while not node.is_well():
                if time.monotonic() > deadline:
                    raise AssertionError(f"{node.name} is not well: {_end_of(node)}")
                time.sleep(0.05)

    def start_again(self) -> None:
        """Start the nodes that do not run, and wait until all are well."""
        for node in self.nodes:
            if node.process is None:
                node.start()
        self.wait_until_well()


@contextmanager
def nats_cluster(directory: Path) -> Iterator[Nats]:
    """Start three nodes with stores in a directory. When the block ends they are gone."""
    ports = _free_ports(9)
    routes = ", ".join(f'"nats://{HOST}:{port}"' for port in ports[6:])
    cluster = Nats([])
    for number in range(3):
        name = f"n{number + 1}"
        node = Node(name, ports[number], ports[3 + number], directory / name)
        node.directory.mkdir()
        (node.directory / "nats.conf").write_text(
            CONFIG.format(
                name=name,
                host=HOST,
                port=node.port,
                monitor=node.monitor,
                store=node.store,
                route=ports[6 + number],
                routes=routes,
            )
        )
        cluster.nodes.append(node)
    try:
        for node in cluster.nodes:
            node.start()
        cluster.wait_until_well()
        yield cluster
    finally:
        for node in cluster.nodes:
            node.kill()


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def _end_of(node: Node) -> str:
    text = (node.directory / "log").read_text(errors="replace")
    return re.sub(r"\s+", " ", text)[-500:]
