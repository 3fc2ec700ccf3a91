"""A Python client for the dispatcher: one method for each route, and the types that they return.

    async with Client("http://127.0.0.1:8080", api_key) as client:
        job = await client.submit("file:///videos/clip.mov", "vp9")

Every foreseen error is a `DispatcherError`. The client knows none of the dispatcher's rules: it
returns what the dispatcher answered.
"""

from dispatcher.client.batches import Submission
from dispatcher.client.client import Client, FailureCause, Matched
from dispatcher.client.connection import DispatcherAwayError, RequestRefusedError, is_sendable
from dispatcher.client.transfers import DamagedError, OutputInfo, StoreInfo, digest_of
from dispatcher.core.replies import EngineAnswer, Explanation
from dispatcher.errors import DispatcherError
from dispatcher.log.serialization import LogEntry
from projections.engines import EngineView
from projections.jobs import JobView

__all__ = [
    "Client",
    "DamagedError",
    "DispatcherAwayError",
    "DispatcherError",
    "EngineAnswer",
    "EngineView",
    "Explanation",
    "FailureCause",
    "JobView",
    "LogEntry",
    "Matched",
    "OutputInfo",
    "RequestRefusedError",
    "StoreInfo",
    "Submission",
    "digest_of",
    "is_sendable",
]
