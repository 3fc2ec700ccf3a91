"""Three hosts, each with a node of NATS and a dispatcher, and what can be done to them.

With `unshare` and `ip` of Linux each host is a network namespace of its own, on a bridge in that of
the torture, so connections between hosts can be cut, one way or both. `sealed_off` runs a program
where that is possible. Elsewhere the hosts are addresses of the loopback, and nothing is cut.

Laws:
- Nothing is changed outside: the namespaces, the bridge and all processes end with the torture.
- What is cut is cut silently, as by a switch that drops: packets go to a hardware address that
  nobody has.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from clustering.nodes import Node, Nodes, Place, nodes_at
from dispatcher.cluster.address import Address

__all__ = ["KEY", "PORT", "Host", "Hosts", "hosts_in", "is_sealed_off", "sealed_off"]

KEY: Final = "the key of the torture"
PORT: Final = 8080
START_S: Final = 120
"""A start takes no longer, nor does it take longer until all is well after a fault."""
_INSIDE: Final = "TORTURE_SEALED_OFF"
_UNSHARE: Final = (
    *("unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child"),
    "--mount-proc",
)
_NOBODY: Final = "02:00:00:00:00:00"
_FAKE_TIME: Final = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


def is_sealed_off() -> bool:
    """Whether this process runs in namespaces of its own."""
    return _INSIDE in os.environ


def sealed_off(*argv: str) -> list[str] | None:
    """Return a command that runs another one in namespaces of its own; `None` if none can."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return None
    tried = subprocess.run(
        [*_UNSHARE, "ip", "link", "add", "bridge", "type", "bridge"],
        capture_output=True,
        check=False,
    )
    return [*_UNSHARE, "env", f"{_INSIDE}=1", *argv] if tried.returncode == 0 else None


class Host:
    """One host. Its dispatcher's clock is `clock_s` ahead, if that can be had."""

    def __init__(self, node: Node, directory: Path, clock_s: float) -> None:
        self.node = node
        self.name = node.name
        self.ip = node.place.host
        self.db = directory / node.name / "replica.db"
        self.process: subprocess.Popen[bytes] | None = None
        self._clock_s = clock_s
        self._said = directory / node.name / "said"

    @property
    def url(self) -> str:
        """Where its dispatcher answers."""
        return f"http://{self.ip}:{PORT}"

    def start(self, address: Address) -> None:
        """Start its dispatcher, and wait for nothing."""
        key = self.db.parent.parent / "farm.key"
        with self._said.open("ab") as said:
            self.process = subprocess.Popen(
                [
                    *(*self.node.place.enter, sys.executable, "-m", "dispatcher", "serve"),
                    *("--log", str(address), "--db", str(self.db), "--signing-key", str(key)),
                    *("--host", self.ip, "--port", str(PORT)),
                    *("--lease-s", "86400", "--block-after", "0", "--snapshot-every", "200"),
                    *("--segment-events", "256", "--segment-level", "1"),
                ],
                env=os.environ | {"DISPATCHER_API_KEY": KEY} | self._time(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    def end(self, how: signal.Signals = signal.SIGKILL) -> int | None:
        """End its dispatcher, and return its exit code."""
        process, self.process = self.process, None
        if process is None:
            return None
        process.send_signal(how)
        return process.wait(START_S)

    def signal(self, how: signal.Signals) -> None:
        """Send its dispatcher a signal."""
        if self.process is not None:
            self.process.send_signal(how)

    def health(self, *, ready: bool = False) -> dict[str, Any] | None:
        """Ask its dispatcher how it is; `None` if it does not answer."""
        try:
            with urllib.request.urlopen(self.url + "/health" + "?ready" * ready, timeout=2) as told:  # noqa: S310 - http
                found: dict[str, Any] = json.load(told)
        except urllib.error.HTTPError as error:
            found = json.load(error)
        except OSError:
            return None
        return found

    def said(self) -> str:
        """Return what its dispatcher said last."""
        return self._said.read_text(encoding="utf-8", errors="replace")[-2_000:]

    def forget(self) -> None:
        """Throw its replica away."""
        for path in self.db.parent.glob(self.db.name + "*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _time(self) -> dict[str, str]:
        if not self._clock_s or not Path(_FAKE_TIME).exists():
            return {}
        return {
            "LD_PRELOAD": _FAKE_TIME,
            "FAKETIME": f"{self._clock_s:+g}",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }


class Hosts(list[Host]):
    """All hosts. `address` is that of their log."""

    def __init__(self, nodes: Nodes, directory: Path, clocks_s: tuple[float, ...]) -> None:
        super().__init__(
            Host(node, directory, ahead_s) for node, ahead_s in zip(nodes, clocks_s, strict=True)
        )
        self.nodes = nodes
        self.address = Address.parse(f"nats://{nodes.hosts}/farm")

    @property
    def can_be_cut(self) -> bool:
        """Whether connections between hosts can be cut."""
        return is_sealed_off()

    @property
    def clocks_differ(self) -> bool:
        """Whether the dispatchers' clocks can be set apart."""
        return Path(_FAKE_TIME).exists()

    def cut(self, one: Host, other: Host) -> None:
        """Drop what one host sends to another."""
        _ip(one, "neigh", "replace", other.ip, "lladdr", _NOBODY, "dev", "eth0", "nud", "permanent")

    def heal(self, one: Host, other: Host) -> None:
        """Deliver again what one host sends to another."""
        _ip(one, "neigh", "del", other.ip, "dev", "eth0")

    async def are_well(self) -> None:
        """Start what does not run, and wait until all dispatchers are ready.

        `TimeoutError` if it does not come to that, with what they say.
        """
        await asyncio.to_thread(self.nodes.start_again)
        for host in self:
            if host.process is None:
                host.start(self.address)
        deadline = time.monotonic() + START_S
        for host in self:
            while not _is_ready(await asyncio.to_thread(host.health, ready=True)):
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"{host.name} is not ready after {START_S} s: {host.health(ready=True)}; "
                        f"it said: {host.said()}"
                    )
                await asyncio.sleep(0.1)


def _is_ready(health: dict[str, Any] | None) -> bool:
    return health is not None and health["status"] == "ok"


@contextmanager
def hosts_in(directory: Path, clocks_s: tuple[float, ...]) -> Iterator[Hosts]:
    """Make hosts. When the block ends, nothing of theirs runs any more."""
    with ExitStack() as stack:
        places = (
            _namespaces(stack)
            if is_sealed_off()
            else [Place(f"127.77.0.{n}", 4222, 8222, 6222) for n in (1, 2, 3)]
        )
        hosts = Hosts(nodes_at(places, directory), directory, clocks_s)
        stack.callback(_end, hosts)
        yield hosts


def _end(hosts: Hosts) -> None:
    for host in hosts:
        host.end()
        host.node.kill()


def _namespaces(stack: ExitStack) -> list[Place]:
    """Make a namespace for each host, and connect all."""
    for command in (
        "ip link set lo up",
        "ip link add switch type bridge",
        "ip addr add 10.77.0.254/24 dev switch",
        "ip link set switch up",
    ):
        _run(*command.split())
    stack.callback(_run, "ip", "link", "del", "switch")
    places = []
    for number in (1, 2, 3):
        holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        stack.callback(holder.wait)
        stack.callback(holder.kill)
        while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):  # noqa: PTH115
            time.sleep(0.01)
        enter = ("nsenter", "--target", str(holder.pid), "--net")
        port = ("link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0")
        _run("ip", *port, "netns", str(holder.pid))
        stack.callback(_run, "ip", "link", "del", f"port{number}")
        _run("ip", "link", "set", f"port{number}", "master", "switch", "up")
        for command in (
            "ip link set lo up",
            f"ip addr add 10.77.0.{number}/24 dev eth0",
            "ip link set eth0 up",
        ):
            _run(*enter, *command.split())
        places.append(Place(f"10.77.0.{number}", 4222, 8222, 6222, enter))
    return places


def _ip(host: Host, *arguments: str) -> None:
    _run(*host.node.place.enter, "ip", *arguments)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)
