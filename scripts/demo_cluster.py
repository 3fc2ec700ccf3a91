"""Several dispatchers on one log, once and for real.

Starts three nodes of NATS, three dispatchers on the log that these replicate, and four engines, all
processes of their own. Submits one film after the other, kills the leading dispatcher and the node
that leads the stream meanwhile, with SIGKILL, and starts both again at the end. Ends with 0 only if
each film was done once and came out, and the logs of all dispatchers have the same root. Says how
long clients waited. Everything is kept in demo-out/, and nothing is left running.
"""

import asyncio
import json
import re
import secrets
import shutil
import sys
import time
import urllib.request
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from clustering.nodes import Node, Nodes, free_places, nodes_at, started_nodes
from demo import OUT, console, engine, finished, make_clip, running, streams_in
from dispatcher.client import Client
from dispatcher.cluster.address import Address
from dispatcher.cluster.status import status_of
from dispatcher.cluster.stream import Stream
from dispatcher.log.sqlite import SqliteLog
from projections.jobs import JobView

NAMES: Final = ("a", "b", "c")
ENGINES: Final = 4
FILMS: Final = 24
KILLS_AFTER: Final = (6, 14)
"""The films after which the leading dispatcher, and the stream's leader, are killed."""
RECIPE: Final = {"clip": {"from": 2, "to": 5}, "max_height": 180}
CODEC: Final = "h264"
LEASE_S: Final = 10
LIMIT_S: Final = 240
LOOK_S: Final = 0.2
AWAY: Final = -1
"""The seq of a dispatcher that does not answer."""


class Cluster:
    """Nodes, and dispatchers by their URLs."""

    def __init__(self, nodes: Nodes, key: str) -> None:
        self.nodes, self.key = nodes, key
        self.address = Address.parse(f"nats://{nodes.hosts}/demo")
        self.processes: dict[str, Process] = {}
        self.names: dict[str, str] = {}

    @asynccontextmanager
    async def dispatcher(self, name: str, port: int = 0) -> AsyncIterator[str]:
        """Run a dispatcher from the moment on which it is ready; gives its URL."""
        options = ["--log", str(self.address), "--db", str(db_of(name)), "--port", str(port)]
        options += ["--signing-key", str(OUT / "farm.key"), "--lease-s", str(LEASE_S)]
        async with running(f"dispatcher {name}", self.key, "serve", *options) as (process, lines):
            async for line in lines:
                if match := re.search(r"ready on (http://\S+),", line):
                    url = match[1]
                    break
            else:
                raise SystemExit(f"demo: dispatcher {name} did not start")
            while (await asyncio.to_thread(health, url))[0] != "ok":  # noqa: ASYNC110 - polls
                await asyncio.sleep(LOOK_S)
            self.processes[url], self.names[url] = process, name
            yield url

    async def leaders(self) -> tuple[str, Node]:
        """Find out which dispatcher leads, by its URL, and which node leads the stream."""
        stream = await Stream.connect(self.address, "demo")
        try:
            while True:
                status = await status_of(stream)
                urls = [it.url for it in status.dispatchers if it.leads and it.url is not None]
                names = [it.name for it in status.nodes if it.is_leader]
                if len(urls) == len(names) == 1:
                    return urls[0], next(it for it in self.nodes if it.name == names[0])
        finally:
            await stream.close()


async def main() -> int:
    """Run the demo; 0 if everything is as it must be."""
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "nats").mkdir(parents=True)
    async with asyncio.timeout(LIMIT_S):
        console.rule("1. a clip, and three nodes of NATS")
        clip = await make_clip()
        nodes = nodes_at(free_places(len(NAMES)), OUT / "nats")
        with started_nodes(nodes):  # blocks until they are well, and nothing else runs yet
            console.print(f"nodes at {nodes.hosts}")
            cluster = Cluster(nodes, secrets.token_urlsafe(16))
            jobs = await farm(cluster, clip)
        console.rule("5. what became of it")
        problems = [*await job_problems(jobs), *await replica_problems(jobs)]
    for problem in problems:
        console.print(f"[red]WRONG[/red] {problem}")
    if not problems:
        console.print(f"[green]All as it must be.[/green] Outputs and logs: {OUT}")
    return 1 if problems else 0


async def farm(cluster: Cluster, clip: Path) -> list[JobView]:
    """Have the films done while leaders are killed; gives all jobs, once every log has all."""
    async with AsyncExitStack() as dispatchers:
        console.rule("2. three dispatchers and four engines")
        urls = [await dispatchers.enter_async_context(cluster.dispatcher(it)) for it in NAMES]
        async with AsyncExitStack() as engines, Client(urls, cluster.key) as client:
            for number in range(1, ENGINES + 1):
                server = ",".join(urls[number % 3 :] + urls[: number % 3])
                await engines.enter_async_context(engine(server, cluster.key, number))
            console.rule("3. the films, and two killed leaders")
            killed, node, jobs = await submit_and_kill(cluster, client, clip)
            console.rule("4. the rest of the films, and the killed ones again")
            jobs = await finished(client, jobs)
            await asyncio.to_thread(node.start)
            again = cluster.dispatcher(cluster.names[killed], urlsplit(killed).port or 0)
            await dispatchers.enter_async_context(again)
            await asyncio.to_thread(cluster.nodes.wait_until_well)
        async with Client(urls, cluster.key) as client:
            jobs = await client.jobs()
        while not await asyncio.to_thread(are_equal, urls):  # noqa: ASYNC110 - other processes
            await asyncio.sleep(LOOK_S)
    return jobs


async def submit_and_kill(
    cluster: Cluster, client: Client, clip: Path
) -> tuple[str, Node, list[JobView]]:
    """Submit the films and kill both leaders; gives who was killed, and the jobs."""
    jobs, waits_s = list[JobView](), list[float]()
    first, second = KILLS_AFTER
    killed, node = "", cluster.nodes[0]
    for number in range(1, FILMS + 1):
        began_s = time.monotonic()
        jobs.append(
            await client.submit(
                clip.as_uri(), CODEC, recipe=RECIPE, output_name=f"film {number}", job_size=1.0
            )
        )
        waits_s.append(time.monotonic() - began_s)
        if number == first:
            killed, _ = await cluster.leaders()
            cluster.processes[killed].kill()
            tell_killed(f"dispatcher {cluster.names[killed]}, which led")
        elif number == second:
            _, node = await cluster.leaders()
            await asyncio.to_thread(node.kill)
            tell_killed(f"node {node.name} of NATS, which led the stream")
    for what, waits in (
        ("without a fault", waits_s[:first]),
        ("after the leading dispatcher was killed", waits_s[first:second]),
        ("after the stream's leader was killed", waits_s[second:]),
    ):
        console.print(f"The longest submission {what}: {max(waits):.2f} s")
    return killed, node, jobs


def tell_killed(who: str) -> None:
    """Say who was killed just now."""
    console.print(f"[red]Killed {who}[/red]")


def db_of(name: str) -> Path:
    """Give the replica of a dispatcher."""
    return OUT / f"replica-{name}.db"


def health(url: str) -> tuple[str, int]:
    """Ask a dispatcher whether it is ready, and at which seq it is."""
    try:
        with urllib.request.urlopen(f"{url}/health?ready", timeout=5) as told:  # noqa: S310 - http
            found = json.load(told)
    except OSError:
        return "away", AWAY
    return found["status"], found["seq"]


def are_equal(urls: Sequence[str]) -> bool:
    """Tell whether all dispatchers answer, and are at the same seq."""
    seqs = {health(url)[1] for url in urls}
    return len(seqs) == 1 and AWAY not in seqs


async def job_problems(jobs: Sequence[JobView]) -> list[str]:
    """Say what is wrong with the films."""
    outputs = [Path(unquote(urlsplit(it.output_url or "").path)) for it in jobs]
    problems = [f"job {it.job_id} is {it.status}" for it in jobs if it.status != "completed"]
    if len(jobs) != FILMS:
        problems.append(f"{FILMS} films were submitted, but there are {len(jobs)} jobs")
    for job, output in zip(jobs, outputs, strict=True):
        streams = await streams_in(output) if output.is_file() else "nothing"
        if CODEC not in streams or "Audio:" not in streams:
            problems.append(f"job {job.job_id}: {output.name} holds {streams}")
    wanted = {f"film {number}" for number in range(1, FILMS + 1)}
    if {output.stem for output in outputs} != wanted:
        problems.append("the outputs are not those of the films")
    console.print(f"{len(jobs)} films: {sum(it.status == 'completed' for it in jobs)} completed")
    return problems


async def replica_problems(jobs: Sequence[JobView]) -> list[str]:
    """Compare the logs of the dispatchers, and count in them how often each film was completed."""
    roots = {}
    completed = dict.fromkeys((it.job_id for it in jobs), 0)
    for name in NAMES:
        async with await SqliteLog.open_for_reading(db_of(name)) as log:
            roots[name] = log.head, log.tree.root().hex()
            console.print(f"dispatcher {name}: seq {log.head}, root {roots[name][1]}")
            if name == NAMES[0]:
                async for page in log.entries():
                    for entry in page:
                        if entry.type == "job_completed":
                            completed[json.loads(entry.data)["job_id"]] += 1
    problems = [
        f"job {job_id} was completed {n} times" for job_id, n in completed.items() if n != 1
    ]
    if len({*roots.values()}) != 1:
        problems.append("the logs of the dispatchers are not the same")
    return problems


if __name__ == "__main__":
    ArgumentParser(
        prog="scripts/demo --cluster",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        sys.exit(asyncio.run(main()))
    except TimeoutError:
        sys.exit(f"demo: not done after {LIMIT_S} s")
