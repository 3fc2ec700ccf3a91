"""The routes for auditors: signed checkpoints, and proofs that the log is true to them.

A checkpoint is signed. It states the number of events and the root hash of all of them. An auditor
who keeps one can later get proofs that an event is included in it, and that every later checkpoint
only adds to it (RFC 9162, 2.1; docs/audit.md).
"""

from base64 import b64encode
from typing import Any, Final

import msgspec
from litestar import Request, get
from litestar.openapi.spec import OpenAPIType, Parameter, Schema
from litestar.types import ASGIApp

from dispatcher.api.answers import json_answer, text_answer
from dispatcher.api.auth import ANY_KEY
from dispatcher.api.errors import HttpError
from dispatcher.api.requests import service_of
from dispatcher.api.routes import declared
from dispatcher.log import Log
from dispatcher.log.checkpoints import Checkpoint, Signer
from dispatcher.log.merkle import Span, Subtree, consistency, inclusion, span_root

__all__ = ["HANDLERS", "ConsistencyProof", "InclusionProof"]


class InclusionProof(msgspec.Struct, frozen=True):
    """Proof that the log of `size` events has event `seq`, as leaf `seq` - 1. Hashes are base64."""

    seq: int
    size: int
    leaf_hash: str
    path: list[str]


class ConsistencyProof(msgspec.Struct, frozen=True):
    """Proof that the log of `to` events begins with that of `from`. Hashes are base64."""

    old: int = msgspec.field(name="from")
    to: int
    path: list[str]


def _count(name: str, description: str, *, required: bool = True) -> Parameter:
    schema = Schema(type=OpenAPIType.INTEGER, minimum=1)
    return Parameter(name, "query", description=description, required=required, schema=schema)


@get("/log/checkpoint", **declared(needs=ANY_KEY, answers={200: str}))
async def checkpoint(request: Request[Any, Any, Any]) -> ASGIApp:
    """Sign what the log is now: a C2SP checkpoint, as a signed note."""
    tree = service_of(request).log.tree
    signer = _signer_of(request)
    return text_answer(200, signer.sign(Checkpoint(signer.origin, tree.size, tree.root())))


@get("/log/key", **declared(needs=ANY_KEY, answers={200: str}))
async def key(request: Request[Any, Any, Any]) -> ASGIApp:
    """Give the key that checkpoints are verified with."""
    return text_answer(200, _signer_of(request).verifier_key + "\n")


@get(
    "/log/proof",
    **declared(
        needs=ANY_KEY,
        answers={200: InclusionProof, 400: str, 503: str},
        parameters=[
            _count("seq", "the event"),
            _count("size", "of the checkpoint; by default all events", required=False),
        ],
    ),
)
async def inclusion_proof(request: Request[Any, Any, Any]) -> ASGIApp:
    """Prove that an event is in the log."""
    log = service_of(request).log
    size = _number(request, "size", log.tree.size, at_most=log.tree.size)
    seq = _number(request, "seq", at_most=size)
    leaf, *path = await _hashes(log, [[Subtree(0, seq - 1)], *inclusion(seq - 1, size)])
    return json_answer(InclusionProof(seq, size, leaf, path))


@get(
    "/log/consistency",
    **declared(
        needs=ANY_KEY,
        answers={200: ConsistencyProof, 400: str, 503: str},
        parameters=[
            _count("from", "the size of the earlier checkpoint"),
            _count("to", "that of the later one; by default all events", required=False),
        ],
    ),
)
async def consistency_proof(request: Request[Any, Any, Any]) -> ASGIApp:
    """Prove that the log has only been added to."""
    log = service_of(request).log
    to = _number(request, "to", log.tree.size, at_most=log.tree.size)
    old = _number(request, "from", at_most=to)
    return json_answer(ConsistencyProof(old, to, await _hashes(log, consistency(old, to))))


async def _hashes(log: Log, spans: list[Span]) -> list[str]:
    hashes = iter(await log.subtree_hashes([piece for span in spans for piece in span]))
    roots = [span_root([next(hashes) for _ in span]) for span in spans]
    return [b64encode(root).decode() for root in roots]


def _signer_of(request: Request[Any, Any, Any]) -> Signer:
    signer: Signer = request.app.state.signer
    return signer


def _number(
    request: Request[Any, Any, Any], name: str, default: int | None = None, *, at_most: int
) -> int:
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    if text is None:
        raise HttpError(400, f"Bad Request: '{name}' is missing.")
    if at_most == 0:
        raise HttpError(400, "Bad Request: the log has no events yet.")
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0  # noqa: PLR2004 - as long as 64 bits
    if not 1 <= number <= at_most:
        raise HttpError(400, f"Bad Request: '{name}' must be a whole number from 1 to {at_most}.")
    return number


HANDLERS: Final = (checkpoint, key, inclusion_proof, consistency_proof)
