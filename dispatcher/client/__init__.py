"""The dispatcher from Python: a client with one method a route, and every type that it gives back.

    async with Client("http://127.0.0.1:8080", api_key) as client:
        job = await client.submit("file:///videos/clip.mov", "vp9")

What may go wrong is a `DispatcherError`. Nothing here knows the dispatcher's rules: what a client
shows is what the dispatcher answered.
"""

from dispatcher.client.client import Client
from dispatcher.client.connection import DispatcherAwayError, RequestRefusedError, is_sendable
from dispatcher.core.replies import EngineAnswer, Explanation
from dispatcher.errors import DispatcherError
from dispatcher.log.serialization import LogEntry
from projections.engines import EngineView
from projections.jobs import JobView

__all__ = [
    "Client",
    "DispatcherAwayError",
    "DispatcherError",
    "EngineAnswer",
    "EngineView",
    "Explanation",
    "JobView",
    "LogEntry",
    "RequestRefusedError",
    "is_sendable",
]
