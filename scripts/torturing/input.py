"""Whatever a client may send: drawn from the schema, mangled, too many at once, without an end.

Law: what is sent is bounded and drawn from the seed; that an answer never comes is a failure too.
"""

import asyncio
import time
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Err
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from . import Outcome, Tell
from .crowd import crowd
from .head_flood import head_flood
from .mangled import mangled
from .serving import KEY, client_of, findings_in, serving

__all__ = ["LONG", "SHORT", "run"]

LONG: Final = 100
"""Rounds are examples of each operation, of each kind; and so many times `mangled.REQUESTS`."""
SHORT: Final = 2

ANSWER_S: Final = 20
STREAM: Final = "/events/stream"
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
MODES: Final = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)

SCHEMA: Final = (
    "Whatever the schema allows, and whatever it does not, is answered as the schema says, and "
    "never with a server error."
)


async def run(rounds: int, seed: int, tell: Tell) -> list[Outcome]:
    """Try requests from the schema, mangled ones, a crowd, and floods."""
    return [
        await _from_schema(rounds, seed, tell),
        await mangled(rounds, Random(f"mangled {seed}"), tell),  # noqa: S311 - no secret
        await crowd(tell),
        await head_flood(rounds, tell),
    ]


async def _from_schema(rounds: int, seed_of_all: int, tell: Tell) -> Outcome:
    begun = time.monotonic()
    with TemporaryDirectory(prefix="torture-") as name:
        db = Path(name, "events.db")
        async with serving(db) as server, client_of(server) as client:
            asking = _Asking(server.url, (await client.get("/schema")).json())
            await asyncio.to_thread(asking.run, rounds, seed_of_all, tell)
            asking.failures += server.defects()
            asking.failures += await server.stop_faults()
        asking.failures += findings_in(db)
    facts: dict[str, Any] = {"operations": asking.operations, "requests": asking.requests}
    facts["answers"] = ", ".join(f"{n} of {status}" for status, n in sorted(asking.told.items()))
    return Outcome("Schema", SCHEMA, rounds, time.monotonic() - begun, facts, asking.failures)


class _Asking:
    """Draws requests from a schema, and checks the answers against it."""

    def __init__(self, url: str, schema: dict[str, Any]) -> None:
        self.failures: list[str] = []
        self.operations = 0
        self.requests = 0
        self.told: dict[int, int] = {}
        self._url = url
        self._schema = schemathesis.openapi.from_dict(schema)
        self._session = requests.Session()
        self._session.trust_env = False

    def run(self, rounds: int, seed_of_all: int, tell: Tell) -> None:
        """Draw so many requests for each operation: valid ones, and others."""
        for found in self._schema.get_all_operations():
            if isinstance(found, Err):
                raise found.err()
            operation = found.ok()
            self.operations += 1
            tell(f"schema: {operation.label}")
            for mode in MODES:
                self._try(operation, mode, rounds, seed_of_all)

    def _try(self, operation: Any, mode: Any, rounds: int, seed_of_all: int) -> None:
        ask = self._stream if operation.path == STREAM else self._ask

        @seed(seed_of_all)
        @settings(
            max_examples=rounds,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def each(case: Any) -> None:
            ask(case)

        try:
            each()
        except Unsatisfiable:  # nothing that is sent there can be wrong
            return
        except Exception as error:  # noqa: BLE001 - every failed check is told
            self.failures.append(f"{operation.label}, {mode.value}: {error!r}"[:1_000])

    def _ask(self, case: Any) -> None:
        body = case.body
        if isinstance(body, dict) and isinstance(body.get("wait_s"), int | float):
            body["wait_s"] = min(body["wait_s"], 0.01) if body["wait_s"] <= 60 else 61  # noqa: PLR2004
        case.headers = {**(case.headers or {}), "X-API-Key": KEY}  # others get no further
        response = case.call(
            base_url=self._url,
            session=self._session,
            timeout=ANSWER_S,
        )
        self._count(response.status_code)
        case.validate_response(response, checks=CHECKS)

    def _stream(self, case: Any) -> None:
        """Ask for what has no end, and look at its beginning."""
        case.headers = {**(case.headers or {}), "X-API-Key": KEY}
        sent = case.as_transport_kwargs(base_url=self._url)
        with self._session.request(**sent, stream=True, timeout=ANSWER_S) as response:
            self._count(response.status_code)
            documented = case.operation.definition.raw["responses"]
            kind = response.headers["content-type"].partition(";")[0]
            if kind not in (documented.get(str(response.status_code)) or {}).get("content", {}):
                raise AssertionError(f"{response.status_code} {kind} is not as documented: {sent}")

    def _count(self, status: int) -> None:
        self.requests += 1
        self.told[status] = self.told.get(status, 0) + 1
