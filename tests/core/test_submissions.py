"""Many submissions are decided as if each had come alone, and refusals are foretold."""

from hypothesis import given as examples
from hypothesis import strategies as st

from dispatcher.core.commands import SubmitJob, SubmitJobs
from dispatcher.core.decider import decide
from dispatcher.core.events import Event
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.policy import Policy
from dispatcher.core.replies import JobIs, Refused, Submitted
from dispatcher.core.submissions import refusals
from tests.support.given import START, given

submissions = st.lists(
    st.builds(
        SubmitJob,
        st.sampled_from([None, None, "a", "b"]),
        st.just("u"),
        st.just("h264"),
        priority=st.sampled_from([0, 9]),
        idempotency_key=st.sampled_from([None, None, "k", "l"]),
    ),
    max_size=8,
)


def after(past: list[SubmitJob]) -> Fleet:
    fleet = Fleet()
    one_by_one(fleet, past)
    return fleet


def one_by_one(fleet: Fleet, commands: list[SubmitJob]) -> tuple[list[Event], list[object]]:
    happened, replies = list[Event](), list[object]()
    for command in commands:
        decision = decide(fleet, command, START, Policy())
        for event in decision.events:
            evolve(fleet, event)
        happened += decision.events
        replies.append(decision.reply)
    return happened, replies


@examples(submissions, submissions)
def test_many_submissions_are_decided_as_if_each_had_come_alone(
    past: list[SubmitJob], batch: list[SubmitJob]
) -> None:
    decision = decide(after(past), SubmitJobs(tuple(batch)), START, Policy())
    happened, replies = one_by_one(after(past), batch)
    assert isinstance(decision.reply, Submitted)
    assert (list(decision.events), list(decision.reply.replies)) == (happened, replies)


@examples(submissions, submissions)
def test_the_refusals_that_are_foretold_are_those_that_come(
    past: list[SubmitJob], batch: list[SubmitJob]
) -> None:
    fleet = after(past)
    foretold = refusals(fleet, batch)
    _, replies = one_by_one(fleet, batch)
    assert foretold == [reply if isinstance(reply, Refused) else None for reply in replies]


def test_the_jobs_of_a_batch_have_ids_that_follow_one_another() -> None:
    story = given(policy=Policy()).when(SubmitJobs((SubmitJob(None, "u", "h264"),) * 3))
    micros = 1_704_067_200_000_000
    assert [*story.fleet.jobs] == [f"{micros}_{n}" for n in range(3)]
    story.when(SubmitJobs((SubmitJob(None, "u", "h264"),)))
    assert story.outcome.reply == Submitted((JobIs(f"{micros}_3", is_new=True),))
