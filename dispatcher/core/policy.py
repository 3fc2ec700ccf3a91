"""The settings of the rules. Events record their effects, so a replay needs no settings."""

from typing import Final

import msgspec

__all__ = ["DEFAULT_POLICY", "Policy"]


class Policy(msgspec.Struct, frozen=True):
    """The farm's time limits, and how it treats priorities and failures.

    `lease_s`: an engine that is silent for this long is offline, and loses its job.
    `job_timeout_s`: the longest that one attempt may take; 0 for no limit.
    `stall_timeout_s`: the longest that one attempt may show no progress; 0 for no limit.
    `priority_point_s`: one point of priority is worth this many seconds of waiting.
    `retry_backoff_s`: the pause after a job's first failure, doubled with each further one; 0 for
    none.
    `max_losses`: a job whose engines were lost this often fails for good; 0 for never.
    `source_patience_s`: how long a job may pause in all because its source can't be had.
    `block_after`: an engine that fails this many different jobs in a row gets no more; 0 for never.
    `block_for_s`: a blocked engine may try a job after this long, doubled each time; 0 for never.
    `report_s`: numbers of an engine that change a little are recorded this often; 0 for always.
    `forget_engine_after_s`: an engine that is offline for this long is forgotten; 0 for never.
    """

    lease_s: float = 60.0
    job_timeout_s: float = 0.0
    stall_timeout_s: float = 12 * 3600.0
    priority_point_s: float = 60.0
    retry_backoff_s: float = 0.0
    max_losses: int = 10
    source_patience_s: float = 3600.0
    block_after: int = 3
    block_for_s: float = 600.0
    forget_engine_after_s: float = 0.0
    report_s: float = 60.0


DEFAULT_POLICY: Final = Policy()
