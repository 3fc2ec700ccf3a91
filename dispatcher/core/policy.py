"""The settings of the rules. Events record their effects, so a replay needs no settings."""

from typing import Final

import msgspec

__all__ = ["DEFAULT_POLICY", "Policy"]


class Policy(msgspec.Struct, frozen=True):
    """The farm's time limits, and how it treats priorities and failures.

    `lease_s`: an engine that is silent for this long is offline, and loses its job.
    `job_timeout_s`: the longest that one attempt may take; 0 for no limit.
    `priority_point_s`: one point of priority is worth this many seconds of waiting.
    `retry_backoff_s`: the pause after a job's first failure, doubled with each further one; 0 for
    none.
    `block_after`: an engine that fails this many different jobs in a row gets no more; 0 for never.
    """

    lease_s: float = 60.0
    job_timeout_s: float = 0.0
    priority_point_s: float = 60.0
    retry_backoff_s: float = 0.0
    block_after: int = 3


DEFAULT_POLICY: Final = Policy()
