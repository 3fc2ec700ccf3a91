"""Every reply of the core has a response."""

from datetime import timedelta
from typing import Final, get_args

from hypothesis import given, settings

from dispatcher.api import errors
from dispatcher.api.replies import render, render_each
from dispatcher.core.commands import Command, SubmitJobs
from dispatcher.core.decider import decide
from dispatcher.core.dispatcher import Settle
from dispatcher.core.due import Due
from dispatcher.core.events import Recorded
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.policy import Policy
from dispatcher.core.replies import Reason, Refused
from projections import Projections
from tests.state.test_replay import histories
from tests.support.given import START
from tests.support.strategies import policies

DUE: Final = set(get_args(Due))
"""Commands that no caller gives."""


def test_every_reason_of_a_refusal_has_a_status() -> None:
    assert set(errors._STATUS) == set(Reason)


def test_every_reply_to_a_caller_has_a_response() -> None:
    answered = set[type[Command]]()

    @settings(max_examples=500)
    @given(histories, policies)
    def look(history: list[Command], policy: Policy) -> None:
        fleet, projections = Fleet(), Projections()
        for n, command in enumerate(history):
            at = START + timedelta(seconds=n)
            decision = decide(fleet, command, at, policy)
            for event in decision.events:
                evolve(fleet, event)
                projections.apply(Recorded(projections.seq + 1, at, "tester", event))
            if type(command) in DUE or isinstance(decision.reply, Refused):
                continue
            settled = Settle(command, (), decision.reply, None)
            if isinstance(command, SubmitJobs):
                lines = render_each(settled, projections)
                assert len(lines) == len(command.submissions)
            else:
                assert render(settled, projections).status < 300
            answered.add(type(command))

    look()
    assert answered == set(get_args(Command)) - DUE
