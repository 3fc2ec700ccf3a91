"""D. Scale: what a million of something costs. One module a question; this one asks them all."""

from . import scale_assign, scale_list, scale_start
from .plan import Plan
from .report import Part

__all__ = ["measure"]

HOW = (
    "Each question has its own fresh copy of a log and its own `dispatcher serve`. Assignments: "
    "one connection submits, asks for a job by name and completes it, over and over, with one "
    "dispatcher that has few jobs waiting and another that has many, in turn; only the asking is "
    "timed. Start-up: from the start of the process to its greeting, with the files in the page "
    "cache; the snapshot is the one that a clean stop leaves. Memory: the growth of the resident "
    "set by the jobs submitted. The list: clients submit at a fixed rate on 16 connections, and "
    "their time counts from when they should have sent; one more client reads `GET /jobs/` over "
    "and over, or does not. Another asks for `/health` every millisecond: its longest answer is "
    "a bound, from outside, of the longest time that the event loop was held."
)


def measure(plan: Plan) -> Part:
    """Answer every question."""
    found = [question.measure(plan) for question in (scale_assign, scale_start, scale_list)]
    return Part(
        "D",
        "Scale",
        HOW,
        [table for answer in found for table in answer.tables],
        [picture for answer in found for picture in answer.pictures],
        [target for answer in found for target in answer.targets],
    )
