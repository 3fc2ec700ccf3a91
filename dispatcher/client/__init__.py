"""A Python client for the dispatcher: one method for each route, and the types that they return.

    async with Client("http://127.0.0.1:8080", api_key) as client:
        job = await client.submit("file:///videos/clip.mov", "vp9")

The client may know several dispatchers of one log, and turns to another when one is away.

Every foreseen error is a `DispatcherError`. The client knows none of the dispatcher's rules: it
returns what the dispatcher answered.
"""

from dispatcher.client.batches import Submission
from dispatcher.client.client import Client
from dispatcher.client.connection import is_sendable
from dispatcher.client.engines import FailureCause
from dispatcher.client.errors import DispatcherAwayError, RequestRefusedError
from dispatcher.client.jobs import Matched
from dispatcher.client.keys import KeyView, SignIn
from dispatcher.client.transfers import DamagedError, OutputInfo, StoreInfo, digest_of
from dispatcher.core.replies import EngineAnswer, Explanation
from dispatcher.errors import DispatcherError
from dispatcher.log.serialization import LogEntry
from dispatcher.webhook_states import WebhookView
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
    "KeyView",
    "LogEntry",
    "Matched",
    "OutputInfo",
    "RequestRefusedError",
    "SignIn",
    "StoreInfo",
    "Submission",
    "WebhookView",
    "digest_of",
    "is_sendable",
]
