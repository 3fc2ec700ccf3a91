"""Several dispatchers on one replicated log, in this process or as processes of their own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from dispatcher.cluster.address import Address
from dispatcher.cluster.log import JetStreamLog
from dispatcher.cluster.service import ClusterService
from dispatcher.core.policy import DEFAULT_POLICY, Policy
from dispatcher.serving.as_of import Past
from tests.support.servers import Child, child

__all__ = [
    "children",
    "following",
    "leader_of",
    "leading",
    "member",
    "members",
    "take_lead",
    "until",
]


@asynccontextmanager
async def member(
    address: Address,
    db: Path,
    *,
    policy: Policy = DEFAULT_POLICY,
    patience_s: float = 10.0,
    past: bool = False,
) -> AsyncIterator[ClusterService]:
    """Run one dispatcher without HTTP."""
    log = await JetStreamLog.open(address, db, name=db.stem, patience_s=patience_s)
    try:
        kept = Past(db, 100) if past else None
        service = ClusterService(log, policy, past=kept)
        await service.start()
        try:
            yield service
        finally:
            await service.close()
    finally:
        await log.close()


@asynccontextmanager
async def members(
    address: Address, directory: Path, count: int = 2, *, patience_s: float = 10.0
) -> AsyncIterator[list[ClusterService]]:
    """Run some dispatchers without HTTP. One of them leads, and all others have heard of it."""
    async with AsyncExitStack() as stack:
        found = [
            await stack.enter_async_context(
                member(address, directory / f"{name}.db", patience_s=patience_s)
            )
            for name in "abc"[:count]
        ]
        await leader_of(found)
        await until(lambda: all(it.is_ready for it in found))
        yield found


async def until(condition: Callable[[], bool], at_most_s: float = 60) -> None:
    """Wait for what no event tells of."""
    async with asyncio.timeout(at_most_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def leader_of(services: Sequence[ClusterService]) -> ClusterService:
    """Wait until one of them leads, and return it."""
    await until(lambda: any(it.is_leading for it in services))
    return leading(services)


async def take_lead(service: ClusterService) -> None:
    """Have a follower claim the lead, as soon as it has applied all that there is."""
    while not await service._cluster.claim():  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(0.01)


def leading(services: Sequence[ClusterService]) -> ClusterService:
    """Give the one that leads."""
    (found,) = (it for it in services if it.is_leading)
    return found


def following(services: Sequence[ClusterService]) -> list[ClusterService]:
    """Give those that follow."""
    return [it for it in services if not it.is_leading]


@asynccontextmanager
async def children(
    address: Address, directory: Path, count: int = 3, *options: str
) -> AsyncIterator[list[Child]]:
    """Run some dispatchers with HTTP, each in a process of its own."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                child(
                    directory / f"{name}.db",
                    *("--log", str(address)),
                    *("--signing-key", str(directory / "farm.key")),
                    *options,
                )
            )
            for name in "abc"[:count]
        ]
