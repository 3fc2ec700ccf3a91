"""What a log says was true at a seq."""

from collections.abc import Callable
from contextlib import aclosing

from dispatcher.log import Log, LogError
from projections import Projections

__all__ = ["replay"]


async def replay(
    log: Log,
    at: int | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Projections:
    """Fold a log into new projections, up to and with seq `at` (`None`: all of it).

    `LogError` if the log does not reach that far.
    """
    upto = log.head if at is None else at
    if upto > log.head:
        raise LogError(f"the log ends at seq {log.head}; there is no seq {upto} yet")
    projections = Projections()
    async with aclosing(log.read()) as pages:
        async for page in pages:
            for recorded in page:
                if recorded.seq > upto:
                    return projections
                projections.apply(recorded)
            progress(page[-1].seq, upto)
    return projections
