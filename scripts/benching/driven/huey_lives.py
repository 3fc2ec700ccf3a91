"""Lives of huey tasks: `huey_lives.py DB CONNECTIONS SECONDS`. Runs in the peers' environment."""

import json
import sys
import threading
import time

from huey import SqliteHuey

db, connections, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
WARM_UP = 0.1
huey = SqliteHuey(filename=db, fsync=True, timeout=60)


@huey.task()
def transcode(source: str, codec: str) -> str:
    """Do nothing, for the queue is what is measured."""
    return f"{source}.{codec}"


def live(end: float, durations: list[float]) -> None:
    """Enqueue a task, and execute whichever comes, over and over."""
    while (began := time.perf_counter()) < end:
        transcode("http://media.example.com/films/0001/original.mp4", "h264")
        task = huey.dequeue()
        if task is not None:
            huey.execute(task)
            huey.result(task.id)
            durations.append(time.perf_counter() - began)


def measure(length_s: float) -> dict[str, object]:
    """Live in as many threads as there are connections."""
    durations: list[float] = []
    start = time.perf_counter()
    arguments = (start + length_s, durations)
    threads = [threading.Thread(target=live, args=arguments) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"durations_s": durations, "elapsed_s": time.perf_counter() - start}


measure(seconds * WARM_UP)
print(json.dumps(measure(seconds)))
