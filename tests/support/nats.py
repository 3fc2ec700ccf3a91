"""A real cluster of three NATS nodes on this machine, with the settings of docs/cluster.md."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clustering.nodes import Node, Nodes, free_places, nodes_at, started_nodes
from dispatcher.cluster.address import Address

__all__ = ["Nats", "Node", "nats_cluster"]

_names: Final = itertools.count(1)


@dataclass
class Nats:
    """Three nodes."""

    nodes: Nodes

    @property
    def hosts(self) -> str:
        return self.nodes.hosts

    def address(self, name: str | None = None) -> Address:
        """Give the address of a log, by default one that nobody has used."""
        return Address.parse(f"nats://{self.hosts}/{name or f'log-{os.getpid()}-{next(_names)}'}")

    def node_at(self, url: str) -> Node:
        """Give the node with this host and port, or with this name."""
        (found,) = (node for node in self.nodes if url in {node.url, node.name})
        return found

    def wait_until_well(self) -> None:
        self.nodes.wait_until_well()

    def start_again(self) -> None:
        self.nodes.start_again()


@contextmanager
def nats_cluster(directory: Path, more: str = "") -> Iterator[Nats]:
    """Start three nodes with stores in a directory. When the block ends they are gone."""
    with started_nodes(nodes_at(free_places(), directory, more)) as nodes:
        yield Nats(nodes)
