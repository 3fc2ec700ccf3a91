"""The HTTP API: handlers that turn a request into a command, and its outcome into a response.

Laws:
- Auth comes before everything else, bodies are parsed by this project's own strict rules, and
  every error is the protocol's plain text.
- A handler contains no rule about jobs or engines: those are in `decider`.
"""

from dispatcher.api.app import create_app

__all__ = ["create_app"]
