"""A client of its own process: `watching.py list|probe PORT SECONDS`; says how long answers took.

`list` reads the list of all jobs over and over. `probe` asks for /health every millisecond, whose
longest answer bounds how long the event loop was held.
"""

import json
import os
import sys
import time
from http.client import HTTPConnection

PERIOD_S = 0.001
PIECE_BYTES = 1 << 20

what, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
path = "/jobs/" if what == "list" else "/health"
headers = {"X-API-Key": os.environ["DISPATCHER_API_KEY"]}
connection = HTTPConnection("127.0.0.1", port, timeout=60)
durations = []
start = time.perf_counter()
while (began := time.perf_counter()) < start + seconds:
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    while answer.read(PIECE_BYTES):
        pass
    durations.append(time.perf_counter() - began)
    if what == "probe":
        time.sleep(max(0.0, began + PERIOD_S - time.perf_counter()))
print(json.dumps({"durations_s": durations, "elapsed_s": time.perf_counter() - start}))
