"""The settings of a stream that may hold a log.

Law: such a stream forgets nothing, is on three nodes, and takes what follows or nothing.
"""

from collections.abc import Mapping
from typing import Any, Final

from nats.js.api import DiscardPolicy, RePublish, RetentionPolicy, StorageType, StreamConfig

from dispatcher.cluster import ClusterError
from dispatcher.cluster.address import Address
from dispatcher.cluster.messages import MESSAGE_BYTES

__all__ = ["check_settings", "settings_of"]

REPLICAS: Final = 3


def settings_of(name: str, events: str, stored: str) -> StreamConfig:
    """Return the settings of a log: `events` is where messages go, `stored` where they appear."""
    return StreamConfig(
        name=name,
        subjects=[events],
        storage=StorageType.FILE,
        num_replicas=REPLICAS,
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.NEW,
        deny_delete=True,
        deny_purge=True,
        allow_direct=True,
        max_msg_size=MESSAGE_BYTES,
        republish=RePublish(src=events, dest=stored),
    )


def check_settings(address: Address, found: Mapping[str, Any], wanted: StreamConfig) -> None:
    """Raise `ClusterError` if a stream could lose what a log must keep."""
    settings: dict[str, Any] = wanted.as_dict()
    for setting in (
        *("subjects", "storage", "num_replicas", "retention", "discard"),
        *("deny_delete", "deny_purge", "allow_direct", "republish"),
    ):
        has, must = found.get(setting), settings[setting]
        if has != must:
            raise ClusterError(
                f"{address}: there is a stream of this name, but its {setting} is {has!r}, where a "
                f"log needs {must!r}; give another name, or remove that stream"
            )
    if any(found.get(limit, -1) not in {-1, 0} for limit in ("max_msgs", "max_bytes", "max_age")):
        raise ClusterError(
            f"{address}: the stream has a limit, so it would stop or forget; remove the limit"
        )
