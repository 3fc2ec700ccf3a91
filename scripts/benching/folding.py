"""Read a log in a process of its own: `folding.py read|decode|project|replay DB`.

It says what it took. The garbage collector is off for all of them, as it is when the dispatcher
replays: there is nothing to collect.
"""

import asyncio
import gc
import json
import sys
import time
from contextlib import aclosing
from pathlib import Path

import uvloop

from dispatcher.log import decoded
from dispatcher.log.sqlite import SqliteLog
from dispatcher.state.replay import fold, replay
from projections import Projections


async def main(what: str, path: Path) -> None:
    """Read the whole log, and do as much with it as is asked for."""
    async with await SqliteLog.open_for_reading(path) as log:
        began = time.perf_counter()
        if what == "replay":
            await replay(log)
        elif what == "project":
            await fold(log, Projections(), log.head)
        else:
            async with aclosing(log.entries()) as pages:
                async for page in pages:
                    if what == "decode":
                        decoded(page)
        elapsed = time.perf_counter() - began
        print(json.dumps({"events": log.head, "elapsed_s": elapsed}))


gc.disable()
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main(sys.argv[1], Path(sys.argv[2])))
