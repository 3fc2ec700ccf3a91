"""How a cluster is: its dispatchers, the stream, the nodes of NATS, and what is alarming.

Laws:
- Dispatchers are asked by listening to their beats; the stream's leader, about the stream; each
  node, by its monitoring address, what it itself has.
- A node that lacks messages calls itself healthy. So numbers are compared: a stream from which
  nothing is ever deleted has as many messages as its last sequence, on every node; and what its
  leader had a second ago, every node has.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final

import httpx2
import msgspec
from nats.aio.msg import Msg

from dispatcher.cluster import ClusterError
from dispatcher.cluster.leadership import BEAT_S, Beat
from dispatcher.cluster.stream import Stream

__all__ = ["NodeStatus", "Status", "status_of"]

LISTEN_S: Final = 4 * BEAT_S
MONITOR_S: Final = 3.0


class NodeStatus(msgspec.Struct, frozen=True):
    """What a node has of the stream; `None` where it did not tell."""

    name: str
    is_leader: bool | None = None
    is_current: bool | None = None
    messages: int | None = None
    last_sequence: int | None = None
    deleted: int | None = None
    fault: str | None = None


class Status(msgspec.Struct, frozen=True):
    """All that was found. `alarms` are sentences; without any, all is well."""

    address: str
    messages: int | None
    last_sequence: int | None
    dispatchers: list[Beat]
    nodes: list[NodeStatus]
    alarms: list[str]


async def status_of(stream: Stream, monitors: Sequence[str] = ()) -> Status:
    """Look at the dispatchers, the stream and its nodes.

    `monitors` are the monitoring addresses of nodes, such as `http://a:8222`.
    """
    info, fault = await _info(stream)
    beats = await _beats(stream)  # meanwhile the nodes get what the leader had
    nodes = await _monitored(stream.address.name, monitors)
    state = info.get("state", {})
    told = [*_replicas(info), *nodes]
    alarms = [
        *([f"the stream has no leader: {fault}"] if fault else []),
        *_alarms_of_dispatchers(beats, state.get("last_seq")),
        *_alarms_of_stream(state),
        *_alarms_of_nodes(told, state.get("last_seq")),
    ]
    return Status(
        str(stream.address), state.get("messages"), state.get("last_seq"), beats, told, alarms
    )


async def _beats(stream: Stream) -> list[Beat]:
    found: dict[str, Beat] = {}

    async def on_beat(message: Msg) -> None:
        try:
            beat = msgspec.json.decode(message.data, type=Beat)
        except msgspec.DecodeError:
            return
        found[beat.member] = beat

    subscription = await stream.subscribe("beat", on_beat)
    await asyncio.sleep(LISTEN_S)
    await stream.unsubscribe(subscription)
    return sorted(found.values(), key=lambda beat: beat.member)


async def _info(stream: Stream) -> tuple[dict[str, Any], str | None]:
    try:
        return await stream.info(), None
    except ClusterError as error:
        return {}, str(error)


def _replicas(info: dict[str, Any]) -> Iterator[NodeStatus]:
    """Tell of the nodes as the stream's leader knows them."""
    cluster = info.get("cluster") or {}
    if (leader := cluster.get("leader")) is not None:
        yield NodeStatus(leader, is_leader=True, is_current=True)
    for replica in cluster.get("replicas") or []:
        is_current = bool(replica.get("current")) and not replica.get("offline")
        yield NodeStatus(replica["name"], is_leader=False, is_current=is_current)


async def _monitored(name: str, monitors: Sequence[str]) -> list[NodeStatus]:
    async with httpx2.AsyncClient(timeout=MONITOR_S, trust_env=False) as http:
        return [*await asyncio.gather(*(_node(http, name, url.rstrip("/")) for url in monitors))]


async def _node(http: httpx2.AsyncClient, name: str, url: str) -> NodeStatus:
    """Ask a node what it has itself."""
    try:
        answer = await http.get(f"{url}/jsz", params={"streams": "true"})
        told = answer.raise_for_status().json()
        node = (await http.get(f"{url}/varz")).raise_for_status().json()["server_name"]
    except (httpx2.HTTPError, ValueError, KeyError) as error:
        return NodeStatus(url, fault=f"{type(error).__name__} {error}".strip())
    for account in told.get("account_details") or []:
        for stream in account.get("stream_detail") or []:
            if stream.get("name") == name:
                state = stream.get("state") or {}
                return NodeStatus(
                    f"{node} ({url})",
                    messages=state.get("messages"),
                    last_sequence=state.get("last_seq"),
                    deleted=state.get("num_deleted", 0),
                )
    return NodeStatus(f"{node} ({url})", fault="has no such stream")


def _alarms_of_dispatchers(beats: Sequence[Beat], last: int | None) -> Iterator[str]:
    if not beats:
        yield "no dispatcher is heard"
    elif not any(beat.leads for beat in beats):
        yield "no dispatcher leads"
    for beat in beats:
        if beat.fault is not None:
            yield f"{beat.member}: {beat.fault}"
        elif last is not None and last > beat.position:
            yield f"{beat.member}: lacks the last {last - beat.position:,} messages"


def _alarms_of_stream(state: dict[str, Any]) -> Iterator[str]:
    if state and state.get("messages") != state.get("last_seq"):
        yield (
            f"the stream's leader has {state.get('messages'):,} messages of "
            f"{state.get('last_seq'):,}: it is damaged. Stop that node, empty its JetStream folder "
            "and start it again"
        )


def _alarms_of_nodes(nodes: Sequence[NodeStatus], last: int | None) -> Iterator[str]:
    for node in nodes:
        if node.fault is not None:
            yield f"node {node.name}: {node.fault}"
        elif node.is_current is False:
            yield f"node {node.name}: is offline, or lacks messages"
        elif node.messages is not None and (node.deleted or node.messages != node.last_sequence):
            yield (
                f"node {node.name}: has {node.messages:,} messages of {node.last_sequence:,}: it "
                "is damaged. Stop it, empty its JetStream folder and start it again"
            )
        elif last is not None and node.last_sequence is not None and node.last_sequence < last:
            yield (
                f"node {node.name}: ends at message {node.last_sequence:,}, though the leader had "
                f"{last:,} before: it lags, or is damaged. If it stays so, stop it, empty its "
                "JetStream folder and start it again"
            )
