"""What follows from a submission, or from many (protocol.md 1.1), and how parts are submitted.

Laws:
- Many submissions are decided as if each had come alone, one after the other.
- `refusals` says beforehand which of them would be refused.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from dispatcher.core import commands, events
from dispatcher.core.dependencies import lost_one_of, unfinished
from dispatcher.core.fleet import EPOCH, Fleet, micros_of
from dispatcher.core.job import Job, MadeId
from dispatcher.core.policy import Policy
from dispatcher.core.replies import Decision, JobIs, Reason, Refused, Submitted
from dispatcher.tags import split

__all__ = ["refusals", "submit", "submit_all", "submitted_parts"]


def refusals(fleet: Fleet, submissions: Iterable[commands.SubmitJob]) -> list[Refused | None]:
    """Return for each of many submissions, given all before it, why it would be refused."""
    ids, keys = set[str](), dict[str, commands.SubmitJob]()
    found: list[Refused | None] = []
    for submission in submissions:
        job_id, key = submission.job_id, submission.idempotency_key
        first = None if key is None else fleet.idempotent.get(key) or keys.get(key)
        refused: Refused | None = None
        if job_id is not None and (job_id in fleet.jobs or job_id in ids):
            refused = Refused(Reason.JOB_ID_TAKEN)
        elif first is not None and _content(submission) != _content(first):
            refused = Refused(Reason.KEY_REUSED)
        elif first is None and (refused := _unmet(fleet, submission, ids)) is None:
            if job_id is not None:
                ids.add(job_id)
            if key is not None:
                keys[key] = submission
        found.append(refused)
    return found


def _unmet(
    fleet: Fleet, command: commands.SubmitJob, others: Collection[str] = ()
) -> Refused | None:
    """Refuse a job that would wait for ever: for one that is not known, or has ended in vain."""
    for name in command.after:
        if name not in fleet.jobs and name not in others:
            return Refused(
                Reason.NO_PREREQUISITE,
                f"Bad Request: 'after' names job {name}, which is not known.",
            )
    if (lost := lost_one_of(fleet, command.after)) is not None:
        status = lost.status.replace("_", " ")
        return Refused(
            Reason.LOST_PREREQUISITE,
            f"Conflict: 'after' names job {lost.job_id}, which is {status}; retry that first.",
        )
    return None


def submit_all(
    fleet: Fleet, submissions: Iterable[commands.SubmitJob], at: datetime, policy: Policy
) -> Decision:
    """Decide submissions one by one, each given the events of those before it."""
    before, replies = _Submissions(fleet, at), list[JobIs | Refused]()
    for submission in submissions:
        submitted, reply = _submission(before, submission, policy)
        if submitted is not None:
            before.add(submitted)
        replies.append(reply)
    return Decision([*before.happened.values()], Submitted(tuple(replies)))


def submit(fleet: Fleet, command: commands.SubmitJob, at: datetime, policy: Policy) -> Decision:
    """Decide one submission."""
    submitted, reply = _submission(_Submissions(fleet, at), command, policy)
    return Decision(() if submitted is None else (submitted,), reply)


class _Submissions:
    """The submissions of the past, and those that the same decision adds to them at a time."""

    def __init__(self, fleet: Fleet, at: datetime) -> None:
        self.happened: dict[str, events.JobSubmitted] = {}
        self._fleet = fleet
        self._with_key: dict[str, events.JobSubmitted] = {}
        self._last_id = fleet.last_id
        self._at = at
        self.arrived_at = max(at, fleet.newest)  # none passes earlier ones if the clock is set back

    def is_id(self, job_id: str) -> bool:
        return job_id in self._fleet.jobs or job_id in self.happened

    def free_id(self) -> str:
        """Return an unused id of the form `{microseconds}_{counter}` (protocol.md).

        It is greater than any that was ever used, so jobs that are not here have none of the kind.
        """
        now, last = micros_of(self._at), self._last_id
        return f"{now}_0" if now > last.micros else f"{last.micros}_{last.counter + 1}"

    def with_key(self, key: str) -> events.JobSubmitted | None:
        return self._fleet.idempotent.get(key) or self._with_key.get(key)

    def refusal_of(self, command: commands.SubmitJob) -> Refused | None:
        return _unmet(self._fleet, command, self.happened)

    def unfinished(self, command: commands.SubmitJob) -> tuple[str, ...] | UnsetType:
        """Return the jobs that the new one waits for, if any are not completed yet."""
        left = unfinished(self._fleet, command.after)
        return tuple(it for it in command.after if it in left or it in self.happened) or UNSET

    def add(self, submitted: events.JobSubmitted) -> None:
        self.happened[submitted.job_id] = submitted
        self._last_id = max(self._last_id, MadeId.of(submitted.job_id) or self._last_id)
        if submitted.idempotency_key is not None:
            self._with_key[submitted.idempotency_key] = submitted


def _submission(
    before: _Submissions, command: commands.SubmitJob, policy: Policy
) -> tuple[events.JobSubmitted | None, JobIs | Refused]:
    """Queue a job, or return the one that was queued with the same key."""
    job_id, key = command.job_id, command.idempotency_key
    if job_id is None:
        job_id = before.free_id()
    elif before.is_id(job_id):
        return None, Refused(Reason.JOB_ID_TAKEN)
    if key is not None and (first := before.with_key(key)) is not None:
        if _content(command) != _content(first):
            return None, Refused(Reason.KEY_REUSED)
        return None, JobIs(first.job_id, is_new=False)
    if command.after and (refused := before.refusal_of(command)) is not None:
        return None, refused
    early_s = command.priority * policy.priority_point_s
    arrived_at = before.arrived_at
    waits_since = arrived_at - timedelta(seconds=early_s) if early_s else arrived_at
    submitted = _submitted(job_id, command, command.priority, arrived_at, waits_since)
    if command.after:
        submitted = replace(submitted, after=command.after, waits_for=before.unfinished(command))
    return submitted, JobIs(job_id, is_new=True)


def submitted_parts(
    fleet: Fleet, film: Job, parts: Iterable[commands.SubmitJob], at: datetime
) -> list[events.JobSubmitted]:
    """Submit the parts of a film: where it stood in the queue, and with its priority."""
    before, happened = _Submissions(fleet, at), list[events.JobSubmitted]()
    waits_since = EPOCH + timedelta(microseconds=film.place.waits_since_us)
    for part in parts:
        submitted = _submitted(
            before.free_id(), part, film.priority, before.arrived_at, waits_since
        )
        submitted = replace(
            submitted, parent=film.job_id, part=UNSET if part.part is None else part.part
        )
        before.add(submitted)
        happened.append(submitted)
    return happened


def _submitted(
    job_id: str,
    command: commands.SubmitJob,
    priority: int,
    arrived_at: datetime,
    waits_since: datetime,
) -> events.JobSubmitted:
    return events.JobSubmitted(
        job_id=job_id,
        source_url=command.source_url,
        target_codec=command.target_codec,
        job_size=command.job_size,
        max_retries=command.max_retries,
        priority=priority,
        waits_since=waits_since,
        idempotency_key=command.idempotency_key,
        arrived_at=arrived_at,
        recipe=UNSET if command.recipe is None else command.recipe,
        output_name=UNSET if command.output_name is None else command.output_name,
        needs=command.needs or UNSET,
        callback_url=command.callback_url or UNSET,
    )


def _content(it: commands.SubmitJob | events.JobSubmitted) -> tuple[object, ...]:
    return (
        *(it.source_url, it.target_codec, it.job_size, it.max_retries, it.priority),
        _recipe_asked_for(it),
        it.output_name or None,
        it.after or (),
        split(it.needs or ())[0],  # the others follow from the recipe
        it.callback_url or None,
    )


def _recipe_asked_for(it: commands.SubmitJob | events.JobSubmitted) -> object:
    """Return the name of the recipe, which may stand for another one now, or all its fields."""
    return (it.recipe.get("name") or it.recipe) if it.recipe else None
