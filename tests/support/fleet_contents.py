"""All that a fleet has, to be compared."""

from typing import Any

from dispatcher.core.fleet import Fleet
from dispatcher.core.scheduling import choose_for

__all__ = ["inside"]


def inside(fleet: Fleet) -> dict[str, Any]:
    """Every field of a fleet as plain values, the jobs in order of submission.

    `repr` tells 1 from 1.0 and from True.
    """
    return {
        "jobs": [
            repr(job) for job in sorted(fleet.jobs.values(), key=lambda job: job.place.number)
        ],
        "engines": [repr(engine) for engine in fleet.engines.values()],
        "queue": [(job_id, job_id in fleet.queue.paused) for job_id in fleet.queue],
        "next": [repr(choose_for(fleet, engine)) for engine in fleet.engines.values()],
        "newest": repr(fleet.newest),
        "idempotent": sorted(map(repr, fleet.idempotent.items())),
        "submitted": fleet.submitted,
        "last_id": repr(fleet.last_id),
    }
