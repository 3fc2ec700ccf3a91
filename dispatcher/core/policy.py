"""The settings of the rules. Events record what followed from them, so a replay needs none."""

from typing import Final

import msgspec

__all__ = ["DEFAULT_POLICY", "Policy"]


class Policy(msgspec.Struct, frozen=True):
    """How patient and how fair the farm is.

    `lease_s`: an engine silent for so long is offline, and loses its job.
    `job_timeout_s`: one attempt may take so long; 0 sets no bound.
    `priority_point_s`: one point of priority is worth so many seconds of waiting.
    `retry_backoff_s`: the pause after a job's first failure, doubled with each further one; 0
    for none.
    `block_after`: an engine that fails so many different jobs in a row gets no more; 0 for never.
    """

    lease_s: float = 60.0
    job_timeout_s: float = 0.0
    priority_point_s: float = 60.0
    retry_backoff_s: float = 0.0
    block_after: int = 3


DEFAULT_POLICY: Final = Policy()
