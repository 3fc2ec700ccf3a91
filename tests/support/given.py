"""`given(events).when(command).then(events)`: the rules, told as stories."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from dispatcher.core.commands import Command
from dispatcher.core.decider import decide
from dispatcher.core.events import (
    AnswerRefused,
    Cause,
    EngineBlocked,
    EngineLost,
    EngineReported,
    Event,
    JobAssigned,
    JobCompleted,
    JobFailedPermanently,
    JobRequeued,
    JobSubmitted,
)
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.invariants import check_fleet
from dispatcher.core.policy import DEFAULT_POLICY, Policy
from dispatcher.core.replies import DONE, Decision, Reason, Refused, Reply

__all__ = [
    "OUTPUT",
    "START",
    "assigned",
    "blocked",
    "completed",
    "engine",
    "failed",
    "given",
    "job",
    "lost",
    "requeued",
]

OUTPUT: Final = "http://media/out.mp4"
START: Final = datetime(2024, 1, 1, tzinfo=UTC)


class given:  # noqa: N801 - it reads as a word of the sentence
    """What has happened so far."""

    def __init__(self, *events: Event, policy: Policy = DEFAULT_POLICY) -> None:
        self.fleet = Fleet()
        self.policy = policy
        self.outcome = Decision((), DONE)
        for event in events:
            evolve(self.fleet, event)

    def when(self, command: Command, *, at_s: float = 0.0) -> Self:
        """Decide, so many seconds after the start, and let the outcome happen."""
        at = START + timedelta(seconds=at_s)
        self.outcome = decide(self.fleet, command, at, self.policy)
        before = repr(self.fleet)
        for event in self.outcome.events:
            evolve(self.fleet, event)
        reply = self.outcome.reply
        if isinstance(reply, Refused) and reply.reason is not Reason.INSTANCE_REPLACED:
            assert repr(self.fleet) == before, "a refusal changed something"
        check_fleet(self.fleet)
        return self

    def then(self, *events: Event) -> Self:
        """Expect that the last command was granted with exactly these events."""
        assert not isinstance(self.outcome.reply, Refused)
        assert list(self.outcome.events) == list(events)
        return self

    def then_nothing(self) -> Self:
        """Expect that the last command was granted without an event."""
        return self.then()

    def then_reply(self, reply: Reply) -> Self:
        """Expect this reply to the last command."""
        assert self.outcome.reply == reply
        return self

    def then_rejected(self, reason: Reason) -> Self:
        """Expect that the last command was refused in the words of the reason, and forgotten."""
        assert self.outcome == Decision((), Refused(reason))
        return self

    def then_too_late(self, now: str, answer: AnswerRefused) -> Self:
        """Expect that the last answer was refused with what is true now, and that remembered."""
        reply = self.outcome.reply
        assert isinstance(reply, Refused)
        text = f"Conflict: this answer to job {answer.job_id} comes too late: {now}."
        assert reply.reason is Reason.NOT_THE_HOLDER
        assert reply.text == text
        fields = (answer.job_id, answer.engine_id, answer.attempt, answer.answer)
        assert self.outcome.events == (AnswerRefused(*fields, reason=text),)
        return self


def job(
    job_id: str,
    *,
    codec: str = "h264",
    size: float = 10.0,
    max_retries: int = 3,
    priority: int = 0,
    waits_since_s: float | None = None,
    key: str | None = None,
) -> JobSubmitted:
    since = None if waits_since_s is None else START + timedelta(seconds=waits_since_s)
    url = f"http://media/{job_id}.mp4"
    return JobSubmitted(job_id, url, codec, size, max_retries, priority, since, key)


def engine(engine_id: str, **report: Any) -> EngineReported:
    return EngineReported(engine_id, report)


def assigned(
    job_id: str,
    engine_id: str,
    attempt: int = 1,
    rule: str = "asked by name",
    considered: list[str] | None = None,
) -> JobAssigned:
    return JobAssigned(job_id, engine_id, attempt, rule, tuple(considered or ()))


def completed(
    job_id: str, engine_id: str | None, attempt: int = 1, output_url: str = OUTPUT
) -> JobCompleted:
    return JobCompleted(job_id, engine_id, attempt, output_url)


def requeued(
    job_id: str,
    engine_id: str | None,
    *,
    attempt: int = 1,
    retries: int = 1,
    error: str = "broke",
    cause: Cause = "reported",
    blames: bool | None = None,
    not_before: datetime | None = None,
    losses: int = 0,
    source_tries: int = 0,
    source_waited_s: float = 0.0,
) -> JobRequeued:
    """Make the event; without a word on it, an engine is to blame if there is one."""
    blamed = engine_id is not None if blames is None else blames
    return JobRequeued(
        *(job_id, engine_id, attempt, retries, error, cause, blamed, not_before),
        *(losses, source_tries, source_waited_s),
    )


def failed(
    job_id: str,
    engine_id: str | None,
    *,
    attempt: int = 1,
    retries: int = 1,
    error: str = "broke",
    cause: Cause = "reported",
    blames: bool | None = None,
    losses: int = 0,
) -> JobFailedPermanently:
    """Make the event; without a word on it, an engine is to blame if there is one."""
    blamed = engine_id is not None if blames is None else blames
    return JobFailedPermanently(job_id, engine_id, attempt, retries, error, cause, blamed, losses)


def blocked(
    engine_id: str, *job_ids: str, for_s: float = 600.0, at_s: float = 0.0
) -> EngineBlocked:
    """An engine that is blocked for failing these jobs in a row, so long after the start."""
    several = "a job" if len(job_ids) == 1 else f"{len(job_ids)} different jobs in a row"
    reason = f"failed {several}: {', '.join(job_ids)}"
    return EngineBlocked(engine_id, reason, START + timedelta(seconds=at_s + for_s))


def lost(engine_id: str, silent_s: float = 60.0) -> EngineLost:
    """An engine that is given up at the start, after so much silence."""
    return EngineLost(engine_id, silent_s, START)
