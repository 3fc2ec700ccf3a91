"""Dispatchers, nodes of NATS, disks and connections that fail, under clients of all dispatchers.

Three hosts, each with a node and a dispatcher, whose clocks are an hour apart where libfaketime is.
One thing after the other is done to them while clients and engines ask any of them; then all must
be well again by itself. At the end every dispatcher must show the same, every replica must be the
same log, and for each job one order of all calls must explain what was answered.
"""

import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import httpx2

from dispatcher.cluster import ClusterError
from dispatcher.cluster.status import Status, status_of
from dispatcher.cluster.stream import Stream
from dispatcher.evidence.audit import Audit

from . import Outcome, Tell
from .hosts import KEY, PORT, Host, Hosts, hosts_in, is_sealed_off, sealed_off
from .recording import Crowd, History, Place

__all__ = ["FAULTS", "LONG", "SHORT", "run"]

SHORT: Final = 3
LIVES: Final = 21
"""So many faults meet one cluster; then another one is begun, so that no log grows long."""
CLOCKS_S: Final = (0.0, 3_600.0, -3_600.0)
WARM_S: Final = 1.0
EQUAL_S: Final = 60
LOST: Final = (
    "With three dispatchers on three nodes of NATS, whichever fail, stand still, are cut off or "
    "lose their disk, nothing acknowledged is lost, nothing is done twice, every dispatcher shows "
    "the same log, and all goes on by itself"
)
ORDER: Final = (
    "All calls about a job, to any dispatcher, are linearizable: one order, in which each comes "
    "between its beginning and its answer, explains all answers"
)


class Scene:
    """Hosts under load, and what is told of them."""

    def __init__(self, hosts: Hosts, random: Random, counts: Counter[str]) -> None:
        self.hosts, self.random, self.counts = hosts, random, counts

    async def status(self) -> Status:
        """Look at dispatchers, stream and nodes. `ClusterError` if no node answers."""
        stream = await Stream.connect(self.hosts.address, "torture")
        try:
            return await status_of(stream, [node.monitor_url for node in self.hosts.nodes])
        finally:
            await stream.close()

    async def leaders(self) -> tuple[Host, Host]:
        """Return the host of the leading dispatcher, and that of the stream's leader."""
        while True:
            status = await self.status()
            urls = [it.url for it in status.dispatchers if it.leads]
            names = [it.name for it in status.nodes if it.is_leader]
            if len(urls) == len(names) == 1:
                (host,) = (it for it in self.hosts if it.url == urls[0])
                (node,) = (it for it in self.hosts if it.name == names[0])
                return host, node

    def another(self, host: Host) -> Host:
        """Return one of the others, by chance."""
        return self.random.choice([it for it in self.hosts if it is not host])

    async def last(self, least_s: float, most_s: float) -> None:
        """Let a fault last."""
        await asyncio.sleep(self.random.uniform(least_s, most_s))


async def _leading_dispatcher_killed(scene: Scene) -> None:
    host, _ = await scene.leaders()
    host.end()
    await scene.last(1, 4)


async def _leading_dispatcher_stopped(scene: Scene) -> None:
    host, _ = await scene.leaders()
    host.signal(signal.SIGSTOP)
    await scene.last(3, 6)
    host.signal(signal.SIGCONT)


async def _leading_dispatcher_ended(scene: Scene) -> None:
    host, _ = await scene.leaders()
    await asyncio.to_thread(host.end, signal.SIGTERM)
    await scene.last(0, 2)


async def _following_dispatcher_killed(scene: Scene) -> None:
    host, _ = await scene.leaders()
    scene.another(host).end()
    await scene.last(1, 3)


async def _all_dispatchers_killed(scene: Scene) -> None:
    for host in scene.hosts:
        host.end()
    await scene.last(0, 1)


async def _streams_leader_killed(scene: Scene) -> None:
    _, host = await scene.leaders()
    host.node.kill()
    await scene.last(1, 8)


async def _streams_leader_stopped(scene: Scene) -> None:
    _, host = await scene.leaders()
    host.node.signal(signal.SIGSTOP)
    await scene.last(3, 10)
    host.node.signal(signal.SIGCONT)


async def _streams_leader_ended(scene: Scene) -> None:
    _, host = await scene.leaders()
    await asyncio.to_thread(host.node.stop)
    await scene.last(0, 3)


async def _another_node_killed(scene: Scene) -> None:
    _, host = await scene.leaders()
    scene.another(host).node.kill()
    await scene.last(1, 3)


async def _two_nodes_killed(scene: Scene) -> None:
    _, host = await scene.leaders()
    host.node.kill()
    scene.another(host).node.kill()
    await scene.last(1, 5)


async def _all_nodes_killed(scene: Scene) -> None:
    for host in scene.hosts:
        host.node.kill()
    await scene.last(0, 4)


async def _both_leaders_killed(scene: Scene) -> None:
    host, other = await scene.leaders()
    host.end()
    other.node.kill()
    await scene.last(1, 8)


async def _host_killed(scene: Scene) -> None:
    host = scene.random.choice(scene.hosts)
    host.end()
    host.node.kill()
    await scene.last(1, 8)


async def _node_emptied(scene: Scene) -> None:
    host = scene.random.choice(scene.hosts)
    host.node.kill()
    await asyncio.to_thread(host.node.empty)
    await scene.last(0, 2)


async def _replica_emptied(scene: Scene) -> None:
    host = scene.random.choice(scene.hosts)
    host.end()
    host.forget()
    await scene.last(0, 1)


async def _host_cut_off(scene: Scene) -> None:
    await _cut(scene, scene.random.choice(scene.hosts), both_ways=True)


async def _leading_host_cut_off(scene: Scene) -> None:
    host, other = await scene.leaders()
    await _cut(scene, scene.random.choice([host, other]), both_ways=True)


async def _host_cut_off_one_way(scene: Scene) -> None:
    await _cut(scene, scene.random.choice(scene.hosts), both_ways=False)


async def _two_hosts_cut_apart(scene: Scene) -> None:
    one = scene.random.choice(scene.hosts)
    other = scene.another(one)
    scene.hosts.cut(one, other)
    scene.hosts.cut(other, one)
    await scene.last(2, 12)
    scene.hosts.heal(one, other)
    scene.hosts.heal(other, one)


async def _cut(scene: Scene, host: Host, *, both_ways: bool) -> None:
    """Cut what a host sends to others, or also what they send to it; its clients still reach it."""
    others = [it for it in scene.hosts if it is not host]
    pairs = [(host, it) for it in others] + [(it, host) for it in others] * both_ways
    for one, other in pairs:
        scene.hosts.cut(one, other)
    await scene.last(2, 12)
    for one, other in pairs:
        scene.hosts.heal(one, other)


async def _block_flipped(scene: Scene) -> None:
    await _damage(scene, _flip)


async def _block_truncated(scene: Scene) -> None:
    await _damage(scene, _truncate)


def _flip(block: Path, random: Random) -> None:
    data = bytearray(block.read_bytes())
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    block.write_bytes(data)


def _truncate(block: Path, random: Random) -> None:
    os.truncate(block, random.randrange(block.stat().st_size))


async def _damage(scene: Scene, how: Callable[[Path, Random], None]) -> None:
    """Damage the newest block of a node that does not lead, then cure it as the manual says."""
    _, leader = await scene.leaders()
    host = scene.another(leader)
    host.node.kill()
    (folder,) = host.node.store.glob("jetstream/*/streams/farm/msgs")
    blocks = [it for it in folder.glob("*.blk") if it.stat().st_size]
    if blocks:
        how(max(blocks, key=lambda it: it.stat().st_mtime), scene.random)
        scene.counts["blocks damaged"] += 1
    host.node.start()
    await scene.last(3, 6)
    try:
        alarms = (await scene.status()).alarms
    except ClusterError as error:
        alarms = [str(error)]
    scene.counts["of these told by `cluster status`"] += any("damaged" in it for it in alarms)
    host.node.kill()
    await asyncio.to_thread(host.node.empty)
    await asyncio.to_thread(scene.hosts.nodes.start_again)
    for one in scene.hosts:
        told = await asyncio.to_thread(one.health)
        if told is not None and "move its log away" in str(told.get("fault")):
            scene.counts["dispatchers that answered no more over them"] += 1
            await asyncio.to_thread(one.end, signal.SIGTERM)


class Fault(NamedTuple):
    """Something that is done to a cluster. It may take the hosts' connections to be cut."""

    name: str
    do: Callable[[Scene], Awaitable[None]]
    cuts: bool = False


FAULTS: Final = (
    Fault("the leading dispatcher, SIGKILL", _leading_dispatcher_killed),
    Fault("a host cut off", _host_cut_off, cuts=True),
    Fault("a bit flipped in a block", _block_flipped),
    Fault("the stream's leader, SIGKILL", _streams_leader_killed),
    Fault("the leading dispatcher, SIGSTOP", _leading_dispatcher_stopped),
    Fault("the leading dispatcher, SIGTERM", _leading_dispatcher_ended),
    Fault("another dispatcher, SIGKILL", _following_dispatcher_killed),
    Fault("all dispatchers, SIGKILL", _all_dispatchers_killed),
    Fault("the stream's leader, SIGSTOP", _streams_leader_stopped),
    Fault("the stream's leader, SIGTERM", _streams_leader_ended),
    Fault("another node, SIGKILL", _another_node_killed),
    Fault("two nodes, SIGKILL", _two_nodes_killed),
    Fault("all nodes, SIGKILL", _all_nodes_killed),
    Fault("both leaders, SIGKILL", _both_leaders_killed),
    Fault("a host, SIGKILL", _host_killed),
    Fault("a leading host cut off", _leading_host_cut_off, cuts=True),
    Fault("a host cut off one way", _host_cut_off_one_way, cuts=True),
    Fault("two hosts cut apart", _two_hosts_cut_apart, cuts=True),
    Fault("a node from an empty disk", _node_emptied),
    Fault("a replica from an empty disk", _replica_emptied),
    Fault("a block truncated", _block_truncated),
)
LONG: Final = 20 * len(FAULTS)


class _Run:
    """What is known of all faults so far."""

    def __init__(self) -> None:
        self.stalls_s: dict[str, list[float]] = {}
        self.counts = Counter[str]()
        self.calls = Counter[str]()
        self.failures: list[str] = []
        self.unsound: list[str] = []
        self.jobs = 0
        self.clocks = "as they are"


async def run(rounds: int, seed: int, tell: Tell) -> list[Outcome]:
    """Do so many things to clusters, in namespaces of their own where that is possible."""
    argv = (sys.executable, "-m", "torturing.cluster", str(rounds), str(seed))
    if not is_sealed_off() and (command := sealed_off(*argv)) is not None:
        return await _outside(command, tell)
    return await _inside(rounds, seed, tell)


async def _outside(command: list[str], tell: Tell) -> list[Outcome]:
    """Have another process do it; it tells on stderr, and the outcomes on stdout."""
    paths = (str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH"))
    path = os.pathsep.join(filter(None, paths))
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | {"PYTHONPATH": path}, stdout=PIPE, stderr=PIPE
    )
    try:
        assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018
        told = asyncio.create_task(process.stdout.read())
        said = ""
        while line := (await process.stderr.readline()).decode():
            said = (said + line)[-2_000:]
            tell(line.rstrip())
        outcomes = await told
        if await process.wait() != 0:
            raise RuntimeError(f"the torture ended by itself: {said}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return [Outcome(*fields) for fields in json.loads(outcomes)]


async def _inside(rounds: int, seed: int, tell: Tell) -> list[Outcome]:
    began, random, found = time.monotonic(), Random(seed), _Run()  # noqa: S311 - no secret
    for first in range(0, rounds, LIVES):
        faults = [FAULTS[n % len(FAULTS)] for n in range(first, min(first + LIVES, rounds))]
        with (
            tempfile.TemporaryDirectory(prefix="torture-cluster-") as directory,
            hosts_in(Path(directory), CLOCKS_S) as hosts,
        ):
            try:
                await _live(hosts, faults, random, found, tell)
            except (TimeoutError, AssertionError, ClusterError) as error:
                found.failures.append(str(error) or repr(error))
    took_s = time.monotonic() - began
    stalls = {
        f"slowest write, {name}, s": f"p50 {statistics.median(all_s):.1f}, max {max(all_s):.1f}"
        for name, all_s in found.stalls_s.items()
    }
    facts: dict[str, str | int | float] = {"clocks": found.clocks, **found.counts, **stalls}
    calls: dict[str, str | int | float] = {"jobs": found.jobs, **dict(sorted(found.calls.items()))}
    return [
        Outcome("Cluster", LOST, rounds, took_s, facts, found.failures),
        Outcome("Cluster, one order", ORDER, rounds, took_s, calls, found.unsound),
    ]


async def _live(hosts: Hosts, faults: list[Fault], random: Random, found: _Run, tell: Tell) -> None:
    """Do things to one cluster, then hold everything against everything."""
    if hosts.clocks_differ:
        found.clocks = "an hour apart"
    await hosts.are_well()
    history = History()
    scene = Scene(hosts, random, found.counts)
    crowd = Crowd([Place(it.ip, PORT) for it in hosts], KEY, history, random)
    load = asyncio.create_task(crowd.work())
    try:
        for fault in faults:
            if fault.cuts and not hosts.can_be_cut:
                found.counts["connections that could not be cut here"] += 1
                continue
            await asyncio.sleep(WARM_S)
            began = time.monotonic()
            await fault.do(scene)
            await hosts.are_well()
            await asyncio.sleep(WARM_S)
            stall_s = history.longest_stall_s(began, time.monotonic())
            found.stalls_s.setdefault(fault.name, []).append(stall_s)
            found.counts["faults"] += 1
            tell(f"cluster: {fault.name}: {stall_s:.1f} s, {len(history.calls)} jobs")
            if load.done():
                await load
    finally:
        load.cancel()
        await asyncio.wait({load})
    async with asyncio.timeout(EQUAL_S):
        await crowd.settle()
    await _compare(hosts, history, found)
    found.unsound += history.unsound()
    found.calls += history.counts
    found.jobs += len(history.calls)


async def _compare(hosts: Hosts, history: History, found: _Run) -> None:
    """Compare what the dispatchers show, and then the logs that they have."""
    shown = await _shown(hosts)
    if any(it != shown[0] for it in shown):
        found.failures.append("the dispatchers show different jobs, engines or roots")
    history.read_last(shown[0][0])
    found.failures += history.failures
    for host in hosts:
        if (code := await asyncio.to_thread(host.end, signal.SIGTERM)) != 0:
            found.failures.append(f"{host.name}: stopped by SIGTERM, it ended with {code}")
    roots = set()
    for host in hosts:
        audit = Audit(host.db)
        await asyncio.to_thread(audit.run)
        found.failures += [f"{host.name}: {it}" for it in audit.findings]
        roots.add((audit.tree.size, audit.tree.root()))
    if len(roots) != 1:
        found.failures.append(f"the replicas are different logs: {roots}")
    found.counts["events"] += max(size for size, _ in roots)
    found.counts["replicas audited"] += len(hosts)


async def _shown(hosts: Hosts) -> list[tuple[Any, ...]]:
    """Return jobs, engines and the size and root of the log, as each dispatcher shows them."""
    deadline = time.monotonic() + EQUAL_S
    while True:
        shown = [await _shown_by(host) for host in hosts]
        if all(it == shown[0] for it in shown) or time.monotonic() > deadline:
            return shown
        await asyncio.sleep(0.2)


async def _shown_by(host: Host) -> tuple[Any, ...]:
    """Return what one dispatcher shows. `TimeoutError` says what is no whole answer."""
    async with httpx2.AsyncClient(
        base_url=host.url, headers={"X-API-Key": KEY}, timeout=30, trust_env=False
    ) as http:
        try:
            jobs = (await http.get("/jobs/")).raise_for_status().json()
            engines = (await http.get("/engines/")).raise_for_status().json()
            note = (await http.get("/log/checkpoint")).raise_for_status().text
        except httpx2.HTTPError as error:
            raise TimeoutError(f"{host.name}: {error!r}; it said: {host.said()}") from error
    return jobs, engines, note.splitlines()[1:3]


def _main() -> None:
    rounds, seed = map(int, sys.argv[1:])

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    outcomes = asyncio.run(_inside(rounds, seed, tell))
    print(json.dumps(outcomes))


if __name__ == "__main__":
    _main()
