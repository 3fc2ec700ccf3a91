"""The wire: Litestar handlers that turn a request into a command and its outcome into an answer.

Laws:
- Auth comes before everything else, bodies are parsed by this project's own strict rules, and
  every error is the bare text of the protocol.
- A handler holds no rule about jobs or engines: those are in `decider`.
"""

from dispatcher.api.app import create_app

__all__ = ["create_app"]
