"""What `scripts/bench.py` is made of: the parts A to E, the load, the peers, and the page.

Laws:
- Contestants are measured in alternating rounds of one run, on one file system, over loopback.
- A figure is the median of its rounds and stands beside the least and the greatest of them.
- A peer that can't be measured here is named, with the reason, and never left out silently.
- Every process that is started is ended by its id.
"""
