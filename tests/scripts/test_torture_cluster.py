"""The short form of what is done to a cluster; `scripts/torture.py` has the long one."""

import pytest

from tests.support.outcomes import counted
from torturing import cluster
from torturing.linear import Call
from torturing.lives import Life, Read, Submit
from torturing.recording import History

pytestmark = pytest.mark.anyio


async def test_whatever_fails_all_dispatchers_go_on_with_the_same_log() -> None:
    whole, in_order = await cluster.run(cluster.SHORT, 1, print)
    assert (whole.failures, in_order.failures) == ([], [])
    assert counted(whole, "replicas audited") == 3
    assert counted(whole, "faults") >= cluster.SHORT - 1  # where no connection can be cut
    for call in ("submit", "assign", "read"):
        assert counted(in_order, call) > 0


def test_a_job_that_is_not_there_at_the_end_or_is_there_twice_is_seen() -> None:
    history = History()
    history.add("a", Call(Submit(), "1", 0.0, 1.0))
    history.add("b", Call(Submit(), "2", 0.0, 1.0))
    history.read_last([job("b"), job("b"), job("c")])
    assert history.failures == [
        "b was submitted once, and is there twice",
        "c was not submitted, and is there",
    ]
    (told,) = history.unsound()
    assert told.startswith("no order explains the history of a: ")


def test_the_longest_stall_is_that_between_two_acknowledged_writes() -> None:
    history = History()
    for ended_s in (1.0, 2.0, 5.0):
        history.add("a", Call(Submit(), "1", 0.0, ended_s))
    history.add("a", Call(Read(), Life("pending"), 2.0, 3.0))
    assert history.longest_stall_s(0.5, 6.0) == 3.0
    assert history.longest_stall_s(0.5, 9.0) == 4.0


def job(source: str) -> dict[str, object]:
    return {
        "source_url": source,
        "status": "pending",
        "attempt": 0,
        "assigned_engine": None,
        "output_url": None,
    }
